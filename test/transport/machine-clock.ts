/** The machine's clock, for tests of what talks to real sockets, and a count of the timers that it has left. */

import type { CancelTimer, Clock } from '#balsa/types.js'

export class MachineClock implements Clock {
  /** Timers set and neither fired nor cancelled. */
  readonly pending = new Set<NodeJS.Timeout>()

  now(): number {
    return performance.now()
  }

  wallNow(): number {
    return Date.now()
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    const timer = setTimeout(() => {
      this.pending.delete(timer)
      callback()
    }, delayMs)
    this.pending.add(timer)
    return () => {
      this.pending.delete(timer)
      clearTimeout(timer)
    }
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }
}
