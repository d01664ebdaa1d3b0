/**
 * The log as the core sees it: where it begins and ends, which term each stretch has, and the newest blocks (the tail).
 * Nothing here is per entry: a block costs one array slot, a leadership one term run.
 *
 * Invariant (docs/log-pointers.md): firstIndex - 1 <= appliedIndex <= commitIndex <= lastIndex, durableIndex <=
 * lastIndex, appliedIndex <= durableIndex, but for a state machine that is still to be restored. `invariants.ts` checks
 * it.
 */

import { assert } from '../errors.js'
import { logIndex, termOf } from '../types.js'
import type {
  Block,
  Configuration,
  LogIndex,
  Server,
  ServerId,
  ServerMeta,
  SnapshotMeta,
  Term,
  TermRun,
} from '../types.js'

/**
 * What the core needs to know of bytes: how to make the entry that starts a term and the one that changes the members,
 * how to cut a block and how to keep some. Injected.
 */
export interface BlockMaker {
  /** An entry that changes nothing: the first of a leader. */
  noop(first: LogIndex, term: Term): Block
  /** An entry that puts this configuration in force. */
  configuration(first: LogIndex, term: Term, configuration: Configuration): Block
  /** What is said of a server, for whoever is sent to it; null when nothing is. */
  metaOf(server: Server): ServerMeta | null
  /** The stores that a configuration names, by the ids of their servers: core/electorate.ts. */
  incarnationsOf(configuration: Configuration): ReadonlyMap<ServerId, string>
  /** The same configuration with these stores named, and no others. */
  withIncarnations(configuration: Configuration, incarnations: ReadonlyMap<ServerId, string>): Configuration
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

/** The log as the store has it when a server begins. */
export interface LogStart {
  readonly firstIndex: LogIndex
  /** Of the entry before it; 0 where it is 1. */
  readonly prevTerm: Term
  readonly lastIndex: LogIndex
  readonly commitIndex: LogIndex
  readonly termRuns: readonly TermRun[]
  /** Of the entries that are kept, ascending. Without a snapshot at least one. */
  readonly configurations: readonly ConfigurationAt[]
  /** On what the log stands; null while it was never compacted. */
  readonly snapshot: SnapshotMeta | null
  /** What the state machine has of itself, durably; 0 for one that begins empty. */
  readonly appliedIndex: LogIndex
}

export class RaftLog {
  /** Moves by a compaction alone, never back. */
  #firstIndex: LogIndex
  /** Of the entry before the first: 0 where there is none. */
  #prevTerm: Term
  #snapshot: SnapshotMeta | null
  /** The state machine lacks entries that are not kept: it must have the snapshot before anything is applied. */
  #isRestoreDue: boolean
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
    const { snapshot, appliedIndex } = start
    this.#configurations = configurationsOn(snapshot, start.configurations)
    const [base] = this.#configurations
    assert(base !== undefined, 'log: no configuration to begin with')
    this.#baseIndex = base.index
    this.#firstIndex = start.firstIndex
    this.#prevTerm = start.prevTerm
    this.#snapshot = snapshot
    this.#lastIndex = start.lastIndex
    this.#durableIndex = start.lastIndex
    // Whatever is in a snapshot, or in a machine, was committed.
    const committed = Math.max(start.commitIndex, snapshot?.index ?? 0, appliedIndex)
    this.#commitIndex = logIndex(Math.min(committed, start.lastIndex))
    assert(appliedIndex <= start.lastIndex, `log: applied ${appliedIndex} of a log that ends at ${start.lastIndex}`)
    this.#appliedIndex = appliedIndex
    // A machine that has nothing is restored, however much of the log is kept: that is the shorter way.
    this.#isRestoreDue = snapshot !== null && (appliedIndex === 0 || appliedIndex < start.firstIndex - 1)
    this.#openedIndex = start.lastIndex
    this.#runs = [...start.termRuns]
    this.#maker = maker
  }

  /** The first entry kept; lastIndex + 1 when none is. */
  get firstIndex(): LogIndex {
    return this.#firstIndex
  }

  /** On what the log stands: what a peer that lacks the entries before the first gets. */
  get snapshot(): SnapshotMeta | null {
    return this.#snapshot
  }

  /** The snapshot that the state machine must have before anything more is applied; null while it needs none. */
  get restoreDue(): SnapshotMeta | null {
    return this.#isRestoreDue ? this.#snapshot : null
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
    return this.#runs.at(-1)?.term ?? this.#prevTerm
  }

  get termRuns(): readonly TermRun[] {
    return this.#runs
  }

  get tailBytes(): number {
    return this.#bytesFrom(this.#head)
  }

  /** The first entry whose bytes are at hand; lastIndex + 1 when none is. */
  get tailFirst(): LogIndex {
    const first = this.#tail[this.#head]?.first ?? this.#lastIndex + 1
    return logIndex(Math.max(first, this.#firstIndex))
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

  /** The longest lease of those. Hot path: once per message of a leader. */
  get leaseMsInQuestion(): number {
    const { settledIndex } = this
    let longest = 0
    for (const { index, configuration } of this.#configurations) {
      const { leaseMs = 0 } = configuration
      longest = index <= settledIndex ? leaseMs : Math.max(longest, leaseMs)
    }
    return longest
  }

  /** The last entry that no leader may replace: what is committed, and what every log of the cluster begins with. */
  get settledIndex(): LogIndex {
    return logIndex(Math.max(this.commitIndex, this.#baseIndex))
  }

  /** In force once everything up to `index` is applied. Invariant: no configuration behind it was forgotten. */
  configurationAt(index: LogIndex): ConfigurationAt {
    const found = this.#configurations.findLast((at) => at.index <= index)
    assert(found !== undefined, `log: no configuration at ${index}`)
    return found
  }

  /**
   * The term of an entry; 0 for index 0; null for an entry that is not in the log. Of those before the first, the last
   * one is known; the others are null, which is no term (scenario C14).
   */
  termAt(index: LogIndex): Term | null {
    if (index === 0) return termOf(0)
    if (index === this.firstIndex - 1) return this.#prevTerm
    if (index < this.firstIndex || index > this.lastIndex) return null
    return this.#runs[this.#runAt(index)]?.term ?? null
  }

  /**
   * Whether the entry is here and of that term, as a leader says (5.3). What is no longer kept was committed, so every
   * leader has the same there.
   */
  agrees(index: LogIndex, term: Term): boolean {
    return index < this.firstIndex - 1 || this.termAt(index) === term
  }

  /** Whether a log that ends with this entry is at least as up-to-date as this one (5.4.1). */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  /**
   * The highest index <= `index` whose term is <= `term`: how both sides of a conflict skip whole terms (5.3). What is
   * no longer kept counts as such: there is no conflict in what was committed.
   */
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
    const kept = logIndex(Math.max(first, this.firstIndex))
    if (kept > end) return null
    const run = this.#runs[this.#runAt(kept)]
    if (run?.term !== term) return kept
    const next = this.#runs[this.#runAt(kept) + 1]
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
    if (block.term !== this.#runs.at(-1)?.term) this.#runs.push({ first: block.first, term: block.term })
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
      // Of a block that reaches below the first entry nothing may be left.
      if (block.first < from && from > this.#firstIndex) {
        cut = this.#maker.slice(block, block.first, logIndex(from - 1))
      }
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
   * The log stands on a snapshot of this server's own from now on; the entries before `first` go. Invariants:
   * firstIndex <= first <= snapshot.index + 1, everything that it covers is applied.
   */
  compact(first: LogIndex, snapshot: SnapshotMeta): void {
    assert(
      snapshot.index <= this.#appliedIndex,
      () => `log: a snapshot at ${snapshot.index}, applied is ${this.#appliedIndex}`,
    )
    assert(
      this.#firstIndex <= first && first <= snapshot.index + 1,
      () => `log: compaction to ${first} from ${this.#firstIndex}, behind a snapshot at ${snapshot.index}`,
    )
    this.#standOn(snapshot)
    this.#forgetBefore(first)
  }

  /**
   * The log stands on a snapshot of another server from now on: everything that it covers is committed, and goes. What
   * follows stays only where the entry at its end is the same here; else all of it goes (scenarios N1, N2). Answers
   * with whether it stays.
   */
  install(snapshot: SnapshotMeta): boolean {
    const { index, term } = snapshot
    assert(index > this.#commitIndex, () => `log: a snapshot at ${index} received, committed is ${this.#commitIndex}`)
    const keepSuffix = this.termAt(index) === term
    this.#standOn(snapshot)
    if (keepSuffix) {
      this.#forgetBefore(logIndex(index + 1))
    } else {
      this.#durableIndex = logIndex(Math.min(this.#durableIndex, this.#commitIndex))
      this.#tail = []
      this.#ends = []
      this.#head = 0
      this.#runs.length = 0
      this.#configurations.length = 1
      this.#firstIndex = logIndex(index + 1)
      this.#prevTerm = term
      this.#lastIndex = index
    }
    this.#commitIndex = index
    this.#openedIndex = logIndex(Math.max(Math.min(this.#openedIndex, this.#lastIndex), index))
    this.#isRestoreDue = true
    return keepSuffix
  }

  /** The state machine holds what a snapshot at `index` holds. */
  restoredTo(index: LogIndex): void {
    assert(index >= this.#appliedIndex, () => `log: restored to ${index} after ${this.#appliedIndex}`)
    this.#appliedIndex = index
    // Another snapshot may have been received meanwhile.
    this.#isRestoreDue = index < this.#firstIndex - 1
  }

  /** The configurations that a snapshot covers are forgotten but for the one that it carries. */
  #standOn(snapshot: SnapshotMeta): void {
    const kept = configurationsOn(snapshot, this.#configurations)
    this.#configurations.splice(0, this.#configurations.length, ...kept)
    this.#snapshot = snapshot
  }

  #forgetBefore(first: LogIndex): void {
    const prevTerm = this.termAt(logIndex(first - 1))
    assert(prevTerm !== null, `log: no term at ${first - 1}`)
    this.#prevTerm = prevTerm
    const at = first > this.#lastIndex ? this.#runs.length : this.#runAt(first)
    this.#runs.splice(0, at)
    const [run] = this.#runs
    if (run !== undefined && run.first < first) this.#runs[0] = { first, term: run.term }
    this.#firstIndex = first
    while ((this.#tail[this.#head]?.last ?? Infinity) < first) {
      this.#tail[this.#head] = undefined
      this.#head += 1
    }
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

/** Of these the ones behind a snapshot, and before them the one that it carries. Ascending as they were. */
function configurationsOn(
  snapshot: SnapshotMeta | null,
  configurations: readonly ConfigurationAt[],
): ConfigurationAt[] {
  if (snapshot === null) return [...configurations]
  const { index, configurationIndex, configuration } = snapshot
  return [{ index: configurationIndex, configuration }, ...configurations.filter((at) => at.index > index)]
}
