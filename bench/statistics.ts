/** Figures of several rounds, and of many latencies. */

import type { Sample } from './suite.js'

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Per metric that any round has. */
export function spreads(rounds: readonly Sample[]): Readonly<Record<string, Spread>> {
  const keys = new Set(rounds.flatMap((sample) => Object.keys(sample)))
  return Object.fromEntries(
    [...keys].map((key) => {
      const values = rounds.map((sample) => sample[key]).filter((value) => value !== undefined)
      return [key, spreadOf(values)]
    }),
  )
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
  return { median, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}

export function overlap(a: Spread, b: Spread): boolean {
  return a.min <= b.max && b.min <= a.max
}

/** The value that the given share of `sorted` does not exceed (nearest rank). */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}
