/** Who is believed over TLS, and who is not: certificates, ids, tokens, and those who speak no TLS at all. */

import { connect as connectPlain } from 'node:net'
import type { Socket } from 'node:net'
import { connect, createServer, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { inspect } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { RaftError } from '#balsa/errors.js'
import type { Site } from '#balsa/testing/conformance/site.js'
import { heartbeat, SiteChannel } from '#balsa/testing/conformance/site.js'
import { Turnstile } from '#balsa/transport/tcp/turnstile.js'
import type { Clock } from '#balsa/types.js'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { tcp, type TcpOptions, type TlsOptions } from '#balsa/transport/tcp/index.js'
import {
  encodeClientHello,
  encodeGoodbye,
  encodeHello,
  encodeProof,
  encodeQuestion,
  PROOF_BYTES,
  PROTOCOL,
} from 'balsa-raft/transport'

import { Authority, type Issued, type Issuing, noCertificates } from '../../support/certificates.js'
import { testUnless } from '../support/skip.js'
import { until } from '../support/until.js'
import { MachineClock } from './machine-clock.js'
import { ManualClock } from './manual-clock.js'
import { addressOf, type Context, helloOf, listen, messageFrame, RawPeer, start } from './raw-peer.js'

const test = suite<Context>('TLS over TCP')
const TOKEN = 'Kq3vT0m-secret-of-all'
const SAN = 'DNS:{id}.test'

const authorities: Authority[] = []
const issued = new Map<string, Issued>()

/** One of the two that there are, each made when it is first used. */
function authority(which: 0 | 1): Authority {
  return (authorities[which] ??= new Authority(`authority ${which}`))
}

/** Made once. */
function certificate(issuing: Issuing, by: 0 | 1 = 0): Issued {
  const key = `${by} ${JSON.stringify(issuing)}`
  const known = issued.get(key) ?? authority(by).issue(issuing)
  issued.set(key, known)
  return known
}

const of = (id: string): Issuing => ({ names: [`DNS:${id}.test`, 'IP:127.0.0.1'] })

/** What a server of that id has when all is well. */
function good(id: string, more: Partial<TlsOptions> = {}): TlsOptions {
  return { ...certificate(of(id)), ca: authority(0).pem, ...more }
}

test.before.each((context) => {
  context.clock = new MachineClock()
  context.open = []
})

test.after.each(async (context) => {
  for (const one of context.open.reverse()) await one.close()
  assert.is(context.clock.pending.size, 0, 'timers are left')
})

test.after(() => {
  for (const one of authorities) one?.close()
})

function check(name: string, run: (context: Context) => Promise<void>): void {
  testUnless(test, noCertificates, name, run)
}

interface Two {
  /** Listens, and is dialled by b. */
  readonly a: Site
  readonly b: Site
  readonly address: string
}

async function two(context: Context, ofA: Partial<TcpOptions>, ofB: Partial<TcpOptions>): Promise<Two> {
  const a = await start(context, 'a', ofA)
  const b = await start(context, 'b', ofB)
  b.transport.setPeers([{ id: 'a', address: a.address }])
  return { a: a.site, b: b.site, address: a.address }
}

const reasonOf = (site: Site, event: string): string | undefined => {
  const line = site.lines.find((one) => one.event === event)
  return line === undefined ? undefined : String(line.fields['reason'])
}

interface Refused {
  readonly a: () => Partial<TcpOptions>
  readonly b: () => Partial<TcpOptions>
  /** What each of the two logs. */
  readonly atB: RegExp
  readonly atA: RegExp
}

const refusals: Readonly<Record<string, Refused>> = {
  'a certificate of another authority, of who is dialled': {
    a: () => ({ tls: { ...certificate(of('a'), 1), ca: authority(0).pem } }),
    b: () => ({ tls: good('b') }),
    atB: /^the certificate of who listens at 127\.0\.0\.1:\d+ is not believed \(\w+\): no CA in tls\.ca of the side that/,
    atA: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): the certificate of who listens at .* Have it issued/,
  },
  'a certificate of another authority, of who dials': {
    a: () => ({ tls: good('a') }),
    b: () => ({ tls: { ...certificate(of('b'), 1), ca: authority(0).pem } }),
    atB: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): the certificate of who dials is not believed/,
    atA: /^the certificate of who dials is not believed \(\w+\): no CA in tls\.ca .* Have it issued/,
  },
  'a certificate for one direction only': {
    a: () => ({ tls: good('a') }),
    b: () => ({ tls: { ...certificate({ ...of('b'), extendedKeyUsage: 'serverAuth' }), ca: authority(0).pem } }),
    atB: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): .*\(INVALID_PURPOSE\)/,
    atA: /^the certificate of who dials is not believed \(INVALID_PURPOSE\): .* Issue it with serverAuth and clientAuth/,
  },
  'the certificate of another server, of who is dialled': {
    a: () => ({ tls: good('c') }),
    b: () => ({ tls: good('b', { san: SAN }) }),
    atB: /^the certificate of who listens at .* must have the alternative name DNS:a\.test, and has DNS:c\.test/,
    atA: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): .*issue it with that name, or correct tls\.san$/,
  },
  'the certificate of another server, of who dials': {
    a: () => ({ tls: good('a', { san: SAN }) }),
    b: () => ({ tls: good('c') }),
    atB: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): the certificate of who calls itself b must have/,
    atA: /^the certificate of who calls itself b must have the alternative name DNS:b\.test, and has DNS:c\.test/,
  },
  'a certificate of another host': {
    a: () => ({ tls: { ...certificate({ names: ['DNS:a.test'] }), ca: authority(0).pem } }),
    b: () => ({ tls: good('b') }),
    atB: /^the certificate .* is not for the host 127\.0\.0\.1: it has DNS:a\.test\. Issue it with that/,
    atA: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): .*is not for the host 127\.0\.0\.1/,
  },
  'another token': {
    a: () => ({ tls: good('a'), token: TOKEN }),
    b: () => ({ tls: good('b'), token: 'the token of that cluster' }),
    atB: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): .*give both sides the same option token/,
    atA: /^who dials has not proven the token of this cluster: give both sides the same option token/,
  },
  'no token': {
    a: () => ({ tls: good('a'), token: TOKEN }),
    b: () => ({ tls: good('b') }),
    atB: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): .*give both sides the same option token/,
    atA: /^who dials has not proven the token/,
  },
  'who dials without TLS a port with it': {
    a: () => ({ tls: good('a') }),
    b: () => ({}),
    atB: /^refused by the peer \(ERR_RAFT_UNAUTHENTICATED\): one side speaks TLS, and the other does not: give both/,
    atA: /^one side speaks TLS, and the other does not: give both/,
  },
  'who dials with TLS a port without it': {
    a: () => ({}),
    b: () => ({ tls: good('b') }),
    atB: /^one side speaks TLS, and the other does not: give both/,
    atA: /one side speaks TLS, and the other does not: give both/,
  },
}

for (const [what, { a: ofA, b: ofB, atA, atB }] of Object.entries(refusals)) {
  check(`${what} is refused with one clear line on both sides`, async (context) => {
    const { a, b } = await two(context, ofA(), ofB())
    const isLetIn = (): boolean => a.admitted.length + b.admitted.length > 0
    const haveSaid = (): boolean =>
      reasonOf(a, 'transport.link-refused') !== undefined && reasonOf(b, 'transport.dial-failed') !== undefined
    await until('both have said why', () => haveSaid() || isLetIn())
    assert.not.ok(isLetIn(), 'somebody was let in')
    await until('it was dialled again', () => b.failedDials.length > 2)
    assert.match(reasonOf(b, 'transport.dial-failed') ?? '', atB)
    assert.match(reasonOf(a, 'transport.link-refused') ?? '', atA)
    assert.is(b.lines.filter(({ event, level }) => event === 'transport.dial-failed' && level === 'warn').length, 1)
    assert.not.ok(isLetIn(), 'somebody was let in')
    const { by, code } = b.refusals[0] ?? {}
    assert.ok(code === 'ERR_RAFT_UNAUTHENTICATED', `${by} ${code}`)
    const said = inspect([a.lines, b.lines], { depth: 9 })
    for (const secret of [TOKEN, 'PRIVATE KEY']) assert.not.ok(said.includes(secret), secret)
  })
}

check('a channel and a question are refused as a session is', async (context) => {
  const a = await start(context, 'a', { tls: good('a', { san: SAN }), token: TOKEN })
  const b = await start(context, 'b', { tls: good('b', { san: SAN }), token: 'the token of that cluster' })
  b.transport.setPeers([{ id: 'a', address: a.address }])
  const refusal = await b.transport.openChannel('a', new SiteChannel()).then(String, String)
  assert.match(refusal, 'no channel to a: refused by the peer (ERR_RAFT_UNAUTHENTICATED)')
  const asked = await b.transport.ask(a.address, Uint8Array.of(1), context.clock).then(String, String)
  assert.match(asked, 'refused by the peer (ERR_RAFT_UNAUTHENTICATED)')
  const c = tcp({ listen: '127.0.0.1:0', tls: good('c', { ca: authority(1).pem }), token: TOKEN })
  context.open.push(c)
  assert.match(
    await c.ask(a.address, Uint8Array.of(1), context.clock).then(String, String),
    /the certificate of who listens at .* is not believed/,
  )
  await until('that was told, too', () => a.site.warnings('who listens at').length > 0)
  assert.equal(a.site.questions, [])
})

check('who joins asks over TLS with its token before it is anybody', async (context) => {
  const a = await start(context, 'a', { tls: good('a', { san: SAN }), token: TOKEN })
  a.site.onAsked = (question) => Uint8Array.of(...question, 2)
  const joiner = tcp({ listen: '127.0.0.1:0', tls: () => good('b', { san: SAN }), token: async () => TOKEN })
  context.open.push(joiner)
  assert.equal([...(await joiner.ask(a.address, Uint8Array.of(1), context.clock))], [1, 2])
})

/** Dials with what no transport of ours would. */
async function raw(context: Context, address: string, options: ConnectionOptions): Promise<RawPeer> {
  const port = Number(address.split(':')[1])
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['balsa'], ...options })
  const peer = new RawPeer(socket)
  context.open.push(peer)
  await new Promise<void>((resolve) => {
    socket.once('secureConnect', resolve)
    socket.once('close', () => resolve())
  })
  return peer
}

check('who shows no certificate is refused, and so is the session that it would resume', async (context) => {
  const { site, address } = await start(context, 'a', { tls: good('a') })
  let session: Buffer | undefined
  const first = await raw(context, address, {})
  ;(first.socket as TLSSocket).on('session', (got: Buffer) => (session = got))
  assert.match(await first.refusal(), 'the certificate of who dials is missing: give it the options cert and key')
  const second = await raw(context, address, session === undefined ? {} : { session })
  second.hello('b', 'a')
  assert.match(await second.refusal(), /ERR_RAFT_UNAUTHENTICATED: the certificate of who dials (?:is missing|was not)/)
  await until('both are gone', () => first.isClosed && second.isClosed)
  assert.is(site.calls, 0)
})

check('an expired certificate is refused by whichever side sees it', async (context) => {
  const old = certificate({ ...of('b'), days: -1 })
  const { site, address } = await start(context, 'a', { tls: good('a') })
  const peer = await raw(context, address, { ...old })
  assert.match(await peer.refusal(), '(CERT_HAS_EXPIRED): it has expired. Renew it')
  assert.is(site.calls, 0)

  let told = ''
  const server = createServer({ ...old, ca: authority(0).pem, requestCert: true, ALPNProtocols: ['balsa'] }, (socket) =>
    socket.on('data', (chunk) => (told += chunk.toString('latin1'))).on('error', () => {}),
  )
  context.open.push({ close: () => new Promise((resolve) => server.close(resolve)) })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const b = await start(context, 'b', { tls: good('b') })
  b.transport.setPeers([{ id: 'a', address: addressOf(server) }])
  await until('it is told something', () => told !== '')
  assert.match(reasonOf(b.site, 'transport.dial-failed') ?? '', 'CERT_HAS_EXPIRED')
  await until('why', () => told.includes('CERT_HAS_EXPIRED'))
  assert.ok(told.startsWith(MAGIC.toString('latin1')))
  assert.not.ok(told.includes('incarnation'), 'before that, nothing of a hello was said')
})

check('who speaks an older TLS is refused', async (context) => {
  const { site, address } = await start(context, 'a', { tls: good('a') })
  await raw(context, address, { ...certificate(of('b')), maxVersion: 'TLSv1.2' })
  await until('it is refused', () => site.warnings('no version of TLS in common').length === 1)
  const older = await start(context, 'c', { tls: good('c', { minVersion: 'TLSv1.2' }) })
  const peer = await raw(context, older.address, { ...certificate(of('b')), maxVersion: 'TLSv1.2' })
  peer.hello('b', 'c')
  await peer.welcome()
})

check('a proof for one connection proves nothing on another, nor does one that is repeated', async (context) => {
  const { site, address } = await start(context, 'a', { tls: good('a'), token: TOKEN })
  // What a server that was dialled in good faith has been shown.
  let shown = Buffer.alloc(0)
  const thief = createServer({ ...certificate(of('c')), ca: authority(0).pem, ALPNProtocols: ['balsa'] }, (socket) =>
    socket.on('data', (chunk) => (shown = Buffer.concat([shown, chunk]))).on('error', () => {}),
  )
  context.open.push({ close: () => new Promise((resolve) => thief.close(resolve)) })
  await new Promise<void>((resolve) => thief.listen(0, '127.0.0.1', resolve))
  const b = await start(context, 'b', { tls: good('b'), token: TOKEN })
  b.transport.setPeers([{ id: 'c', address: addressOf(thief) }])
  const proofEnd = MAGIC.length + 20 + PROOF_BYTES
  await until('it has shown its proof', () => shown.length > proofEnd)
  assert.not.ok(shown.includes(TOKEN))
  const peer = await raw(context, address, { ...certificate(of('c')) })
  peer.socket.write(Buffer.concat([shown.subarray(0, proofEnd), encodeHello(helloOf('b', 'a'))]))
  await until('it is answered', () => peer.read().length > 0)
  assert.is(peer.read()[0]?.type, 'refusal')
  assert.match(await peer.refusal(), 'has not proven the token')
  const guess = Buffer.concat([MAGIC, encodeProof(new Uint8Array(PROOF_BYTES)), encodeQuestion(Uint8Array.of(1))])
  const other = await raw(context, address, { ...certificate(of('c')) })
  other.socket.write(guess)
  assert.match(await other.refusal(), 'has not proven the token')
  assert.is(site.calls, 0)
})

const first: Readonly<Record<string, Uint8Array>> = {
  'a hello': encodeHello(helloOf('b', 'a')),
  'the hello of a client': encodeClientHello({
    ...{ protocol: PROTOCOL, features: [], requires: [], cluster: 'balsa', clusterId: null },
  }),
  'a question': encodeQuestion(Uint8Array.of(1)),
  'a goodbye': encodeGoodbye('bye'),
  'a message': messageFrame(heartbeat(1)),
}

for (const [what, frame] of Object.entries(first)) {
  check(`${what} without a proof is refused where there is a token`, async (context) => {
    const { site, address } = await start(context, 'a', { tls: good('a'), token: TOKEN })
    site.onAsked = () => Uint8Array.of(1)
    const peer = await raw(context, address, { ...certificate(of('b')) })
    peer.socket.write(Buffer.concat([MAGIC, frame]))
    assert.match(await peer.refusal(), 'has not proven the token')
    assert.equal([site.calls, site.questions], [0, []])
  })
}

check('with a token and requestCert: false, who dials needs no certificate, but the token', async (context) => {
  const tls = (id: string): TlsOptions => good(id, { requestCert: false })
  const { a, b } = await two(
    context,
    { tls: tls('a'), token: TOKEN },
    { tls: tls('b'), token: [TOKEN, 'a newer token'.repeat(2)] },
  )
  await b.up('a')
  assert.is(a.admitted[0]?.serverId, 'b')
})

async function held(context: Context, address: string, count: number): Promise<readonly Socket[]> {
  // The beginning of a long ClientHello, of which no more comes.
  const begun = Buffer.from('1603010200010001fc0303', 'hex')
  const sockets = Array.from({ length: count }, () => {
    const socket = connectPlain({ host: '127.0.0.1', port: Number(address.split(':')[1]) })
    socket.on('error', () => {})
    socket.write(begun)
    return socket
  })
  context.open.push({ close: () => sockets.forEach((socket) => socket.destroy()) })
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve))))
  return sockets
}

/** No deadline comes on it; certificates are good all the same. */
function standing(): ManualClock {
  const clock = new ManualClock()
  clock.wallOffsetMs = Date.now()
  return clock
}

check('200 handshakes that are held open keep no member out, though no deadline comes', async (context) => {
  const a = await start(context, 'a', { tls: good('a') }, standing())
  const sockets = await held(context, a.address, 200)
  const gone = (): number => sockets.filter(({ destroyed }) => destroyed).length
  await until('of one address no more are left than its share', () => gone() >= 200 - 64)
  assert.is(a.transport.rooms['securing'], 64)
  const b = await start(context, 'b', { tls: good('b') })
  b.transport.setPeers([{ id: 'a', address: a.address }])
  await b.site.up('a')
  assert.is(b.site.failedDials.length, 0)
})

check('a handshake that is held open ends in time', async (context) => {
  const a = await start(context, 'a', { tls: good('a'), handshakeTimeoutMs: 50 })
  const sockets = await held(context, a.address, 20)
  await until('all are gone', () => a.transport.rooms['securing'] === 0 && sockets.every(({ destroyed }) => destroyed))
  assert.ok(a.site.warnings('no handshake of TLS within 50 ms').length > 0)
})

check('a handshake that is under way when the transport closes ends with it', async (context) => {
  const { transport, address } = await start(context, 'a', { tls: good('a') }, standing())
  const sockets = await held(context, address, 3)
  await until('they are counted', () => transport.rooms['securing'] === 3)
  await transport.close()
  await until('they are gone', () => sockets.every(({ destroyed }) => destroyed))
  assert.is(transport.rooms['securing'], 0)
})

test('what passes a turnstile is so many in a turn, in their order, and all in the end', () => {
  const deferred: (() => void)[] = []
  const clock: Clock = {
    now: () => 0,
    wallNow: () => 0,
    setTimer: () => () => {},
    defer: (next) => void deferred.push(next),
  }
  const turnstile = new Turnstile(4)
  const passed: number[] = []
  for (let at = 0; at < 10; at += 1) turnstile.pass(() => passed.push(at), clock)
  // Those who do not wait any more take nobody's place.
  for (const leave of Array.from({ length: 8 }, () => turnstile.pass(() => passed.push(-1), clock))) leave()
  assert.equal(passed, [0, 1, 2, 3])
  deferred.shift()?.()
  turnstile.pass(() => passed.push(10), clock)
  assert.equal(passed, [0, 1, 2, 3, 4, 5, 6, 7])
  deferred.shift()?.()
  assert.equal(passed, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  deferred.shift()?.()
  assert.equal(deferred, [])
  turnstile.pass(() => passed.push(11), clock)
  assert.is(passed.length, 12)
})

const foreign: readonly (readonly [string, Buffer | string])[] = [
  ['a web browser', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a record that is none', Buffer.from('160301000400000000', 'hex')],
  ['a handshake of nonsense', Buffer.concat([Buffer.from('1603010200', 'hex'), Buffer.alloc(512, 7)])],
]

for (const [what, bytes] of foreign) {
  check(`${what} is cut off, and the port lives on`, async (context) => {
    const a = await start(context, 'a', { tls: good('a') })
    const peer = await RawPeer.dial(context, a.address)
    peer.socket.write(bytes)
    await until('it is cut off', () => peer.isClosed)
    assert.is(a.site.lines.filter(({ event }) => event === 'transport.link-refused').length, 1)
    const b = await start(context, 'b', { tls: good('b') })
    b.transport.setPeers([{ id: 'a', address: a.address }])
    await b.site.up('a')
  })
}

check('a listener that says nothing to TLS is given up in time', async (context) => {
  const address = await listen(context, () => {})
  const b = await start(context, 'b', { tls: good('b'), handshakeTimeoutMs: 50 })
  b.transport.setPeers([{ id: 'a', address }])
  await until('it is given up', () => reasonOf(b.site, 'transport.dial-failed') === 'no handshake within 50 ms')
})

test('what listens unprotected where others reach it says so once', async (context) => {
  for (const [listening, more, expected] of [
    ['127.0.0.1:0', {}, 0],
    ['0.0.0.0:0', {}, 1],
    ...(noCertificates !== null
      ? []
      : ([
          ['0.0.0.0:0', { tls: good('a') }, 0],
          ['0.0.0.0:0', { tls: good('a', { requestCert: false }), token: TOKEN }, 0],
          ['0.0.0.0:0', { tls: good('a', { requestCert: false }) }, 1],
          ['0.0.0.0:0', { tls: good('a', { rejectUnauthorized: false }) }, 1],
        ] as const)),
  ] as const) {
    const { site } = await start(context, 'a', { listen: listening, ...more })
    const lines = site.lines.filter(({ event }) => event === 'transport.unprotected')
    assert.is(lines.length, expected, `${listening} ${Object.keys(more).join()}`)
    if (expected === 1) assert.match(String(lines[0]?.fields['reason']), /whoever reaches this port .*: (?:give|leave)/)
  }
})

check('nothing of a secret can be printed', async (context) => {
  const { transport, site } = await start(context, 'a', { tls: good('a'), token: TOKEN })
  const shown = inspect([transport, site], { depth: Infinity, showHidden: true, maxArrayLength: null })
  for (const secret of [TOKEN, 'PRIVATE KEY', 'BEGIN CERTIFICATE']) assert.not.ok(shown.includes(secret), secret)
  const wrong = { tls: good('a', { key: certificate(of('b')).key }), token: TOKEN }
  const error = await start(context, 'b', wrong).then(String, (caught: unknown) => caught)
  assert.instance(error, RaftError)
  const printed = inspect(error, { depth: Infinity, showHidden: true })
  for (const secret of [TOKEN, 'PRIVATE KEY', 'BEGIN']) assert.not.ok(printed.includes(secret), secret)
})

test.run()
