/** What holds for all blocks, tickets and configurations, and for all bytes that are none. */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import {
  blockLengthAt,
  BlockWriter,
  decodeBlock,
  entryBlock,
  lastEntryTime,
  RecordCursor,
  sealBlock,
  sliceBlock,
  verifyBlock,
} from '#balsa/format/block.js'
import { decodeConfiguration, encodeConfiguration } from '#balsa/format/configuration.js'
import { crc32c } from '#balsa/format/crc32c.js'
import { viewOf } from '#balsa/format/little-endian.js'
import { MalformedBytes } from '#balsa/format/malformed.js'
import { decodeOperations, OperationPacker } from '#balsa/format/operations.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, StoreOperation } from '#balsa/types.js'

import { check } from './seed.js'

const test = suite('format properties')

interface EntryDraw {
  readonly kind: 'command' | 'noop' | 'barrier'
  readonly later: number
  readonly payload: Uint8Array
}

const position = fc.oneof(fc.nat(1000), fc.maxSafeInteger().map(Math.abs)).map((n) => Math.max(1, n - 5000))
const payload = fc.uint8Array({ maxLength: 90, size: 'max' })
const entry: fc.Arbitrary<EntryDraw> = fc.record({
  kind: fc.constantFrom('command', 'noop', 'barrier'),
  later: fc.oneof(fc.constant(0), fc.nat(100_000)),
  payload: fc.oneof(
    { weight: 20, arbitrary: payload },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 9000, maxLength: 30_000 }) },
  ),
})
const batch = fc.record({
  first: position,
  term: position,
  time: fc.nat(2 ** 31).map((n) => n * 1000),
  entries: fc.array(entry, { minLength: 1, maxLength: 40 }),
})
const block = batch.map((drawn) => write(drawn)[0] ?? fail('a batch made no block'))
const name = fc.oneof(
  fc.string({ minLength: 1, maxLength: 300 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
)
/** Deep equality also looks at prototypes. */
const plainObject = { noNullPrototype: true } as const
const extension = fc.record(
  {
    name: fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/),
    isRequired: fc.constant(false),
    value: fc.uint8Array({ maxLength: 300, size: 'max' }),
  },
  plainObject,
)
/** Sorted, as they come back. */
const extensions = fc
  .uniqueArray(extension, { maxLength: 3, selector: (one) => one.name })
  .map((drawn) => (drawn.length === 0 ? {} : { extensions: drawn.toSorted((x, y) => (x.name < y.name ? -1 : 1)) }))
const server = fc
  .tuple(fc.record({ id: name, address: name }, plainObject), extensions)
  .map(([drawn, extended]) => ({ ...drawn, ...extended }))
const nonvoter = fc.tuple(server, fc.boolean()).map(([drawn, promote]) => ({ ...drawn, promote }))
const servers = fc.uniqueArray(server, { maxLength: 20, selector: (one) => one.id })
const nonvoters = fc.uniqueArray(nonvoter, { maxLength: 20, selector: (one) => one.id })
const configuration = fc
  .tuple(fc.record({ voters: servers, outgoing: fc.option(servers), nonvoters }, plainObject), extensions)
  .map(([drawn, extended]) => ({ ...drawn, ...extended }))

test('crc32c is the bitwise checksum, of any stretch, in any number of steps', async () => {
  await check(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), fc.nat(200), (bytes, a, b) => {
      const start = Math.min(a, b, bytes.length)
      const end = Math.min(Math.max(a, b), bytes.length)
      assert.is(crc32c(bytes, start, end), bitwiseCrc(bytes.subarray(start, end)))
      assert.is(crc32c(bytes, end, bytes.length, crc32c(bytes, 0, end)), crc32c(bytes))
    }),
    300,
  )
})

test('what is packed comes back entry by entry, in blocks that are intact and within their bound', async () => {
  await check(
    fc.property(batch, (drawn) => {
      const blocks = write(drawn)
      assert.equal(blocks.flatMap(entriesOf), expectedEntries(drawn))
      let next = drawn.first
      for (const one of blocks) {
        assert.ok(verifyBlock(one.data))
        assert.ok(one.data.length <= 65_536)
        const { first, last, term } = decodeBlock(one.data)
        assert.equal({ first, last, term }, { first: next, last: one.last, term: drawn.term })
        assert.is(lastEntryTime(one), entriesOf(one).at(-1)?.time)
        next = last + 1
      }
    }),
    300,
  )
})

test('blocks laid end to end are found again by their lengths', async () => {
  await check(
    fc.property(fc.array(block, { minLength: 1, maxLength: 5 }), (blocks) => {
      const joined = new Uint8Array(Buffer.concat(blocks.map(({ data }) => data)))
      const found = []
      for (let at = 0; at < joined.length; at += found.at(-1)?.length ?? 0) {
        found.push(joined.subarray(at, at + blockLengthAt(viewOf(joined), at)))
      }
      assert.equal(
        found.map(hexOf),
        blocks.map(({ data }) => hexOf(data)),
      )
      assert.throws(
        () =>
          blockLengthAt(
            viewOf(joined.subarray(0, joined.length - 1)),
            joined.length - (blocks.at(-1)?.data.length ?? 0),
          ),
        isMalformed,
      )
    }),
    100,
  )
})

test('no bytes make the gateways throw anything but MalformedBytes, and noise is never a block', async () => {
  await check(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: -10, max: 500 }), (noise, offset) => {
      assert.not.ok(verifyBlock(noise))
      onlyMalformed(() => decodeBlock(noise))
      onlyMalformed(() => blockLengthAt(viewOf(noise), offset))
      onlyMalformed(() => decodeOperations(noise))
      onlyMalformed(() => decodeConfiguration(noise))
    }),
    1000,
  )
})

test('a block with a few bytes changed is refused, and its decoder stays within its bytes', async () => {
  const change = fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) })
  await check(
    fc.property(
      block,
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      (one, changes, isSealedAgain) => {
        const data = new Uint8Array(one.data)
        // Mostly in the header and the first record, where the lengths are.
        for (const { at, value } of changes) data[at % (at % 3 === 0 ? data.length : 60)] = value
        if (isSealedAgain) rewriteBlockCrc(data)
        const isChanged = Buffer.compare(data, one.data) !== 0
        assert.is(verifyBlock(data), !isChanged)
        onlyMalformed(() => decodeBlock(data))
      },
    ),
    1000,
  )
})

test('any single flipped bit is found, also when the block CRC is made right again', async () => {
  await check(
    fc.property(
      batch.filter(({ entries }) => entries.length <= 5 && entries.every((one) => one.payload.length < 40)),
      (drawn) => {
        const data = write(drawn)[0]?.data ?? fail('a batch made no block')
        for (let bit = 0; bit < 8 * data.length; bit += 1) {
          const damaged = new Uint8Array(data)
          damaged[bit >>> 3] = (damaged[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
          assert.not.ok(verifyBlock(damaged), `bit ${bit} of ${hexOf(data)}`)
          if (bit >= 8 * (data.length - 4)) continue
          rewriteBlockCrc(damaged)
          assert.not.ok(verifyBlock(damaged), `bit ${bit} of ${hexOf(data)} with a new block CRC`)
        }
      },
    ),
    30,
  )
})

test('a slice holds exactly the entries asked for and is intact, and damage in it stays damage', async () => {
  await check(
    fc.property(block, fc.nat(), fc.nat(), (one, a, b) => {
      const count = one.last - one.first + 1
      const [from, to] = [Math.min(a % count, b % count), Math.max(a % count, b % count)]
      const slice = sliceBlock(one, logIndex(one.first + from), logIndex(one.first + to))
      assert.equal(entriesOf(slice), entriesOf(one).slice(from, to + 1))
      assert.ok(verifyBlock(slice.data))
      assert.equal(decodeBlock(slice.data), { ...slice, data: slice.data })
      const damaged = { ...one, data: new Uint8Array(one.data) }
      const lastByteOfTime = 24 + 31
      damaged.data[lastByteOfTime] = (damaged.data[lastByteOfTime] ?? 0) ^ 1
      if (from === 0) assert.not.ok(verifyBlock(sliceBlock(damaged, one.first, slice.last).data))
    }),
    300,
  )
})

test('a configuration has one encoding, whatever the order of its servers, and comes back sorted', async () => {
  await check(
    fc.property(name, configuration, (clusterName, drawn) => {
      const encoded = encodeConfiguration({ clusterName, configuration: drawn })
      const reversed = {
        ...drawn,
        voters: drawn.voters.toReversed(),
        outgoing: drawn.outgoing?.toReversed() ?? null,
        nonvoters: drawn.nonvoters.toReversed(),
      }
      assert.is(hexOf(encodeConfiguration({ clusterName, configuration: reversed })), hexOf(encoded))
      const decoded = decodeConfiguration(encoded)
      assert.is(decoded.clusterName, clusterName)
      const byId = (x: { readonly id: string }, y: { readonly id: string }): number => (x.id < y.id ? -1 : 1)
      assert.equal(decoded.configuration, {
        ...drawn,
        voters: drawn.voters.toSorted(byId),
        outgoing: drawn.outgoing?.toSorted(byId) ?? null,
        nonvoters: drawn.nonvoters.toSorted(byId),
      })
      assert.is(hexOf(encodeConfiguration(decoded)), hexOf(encoded))
      const inBlock = entryBlock('configuration', logIndex(3), termOf(2), 5, encoded)
      assert.equal(inBlock.configuration, decoded.configuration)
    }),
    200,
  )
})

test('a changed configuration payload is another configuration in its own one form, or malformed', async () => {
  await check(
    fc.property(name, configuration, fc.nat(), fc.integer({ min: 0, max: 255 }), (clusterName, drawn, at, value) => {
      const bytes = encodeConfiguration({ clusterName, configuration: drawn })
      bytes[at % bytes.length] = value
      onlyMalformed(() => assert.is(hexOf(encodeConfiguration(decodeConfiguration(bytes))), hexOf(bytes)))
    }),
    500,
  )
})

const key = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
  .filter((text) => Buffer.byteLength(text) <= 255)
const operation: fc.Arbitrary<StoreOperation> = fc.oneof(
  block.map((one) => ({ type: 'append' as const, block: one })),
  position.map((from) => ({ type: 'truncateSuffix' as const, from: logIndex(from) })),
  fc.record({ term: position, votedFor: fc.option(key), commitIndex: position }, plainObject).map((drawn) => ({
    type: 'hardState' as const,
    hardState: { term: termOf(drawn.term), votedFor: drawn.votedFor, commitIndex: logIndex(drawn.commitIndex) },
  })),
  fc.record({ type: fc.constant('put' as const), key, value: fc.uint8Array({ maxLength: 4096 }) }, plainObject),
  fc.record({ type: fc.constant('delete' as const), key }, plainObject),
)

test('a packed ticket comes back step by step, from one packer used again and again', async () => {
  const packer = new OperationPacker()
  await check(
    fc.property(fc.array(operation, { maxLength: 6 }), (operations) => {
      const packed = new Uint8Array(packer.pack(operations))
      assert.equal(decodeOperations(packed), operations)
      assert.is(hexOf(new OperationPacker().pack(operations)), hexOf(packed))
    }),
    200,
  )
})

test('a changed ticket decodes or is malformed, never anything else', async () => {
  const packer = new OperationPacker()
  const change = fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) })
  await check(
    fc.property(
      fc.array(operation, { minLength: 1, maxLength: 3 }),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      (operations, changes) => {
        const packed = new Uint8Array(packer.pack(operations))
        for (const { at, value } of changes)
          packed[at % Math.min(packed.length, at % 2 === 0 ? 40 : packed.length)] = value
        onlyMalformed(() => decodeOperations(packed))
      },
    ),
    500,
  )
})

function write(drawn: { first: number; term: number; time: number; entries: readonly EntryDraw[] }): Block[] {
  const writer = new BlockWriter()
  const blocks: Block[] = []
  let { time } = drawn
  writer.begin(logIndex(drawn.first), termOf(drawn.term))
  for (const [n, one] of drawn.entries.entries()) {
    time += one.later
    if (writer.add(one.kind, time, one.payload)) continue
    blocks.push(writer.finish(sealBlock))
    writer.begin(logIndex(drawn.first + n), termOf(drawn.term))
    assert.ok(writer.add(one.kind, time, one.payload))
  }
  blocks.push(writer.finish(sealBlock))
  return blocks
}

function expectedEntries(drawn: { first: number; time: number; entries: readonly EntryDraw[] }): object[] {
  let { time } = drawn
  return drawn.entries.map((one, n) => {
    time += one.later
    return { index: drawn.first + n, kind: one.kind, time, payload: hexOf(one.payload) }
  })
}

function entriesOf(one: Block): { index: number; kind: string; time: number; payload: string }[] {
  const entries = []
  const cursor = new RecordCursor()
  cursor.reset(one)
  while (cursor.next()) {
    const { index, kind, time } = cursor
    entries.push({ index, kind, time, payload: hexOf(cursor.payload) })
  }
  return entries
}

function rewriteBlockCrc(data: Uint8Array): void {
  const crcAt = data.length - 4
  new DataView(data.buffer, data.byteOffset).setUint32(crcAt, crc32c(data, 0, crcAt), true)
}

function bitwiseCrc(bytes: Uint8Array): number {
  let crc = 0xffff_ffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f6_3b78 : 0)
  }
  return ~crc >>> 0
}

function onlyMalformed(act: () => unknown): void {
  try {
    act()
  } catch (error) {
    if (!isMalformed(error)) throw error
  }
}

function isMalformed(error: unknown): boolean {
  return error instanceof MalformedBytes
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function fail(message: string): never {
  throw new Error(message)
}

test.run()
