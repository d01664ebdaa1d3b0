/**
 * What a store holds, in memory: the log as blocks, the hard state and the facts. `apply` is the meaning of each
 * operation written out plainly, and asserts everything that the contract asks of whoever submits.
 */

import { assert, RaftError } from '../../errors.js'
import { sliceBlock, verifyBlock } from '../../format/block.js'
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from '../../format/operations.js'
import { logIndex, termOf } from '../../types.js'
import type {
  Block,
  Configuration,
  HardState,
  LogIndex,
  SnapshotMeta,
  StoreOperation,
  Term,
  TermRun,
} from '../../types.js'
import { clip, shorten } from '../clip-block.js'
import { neverEmpty } from '../lost-data.js'
import { READ_BYTES_MAX } from '../log-store.js'
import type { StoredState } from '../log-store.js'

type Compact = Extract<StoreOperation, { readonly type: 'compact' }>

const encoder = new TextEncoder()

/** What may be looked at from outside. */
export interface ReadonlyImage {
  readonly firstIndex: LogIndex
  /** The term of the entry before it; 0 where there never was one. */
  readonly prevTerm: Term
  readonly lastIndex: LogIndex
  /** On what the log stands. */
  readonly snapshot: SnapshotMeta | null
  /** Ascending and without gaps: exactly firstIndex .. lastIndex, apart from a damaged first one, which stays whole. */
  readonly blocks: readonly Block[]
  readonly hardState: HardState
  readonly facts: ReadonlyMap<string, Uint8Array>
  /** Null where there is no entry. */
  termAt(index: LogIndex): Term | null
  termRuns(): TermRun[]
  configurations(): readonly { readonly index: LogIndex; readonly configuration: Configuration }[]
}

export class MemoryImage implements ReadonlyImage {
  firstIndex = logIndex(1)
  prevTerm = termOf(0)
  snapshot: SnapshotMeta | null = null
  readonly blocks: Block[] = []
  readonly facts = new Map<string, Uint8Array>()
  hardState: HardState = { term: termOf(0), votedFor: null, commitIndex: logIndex(0) }
  #bytes = 0

  /** Of all blocks. */
  get blockBytes(): number {
    return this.#bytes
  }

  get lastIndex(): LogIndex {
    return this.blocks.at(-1)?.last ?? logIndex(this.firstIndex - 1)
  }

  get lastTerm(): Term {
    return this.blocks.at(-1)?.term ?? this.prevTerm
  }

  termAt(index: LogIndex): Term | null {
    if (index < this.firstIndex) return null
    const block = this.blocks[this.#blockAt(index)]
    return block !== undefined && block.first <= index ? block.term : null
  }

  copy(): MemoryImage {
    const image = new MemoryImage()
    image.firstIndex = this.firstIndex
    image.prevTerm = this.prevTerm
    image.snapshot = this.snapshot
    for (const block of this.blocks) image.blocks.push(block)
    image.#bytes = this.#bytes
    for (const [key, value] of this.facts) image.facts.set(key, value)
    image.hardState = this.hardState
    return image
  }

  apply(operation: StoreOperation): void {
    switch (operation.type) {
      case 'append':
        this.#append(operation.block)
        return
      case 'truncateSuffix':
        this.#truncateSuffix(operation.from)
        return
      case 'compact':
        this.#compact(operation)
        return
      case 'hardState':
        this.#setHardState(operation.hardState)
        return
      case 'put':
        checkKey(operation.key)
        assert(operation.value.length <= VALUE_BYTES_MAX, `fact ${operation.key} has ${operation.value.length} bytes`)
        this.facts.set(operation.key, operation.value)
        return
      case 'delete':
        checkKey(operation.key)
        this.facts.delete(operation.key)
        return
      default:
        throw new TypeError(`unknown store operation ${JSON.stringify(operation satisfies never)}`)
    }
  }

  termRuns(): TermRun[] {
    const runs: TermRun[] = []
    for (const block of this.blocks) {
      if (runs.at(-1)?.term === block.term) continue
      runs.push({ first: logIndex(Math.max(block.first, this.firstIndex)), term: block.term })
    }
    return runs
  }

  configurations(): StoredState['configurations'] {
    const found = []
    for (const { first, configuration } of this.blocks) {
      if (configuration !== null) found.push({ index: first, configuration })
    }
    return found
  }

  /**
   * Blocks clipped to lo .. hi-1 within `maxBytes` and READ_BYTES_MAX, at least one entry; none when lo is not in the
   * log. Damage is ERR_RAFT_STORE_CORRUPT.
   */
  read(lo: LogIndex, hi: LogIndex, maxBytes: number): Block[] {
    if (lo < this.firstIndex) return []
    const blocks: Block[] = []
    let left = Math.min(maxBytes, READ_BYTES_MAX)
    for (let at = this.#blockAt(lo); at < this.blocks.length; at += 1) {
      const block = this.blocks[at]
      if (block === undefined || block.first >= hi) break
      if (!verifyBlock(block.data)) throw corruptError(block, this.firstIndex)
      const clipped = clip(block, lo, hi)
      if (clipped.data.byteLength > left) {
        if (blocks.length === 0) blocks.push(shorten(clipped, left))
        break
      }
      blocks.push(clipped)
      left -= clipped.data.byteLength
    }
    return blocks
  }

  /**
   * Puts blocks in the place of the damaged one of exactly these entries, but for those that a compaction has let go
   * of. False: there is none, or its entries have other terms; nothing was changed. Invariant: the blocks are intact,
   * and cover first .. last.
   */
  repair(first: LogIndex, last: LogIndex, blocks: readonly Block[]): boolean {
    const at = this.#blockAt(first)
    const damaged = this.blocks[at]
    if (damaged === undefined || damaged.last !== last || verifyBlock(damaged.data)) return false
    const isWhole = damaged.first === first || (damaged.first < first && first <= this.firstIndex)
    if (!isWhole || blocks.some(({ term }) => term !== damaged.term)) return false
    this.blocks.splice(at, 1, ...blocks)
    this.#bytes -= damaged.data.byteLength
    for (const block of blocks) this.#bytes += block.data.byteLength
    return true
  }

  #append(block: Block): void {
    const { lastIndex, lastTerm } = this
    assert(block.first === lastIndex + 1, () => `append at ${block.first} behind ${lastIndex}`)
    assert(block.term >= lastTerm, () => `append in term ${block.term} behind term ${lastTerm}`)
    this.blocks.push(block)
    this.#bytes += block.data.byteLength
  }

  #truncateSuffix(from: LogIndex): void {
    const { firstIndex, lastIndex } = this
    assert(firstIndex <= from && from <= lastIndex, `truncate from ${from} in ${firstIndex} .. ${lastIndex}`)
    const at = this.#blockAt(from)
    const removed = this.blocks.splice(at)
    for (const block of removed) this.#bytes -= block.data.byteLength
    const [cut] = removed
    if (cut === undefined || cut.first === from) return
    const kept = sliceBlock(cut, cut.first, logIndex(from - 1))
    this.blocks.push(kept)
    this.#bytes += kept.data.byteLength
  }

  #compact({ first, prevTerm, snapshot, keepSuffix }: Compact): void {
    const { firstIndex, lastIndex } = this
    const { index } = snapshot
    assert(firstIndex <= first && first <= index + 1, `compact to ${first} from ${firstIndex}, behind ${index}`)
    assert(index >= (this.snapshot?.index ?? 0), `the snapshot goes back from ${this.snapshot?.index} to ${index}`)
    if (keepSuffix) {
      assert(index <= lastIndex, `a snapshot at ${index} is to keep a log that ends at ${lastIndex}`)
      this.#checkTerm(index, snapshot.term)
      this.#checkTerm(logIndex(first - 1), prevTerm)
    } else {
      assert(first === index + 1, `compact to ${first}, not right behind ${index}, and keep nothing`)
      assert(prevTerm === snapshot.term, `entry ${index} has term ${snapshot.term}, and not ${prevTerm}`)
    }
    const removed = this.blocks.splice(0, keepSuffix ? this.#blockAt(first) : this.blocks.length)
    for (const block of removed) this.#bytes -= block.data.byteLength
    this.#cutFront(first)
    this.firstIndex = first
    this.prevTerm = prevTerm
    this.snapshot = snapshot
  }

  /** Of a block that is damaged nothing is known but that it is there: its next read says so. */
  #cutFront(first: LogIndex): void {
    const [block] = this.blocks
    if (block === undefined || block.first >= first || !verifyBlock(block.data)) return
    const kept = sliceBlock(block, first, block.last)
    this.blocks[0] = kept
    this.#bytes += kept.data.byteLength - block.data.byteLength
  }

  /** What the caller says of an entry, against the log where that still knows it. */
  #checkTerm(index: LogIndex, term: Term): void {
    const known = index === this.firstIndex - 1 ? this.prevTerm : this.termAt(index)
    assert(known === null || known === term, () => `entry ${index} has term ${known}, and not ${term}`)
  }

  #setHardState(next: HardState): void {
    const { term, votedFor } = this.hardState
    assert(next.term >= term, () => `hard state goes back from term ${term} to ${next.term}`)
    const keepsVote = next.term > term || votedFor === null || votedFor === next.votedFor
    assert(keepsVote, () => `vote of term ${term} changes from ${votedFor} to ${next.votedFor}`)
    this.hardState = { term: next.term, votedFor: next.votedFor, commitIndex: next.commitIndex }
  }

  /** The position of the block that holds `index`, by halving. */
  #blockAt(index: LogIndex): number {
    let low = 0
    let high = this.blocks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const block = this.blocks[middle]
      if (block !== undefined && block.last < index) low = middle + 1
      else high = middle
    }
    return low
  }
}

function checkKey(key: string): void {
  const bytes = encoder.encode(key).length
  assert(bytes >= 1 && bytes <= KEY_BYTES_MAX, `a fact's key of ${bytes} bytes, not 1 .. ${KEY_BYTES_MAX}`)
}

function corruptError(block: Block, firstIndex: LogIndex): RaftError {
  const message = `the block at index ${block.first} does not match its checksum. ${neverEmpty}`
  const damaged = { first: logIndex(Math.max(block.first, firstIndex)), last: block.last }
  return new RaftError('ERR_RAFT_STORE_CORRUPT', message, { damaged })
}
