/** Channels of the TCP transport against peers that keep to nothing, and under a clock that a test moves. */

import { isDeepStrictEqual } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { RaftError } from '#balsa/errors.js'
import { heartbeat, SiteChannel } from '#balsa/testing/conformance/site.js'
import type { Site } from '#balsa/testing/conformance/site.js'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { CHANNEL_PING_MS } from '#balsa/transport/tcp/tcp-channel.js'
import {
  BOOT_UNPROVEN,
  CHANNEL_FRAME_BYTES_MAX,
  CHANNEL_REQUIRES,
  CHANNELS_MAX,
  encodeChannelFrame,
  encodeHello,
  encodePing,
  encodeRefusal,
  encodeWelcome,
  FEATURES,
} from 'balsa-raft/transport'

import { frameOf } from './forged-frames.js'
import { MachineClock } from './machine-clock.js'
import { type Context, helloOf, listen, messageFrame, RawPeer, start } from './raw-peer.js'
import { type Cut, CUTS, type ScriptedSocket } from './scripted-network.js'
import { type Member, type ScriptedWorld, withWorld } from './scripted-world.js'
import { until } from '../support/until.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const test = suite<Context>('channels over TCP')

test.before.each((context) => {
  context.clock = new MachineClock()
  context.open = []
})

test.after.each(async (context) => {
  for (const one of context.open.reverse()) await one.close()
  assert.is(context.clock.pending.size, 0, 'timers are left')
})

const CHANNEL = { features: FEATURES, requires: CHANNEL_REQUIRES, channel: true } as const

const channelFrame = (bytes: Uint8Array): Buffer => Buffer.concat(encodeChannelFrame(bytes))

/** A peer that has opened a channel to `site`. */
async function rawChannel(context: Context, address: string, from = 'b'): Promise<RawPeer> {
  const peer = await RawPeer.dial(context, address)
  peer.hello(from, 'a', CHANNEL)
  await peer.welcome()
  peer.socket.write(encodeWelcome())
  return peer
}

async function channelOf(site: Site, at = 0): Promise<SiteChannel> {
  await until('the channel is there', () => site.channels.length > at)
  const channel = site.channels[at]
  assert.ok(channel)
  return channel
}

// The handshake.

test('the hellos of a channel say so on both sides, and require it: an older peer takes it for no session', async (context) => {
  const raw: RawPeer[] = []
  const address = await listen(context, (socket) => raw.push(new RawPeer(socket)))
  const { site } = await start(context, 'a')
  site.transport.setPeers([{ id: 'b', address }])
  const refused = site.refusedChannel('b')
  await until('both have come', () => raw.length === 2 && raw.every((peer) => peer.read().length > 0))
  const hellos = raw.map((peer) => peer.read()[0])
  const requires = hellos.map((hello) => hello?.type === 'hello' && [hello.requires, hello.channel])
  assert.equal(requires, [
    [[], undefined],
    [[...CHANNEL_REQUIRES], true],
  ])
  raw[1]?.socket.write(Buffer.concat([MAGIC, encodeRefusal({ code: 'UNKNOWN_FEATURE', reason: 'b is older' })]))
  assert.is(await refused, 'no channel to b: refused by the peer (UNKNOWN_FEATURE): b is older')
  const { address: accepting } = await start(context, 'c')
  const peer = await RawPeer.dial(context, accepting)
  peer.hello('b', 'c', CHANNEL)
  await peer.welcome()
  const [hello] = peer.read()
  assert.equal(hello?.type === 'hello' && [hello.requires, hello.channel], [[...CHANNEL_REQUIRES], true])
})

test('who answers the dial of a channel as that of a session is refused', async (context) => {
  const raw: RawPeer[] = []
  const address = await listen(context, (socket) => {
    const peer = new RawPeer(socket)
    raw.push(peer)
    if (raw.length > 1) peer.hello('b', 'a', { features: FEATURES })
  })
  const { site } = await start(context, 'a')
  site.transport.setPeers([{ id: 'b', address }])
  await until('the session is dialled', () => raw.length === 1)
  assert.match(await site.refusedChannel('b'), 'a hello of another kind of connection')
})

test('nothing comes of a channel before the peer has said welcome too; by the deadline it is cut off', async (context) => {
  const { site, transport, address } = await start(context, 'a', { handshakeTimeoutMs: 200 })
  const peer = await RawPeer.dial(context, address)
  peer.hello('b', 'a', CHANNEL)
  await peer.welcome()
  assert.is(transport.rooms['strangers'], 1, 'it has no place of its own')
  assert.match(await peer.refusal(), 'HANDSHAKE_TIMEOUT: no handshake within 200 ms')
  await until('it is closed', () => peer.isClosed)
  assert.equal([site.channels, transport.rooms['channels'], site.linkEnds], [[], 0, []])
})

test('a channel that waits for the welcome of a peer ends when that is expelled', async (context) => {
  const { site, transport, address } = await start(context, 'a')
  const peer = await RawPeer.dial(context, address)
  peer.hello('b', 'a', CHANNEL)
  await peer.welcome()
  transport.expel('b', new RaftError('ERR_RAFT_PEER_REPLACED', 'b was wiped'))
  assert.match(await peer.refusal(), 'ERR_RAFT_PEER_REPLACED: b was wiped')
  assert.equal(site.channels, [])
})

test('a channel whose peer asks for a boot is dialled again at once, and once', async (context) => {
  const a = await start(context, 'a')
  const b = await start(context, 'b')
  a.transport.setPeers([{ id: 'b', address: b.address }])
  await a.site.up('b')
  let asked = 0
  b.site.onAdmit = async () => {
    asked += 1
    if (asked === 1) throw new RaftError(BOOT_UNPROVEN, 'show it')
  }
  await a.site.open('b')
  assert.is(asked, 2)
  b.site.onAdmit = () => Promise.reject(new RaftError(BOOT_UNPROVEN, `show it again, ${++asked}`))
  assert.match(await a.site.refusedChannel('b'), 'show it again, 4')
})

test('a dial for a channel that is not answered is given up at the deadline', async () => {
  await withWorld(true, async (world) => {
    const { a, b } = await world.pair()
    await world.network.settle()
    const refused = a.site.refusedChannel('b')
    world.clock.advance(2000)
    assert.is(await refused, 'no channel to b: not connected within 2000 ms')
    assert.is(a.site.sessionWith('b') !== null, true)
    assert.equal(b.site.channels, [])
  })
})

// What is wrong on one.

const wrong: readonly (readonly [string, Buffer, string])[] = [
  ['a message', messageFrame(heartbeat(1)), 'a AppendEntries on a channel'],
  ['a second hello', Buffer.from(encodeHello(helloOf('b', 'a', CHANNEL))), 'a second hello'],
  ['a second welcome', Buffer.from(encodeWelcome()), 'a welcome out of place'],
  ['a frame over its bound', lengthOnly(CHANNEL_FRAME_BYTES_MAX + 21), 'its length is out of bounds (1048596 bytes)'],
  ['an empty frame', frameOf(32, new Uint8Array()), 'a frame of a channel with 0 bytes in its head and 0 behind it'],
  ['a frame of another type', frameOf(34, new Uint8Array()), 'frame type 34 is not known'],
  ['a flipped bit in a head', flipped(channelFrame(new Uint8Array(9)), 20), 'the checksum of its head is wrong'],
]

function lengthOnly(length: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(length)
  return bytes
}

function flipped(frame: Buffer, byte: number): Buffer {
  frame[byte] = (frame[byte] ?? 0) ^ 1
  return frame
}

for (const [what, bytes, reason] of wrong) {
  test(`${what} ends a channel with a reason on both sides, and nothing else`, async (context) => {
    const { site, address } = await start(context, 'a')
    const other = await rawChannel(context, address, 'c')
    const peer = await rawChannel(context, address)
    const channel = await channelOf(site, 1)
    peer.socket.write(Buffer.concat([channelFrame(Uint8Array.of(1)), bytes, channelFrame(Uint8Array.of(2))]))
    assert.match(await peer.refusal(), reason)
    assert.equal([channel.frames.length, channel.ends.length], [1, 1])
    assert.match(channel.ends[0] ?? '', reason)
    other.socket.write(channelFrame(Uint8Array.of(3)))
    await until('another one goes on', () => site.channels[0]?.frames.length === 1)
    assert.equal([site.refusals, site.linkEnds], [[], []])
  })
}

for (const [what, bytes] of [
  ['a frame', channelFrame(Uint8Array.of(1))],
  ['a ping', Buffer.from(encodePing())],
] as const) {
  test(`${what} of a channel ends a session, and a handshake`, async (context) => {
    const { site, address } = await start(context, 'a')
    for (const part of [{}, CHANNEL]) {
      const peer = await RawPeer.dial(context, address)
      peer.hello('b', 'a', part)
      await peer.welcome()
      peer.socket.write(bytes)
      assert.match(await peer.refusal(), 'outside of an open channel')
    }
    assert.equal(site.channels, [])
  })
}

test('a long frame that is damaged behind its head arrives as it came: its users check it', async (context) => {
  const { site, address } = await start(context, 'a')
  const peer = await rawChannel(context, address)
  const channel = await channelOf(site)
  peer.socket.write(flipped(channelFrame(new Uint8Array(5000)), 4000))
  await until('it has come', () => channel.frames.length === 1)
  assert.is(channel.frames[0]?.indexOf(1), 3980)
  assert.equal(channel.ends, [])
})

// Bounds.

test('a peer that opens channel after channel has the newest, and no more', async (context) => {
  const { site, transport, address } = await start(context, 'a')
  const peers: RawPeer[] = []
  const ended = 40 - CHANNELS_MAX
  while (peers.length < 40) peers.push(await rawChannel(context, address))
  await until('all have come', () => site.channels.length === peers.length)
  await until('the older ones have ended', () => peers.filter((peer) => peer.isClosed).length === ended)
  // A connection goes once its socket has closed, which comes behind what its peer has seen of that.
  const kept = (): readonly (number | undefined)[] =>
    ['channels', 'strangers', 'connections'].map((room) => transport.rooms[room])
  await until('nothing else is kept of them', () => isDeepStrictEqual(kept(), [CHANNELS_MAX, 0, CHANNELS_MAX]))
  assert.equal(
    site.channels.map(({ ends }) => ends.length),
    [...Array<number>(ended).fill(1), ...Array<number>(CHANNELS_MAX).fill(0)],
  )
  assert.match(await (peers[0] as RawPeer).refusal(), `REPLACED: server b has more than ${CHANNELS_MAX} channels to a`)
})

test('of what a peer sends only a frame that has not come whole is kept, whatever its length', async () => {
  await withWorld(true, async (world) => {
    const { member, raw } = await scriptedChannel(world)
    const [channel] = member.site.channels
    const whole = channelFrame(new Uint8Array(CHANNEL_FRAME_BYTES_MAX))
    let taken = 0
    if (channel !== undefined) channel.answer = () => (taken += channel.frames.splice(0).length)
    const held = (): number => {
      collect()
      return process.memoryUsage().arrayBuffers
    }
    const before = held()
    for (let n = 1; n <= 64; n++) {
      raw.write(whole)
      await world.network.settle()
      assert.is(taken, n)
    }
    raw.write(whole.subarray(0, -1))
    await world.network.settle()
    // One in the slab; the network holds what it was given last.
    // What was collected is given back by another thread, some time later.
    await until('the rest is given back', () => held() - before < 6 * CHANNEL_FRAME_BYTES_MAX)
    assert.is(taken, 64)
  })
})

test('a channel may end at every byte, in either direction: both sides learn it once, and nothing comes behind', async () => {
  const whole = await conversation(null)
  assert.equal(whole.heard, [3, 3])
  for (const from of ['dialler', 'acceptor'] as const) {
    // Every byte, but within the long frame.
    const step = (bytes: number): number => (bytes > 700 && bytes < whole[from] - 200 ? 97 : 1)
    for (let bytes = 0; bytes <= whole[from]; bytes += step(bytes)) {
      await conversation({ from, bytes, cut: CUTS[bytes % CUTS.length] ?? 'reset' })
    }
  }
})

/** Three frames go each way over a channel, which is cut after so many bytes of one side. */
async function conversation(
  end: { readonly from: 'dialler' | 'acceptor'; readonly bytes: number; readonly cut: Cut } | null,
): Promise<{ readonly dialler: number; readonly acceptor: number; readonly heard: readonly number[] }> {
  const counts = { dialler: 0, acceptor: 0, heard: [0, 0] }
  await withWorld(true, async (world) => {
    const { a, b } = await world.pair()
    await world.network.settle()
    const frames = [Uint8Array.of(1), new Uint8Array(5000).fill(2), Uint8Array.of(3)]
    b.site.onChannel = (from, channel) => {
      for (const frame of frames) channel.send(frame)
      const taken = Object.assign(new SiteChannel(), { from, channel })
      b.site.channels.push(taken)
      return taken
    }
    const near = new SiteChannel()
    const opening = a.transport.openChannel('b', near).then(
      (channel) => frames.forEach((frame) => channel.send(frame)),
      () => near.ends.push('it was refused'),
    )
    world.network.step()
    const wire = world.network.wires.at(-1)
    if (wire === undefined) throw new Error('nobody was dialled')
    if (end !== null) world.wireOf(wire)[end.from].sentBytesMax = end.bytes
    await world.network.settle()
    const { dialler, acceptor } = world.wireOf(wire)
    const far = b.site.channels[0]
    const heard = [near.frames, far?.frames ?? []]
    for (const got of heard) assert.equal(got.map(plain), frames.slice(0, got.length).map(plain))
    Object.assign(counts, {
      dialler: dialler.sentBytes,
      acceptor: acceptor.sentBytes,
      heard: heard.map((got) => got.length),
    })
    if (end === null) return
    world.network.cut({ port: wire.port, dialler, acceptor }, end.cut)
    await world.network.settle()
    await opening
    const title = `${end.cut} after ${end.bytes} bytes of the ${end.from}`
    assert.equal([near.ends.length, far?.ends.length ?? 1], [1, 1], title)
    assert.is(a.transport.rooms['channels'], 0, title)
    assert.ok(a.site.sessionWith('b') !== null, title)
  })
  return counts
}

const plain = (frame: Uint8Array): readonly number[] => [...frame]

// Silence.

/** `b` has a channel with `a`, which is played by hand. */
async function scriptedChannel(
  world: ScriptedWorld,
): Promise<{ readonly member: Member; readonly raw: ScriptedSocket }> {
  const member = await world.start('a')
  const raw = world.network.raw(Number(member.address.split(':')[1]))
  for (const bytes of [Buffer.concat([MAGIC, encodeHello(helloOf('b', 'a', CHANNEL))]), encodeWelcome()]) {
    raw.write(bytes)
    await world.network.settle()
  }
  assert.is(member.site.channels.length, 1)
  return { member, raw }
}

/** So many seconds, each of which has its time on the network. */
async function pass(world: ScriptedWorld, seconds: number, each: () => void = () => {}): Promise<void> {
  for (let second = 0; second < seconds; second++) {
    each()
    await world.network.settle()
    world.clock.advance(1000)
    await world.network.settle()
  }
}

test('a channel on which nothing is said for an hour stays, and its session as well', async () => {
  await withWorld(true, async (world) => {
    const { a, b } = await world.pair()
    await world.network.settle()
    const opening = a.site.open('b')
    await world.network.settle()
    const near = await opening
    const before = a.transport.stats().framesSent
    await pass(world, 3600)
    assert.equal([near.ends, b.site.channels[0]?.ends], [[], []])
    assert.ok(a.transport.stats().framesSent - before <= 3600, 'a ping each second')
    near.send(Uint8Array.of(7))
    await world.network.settle()
    assert.is(b.site.channels[0]?.frames.length, 1)
    assert.is(a.site.sessions.length, 1)
  })
})

test('a channel ends when its peer falls silent, not before', async () => {
  await withWorld(true, async (world) => {
    const { member } = await scriptedChannel(world)
    const ends = member.site.channels[0]?.ends
    await pass(world, 10)
    assert.equal(ends, [])
    await pass(world, 1)
    assert.equal(ends, ['nothing has come for 10000 ms'])
    assert.equal(member.site.linkEnds, [], 'it says nothing of the process')
  })
})

test('a peer that trickles is silent; one whose frame comes slowly is not', async () => {
  for (const [bytes, ends] of [
    [100, ['nothing has come for 10000 ms']],
    [103, []],
  ] as const) {
    await withWorld(true, async (world) => {
      const { member, raw } = await scriptedChannel(world)
      const frame = channelFrame(new Uint8Array(100_000))
      raw.write(frame.subarray(0, 100))
      await pass(world, 1)
      let at = 100
      await pass(world, 60, () => raw.write(frame.subarray(at, (at += bytes))))
      assert.equal(member.site.channels[0]?.ends, ends, `${bytes} bytes a second`)
    })
  }
})

test('a peer that does not read is sent no ping behind another, and keeps its channel while it says something', async () => {
  await withWorld(true, async (world) => {
    const { member, raw } = await scriptedChannel(world)
    const [wire] = world.network.wires
    if (wire === undefined) throw new Error('there is no connection')
    wire.acceptor.sentBytesMax = wire.acceptor.sentBytes
    await pass(world, 60, () => raw.write(encodePing()))
    assert.is(member.transport.rooms['unsent'], encodePing().byteLength)
    assert.equal(member.site.channels[0]?.ends, [])
    raw.destroy()
    await world.network.settle()
  })
})

test('a process that was held up for a minute has not missed its peer', async () => {
  await withWorld(true, async (world) => {
    const { a, b } = await world.pair()
    await world.network.settle()
    const opening = a.site.open('b')
    await world.network.settle()
    const near = await opening
    // Timers that are late fire once, before anything is read.
    world.clock.leap(60_000)
    await pass(world, 20)
    assert.equal([near.ends, b.site.channels[0]?.ends], [[], []])
    assert.ok(CHANNEL_PING_MS < 5000)
  })
})

test.run()
