/**
 * Frames and slabs against random and damaged bytes: decoding is total, says what it reads, and finds every flipped bit
 * of a head.
 */

import fc from 'fast-check'
import { Packr, Unpackr } from 'msgpackr'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { entryBlock, verifyBlock } from '#balsa/format/block.js'
import { acknowledgement, heartbeat, introductionOf } from '#balsa/testing/conformance/site.js'
import { FrameReader } from '#balsa/transport/tcp/frame-reader.js'
import { FrameType } from '#balsa/transport/wire/frame.js'
import { type Block, logIndex, termOf } from '#balsa/types.js'
import {
  CHANNEL_FRAME_BYTES_MAX,
  commonFeatures,
  decodeFrame,
  encodeChannelFrame,
  encodeGoodbye,
  encodeHello,
  encodeMessage,
  encodeRefusal,
  encodeWelcome,
  FEATURES,
  FRAME_HEADER_BYTES,
  frameMemory,
  HEAD_BYTES_MAX,
  isUnderstood,
  messageFlaw,
  NO_FEATURES,
} from 'balsa-raft/transport'
import type { Frame, Malformed, Request, Response } from 'balsa-raft/transport'

import { check } from '../format/seed.js'
import { field, frameOf, resealed } from './forged-frames.js'

const test = suite('the bytes of frames')

const ALL = commonFeatures(FEATURES)

const position = fc.oneof(
  fc.nat(50),
  fc.maxSafeInteger().map(Math.abs),
  fc.constantFrom(2 ** 32, 2 ** 32 - 1, 2 ** 53 - 1),
)
const index = position.map(logIndex)
const term = position.map(termOf)
const granted = fc.boolean()

const appendEntries = fc
  .record({
    prevIndex: fc.oneof(fc.nat(1000), fc.constant(2 ** 52)),
    prevTerm: fc.nat(20),
    steps: fc.array(fc.record({ term: fc.nat(2), payload: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 5 }),
    commitIndex: index,
    round: position,
  })
  .map(({ prevIndex, prevTerm, steps, commitIndex, round }): Request => {
    const blocks: Block[] = []
    let last = Math.max(1, prevTerm)
    for (const [i, step] of steps.entries()) {
      last += step.term
      blocks.push(entryBlock('command', logIndex(prevIndex + 1 + i), termOf(last), 1000 + i, step.payload))
    }
    return {
      type: 'AppendEntries',
      term: termOf(last),
      prevIndex: logIndex(prevIndex),
      prevTerm: termOf(prevTerm),
      blocks,
      commitIndex,
      round,
    }
  })

const message: fc.Arbitrary<Request | Response> = fc.oneof(
  appendEntries,
  fc.record(
    {
      type: fc.constant('AppendEntriesResult' as const),
      term,
      status: fc.constantFrom('matched' as const, 'conflict' as const, 'busy' as const),
      matchIndex: index,
      hintIndex: index,
      hintTerm: term,
      round: position,
      lastIndex: index,
      acceptedIndex: index,
    },
    { requiredKeys: ['type', 'term', 'status', 'matchIndex', 'hintIndex', 'hintTerm', 'round'] },
  ),
  fc.record(
    {
      type: fc.constant('RequestVote' as const),
      term,
      lastIndex: index,
      lastTerm: term,
      isTransfer: fc.constant(true as const),
    },
    { requiredKeys: ['type', 'term', 'lastIndex', 'lastTerm'] },
  ),
  fc.record({ type: fc.constant('TimeoutNow' as const), term, lastIndex: index, lastTerm: term }),
  fc.record({ type: fc.constant('RequestVoteResult' as const), term, granted }),
  fc.record({
    type: fc.constant('PreVote' as const),
    proposedTerm: term,
    lastIndex: index,
    lastTerm: term,
    round: position,
  }),
  fc.record({ type: fc.constant('PreVoteResult' as const), term, granted, round: position }),
)

/** Changes at up to four places, and how many bytes are cut off or put on at the end. */
const damage = fc.record({
  changes: fc.array(fc.record({ at: fc.nat(), to: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)) }), {
    maxLength: 4,
  }),
  tail: fc.integer({ min: -20, max: 20 }),
})

const bytes = (maxLength: number) => fc.uint8Array({ maxLength })
const unknownField = fc.record({ tag: fc.integer({ min: 3, max: 0x7fff }), value: bytes(20) })

test('every message comes back as it was', async () => {
  await check(
    fc.property(message, fc.nat(40), (sent, before) => {
      const frame = encodeMessage(sent, ALL)
      const memory = frameMemory(Buffer.concat([Buffer.alloc(before, 0xee), frame, Buffer.alloc(9, 0xee)]))
      // A copy, because fast-check's records have no prototype.
      assert.equal(decodeFrame(memory, before, before + frame.length), { ...sent })
    }),
    1000,
  )
})

test('a frame of a channel comes back as it was: a short one in its head, a long one behind it', async () => {
  const lengths = fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.constantFrom(4076, 4077, CHANNEL_FRAME_BYTES_MAX))
  await check(
    fc.property(lengths, fc.nat(255), (length, value) => {
      const data = new Uint8Array(length).fill(value)
      const pieces = encodeChannelFrame(data)
      assert.equal(decode(Buffer.concat(pieces)), { type: 'channelFrame', data: Buffer.from(data) })
      assert.is(pieces[0]?.length, length <= 4076 ? 20 + length : 20)
      assert.is(pieces[1], length <= 4076 ? undefined : data)
    }),
    100,
  )
})

test('what the other side did not offer is left out, and nothing else', async () => {
  await check(
    fc.property(message, (sent) => {
      const { lastIndex: _, acceptedIndex: __, ...older } = { lastIndex: undefined, acceptedIndex: undefined, ...sent }
      const { isTransfer: ___, ...vote } = { isTransfer: undefined, ...sent }
      const left = sent.type === 'AppendEntriesResult' ? older : sent.type === 'RequestVote' ? vote : { ...sent }
      assert.equal(decode(encodeMessage(sent, NO_FEATURES)), left)
    }),
    500,
  )
})

test('a peer that did not offer transfers understands every message but TimeoutNow', async () => {
  await check(
    fc.property(message, (sent) => assert.is(isUnderstood(sent, NO_FEATURES), sent.type !== 'TimeoutNow')),
    500,
  )
})

test('any flipped bit in the head of a frame is found when that frame has come, also one in its length', async () => {
  await check(
    fc.property(message, fc.nat(), (sent, drawn) => {
      const frame = Buffer.from(encodeMessage(sent, ALL))
      const bit = drawn % (8 * headLength(frame))
      frame[bit >>> 3] = (frame[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
      assert.is(decode(frame).type, 'Malformed')
      const reader = new FrameReader(HEAD_BYTES_MAX + 4 * 2 ** 20)
      frame.copy(reader.space())
      reader.filled(frame.length)
      const length = reader.frameLength()
      const isFound = length < 0 || reader.earlyFlaw() !== null
      assert.ok(isFound || (length > 0 && decode(frame.subarray(0, length)).type === 'Malformed'), `bit ${bit}`)
    }),
    3000,
  )
})

test('a frame with some bytes changed is refused, or is the same, or a block of it does not verify', async () => {
  await check(
    fc.property(message, damage, (sent, { changes, tail }) => {
      const frame = encodeMessage(sent, ALL)
      const damaged = Buffer.alloc(Math.max(0, frame.length + tail))
      damaged.set(frame.subarray(0, damaged.length))
      for (const { at, to } of changes) if (damaged.length > 0) damaged[at % damaged.length] = to
      const read = decode(damaged)
      if (read.type === 'Malformed') return
      if (read.type === 'AppendEntries' && !read.blocks.every(({ data }) => verifyBlock(data))) return
      assert.equal(read, { ...sent })
    }),
    5000,
  )
})

test('random fields under a right outline and checksum are refused, or are a message without a flaw', async () => {
  const types = Object.values(FrameType)
  await check(
    fc.property(fc.constantFrom(...types, 0, 255), bytes(200), bytes(120), (type, fields, blocks) => {
      readTwice(frameOf(type, fields, blocks))
      readTwice(frameOf(type, fields))
    }),
    5000,
  )
})

test('damaged frames whose checksum was made right are refused, or read as exactly what their bytes then say', async () => {
  await check(
    fc.property(message, damage, (sent, { changes, tail }) => {
      const frame = encodeMessage(sent, ALL)
      const damaged = Buffer.alloc(Math.max(FRAME_HEADER_BYTES + 4, frame.length + tail))
      damaged.set(frame.subarray(0, damaged.length))
      for (const { at, to } of changes) damaged[at % damaged.length] = to
      damaged.writeUInt32LE(damaged.length, 0)
      readTwice(resealed(damaged))
    }),
    5000,
  )
})

test('an unknown optional field is skipped, and an unknown required one is refused by its number', async () => {
  await check(
    fc.property(message, fc.uniqueArray(unknownField, { maxLength: 3, selector: ({ tag }) => tag }), (sent, drawn) => {
      const unknown = drawn.toSorted((x, y) => x.tag - y.tag)
      const later = extended(encodeMessage(sent, ALL), ...unknown.map(({ tag, value }) => field(tag, value)))
      assert.equal(decode(later), { ...sent })
      const [first] = unknown
      if (first === undefined) return
      const refused = decode(extended(encodeMessage(sent, ALL), field(first.tag | 0x8000, first.value)))
      const what = refused.type === 'Malformed' ? refused.what : 'not refused'
      assert.match(what, `${sent.type}: field ${first.tag} must be understood, and is not known here`)
      assert.match(what, 'upgrade this server')
    }),
    1000,
  )
})

test('optional fields out of order, twice, of a wrong length or past the end are refused', () => {
  const known = field(1, Buffer.alloc(8))
  const answer = encodeMessage(acknowledgement(1), NO_FEATURES)
  for (const [fields, words] of [
    [[field(4), field(3)], 'field 3 follows field 4'],
    [[known, known], 'field 1 follows field 1'],
    [[known, field(0x8001, Buffer.alloc(8))], 'field 1 follows field 1'],
    [[field(0, Buffer.alloc(2))], 'field 0 follows field 0'],
    [[field(1, Buffer.alloc(7))], 'field 1 has 7 bytes, not 8'],
    [[field(2, Buffer.alloc(8)).subarray(0, 11)], 'field 2 of 8 bytes passes the end of its head'],
    [[known, Buffer.alloc(3)], '3 bytes are left behind its fields'],
    [[field(1, Buffer.from('ffffffffffffffff', 'hex'))], 'lastIndex 18446744073709552000 is not a whole number'],
  ] as const) {
    assert.match(whatIsWrong(extended(answer, ...fields)), words)
  }
  assert.equal(decode(extended(answer, field(0x8001, Buffer.alloc(8)))), {
    ...acknowledgement(1),
    lastIndex: logIndex(0),
  })
})

test('blocks that do not add up to the end of the frame are refused', () => {
  const block = entryBlock('command', logIndex(8), termOf(3), 1000, new Uint8Array(5))
  const frame = Buffer.from(encodeMessage({ ...heartbeat(1), blocks: [block] }, ALL))
  const head = headLength(frame)
  const flaws = new Map([
    ['its header at', (copy: Buffer) => copy.writeUInt32LE(999, head + 20)],
    ['1 blocks where its header says 2', (copy: Buffer) => copy.writeUInt32LE(2, 56)],
    ['begins at index 9', (copy: Buffer) => (copy.writeUInt32LE(9, head + 8), copy.writeUInt32LE(9, head + 24 + 8))],
    ['between term 2 before it', (copy: Buffer) => copy.writeUInt32LE(1, head + 24 + 16)],
    ['group 1', (copy: Buffer) => copy.writeUInt32LE(1, 8)],
    ['prevTerm 9007199254740994', (copy: Buffer) => copy.writeUInt32LE(0x20_0000, 16 + 20)],
  ])
  for (const [words, harm] of flaws) {
    const copy = Buffer.from(frame)
    harm(copy)
    assert.match(whatIsWrong(resealed(copy)), words)
  }
  assert.is(decode(resealed(Buffer.concat([frame, Buffer.alloc(10)]))).type, 'Malformed')
  // The block's own header claims bytes that are in the slab, but behind the end of its frame.
  const two = Buffer.from(
    encodeMessage({ ...heartbeat(1), blocks: [block, { ...block, first: logIndex(9), last: logIndex(9) }] }, ALL),
  )
  two.writeUInt32LE(two.readUInt32LE(head + 20) + 40, head + 20)
  two.writeUInt32LE(1, 56)
  const end = head + block.data.length
  two.writeUInt32LE(end, 0)
  const past = decodeFrame(frameMemory(resealed(two)), 0, end)
  assert.match(past.type === 'Malformed' ? past.what : 'not refused', 'runs past the end of its frame')
})

test('an outline that cannot be right is refused before anything is read by it', () => {
  const vote = { type: 'RequestVoteResult', term: termOf(1), granted: true } as const
  const frame = Buffer.from(encodeMessage(vote, ALL))
  for (const [words, harm] of [
    ['fewer than the shortest frame', (copy: Buffer) => copy.subarray(0, 19)],
    ['says it has 36', (copy: Buffer) => copy.subarray(0, 35)],
    ['a head of 19 bytes in a frame of 36', (copy: Buffer) => (copy.writeUInt8(19, 5), copy)],
    ['a head of 37 bytes in a frame of 36', (copy: Buffer) => (copy.writeUInt8(37, 5), copy)],
    ['a head of 65572 bytes in a frame of 36', (copy: Buffer) => (copy.writeUInt8(1, 7), copy)],
    ['with 4 bytes behind its head', () => frameOf(FrameType.requestVoteResult, new Uint8Array(16), new Uint8Array(4))],
    ['with 1 bytes behind its head', () => frameOf(FrameType.welcome, Uint8Array.of(0x80), new Uint8Array(1))],
    ['cannot have 15 bytes of fields', () => frameOf(FrameType.requestVoteResult, new Uint8Array(15))],
    [
      `a head of ${HEAD_BYTES_MAX + 1} bytes`,
      () => frameOf(FrameType.welcome, new Uint8Array(HEAD_BYTES_MAX + 1 - FRAME_HEADER_BYTES - 4)),
    ],
  ] as const) {
    assert.match(whatIsWrong(harm(Buffer.from(frame))), words)
  }
})

const text = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }).filter((id) => Buffer.byteLength(id) < 256)
const names = fc.uniqueArray(fc.stringMatching(/^[a-z][a-z0-9-]{0,63}$/), { maxLength: 30, size: 'max' })

const boot = { bootCounter: position, bootNonce: fc.stringMatching(/^[0-9a-f]{32}$/) }
const boots = fc.array(fc.record(boot, { noNullPrototype: true }), { maxLength: 17 })

test('handshake frames come back as they were, and any MessagePack reader can read them', async () => {
  await check(
    fc.property(text, position, names, fc.subarray([...FEATURES]), boots, (id, bootCounter, later, requires, shown) => {
      const saysSo = [{}, { hasJoined: true }, { targetWasAdded: true }][shown.length % 3]
      const protocol = { min: 1, max: 7 }
      const features = [...new Set([...later, ...requires])]
      const hello = {
        ...introductionOf('n', { serverId: id, bootCounter, knownBoot: bootCounter, boots: shown }),
        ...{ protocol, targetId: id, address: 'h:1', features, requires, ...saysSo },
      }
      const frame = encodeHello(hello)
      assert.equal(decode(frame), { type: 'hello', ...hello })
      const map: unknown = new Unpackr({ useRecords: false }).unpack(frame.subarray(FRAME_HEADER_BYTES, -4))
      const { protocol: _, ...others } = hello
      const pairs = shown.map((boot) => [boot.bootCounter, boot.bootNonce])
      assert.equal(map, { ...others, protocolMin: 1, protocolMax: 7, boots: pairs })
    }),
    300,
  )
  const refusal = encodeRefusal({ code: 'X', reason: 'y'.repeat(5000) })
  assert.equal(decode(refusal), { type: 'refusal', code: 'X', reason: 'y'.repeat(1000) })
  assert.equal(decode(encodeGoodbye('é'.repeat(1001))), { type: 'goodbye', reason: 'é'.repeat(1000) })
  assert.equal(decode(encodeWelcome()), { type: 'welcome' })
})

test('a hello that says neither yes nor no where it must is refused, and one that says no is as one that says nothing', () => {
  const protocol = { min: 1, max: 1 }
  const hello = { ...introductionOf('n1'), ...{ protocol, targetId: 'n2', address: 'h:1', features: [], requires: [] } }
  const map = new Unpackr({ useRecords: false }).unpack(encodeHello(hello).subarray(FRAME_HEADER_BYTES, -4)) as object
  const packr = new Packr({ useRecords: false })
  for (const key of ['hasJoined', 'targetWasAdded', 'channel']) {
    for (const value of [1, 'true', []]) {
      const frame = frameOf(FrameType.hello, packr.pack({ ...map, [key]: value }))
      assert.match(whatIsWrong(frame), `${key} is not a boolean`)
    }
    assert.equal(decode(frameOf(FrameType.hello, packr.pack({ ...map, [key]: false }))), { type: 'hello', ...hello })
  }
})

test('the hello of a server with the longest names and as many boots as it shows fits into a head', () => {
  const name = 'é'.repeat(127)
  const shown = Array.from({ length: 17 }, (_, at) => ({ bootCounter: 2 ** 52 + at, bootNonce: 'f'.repeat(32) }))
  const most = { bootCounter: 2 ** 53 - 1, knownBoot: 2 ** 53 - 1, boots: shown }
  const protocol = { min: 1, max: 1 }
  const frame = encodeHello({
    ...introductionOf(name, most),
    ...{ protocol, targetId: name, address: name, features: FEATURES, requires: [] },
  })
  assert.ok(frame.length <= HEAD_BYTES_MAX / 2, `${frame.length} bytes`)
})

test('whatever else is required, an unknown feature is named before any other key is looked at', () => {
  const packr = new Packr({ useRecords: false })
  const hello = { protocolMin: 1, protocolMax: 2, requires: ['goodbye', 'witness', 'zstd'] }
  const read = decode(frameOf(FrameType.hello, packr.pack(hello)))
  assert.equal(read, { type: 'foreignHello', protocol: { min: 1, max: 2 }, unknown: ['witness', 'zstd'] })
})

test('lists of features out of their bounds are refused', () => {
  const hello = {
    ...introductionOf('n1'),
    ...{ protocol: { min: 1, max: 1 }, targetId: 'n2', address: 'h:1', features: ['a'], requires: [] },
  }
  const many = Array.from({ length: 65 }, (_, n) => `f${n}`)
  for (const [part, words] of [
    [{ features: many }, 'features is not a list of up to 64'],
    [{ features: ['x'.repeat(65)] }, 'features is not'],
    [{ features: ['X'] }, 'features is not'],
    [{ features: [''] }, 'features is not'],
    [{ requires: many }, 'requires is not a list of up to 64'],
    [{ requires: ['log-end'] }, 'requires what it does not offer'],
  ] as const) {
    assert.match(whatIsWrong(encodeHello({ ...hello, ...part })), words)
  }
  assert.is(decode(encodeHello({ ...hello, features: many.slice(1) })).type, 'hello')
  const packr = new Packr({ useRecords: false })
  for (const features of [undefined, 'a', { 0: 'a' }, [1], null]) {
    const body = packr.pack({ protocolMin: 1, protocolMax: 1, requires: [], features })
    assert.match(whatIsWrong(frameOf(FrameType.hello, body)), 'features is not')
  }
  assert.match(whatIsWrong(frameOf(FrameType.hello, packr.pack({ protocolMin: 1, protocolMax: 1 }))), 'requires is not')
})

test('random and damaged handshake frames never throw', async () => {
  const hello = encodeHello({
    ...introductionOf('n1'),
    ...{ protocol: { min: 1, max: 1 }, targetId: 'n2', address: '[::1]:7', features: ['a'], requires: ['a'] },
  })
  await check(
    fc.property(bytes(80), damage, fc.constantFrom(1, 2, 3, 4, 5), (body, { changes, tail }, type) => {
      decode(frameOf(type, body))
      const damaged = Buffer.alloc(hello.length + tail)
      damaged.set(hello.subarray(0, damaged.length))
      for (const { at, to } of changes) damaged[at % damaged.length] = to
      decode(damaged)
      damaged.writeUInt32LE(damaged.length, 0)
      damaged.writeUIntLE(damaged.length, 5, 3)
      decode(resealed(damaged))
    }),
    5000,
  )
})

test('a handshake that claims more than it brings allocates nothing for it', () => {
  // array32 of 2^32 - 1 and of 30 million, nested; map32; nested array16; an extension; a string; a map without a
  // value.
  const bodies = ['ddffffffff', '81a161dd01c9c380', 'dd01c9c380'.repeat(800), 'dfffffffff', 'dcffff'.repeat(1000)]
  for (const body of [...bodies, '91'.repeat(4000), 'c7ff01', 'c6ffffffff', 'dbffffffff61', '81a161']) {
    const frame = frameMemory(frameOf(FrameType.hello, Buffer.from(body, 'hex')))
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
    assert.is(decodeFrame(frame).type, 'Malformed')
    const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before
    assert.ok(grown < 2 ** 20, `${grown} bytes for ${body.slice(0, 20)}`)
  }
})

test('however a stream is cut into reads, its frames are found, and what was lent stays', async () => {
  const sizes = fc.array(
    fc.oneof({ weight: 6, arbitrary: fc.integer({ min: 20, max: 3000 }) }, fc.integer({ min: 20, max: 400_000 })),
    {
      minLength: 1,
      maxLength: 25,
    },
  )
  await check(
    fc.property(
      sizes,
      fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 9 }),
      (lengths, reads) => {
        const stream = Buffer.concat(lengths.map((length, i) => fillerOf(length, i)))
        const reader = new FrameReader(400_000)
        const views: Buffer[] = []
        let at = 0
        for (let turn = 0; at < stream.length; turn++) {
          const space = reader.space()
          const count = Math.min(space.length, stream.length - at, reads[turn % reads.length] ?? 1)
          assert.ok(count > 0, 'there is always room')
          stream.copy(space, 0, at, at + count)
          at += count
          reader.filled(count)
          for (let length = reader.frameLength(); length > 0; length = reader.frameLength()) {
            // Every other frame is lent; the others may be written over.
            if (views.length % 2 === 0) reader.lend()
            const view = reader.slab.subarray(reader.start, reader.start + length)
            views.push(views.length % 2 === 0 ? view : Buffer.from(view))
            reader.consume(length)
          }
        }
        assert.is(views.length, lengths.length)
        for (const [i, view] of views.entries()) {
          assert.ok(view.equals(fillerOf(lengths[i] ?? 0, i)), `frame ${i} of ${lengths[i]} bytes has changed`)
        }
        assert.is(reader.offset, stream.length)
      },
    ),
    60,
  )
})

test('a slab that lends nothing is used again', () => {
  const reader = new FrameReader(4096)
  const first = reader.slab
  for (let i = 0; i < 10_000; i++) {
    const frame = encodeMessage(acknowledgement(i), ALL)
    reader.space().set(frame)
    reader.filled(frame.length)
    assert.is(reader.frameLength(), frame.length)
    reader.consume(frame.length)
  }
  assert.is(reader.slab, first)
})

test('a frame length out of bounds is found before there is memory for it', () => {
  for (const length of [0, 19, 4097, 2 ** 31, 2 ** 32 - 1]) {
    const reader = new FrameReader(4096)
    const slab = reader.slab
    reader.space().writeUInt32LE(length)
    reader.filled(4)
    assert.is(reader.frameLength(), -1)
    assert.is(reader.slab, slab)
  }
})

test('a head out of its bounds is found before the frame is whole', () => {
  for (const head of [0, 19, 201, 2 ** 24 - 1]) {
    const reader = new FrameReader(HEAD_BYTES_MAX)
    const space = reader.space()
    space.writeUInt32LE(200, 0)
    space.writeUIntLE(head, 5, 3)
    reader.filled(15)
    assert.is(reader.earlyFlaw(), null)
    reader.filled(1)
    assert.is(reader.frameLength(), 0)
    assert.match(reader.earlyFlaw() ?? '', `a head of ${head} bytes in a frame of 200`)
  }
})

const decode = (frame: Uint8Array): Frame | Malformed => decodeFrame(frameMemory(frame))

function whatIsWrong(frame: Uint8Array): string {
  const read = decode(frame)
  return read.type === 'Malformed' ? read.what : `a ${read.type}, not refused`
}

const headLength = (frame: Buffer): number => frame.readUIntLE(5, 3)

/** The frame with more fields behind those that it has. */
function extended(frame: Uint8Array, ...fields: readonly Uint8Array[]): Buffer {
  const bare = Buffer.from(frame)
  const head = headLength(bare)
  const before = bare.subarray(FRAME_HEADER_BYTES, head - 4)
  return frameOf(bare.readUInt8(4), Buffer.concat([before, ...fields]), bare.subarray(head))
}

/** Decodes; what is no flaw must be sound, and give the same bytes again, but for fields that are not known. */
function readTwice(frame: Uint8Array): void {
  const read = decode(frame)
  if (!isMessage(read)) return
  assert.is(messageFlaw(read), null)
  const again = encodeMessage(read, ALL)
  if (again.length < frame.length) return assert.equal(decode(again), read)
  // The one difference that is left: a field may be marked as required although it is known.
  const hasOptional =
    read.type === 'AppendEntriesResult' ? 'lastIndex' in read || 'acceptedIndex' in read : 'isTransfer' in read
  if (hasOptional) return assert.equal(decode(again), read)
  assert.ok(Buffer.compare(again, frame) === 0, `a ${read.type} has two forms`)
}

function isMessage(frame: Frame | Malformed): frame is Request | Response {
  return /^(?:AppendEntries|RequestVote|PreVote|TimeoutNow)/.test(frame.type)
}

function fillerOf(length: number, seed: number): Buffer {
  const frame = Buffer.alloc(length)
  for (let i = 4; i < length; i++) frame[i] = (i * 7 + seed * 13) & 0xff
  frame.writeUInt32LE(length, 0)
  return frame
}

test.run()
