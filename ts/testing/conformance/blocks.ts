/** Blocks, hard states and operations for stores to keep, and what was kept as values that can be compared. */

import { BlockWriter, RecordCursor, sealBlock } from '../../format/block.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, HardState, StoreOperation } from '../../types.js'

/** The time of entry 0, in milliseconds since 1970. */
export const T0 = 1_760_000_000_000

/** A block of commands with payloads of these lengths, told apart by index and term. */
export function blockOf(first: number, term: number, lengths: readonly number[], seal = sealBlock): Block {
  const writer = new BlockWriter()
  writer.begin(logIndex(first), termOf(term))
  for (const [n, length] of lengths.entries()) {
    const payload = bytes(length, first + n + 31 * term)
    if (!writer.add('command', T0 + first + n, payload)) throw new Error('the lengths do not fit into one block')
  }
  return writer.finish(seal)
}

export function append(block: Block): StoreOperation {
  return { type: 'append', block }
}

export function hardState(term: number, votedFor: string | null, commitIndex: number): HardState {
  return { term: termOf(term), votedFor, commitIndex: logIndex(commitIndex) }
}

/** Everything that blocks say, entry by entry. */
export function entriesOf(blocks: readonly Block[]): readonly object[] {
  const entries: object[] = []
  const cursor = new RecordCursor()
  for (const block of blocks) {
    cursor.reset(block)
    while (cursor.next()) {
      const { index, kind, time } = cursor
      entries.push({ index, term: block.term, kind, time, payload: hexOf(cursor.payload) })
    }
  }
  return entries
}

/** Bytes that tell places and salts apart. */
export function bytes(length: number, salt = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 7 + salt * 13) & 255)
}

export function hexOf(data: Uint8Array): string {
  return Buffer.from(data).toString('hex')
}
