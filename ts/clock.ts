/**
 * The machine's clocks and timers. The only file of the library that touches them; everything else is given a `Clock`.
 */

import type { Clock } from './types.js'

export function systemClock(): Clock {
  return {
    now: () => performance.now(),
    wallNow: () => Date.now(),
    setTimer(delayMs, callback) {
      const timer = setTimeout(callback, delayMs)
      return () => clearTimeout(timer)
    },
    // The check phase: libuv has polled everything there is.
    defer: (callback) => void setImmediate(callback),
  }
}

/**
 * A clock that users bring, so that its `now` never falls: many tell the date, which somebody sets back. Time then goes
 * on from where it was, as fast as that clock; what is no number does not count.
 */
export function guardedClock(clock: Clock): Clock {
  let last = clock.now()
  /** What is added to its time: the sum of all steps back. */
  let lostMs = 0
  return {
    ...(clock.bootNow === undefined ? {} : { bootNow: () => clock.bootNow?.() ?? Infinity }),
    now() {
      const at = clock.now() + lostMs
      if (at >= last && at < Infinity) last = at
      else if (Number.isFinite(at)) lostMs += last - at
      return last
    },
    wallNow: () => clock.wallNow(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
    defer: (callback) => clock.defer(callback),
  }
}
