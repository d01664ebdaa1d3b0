/**
 * When the rounds of a leadership began, on the clock that counts through suspend: what is sent in a round is sent
 * after that. Only a bounded number is remembered, a quarter of a heartbeat apart; a round between two of them counts
 * from the earlier one, and what is too old is not known.
 */

/** With four in a heartbeat: those of 32 heartbeats. A lease is shorter, or its answers have come long ago. */
const TIMES_MAX = 128
const PER_HEARTBEAT = 4

interface RoundTime {
  readonly round: number
  readonly at: number
}

export class RoundTimes {
  readonly #apartMs: number
  /** Ascending in both. */
  readonly #times: RoundTime[] = []

  constructor(heartbeatMs: number) {
    this.#apartMs = heartbeatMs / PER_HEARTBEAT
  }

  /** Nothing of that round has been sent yet. */
  began(round: number, at: number): void {
    const last = this.#times.at(-1)
    if (last !== undefined && at - last.at < this.#apartMs) return
    this.#times.push({ round, at })
    if (this.#times.length > TIMES_MAX) this.#times.shift()
  }

  /** That round, or a later one, began no earlier than this; -Infinity where that is not known. */
  beganAt(round: number): number {
    return this.#times.findLast((time) => time.round <= round)?.at ?? -Infinity
  }
}
