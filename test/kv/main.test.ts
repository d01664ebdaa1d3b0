/**
 * One server as a process: its options, its exit codes, and one clear line for everything that can be wrong outside.
 */

import { spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { formatServers, readServerOptions } from 'balsa-kv/cli/server-options.js'
import { mount, unableToMount, unmount } from '../support/small-disk.js'
import { testUnless } from '../support/skip.js'
import { until } from '../support/until.js'
import { command, RawClient } from './kv-fixture.js'
import { lastEvent, mainPath, ProcessCluster, type Ended, runNode, temporaryDir } from './processes.js'
import { freePort } from '../../support/free-addresses.js'

const test = suite('balsa-kv as a process')

const servers = 's1=127.0.0.1:7101/127.0.0.1:7001,s2=[::1]:7102/kv.example:7002'

const wrong: readonly (readonly [line: string, message: RegExp])[] = [
  ['', /^--servers is missing/],
  ['--nonsense', /^unknown option --nonsense; --help lists/],
  ['stray', /^unknown option stray/],
  ['--id', /^--id needs a value$/],
  ['--id s1 --id s2', /^--id is given twice$/],
  ['--help=x', /^--help takes no value$/],
  [`--servers ${servers}`, /^--id is missing/],
  [`--servers ${servers} --id s3`, /^--id is s3; --servers names s1, s2\. A server that is to be added needs --self$/],
  [`--servers ${servers} --self h:1/h:2`, /^--id is missing: it names the server that is to be added$/],
  [
    `--servers ${servers} --id s2 --self h:1/h:2`,
    /^--self is for a server that is to be added; --servers already says/,
  ],
  [`--servers ${servers} --id s3 --self h:1`, /^--self is h:1; it must be host:port\/host:port/],
  [`--servers ${servers} --id s3 --self h:1/127.0.0.1:7001`, /^--servers names address 127\.0\.0\.1:7001 twice$/],
  ['--servers s1=127.0.0.1:7101', /^--servers: "s1=127.0.0.1:7101" is not id=host:port\/host:port/],
  ['--servers s1=h:1/h:2,s1=h:3/h:4', /^--servers names server s1 twice$/],
  ['--servers s1=h:1/h:1', /^--servers names address h:1 twice$/],
  ['--servers s1=h:1/h:70000', /ports of 1 \.\. 65535$/],
  ['--port x', /^--port is x; it must be a whole number of 1 \.\. 65435$/],
  [`--port 7001 --servers ${servers}`, /^--port is for a cluster of one/],
  ['--port 7001 --max-clients 0', /^--max-clients is 0; it must be a whole number of 1 \.\. 100000$/],
  ['--port 7001 --heartbeat-ms 500', /^--election-timeout-ms is 1000; it must be at least 3 \* --heartbeat-ms = 1500/],
  ['--port 7001 --log-level loud', /^--log-level is loud; it must be debug, info, warn or error$/],
  ['--port 7001 --dir=', /^--dir must not be empty$/],
  ['--config /no/such/file', /^--config \/no\/such\/file cannot be read as JSON: ENOENT/],
]

for (const [line, message] of wrong) {
  test(`"${line}" is refused by name`, () => {
    assert.throws(
      () => readServerOptions(line.split(' ').filter(Boolean)),
      (error: unknown) => {
        assert.match((error as Error).message, message)
        return true
      },
    )
  })
}

test('the command line of all servers is the same but for the id, and says what the parts are', () => {
  const options = readServerOptions(['--servers', servers, '--id', 's2', '--bind=0.0.0.0'])
  assert.is(options?.self.redis.host, 'kv.example')
  assert.is(options?.self.peer.host, '::1')
  assert.is(options?.dir, 'data/s2')
  assert.is(options?.bind, '0.0.0.0')
  assert.is(formatServers(options?.members ?? []), servers)
  assert.is(readServerOptions(['--port', '7001'])?.self.peer.port, 7101)
  assert.is(readServerOptions(['-h']), null)
  assert.is(options?.joins, false)
  const added = readServerOptions(['--servers', servers, '--id', 's3', '--self', '127.0.0.1:7103/127.0.0.1:7003'])
  assert.equal([added?.joins, added?.self.redis.port, formatServers(added?.members ?? [])], [true, 7003, servers])
})

test('a server that joins by an address needs no list, and says where it is found', () => {
  const said = (...words: readonly string[]): string => {
    try {
      const { self, members, join, joins } = readServerOptions(words) ?? {}
      return `${self?.id} ${members?.length} ${join?.join(' ')} ${joins}`
    } catch (error) {
      return (error as Error).message
    }
  }
  const self = ['--id', 's4', '--self', 'kv.example:7104/kv.example:7004'] as const
  assert.is(said('--join', '10.0.0.1:7101,[::1]:7102', ...self), 's4 0 10.0.0.1:7101 [::1]:7102 true')
  assert.match(said('--join', '10.0.0.1:7101', ...self, '--accept-peer-boot', 's1'), /^s4 0/)
  for (const list of ['', '10.0.0.1', '10.0.0.1:0', '10.0.0.1:7101,']) {
    assert.match(said(`--join=${list}`, ...self), /^--join: ".*" is not host:port/)
  }
  assert.match(said('--join', '10.0.0.1:7101', ...self, '--join-as', 'nonvoter', '--allow-join'), /^s4 0/)
  assert.match(said('--join', '10.0.0.1:7101', ...self, '--join-as', 'voter'), /^--join-as is voter.*RAFT PROMOTE/)
  assert.match(said('--port', '7001', '--join-as', 'nonvoter'), /^--join-as is said at the addresses of --join/)
  assert.match(said('--join', '10.0.0.1:7101', '--id', 's4'), /^--self is missing: with --join/)
  assert.match(said('--join', '10.0.0.1:7101', ...self.slice(2)), /^--id is missing/)
  for (const [name, value] of Object.entries({ servers, port: '7001', recovered: `5-${'0'.repeat(32)}` })) {
    assert.is(
      said('--join', '10.0.0.1:7101', ...self, `--${name}`, value),
      `--join and --${name}: leave --${name} out, it is told at the addresses`,
    )
  }
})

test('a configuration file says the same as the command line, which wins', () => {
  const dir = temporaryDir()
  const file = join(dir, 'kv.json')
  const list = [{ id: 's1', peer: '127.0.0.1:7101', redis: '127.0.0.1:7001' }]
  const write = (content: unknown): void => writeFileSync(file, JSON.stringify(content))
  const message = (): string => {
    try {
      readServerOptions(['--config', file])
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  write({ id: 's1', dir: '/somewhere', servers: list, heartbeatMs: 50, logLevel: 'warn' })
  const options = readServerOptions(['--config', file, '--dir', '/elsewhere'])
  assert.equal([options?.dir, options?.heartbeatMs, options?.logLevel], ['/elsewhere', 50, 'warn'])
  const allows = [true, false].map((allowJoin) => {
    write({ servers: list, allowJoin })
    return readServerOptions(['--config', file])?.allowJoin
  })
  assert.equal(allows, [true, false])
  write({ servers: list, allowJoin: 'yes' })
  assert.match(message(), /allowJoin must be true or false/)
  write({ heartbeat: 50 })
  assert.match(message(), /unknown key heartbeat; there are servers, id, dir/)
  write({ servers: [{ id: 's1' }] })
  assert.match(message(), /each of servers must be/)
  write({ servers: [{ ...list[0], host: 'kv.example' }] })
  assert.match(message(), /each of servers must be/)
  write([])
  assert.match(message(), /must hold one JSON object/)
  rmSync(dir, { recursive: true })
})

test('what cannot be listened at, and an id that would not stand in lists and lines, is refused by name', () => {
  const message = (...words: readonly string[]): string => {
    try {
      readServerOptions(words)
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  for (const bind of ['', '127.0.0.1:80', 'no such host', '[::]', 'a/b']) {
    assert.match(message('--port', '7001', `--bind=${bind}`), /^--bind is .*; it must be a host without a port/)
  }
  for (const bind of ['0.0.0.0', '::', 'fe80::1%eth0', 'kv.example']) {
    assert.is(message('--port', '7001', '--bind', bind), '')
  }
  for (const id of ['', 'a b', 'a\nb', 'a,b', 'a=b', 'a/b', '\x01', 'ü'.repeat(128)]) {
    assert.match(message('--port', '7001', `--id=${id}`), /^--id is [^]*; an id has 1 \.\. 255 bytes/)
  }
  assert.match(message('--servers', 'a b=h:1/h:2'), /^--servers names a server a b; an id has/)
  assert.is(message('--port', '7001', '--id', 'größe-1'), '')
  const both = /^peers and clients would both be listened for at 127\.0\.0\.1:7001; give one another port$/
  assert.match(message('--port', '7001', '--listen-peer', '127.0.0.1:7001'), both)
  assert.match(message('--servers', 's1=127.0.0.1:7001/10.0.0.1:7001', '--bind', '0.0.0.0'), both)
  assert.is(message('--servers', 's1=127.0.0.1:7001/10.0.0.1:7001'), '')
})

test('--help goes to stdout and ends with 0; a wrong option is one line on stderr and ends with 64', async () => {
  const help = await runNode([mainPath, '--help']).ended
  assert.is(help.code, 0)
  assert.match(help.stdout, /--servers <list>[^]*Exit codes:/)
  const refused = await runNode([mainPath, '--bogus']).ended
  assert.is(refused.code, 64)
  assert.is(refused.stderr, 'balsa-kv: unknown option --bogus; --help lists those that there are\n')
})

/** Starts one server where something is wrong, and tells how it ended. */
async function failing(
  port: number,
  dir: string,
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; message: string; lines: number }> {
  const words = [mainPath, '--port', String(port), '--dir', dir, '--log-level', 'error']
  const { code, stderr } = await runNode(words, env).ended
  return { code, message: String(lastEvent(stderr).message), lines: stderr.trim().split('\n').length }
}

test('a port that is taken is named in one line, for clients (69) and for peers (69)', async () => {
  const dir = temporaryDir()
  const taker = createServer()
  taker.unref()
  await new Promise<void>((resolve) => taker.listen(0, '127.0.0.1', () => resolve()))
  const { port } = taker.address() as AddressInfo
  const clients = await failing(port, join(dir, 'one'))
  assert.equal([clients.code, clients.lines], [69, 1])
  assert.match(clients.message, new RegExp(`cannot listen for clients at 127\\.0\\.0\\.1:${port}: the port is taken`))
  const peers = await failing(port - 100, join(dir, 'other'))
  assert.equal([peers.code, peers.lines], [69, 1])
  assert.match(peers.message, new RegExp(`127\\.0\\.0\\.1:${port}`))
  await new Promise<void>((resolve) => taker.close(() => resolve()))
  rmSync(dir, { recursive: true })
})

test('a folder that cannot be used, or that holds other things, ends with 73 and stays as it is', async () => {
  const dir = temporaryDir()
  const file = join(dir, 'file')
  writeFileSync(file, 'mine')
  const port = await freePort()
  const unusable = await failing(port, join(file, 'below'))
  assert.equal([unusable.code, unusable.lines], [73, 1], unusable.message)
  const foreign = join(dir, 'foreign')
  mkdirSync(foreign)
  writeFileSync(join(foreign, 'letter.txt'), 'dear')
  const refused = await failing(port, foreign)
  assert.equal([refused.code, refused.lines], [73, 1], refused.message)
  assert.equal(readdirSync(foreign), ['letter.txt'])
  rmSync(dir, { recursive: true })
})

testUnless(
  test,
  unableToMount(),
  'a disk that is full before anything was written is told, and nothing hangs',
  async () => {
    const cases = [
      ['64k', 'journal', 73, /lock\.mdb cannot be made, or has no room\. Check free space/],
      ['128k', 'journal', 73, /has no room for a journal of 32 MiB, or cannot be written\. Check free space/],
      // The journal has its room, and LMDB none for the transaction of the open.
      ['32856k', 'journal', 73, /data\.mdb: No space left .*\. Free space there, and start again/],
      ['128k', 'lmdb', 74, /^the disk is full: the first entry cannot be written\. Free space/],
    ] as const
    for (const [size, mode, code, message] of cases) {
      const dir = temporaryDir()
      mount(size, dir)
      try {
        const full = await failing(await freePort(), join(dir, 'data'), { BALSA_STORE_MODE: mode })
        assert.is(full.code, code, `${size} ${mode}`)
        assert.match(full.message, message)
      } finally {
        unmount(dir)
        rmSync(dir, { recursive: true })
      }
    }
  },
)

test('a log of another format, and one with a damaged record, end with 65', async () => {
  const cluster = await ProcessCluster.start(1)
  const [member] = cluster.members
  if (member === undefined) throw new Error('no member')
  const client = await RawClient.connect(member.redis.port)
  const value = 'a-value-that-is-easy-to-find'
  await client.ask(command('SET', 'k', value), '+OK\r\n')
  client.close()
  await cluster.end(member, 'SIGTERM')
  const dir = join(cluster.dir, member.id)

  const marker = readFileSync(join(dir, 'FORMAT'), 'utf8')
  writeFileSync(join(dir, 'FORMAT'), marker.replace(/\d+/, '99'))
  const running = (): Promise<Ended> => {
    cluster.startServer(member)
    return cluster.take(member).ended
  }
  const newer = await running()
  assert.is(newer.code, 65, newer.stderr)
  assert.match(String(lastEvent(newer.stderr).message), /99/)
  writeFileSync(join(dir, 'FORMAT'), marker)

  const data = readFileSync(join(dir, 'data.mdb'))
  assert.ok(data.includes(value))
  for (let at = data.indexOf(value); at !== -1; at = data.indexOf(value, at)) data[at] = 0x41
  writeFileSync(join(dir, 'data.mdb'), data)
  const damaged = await running()
  assert.is(damaged.code, 65, damaged.stderr)
  assert.match(String(lastEvent(damaged.stderr).message), /index \d+/)
  assert.ok(data.equals(readFileSync(join(dir, 'data.mdb'))), 'the file is untouched')
  await cluster.close()
})

test('a folder that another process holds ends with 75, and one of another cluster with 78', async () => {
  const cluster = await ProcessCluster.start(1)
  const [member] = cluster.members
  if (member === undefined) throw new Error('no member')
  const dir = join(cluster.dir, member.id)
  const port = await freePort()
  const locked = await failing(port, dir)
  assert.equal([locked.code, locked.lines], [75, 1], locked.message)
  await cluster.end(member, 'SIGINT')
  const other = await failing(port, dir)
  assert.equal([other.code, other.lines], [78, 1], other.message)
  await cluster.close()
})

testUnless(
  test,
  existsSync('/proc/self/limits') && spawnSync('prlimit', ['--version']).status === 0 ? null : 'no prlimit here',
  'clients never take the descriptors of peers and store: fewer are let in, which is said, and the others are turned away',
  async () => {
    const dir = temporaryDir()
    const port = await freePort()
    // With 64, Node has too few to read the files of the program, many of which it opens at once.
    const words = ['--nofile=96', process.execPath, mainPath, '--port', String(port), '--dir', dir, '--stop-with-stdin']
    const child = spawn('prlimit', words, { stdio: ['pipe', 'ignore', 'pipe'] })
    let log = ''
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    await until('it is open', () => Promise.resolve(log.includes('server.open')))
    const lowered = JSON.parse(log.split('\n').find((line) => line.includes('clients.lowered')) ?? '{}') as {
      readonly maxClients?: number
    }
    const most = lowered.maxClients ?? 0
    assert.ok(most > 5 && most < 80, log)
    const clients: RawClient[] = []
    for (let at = 0; at < 80; at += 1) clients.push(await RawClient.connect(port))
    const [first] = clients
    const config = await first?.ask(command('CONFIG', 'GET', 'maxclients'), `${most}\r\n`)
    assert.match(config ?? '', new RegExp(`maxclients\r\n\\$\\d\r\n${most}\r\n$`))
    await Promise.all(clients.slice(most).map((client) => client.until((_text, isClosed) => isClosed)))
    assert.is(await clients[most - 1]?.ask(command('SET', 'k', 'v'), '\r\n'), '+OK\r\n')
    assert.is(log.match(/listen\.paused/g), null, 'the system itself never ran out')

    for (const client of clients) client.close()
    child.stdin.end()
    assert.is(await ended, 0, log)
    rmSync(dir, { recursive: true })
  },
)

test('a terminal that hangs up closes a server in order', async () => {
  const cluster = await ProcessCluster.start(1)
  const [member] = cluster.members
  if (member === undefined) throw new Error('no member')
  const { code, signal, stderr } = await cluster.end(member, 'SIGHUP')
  assert.equal([code, signal], [0, null])
  assert.is(lastEvent(stderr).event, 'server.closed')
  await cluster.close()
})

test('a server listens elsewhere than where it says it is, for clients and for peers', async () => {
  const dir = temporaryDir()
  const [peer, redis, ...listed] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
  const list = `s1=kv.invalid:${listed[0]}/kv.invalid:${listed[1]}`
  const listen = ['--listen-peer', `127.0.0.1:${peer}`, '--listen-redis', `127.0.0.1:${redis}`]
  const running = runNode([mainPath, '--servers', list, '--dir', dir, ...listen, '--stop-with-stdin'])
  await until('it is open', () => Promise.resolve(running.output().includes('server.open')))
  await (await RawClient.connect(peer)).drain()
  const client = await RawClient.connect(redis)
  const slots = await client.ask(command('CLUSTER', 'SLOTS'), '*0\r\n')
  assert.match(slots, new RegExp(`kv\\.invalid\r\n:${listed[1]}\r\n`))
  assert.match(
    await client.ask(command('INFO', 'server') + command('PING'), 'PONG\r\n'),
    new RegExp(`tcp_port:${redis}\r\n`),
  )
  client.close()
  running.child.stdin?.end()
  assert.is((await running.ended).code, 0)
  rmSync(dir, { recursive: true })
  const refused = (...words: readonly string[]): string => {
    try {
      readServerOptions(['--servers', list, ...words])
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.match(refused('--listen-redis', '7001'), /^--listen-redis is 7001; it must be host:port/)
  assert.match(refused('--listen-peer', 'a:1', '--bind', '::'), /both say where to listen; give one of them$/)
})

test('a server whose stdin ends closes when it was asked to', async () => {
  const cluster = await ProcessCluster.start(1)
  const [member] = cluster.members
  if (member === undefined) throw new Error('no member')
  const running = cluster.take(member)
  running.child.stdin?.end()
  const { code, stderr } = await running.ended
  assert.is(code, 0)
  assert.is(lastEvent(stderr).event, 'server.closed')
  await cluster.close()
})

/**
 * A server whose standard error is that file, or a pipe that nobody reads; clients cause lines, and it is closed in
 * order.
 */
async function logsInto(file: number | null): Promise<number | null> {
  const dir = temporaryDir()
  const port = await freePort()
  const words = [mainPath, '--port', String(port), '--dir', dir, '--log-level', 'debug', '--stop-with-stdin']
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'ignore', file ?? 'pipe'] })
  const ended = new Promise<number | null>((resolve) => {
    child.once('exit', (code) => resolve(code))
  })
  child.stderr?.destroy()
  const serves = (): Promise<boolean> =>
    RawClient.connect(port).then(
      (client) => (client.close(), true),
      () => false,
    )
  await until('it serves, or has ended', async () => child.exitCode !== null || (await serves()))
  for (let times = 0; times < 3 && child.exitCode === null; times += 1) {
    // A browser is cut off, which is worth a line.
    const browser = await RawClient.connect(port)
    browser.send('POST / HTTP/1.1\r\n')
    await browser.until((_, isClosed) => isClosed)
  }
  child.stdin?.end()
  const code = await ended
  rmSync(dir, { recursive: true })
  return code
}

test('a log that nobody reads any more ends nothing, whatever clients do', async () => {
  assert.is(await logsInto(null), 0)
})

testUnless(
  test,
  existsSync('/dev/full') ? null : 'there is no /dev/full here',
  'a log whose disk is full ends nothing',
  async () => {
    const full = openSync('/dev/full', 'w')
    assert.is(await logsInto(full), 0)
    closeSync(full)
  },
)

test.run()
