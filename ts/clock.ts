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
