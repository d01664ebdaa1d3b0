/**
 * The log as the core sees it: where it begins and ends, which term each stretch has, and the newest blocks (the tail).
 * Nothing here is per entry: a block costs one array slot, a leadership one term run.
 *
 * Invariant (docs/log-pointers.md): firstIndex - 1 <= appliedIndex <= commitIndex <= lastIndex, durableIndex <=
 * lastIndex, appliedIndex <= durableIndex. `invariants.ts` checks it.
 */

import { assert } from '../errors.js'
import { logIndex, termOf } from '../types.js'
import type { Block, Configuration, LogIndex, Server, ServerMeta, Term, TermRun } from '../types.js'

/**
 * What the core needs to know of bytes: how to make the entry that starts a term and the one that changes the members,
 * how to cut a block and how to keep some. Injected.
 */
export interface BlockMaker {
  noop(first: LogIndex, term: Term): Block
  /** An entry that puts this configuration in force. */
  configuration(first: LogIndex, term: Term, configuration: Configuration): Block
  /** What is said of a server, for whoever is sent to it; null when nothing is. */
  metaOf(server: Server): ServerMeta | null
  /** A copy that holds only first .. last. */
  slice(block: Block, first: LogIndex, last: LogIndex): Block
  /** The same blocks, in memory that does not keep much more alive than they fill. */
  keep(blocks: readonly Block[]): readonly Block[]
}

/** A configuration and the entry that it came from. */
export interface ConfigurationAt {
  readonly index: LogIndex
  readonly configuration: Configuration
}

export interface LogStart {
  readonly firstIndex: LogIndex
  readonly lastIndex: LogIndex
  readonly commitIndex: LogIndex
  readonly termRuns: readonly TermRun[]
  /** Ascending; at least one. */
  readonly configurations: readonly ConfigurationAt[]
}

export class RaftLog {
  /** The first entry kept. Fixed when the store is opened. */
  readonly firstIndex: LogIndex
  #lastIndex: LogIndex
  #durableIndex: LogIndex
  #commitIndex: LogIndex
  #appliedIndex: LogIndex
  /** The end of the log at the start; back with the end of the log. */
  #openedIndex: LogIndex
  /** The highest commit index that a leader has told of. 0 after a restart. */
  #heardCommit = logIndex(0)
  readonly #maker: BlockMaker
  /** Invariant: first and term both grow strictly (5.3). */
  readonly #runs: TermRun[]
  /** Of the entries of the log, ascending, and the one before them: the last is in force. */
  readonly #configurations: ConfigurationAt[]
  /** The entry that the first configuration came from. Every server of the cluster has it: no leader replaces it. */
  readonly #baseIndex: LogIndex
  /** Consecutive blocks; the last one ends at lastIndex. Slots below #head are free. */
  #tail: (Block | undefined)[] = []
  #head = 0
  /** Beside #tail: the bytes of all blocks ever appended up to and including this one. */
  #ends: number[] = []
  #bytesEnd = 0

  constructor(start: LogStart, maker: BlockMaker) {
    const [base] = start.configurations
    assert(base !== undefined, 'log: no configuration to begin with')
    this.#baseIndex = base.index
    this.firstIndex = start.firstIndex
    this.#lastIndex = start.lastIndex
    this.#durableIndex = start.lastIndex
    this.#commitIndex = logIndex(Math.min(start.commitIndex, start.lastIndex))
    this.#appliedIndex = logIndex(start.firstIndex - 1)
    this.#openedIndex = start.lastIndex
    this.#runs = [...start.termRuns]
    this.#configurations = [...start.configurations]
    this.#maker = maker
  }

  /** The last accepted entry: the log that votes and consistency checks speak of, pending tickets included. */
  get lastIndex(): LogIndex {
    return this.#lastIndex
  }

  /** The last entry that is in the store for good. Back only by a truncation. */
  get durableIndex(): LogIndex {
    return this.#durableIndex
  }

  /** The last entry known to be committed (5.3, 5.4.2). Never moves back. */
  get commitIndex(): LogIndex {
    return this.#commitIndex
  }

  /** The highest entry that this server knows to be committed, whether or not it has it yet. */
  get knownCommitIndex(): LogIndex {
    return logIndex(Math.max(this.#commitIndex, this.#heardCommit))
  }

  /** The last entry that the state machine has applied. Never moves back. */
  get appliedIndex(): LogIndex {
    return this.#appliedIndex
  }

  /**
   * The last entry that was in the store when it was opened, and still is: up to here bytes may be in the store alone.
   */
  get openedIndex(): LogIndex {
    return this.#openedIndex
  }

  get lastTerm(): Term {
    return this.#runs.at(-1)?.term ?? termOf(0)
  }

  get termRuns(): readonly TermRun[] {
    return this.#runs
  }

  get tailBytes(): number {
    return this.#bytesFrom(this.#head)
  }

  /** The first entry whose bytes are at hand; lastIndex + 1 when none is. */
  get tailFirst(): LogIndex {
    return this.#tail[this.#head]?.first ?? logIndex(this.lastIndex + 1)
  }

  /** The newest block at hand; null after a restart, until something is appended. */
  get lastBlock(): Block | null {
    return this.#tail.at(-1) ?? null
  }

  /** In force from the moment it is appended, committed or not (thesis 4.1). */
  get configuration(): Configuration {
    return this.#newest.configuration
  }

  /** The entry that the configuration in force came from. */
  get configurationIndex(): LogIndex {
    return this.#newest.index
  }

  /** Every configuration of which this server knows, ascending. The one in force is the last. */
  get configurations(): readonly ConfigurationAt[] {
    return this.#configurations
  }

  /** The newest configuration that no leader may replace, and those behind it that one still may. Ascending. */
  get configurationsInQuestion(): readonly ConfigurationAt[] {
    const { settledIndex } = this
    const settled = this.#configurations.findLastIndex(({ index }) => index <= settledIndex)
    return this.#configurations.slice(Math.max(settled, 0))
  }

  /** The last entry that no leader may replace: what is committed, and what every log of the cluster begins with. */
  get settledIndex(): LogIndex {
    return logIndex(Math.max(this.commitIndex, this.#baseIndex))
  }

  /** The term of an entry; 0 for index 0; null for an entry that is not in the log. */
  termAt(index: LogIndex): Term | null {
    if (index === 0) return termOf(0)
    if (index < this.firstIndex || index > this.lastIndex) return null
    return this.#runs[this.#runAt(index)]?.term ?? null
  }

  /** Whether a log that ends with this entry is at least as up-to-date as this one (5.4.1). */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  /** The highest index <= `index` whose term is <= `term`: how both sides of a conflict skip whole terms (5.3). */
  lastIndexWithTermAtMost(term: Term, index: LogIndex): LogIndex {
    const bounded = logIndex(Math.min(index, this.lastIndex))
    if (bounded < this.firstIndex) return bounded
    let at = this.#runAt(bounded)
    let last = bounded
    while (at >= 0) {
      const run = this.#runs[at]
      if (run === undefined || run.term <= term) return last
      last = logIndex(run.first - 1)
      at -= 1
    }
    return last
  }

  /**
   * The first entry of first .. last whose term here is not `term`; null when every one of them that is here agrees.
   */
  firstConflict(first: LogIndex, last: LogIndex, term: Term): LogIndex | null {
    const end = Math.min(last, this.lastIndex)
    if (first > end) return null
    const run = this.#runs[this.#runAt(first)]
    if (run?.term !== term) return first
    const next = this.#runs[this.#runAt(first) + 1]
    return next !== undefined && next.first <= end ? next.first : null
  }

  /** An entry is known to be committed, and all before it; one that was known already changes nothing. */
  commitTo(index: LogIndex): void {
    assert(index <= this.#lastIndex, () => `log: commit ${index} beyond the last entry ${this.#lastIndex}`)
    if (index > this.#commitIndex) this.#commitIndex = index
  }

  /** A leader says that it has committed so far: what that covers may still be on its way here. */
  heardCommit(index: LogIndex): void {
    if (index > this.#heardCommit) this.#heardCommit = index
  }

  /** The state machine has applied everything up to here. */
  appliedTo(index: LogIndex): void {
    const end = Math.min(this.#commitIndex, this.#durableIndex)
    assert(
      index > this.#appliedIndex && index <= end,
      () => `log: applied ${index} after ${this.#appliedIndex}, committed and durable up to ${end}`,
    )
    this.#appliedIndex = index
  }

  /** The store holds everything up to here. Moved by `Tickets`, which knows what is about to be overwritten. */
  durableTo(index: LogIndex): void {
    assert(index <= this.#lastIndex, () => `log: durable ${index} beyond the last entry ${this.#lastIndex}`)
    assert(index >= this.#durableIndex, () => `log: durable ${index} after ${this.#durableIndex}`)
    this.#durableIndex = index
  }

  append(block: Block): void {
    assert(block.first === this.lastIndex + 1, () => `log: block ${block.first} appended after ${this.lastIndex}`)
    assert(block.term >= this.lastTerm, () => `log: term ${block.term} appended after term ${this.lastTerm}`)
    if (block.term > this.lastTerm) this.#runs.push({ first: block.first, term: block.term })
    if (block.configuration !== null) {
      this.#configurations.push({ index: block.first, configuration: block.configuration })
    }
    if (block.data.buffer !== this.lastBlock?.data.buffer) this.#leaveMemory()
    this.#push(block)
    this.#lastIndex = block.last
  }

  /** Removes every entry from `from` on: only at a true conflict, never at or below what is settled. */
  truncateSuffix(from: LogIndex): void {
    assert(from > this.settledIndex, `log: truncation from ${from} would remove settled entry ${this.settledIndex}`)
    assert(from <= this.lastIndex, `log: truncation from ${from} beyond the last entry ${this.lastIndex}`)
    let cut: Block | null = null
    for (let block = this.lastBlock; block !== null && block.last >= from; block = this.lastBlock) {
      this.#pop(block)
      if (block.first < from) cut = this.#maker.slice(block, block.first, logIndex(from - 1))
    }
    // Of this memory some is gone now: it may be held for little.
    this.#leaveMemory()
    if (cut !== null) this.#push(cut)
    while ((this.#runs.at(-1)?.first ?? 0) >= from) this.#runs.pop()
    while ((this.#configurations.at(-1)?.index ?? 0) >= from) this.#configurations.pop()
    this.#lastIndex = logIndex(from - 1)
    this.#durableIndex = logIndex(Math.min(this.durableIndex, from - 1))
    this.#openedIndex = logIndex(Math.min(this.#openedIndex, from - 1))
  }

  /**
   * Blocks from `from` up to `last`, at most `bytesMax` bytes but at least one block; the first is cut when `from` lies
   * inside it. Invariant: tailFirst <= from <= last <= lastIndex. The last block may reach beyond `last`.
   */
  blocks(from: LogIndex, last: LogIndex, bytesMax: number): readonly Block[] {
    const found: Block[] = []
    assert(from <= last && last <= this.lastIndex, () => `log: entries ${from}-${last} asked of ${this.lastIndex}`)
    assert(from >= this.tailFirst, () => `log: entry ${from} asked of a tail that begins at ${this.tailFirst}`)
    let bytes = 0
    for (let at = this.#blockAt(from); at < this.#tail.length; at += 1) {
      const block = this.#tail[at]
      if (block === undefined || block.first > last) break
      bytes += block.data.byteLength
      if (found.length > 0 && bytes > bytesMax) break
      found.push(block.first < from ? this.#maker.slice(block, from, block.last) : block)
    }
    return found
  }

  /**
   * Bytes that are not known to be committed; Infinity while some of them are of an earlier start, so that their size
   * is not at hand.
   */
  get uncommittedBytes(): number {
    return this.tailFirst > this.settledIndex + 1 ? Infinity : this.bytesAbove(this.commitIndex)
  }

  /** Bytes of the blocks at hand that reach beyond `index`. Derived, so that it cannot drift (scenario C19). */
  bytesAbove(index: LogIndex): number {
    if (index >= this.lastIndex) return 0
    const at = index + 1 <= this.tailFirst ? this.#head : this.#blockAt(logIndex(index + 1))
    return this.#bytesFrom(at)
  }

  /**
   * Forgets the oldest blocks until the tail fits, but none that reaches beyond `upTo`, nor one that is still to be
   * written or applied.
   */
  // Hot path: once per turn.
  trimTail(bytesMax: number, upTo: LogIndex): void {
    const last = Math.min(upTo, this.#appliedIndex, this.#durableIndex)
    while (this.tailBytes > bytesMax && (this.#tail[this.#head]?.last ?? Infinity) <= last) {
      this.#tail[this.#head] = undefined
      this.#head += 1
    }
    // Moving the rest down costs its length; once per half keeps that constant per block.
    if (this.#head > 64 && this.#head * 2 > this.#tail.length) {
      this.#tail = this.#tail.slice(this.#head)
      this.#ends = this.#ends.slice(this.#head)
      this.#head = 0
    }
  }

  get #newest(): ConfigurationAt {
    const newest = this.#configurations.at(-1)
    assert(newest !== undefined, 'log: no configuration')
    return newest
  }

  /** Bytes of the blocks at that position and behind it. */
  #bytesFrom(at: number): number {
    return this.#bytesEnd - (this.#ends[at] ?? this.#bytesEnd) + (this.#tail[at]?.data.byteLength ?? 0)
  }

  #push(block: Block): void {
    this.#bytesEnd += block.data.byteLength
    this.#tail.push(block)
    this.#ends.push(this.#bytesEnd)
  }

  /** Removes the newest block, which the caller has looked at. */
  #pop({ data }: Block): void {
    this.#tail.pop()
    this.#ends.pop()
    this.#bytesEnd -= data.byteLength
  }

  /**
   * No further block will lie in the memory of the newest one: all blocks of it stay there, or leave it together when
   * it is held for little. Not before: a slab that is still being filled would be left block by block, however full it
   * gets. So one such memory at a time is held for whatever it holds.
   */
  #leaveMemory(): void {
    const memory = this.lastBlock?.data.buffer
    let start = this.#tail.length
    while (start > this.#head && this.#tail[start - 1]?.data.buffer === memory) start -= 1
    const run = this.#tail.slice(start).filter((block) => block !== undefined)
    for (const [at, block] of this.#maker.keep(run).entries()) this.#tail[start + at] = block
  }

  /** The position of the run that holds `index`. Invariant: firstIndex <= index <= lastIndex. */
  #runAt(index: LogIndex): number {
    let at = this.#runs.length - 1
    // Nearly always the newest; a log has few terms.
    while (at > 0 && (this.#runs[at]?.first ?? 0) > index) at -= 1
    return at
  }

  /** The position of the newest block that does not begin behind `index`. */
  #blockAt(index: LogIndex): number {
    let hi = this.#tail.length - 1
    let lo = hi
    // Nearly always one of the newest, however long the tail is: a search by halving would touch many that are cold.
    for (let step = 1; lo > this.#head && (this.#tail[lo]?.first ?? 0) > index; step *= 2) {
      hi = lo - 1
      lo = Math.max(this.#head, lo - step)
    }
    while (lo < hi) {
      const middle = (lo + hi + 1) >> 1
      if ((this.#tail[middle]?.first ?? 0) <= index) lo = middle
      else hi = middle - 1
    }
    return lo
  }
}
