/**
 * The bytes of the file store as fixed vectors. They were written down from docs/storage-format.md, not by this code:
 * whoever disagrees with them has changed the format.
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import {
  BATCH_HEADER_BYTES,
  decodeBatchHeader,
  decodeStoreHeader,
  encodeBatch,
  encodeBoot,
  encodeSegment,
  encodeStoreHeader,
  isBodyIntact,
  placeBehind,
  SEGMENT_HEADER_BYTES,
  segmentHeaderFault,
} from '#balsa/format/file-batch.js'
import { decodeCheckpoint, encodeCheckpoint } from '#balsa/format/file-checkpoint.js'
import type { Checkpoint } from '#balsa/format/file-checkpoint.js'
import { OperationPacker } from '#balsa/format/operations.js'
import { logIndex, termOf } from '#balsa/types.js'

interface Vectors {
  readonly uuid: string
  readonly incarnation: string
  readonly header: string
  readonly firstSegment: string
  readonly open: string
  readonly tickets: string
  readonly close: string
  readonly laterSegment: string
  readonly sealed: string
}

const path = fileURLToPath(new URL('../../../test/format/file-vectors.json', import.meta.url))
const vectors = JSON.parse(readFileSync(path, 'utf8')) as Vectors
const identity = { uuid: bytesOf(vectors.uuid), incarnation: bytesOf(vectors.incarnation) }

const nothing: Checkpoint = {
  bootCounter: 0,
  firstIndex: logIndex(1),
  prevTerm: termOf(0),
  lastIndex: logIndex(0),
  snapshot: null,
  hardState: { term: termOf(0), votedFor: null, commitIndex: logIndex(0) },
  termRuns: [],
  facts: new Map(),
}

const compacted: Checkpoint = {
  bootCounter: 5,
  firstIndex: logIndex(6),
  prevTerm: termOf(2),
  lastIndex: logIndex(9),
  snapshot: {
    id: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
    index: logIndex(7),
    term: termOf(3),
    time: 1_760_000_000_123,
    configuration: { voters: [{ id: 'a', address: '10.0.0.1:7000' }], outgoing: null, nonvoters: [] },
    configurationIndex: logIndex(1),
    clusterName: 'orders',
  },
  hardState: { term: termOf(4), votedFor: 'b', commitIndex: logIndex(7) },
  termRuns: [
    { first: logIndex(6), term: termOf(3) },
    { first: logIndex(8), term: termOf(4) },
  ],
  facts: new Map([
    ['serverId', new TextEncoder().encode('a')],
    ['clusterId', Uint8Array.of(1, 2, 3)],
  ]),
}

const test = suite('vectors of the file store')

test('the header of a store, and the first segment of an empty one with its batches, byte for byte', () => {
  const { bytes, first } = encodeStoreHeader(identity)
  assert.is(hexOf(bytes), vectors.header)
  assert.equal(decodeStoreHeader(bytesOf(vectors.header)), { identity, first })
  const segment = encodeSegment(identity, 1, first, encodeCheckpoint(nothing))
  assert.is(hexOf(segment.bytes), vectors.firstSegment)
  const opened = encodeBatch(identity, segment.next, 'open', [encodeBoot(1)])
  assert.is(hexOf(opened.bytes), vectors.open)
  const ticket = new OperationPacker().pack([
    { type: 'truncateSuffix', from: logIndex(3) },
    { type: 'delete', key: 'k' },
  ])
  const tickets = encodeBatch(identity, opened.next, 'tickets', [ticket])
  assert.is(hexOf(tickets.bytes), vectors.tickets)
  assert.is(hexOf(encodeBatch(identity, tickets.next, 'close', []).bytes), vectors.close)
})

test('a later segment with the checkpoint of a compacted log, and the mark behind it, byte for byte', () => {
  const link = { sequence: 42, previous: 0x1234_5678 }
  const { bytes, next } = encodeSegment(identity, 3, link, encodeCheckpoint(compacted))
  assert.is(hexOf(bytes), vectors.laterSegment)
  assert.is(hexOf(encodeBatch(identity, next, 'sealed', []).bytes), vectors.sealed)
})

test('what stands in the vectors is read as what it says', () => {
  for (const [hex, number, checkpoint] of [
    [vectors.firstSegment, 1, nothing],
    [vectors.laterSegment, 3, compacted],
  ] as const) {
    const bytes = bytesOf(hex)
    assert.is(segmentHeaderFault(identity, number, bytes.subarray(0, SEGMENT_HEADER_BYTES)), null)
    const header = decodeBatchHeader(identity, bytes, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES)
    if (header === null) throw new Error('no batch')
    const body = bytes.subarray(SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES)
    assert.is(header.kind, 'checkpoint')
    assert.ok(isBodyIntact(header, body))
    assert.is(placeBehind(header).position, bytes.length)
    const { facts, ...rest } = decodeCheckpoint(body)
    const { facts: expected, ...others } = checkpoint
    assert.equal(rest, others)
    const shown = (some: ReadonlyMap<string, Uint8Array>): readonly string[] =>
      Array.from(some, ([key, value]) => `${key}=${hexOf(value)}`).toSorted((a, b) => (a < b ? -1 : 1))
    assert.equal(shown(facts), shown(expected))
  }
})

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

test.run()
