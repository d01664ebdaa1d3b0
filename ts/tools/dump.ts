/** The entries of a log, one after the other, with a MiB of them in memory at a time. */

import { RecordCursor } from '../format/block.js'
import { optionsError, checkOptionNames, shown } from '../option-checks.js'
import { READ_BYTES_MAX } from '../storage/log-store.js'
import type { LogStore } from '../storage/log-store.js'
import { isPosition, logIndex, termOf } from '../types.js'
import type { Block, EntryKind, LogIndex, Term } from '../types.js'
import { nothingThere, storeIn } from './store-in.js'

/** Which entries `dump` gives. */
export interface DumpRange {
  /** Default: the first entry that the log keeps; a smaller index is that one. 1 or more. */
  readonly first?: number
  /** Inclusive. Default: the last entry; a greater index is that one. */
  readonly last?: number
}

/** An entry of the log, as `dump` gives it. */
export interface DumpedEntry {
  readonly index: LogIndex
  readonly term: Term
  readonly kind: EntryKind
  /** When its leader made it, in milliseconds since 1970. */
  readonly time: number
  /** Up to 1 MiB. The caller's; it keeps the memory of those around it alive, 1 MiB and one entry at most. */
  readonly payload: Uint8Array
  /** What it takes in the log: its payload, what stands before it, and padding. */
  readonly bytes: number
}

/** Before the payload of a record, which is filled up to a multiple of 8. */
const RECORD_HEADER_BYTES = 32
const ALIGN = 8

/**
 * The entries of a range, ascending; those that the log does not have are left out. Nothing is changed; the folder is
 * locked from the first entry that is asked for until the loop ends, by whatever way. Every checksum is looked at: at a
 * damaged entry it throws ERR_RAFT_STORE_CORRUPT, behind those before it. Also throws what an open would throw
 * (ERR_RAFT_DIR_LOCKED while a server runs there), and ERR_RAFT_OPTIONS for a range that is none.
 */
export async function* dump(dir: string, range: DumpRange = {}): AsyncGenerator<DumpedEntry, void, undefined> {
  const { first = 1, last = Number.MAX_SAFE_INTEGER } = checkRange(range)
  const store = (await storeIn('dump', dir)).make()
  const stored = await store.look()
  if (stored === null) throw nothingThere(dir)
  try {
    const end = Math.min(last, stored.lastIndex)
    for await (const block of blocksOf(store, Math.max(first, stored.firstIndex), end)) yield* entriesOf(block)
  } finally {
    await store.close()
  }
}

/** The entries first .. last, which the log has. */
export async function* blocksOf(
  store: Pick<LogStore, 'read'>,
  first: number,
  last: number,
): AsyncGenerator<Block, void, undefined> {
  for (let next = first; next <= last;) {
    const blocks = await store.read(logIndex(next), logIndex(last + 1), READ_BYTES_MAX)
    // Nobody compacts a log that is looked at.
    if (blocks.length === 0) return
    yield* blocks
    next = (blocks.at(-1)?.last ?? last) + 1
  }
}

function* entriesOf(block: Block): Generator<DumpedEntry, void, undefined> {
  const cursor = new RecordCursor()
  cursor.reset(block)
  while (cursor.next()) {
    const { index, kind, time, payload } = cursor
    const bytes = RECORD_HEADER_BYTES + Math.ceil(payload.length / ALIGN) * ALIGN
    yield { index, term: termOf(block.term), kind, time, payload, bytes }
  }
}

function checkRange(range: DumpRange): DumpRange {
  checkOptionNames('dump', range, ['first', 'last'])
  for (const [name, value] of Object.entries(range) as readonly [string, number | undefined][]) {
    if (value === undefined || (isPosition(value) && value >= 1)) continue
    throw optionsError(`dump: ${name} is ${shown(value)}; it must be the index of an entry, 1 or more`)
  }
  const { first = 1, last = Number.MAX_SAFE_INTEGER } = range
  if (first > last) throw optionsError(`dump: first is ${first}, behind last, which is ${last}`)
  return range
}
