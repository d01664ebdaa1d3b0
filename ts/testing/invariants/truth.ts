/**
 * What is true of all servers together, kept naively beside them: every entry that any of them has accepted, who has
 * led which term, and the one sequence of entries that was committed. Nothing here is taken back; a cluster that is
 * recovered from a lost quorum begins another truth.
 */

import { assert } from '../../errors.js'
import type { Block, LogIndex, ServerId, TermRun } from '../../types.js'
import type { DurableView } from '../observer.js'
import { hold } from './violation.js'

/**
 * Reads blocks entry by entry: `begin`, then `next` until it answers false. How they are sealed only their maker knows.
 */
export interface EntryReader {
  /** Whether the bytes are still those that were sealed. */
  isIntact(block: Block): boolean
  begin(block: Block): void
  next(): boolean
  /** Of the entry: a number that stands for its index, its term and everything in it. */
  readonly fingerprint: number
  /** Of the entry: the id of its command; 0 for what is no command. */
  readonly command: number
}

/** An entry under one index and term; there can be only one (log matching, 5.3). */
export interface KnownEntry {
  readonly term: number
  readonly fingerprint: number
  /** The term of the entry before it. */
  readonly prevTerm: number
  readonly command: number
}

interface Leadership {
  readonly id: ServerId
  /** Its log when it began to lead; everything behind that is of its own term. */
  readonly runs: readonly TermRun[]
  readonly firstOfTerm: number
}

export class Truth {
  /** Entry i at position i; position 0 is not used. */
  readonly committed: KnownEntry[] = [{ term: 0, fingerprint: 0, prevTerm: 0, command: 0 }]
  /**
   * The term of the leader that committed entry i first, at position i; 0 for what was committed before the run began.
   */
  readonly committedIn: number[] = [0]
  /** The term of committed entry i, at position i: the same that `committed` says, in a list that is quick to copy. */
  readonly committedTerms: number[] = [0]
  /** Commands among the first i committed entries, at position i. */
  readonly commandsUpTo: number[] = [0]
  /** The state machine's hash once it has applied up to an index; the same everywhere. */
  readonly hashes: (number | undefined)[] = []
  /** By index: what was ever accepted there. */
  readonly #known: KnownEntry[][] = []
  readonly #leaderships = new Map<number, Leadership>()
  readonly #entries: EntryReader

  constructor(entries: EntryReader) {
    this.#entries = entries
  }

  get commitIndex(): number {
    return this.committed.length - 1
  }

  find(index: number, term: number): KnownEntry | null {
    const there = this.#known[index]
    if (there === undefined) return null
    for (const entry of there) if (entry.term === term) return entry
    return null
  }

  /** Hot path: once per block that a server accepts. Invariant 4. */
  accept(who: ServerId, block: Block, prevTerm: number): void {
    const entries = this.#entries
    entries.begin(block)
    let before = prevTerm
    for (let index: number = block.first; entries.next(); index += 1) {
      const known = this.find(index, block.term)
      if (known === null) this.#add(index, block.term, before)
      else {
        hold(known.fingerprint === entries.fingerprint && known.prevTerm === before, 4, () => {
          return `${who} accepts another entry ${index} of term ${block.term} than is known`
        })
      }
      before = block.term
    }
  }

  /** What has rotted on a disk is no entry that anybody has accepted. */
  isIntact(block: Block): boolean {
    return this.#entries.isIntact(block)
  }

  /** Hot path: once per block that is sent. Whether these are exactly the entries that were accepted. */
  isKnown(block: Block): boolean {
    const entries = this.#entries
    if (!entries.isIntact(block)) return false
    entries.begin(block)
    for (let index: number = block.first; entries.next(); index += 1) {
      if (this.find(index, block.term)?.fingerprint !== entries.fingerprint) return false
    }
    return true
  }

  /** A server begins to lead a term. Invariant 1: nobody else ever does (5.2). */
  lead(term: number, id: ServerId, runs: readonly TermRun[], firstOfTerm: number): void {
    const before = this.#leaderships.get(term)
    hold(before === undefined, 1, () => `term ${term} has two leaders, ${before?.id} and ${id}`)
    this.#leaderships.set(term, { id, runs: [...runs], firstOfTerm })
  }

  leaderOf(term: number): ServerId | null {
    return this.#leaderships.get(term)?.id ?? null
  }

  /** The term of an entry in the log of the leader of a term; 0 before the log, or where nobody has led it. */
  termWithLeaderOf(term: number, index: number): number {
    const leadership = this.#leaderships.get(term)
    if (leadership === undefined || index === 0) return 0
    if (index >= leadership.firstOfTerm) return term
    // What it no longer kept when it began was committed.
    if (index < (leadership.runs[0]?.first ?? leadership.firstOfTerm)) return this.committed[index]?.term ?? 0
    let found = 0
    for (const run of leadership.runs) if (run.first <= index) found = run.term
    return found
  }

  /** The term of an entry that a crash would leave, in the log or in the snapshot on which that stands; else null. */
  durableTerm(durable: DurableView, index: LogIndex): number | null {
    if (index <= (durable.snapshot?.index ?? 0)) return this.committed[index]?.term ?? null
    return durable.termAt(index)
  }

  /**
   * What is true once a cluster is recovered from this log: all of it is committed, whether it was before or not, and
   * nothing else is. Who led before, and what others have written then, is of another cluster.
   */
  recoveredFrom(log: DurableView): Truth {
    const next = new Truth(this.#entries)
    const covered = log.snapshot?.index ?? 0
    for (let index = 1; index <= log.lastIndex; index += 1) {
      const isCovered = index <= covered
      const entry = isCovered ? this.committed[index] : this.find(index, log.termAt(index as LogIndex) ?? 0)
      assert(entry !== undefined && entry !== null, () => `entry ${index} of a log was never written`)
      next.#known[index] = [entry]
      next.commit(entry, 0)
    }
    const kept = this.agreesUpTo(next)
    for (let index = 1; index <= kept; index += 1) next.hashes[index] = this.hashes[index]
    return next
  }

  /** Up to where both have committed the same: where two logs agree, they do so all the way before (5.3). */
  agreesUpTo({ committedTerms }: Truth): number {
    let index = Math.min(this.commitIndex, committedTerms.length - 1)
    while (this.committedTerms[index] !== committedTerms[index]) index -= 1
    return index
  }

  commit(entry: KnownEntry, inTerm: number): void {
    this.committed.push(entry)
    this.committedIn.push(inTerm)
    this.committedTerms.push(entry.term)
    this.commandsUpTo.push((this.commandsUpTo.at(-1) ?? 0) + (entry.command === 0 ? 0 : 1))
  }

  #add(index: number, term: number, prevTerm: number): void {
    const { fingerprint, command } = this.#entries
    const there = this.#known[index]
    const entry = { term, fingerprint, prevTerm, command }
    if (there === undefined) this.#known[index] = [entry]
    else there.push(entry)
  }
}
