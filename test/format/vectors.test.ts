/**
 * The bytes of docs/storage-format.md as fixed vectors. They were written down from the document, not by this code, and
 * the Rust engine reads the same file: whoever disagrees with them has changed the format.
 */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { decodeBlock, entryBlock, RecordCursor, BlockWriter, sealBlock, verifyBlock } from '#balsa/format/block.js'
import { decodeConfiguration, encodeBootstrap, encodeConfiguration } from '#balsa/format/configuration.js'
import { incarnationsOf, withIncarnations } from '#balsa/format/incarnations.js'
import { crc32c } from '#balsa/format/crc32c.js'
import { viewOf } from '#balsa/format/little-endian.js'
import { MalformedBytes, UnknownFormat } from '#balsa/format/malformed.js'
import { SESSION_HEADER_BYTES, writeSessionHeader } from '#balsa/format/session.js'
import { decodeOperations, OperationPacker } from '#balsa/format/operations.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, Configuration, EntryKind, StoreOperation } from '#balsa/types.js'

interface BlockVector {
  readonly name: string
  readonly first: number
  readonly last: number
  readonly term: number
  readonly entries: readonly { readonly kind: EntryKind; readonly milliseconds: number; readonly payload: string }[]
  readonly hex: string
}

interface SessionVector extends Omit<BlockVector, 'entries'> {
  readonly milliseconds: number
  readonly entries: readonly SessionEntry[]
}

type SessionEntry = { readonly command: string } & (
  { readonly session: null } | { readonly session: number; readonly sequence: number; readonly third: number }
)

type StepVector =
  | { readonly type: 'append'; readonly block: string }
  | { readonly type: 'truncateSuffix'; readonly from: number }
  | {
      readonly type: 'compact'
      readonly first: number
      readonly prevTerm: number
      readonly index: number
      readonly term: number
      readonly time: number
      readonly configurationIndex: number
      readonly id: string
      /** The name of a vector. */
      readonly configuration: string
      readonly keepSuffix: boolean
    }
  | {
      readonly type: 'hardState'
      readonly term: number
      readonly votedFor: string | null
      readonly commitIndex: number
    }
  | { readonly type: 'put'; readonly key: string; readonly value: string }
  | { readonly type: 'delete'; readonly key: string }

interface Vectors {
  readonly crc32c: readonly { readonly name: string; readonly hex: string; readonly crc: number }[]
  readonly configurations: readonly {
    readonly name: string
    readonly hex: string
    readonly clusterName: string
    readonly configuration: Configuration
    /** Of the cluster that this payload begins. */
    readonly clusterId?: string
  }[]
  readonly invalidConfigurations: readonly {
    readonly name: string
    readonly hex: string
    /** Whether it is what a later version may write, not damage. */
    readonly unknown: boolean
    readonly words: string
  }[]
  readonly blocks: readonly BlockVector[]
  readonly sessionBlocks: readonly SessionVector[]
  readonly invalidBlocks: readonly { readonly name: string; readonly hex: string }[]
  readonly tickets: readonly { readonly name: string; readonly steps: readonly StepVector[]; readonly hex: string }[]
  readonly invalidTickets: readonly { readonly name: string; readonly hex: string }[]
}

// From build/test/format back to the source tree: the one file that both languages read.
const path = fileURLToPath(new URL('../../../test/format/vectors.json', import.meta.url))
const vectors = JSON.parse(readFileSync(path, 'utf8'), withBytes) as Vectors

const test = suite('format vectors')

for (const { name, hex, crc } of vectors.crc32c) {
  test(`crc32c of ${name} is the published value`, () => {
    assert.is(crc32c(bytesOf(hex)), crc)
  })
}

for (const vector of vectors.blocks) {
  test(`block is written byte for byte: ${vector.name}`, () => {
    assert.is(hexOf(write(vector).data), vector.hex)
  })

  test(`block is read back: ${vector.name}`, () => {
    const data = bytesOf(vector.hex)
    assert.ok(verifyBlock(data))
    const block = decodeBlock(data)
    assert.is(block.first, vector.first)
    assert.is(block.last, vector.last)
    assert.is(block.term, vector.term)
    const entries = []
    const cursor = new RecordCursor()
    cursor.reset(block)
    while (cursor.next()) {
      assert.is(cursor.index, vector.first + entries.length)
      entries.push({ kind: cursor.kind, milliseconds: cursor.time, payload: hexOf(cursor.payload) })
    }
    assert.equal(entries, vector.entries)
  })
}

for (const vector of vectors.sessionBlocks) {
  test(`block is written byte for byte: ${vector.name}`, () => {
    const writer = new BlockWriter()
    writer.begin(logIndex(vector.first), termOf(vector.term))
    for (const entry of vector.entries) {
      const kind = entry.session === null ? 'command' : 'session'
      assert.ok(writer.add(kind, vector.milliseconds, payloadOf(entry)))
    }
    assert.is(hexOf(writer.finish(sealBlock).data), vector.hex)
  })

  test(`block is read back: ${vector.name}`, () => {
    const data = bytesOf(vector.hex)
    assert.ok(verifyBlock(data))
    const cursor = new RecordCursor()
    cursor.reset(decodeBlock(data))
    for (const { command, ...expected } of vector.entries) {
      assert.ok(cursor.next())
      assert.is(cursor.kind, 'command')
      assert.is(cursor.hasSession, expected.session !== null)
      if (cursor.hasSession) assert.equal({ ...cursor.session }, expected)
      const skipped = cursor.hasSession ? SESSION_HEADER_BYTES : 0
      assert.is(hexOf(cursor.payload.subarray(skipped)), command)
    }
    assert.not.ok(cursor.next())
  })
}

function payloadOf(entry: SessionEntry): Uint8Array {
  if (entry.session === null) return bytesOf(entry.command)
  const payload = new Uint8Array(SESSION_HEADER_BYTES + entry.command.length / 2)
  writeSessionHeader(viewOf(payload), 0, entry.session, entry.sequence, entry.third)
  payload.set(bytesOf(entry.command), SESSION_HEADER_BYTES)
  return payload
}

for (const { name, hex } of vectors.invalidBlocks) {
  test(`block is refused: ${name}`, () => {
    assert.not.ok(verifyBlock(bytesOf(hex)))
  })
}

/** The damage that `decodeBlock` sees without looking at CRCs or past the first record. */
const shapeFaults = [
  'empty',
  'shorter than a header',
  'truncated by one byte',
  'one byte too many',
  'no entries',
  'first differs from its record',
  'index 0',
  'term 0',
  'index over 2^53 - 1',
  'the only payload length passes the block',
]

for (const name of shapeFaults) {
  test(`block has no shape: ${name}`, () => {
    const vector = vectors.invalidBlocks.find((one) => one.name === name)
    if (vector === undefined) throw new Error(`no vector ${name}`)
    assert.throws(() => decodeBlock(bytesOf(vector.hex)), isMalformed)
  })
}

for (const { name, hex, clusterName, configuration, clusterId } of vectors.configurations) {
  test(`configuration is written and read byte for byte: ${name}`, () => {
    assert.is(hexOf(encodeConfiguration({ clusterName, configuration })), hex)
    assert.equal(decodeConfiguration(bytesOf(hex)), { clusterName, configuration })
  })

  if (clusterId === undefined) continue
  test(`the cluster id is a hash of the bootstrap payload: ${name}`, () => {
    const payload = encodeBootstrap(clusterName, configuration.voters)
    assert.is(hexOf(payload), hex)
    assert.is(createHash('sha256').update(payload).digest('hex').slice(0, 32), clusterId)
  })
}

test('the stores that vote are read from the configuration that names them, and written as they were', () => {
  const vector = vectors.configurations.find(({ name }) => name.startsWith('the store that votes'))
  if (vector === undefined) throw new Error('no such vector')
  const { configuration } = decodeConfiguration(bytesOf(vector.hex))
  const named = incarnationsOf(configuration)
  assert.equal(Object.fromEntries(named), { b: '0123456789abcdef0123456789abcdef', c: '' })
  assert.equal(withIncarnations(configuration, named), configuration)
})

for (const { name, hex, unknown, words } of vectors.invalidConfigurations) {
  test(`configuration is refused: ${name}`, () => {
    assert.throws(
      () => decodeConfiguration(bytesOf(hex)),
      (error: unknown) =>
        isMalformed(error) && (error as Error).message.includes(words) && error instanceof UnknownFormat === unknown,
    )
  })
}

for (const { name, steps, hex } of vectors.tickets) {
  test(`ticket is written and read byte for byte: ${name}`, () => {
    const operations = steps.map(operationOf)
    assert.is(hexOf(new OperationPacker().pack(operations)), hex)
    assert.equal(decodeOperations(bytesOf(hex)), operations)
  })
}

for (const { name, hex } of vectors.invalidTickets) {
  test(`ticket is refused: ${name}`, () => {
    assert.throws(() => decodeOperations(bytesOf(hex)), isMalformed)
  })
}

/** The value of an extension is written as hex. */
function withBytes(this: object, key: string, value: unknown): unknown {
  return key === 'value' && 'isRequired' in this ? bytesOf(String(value)) : value
}

function write(vector: BlockVector): Block {
  const first = logIndex(vector.first)
  const term = termOf(vector.term)
  const writer = new BlockWriter()
  writer.begin(first, term)
  for (const { kind, milliseconds, payload } of vector.entries) {
    if (kind === 'configuration') return entryBlock(kind, first, term, milliseconds, bytesOf(payload))
    assert.ok(writer.add(kind, milliseconds, bytesOf(payload)))
  }
  return writer.finish(sealBlock)
}

function operationOf(step: StepVector): StoreOperation {
  switch (step.type) {
    case 'append': {
      const vector = vectors.blocks.find((block) => block.name === step.block)
      if (vector === undefined) throw new Error(`no block vector ${step.block}`)
      return { type: 'append', block: decodeBlock(bytesOf(vector.hex)) }
    }
    case 'truncateSuffix':
      return { type: 'truncateSuffix', from: logIndex(step.from) }
    case 'compact': {
      const { type, keepSuffix, id, time } = step
      const vector = vectors.configurations.find((one) => one.name === step.configuration)
      if (vector === undefined) throw new Error(`no configuration vector ${step.configuration}`)
      const { clusterName, configuration } = vector
      const [index, configurationIndex] = [logIndex(step.index), logIndex(step.configurationIndex)]
      const snapshot = { id, index, term: termOf(step.term), time, configurationIndex, clusterName, configuration }
      return { type, first: logIndex(step.first), prevTerm: termOf(step.prevTerm), snapshot, keepSuffix }
    }
    case 'hardState': {
      const { term, votedFor, commitIndex } = step
      return { type: 'hardState', hardState: { term: termOf(term), votedFor, commitIndex: logIndex(commitIndex) } }
    }
    case 'put':
      return { type: 'put', key: step.key, value: bytesOf(step.value) }
    case 'delete':
      return { type: 'delete', key: step.key }
  }
}

function isMalformed(error: unknown): boolean {
  return error instanceof MalformedBytes
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

test.run()
