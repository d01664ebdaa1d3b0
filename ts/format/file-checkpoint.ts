/**
 * What a segment of `fileStore()` begins with: all that the segments before it say and that is still needed without
 * them (docs/storage-format.md). One state has exactly one encoding, so that whoever reads both can compare.
 */

import { isPosition, logIndex, termOf } from '../types.js'
import type { HardState, LogIndex, SnapshotMeta, StoreOperation, Term, TermRun } from '../types.js'
import { readU64, viewOf, writeU64 } from './little-endian.js'
import { MalformedBytes } from './malformed.js'
import { decodeOperations, OperationPacker } from './operations.js'

/** A log without its entries, and all else. */
export interface Checkpoint {
  /** Of the last open. */
  readonly bootCounter: number
  readonly firstIndex: LogIndex
  /** Of the entry before it. */
  readonly prevTerm: Term
  readonly lastIndex: LogIndex
  readonly snapshot: SnapshotMeta | null
  readonly hardState: HardState
  /** Of firstIndex .. lastIndex. */
  readonly termRuns: readonly TermRun[]
  readonly facts: ReadonlyMap<string, Uint8Array>
}

/** The three numbers before the term runs. */
const HEAD_BYTES = 24
const RUN_BYTES = 16

export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  const { bootCounter, lastIndex, termRuns } = checkpoint
  const packed = new OperationPacker().pack(operationsOf(checkpoint))
  const runsEnd = HEAD_BYTES + RUN_BYTES * termRuns.length
  const body = new Uint8Array(runsEnd + packed.length)
  const view = viewOf(body)
  writeU64(view, 0, bootCounter)
  writeU64(view, 8, lastIndex)
  writeU64(view, 16, termRuns.length)
  for (const [n, { first, term }] of termRuns.entries()) {
    writeU64(view, HEAD_BYTES + RUN_BYTES * n, first)
    writeU64(view, HEAD_BYTES + RUN_BYTES * n + 8, term)
  }
  body.set(packed, runsEnd)
  return body
}

/** Throws MalformedBytes. */
export function decodeCheckpoint(body: Uint8Array): Checkpoint {
  const view = viewOf(body)
  if (body.length < HEAD_BYTES) fail(`${body.length} bytes`)
  const count = position(view, 16)
  const runsEnd = HEAD_BYTES + RUN_BYTES * count
  if (runsEnd > body.length) fail(`${count} term runs in ${body.length} bytes`)
  const termRuns: TermRun[] = []
  for (let at = HEAD_BYTES; at < runsEnd; at += RUN_BYTES) {
    termRuns.push({ first: logIndex(position(view, at)), term: termOf(position(view, at + 8)) })
  }
  return {
    bootCounter: position(view, 0),
    lastIndex: logIndex(position(view, 8)),
    termRuns,
    ...stateOf(decodeOperations(body.subarray(runsEnd))),
  }
}

/** Facts ascending by key, as JavaScript compares text. */
function operationsOf({ firstIndex, prevTerm, snapshot, hardState, facts }: Checkpoint): readonly StoreOperation[] {
  const operations: StoreOperation[] = []
  if (snapshot !== null) {
    operations.push({ type: 'compact', first: firstIndex, prevTerm, snapshot, keepSuffix: true })
  }
  operations.push({ type: 'hardState', hardState })
  for (const [key, value] of [...facts].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    operations.push({ type: 'put', key, value })
  }
  return operations
}

function stateOf(operations: readonly StoreOperation[]): Omit<Checkpoint, 'bootCounter' | 'lastIndex' | 'termRuns'> {
  let log: Pick<Checkpoint, 'firstIndex' | 'prevTerm' | 'snapshot'> = {
    firstIndex: logIndex(1),
    prevTerm: termOf(0),
    snapshot: null,
  }
  let hardState: HardState | null = null
  const facts = new Map<string, Uint8Array>()
  for (const operation of operations) {
    if (operation.type === 'compact') {
      log = { firstIndex: operation.first, prevTerm: operation.prevTerm, snapshot: operation.snapshot }
    } else if (operation.type === 'hardState') {
      hardState = operation.hardState
    } else if (operation.type === 'put') {
      // A copy: a view would keep all of the body alive.
      facts.set(operation.key, operation.value.slice())
    } else {
      fail(`the operation ${operation.type}`)
    }
  }
  return { ...log, hardState: hardState ?? fail('no hard state'), facts }
}

function position(view: DataView, at: number): number {
  const value = readU64(view, at)
  return isPosition(value) ? value : fail(`position ${value} is over 2^53 - 1`)
}

function fail(reason: string): never {
  throw new MalformedBytes('checkpoint', reason)
}
