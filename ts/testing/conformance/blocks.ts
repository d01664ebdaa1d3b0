/** Blocks, hard states and operations for stores to keep, and what was kept as values that can be compared. */

import { BlockWriter, decodeBlock, entryBlock, RecordCursor, sealBlock } from '../../format/block.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, HardState, StoreOperation } from '../../types.js'

/** The time of entry 0, in milliseconds since 1970. */
export const T0 = 1_760_000_000_000

/** docs/storage-format.md: the header of a block, and the table and CRC behind its one record. */
const BLOCK_HEADER_BYTES = 24
const BLOCK_TRAILER_BYTES = 8

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

/** As `blockOf`, without the bound of a batch: a store keeps what is intact, however long. */
export function longBlockOf(first: number, term: number, lengths: readonly number[]): Block {
  const records = lengths.map((length, n) =>
    entryBlock('command', logIndex(first + n), termOf(term), T0, bytes(length, n)),
  )
  const parts = records.map(({ data }) => data.subarray(BLOCK_HEADER_BYTES, data.length - BLOCK_TRAILER_BYTES))
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const arena = new Uint8Array(BLOCK_HEADER_BYTES + length + 4 * lengths.length + 4)
  const view = new DataView(arena.buffer)
  view.setUint32(8, first, true)
  view.setUint32(16, lengths.length, true)
  view.setUint32(20, length, true)
  let at = BLOCK_HEADER_BYTES
  for (const part of parts) {
    arena.set(part, at)
    at += part.length
  }
  sealBlock(arena, 0)
  return decodeBlock(arena)
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
