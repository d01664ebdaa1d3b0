/**
 * As of when local state is current: everything that was known to be committed at that moment is applied here, and the
 * leader of this term, or a quorum that follows this server, was in contact then. Neither a server that is cut off nor
 * one that does not come on, because its disk or its state machine stands still, moves it; one to which nothing new
 * happens does, with each heartbeat.
 *
 * Invariant: it never goes back, and is never later than now.
 */

import type { LogIndex, Term } from '../types.js'

/** The part of the core that this looks at. */
interface Looked {
  readonly term: Term
  readonly leaderContactAt: number
  readonly log: {
    readonly commitIndex: LogIndex
    readonly knownCommitIndex: LogIndex
    readonly appliedIndex: LogIndex
    termAt(index: LogIndex): Term | null
  }
}

export class Currency {
  /** -Infinity before the first such moment. */
  #at = -Infinity
  /** A later one, if everything up to `index` comes to be applied. */
  #next = { at: -Infinity, index: 0 }

  /** On the clock of the turns; -Infinity for never. */
  get at(): number {
    return this.#at
  }

  // Hot path: once per turn.
  look({ term, leaderContactAt, log }: Looked, now: number): void {
    this.#settle(log.appliedIndex)
    const at = Math.min(leaderContactAt, now)
    if (this.#next.at > this.#at || at <= this.#at) return
    // What a leader of an older term committed says nothing yet: its own term must have (8).
    if (log.termAt(log.commitIndex) !== term) return
    this.#next = { at, index: log.knownCommitIndex }
    this.#settle(log.appliedIndex)
  }

  #settle(appliedIndex: LogIndex): void {
    if (appliedIndex >= this.#next.index) this.#at = Math.max(this.#at, this.#next.at)
  }
}
