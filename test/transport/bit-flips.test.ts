/**
 * One bit of a stream that is changed on the way, each in turn: the connection ends with a reason, or the change is in
 * a block, which whoever verifies blocks will find. Nothing wrong is ever delivered as right.
 */

import type { Socket } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { entryBlock, verifyBlock } from '#balsa/format/block.js'
import { acknowledgement, heartbeat, introductionOf } from '#balsa/testing/conformance/site.js'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { logIndex, termOf } from '#balsa/types.js'
import {
  CHANNEL_REQUIRES,
  encodeChannelFrame,
  encodeGoodbye,
  encodeHello,
  encodeMessage,
  encodePing,
  encodeRefusal,
  encodeWelcome,
  FEATURES,
  PROTOCOL,
} from 'balsa-raft/transport'
import type { Request, Response } from 'balsa-raft/transport'

import { type Member, ScriptedWorld } from './scripted-world.js'

const test = suite('bits that flip on the way')

const block = (index: number) =>
  entryBlock('command', logIndex(index), termOf(3), 1000, new Uint8Array([1, 2, 3, 4, 5]))
const hello = (id: string, targetId: string, kind: { readonly channel?: true } = {}): Uint8Array =>
  encodeHello({
    ...introductionOf(id),
    protocol: PROTOCOL,
    targetId,
    address: 'raw:1',
    features: FEATURES,
    requires: kind.channel === true ? CHANNEL_REQUIRES : [],
    ...kind,
  })
const encoded = (message: Request | Response): Uint8Array => encodeMessage(message, new Set(FEATURES))

const requests: Readonly<Record<string, Request>> = {
  heartbeat: heartbeat(6),
  'AppendEntries with blocks': { ...heartbeat(6), blocks: [block(8), block(9)] },
  RequestVote: { type: 'RequestVote', term: termOf(3), lastIndex: logIndex(9), lastTerm: termOf(2) },
  'RequestVote by transfer': {
    ...{ type: 'RequestVote', term: termOf(3), lastIndex: logIndex(9), lastTerm: termOf(2) },
    isTransfer: true,
  },
  TimeoutNow: { type: 'TimeoutNow', term: termOf(3), lastIndex: logIndex(9), lastTerm: termOf(2) },
  PreVote: { type: 'PreVote', proposedTerm: termOf(4), lastIndex: logIndex(9), lastTerm: termOf(2), round: 5 },
}
const responses: Readonly<Record<string, Response>> = {
  AppendEntriesResult: acknowledgement(6),
  'AppendEntriesResult with the end of its log': { ...acknowledgement(6), lastIndex: logIndex(9) },
  RequestVoteResult: { type: 'RequestVoteResult', term: termOf(3), granted: false },
  PreVoteResult: { type: 'PreVoteResult', term: termOf(3), granted: false, round: 5 },
}

/** Calls `each` with a copy for every bit of `bytes`, in which that bit is another one. */
async function forEachFlip(
  bytes: Uint8Array,
  each: (flipped: Uint8Array, bit: number) => Promise<void>,
): Promise<void> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = new Uint8Array(bytes)
    flipped[bit >>> 3] = (flipped[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
    await each(flipped, bit)
  }
}

interface Heard {
  readonly world: ScriptedWorld
  readonly a: Member
}

/** A site that hears `opening` on a connection that it accepted, and the rest once hands are shaken. */
async function accepting(opening: Uint8Array, rest: Uint8Array): Promise<Heard> {
  const world = new ScriptedWorld(true)
  const a = await world.start('a')
  const raw = world.network.raw(Number(a.address.split(':')[1]))
  for (const bytes of [opening, rest]) {
    raw.write(bytes)
    await world.network.settle()
  }
  return { world, a }
}

/** The same on one that it dialled. */
async function dialling(opening: Uint8Array, rest: Uint8Array): Promise<Heard> {
  const world = new ScriptedWorld(true)
  const a = await world.start('a')
  const accepted: Socket[] = []
  const server = world.network.server((socket) => accepted.push(socket))
  server.listen({ port: 9999 })
  a.transport.setPeers([{ id: 'b', address: '127.0.0.1:9999' }])
  world.network.step()
  server.close()
  for (const raw of accepted) {
    raw.on('error', () => {}).resume()
    for (const bytes of [opening, rest]) {
      raw.write(bytes)
      await world.network.settle()
    }
  }
  return { world, a }
}

/** Why the last connection of that site has ended, in its log. */
const reasonsOf = ({ site }: Member): readonly string[] =>
  site.lines
    .filter(({ event }) => /link-(refused|down)|peer-down|dial-failed/.test(event))
    .map(({ fields }) => String(fields['reason']))

for (const [name, request] of Object.entries(requests)) {
  test(`${name}: whichever bit flips, nothing but a damaged block is delivered`, async () => {
    const before = Buffer.concat([MAGIC, hello('b', 'a')])
    await forEachFlip(encoded(request), async (flipped, bit) => {
      const { world, a } = await accepting(
        before,
        Buffer.concat([encoded(heartbeat(5)), flipped, encoded(heartbeat(7))]),
      )
      const [first, second] = a.site.requests.map(({ message }) => message)
      assert.equal(first, heartbeat(5))
      if (second === undefined) {
        assert.match(reasonsOf(a)[0] ?? 'it has not ended', 'malformed frame', `bit ${bit}`)
      } else {
        assert.ok(second.type === 'AppendEntries' && request.type === 'AppendEntries', `bit ${bit}`)
        assert.equal({ ...second, blocks: [] }, { ...request, blocks: [] }, `bit ${bit}`)
        assert.not(
          second.blocks.every(({ data }) => verifyBlock(data)),
          `bit ${bit} of a block is not found`,
        )
      }
      await world.close()
    })
  })
}

for (const [name, response] of Object.entries(responses)) {
  test(`${name}: whichever bit flips, it is not delivered`, async () => {
    const before = Buffer.concat([MAGIC, hello('b', 'a'), encodeWelcome()])
    await forEachFlip(encoded(response), async (flipped, bit) => {
      const { world, a } = await dialling(
        before,
        Buffer.concat([encoded(acknowledgement(5)), flipped, encoded(acknowledgement(7))]),
      )
      assert.equal(
        a.site.responses.map(({ message }) => message),
        [acknowledgement(5)],
        `bit ${bit}`,
      )
      assert.match(reasonsOf(a)[0] ?? 'it has not ended', 'malformed frame', `bit ${bit}`)
      await world.close()
    })
  })
}

test('the handshake: whichever bit flips, nobody is admitted, and nothing is heard', async () => {
  for (const bytes of [MAGIC, hello('b', 'a')]) {
    const [before, after] = bytes === MAGIC ? [Buffer.alloc(0), hello('b', 'a')] : [MAGIC, Buffer.alloc(0)]
    await forEachFlip(bytes, async (flipped, bit) => {
      const stream = Buffer.concat([before, flipped, after, encoded(heartbeat(5))])
      const { world, a } = await accepting(stream, Buffer.alloc(0))
      assert.is(a.site.calls, 0, `bit ${bit}`)
      assert.match(reasonsOf(a)[0] ?? 'it has not ended', /malformed frame/, `bit ${bit}`)
      await world.close()
    })
  }
})

test('welcome, refusal and goodbye: whichever bit flips, none is taken for another, nor for a reason', async () => {
  const opened = Buffer.concat([MAGIC, hello('b', 'a'), encodeWelcome()])
  const frames = [
    { before: Buffer.concat([MAGIC, hello('b', 'a')]), frame: encodeWelcome() },
    { before: opened, frame: encodeRefusal({ code: 'X', reason: 'no' }) },
    { before: opened, frame: encodeGoodbye('closing') },
  ]
  for (const { before, frame } of frames) {
    await forEachFlip(frame, async (flipped, bit) => {
      const { world, a } = await dialling(before, Buffer.concat([flipped, encoded(acknowledgement(5))]))
      assert.match(reasonsOf(a)[0] ?? 'it has not ended', 'malformed frame', `bit ${bit}`)
      assert.equal(a.site.responses, [], `bit ${bit}`)
      await world.close()
    })
  }
})

test('what a channel carries: whichever bit flips, a short frame is not delivered, and of a long one only its data', async () => {
  const before = Buffer.concat([MAGIC, hello('b', 'a', { channel: true })])
  const long = Buffer.concat(encodeChannelFrame(new Uint8Array(4090)))
  const frames = [
    Buffer.concat(encodeChannelFrame(Uint8Array.of(1, 2, 3, 4))),
    Buffer.from(encodePing()),
    // Its head, and two bytes of data.
    long.subarray(0, 22),
  ]
  for (const frame of frames) {
    const rest = frame.length === 22 ? long.subarray(22) : Buffer.alloc(0)
    await forEachFlip(frame, async (flipped, bit) => {
      const { world, a } = await accepting(before, Buffer.concat([encodeWelcome(), flipped, rest]))
      const [channel] = a.site.channels
      if (rest.length > 0 && bit >= 160) assert.equal([channel?.frames.length, channel?.ends], [1, []], `bit ${bit}`)
      else {
        assert.equal(channel?.frames, [], `bit ${bit}`)
        assert.match(channel?.ends[0] ?? 'it has not ended', 'malformed frame', `bit ${bit}`)
      }
      await world.close()
    })
  }
})

test.run()
