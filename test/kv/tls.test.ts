/** TLS on the clients' port: redis-cli and ioredis, who is turned away and how, slow handshakes, and files. */

import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectPlain, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { Redis } from 'ioredis'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readServerOptions } from 'balsa-kv/cli/server-options.js'
import { HANDSHAKE_MS_MAX, HANDSHAKES_MAX, HANDSHAKES_PER_TURN } from 'balsa-kv/limits.js'
import { Secret } from 'balsa-kv/security/small-file.js'
import { readClientTls, type AuthClients, type ClientTls } from 'balsa-kv/security/tls-files.js'
import { JoiningDesk } from 'balsa-kv/server/joining-desk.js'
import { TlsDoor } from 'balsa-kv/server/tls-door.js'
import { machineClock, type KvClock } from 'balsa-kv/server/clock.js'
import { ManualClock } from '../transport/manual-clock.js'
import { until } from '../support/until.js'
import { RespClient } from '../support/resp-client.js'
import { testUnless } from '../support/skip.js'
import { Authority, noCertificates, type Issued } from '../../support/certificates.js'
import { freePort } from '../../support/free-addresses.js'
import { startServer, type Fixture, type FixtureOptions } from './kv-fixture.js'
import { mainPath, ProcessCluster, runNode } from './processes.js'

const test = suite('TLS of kv')

const missing = noCertificates
const missingCli = spawnSync('redis-cli', ['--help'], { encoding: 'utf8' }).stdout?.includes('--tls')
  ? missing
  : 'redis-cli with TLS is not installed here'

const dir = mkdtempSync(join(tmpdir(), 'balsa-kv-tls-'))

interface CertificateFiles {
  readonly certFile: string
  readonly keyFile: string
}

function put(name: string, { cert, key }: Issued): CertificateFiles {
  const found = { certFile: join(dir, `${name}.pem`), keyFile: join(dir, `${name}.key`) }
  writeFileSync(found.certFile, cert)
  writeFileSync(found.keyFile, key)
  return found
}

const pem = (file: string): string => readFileSync(file, 'utf8')

const names = ['IP:127.0.0.1', 'DNS:localhost']
let files: Readonly<
  Record<'authority' | 'server' | 'client' | 'expired' | 'foreignAuthority' | 'foreign', CertificateFiles>
>

test.before(() => {
  if (missing !== null) return
  const [authority, foreignAuthority] = [new Authority(), new Authority('another authority')]
  const caOf = (name: string, { pem: cert }: Authority): CertificateFiles => put(name, { cert, key: '' })
  files = {
    authority: caOf('ca', authority),
    server: put('server', authority.issue({ names })),
    client: put('client', authority.issue({ names })),
    expired: put('expired', authority.issue({ names, days: -1 })),
    foreignAuthority: caOf('foreign-ca', foreignAuthority),
    foreign: put('foreign', foreignAuthority.issue({ names })),
  }
  for (const each of [authority, foreignAuthority]) each.close()
})
test.after(() => rmSync(dir, { recursive: true, force: true }))

function tlsOf(authClients: AuthClients, { server, authority } = files): ClientTls {
  return readClientTls({ ...server, caFile: authClients === 'no' ? null : authority.certFile, authClients }, Date.now())
}

async function withTls(
  authClients: AuthClients,
  body: (fixture: Fixture) => Promise<void>,
  options: FixtureOptions = {},
): Promise<void> {
  const fixture = await startServer({ ...options, tls: tlsOf(authClients) })
  try {
    await body(fixture)
  } finally {
    await fixture.close()
  }
  assert.is(fixture.server.rooms.handshakes, 0)
}

/** What a TLS client is answered to a PING, or why it got no answer. */
function pinged(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectTls({ port, host: '127.0.0.1', ca: pem(files.authority.certFile), ...options })
    let received = ''
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString()
      if (received.includes('\r\n')) socket.destroy()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => (received ||= error.code ?? error.message))
    socket.on('close', () => resolve(received))
    // A client may close its side, and still be answered.
    socket.on('secureConnect', () => socket.end('PING\r\n'))
  })
}

/** Of two connections, the second with what the first was given to take up its session again. */
async function reused(port: number, options: ConnectionOptions): Promise<readonly boolean[]> {
  let session: Buffer | undefined
  const found: boolean[] = []
  for (let times = 0; times < 2; times += 1) {
    const more = session === undefined ? {} : { session }
    const socket = connectTls({ port, host: '127.0.0.1', ca: pem(files.authority.certFile), ...options, ...more })
    socket.on('session', (given) => (session = given))
    socket.on('secureConnect', () => {
      found.push(socket.isSessionReused())
      socket.end('PING\r\n')
    })
    socket.resume()
    await new Promise((resolve) => socket.once('close', resolve))
    session ??= socket.getSession()
  }
  return found
}

const keyPair = ({ certFile, keyFile }: CertificateFiles): ConnectionOptions => ({
  cert: pem(certFile),
  key: pem(keyFile),
})

function redisCli(port: number, ...words: readonly string[]): Promise<string> {
  const child = spawn('redis-cli', ['-p', String(port), '--no-auth-warning', ...words])
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return new Promise((resolve) => child.once('close', () => resolve(output.trim())))
}

testUnless(test, missingCli, 'redis-cli and ioredis speak TLS with it unchanged, with a password and without', () =>
  withTls(
    'no',
    async ({ port, server }) => {
      const tls = ['--tls', '--cacert', files.authority.certFile]
      assert.is(await redisCli(port, ...tls, '-a', 'secret', 'SET', 'k', 'v'), 'OK')
      assert.match(await redisCli(port, ...tls, 'GET', 'k'), /^NOAUTH Authentication required\.$/)
      assert.match(await redisCli(port, '-a', 'secret', 'GET', 'k'), /this port takes TLS alone/)
      assert.match(
        await redisCli(port, '--tls', '--cacert', files.foreignAuthority.certFile, 'GET', 'k'),
        /certificate verify failed/,
      )
      const redis = new Redis({
        port,
        host: '127.0.0.1',
        password: 'secret',
        tls: { ca: pem(files.authority.certFile) },
      })
      redis.on('error', () => undefined)
      const value = 'v'.repeat(300_000)
      assert.equal([await redis.set('large', value), await redis.get('large')], ['OK', value])
      assert.equal((await redis.pipeline(Array.from({ length: 100 }, () => ['incr', 'n'])).exec())?.at(-1), [null, 100])
      assert.equal(await redis.config('GET', 'requirepass'), [])
      redis.disconnect()
      assert.match(await pinged(port, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }), /PROTOCOL_VERSION|ALERT/)
      await until('all have gone', () => server.clientCount === 0)
    },
    { users: { aclFile: null, password: new Secret('secret') } },
  ),
)

testUnless(test, missing, 'a client whose certificate is not believed is told so, and does nothing', async () => {
  const answers = async (authClients: AuthClients): Promise<readonly string[]> => {
    let all: readonly string[] = []
    await withTls(authClients, async ({ port, server, logged }) => {
      const none = await pinged(port, {})
      const own = await pinged(port, keyPair(files.client))
      const foreign = await pinged(port, keyPair(files.foreign))
      const expired = await pinged(port, keyPair(files.expired))
      all = [none, own, foreign, expired]
      assert.is(server.tls?.failed, all.filter((answer) => answer !== '+PONG\r\n').length)
      assert.is(
        logged.some((line) => line.startsWith('tls.refused')),
        authClients !== 'no',
      )
    })
    return all.map((answer) => answer.replace(/^-ERR this server does not take this client: /, '').trim())
  }
  const showsNone = 'it shows no certificate (redis-cli --cert <file> --key <file>)'
  const notBelieved = 'its certificate is not believed (UNABLE_TO_VERIFY_LEAF_SIGNATURE)'
  const over = 'its certificate is not believed (CERT_HAS_EXPIRED)'
  assert.equal(await answers('yes'), [showsNone, '+PONG', notBelieved, over])
  assert.equal(await answers('optional'), ['+PONG', '+PONG', notBelieved, over])
  assert.equal(new Set(await answers('no')), new Set(['+PONG']))
})

testUnless(test, missing, 'a session that is taken up again brings no certificate, and lets nobody in', () =>
  withTls('yes', async ({ port }) => {
    let sessions: Buffer[] = []
    assert.is(await pinged(port, keyPair(files.client)), '+PONG\r\n')
    assert.equal(await reused(port, keyPair(files.client)), [false, false], 'nor is a good one taken up again')
    const first = connectTls({ port, host: '127.0.0.1', ca: pem(files.authority.certFile) })
    first.on('session', (session) => (sessions = [...sessions, session]))
    first.on('error', () => undefined)
    first.resume()
    await new Promise((resolve) => first.once('close', resolve))
    for (const session of [first.getSession(), ...sessions]) {
      assert.match(await pinged(port, session === undefined ? {} : { session }), /shows no certificate/)
    }
  }),
)

testUnless(
  test,
  missing,
  'who speaks plain is told in one line and gone at once, and so who goes away in the middle',
  () =>
    withTls('no', async ({ port, logged, server }) => {
      const socket = connectPlain({ port, host: '127.0.0.1' })
      socket.write('PING\r\n')
      let received = ''
      socket.on('data', (chunk: Buffer) => (received += chunk.toString()))
      await new Promise((resolve) => socket.once('close', resolve))
      assert.match(received, /^-ERR this port takes TLS alone: .*--tls.*\r\n$/)
      assert.match(logged.join('\n'), /tls\.refused .*it speaks plain, and this port takes TLS alone/)
      for (const begun of [undefined, '\x16\x03\x01', '\x16garbage that is no hello at all']) {
        const other = connectPlain({ port, host: '127.0.0.1' })
        other.on('error', () => undefined)
        if (begun !== undefined) other.write(begun, 'latin1')
        await new Promise((resolve) => other.once('connect', resolve))
        other.end()
        other.resume()
        await new Promise((resolve) => other.once('close', resolve))
      }
      await until('nothing is left of them', () => server.tls?.pending === 0)
      assert.is(server.clientCount, 0)
      assert.is(
        logged.filter((line) => line.startsWith('tls.refused')).length,
        1,
        'one line for many that come together',
      )
    }),
)

testUnless(test, missing, 'handshakes that never end keep nobody out, and end', async () => {
  const manual = new ManualClock()
  const clock: KvClock = {
    ...machineClock,
    now: () => manual.now(),
    setTimer: (ms, callback) => manual.setTimer(ms, callback),
  }
  await withTls(
    'no',
    async ({ port, server }) => {
      const slow: Socket[] = Array.from({ length: 200 }, () => connectPlain({ port, host: '127.0.0.1' }))
      let closed = 0
      for (const [at, socket] of slow.entries()) {
        socket.on('error', () => undefined)
        socket.on('close', () => (closed += 1))
        // The half of a first record, or nothing.
        if (at % 2 === 0) socket.write('\x16\x03\x01\x02\x00\x01\x00', 'latin1')
        socket.resume()
      }
      await until('all places are theirs', () => (server.tls?.pending ?? 0) + closed === 200)
      assert.ok((server.tls?.pending ?? 0) <= 50)
      const answers = await Promise.all(Array.from({ length: 20 }, () => pinged(port, {})))
      assert.equal(new Set(answers), new Set(['+PONG\r\n']))
      manual.advance(HANDSHAKE_MS_MAX)
      await until('they are gone', () => closed === 200)
      assert.is(server.tls?.pending, 0)
    },
    { clock, clientsMax: 50 },
  )
  assert.ok(HANDSHAKES_MAX <= 1024)
})

testUnless(test, missing, 'of handshakes that come together few begin in one turn', async () => {
  const turns: (() => void)[] = []
  const clock = { now: () => 0, setTimer: () => () => undefined, defer: (turn: () => void) => void turns.push(turn) }
  const quiet = (): void => undefined
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const door = new TlsDoor({
    tls: tlsOf('no'),
    clock,
    log,
    hasRoom: () => true,
    onSocket: (socket) => socket.destroy(),
  })
  let accepted = 0
  const server = createServer({ allowHalfOpen: true }, (raw) => {
    accepted += 1
    door.take(raw)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const clients = Array.from({ length: 2 * HANDSHAKES_PER_TURN + 1 }, () => pinged(port, {}))
  await until('all have come', () => accepted === clients.length && turns.length === 1)
  let used = 0
  while (door.pending > 0) {
    await until('a turn is asked for, or all are done', () => turns.length > 0 || door.pending === 0)
    for (const turn of turns.splice(0)) {
      used += 1
      turn()
    }
  }
  assert.ok(used >= 3, `${used} turns`)
  await Promise.all(clients)
  server.close()
})

testUnless(test, missing, 'new files are taken for connections from now on; files with a flaw change nothing', () =>
  withTls('yes', async ({ port, server }) => {
    const redis = new Redis({
      port,
      host: '127.0.0.1',
      tls: { ca: pem(files.authority.certFile), ...keyPair(files.client) },
    })
    redis.on('error', () => undefined)
    assert.is(await redis.ping(), 'PONG')
    const foreign = { server: files.foreign, authority: files.foreignAuthority }
    server.tls?.replace(tlsOf('yes', { ...files, ...foreign }))
    assert.is(await redis.ping(), 'PONG', 'who is here stays')
    assert.is(await pinged(port, keyPair(files.client)), 'SELF_SIGNED_CERT_IN_CHAIN')
    const ca = pem(files.foreignAuthority.certFile)
    assert.match(await pinged(port, { ca, ...keyPair(files.client) }), /its certificate is not believed/)
    assert.is(await pinged(port, { ca, ...keyPair(files.foreign) }), '+PONG\r\n')
    redis.disconnect()
  }),
)

testUnless(
  test,
  missing,
  'a server that joins a cluster speaks TLS, and tells strangers of it only where all may ask',
  async () => {
    const quiet = (): void => undefined
    const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
    for (const [isOpen, said] of [
      [false, /^-LOADING this server is joining a cluster; its log says what it waits for\r\n$/],
      [true, /^-LOADING this server is joining a cluster; RAFT STATUS says/],
    ] as const) {
      const address = { host: '127.0.0.1', port: await freePort() }
      const desk = new JoiningDesk({ id: 's9', address, clock: machineClock, log, tls: tlsOf('no'), isOpen })
      desk.tell({ waitsFor: 'operator', asking: null, answers: [], nextAt: null })
      await until('it listens', async () => !(await pinged(address.port, {})).includes('ECONNREFUSED'))
      assert.match(await pinged(address.port, {}), said)
      desk.close()
    }
  },
)

testUnless(test, missing, 'each flaw of a certificate is said with its file', () => {
  const flaw = (changed: Partial<Parameters<typeof readClientTls>[0]>, now = Date.now()): string => {
    try {
      readClientTls({ ...files.server, caFile: files.authority.certFile, authClients: 'yes', ...changed }, now)
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.is(flaw({}), '')
  assert.match(
    flaw({ keyFile: files.client.keyFile }),
    /^--tls-key-file \S+client\.key is not the key of the certificate in \S+server\.pem$/,
  )
  assert.match(flaw({ keyFile: files.server.certFile }), /server\.pem is no private key without a passphrase/)
  assert.match(flaw({ certFile: files.server.keyFile }), /^--tls-cert-file \S+ holds no certificate in PEM/)
  assert.match(flaw({ caFile: files.server.keyFile }), /^--tls-ca-cert-file \S+ holds no certificate/)
  assert.match(flaw({ certFile: '/no/such' }), /^--tls-cert-file \/no\/such cannot be read: ENOENT/)
  assert.match(flaw(files.expired), /expired\.pem: the certificate has expired, on /)
})

for (const [line, message] of [
  ['--tls-cert-file a', /^--tls-key-file is missing: TLS needs/],
  ['--tls-key-file a', /^--tls-cert-file is missing/],
  ['--tls-ca-cert-file a', /^--tls-cert-file is missing/],
  ['--tls-cert-file a --tls-key-file b --tls-auth-clients yes', /^--tls-auth-clients is yes, and there is no --tls-ca/],
  [
    '--tls-cert-file a --tls-key-file b --tls-auth-clients x',
    /^--tls-auth-clients is x; it must be yes, no or optional$/,
  ],
  ['--tls-cert-file= --tls-key-file b', /^--tls-cert-file must name a file$/],
  ['--peer-tls-cert-file a --peer-tls-key-file b', /^--peer-tls-ca-cert-file is missing: peers show certificates/],
  ['--peer-token-file a', /^--peer-tls-cert-file is missing: .*a token goes inside of TLS alone$/],
  ['--password-file a --set-password b', /^unknown option --set-password/],
] as const) {
  test(`"${line}" is refused by name`, () => {
    assert.throws(
      () => readServerOptions(['--port', '7001', ...line.split(' ')]),
      (error: Error) => message.test(error.message),
    )
  })
}

test('what is said of security on the command line is what is taken', () => {
  const read = (words: string, environment = {}) =>
    readServerOptions(['--port', '7001', ...words.split(' ').filter(Boolean)], environment)
  assert.equal(read('')?.tls, null)
  const pair = '--tls-cert-file a --tls-key-file b'
  assert.equal(read(pair)?.tls, { certFile: 'a', keyFile: 'b', caFile: null, authClients: 'no' })
  assert.equal(read(`${pair} --tls-ca-cert-file c`)?.tls, {
    certFile: 'a',
    keyFile: 'b',
    caFile: 'c',
    authClients: 'yes',
  })
  assert.is(read(`${pair} --tls-ca-cert-file c --tls-auth-clients optional`)?.tls?.authClients, 'optional')
  assert.equal(read('--password-file p --aclfile q')?.users, { aclFile: 'q', password: { file: 'p' } })
  const secret = { BALSA_KV_PASSWORD: 'hunter2' }
  assert.not.match(JSON.stringify(read('', secret)), /hunter2/)
  assert.throws(() => read('--password-file p', secret), /both say the password/)
  assert.throws(() => read('', { BALSA_KV_PASSWORD: '' }), /^.*BALSA_KV_PASSWORD is empty/)
})

testUnless(
  test,
  missingCli,
  'a process reads its files again when it is told, and never logs what is secret in them',
  async () => {
    const { server, authority } = files
    const at = (name: string): string => join(dir, name)
    const [cert, key, acl] = [at('live.pem'), at('live.key'), at('live.acl')]
    copyFileSync(server.certFile, cert)
    copyFileSync(server.keyFile, key)
    chmodSync(key, 0o600)
    const users = (password: string): string => `user default off\nuser alice on >${password} ~* +@all\n`
    writeFileSync(acl, users('swordfish'))
    const port = await freePort()
    const peer = await freePort()
    const words = ['--servers', `s1=127.0.0.1:${peer}/127.0.0.1:${port}`, '--listen-redis', `0.0.0.0:${port}`]
    const security = ['--tls-cert-file', cert, '--tls-key-file', key, '--aclfile', acl, '--dir', at('data')]
    const running = runNode([mainPath, ...words, ...security, '--log-level', 'debug', '--stop-with-stdin'])
    const ask = (password: string, ...command: readonly string[]): Promise<string> =>
      redisCli(port, '--tls', '--cacert', authority.certFile, '--user', 'alice', '--pass', password, ...command)
    const hangUp = async (event: string): Promise<void> => {
      const before = running.output().split(event).length
      running.child.kill('SIGHUP')
      await until(`it logs ${event}`, () => running.output().split(event).length > before)
    }
    try {
      await until('it is open', () => running.output().includes('"server.open"'))
      assert.is(await ask('swordfish', 'SET', 'k', 'v'), 'OK')
      writeFileSync(acl, `${users('tigerfish')}user bob on lanternfish\n`)
      writeFileSync(cert, 'no certificate')
      await hangUp('"certificates"')
      assert.match(
        running.output(),
        /"security\.kept","what":"users","message":"\S+live\.acl:3: rule 2 of user bob, which has 11 bytes/,
      )
      assert.match(
        running.output(),
        /"what":"certificates","message":"--tls-cert-file \S+ holds no certificate in PEM.*stays in force"/,
      )
      assert.is(await ask('swordfish', 'GET', 'k'), 'v')
      writeFileSync(acl, users('tigerfish'))
      copyFileSync(files.client.certFile, cert)
      copyFileSync(files.client.keyFile, key)
      await hangUp('"certificates.loaded"')
      assert.match(await ask('swordfish', 'GET', 'k'), /WRONGPASS/)
      assert.is(await ask('tigerfish', 'GET', 'k'), 'v')
    } finally {
      running.child.stdin?.end()
      const { code, stderr } = await running.ended
      assert.is(code, 0)
      assert.not.match(stderr, /swordfish|tigerfish|lanternfish|PRIVATE/)
      assert.not.match(stderr, /clients\.unprotected/)
    }
  },
)

testUnless(
  test,
  missing,
  'peers show certificates and a token, take new ones while they run, and keep strangers out',
  async () => {
    const { authority, server, foreign } = files
    const at = (name: string): string => join(dir, name)
    const [cert, key, token] = [at('peer.pem'), at('peer.key'), at('token')]
    const use = (pair: CertificateFiles): void => {
      copyFileSync(pair.certFile, cert)
      copyFileSync(pair.keyFile, key)
    }
    use(server)
    writeFileSync(token, 'a token of more than 16 bytes\n')
    const peers = [
      '--peer-tls-cert-file',
      cert,
      '--peer-tls-key-file',
      key,
      '--peer-tls-ca-cert-file',
      authority.certFile,
    ]
    const cluster = await ProcessCluster.start(2, [...peers, '--peer-token-file', token])
    try {
      assert.is(await cluster.askLeader('SET', 'k', 'v'), 'OK')
      const [stranger] = cluster.members
      assert.ok(stranger)
      const refused = await pinged(stranger.peer.port, keyPair(foreign))
      assert.not.match(refused, /PONG/)
      const member = cluster.members[1]
      assert.ok(member)
      const running = cluster.take(member)
      try {
        const hangUp = async (event: string): Promise<void> => {
          running.child.kill('SIGHUP')
          await until(`it logs ${event}`, () => running.output().includes(event))
        }
        copyFileSync(foreign.certFile, cert)
        await hangUp('"what":"certificates of peers"')
        use(files.client)
        await hangUp('"peer-certificates.loaded"')
        const reader = await RespClient.connect(member.redis.port)
        await reader.ask('READONLY', 'LINEARIZABLE')
        assert.is(await reader.ask('GET', 'k'), 'v')
        reader.close()
        assert.not.match(running.output(), /a token of more|PRIVATE/)
      } finally {
        running.child.kill('SIGKILL')
        await running.ended
      }
    } finally {
      await cluster.close()
    }
  },
)

test.run()
