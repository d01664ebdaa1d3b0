/** Counts values by size, in fixed buckets: a value costs a walk over some numbers, and no memory. */

import type { Distribution, Labels } from './metric.js'

/** In seconds: from a state machine in memory to a disk that hangs. */
const BOUNDS: readonly number[] = [
  ...[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1],
  ...[0.25, 0.5, 1, 2.5, 5, 10],
]

export class Histogram {
  /** One more than there are bounds: the last is for what lies above all of them. */
  readonly #counts = new Float64Array(BOUNDS.length + 1)
  #sum = 0

  /** `times` values of that size. Hot path: once per batch. */
  observe(milliseconds: number, times = 1): void {
    const seconds = Math.max(0, milliseconds / 1000)
    let at = 0
    while (at < BOUNDS.length && seconds > (BOUNDS[at] ?? Infinity)) at += 1
    this.#counts[at] = (this.#counts[at] ?? 0) + times
    this.#sum += seconds * times
  }

  distribution(labels: Labels): Distribution {
    let count = 0
    const buckets = Array.from(this.#counts, (times, at) => {
      count += times
      return Object.freeze({ le: BOUNDS[at] ?? Infinity, count })
    })
    return Object.freeze({ labels, buckets: Object.freeze(buckets), sum: this.#sum, count })
  }
}
