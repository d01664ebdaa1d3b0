/**
 * The TCP transport on sockets that enforce what real ones do: bytes that leave and arrive in pieces of any size, ends
 * at any byte and in any order, memory that somebody else still holds.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { entryBlock } from '#balsa/format/block.js'
import { acknowledgement, heartbeat, roundOf } from '#balsa/testing/conformance/site.js'
import { Connection } from '#balsa/transport/tcp/connection.js'
import { type Block, logIndex, termOf } from '#balsa/types.js'
import type { Request } from 'balsa-raft/transport'

import { below, drawSeed, type Random, randomFrom } from '../support/seed.js'
import { type Cut, CUTS } from './scripted-network.js'
import { ScriptedWorld, withWorld } from './scripted-world.js'

const test = suite('tcp on scripted sockets')

/** How many blocks were made: each holds its own number, many times. */
let made = 0

/** Blocks that follow what a `heartbeat` has before it, of so many bytes each. */
const blocksOf = (...sizes: readonly number[]): readonly Block[] =>
  sizes.map((bytes, at) => entryBlock('command', logIndex(8 + at), termOf(3), 1000, new Uint8Array(bytes).fill(++made)))

const copyOf = (message: Request): Request =>
  message.type === 'AppendEntries'
    ? { ...message, blocks: message.blocks.map((block) => ({ ...block, data: new Uint8Array(block.data) })) }
    : message

/** Mostly small, sometimes over a slab or several. */
function drawnRequest(random: Random, round: number): Request {
  const count = [0, 0, 1, 1, 2, 5][below(random, 6)] ?? 0
  const bytes = Array.from({ length: count }, () => below(random, [50, 5000, 300_000][below(random, 3)] ?? 1))
  return { ...heartbeat(round), blocks: blocksOf(...bytes) }
}

const sizes: readonly ((random: Random) => number)[] = [
  () => Infinity,
  (random) => 1 + below(random, 64 * 1024),
  (random) => 1 + below(random, 5000),
  (random) => (random() < 0.5 ? 0 : 1 + below(random, 200_000)),
]

for (const isInPlace of [true, false]) {
  const how = isInPlace ? 'read in place' : 'copied'

  test(`whatever the pieces, every message arrives once, in order, unchanged, and stays so: ${how}`, async () => {
    const seed = drawSeed()
    const random = randomFrom(seed)
    for (const size of sizes) {
      const title = `BALSA_SEED=${seed}`
      await withWorld(isInPlace, async (world) => {
        const { a, b } = await world.pair()
        await world.network.settle()
        const session = a.site.sessionWith('b') ?? 0
        world.network.chunk = () => size(random)
        const sent: Request[] = []
        const asArrived: Request[] = []
        let answered = 0
        for (let round = 1; round <= 60; round++) {
          const message = drawnRequest(random, round)
          sent.push(copyOf(message))
          a.transport.send('b', session, message)
          if (random() < 0.7) a.transport.flush()
          if (random() < 0.7) await world.network.settleSome(1 + below(random, 20))
          while (asArrived.length < b.site.requests.length) {
            const { link, message: arrived } = b.site.requests[asArrived.length] ?? { link: 0, message }
            asArrived.push(copyOf(arrived))
            b.site.answer(link, acknowledgement(++answered))
          }
        }
        a.transport.flush()
        world.network.chunk = () => Infinity
        await world.network.settle()
        const arrived = b.site.requests.map(({ message }) => message)
        assert.is(arrived.length, sent.length, title)
        for (const [at, message] of arrived.entries()) assert.equal(message, sent[at], title)
        for (const [at, message] of asArrived.entries()) assert.equal(arrived[at], message, `a view changed: ${title}`)
        assert.is(a.site.responses.length, answered, title)
      })
    }
  })

  for (const cut of CUTS) {
    test(`a connection may end at every byte, in either direction: ${cut}, ${how}`, async () => {
      const whole = await conversation(isInPlace, null)
      assert.equal(whole.arrived, [1, 2, 3])
      // Every byte in one way each; the other ways at some of them.
      const every = (isInPlace ? cut === 'reset' : cut === 'end') ? 1 : 7
      for (const from of ['dialler', 'acceptor'] as const) {
        for (let bytes = 0; bytes <= whole[from]; bytes += every) {
          const { arrived } = await conversation(isInPlace, { from, bytes, cut })
          assert.equal(arrived, [1, 2, 3].slice(0, arrived.length), `cut after ${bytes} bytes of the ${from}`)
        }
      }
    })
  }
}

interface Conversation {
  /** How many bytes each side has sent. */
  readonly dialler: number
  readonly acceptor: number
  /** The rounds of the requests that arrived. */
  readonly arrived: readonly number[]
}

/**
 * Hands are shaken, three requests and their answers go to and fro; after so many bytes of one side the connection is
 * cut, and dialled again.
 */
async function conversation(
  isInPlace: boolean,
  end: { readonly from: 'dialler' | 'acceptor'; readonly bytes: number; readonly cut: Cut } | null,
): Promise<Conversation> {
  const world = new ScriptedWorld(isInPlace)
  const { a, b, wire: first } = await world.pair()
  const wire = world.wireOf(first)
  if (end !== null) wire[end.from].sentBytesMax = end.bytes
  const sent = [heartbeat(1), { ...heartbeat(2), blocks: blocksOf(40, 8) }, heartbeat(3)]
  await world.network.settle()
  const session = a.site.sessionWith('b')
  if (session !== null) {
    for (const message of sent) a.transport.send('b', session, message)
    a.transport.flush()
    await world.network.settle()
    for (const { link } of b.site.requests) b.site.answer(link, acknowledgement(1))
    await world.network.settle()
  }
  const arrived = b.site.requests.map(({ message }) => message)
  for (const [at, message] of arrived.entries()) assert.equal(message, sent[at])
  const rounds = arrived.map((message) => ('round' in message ? message.round : 0))
  const { dialler, acceptor } = wire
  const counts = { dialler: dialler.sentBytes, acceptor: acceptor.sentBytes, arrived: rounds }
  if (end !== null) {
    world.network.cut(wire, end.cut)
    await world.network.settle()
    assert.is(a.site.sessionWith('b'), null, 'the session is over')
    world.clock.advance(10)
    await world.network.settle()
    const next = a.site.sessionWith('b') ?? 0
    assert.ok(next > (session ?? 0), 'the peer is dialled again')
    a.site.ask('b', next, heartbeat(9))
    await world.network.settle()
    assert.is(b.site.requests.length, arrived.length + 1, 'the next session carries')
  }
  await world.close()
  return counts
}

test('a peer that does not read ends its session at the bound in bytes, however few the messages', async () => {
  await withWorld(true, async (world) => {
    const { a, wire } = await world.pair({ writeQueueBytesMax: 1_000_000 })
    await world.network.settle()
    const session = a.site.sessionWith('b') ?? 0
    wire.dialler.sentBytesMax = wire.dialler.sentBytes
    for (let n = 1; n <= 9; n++) {
      a.site.ask('b', session, { ...heartbeat(n), blocks: blocksOf(100_000) })
      await world.network.settle()
    }
    assert.is(a.site.sessionWith('b'), session, '0.9 MB wait')
    a.site.ask('b', session, { ...heartbeat(10), blocks: blocksOf(100_000) })
    assert.match(await a.site.down('b', session), 'bytes wait to be written, over 1000000')
  })
})

test('thousands of small messages that wait in a socket leave as they were written', async () => {
  await withWorld(true, async (world) => {
    const { a, b, wire } = await world.pair()
    await world.network.settle()
    const session = a.site.sessionWith('b') ?? 0
    wire.dialler.sentBytesMax = wire.dialler.sentBytes
    const rounds = Array.from({ length: 2000 }, (_, at) => at + 1)
    for (const round of rounds) {
      a.transport.send('b', session, heartbeat(round))
      if (round % 3 === 0) a.transport.flush()
    }
    a.transport.flush()
    wire.dialler.sentBytesMax = Infinity
    await world.network.settle()
    assert.equal(world.network.flaws, [])
    assert.equal(
      b.site.requests.map(({ message }) => roundOf(message)),
      rounds,
    )
  })
})

test('an accepted connection costs the same, however many have not shaken hands', async () => {
  await withWorld(true, async (world) => {
    const { address } = await world.start('a', { acceptedMax: 65_536 })
    const { get } = Object.getOwnPropertyDescriptor(Connection.prototype, 'remoteHost') ?? {}
    let looks = 0
    Object.defineProperty(Connection.prototype, 'remoteHost', {
      configurable: true,
      get(this: Connection): unknown {
        looks += 1
        return get?.call(this)
      },
    })
    try {
      const raws = Array.from({ length: 1000 }, () => world.network.raw(Number(address.split(':')[1])))
      await world.network.settle()
      assert.ok(looks <= 10 * raws.length, `${looks} looks at addresses for ${raws.length} connections`)
      for (const raw of raws) raw.destroy()
      await world.network.settle()
      assert.ok(looks <= 20 * raws.length, `${looks} looks at addresses when they had gone`)
    } finally {
      Object.defineProperty(Connection.prototype, 'remoteHost', { configurable: true, ...(get && { get }) })
    }
  })
})

test('what has left makes room: a slow peer that reads on keeps its session', async () => {
  await withWorld(true, async (world) => {
    const { a, b, wire } = await world.pair({ writeQueueBytesMax: 300_000 })
    await world.network.settle()
    const session = a.site.sessionWith('b') ?? 0
    for (let n = 1; n <= 30; n++) {
      wire.dialler.sentBytesMax = wire.dialler.sentBytes + 1
      a.site.ask('b', session, { ...heartbeat(n), blocks: blocksOf(100_000) })
      await world.network.settle()
      wire.dialler.sentBytesMax = wire.dialler.sentBytes + 101_000
      await world.network.settle()
    }
    wire.dialler.sentBytesMax = Infinity
    await world.network.settle()
    assert.is(a.site.sessionWith('b'), session)
    assert.is(b.site.requests.length, 30)
  })
})

test.run()
