/** `npm start`: what it makes and deletes, and a cluster that is watched, restarted and stopped. */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { prepareDataDir } from 'balsa-kv/launcher/data-dir.js'
import { readLaunchOptions, type LaunchOptions } from 'balsa-kv/launcher/launch-options.js'
import { ServerProcess } from 'balsa-kv/launcher/server-process.js'
import { freePortRow } from '../../support/free-addresses.js'
import { until } from '../support/until.js'
import { runNode, temporaryDir, type Ended, type Running } from './processes.js'
import { RawClient } from './kv-fixture.js'

const test = suite('npm start')

const options = (line: string): LaunchOptions => {
  const read = readLaunchOptions(line.split(' ').filter(Boolean))
  if (read === null) throw new Error('help was asked for')
  return read
}

test('its options have defaults and bounds, and are refused by name', () => {
  const { members, port, restarts, forwards, fresh } = options('')
  assert.equal(
    members.map(({ peer, redis }) => [peer.port, redis.port]),
    [
      [7101, 7001],
      [7102, 7002],
      [7103, 7003],
    ],
  )
  assert.equal([port, restarts, forwards, fresh], [7001, true, false, false])
  assert.is(options('--forward').forwards, true)
  assert.is(options('--no-restart').restarts, false)
  assert.throws(() => options('--servers 0'), /^--servers is 0; it must be a whole number of 1 \.\. 9$/)
  assert.throws(() => options('--port 65500'), /^--port is 65500/)
  assert.throws(() => options('--bogus'), /^unknown option --bogus/)
  assert.is(readLaunchOptions(['--help']), null)
})

test('--fresh deletes what npm start made, and nothing else', () => {
  const dir = temporaryDir()
  const at = (line: string): LaunchOptions => options(`--data ${dir} ${line}`)
  prepareDataDir(at('--servers 3'))
  for (const id of ['s1', 's2', 's3', 'mine']) {
    mkdirSync(join(dir, id))
    writeFileSync(join(dir, `${id}.log`), 'x')
  }
  prepareDataDir(at('--servers 3'))
  assert.ok(existsSync(join(dir, 's1')))
  prepareDataDir(at('--servers 1 --fresh'))
  for (const id of ['s1', 's2', 's3']) assert.not(existsSync(join(dir, id)) || existsSync(join(dir, `${id}.log`)))
  assert.ok(existsSync(join(dir, 'mine')) && existsSync(join(dir, 'mine.log')))
  rmSync(dir, { recursive: true })
})

test('data of another cluster, or of somebody else, is neither used nor deleted', () => {
  const dir = temporaryDir()
  const at = (line: string): LaunchOptions => options(`--data ${dir} ${line}`)
  mkdirSync(join(dir, 's2'))
  for (const line of ['', '--fresh']) {
    assert.throws(() => prepareDataDir(at(line)), /s2 was not made by npm start; it stays as it is$/)
    assert.ok(existsSync(join(dir, 's2')))
  }
  rmSync(join(dir, 's2'), { recursive: true })
  prepareDataDir(at('--port 7001'))
  assert.throws(() => prepareDataDir(at('--port 8001')), /holds a cluster of --servers 3 --port 7001; start it so, or/)
  assert.throws(() => prepareDataDir(at('--servers 5')), /holds a cluster of --servers 3 --port 7001/)
  writeFileSync(join(dir, 'launcher.json'), '{"servers":["../.."],"port":1}')
  for (const line of ['', '--fresh']) {
    assert.throws(() => prepareDataDir(at(line)), /launcher\.json is not what npm start writes; it stays as it is$/)
  }
  rmSync(dir, { recursive: true })
})

function start(...words: readonly string[]): Running {
  const code =
    "import { launch } from 'balsa-kv/launcher/launch.js'; process.exitCode = await launch(process.argv.slice(1))"
  return runNode(['--input-type=module', '-e', code, '--', ...words])
}

/** Waits until the launcher has said something that matches. */
async function said(running: Running, pattern: RegExp, timeoutMs = 60_000): Promise<RegExpExecArray> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const match = pattern.exec(running.output())
    if (match !== null) return match
    if (Date.now() > deadline || running.child.exitCode !== null) {
      throw new Error(`it never said ${String(pattern)}:\n${running.output()}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function ask(port: number, line: string): Promise<string> {
  const client = await RawClient.connect(port)
  const answer = await client.ask(`${line}\r\n`, '\r\n')
  client.close()
  return answer
}

/** Asks whoever leads now. */
async function askLeader(port: number, line: string): Promise<string> {
  const deadline = Date.now() + 30_000
  for (let at = port; ; at = at === port + 2 ? port : at + 1) {
    const answer = await ask(at, line).catch(() => '-')
    if (!answer.startsWith('-')) return answer
    if (Date.now() > deadline) throw new Error(`no answer to ${line}: ${answer}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test('three servers come up, one is killed and comes back, all stop, and their data is there at the next start', async () => {
  const dir = temporaryDir()
  const port = await freePortRow(3)
  const words = ['--data', dir, '--port', String(port)]
  const first = start(...words)
  try {
    await said(first, /stop {3}Ctrl-C/)
    assert.match(first.output(), new RegExp(`redis-cli -c -p ${port} set`))
    const [, id, pid] = await said(first, /^(s\d) +leader .* (\d+) +\S+\/s\d +\S+\.log$/m)
    assert.is(await askLeader(port, 'SET greeting hello'), '+OK\r\n')
    process.kill(Number(pid), 'SIGKILL')
    await said(first, new RegExp(`${id} was ended by SIGKILL; it is started again in 500 ms\\. Its log: `))
    await said(first, new RegExp(`${id} was started again, pid \\d+`))
    await said(first, /s\d at 127\.0\.0\.1:\d+ leads now, in term \d+/)
    assert.is(await askLeader(port, 'STRLEN greeting'), ':5\r\n')
  } finally {
    first.child.kill('SIGINT')
  }
  const stopped = await first.ended
  assert.is(stopped.code, 0, stopped.stdout)
  assert.match(stopped.stdout, /all servers have stopped; their data stays\n$/)
  assert.not(stopped.stdout.includes('\x1b'), 'no colours without a terminal')

  const second = start(...words, '--forward')
  try {
    await said(second, /stop {3}Ctrl-C/)
    assert.match(second.output(), new RegExp(`redis-cli -p ${port} set`))
    for (const at of [port, port + 1, port + 2]) assert.is(await ask(at, 'STRLEN greeting'), ':5\r\n', String(at))
  } finally {
    second.child.kill('SIGTERM')
  }
  assert.is((await second.ended).code, 0)
  rmSync(dir, { recursive: true })
})

test('servers end when the launcher is killed, and with --no-restart a server that ended stays so', async () => {
  const dir = temporaryDir()
  const port = await freePortRow(1)
  const running = start('--data', dir, '--port', String(port), '--servers', '1', '--no-restart')
  const [, pid] = await said(running, /^s1 +leader .* (\d+) +\S+\/s1 /m)
  process.kill(Number(pid), 'SIGKILL')
  await said(running, /s1 was ended by SIGKILL; it is not started again/)
  assert.is((await running.ended).code, 1)

  const again = start('--data', dir, '--port', String(port), '--servers', '1')
  await said(again, /stop {3}Ctrl-C/)
  again.child.kill('SIGKILL')
  await again.ended
  const log = join(dir, 's1.log')
  const deadline = Date.now() + 10_000
  while (!readFileSync(log, 'utf8').trim().endsWith('"event":"server.closed"}')) {
    if (Date.now() > deadline) throw new Error(readFileSync(log, 'utf8'))
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  rmSync(dir, { recursive: true })
})

test('a server whose log file cannot be opened is told of, and tried again', async () => {
  const dir = temporaryDir()
  const read = options(`--data ${join(dir, 'gone')} --servers 1 --port ${await freePortRow(1)}`)
  const [member] = read.members
  assert.ok(member !== undefined)
  const told: string[] = []
  const again: (number | null)[] = []
  const server = new ServerProcess(member, read, {
    onEnd: (_server, how, wait) => {
      told.push(how)
      again.push(wait)
    },
    onStart: () => told.push('started'),
    onRemoved: () => told.push('removed'),
  })
  server.start()
  assert.is(told.length, 1)
  assert.match(told[0] ?? '', /^could not be started: ENOENT/)
  assert.equal([again, server.isGone], [[500], false])
  await server.close()
  rmSync(dir, { recursive: true })
})

test('it goes on when nobody reads any more what it says, and --fresh deletes nothing under its servers', async () => {
  const dir = temporaryDir()
  const port = await freePortRow(1)
  const running = start('--data', dir, '--servers', '1', '--port', String(port))
  await said(running, /try {4}redis-cli/)
  const marker = readFileSync(join(dir, 'launcher.json'), 'utf8')
  const [, pid] = /\ns1 .* (\d+) {2}/.exec(running.output()) ?? []
  const other = await start('--data', dir, '--servers', '1', '--port', String(await freePortRow(1)), '--fresh').ended
  assert.equal([other.code, other.stdout], [69, ''])
  assert.match(other.stderr, /:\d+ is in use, where s1 of the cluster in .* listens: stop that cluster before --fresh/)
  assert.is(readFileSync(join(dir, 'launcher.json'), 'utf8'), marker)
  assert.match(await askLeader(port, 'SET k v'), /^\+OK/)
  running.child.stdout?.destroy()
  running.child.stderr?.destroy()
  process.kill(Number(pid), 'SIGKILL')
  await until('the server is back', async () => (await ask(port, 'GET k').catch(() => '')).startsWith('$1'))
  running.child.kill('SIGTERM')
  assert.is((await running.ended).code, 0)
  rmSync(dir, { recursive: true })
})

test('--add takes no other option than --data, and says what is in its way', async () => {
  assert.throws(
    () => options('--add --servers 5'),
    /^--add goes with --data and --password-file alone, and --servers is given$/,
  )
  assert.is(options('--add').adds, true)
  const dir = temporaryDir()
  const added = async (): Promise<readonly [number | null, string]> => {
    const { code, stderr } = await start('--add', '--data', dir).ended
    return [code, stderr]
  }
  const nothing = `npm start: there is no cluster in ${dir}: npm start makes one, --data names its folder\n`
  assert.equal(await added(), [64, nothing])
  prepareDataDir(options(`--data ${dir} --port ${await freePortRow(3)}`))
  const silent = `npm start: no server of the cluster in ${dir} answers: start it first, with npm start\n`
  assert.equal(await added(), [1, silent])
  rmSync(dir, { recursive: true })
})

test('--add adds a fourth and a fifth server, which come back with the next start; one that was removed does not', async () => {
  const dir = temporaryDir()
  const port = await freePortRow(5)
  const words = ['--data', dir, '--port', String(port)]
  const first = start(...words)
  const add = (): Promise<Ended> => start('--add', '--data', dir).ended
  try {
    await said(first, /stop {3}Ctrl-C/)
    const taker = createServer()
    await new Promise<void>((resolve) => taker.listen(port + 3, '127.0.0.1', () => resolve()))
    const taken = await add()
    assert.equal(
      [taken.code, taken.stderr],
      [69, `npm start: 127.0.0.1:${port + 3}, for s4's clients, is taken by another process; free it\n`],
    )
    await new Promise<void>((resolve) => taker.close(() => resolve()))

    const fourth = await add()
    assert.is(fourth.code, 0, fourth.stdout + fourth.stderr)
    assert.match(
      fourth.stdout,
      /^s4: clients at .*\ns4 runs; .*\ns4 is a voter: the cluster has 4 servers, s1, s2, s3, s4\n/,
    )
    assert.match(fourth.stdout, /an even number survives no more failures than one less: add another\n$/)
    await said(first, /^s4 was started at 127\.0\.0\.1:\d+, pid \d+; the cluster is to add it/m)
    const fifth = await add()
    assert.is(fifth.code, 0, fifth.stdout + fifth.stderr)
    const sixth = await add()
    assert.equal(
      [sixth.code, sixth.stderr],
      [
        64,
        'npm start: the cluster has 5 servers, s1, s2, s3, s4, s5: RAFT REMOVE takes one out before another comes\n',
      ],
    )
    assert.is(await askLeader(port, 'SET greeting hello'), '+OK\r\n')
    assert.match(await askLeader(port, 'RAFT REMOVE s4'), /^\*/)
    await said(first, /^s4 was removed from the cluster, and has ended; its data stays in \S+\/s4$/m)
  } finally {
    first.child.kill('SIGINT')
  }
  assert.is((await first.ended).code, 0)

  const second = start(...words)
  try {
    await said(second, /stop {3}Ctrl-C/)
    assert.match(second.output(), /^starting 4 servers \.\.\.\n[^]*\ns5 +(leader|follower) /)
    assert.not(/\ns4 /.test(second.output()))
    // Its name is the first that is free, and its folder is what it left.
    const again = await add()
    assert.is(again.code, 0, again.stdout + again.stderr)
    assert.match(again.stdout, /\ns4 is a voter: the cluster has 5 servers/)
  } finally {
    second.child.kill('SIGTERM')
  }
  assert.is((await second.ended).code, 0)
  rmSync(dir, { recursive: true })
})

test('a port that is taken is one line, before anything is started or written', async () => {
  const dir = temporaryDir()
  const port = await freePortRow(3)
  const taker = createServer()
  await new Promise<void>((resolve) => taker.listen(port + 101, '127.0.0.1', () => resolve()))
  const { code, stdout, stderr } = await start('--data', join(dir, 'data'), '--port', String(port)).ended
  assert.equal([code, stdout], [69, ''])
  assert.is(
    stderr,
    `npm start: 127.0.0.1:${port + 101}, for s2's peers, is taken by another process; --port can move all of them\n`,
  )
  assert.not(existsSync(join(dir, 'data')))
  await new Promise<void>((resolve) => taker.close(() => resolve()))
  rmSync(dir, { recursive: true })
})

test.run()
