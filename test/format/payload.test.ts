/** Commands that wait to be sealed: copied at once, and in a block as if each had been added by itself. */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockWriter, sealBlock, verifyBlock } from '#balsa/format/block.js'
import type { Payload } from '#balsa/format/block.js'
import { bytesOf, NO_PAYLOAD, PayloadSlabs } from '#balsa/format/payload.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'
import { check } from './seed.js'

const test = suite('payloads')

interface Draw {
  readonly bytes: Uint8Array
  /** Its caller gave up before it was sealed. */
  readonly isWithdrawn: boolean
  /** A barrier, which has no payload, stands before it. */
  readonly followsBarrier: boolean
  /** Sealed with what waited before it, and not with what comes after. */
  readonly endsBatch: boolean
}

const draws = fc.array(
  fc.record({
    bytes: fc.oneof(
      { weight: 30, arbitrary: fc.uint8Array({ maxLength: 90, size: 'max' }) },
      { weight: 3, arbitrary: fc.uint8Array({ minLength: 3000, maxLength: 9000, size: 'max' }) },
      {
        weight: 1,
        arbitrary: fc.integer({ min: 60_000, max: 80_000 }).map((length) => new Uint8Array(length).fill(7)),
      },
    ),
    isWithdrawn: fc.boolean(),
    followsBarrier: fc.boolean(),
    endsBatch: fc.boolean(),
  }),
  { minLength: 1, maxLength: 60, size: 'max' },
)

/** What a leader makes of them, by one way to add an entry or the other. */
function blocksOf(
  items: readonly Draw[],
  add: (writer: BlockWriter, kind: 'command' | 'barrier', at: number | null) => boolean,
): readonly Block[] {
  const writer = new BlockWriter()
  const blocks: Block[] = []
  let index = 1
  const begin = (): void => writer.begin(logIndex(index), termOf(3))
  const put = (kind: 'command' | 'barrier', at: number | null): void => {
    if (!add(writer, kind, at)) {
      blocks.push(writer.finish(sealBlock))
      begin()
      assert.ok(add(writer, kind, at))
    }
    index += 1
  }
  begin()
  for (const [at, { isWithdrawn, followsBarrier, endsBatch }] of items.entries()) {
    if (followsBarrier) put('barrier', null)
    if (!isWithdrawn) put('command', at)
    if (!endsBatch || writer.count === 0) continue
    blocks.push(writer.finish(sealBlock))
    begin()
  }
  if (writer.count > 0) blocks.push(writer.finish(sealBlock))
  return blocks
}

test('make the same blocks as bytes that are added one by one, whatever becomes of those bytes', async () => {
  await check(
    fc.property(draws, (items) => {
      const expected = blocksOf(items, (writer, kind, at) =>
        writer.add(kind, 5, at === null ? new Uint8Array(0) : (items[at]?.bytes ?? new Uint8Array(0))),
      )
      const slabs = new PayloadSlabs()
      // 64 KiB that were used before, and are used again for what follows.
      const used = Array.from({ length: 16 }, () => slabs.copy(new Uint8Array(4096 - 32).fill(0xdd)))
      for (const { slab } of used) slab.release()
      const payloads = items.map(({ bytes }): Payload => {
        const given = bytes.slice()
        const payload = slabs.copy(given)
        given.fill(0xee)
        return payload
      })
      for (const [at, payload] of payloads.entries()) assert.equal(bytesOf(payload), items[at]?.bytes)
      const actual = blocksOf(items, (writer, kind, at) =>
        writer.addPayload(kind, 5, at === null ? NO_PAYLOAD : (payloads[at] ?? NO_PAYLOAD)),
      )
      assert.is(actual.length, expected.length)
      for (const [at, { data, first, last }] of actual.entries()) {
        assert.ok(verifyBlock(data))
        assert.equal([first, last], [expected[at]?.first, expected[at]?.last])
        assert.ok(Buffer.compare(data, expected[at]?.data ?? new Uint8Array(0)) === 0, `block ${at} differs`)
      }
    }),
    100,
  )
})

test('memory is used again when all of it was released, and not before', () => {
  const slabs = new PayloadSlabs()
  // 16 of them fill a slab.
  const filled = (byte: number): readonly Payload[] =>
    Array.from({ length: 16 }, () => slabs.copy(new Uint8Array(4096 - 32).fill(byte)))
  const first = filled(1)
  const others = [filled(2), filled(3)]
  for (const { slab } of first.slice(1)) slab.release()
  const later = filled(4)
  assert.equal(bytesOf(first[0] ?? NO_PAYLOAD), new Uint8Array(4096 - 32).fill(1))
  for (const { slab } of others.flat()) assert.ok(slab !== later[0]?.slab)
  first[0]?.slab.release()
  const isUsedAgain = filled(5)[0]?.slab === first[0]?.slab
  assert.ok(isUsedAgain)
  for (const payload of later) assert.equal(bytesOf(payload), new Uint8Array(4096 - 32).fill(4))
})

test('a block that is given up leaves nothing behind in the next one', () => {
  const writer = new BlockWriter()
  const slabs = new PayloadSlabs()
  const made = (isGivenUp: boolean): Block => {
    writer.begin(logIndex(1), termOf(1))
    if (isGivenUp) {
      writer.addPayload('command', 5, slabs.copy(new Uint8Array(100).fill(9)))
      writer.begin(logIndex(1), termOf(1))
    }
    writer.addPayload('command', 5, slabs.copy(Uint8Array.of(1)))
    return writer.finish(sealBlock)
  }
  assert.equal(made(true).data, made(false).data)
})

test.run()
