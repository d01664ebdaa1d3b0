/**
 * The time that goes into entries. It passes as the monotonic clock does, whatever somebody does to the date: a leader
 * bends it towards its wall clock, a follower takes it from the entries that reach it, and a new leader goes on from
 * there.
 *
 * Invariants: along the log it never falls. While `ms` pass, the time of a leader's entries grows by `ms`, give or take
 * `SLEW * ms`: it neither jumps nor stands still, however wrong the wall clock is, or the last entry
 * (docs/architecture.md, Time).
 */

import { lastEntryTime, MILLISECONDS_BELIEVED_END, MILLISECONDS_END } from '../format/block.js'
import type { Block, Clock, Logger } from '../types.js'
import type { ClockStatus } from './status.js'

/** How much faster or slower than the monotonic clock entry time may be: an hour is made up for in 20. */
const SLEW = 1 / 20
/** The wall clock is looked at so often at most: many turns pass in one such time. */
const LOOK_EVERY_MS = 5
/**
 * The longest time between two looks that counts for the slew: after a pause the wall clock proves no more than before
 * it.
 */
const LOOK_MS_MAX = 1000
/** A wall clock that moves by so much against the monotonic one was set, or the machine has slept. */
const JUMP_MS = 1000
/** At most one line in so long. */
const QUIET_MS = 1000
/** Wall clocks show whole milliseconds. */
const GRAIN_MS = 1

export class EntryClock {
  readonly #clock: Clock
  readonly #logger: Logger
  /** The monotonic clock as it was last read; what it has passed, it does not fall below. */
  #at: number
  /** The same at the last look at the wall clock. */
  #wallAt: number
  /** Entry time less monotonic time. */
  #skew: number
  /** The same for the least that must have passed since the newest entry, whoever leads. */
  #leastSkew: number
  /** Wall time less monotonic time, at the last look. */
  #wallSkew: number
  /** The newest block that was looked at, and the time of the newest entry. */
  #lastBlock: Block | null = null
  #newest: number
  /** This server led at the last look: what has come to the log since is of its own making. */
  #leads = false
  /** Jumps of the wall clock since the server was opened, and how many of them are in the log of this process. */
  #jumps = 0
  #toldJumps = 0
  /** How far the last one went: forward above 0. */
  #lastJumpMs = 0
  /** Monotonic time before which no further line is written. */
  #quietUntil = -Infinity

  /** `newest` is the time of the newest stored entry, 0 when there is none. */
  constructor(clock: Clock, logger: Logger, newest: number) {
    this.#clock = clock
    this.#logger = logger
    this.#newest = newest
    this.#at = clock.now()
    this.#wallAt = this.#at
    this.#leastSkew = newest - this.#at
    this.#wallSkew = this.#wall(newest) - this.#at
    // What passed while nothing ran here, only the wall clock can tell.
    this.#skew = Math.max(this.#leastSkew, this.#wallSkew)
    const offsetMs = Math.round(this.#wallSkew - this.#skew)
    if (offsetMs <= -JUMP_MS) logger.warn('clock.behind', { offsetMs })
  }

  /** Hot path: once per turn. `lastBlock` is the newest of the log, `now` the monotonic clock as it was just read. */
  look(lastBlock: Block | null, leads: boolean, now = this.#clock.now()): void {
    this.#pass(now)
    // Deposed since the last look: what has come meanwhile is another leader's.
    if (!leads) this.#leads = false
    this.#read(lastBlock)
    this.#leads = leads
    this.#bend(leads)
  }

  /** The time for the entries that a leader puts behind `lastBlock`, the newest of the log. */
  next(lastBlock: Block | null): number {
    this.#pass(this.#clock.now())
    this.#read(lastBlock)
    this.#bend(true)
    const time = this.#shown
    this.#newest = time
    this.#leastSkew = time - this.#at
    return time
  }

  /**
   * What an entry made now would be given, as far as this server can know; on a follower at most what its leader's
   * clock shows. A leader bends it first: otherwise its next entry could be given less than it has told.
   */
  get now(): number {
    this.#pass(this.#clock.now())
    this.#bend(this.#leads)
    return this.#shown
  }

  get #shown(): number {
    const passed = Math.floor(this.#at + this.#skew)
    return Math.min(Math.max(passed, this.#newest), MILLISECONDS_END - 1)
  }

  get status(): ClockStatus {
    const { now } = this
    return { offsetMs: Math.round(this.#wall(now) - now), jumps: this.#jumps }
  }

  /** Moves on to the present. */
  #pass(now: number): void {
    const elapsed = Math.max(now - this.#at, 0)
    this.#at += elapsed
    this.#leastSkew -= SLEW * elapsed
  }

  /**
   * An entry of another leader says what its clock showed when it was made. It may have been long on its way, so what
   * has surely passed since the one before it counts as well.
   */
  #read(lastBlock: Block | null): void {
    if (lastBlock === null || lastBlock === this.#lastBlock) return
    this.#lastBlock = lastBlock
    this.#newestIs(lastEntryTime(lastBlock))
  }

  /** The log goes on from a snapshot whose last entry had that time: none behind it may be older. */
  restored(time: number): void {
    if (time > this.#newest) this.#newestIs(time)
  }

  #newestIs(time: number): void {
    const skew = time - this.#at
    // Below one that was in the log: that one was replaced, and proves nothing.
    this.#leastSkew = time < this.#newest ? skew : Math.max(this.#leastSkew, skew)
    this.#skew = this.#leads ? Math.max(this.#skew, skew) : this.#leastSkew
    this.#newest = time
  }

  /**
   * Looks at the wall clock, if that is due; the time of a leader moves towards it, by no more than what has passed
   * since the last look allows.
   */
  #bend(leads: boolean): void {
    const elapsed = this.#at - this.#wallAt
    if (elapsed < LOOK_EVERY_MS) return
    this.#wallAt = this.#at
    this.#lookAtWall()
    if (!leads) return
    const most = SLEW * Math.min(elapsed, LOOK_MS_MAX)
    const ahead = this.#skew - this.#wallSkew
    this.#skew -= ahead < 0 ? Math.max(ahead, -most) : Math.min(Math.max(ahead - GRAIN_MS, 0), most)
  }

  /** What cannot be the time of an entry counts as `otherwise`. */
  #wall(otherwise: number): number {
    const wall = this.#clock.wallNow()
    return wall >= 0 && wall < MILLISECONDS_BELIEVED_END ? wall : otherwise
  }

  #lookAtWall(): void {
    const wallSkew = this.#wall(this.#at + this.#skew) - this.#at
    const byMs = Math.round(wallSkew - this.#wallSkew)
    this.#wallSkew = wallSkew
    if (Math.abs(byMs) >= JUMP_MS) {
      this.#jumps += 1
      this.#lastJumpMs = byMs
    }
    if (this.#toldJumps < this.#jumps && this.#at >= this.#quietUntil) this.#tell()
  }

  #tell(): void {
    const { offsetMs, jumps } = this.status
    this.#toldJumps = jumps
    this.#quietUntil = this.#at + QUIET_MS
    this.#logger.warn('clock.jumped', { byMs: this.#lastJumpMs, offsetMs, jumps })
  }
}
