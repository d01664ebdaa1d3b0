/**
 * What only TCP can suffer: foreign bytes, silence, ports that are taken. The server cuts the connection and lives on.
 */

import { execFile } from 'node:child_process'
import { connect, createServer, Socket } from 'node:net'
import { promisify } from 'node:util'
import { Packr } from 'msgpackr'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { RaftError } from '#balsa/errors.js'
import { entryBlock } from '#balsa/format/block.js'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { tcp } from '#balsa/transport/tcp/index.js'
import { logIndex, termOf } from '#balsa/types.js'
import { BOOT_UNPROVEN, encodeGoodbye, encodeHello, encodeRefusal, encodeWelcome, FEATURES } from 'balsa-raft/transport'

import { frameOf } from './forged-frames.js'
import { MachineClock } from './machine-clock.js'
import { ManualClock } from './manual-clock.js'
import { addressOf, type Context, helloOf, listen, messageFrame, RawPeer, start } from './raw-peer.js'
import { until } from '../support/until.js'
import { acknowledgement, heartbeat, Site } from '#balsa/testing/conformance/site.js'

const test = suite<Context>('what only TCP can suffer')

test.before.each((context) => {
  context.clock = new MachineClock()
  context.open = []
})

test.after.each(async (context) => {
  for (const one of context.open.reverse()) await one.close()
  assert.is(context.clock.pending.size, 0, 'timers are left')
})

/** Cuts are logged with a reason, and the server goes on with the next peer. */
async function assertLivesOn(context: Context, site: Site, address: string): Promise<void> {
  const peer = await RawPeer.dial(context, address)
  peer.hello('good', site.id)
  await peer.welcome()
  const before = site.requests.length
  peer.socket.write(messageFrame(heartbeat(77)))
  await until('a good peer is heard', () => site.requests.length === before + 1)
}

const garbage: readonly (readonly [string, Buffer | string, string])[] = [
  ['a web browser', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'not the protocol of Balsa'],
  ['a magic that differs in its last byte', Buffer.from('BALSA\r\n\x01', 'latin1'), 'not the protocol of Balsa'],
  ['a frame length below a header', Buffer.concat([MAGIC, Buffer.from('0f000000', 'hex')]), 'out of bounds'],
  ['a hello of 4 GiB', Buffer.concat([MAGIC, Buffer.from('ffffffff', 'hex')]), 'out of bounds (4096 bytes)'],
  ['a message before the hello', Buffer.concat([MAGIC, messageFrame(heartbeat(1))]), 'before hands are shaken'],
  ['a welcome before the hello', Buffer.concat([MAGIC, encodeWelcome()]), 'out of place'],
]

for (const [what, bytes, reason] of garbage) {
  test(`${what} is cut off with a reason on both sides`, async (context) => {
    const { site, address } = await start(context, 'a')
    const peer = await RawPeer.dial(context, address)
    peer.socket.write(bytes)
    assert.match(await peer.refusal(), reason)
    await until('the connection is closed', () => peer.isClosed)
    const [line] = site.warnings(reason)
    assert.match(String(line?.fields['remote']), '127.0.0.1')
    assert.match(String(line?.fields['reason']), 'at byte ')
    assert.is(site.calls, 0)
    await assertLivesOn(context, site, address)
  })
}

const late: readonly (readonly [string, Buffer, string])[] = [
  ['a frame over its bound', Buffer.from('01104000', 'hex'), 'out of bounds (4198400 bytes)'],
  ['an answer where requests belong', messageFrame(acknowledgement(1)), 'on the connection for requests'],
  ['a vote of the wrong length', frameOf(18, new Uint8Array(17)), 'a RequestVote cannot have 17 bytes of fields'],
  ['an unknown frame type', frameOf(99, new Uint8Array(8)), 'frame type 99 is not known'],
  ['an unknown frame of the handshake', frameOf(9, Uint8Array.of(0x80)), 'frame type 9 is not known'],
  ['a second hello', Buffer.from(encodeHello(helloOf('b', 'a'))), 'a second hello'],
  ['a second welcome', Buffer.from(encodeWelcome()), 'a welcome out of place'],
  ['a flipped bit in a field', flipped(messageFrame(heartbeat(1)), 8 * 30), 'the checksum of its head is wrong'],
  [
    'a length that was damaged on the way',
    flipped(messageFrame(heartbeat(1)), 18),
    'the checksum of its head is wrong',
  ],
  [
    'a head that was damaged on the way',
    flipped(messageFrame(heartbeat(1)), 8 * 6),
    'a head of 324 bytes in a frame of 68',
  ],
]

function flipped(frame: Buffer, bit: number): Buffer {
  frame[bit >>> 3] = (frame[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
  return frame
}

for (const [what, bytes, reason] of late) {
  test(`${what} ends an open link with a reason on both sides`, async (context) => {
    const { site, address } = await start(context, 'a')
    const peer = await RawPeer.dial(context, address)
    peer.hello('b', 'a')
    await peer.welcome()
    peer.socket.write(Buffer.concat([messageFrame(heartbeat(5)), bytes, messageFrame(heartbeat(6))]))
    assert.match(await peer.refusal(), reason)
    await until('the connection is closed', () => peer.isClosed)
    assert.is(site.requests.length, 1, 'what came before is delivered, what came after is not')
    const line = site.lines.find(({ event }) => event === 'transport.link-down')
    assert.is(line?.fields['peer'], 'b')
    assert.match(String(line?.fields['reason']), reason)
    await assertLivesOn(context, site, address)
  })
}

test('a connection that ends inside a frame delivers nothing of it', async (context) => {
  const { site, address } = await start(context, 'a')
  const peer = await RawPeer.dial(context, address)
  peer.hello('b', 'a')
  await peer.welcome()
  peer.socket.end(Buffer.concat([messageFrame(heartbeat(1)), messageFrame(heartbeat(2)).subarray(0, 63)]))
  await until('the link is down', () => site.lines.some(({ event }) => event === 'transport.link-down'))
  assert.equal(
    site.requests.map(({ message }) => message),
    [heartbeat(1)],
  )
})

test('a long request tells that it is arriving, as long as enough of it comes; a peer that trickles does not', async (context) => {
  const clock = new ManualClock()
  const { site, transport, address } = await start(context, 'a', {}, clock)
  const raw = await RawPeer.dial(context, address)
  raw.hello('b', 'a')
  await raw.welcome()
  const block = entryBlock('command', logIndex(8), termOf(3), 1000, new Uint8Array(100_000))
  const frame = messageFrame({ ...heartbeat(1), blocks: [block] })
  let sent = 0
  const send = async (bytes: number): Promise<void> => {
    raw.socket.write(frame.subarray(sent, (sent += bytes)))
    await until('it has come', () => transport.stats().bytesReceived >= base + sent)
  }
  const base = transport.stats().bytesReceived
  await send(5000)
  assert.equal(site.arrivals, [], 'only what goes on is a sign')
  const told: number[] = []
  // Milliseconds that pass, bytes that come then, and whether that is told.
  for (const [ms, bytes] of [
    [100, 5000],
    [5, 50_000],
    [15, 1],
    [100, 500],
    [100, 500],
    [100, 600],
    [20, 5000],
  ] as const) {
    clock.advance(ms)
    await send(bytes)
    told.push(site.arrivals.length)
  }
  assert.equal(told, [1, 1, 2, 2, 2, 3, 4])
  assert.equal(site.requests, [])
  await send(frame.length - sent)
  await until('the whole has come', () => site.requests.length === 1)
  const link = site.requests[0]?.link
  assert.ok(site.arrivals.every((arrival) => arrival.from === 'b' && arrival.link === link))
})

test('a peer of another protocol version is refused, naming both ranges, even with fields nobody knows', async (context) => {
  const { site, address } = await start(context, 'a')
  const peer = await RawPeer.dial(context, address)
  peer.hello('b', '', { protocol: { min: 3, max: 9 }, address: '' })
  const refusal = await peer.refusal()
  assert.match(refusal, 'PROTOCOL')
  assert.match(refusal, '3 .. 9')
  assert.match(refusal, '1 .. 1')
  assert.is(site.warnings('3 .. 9').length, 1)
})

test('a peer that requires a feature which is not known here is refused by its name, with the versions and the remedy', async (context) => {
  const { site, address } = await start(context, 'a')
  const peer = await RawPeer.dial(context, address)
  peer.hello('b', 'a', { protocol: { min: 1, max: 4 }, features: ['witness', 'zip'], requires: ['witness'] })
  assert.is(
    await peer.refusal(),
    'UNKNOWN_FEATURE: the peer requires witness, which server a does not have (the peer speaks protocol versions ' +
      '1 .. 4, server a 1 .. 1; server a has goodbye, log-end, accepted, transfer, channel); upgrade server a',
  )
  await until('the connection is closed', () => peer.isClosed)
  assert.is(site.warnings('requires witness').length, 1)
  assert.is(site.calls, 0)
  await assertLivesOn(context, site, address)
})

test('a dialled peer that requires a feature which is not known here is refused in the same way', async (context) => {
  const raw: RawPeer[] = []
  const server = await listen(context, (socket) => {
    const peer = new RawPeer(socket)
    raw.push(peer)
    peer.hello('b', 'a', { features: ['witness'], requires: ['witness'] })
  })
  const { site } = await start(context, 'a')
  site.transport.setPeers([{ id: 'b', address: server }])
  await until('it was dialled', () => raw.length > 0)
  assert.match((await raw[0]?.refusal()) ?? '', 'UNKNOWN_FEATURE: the peer requires witness')
  await until('it is logged', () => site.warnings('requires witness').length === 1)
  assert.is(site.calls, 0)
})

test('a hello with features and keys that nobody knows goes on with what both sides have', async (context) => {
  const { site, address } = await start(context, 'a')
  const peer = await RawPeer.dial(context, address)
  const { protocol, ...keys } = helloOf('b', 'a', { features: ['witness', 'log-end'] })
  const map = { ...keys, protocolMin: protocol.min, protocolMax: 9, bootNonce: '0f'.repeat(16), later: { of: ['any'] } }
  peer.socket.write(Buffer.concat([MAGIC, frameOf(1, new Packr({ useRecords: false }).pack(map))]))
  await peer.welcome()
  peer.socket.write(messageFrame(heartbeat(1)))
  await until('the request comes', () => site.requests.length === 1)
  const answer = { ...acknowledgement(1), lastIndex: logIndex(9) }
  site.answer(site.requests[0]?.link ?? 0, answer)
  await until('the answer comes', () => peer.read().length === 3)
  assert.equal(peer.read()[2], answer)
})

test('every hello offers what this version has, and requires nothing', async (context) => {
  const { site, raw } = await sessionWithRaw(context)
  const { address } = await start(context, 'c')
  const peer = await RawPeer.dial(context, address)
  peer.hello('b', 'c')
  await peer.welcome()
  for (const one of [raw, peer]) {
    const hello = one.read().find(({ type }) => type === 'hello')
    assert.equal(hello?.type === 'hello' && [hello.features, hello.requires], [[...FEATURES], []])
  }
  assert.ok(site.sessionWith('b'))
})

test('an optional field is sent only to a peer that has offered its feature', async (context) => {
  const { site, address } = await start(context, 'a')
  const answers: unknown[] = []
  for (const features of [['log-end'], []]) {
    const peer = await RawPeer.dial(context, address)
    peer.hello(`b${features.length}`, 'a', { features })
    await peer.welcome()
    const before = site.requests.length
    peer.socket.write(messageFrame(heartbeat(1)))
    await until('the request comes', () => site.requests.length === before + 1)
    site.answer(site.requests[before]?.link ?? 0, { ...acknowledgement(1), lastIndex: logIndex(9) })
    await until('the answer comes', () => peer.frames().length === 3)
    answers.push([peer.frames()[2]?.length, peer.read()[2]])
  }
  assert.equal(answers, [
    [80, { ...acknowledgement(1), lastIndex: logIndex(9) }],
    [68, acknowledgement(1)],
  ])
})

test('a server that closes says so, and both directions end with its reason', async (context) => {
  const a = await start(context, 'a')
  const b = await start(context, 'b')
  a.site.transport.setPeers([{ id: 'b', address: b.address }])
  b.site.transport.setPeers([{ id: 'a', address: a.address }])
  const session = await a.site.up('b')
  const back = await b.site.up('a')
  await b.transport.close()
  assert.is(await a.site.down('b', session), 'closed by the peer: server b closes')
  assert.is(await b.site.down('a', back), 'server b closes')
  const links = () => a.site.lines.filter(({ event }) => event === 'transport.link-down')
  await until('the other direction has ended', () => links().length === 1)
  assert.is(links()[0]?.fields['reason'], 'closed by the peer: server b closes')
})

test('a peer that is dropped, or has moved, is told so', async (context) => {
  const a = await start(context, 'a')
  const b = await start(context, 'b')
  const reasons = () =>
    b.site.lines.filter(({ event }) => event === 'transport.link-down').map(({ fields }) => fields['reason'])
  a.site.transport.setPeers([{ id: 'b', address: b.address }])
  const session = await a.site.up('b')
  a.site.transport.setPeers([{ id: 'b', address: '127.0.0.1:1' }])
  assert.is(await a.site.down('b', session), 'the address of b is now 127.0.0.1:1')
  a.site.transport.setPeers([{ id: 'b', address: b.address }])
  await a.site.up('b', session)
  a.site.transport.setPeers([])
  await until('both ends are logged', () => reasons().length === 2)
  assert.equal(reasons(), [
    'closed by the peer: the address of b is now 127.0.0.1:1',
    'closed by the peer: b is no longer a peer of server a',
  ])
})

test('a goodbye goes only to a peer that has offered it', async (context) => {
  const { transport, address } = await start(context, 'a')
  const peers = [
    { features: ['goodbye'], last: 'goodbye' },
    { features: [], last: 'welcome' },
  ].map(async ({ features, last }, n) => {
    const peer = await RawPeer.dial(context, address)
    peer.hello(`b${n}`, 'a', { features })
    await peer.welcome()
    return { peer, last }
  })
  const dialled = await Promise.all(peers)
  await transport.close()
  for (const { peer, last } of dialled) {
    await until('the connection is closed', () => peer.isClosed)
    assert.is(peer.read().at(-1)?.type, last)
  }
})

test('a goodbye ends the session with its reason, whatever else comes', async (context) => {
  const { site, raw } = await sessionWithRaw(context)
  raw.socket.write(Buffer.concat([encodeGoodbye('going home'), messageFrame(acknowledgement(1))]))
  assert.is(await site.down('b', site.sessionWith('b') ?? 0), 'closed by the peer: going home')
  assert.equal(site.responses, [])
})

test('how a connection ends says what has become of the process at the other side', async (context) => {
  const ways = [
    ['goodbye', (raw: RawPeer) => raw.socket.write(encodeGoodbye('going home'))],
    ['gone', (raw: RawPeer) => raw.socket.end()],
    ['gone', (raw: RawPeer) => raw.socket.resetAndDestroy()],
    ['unclear', (raw: RawPeer) => raw.socket.write(encodeRefusal({ code: 'REJECTED', reason: 'no' }))],
    ['unclear', (raw: RawPeer) => raw.socket.write(Buffer.alloc(100))],
  ] as const
  for (const [end, act] of ways) {
    const { site, raw } = await sessionWithRaw(context)
    act(raw)
    await site.down('b', 1)
    assert.equal(site.endsWith('b'), [end])
  }
  for (const [end, act] of ways) {
    const { site, address } = await start(context, 'a')
    const raw = await RawPeer.dial(context, address)
    raw.hello('b', 'a', { features: ['goodbye'] })
    await raw.welcome()
    act(raw)
    await until('the link is down', () => site.linkEnds.length > 0)
    assert.is(site.linkEnds[0]?.end, end)
  }
})

test('a peer that does not hang up after a goodbye is hung up on', async (context) => {
  const clock = new ManualClock()
  const { transport, address } = await start(context, 'a', {}, clock)
  const peer = new RawPeer(connect({ host: '127.0.0.1', port: Number(address.split(':')[1]), allowHalfOpen: true }))
  context.open.push(peer)
  peer.hello('b', 'a', { features: ['goodbye'] })
  await peer.welcome()
  let isClosed = false
  const closing = transport.close().then(() => (isClosed = true))
  await until('the goodbye comes', () => peer.read().at(-1)?.type === 'goodbye')
  assert.equal(clock.delays(), [1000])
  clock.advance(999)
  await new Promise((resolve) => setImmediate(resolve))
  assert.not(isClosed)
  clock.advance(1)
  await closing
  assert.is(clock.pending, 0)
})

test('who does not shake hands is cut off at the deadline', async (context) => {
  const clock = new ManualClock()
  const { site, address } = await start(context, 'a', { handshakeTimeoutMs: 700 }, clock)
  const peer = await RawPeer.dial(context, address)
  peer.socket.write(MAGIC.subarray(0, 5))
  await until('the deadline runs', () => clock.pending === 1)
  clock.advance(699)
  await assertLivesOn(context, site, address)
  assert.not(peer.isClosed)
  clock.advance(1)
  assert.match(await peer.refusal(), 'no handshake within 700 ms')
  await until('the connection is closed', () => peer.isClosed)
  assert.is(site.warnings('no handshake within 700 ms').length, 1)
})

test('who answers a dial with nothing is given up at the deadline, and dialled again later and later', async (context) => {
  const dialled: RawPeer[] = []
  const server = await listen(context, (socket) => dialled.push(new RawPeer(socket)))
  const clock = new ManualClock()
  const options = { handshakeTimeoutMs: 700, backoffMinMs: 100, backoffMaxMs: 300, random: () => 0 }
  const { site } = await start(context, 'a', options, clock)
  site.transport.setPeers([{ id: 'b', address: server }])
  for (const [i, backoff] of [100, 200, 300, 300].entries()) {
    await until('the hello came', () => (dialled[i]?.read().length ?? 0) === 1)
    clock.advance(700)
    // The farewell of the refused connection is pending too, for a second.
    await until('the redial is set', () => clock.delays().includes(backoff))
    clock.advance(backoff)
  }
  assert.is(site.warnings('no handshake').length, 1, 'the same reason is a warning once')
  assert.ok(site.lines.some(({ level, event }) => level === 'debug' && event === 'transport.dial-failed'))
})

test('a session whose requests nobody answers is over after the silence bound', async (context) => {
  const raw: RawPeer[] = []
  const server = await listen(context, (socket) => {
    const peer = new RawPeer(socket)
    raw.push(peer)
    peer.hello('b', 'a')
    socket.write(encodeWelcome())
  })
  const clock = new ManualClock()
  const { site } = await start(context, 'a', { silenceMaxMs: 1000 }, clock)
  site.transport.setPeers([{ id: 'b', address: server }])
  const session = await site.up('b')
  clock.advance(5000)
  site.ask('b', session, heartbeat(1))
  clock.advance(1000)
  site.ask('b', session, heartbeat(2))
  raw[0]?.socket.write(messageFrame(acknowledgement(2)))
  await until('the answer came', () => site.responses.length === 1)
  clock.advance(5000)
  site.ask('b', session, heartbeat(3))
  clock.advance(1000)
  site.ask('b', session, heartbeat(4))
  assert.is(site.sessionWith('b'), session)
  clock.advance(1)
  site.ask('b', session, heartbeat(5))
  assert.match(await site.down('b', session), 'no answer to anything for 1000 ms')
})

test('the backoff begins anew only after a session that has lasted', async (context) => {
  const raw: RawPeer[] = []
  const server = await listen(context, (socket) => {
    const peer = new RawPeer(socket)
    raw.push(peer)
    peer.hello('b', 'a')
    socket.write(encodeWelcome())
  })
  const clock = new ManualClock()
  const { site } = await start(context, 'a', { backoffMinMs: 100, backoffMaxMs: 1000, random: () => 0 }, clock)
  site.transport.setPeers([{ id: 'b', address: server }])
  let session = 0
  for (const [lastedMs, backoff] of [
    [0, 100],
    [999, 200],
    [0, 400],
    [1000, 100],
    [0, 200],
  ] as const) {
    session = await site.up('b', session)
    clock.advance(lastedMs)
    raw.at(-1)?.close()
    await site.down('b', session)
    assert.equal(clock.delays(), [backoff])
    clock.advance(backoff)
  }
})

test('H1-21 a peer that dials is dialled at once, whatever the backoff', async (context) => {
  const clock = new ManualClock()
  const { site, address } = await start(context, 'a', {}, clock)
  const port = await start(context, 'b')
  await port.transport.close()
  site.transport.setPeers([{ id: 'b', address: port.address }])
  await until('the dial has failed', () => site.warnings('ECONNREFUSED').length === 1)
  const { site: b } = await start(context, 'b', { listen: port.address })
  b.transport.setPeers([{ id: 'a', address }])
  await site.up('b')
})

test('who is refused and does not hang up is hung up on', async (context) => {
  const socketsOpen = () => process.getActiveResourcesInfo().filter((name) => /TCP/.test(name)).length
  await until('the tests before have closed theirs', () => socketsOpen() === 0)
  const clock = new ManualClock()
  const { site, address } = await start(context, 'a', { acceptedMax: 1 }, clock)
  const port = Number(address.split(':')[1])
  const peer = new RawPeer(connect({ host: '127.0.0.1', port, allowHalfOpen: true }))
  context.open.push(peer)
  peer.socket.write('nonsense')
  await peer.refusal()
  const crowded = await RawPeer.dial(context, address)
  await until('there is no place yet', () => crowded.isClosed)
  assert.equal(clock.delays(), [1000])
  const before = socketsOpen()
  clock.advance(1000)
  await until('the socket is gone', () => socketsOpen() < before)
  await assertLivesOn(context, site, address)
})

test('both sides send without delay and let the kernel find a half-open connection', async (context) => {
  const { setKeepAlive, setNoDelay } = Socket.prototype
  const calls: string[] = []
  Socket.prototype.setKeepAlive = function (this: Socket, ...given) {
    calls.push(`keepAlive ${String(given)}`)
    return setKeepAlive.apply(this, given)
  }
  Socket.prototype.setNoDelay = function (this: Socket, ...given) {
    calls.push(`noDelay ${String(given)}`)
    return setNoDelay.apply(this, given)
  }
  try {
    const a = await start(context, 'a')
    const b = await start(context, 'b')
    a.site.transport.setPeers([{ id: 'b', address: b.address }])
    await a.site.up('b')
  } finally {
    Object.assign(Socket.prototype, { setKeepAlive, setNoDelay })
  }
  assert.equal(calls.sort(), ['keepAlive true,10000', 'keepAlive true,10000', 'noDelay true', 'noDelay true'])
})

test('a request on the connection for answers ends the session', async (context) => {
  const { site, raw } = await sessionWithRaw(context)
  raw.socket.write(messageFrame(heartbeat(1)))
  assert.match(await site.down('b', site.sessionWith('b') ?? 0), 'on the connection for answers')
  assert.equal(site.requests, [])
})

test('a refusal that comes when the session is up ends it with its reason', async (context) => {
  const { site, raw } = await sessionWithRaw(context)
  raw.socket.write(encodeRefusal({ code: 'X', reason: 'changed my mind' }))
  assert.match(await site.down('b', site.sessionWith('b') ?? 0), 'changed my mind')
})

test('whoever answers a dial under another id is refused, welcome or not', async (context) => {
  const raw: RawPeer[] = []
  const server = await listen(context, (socket) => {
    const peer = new RawPeer(socket)
    raw.push(peer)
    peer.hello('c', 'a')
    socket.write(encodeWelcome())
  })
  const { site } = await start(context, 'a')
  site.transport.setPeers([{ id: 'b', address: server }])
  await until('it was dialled', () => raw.length > 0)
  assert.match((await raw[0]?.refusal()) ?? '', 'WRONG_SERVER: server a dialled b, but c answered')
  await until('it is logged', () => site.warnings('but c answered').length === 1)
  assert.is(site.calls, 0)
})

test('a peer of a version without transfers is sent no TimeoutNow, and a RequestVote that does not speak of one', async (context) => {
  const { site, raw } = await sessionWithRaw(context)
  const last = { term: termOf(3), lastIndex: logIndex(9), lastTerm: termOf(2) }
  site.ask('b', 1, { type: 'TimeoutNow', ...last })
  site.ask('b', 1, { type: 'RequestVote', ...last, isTransfer: true })
  await until('the other one comes', () => raw.read().at(-1)?.type === 'RequestVote')
  assert.equal(raw.read().slice(1), [{ type: 'RequestVote', ...last }])
})

test('a peer that is down is one warning, not one per dial', async (context) => {
  const { site } = await start(context, 'a', { backoffMaxMs: 5 })
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = addressOf(server)
  await new Promise((resolve) => server.close(resolve))
  site.transport.setPeers([{ id: 'b', address }])
  const failed = (level: string) =>
    site.lines.filter((line) => line.level === level && line.event === 'transport.dial-failed')
  await until('ten dials have failed', () => failed('debug').length >= 10)
  assert.is(failed('warn').length, 1)
  assert.match(String(failed('warn')[0]?.fields['reason']), 'ECONNREFUSED')
})

test('over the bound the oldest that has not shaken hands goes; who has, keeps a place of its own', async (context) => {
  const { site, address } = await start(context, 'a', { acceptedMax: 2 })
  const member = await RawPeer.dial(context, address)
  member.hello('b', 'a')
  await member.welcome()
  const idle: RawPeer[] = []
  for (let n = 0; n < 5; n++) idle.push(await RawPeer.dial(context, address))
  await until('three are closed', () => idle.filter(({ isClosed }) => isClosed).length === 3)
  assert.equal(
    idle.map(({ isClosed }) => isClosed),
    [true, true, true, false, false],
  )
  assert.is(site.warnings('the bound is 2').length, 1, 'one line, not one for each')
  assert.not(member.isClosed)
  await assertLivesOn(context, site, address)
  assert.not(member.isClosed)
})

test('300 idle connections keep no member out, though no deadline comes', async (context) => {
  const clock = new ManualClock()
  const { site, address } = await start(context, 'a', {}, clock)
  const idle: RawPeer[] = []
  for (let n = 0; n < 300; n++) idle.push(await RawPeer.dial(context, address))
  for (const id of ['b', 'c']) {
    const member = await RawPeer.dial(context, address)
    member.hello(id, 'a')
    await member.welcome()
    member.socket.write(messageFrame(heartbeat(1)))
    await until(`${id} is heard`, () => site.requests.some(({ from }) => from === id))
  }
  const kept = idle.filter(({ isClosed }) => !isClosed)
  assert.is(kept.length, 64 - 1, 'of one address, a quarter of all may wait; one made room for the second member')
  assert.equal(kept, idle.slice(-kept.length), 'the newest')
})

test('whoever is refused and does not hang up makes room as well', async (context) => {
  const clock = new ManualClock()
  const { site, address } = await start(context, 'a', { acceptedMax: 4 }, clock)
  for (let n = 0; n < 6; n++) {
    const peer = new RawPeer(connect({ host: '127.0.0.1', port: Number(address.split(':')[1]), allowHalfOpen: true }))
    context.open.push(peer)
    peer.socket.write('nonsense')
    await peer.refusal()
  }
  await assertLivesOn(context, site, address)
})

test('a port in use, a foreign address and a malformed one are ERR_RAFT_LISTEN with the address and a remedy', async (context) => {
  const { address } = await start(context, 'a')
  for (const [listenOn, remedy] of [
    [address, 'choose another port'],
    ['203.0.113.9:7000', 'give one of its own'],
    ['7000', 'give host:port'],
    ['::1:7000', 'give host:port'],
    ['localhost:70000', 'give host:port'],
  ] as const) {
    let refused: unknown = null
    const transport = tcp({ listen: listenOn })
    try {
      await new Site('x', transport).start(context.clock)
    } catch (error) {
      refused = error
    }
    await transport.close()
    if (!(refused instanceof RaftError)) throw new Error(`start on ${listenOn} answered ${String(refused)}`)
    assert.is(refused.code, 'ERR_RAFT_LISTEN')
    assert.match(refused.message, listenOn)
    assert.match(refused.message, remedy)
  }
})

test('an IPv6 address in brackets is listened on and dialled', async (context) => {
  const a = await start(context, 'a')
  const b = await start(context, 'b', { listen: '[::1]:0' })
  assert.match(b.address, /^\[::1\]:\d+$/)
  a.site.transport.setPeers([{ id: 'b', address: b.address }])
  await a.site.up('b')
})

test('a peer address that is none is a failed dial, not an exception', async (context) => {
  const { site } = await start(context, 'a')
  site.transport.setPeers([{ id: 'b', address: 'nonsense' }])
  await until('it is logged', () => site.warnings('nonsense is not host:port').length === 1)
})

test('an option out of its bound is refused with its name, value and bound', () => {
  for (const [options, words] of [
    [{ dialTimeoutMs: 9 }, 'dialTimeoutMs is 9; it must be in 10 .. 60000'],
    [{ writeQueueBytesMax: Number.NaN }, 'writeQueueBytesMax is NaN'],
    [{ backoffMinMs: 500, backoffMaxMs: 400 }, 'backoffMaxMs is 400; it must be in 500 .. 600000'],
    [{ advertise: 'nobody' }, "advertise is 'nobody'"],
    [{ advertise: `${'é'.repeat(200)}:1` }, 'it must be host:port, up to 255 bytes'],
  ] as const) {
    assert.throws(
      () => tcp({ listen: '127.0.0.1:0', ...options }),
      (error: unknown) =>
        error instanceof RaftError && error.code === 'ERR_RAFT_OPTIONS' && error.message.includes(words),
    )
  }
})

test('whatever was queued in a turn leaves in one write per connection', async (context) => {
  const a = await start(context, 'a')
  const peers = [await start(context, 'b'), await start(context, 'c')]
  a.site.transport.setPeers(peers.map(({ site, address }) => ({ id: site.id, address })))
  const sessions = [await a.site.up('b'), await a.site.up('c')]
  const block = entryBlock('command', logIndex(8), termOf(3), 1000, new Uint8Array(5000))
  const next = entryBlock('command', logIndex(9), termOf(3), 1000, new Uint8Array(70_000))
  const before = a.transport.stats()
  const writes = await countSocketWrites(async () => {
    for (let turn = 0; turn < 10; turn++) {
      for (const [i, id] of ['b', 'c'].entries()) {
        const session = sessions[i] ?? 0
        a.transport.send(id, session, { ...heartbeat(turn), blocks: [block, next] })
        a.transport.send(id, session, {
          type: 'RequestVote',
          term: termOf(3),
          lastIndex: logIndex(1),
          lastTerm: termOf(1),
        })
        a.transport.send(id, session, heartbeat(turn))
      }
      a.transport.flush()
      a.transport.flush()
      await until('the turn has arrived', () => peers.every(({ site }) => site.requests.length === 3 * (turn + 1)))
    }
  })
  const after = a.transport.stats()
  assert.is(writes, 20, 'ten turns, two peers')
  assert.is(after.writes - before.writes, 20)
  assert.is(after.flushes - before.flushes, 20)
  assert.is(after.framesSent - before.framesSent, 60)
  const perTurn = 68 + 44 + 68 + block.data.length + next.data.length
  assert.is(after.bytesSent - before.bytesSent, 20 * perTurn)
  const traffic = { sent: 10 * perTurn, received: 0 }
  assert.equal(
    [...a.transport.traffic()],
    [
      ['b', traffic],
      ['c', traffic],
    ],
  )
  a.site.transport.setPeers([{ id: 'c', address: peers[1]?.address ?? '' }])
  assert.equal([...a.transport.traffic()], [['c', traffic]])
  for (const { transport } of peers) assert.is(transport.stats().framesReceived, 1 + 30)
})

test('blocks are sent from their own memory', async (context) => {
  const { site, raw } = await sessionWithRaw(context)
  const block = entryBlock('command', logIndex(8), termOf(3), 1000, new Uint8Array(5000))
  const chunks: Uint8Array[] = []
  const write = Socket.prototype.write
  Socket.prototype.write = function (this: Socket, chunk: Uint8Array): boolean {
    chunks.push(chunk)
    return write.call(this, chunk)
  }
  try {
    site.ask('b', site.sessionWith('b') ?? 0, { ...heartbeat(1), blocks: [block] })
  } finally {
    Socket.prototype.write = write
  }
  assert.is(chunks.length, 2)
  assert.is(chunks[1], block.data)
  await until('the frame came', () => raw.frames().length === 2)
  assert.is(raw.read()[1]?.type, 'AppendEntries')
})

test('close leaves no timer and no socket, whatever state its connections are in', async (context) => {
  const socketsLeft = () => process.getActiveResourcesInfo().filter((name) => /TCP|GetAddrInfo/.test(name)).length
  await until('the tests before have closed theirs', () => socketsLeft() === 0)
  const silent = await listen(context, () => {})
  const a = await start(context, 'a')
  const b = await start(context, 'b')
  a.site.transport.setPeers([
    { id: 'b', address: b.address },
    { id: 'silent', address: silent },
    { id: 'nobody', address: '127.0.0.1:1' },
    { id: 'nowhere', address: '203.0.113.9:1' },
  ])
  await a.site.up('b')
  const half = await RawPeer.dial(context, a.address)
  const rejected = await RawPeer.dial(context, a.address)
  rejected.socket.write('nonsense')
  await rejected.refusal()
  await until('nobody was dialled', () => a.site.warnings('ECONNREFUSED').length === 1)
  await Promise.all([a.transport.close(), b.transport.close()])
  assert.is(context.clock.pending.size, 0)
  await until('both raw peers are closed', () => half.isClosed && rejected.isClosed)
  for (const one of context.open.splice(0).reverse()) await one.close()
  await until('no socket is left', () => socketsLeft() === 0)
})

test('a dial that is asked for a boot is made again at once, whatever the backoff is, and once', async (context) => {
  const { site: b, address } = await start(context, 'b')
  const { site: a } = await start(context, 'a', { backoffMinMs: 60_000 })
  b.onAdmit = () => Promise.reject(new RaftError(BOOT_UNPROVEN, 'boot 3 was not shown'))
  a.transport.setPeers([{ id: 'b', address }])
  const isWaiting = (): boolean => b.admitted.length === 2 && context.clock.pending.size === 1
  await until('it has come twice, and waits for a backoff of 30 s or more', isWaiting, 15_000)
  assert.equal(a.sessions, [])
})

test('a process that has closed its transports ends', async () => {
  const script = `
    import { tcp } from '#balsa/transport/tcp/index.js'
    const clock = { now: () => performance.now(), wallNow: () => Date.now(), setTimer: (ms, fire) => {
      const timer = setTimeout(fire, ms)
      return () => clearTimeout(timer)
    } }
    const logger = { debug() {}, info() {}, warn() {}, error() {} }
    const start = async (serverId, onPeerUp) => {
      const transport = tcp({ listen: '127.0.0.1:0' })
      const self = { clusterId: '0'.repeat(32), serverId, incarnation: '0'.repeat(32), bootCounter: 1, bootNonce: '0'.repeat(32) }
      const introduce = () => ({ ...self, boots: [], knownBoot: 0, term: 0, lastIndex: 0 })
      const handlers = { introduce, admit: async () => {}, onRequest() {}, onResponse() {}, onPeerUp, onPeerDown() {} }
      return { transport, address: await transport.start(self, handlers, clock, logger) }
    }
    const b = await start('b', () => {})
    const up = new Promise((resolve) => start('a', resolve).then(({ transport }) => {
      transport.setPeers([{ id: 'b', address: b.address }, { id: 'c', address: '127.0.0.1:1' }])
      globalThis.a = transport
    }))
    await up
    await Promise.all([globalThis.a.close(), b.transport.close()])
    process.stdout.write('closed')`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    timeout: 20_000,
  })
  assert.is(stdout, 'closed')
})

async function sessionWithRaw(context: Context): Promise<{ readonly site: Site; readonly raw: RawPeer }> {
  const peers: RawPeer[] = []
  const server = await listen(context, (socket) => {
    const peer = new RawPeer(socket)
    peers.push(peer)
    peer.hello('b', 'a')
    socket.write(encodeWelcome())
  })
  const { site } = await start(context, 'a')
  site.transport.setPeers([{ id: 'b', address: server }])
  await site.up('b')
  const [raw] = peers
  if (raw === undefined) throw new Error('nobody was dialled')
  return { site, raw }
}

/** How often sockets handed something to the system meanwhile. */
async function countSocketWrites(during: () => Promise<void>): Promise<number> {
  const { _write, _writev } = Socket.prototype
  let count = 0
  Socket.prototype._write = function (...given): void {
    count++
    _write.apply(this, given)
  }
  Socket.prototype._writev = function (...given): void {
    count++
    _writev?.apply(this, given)
  }
  try {
    await during()
  } finally {
    Socket.prototype._write = _write
    if (_writev !== undefined) Socket.prototype._writev = _writev
  }
  return count
}

test.run()
