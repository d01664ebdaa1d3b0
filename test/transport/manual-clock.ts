/** A clock that stands still until a test moves it. */

import type { CancelTimer, Clock } from '#balsa/types.js'

interface Timer {
  readonly due: number
  readonly callback: () => void
}

export class ManualClock implements Clock {
  /** How far the wall clock is ahead of the monotonic one: a test sets the date with it. */
  wallOffsetMs = 0
  /** How long the machine has slept: only the clock of leases counts that. Infinity: there is none. */
  sleptMs = 0
  #now = 1000
  readonly #timers = new Set<Timer>()

  get pending(): number {
    return this.#timers.size
  }

  now(): number {
    return this.#now
  }

  bootNow(): number {
    return this.#now + this.sleptMs
  }

  wallNow(): number {
    return this.#now + this.wallOffsetMs
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    const timer = { due: this.#now + delayMs, callback }
    this.#timers.add(timer)
    return () => {
      this.#timers.delete(timer)
    }
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }

  /** The delays of what is pending, shortest first. */
  delays(): readonly number[] {
    return [...this.#timers].map((timer) => timer.due - this.#now).sort((a, b) => a - b)
  }

  /** As when the process was held up: it is that much later, and then what is due fires, once. */
  leap(ms: number): void {
    this.#now += ms
    for (const timer of [...this.#timers].sort((a, b) => a.due - b.due)) {
      if (timer.due <= this.#now && this.#timers.delete(timer)) timer.callback()
    }
  }

  /** Fires what is due on the way, in order. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = [...this.#timers].sort((a, b) => a.due - b.due)[0]
      if (next === undefined || next.due > end) break
      this.#timers.delete(next)
      this.#now = next.due
      next.callback()
    }
    this.#now = end
  }
}
