/**
 * Reads that wait for the leader to prove that it still leads (thesis 6.4): a read notes the commit index, a round of
 * AppendEntries is sent after it, and a quorum's answers to that round, or a later one, confirm it.
 *
 * Invariant: positions and rounds in the queue never fall. Rounds belong to one leadership (scenario R3).
 */

import type { LogIndex } from '../../types.js'

/** Waiting requests; the shell merges all reads of a turn into one, and no round lives longer than a leadership without a quorum. */
export const READS_WAITING_MAX = 8192

interface WaitingRead {
  readonly id: number
  readonly index: LogIndex
  readonly round: number
}

export class ReadIndexQueue {
  /** Came before an entry of this term was committed: their position is not known yet (scenario R1). */
  #early: number[] = []
  /** Have a position; wait for the round that will be sent in this turn. */
  #fresh: { readonly id: number; readonly index: LogIndex }[] = []
  #waiting: WaitingRead[] = []

  get full(): boolean {
    return this.#early.length + this.#fresh.length + this.#waiting.length >= READS_WAITING_MAX
  }

  /** `commitIndex` is null while nothing of this term is committed. */
  add(id: number, commitIndex: LogIndex | null): void {
    if (commitIndex === null) this.#early.push(id)
    else this.#fresh.push({ id, index: commitIndex })
  }

  /** An entry of this term is committed: reads that waited for that get their position. */
  positionKnown(commitIndex: LogIndex): void {
    for (const id of this.#early) this.#fresh.push({ id, index: commitIndex })
    this.#early = []
  }

  get needsRound(): boolean {
    return this.#fresh.length > 0
  }

  /** A round begins after all the reads that have a position. */
  startRound(round: number): void {
    for (const read of this.#fresh) this.#waiting.push({ ...read, round })
    this.#fresh = []
  }

  /** Removes and returns the reads that a quorum's answers to `round` confirm. */
  confirm(round: number): readonly { readonly id: number; readonly index: LogIndex }[] {
    let confirmed = 0
    while ((this.#waiting[confirmed]?.round ?? Infinity) <= round) confirmed += 1
    return confirmed === 0 ? [] : this.#waiting.splice(0, confirmed)
  }

  /** Every read still here, for a leadership that ends. */
  drain(): readonly number[] {
    const ids = [...this.#waiting.map((read) => read.id), ...this.#fresh.map((read) => read.id), ...this.#early]
    this.#waiting = []
    this.#fresh = []
    this.#early = []
    return ids
  }
}
