/** The leader's packer: where it cuts, what it never touches again, and what it refuses. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure } from '#balsa/errors.js'
import {
  BLOCK_BYTES_MAX,
  BlockWriter,
  decodeBlock,
  PAYLOAD_BYTES_MAX,
  RecordCursor,
  sealBlock,
  verifyBlock,
} from '#balsa/format/block.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'

const test = suite('block writer')
const one = logIndex(1)
const term = termOf(1)

test('a block is cut at the last entry that keeps it within 64 KiB, and byteLength says so before', () => {
  const writer = new BlockWriter()
  writer.begin(one, term)
  let count = 0
  while (writer.add('command', 5, new Uint8Array(1000))) count += 1
  // 24 + n * (32 + 1000) + 4 * n + 4 <= 65536
  assert.is(count, 63)
  assert.is(writer.count, 63)
  const { byteLength } = writer
  const block = writer.finish(sealBlock)
  assert.is(block.data.byteLength, byteLength)
  assert.is(block.data.byteLength, 24 + 63 * 1036 + 4)
  assert.ok(block.data.byteLength <= BLOCK_BYTES_MAX && block.data.byteLength + 1036 > BLOCK_BYTES_MAX)
})

test('a block of exactly 64 KiB is not cut', () => {
  const writer = new BlockWriter()
  writer.begin(one, term)
  const rest = BLOCK_BYTES_MAX - (24 + 4 * 2 + 4) - 2 * 32
  // The fixed parts of two records are 100 bytes: not a multiple of 8, so four bytes stay free.
  assert.ok(writer.add('command', 5, new Uint8Array(8)))
  assert.ok(writer.add('command', 5, new Uint8Array(rest - 8 - (rest % 8))))
  assert.is(writer.finish(sealBlock).data.byteLength, BLOCK_BYTES_MAX - (rest % 8))
  writer.begin(one, term)
  assert.ok(writer.add('command', 5, new Uint8Array(8)))
  assert.not.ok(writer.add('command', 5, new Uint8Array(rest - 8 - (rest % 8) + 1)))
})

test('an entry over 64 KiB gets a block of its own, and the next block is an ordinary one', () => {
  const writer = new BlockWriter()
  writer.begin(one, term)
  assert.ok(writer.add('command', 5, new Uint8Array(PAYLOAD_BYTES_MAX).fill(9)))
  assert.not.ok(writer.add('command', 5, new Uint8Array(0)))
  const large = writer.finish(sealBlock)
  assert.is(large.data.buffer.byteLength, large.data.byteLength)
  writer.begin(logIndex(2), term)
  assert.ok(writer.add('command', 5, new Uint8Array(10)))
  const small = writer.finish(sealBlock)
  assert.ok(verifyBlock(large.data) && verifyBlock(small.data))
})

test('a payload over 1 MiB is a defect of the caller', () => {
  const writer = new BlockWriter()
  writer.begin(one, term)
  assert.throws(() => writer.add('command', 5, new Uint8Array(PAYLOAD_BYTES_MAX + 1)), isDefect)
})

test('a finished block is never written again, over many arenas', () => {
  const writer = new BlockWriter()
  const blocks: { readonly block: Block; readonly copy: Uint8Array }[] = []
  let next = 1
  for (let n = 0; n < 300; n += 1) {
    writer.begin(logIndex(next), term)
    const payload = new Uint8Array((n * 131) % 9000).fill(n)
    for (let k = 0; k < (n % 7) + 1; k += 1) assert.ok(writer.add('command', n, payload))
    const block = writer.finish(sealBlock)
    next = block.last + 1
    blocks.push({ block, copy: new Uint8Array(block.data) })
  }
  for (const { block, copy } of blocks) {
    assert.is(Buffer.compare(block.data, copy), 0, `the block at ${block.first} has changed`)
    assert.ok(verifyBlock(block.data))
  }
})

test('a block that would not fit into the rest of its arena begins in the next one', () => {
  const writer = new BlockWriter()
  // After one block of 5000 bytes and fifteen of 65292, 64072 bytes of the arena are left.
  for (const length of [5000, ...Array<number>(20).fill(65_224)]) {
    writer.begin(one, term)
    assert.ok(writer.add('command', 5, new Uint8Array(length)))
    assert.ok(verifyBlock(writer.finish(sealBlock).data))
  }
})

test('what was begun and not finished leaves no trace in the next block', () => {
  const writer = new BlockWriter()
  writer.begin(one, term)
  writer.add('command', 90, new Uint8Array(2000).fill(0xff))
  writer.begin(one, term)
  for (let n = 0; n < 40; n += 1) writer.add('noop', 5, new Uint8Array(n % 9).fill(1))
  const block = writer.finish(sealBlock)
  assert.is(block.last, 40)
  assert.ok(verifyBlock(block.data))
})

test('the block that finish returns is the one that its bytes describe', () => {
  const writer = new BlockWriter()
  writer.begin(logIndex(77), termOf(8))
  writer.add('barrier', 5, new Uint8Array(3))
  writer.add('noop', 6, new Uint8Array(0))
  const block = writer.finish(sealBlock)
  const { first, last, term: decoded } = decodeBlock(block.data)
  assert.equal([block.first, block.last, block.term], [77, 78, 8])
  assert.equal([first, last, decoded], [77, 78, 8])
})

test('a cursor that was used is as good as new after reset', () => {
  const cursor = new RecordCursor()
  const writer = new BlockWriter()
  const blocks = [3, 1].map((count) => {
    writer.begin(logIndex(count), term)
    for (let n = 0; n < count; n += 1) writer.add('command', 5, new Uint8Array(n))
    return writer.finish(sealBlock)
  })
  for (const block of blocks) {
    cursor.reset(block)
    assert.ok(cursor.next())
    assert.is(cursor.index, block.first)
    assert.is(cursor.payload.length, 0)
  }
  assert.not.ok(cursor.next())
  assert.not.ok(cursor.next())
})

const defects: readonly (readonly [string, (writer: BlockWriter) => void])[] = [
  ['add without begin', (writer) => writer.add('noop', 5, new Uint8Array(0))],
  ['finish without an entry', (writer) => writer.finish(sealBlock)],
  ['an index below 1', (writer) => writer.begin(logIndex(0), term)],
  ['a term below 1', (writer) => writer.begin(one, termOf(0))],
  ['time that goes back', (writer) => addTimes(writer, [6, 5])],
  ['a time over 48 bits', (writer) => addTimes(writer, [2 ** 48])],
  ['a time that is not a number', (writer) => addTimes(writer, [NaN])],
  ['add after finish', addAfterFinish],
]

for (const [name, act] of defects) {
  test(`${name} is a defect of the caller`, () => {
    assert.throws(() => act(new BlockWriter()), isDefect)
  })
}

function addTimes(writer: BlockWriter, times: readonly number[]): void {
  writer.begin(one, term)
  for (const time of times) writer.add('noop', time, new Uint8Array(0))
}

function addAfterFinish(writer: BlockWriter): void {
  addTimes(writer, [5])
  writer.finish(sealBlock)
  writer.add('noop', 5, new Uint8Array(0))
}

function isDefect(error: unknown): boolean {
  return error instanceof AssertionFailure
}

test.run()
