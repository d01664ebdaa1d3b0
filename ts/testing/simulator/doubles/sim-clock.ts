/**
 * The clock of one simulated machine: it may drift, stand still, and be set to another date. Timers follow it, not the
 * world's time. Beside it goes the clock of leases, which drifts by little and never stands still. It outlives the
 * processes of its machine, as a real one does.
 */

import type { CancelTimer, Clock } from '../../../types.js'
import type { EventQueue, QueuedEvent } from '../event-queue.js'

/** 2026-01-01: what the wall clocks show when a world begins. */
const WALL_START_MS = 1_767_225_600_000

/** How slow and how fast the clock of leases is at the most. */
const BOOT_RATES = { least: 0.95, most: 1.05 } as const

interface Timer {
  /** On this clock. */
  readonly due: number
  readonly callback: () => void
  event: QueuedEvent | null
}

export class SimClock implements Omit<Clock, 'defer'> {
  readonly #queue: EventQueue
  /** Invariant: this clock showed #shown when the world's time was #since, and has gone at #rate from there. */
  #shown: number
  #since: number
  #bootShown = 0
  #rate = 1
  #wallOffset = 0
  readonly #timers = new Set<Timer>()

  constructor(queue: EventQueue, shown: number) {
    this.#queue = queue
    this.#shown = shown
    this.#since = queue.now
  }

  get rate(): number {
    return this.#rate
  }

  now(): number {
    return this.#shown + (this.#queue.now - this.#since) * this.#rate
  }

  bootNow(): number {
    const rate = Math.min(Math.max(this.#rate, BOOT_RATES.least), BOOT_RATES.most)
    return this.#bootShown + (this.#queue.now - this.#since) * rate
  }

  wallNow(): number {
    return Math.max(0, WALL_START_MS + this.#queue.now + this.#wallOffset)
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    const timer: Timer = { due: this.now() + delayMs, callback, event: null }
    this.#timers.add(timer)
    this.#arm(timer)
    return () => {
      this.#timers.delete(timer)
      timer.event?.cancel()
      timer.event = null
    }
  }

  /** 1 is right; 0 stands still. Never backwards: the clock is monotonic. */
  setRate(rate: number): void {
    this.#shown = this.now()
    this.#bootShown = this.bootNow()
    this.#since = this.#queue.now
    this.#rate = rate
    for (const timer of this.#timers) this.#arm(timer)
  }

  /** Somebody sets the date; the monotonic clock does not notice. */
  stepWall(ms: number): void {
    this.#wallOffset += ms
  }

  /** The process is gone, and its timers with it. */
  forgetTimers(): void {
    for (const timer of this.#timers) timer.event?.cancel()
    this.#timers.clear()
  }

  #arm(timer: Timer): void {
    timer.event?.cancel()
    timer.event = null
    if (this.#rate === 0) return
    const delay = Math.max(0, (timer.due - this.now()) / this.#rate)
    timer.event = this.#queue.call(this.#queue.now + delay, () => {
      this.#timers.delete(timer)
      timer.event = null
      timer.callback()
    })
  }
}
