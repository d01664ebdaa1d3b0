/**
 * What the files of a file store mean: each operation carried out on the few things that are held in memory. The log is
 * held as the places of its blocks, twenty bytes for each, never as entries; a truncation or a compaction inside a
 * block only moves the end, or the beginning, of what counts of it.
 */

import type { Checkpoint } from '../../format/file-checkpoint.js'
import { MalformedBytes } from '../../format/malformed.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, HardState, LogIndex, SnapshotMeta, StoreOperation, Term, TermRun } from '../../types.js'
import { BlockPlaces } from '../block-places.js'
import type { StoredState } from '../log-store.js'

type Compact = Extract<StoreOperation, { readonly type: 'compact' }>

/** The ends of the log and the hard state: what decides whether an operation may follow. */
export class LogHead {
  firstIndex = logIndex(1)
  /** The term of the entry before it. */
  prevTerm = termOf(0)
  snapshot: SnapshotMeta | null = null
  lastIndex = logIndex(0)
  hardState: HardState = { term: termOf(0), votedFor: null, commitIndex: logIndex(0) }
  /** Of firstIndex .. lastIndex. */
  termRuns: TermRun[] = []

  static of(state: Omit<Checkpoint, 'bootCounter' | 'facts'>): LogHead {
    const head = new LogHead()
    head.firstIndex = state.firstIndex
    head.prevTerm = state.prevTerm
    head.snapshot = state.snapshot
    head.lastIndex = state.lastIndex
    head.hardState = state.hardState
    head.termRuns = [...state.termRuns]
    return head
  }

  copy(): LogHead {
    return LogHead.of(this)
  }

  /** Takes one step; answers with the rule that it breaks, or null. */
  // Hot path: once per operation.
  step(operation: StoreOperation): string | null {
    switch (operation.type) {
      case 'append':
        return this.#append(operation.block)
      case 'truncateSuffix':
        return this.#truncateSuffix(operation.from)
      case 'compact':
        return this.#compact(operation)
      case 'hardState':
        return this.#setHardState(operation.hardState)
      case 'put':
      case 'delete':
        return null
      default:
        throw new TypeError(`unknown store operation ${JSON.stringify(operation satisfies never)}`)
    }
  }

  #append({ first, last, term }: Block): string | null {
    const lastRun = this.termRuns.at(-1)
    const lastTerm = lastRun?.term ?? this.prevTerm
    if (first !== this.lastIndex + 1) return `a block from ${first} behind index ${this.lastIndex}`
    if (term < lastTerm) return `a block of term ${term} behind term ${lastTerm}`
    if (lastRun === undefined || term > lastTerm) this.termRuns.push({ first, term })
    this.lastIndex = last
    return null
  }

  #truncateSuffix(from: LogIndex): string | null {
    const { firstIndex, lastIndex } = this
    if (from < firstIndex || from > lastIndex)
      return `a truncation from ${from} in a log of ${firstIndex} .. ${lastIndex}`
    this.lastIndex = logIndex(from - 1)
    while ((this.termRuns.at(-1)?.first ?? 0) >= from) this.termRuns.pop()
    return null
  }

  #compact(operation: Compact): string | null {
    const { first, prevTerm, snapshot, keepSuffix } = operation
    const violation = this.#compactionFault(operation)
    if (violation !== null) return violation
    this.firstIndex = first
    this.prevTerm = prevTerm
    this.snapshot = snapshot
    if (!keepSuffix) this.lastIndex = snapshot.index
    this.termRuns = keepSuffix ? runsFrom(this.termRuns, first, this.lastIndex) : []
    return null
  }

  /** The invariants of the contract; and what it says of entries must be what the log says, where that knows them. */
  #compactionFault({ first, prevTerm, snapshot, keepSuffix }: Compact): string | null {
    const { index, term } = snapshot
    if (first < this.firstIndex || first > index + 1)
      return `a compaction of ${this.firstIndex} .. ${index} to ${first}`
    if (index < (this.snapshot?.index ?? 0)) return `a snapshot at ${index} behind one at ${this.snapshot?.index}`
    if (!keepSuffix) {
      if (first !== index + 1) return `a compaction to ${first} that keeps nothing, not right behind ${index}`
      return prevTerm === term ? null : `entry ${index} of term ${prevTerm} under a snapshot of term ${term}`
    }
    if (index > this.lastIndex) return `a snapshot at ${index} that keeps a log up to ${this.lastIndex}`
    if ((this.#termAt(index) ?? term) !== term) return `a snapshot at ${index} of term ${term}, which the log has not`
    const known = this.#termAt(logIndex(first - 1)) ?? prevTerm
    return known === prevTerm ? null : `entry ${first - 1} of term ${prevTerm}, which has term ${known}`
  }

  /** Null where the log no longer says. */
  #termAt(index: LogIndex): Term | null {
    if (index < this.firstIndex) return index === this.firstIndex - 1 ? this.prevTerm : null
    return this.termRuns.findLast(({ first }) => first <= index)?.term ?? null
  }

  /** The term never goes back, and a vote is cast once in a term (figure 2). */
  #setHardState(next: HardState): string | null {
    const { term, votedFor } = this.hardState
    if (next.term < term) return `a hard state of term ${next.term} behind term ${term}`
    if (next.term === term && votedFor !== null && next.votedFor !== votedFor) return `a second vote in term ${term}`
    this.hardState = { term: next.term, votedFor: next.votedFor, commitIndex: next.commitIndex }
    return null
  }
}

/** The part of the runs from `first` on. */
function runsFrom(runs: readonly TermRun[], first: LogIndex, last: LogIndex): TermRun[] {
  if (first > last) return []
  const at = runs.findLastIndex((run) => run.first <= first)
  return runs.slice(at).map((run, n) => (n === 0 ? { first, term: run.term } : run))
}

export class FileImage {
  readonly head: LogHead
  readonly places = new BlockPlaces()
  readonly facts: Map<string, Uint8Array>
  readonly configurations: StoredState['configurations'][number][] = []
  /** Of the last open; 0 when there was none. */
  bootCounter: number

  constructor(checkpoint: Checkpoint) {
    this.head = LogHead.of(checkpoint)
    this.facts = new Map(checkpoint.facts)
    this.bootCounter = checkpoint.bootCounter
  }

  checkpoint(): Checkpoint {
    const { firstIndex, prevTerm, lastIndex, snapshot, hardState, termRuns } = this.head
    const { bootCounter, facts } = this
    return { bootCounter, firstIndex, prevTerm, lastIndex, snapshot, hardState, termRuns, facts }
  }

  /** Whether each entry of the log lies in a segment that was read. */
  get isWhole(): boolean {
    const { firstIndex, lastIndex } = this.head
    return firstIndex > lastIndex || (this.places.count > 0 && this.places.firstOf(0) <= firstIndex)
  }

  /** The place of the first block that counts; null when none does. What lies before it is no longer needed. */
  get neededFrom(): number | null {
    return this.places.count > 0 ? this.places.positionOf(0) : null
  }

  /**
   * Carries out the operations of a batch whose body, `body`, lies at `position` of the log: blocks and values are
   * views of it. Throws MalformedBytes when the rules of the log are broken.
   */
  // Hot path: once per batch.
  apply(operations: readonly StoreOperation[], body: Uint8Array, position: number): void {
    for (const operation of operations) {
      const violation = this.head.step(operation)
      if (violation !== null) throw new MalformedBytes('operations', violation)
      switch (operation.type) {
        case 'append': {
          const { first, data, configuration } = operation.block
          this.places.push(first, position + (data.byteOffset - body.byteOffset), data.length)
          if (configuration !== null) this.configurations.push({ index: first, configuration })
          break
        }
        case 'truncateSuffix':
          this.places.truncateSuffix(operation.from)
          while ((this.configurations.at(-1)?.index ?? 0) >= operation.from) this.configurations.pop()
          break
        case 'compact':
          this.#dropFront()
          break
        case 'hardState':
          break
        case 'put':
          // A copy: a view would keep all of the body alive.
          this.facts.set(operation.key, operation.value.slice())
          break
        case 'delete':
          this.facts.delete(operation.key)
          break
        default:
          throw new TypeError(`unknown store operation ${JSON.stringify(operation satisfies never)}`)
      }
    }
  }

  /** Of a log that was replaced by a snapshot nothing is left, whatever indexes it had. */
  #dropFront(): void {
    const { firstIndex, lastIndex } = this.head
    if (firstIndex > lastIndex) this.places.clear()
    else this.places.truncatePrefix(firstIndex)
    const kept = this.configurations.findIndex(({ index }) => firstIndex <= index && index <= lastIndex)
    this.configurations.splice(0, kept === -1 ? this.configurations.length : kept)
  }
}
