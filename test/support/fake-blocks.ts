/**
 * Blocks whose bytes say what they are: each entry is (index, term, payload), so that a wrong slice, a hole or a block in
 * the wrong place is seen. The core never looks inside.
 */

import { assert } from '#balsa/errors.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, Configuration, LogIndex, Term } from '#balsa/types.js'
import type { BlockMaker } from '#balsa/core/index.js'

/** One entry, as the fake disk and the fake state machine hold it. */
export interface FakeEntry {
  readonly term: number
  readonly payload: number
  /** Bytes that it takes in a block. */
  readonly size: number
  readonly configuration: Configuration | null
}

/** The payload of the entry that starts a term. */
export const NOOP = 0
/** Bytes of an entry unless asked otherwise: three numbers. */
export const ENTRY_BYTES = 24

/** Packs payloads into one block from `first` on. */
export function makeBlock(first: number, term: number, payloads: readonly number[], size = ENTRY_BYTES): Block {
  assert(size >= ENTRY_BYTES && payloads.length > 0, `fake block: ${payloads.length} entries of ${size} bytes`)
  const data = new Uint8Array(payloads.length * size)
  const view = new DataView(data.buffer)
  payloads.forEach((payload, at) => {
    view.setFloat64(at * size, first + at)
    view.setFloat64(at * size + 8, term)
    view.setFloat64(at * size + 16, payload)
  })
  return {
    first: logIndex(first),
    last: logIndex(first + payloads.length - 1),
    term: termOf(term),
    data,
    configuration: null,
  }
}

/** The entries of a block, checked against what the block says of itself. */
export function entriesOf(block: Block): readonly FakeEntry[] {
  const count = block.last - block.first + 1
  const size = block.data.byteLength / count
  const view = new DataView(block.data.buffer, block.data.byteOffset, block.data.byteLength)
  const entries: FakeEntry[] = []
  for (let at = 0; at < count; at += 1) {
    const index = view.getFloat64(at * size)
    const term = view.getFloat64(at * size + 8)
    assert(
      index === block.first + at && term === block.term,
      `fake block ${block.first}-${block.last}/${block.term} holds ${index}/${term} at position ${at}`,
    )
    entries.push({ term, payload: view.getFloat64(at * size + 16), size, configuration: block.configuration })
  }
  return entries
}

/** What the core uses to make and cut blocks. */
export const fakeBlockMaker: BlockMaker = {
  noop: (first: LogIndex, term: Term) => makeBlock(first, term, [NOOP]),
  slice: (block: Block, first: LogIndex, last: LogIndex) => {
    assert(
      block.first <= first && first <= last && last <= block.last,
      `fake block ${block.first}-${block.last} cut to ${first}-${last}`,
    )
    const size = block.data.byteLength / (block.last - block.first + 1)
    const data = block.data.slice((first - block.first) * size, (last - block.first + 1) * size)
    return { first, last, term: block.term, data, configuration: block.configuration }
  },
  keep: (blocks: readonly Block[]) => blocks,
}
