/** Messages, handshakes and slabs against random and damaged bytes: decoding is total, and says what it reads. */

import fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import type { Request, Response } from '#balsa/core/messages.js'
import { entryBlock } from '#balsa/format/block.js'
import { messageFlaw } from '#balsa/core/message-check.js'
import { decodeMessage, encodeHeader } from '#balsa/transport/tcp/codec.js'
import { FRAME_HEADER_BYTES, FrameType, writeFrameHeader } from '#balsa/transport/tcp/frame.js'
import { FrameReader } from '#balsa/transport/tcp/frame-reader.js'
import { decodeHandshake, encodeHello, encodeRefusal, encodeWelcome } from '#balsa/transport/tcp/handshake.js'
import { type Block, logIndex, termOf } from '#balsa/types.js'

import { check } from '../format/seed.js'
import { acknowledgement, heartbeat, identityOf } from '#balsa/testing/conformance/site.js'

const test = suite('the bytes of TCP frames')

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
  fc.record({
    type: fc.constant('AppendEntriesResult' as const),
    term,
    status: fc.constantFrom('matched' as const, 'conflict' as const, 'busy' as const),
    matchIndex: index,
    hintIndex: index,
    hintTerm: term,
    round: position,
  }),
  fc.record({ type: fc.constant('RequestVote' as const), term, lastIndex: index, lastTerm: term }),
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

test('every message comes back as it was', async () => {
  await check(
    fc.property(message, fc.nat(40), (sent, before) => {
      const frame = encode(sent)
      const bytes = Buffer.concat([Buffer.alloc(before, 0xee), frame, Buffer.alloc(9, 0xee)])
      // A copy, because fast-check's records have no prototype.
      assert.equal(decodeMessage(bytes, before, before + frame.length), { ...sent })
    }),
    1000,
  )
})

test('random bytes under a right frame header are refused, or are a message without a flaw', async () => {
  const types = Object.values(FrameType)
  await check(
    fc.property(fc.constantFrom(...types, 0, 255), fc.uint8Array({ maxLength: 200 }), (type, body) => {
      const frame = Buffer.alloc(FRAME_HEADER_BYTES + body.length)
      frame.set(body, writeFrameHeader(frame, 0, { type, length: frame.length }))
      readTwice(frame)
    }),
    5000,
  )
})

test('damaged frames are refused, or read as exactly what their bytes then say', async () => {
  await check(
    fc.property(message, damage, (sent, { changes, tail }) => {
      const frame = encode(sent)
      const bytes = Buffer.alloc(Math.max(FRAME_HEADER_BYTES, frame.length + tail))
      frame.copy(bytes)
      for (const { at, to } of changes) bytes[at % bytes.length] = to
      bytes.writeUInt32LE(bytes.length, 0)
      readTwice(bytes)
    }),
    5000,
  )
})

test('blocks that do not add up to the end of the frame are refused', () => {
  const block = entryBlock('command', logIndex(8), termOf(3), 1000, new Uint8Array(5))
  const frame = encode({ ...heartbeat(1), blocks: [block] })
  const flaws = new Map([
    ['its header at', (bytes: Buffer) => bytes.writeUInt32LE(999, 64 + 20)],
    ['1 blocks where its header says 2', (bytes: Buffer) => bytes.writeUInt32LE(2, 56)],
    ['begins at index 9', (bytes: Buffer) => (bytes.writeUInt32LE(9, 64 + 8), bytes.writeUInt32LE(9, 64 + 24 + 8))],
    ['between term 2 before it', (bytes: Buffer) => bytes.writeUInt32LE(1, 64 + 24 + 16)],
    ['group 1', (bytes: Buffer) => bytes.writeUInt32LE(1, 8)],
    ['reserved', (bytes: Buffer) => bytes.writeUInt8(1, 6)],
    ['prevTerm 9007199254740994', (bytes: Buffer) => bytes.writeUInt32LE(0x20_0000, 16 + 20)],
  ])
  for (const [words, harm] of flaws) {
    const bytes = Buffer.from(frame)
    harm(bytes)
    const read = decodeMessage(bytes, 0, bytes.length)
    assert.match(read.type === 'Malformed' ? read.what : 'not refused', words)
  }
  const long = Buffer.concat([frame, Buffer.alloc(10)])
  long.writeUInt32LE(long.length, 0)
  assert.is(decodeMessage(long, 0, long.length).type, 'Malformed')
  // The block's own header claims bytes that are in the slab, but behind the end of its frame.
  const two = encode({ ...heartbeat(1), blocks: [block, { ...block, first: logIndex(9), last: logIndex(9) }] })
  two.writeUInt32LE(two.readUInt32LE(64 + 20) + 40, 64 + 20)
  two.writeUInt32LE(1, 56)
  const past = decodeMessage(two, 0, 64 + block.data.length)
  assert.match(past.type === 'Malformed' ? past.what : 'not refused', 'runs past the end of its frame')
})

test('handshake frames come back as they were, and any MessagePack reader can read them', async () => {
  const text = fc.string({ minLength: 1, maxLength: 60, unit: 'grapheme' }).filter((id) => Buffer.byteLength(id) < 256)
  await check(
    fc.property(text, position, fc.array(fc.string(), { maxLength: 5 }), (id, bootCounter, features) => {
      const protocol = { min: 1, max: 7 }
      const hello = {
        ...identityOf('n', { serverId: id, bootCounter }),
        protocol,
        targetId: id,
        address: 'h:1',
        features,
      }
      const bytes = encodeHello(hello)
      assert.equal(decodeHandshake(bytes, 0, bytes.length), { type: 'hello', ...hello })
      const map: unknown = new Unpackr({ useRecords: false }).unpack(bytes.subarray(FRAME_HEADER_BYTES))
      const { protocol: _, ...others } = hello
      assert.equal(map, { ...others, protocolMin: 1, protocolMax: 7 })
    }),
    300,
  )
  const refusal = encodeRefusal({ code: 'X', reason: 'y'.repeat(5000) })
  assert.equal(decodeHandshake(refusal, 0, refusal.length), { type: 'refusal', code: 'X', reason: 'y'.repeat(1000) })
  assert.equal(decodeHandshake(encodeWelcome(), 0, encodeWelcome().length), { type: 'welcome' })
})

test('random and damaged handshake frames never throw', async () => {
  const hello = encodeHello({
    ...identityOf('n1'),
    protocol: { min: 1, max: 1 },
    targetId: 'n2',
    address: '[::1]:7',
    features: ['a'],
  })
  await check(
    fc.property(fc.uint8Array({ maxLength: 80 }), damage, fc.constantFrom(1, 2, 3), (body, { changes, tail }, type) => {
      const random = Buffer.alloc(FRAME_HEADER_BYTES + body.length)
      random.set(body, writeFrameHeader(random, 0, { type, length: random.length }))
      decodeHandshake(random, 0, random.length)
      const damaged = Buffer.alloc(hello.length + tail)
      hello.copy(damaged)
      for (const { at, to } of changes) damaged[at % damaged.length] = to
      decodeHandshake(damaged, 0, damaged.length)
    }),
    5000,
  )
})

test('a handshake that claims more than it brings allocates nothing for it', () => {
  // array32 of 2^32 - 1 and of 30 million, nested; map32; nested array16; an extension; a string; a map without a value.
  const bodies = ['ddffffffff', '81a161dd01c9c380', 'dd01c9c380'.repeat(800), 'dfffffffff', 'dcffff'.repeat(1000)]
  for (const body of [...bodies, '91'.repeat(4000), 'c7ff01', 'c6ffffffff', 'dbffffffff61', '81a161']) {
    const bytes = Buffer.from(body, 'hex')
    const frame = Buffer.alloc(FRAME_HEADER_BYTES + bytes.length)
    frame.set(bytes, writeFrameHeader(frame, 0, { type: FrameType.hello, length: frame.length }))
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
    assert.is(decodeHandshake(frame, 0, frame.length).type, 'Malformed')
    const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before
    assert.ok(grown < 2 ** 20, `${grown} bytes for ${body.slice(0, 20)}`)
  }
})

test('however a stream is cut into reads, its frames are found, and what was lent stays', async () => {
  const sizes = fc.array(
    fc.oneof({ weight: 6, arbitrary: fc.integer({ min: 16, max: 3000 }) }, fc.integer({ min: 16, max: 400_000 })),
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
        const stream = Buffer.concat(lengths.map((length, i) => frameOf(length, i)))
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
          assert.ok(view.equals(frameOf(lengths[i] ?? 0, i)), `frame ${i} of ${lengths[i]} bytes has changed`)
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
    const frame = encode(acknowledgement(i))
    frame.copy(reader.space())
    reader.filled(frame.length)
    assert.is(reader.frameLength(), frame.length)
    reader.consume(frame.length)
  }
  assert.is(reader.slab, first)
})

test('a frame length out of bounds is found before there is memory for it', () => {
  for (const length of [0, 15, 4097, 2 ** 31, 2 ** 32 - 1]) {
    const reader = new FrameReader(4096)
    const slab = reader.slab
    reader.space().writeUInt32LE(length)
    reader.filled(4)
    assert.is(reader.frameLength(), -1)
    assert.is(reader.slab, slab)
  }
})

/** Decodes; what is no flaw must be sound, and give the same bytes again. */
function readTwice(bytes: Buffer): void {
  const read = decodeMessage(bytes, 0, bytes.length)
  if (read.type === 'Malformed') return
  assert.is(messageFlaw(read), null)
  assert.ok(encode(read).equals(bytes), `a ${read.type} has two forms`)
}

function encode(sent: Request | Response): Buffer {
  const header = Buffer.alloc(64)
  const end = encodeHeader(sent, header, 0)
  const blocks = sent.type === 'AppendEntries' ? sent.blocks.map((block) => block.data) : []
  return Buffer.concat([header.subarray(0, end), ...blocks])
}

function frameOf(length: number, seed: number): Buffer {
  const frame = Buffer.alloc(length)
  for (let i = 4; i < length; i++) frame[i] = (i * 7 + seed * 13) & 0xff
  frame.writeUInt32LE(length, 0)
  return frame
}

test.run()
