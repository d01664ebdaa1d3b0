/**
 * Blocks whose bytes say what they are: each entry is (index, term, payload), so that a wrong slice, a hole or a block
 * in the wrong place is seen. The core never looks inside, and nothing here is shared with the format that is stored.
 */

import { assert } from '../../errors.js'
import type { BlockMaker } from '../../core/index.js'
import { incarnationsOf, withIncarnations } from '../../format/incarnations.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, Configuration, LogIndex, Term } from '../../types.js'
import type { EntryReader } from '../invariants/truth.js'

/** One entry, as the disk and the state machine of a stage hold it. */
export interface StageEntry {
  readonly term: number
  /** What a client has proposed, unique on one stage; 0 for what is no command. */
  readonly payload: number
  /** Bytes that it takes in a block. */
  readonly size: number
  readonly configuration: Configuration | null
}

/** The payload of what is no command: the entry that starts a log, and the one that starts a term. */
export const NOTHING = 0
/** Bytes of an entry unless asked otherwise: three numbers. */
export const ENTRY_BYTES = 24

/** Packs payloads into one block from `first` on. */
export function makeBlock(first: number, term: number, payloads: readonly number[], size = ENTRY_BYTES): Block {
  assert(size >= ENTRY_BYTES && payloads.length > 0, `stage block: ${payloads.length} entries of ${size} bytes`)
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

/** An entry that was there before a stage began, or that is only known by its place. */
export function earlierEntry(index: number, term: number): StageEntry {
  return { term, payload: -((index - 1) * 1000 + term), size: ENTRY_BYTES, configuration: null }
}

/** The entries of a block, checked against what the block says of itself. */
export function entriesOf(block: Block): readonly StageEntry[] {
  const { first, last, term, configuration } = block
  assert(isWhole(block), `stage block ${first}-${last}/${term} holds other entries than it says`)
  const size = sizeOf(block)
  const view = viewOf(block)
  const entries: StageEntry[] = []
  for (let at = 0; at < view.byteLength; at += size) {
    entries.push({ term, payload: view.getFloat64(at + 16), size, configuration })
  }
  return entries
}

/** What the cores use to make and cut blocks. */
export const stageBlockMaker: BlockMaker = {
  noop: (first: LogIndex, term: Term) => makeBlock(first, term, [NOTHING]),
  configuration: (first: LogIndex, term: Term, configuration: Configuration) => ({
    ...makeBlock(first, term, [NOTHING]),
    configuration,
  }),
  metaOf: () => null,
  incarnationsOf,
  withIncarnations,
  keep: (blocks: readonly Block[]) => blocks,
  slice: (block: Block, first: LogIndex, last: LogIndex) => {
    assert(
      block.first <= first && first <= last && last <= block.last,
      `stage block ${block.first}-${block.last} cut to ${first}-${last}`,
    )
    const size = sizeOf(block)
    const data = block.data.slice((first - block.first) * size, (last - block.first + 1) * size)
    return { first, last, term: block.term, data, configuration: block.configuration }
  },
}

/** As the truth reads them: a payload stands for its entry. */
export class StageEntries implements EntryReader {
  fingerprint = 0
  #view: DataView = new DataView(new ArrayBuffer(0))
  #size = 0
  #next = 0

  get command(): number {
    return this.fingerprint
  }

  isIntact(block: Block): boolean {
    return isWhole(block)
  }

  begin(block: Block): void {
    this.#view = viewOf(block)
    this.#size = sizeOf(block)
    this.#next = 0
  }

  next(): boolean {
    if (this.#next === this.#view.byteLength) return false
    this.fingerprint = this.#view.getFloat64(this.#next + 16)
    this.#next += this.#size
    return true
  }
}

function isWhole(block: Block): boolean {
  const size = sizeOf(block)
  const view = viewOf(block)
  for (let at = 0; at <= block.last - block.first; at += 1) {
    if (view.getFloat64(at * size) !== block.first + at || view.getFloat64(at * size + 8) !== block.term) return false
  }
  return true
}

function sizeOf({ first, last, data }: Block): number {
  return data.byteLength / (last - first + 1)
}

function viewOf({ data }: Block): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength)
}
