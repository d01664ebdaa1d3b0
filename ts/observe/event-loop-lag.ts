/**
 * How late the event loop is. Measured from the first time that somebody asks until `stop`: it costs a timer, which
 * does not keep the process alive.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { IntervalHistogram } from 'node:perf_hooks'

const RESOLUTION_MS = 50

/** In seconds. */
export interface Lag {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const NONE: Lag = { p50: 0, p99: 0, max: 0 }

export class EventLoopLag {
  /** Null before the first question, and after the end. */
  #histogram: IntervalHistogram | null = null
  #isStopped = false

  /** Since it was last taken; zeros for the first time, and when there was no time to measure anything. */
  take(): Lag {
    if (this.#isStopped) return NONE
    const histogram = (this.#histogram ??= begun())
    if (histogram.count === 0) return NONE
    const lag = {
      p50: secondsOf(histogram.percentile(50)),
      p99: secondsOf(histogram.percentile(99)),
      max: secondsOf(histogram.max),
    }
    histogram.reset()
    return lag
  }

  stop(): void {
    this.#isStopped = true
    this.#histogram?.disable()
    this.#histogram = null
  }
}

function begun(): IntervalHistogram {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  histogram.enable()
  return histogram
}

/** Node measures the distance of two samples, which are asked for at each resolution. */
function secondsOf(nanoseconds: number): number {
  return Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS) / 1000
}
