/** What the clients of an example are given: whom to ask, where to count, and when to end. */

import { Tally } from './tally.js'

/** So long clients may go on to finish what they have begun: until leases have ended, and after an election. */
const LATE_MS = 6000

export class Run {
  readonly urls: readonly string[]
  readonly tally = new Tally()
  #endedAt = Infinity

  constructor(urls: readonly string[]) {
    this.urls = urls
  }

  /** Whether clients are to begin nothing new. */
  get isOver(): boolean {
    return this.#endedAt < Infinity
  }

  /** Whether they are to end as they stand. */
  get isLate(): boolean {
    return performance.now() > this.#endedAt + LATE_MS
  }

  end(): void {
    this.#endedAt = performance.now()
  }
}
