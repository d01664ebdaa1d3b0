/** The time that goes into entries: the wall clock, held back so that it never runs backwards along the log. */

import { lastEntryTime } from '../format/block.js'
import type { Block, Clock } from '../types.js'

export class EntryClock {
  readonly #clock: Clock
  /** Invariant: not below the time of any entry that was in the log at start, nor of any that was made here. */
  #floor: number

  constructor(clock: Clock, lastTime: number) {
    this.#clock = clock
    this.#floor = lastTime
  }

  /** The time for the entries that follow `lastBlock`, the newest of the log. */
  next(lastBlock: Block | null): number {
    const before = lastBlock === null ? 0 : lastEntryTime(lastBlock)
    this.#floor = Math.max(this.#floor, before, Math.floor(this.#clock.wallNow()))
    return this.#floor
  }
}
