/** Which worlds a command line asks for: one, a range, those of a plan, or those from the clock on. */

import { wholeNumber } from '../whole-number.mjs'

export function seedsOf({ seed, seeds, seconds }, planned) {
  if (planned !== null) {
    if (seed !== undefined || seeds !== undefined)
      throw new Error('--plan holds its own seed: leave out --seed and --seeds')
    return { first: planned.plan.seed, last: planned.plan.seed }
  }
  if (seed !== undefined && seeds !== undefined) throw new Error('--seed and --seeds exclude each other')
  if (seed !== undefined) {
    const only = wholeNumber('--seed', seed, 0, 2 ** 32 - 1)
    return { first: only, last: only }
  }
  if (seeds !== undefined) {
    const [, from, to] = /^(\d+)\.\.(\d+)$/.exec(seeds) ?? []
    if (from === undefined || to === undefined) throw new Error(`--seeds is ${seeds}; it must look like 1..1000`)
    const first = wholeNumber('--seeds', from, 0, 2 ** 32 - 1)
    return { first, last: wholeNumber('--seeds', to, first, 2 ** 32 - 1) }
  }
  if (seconds === undefined) return { first: 1, last: 100 }
  return { first: Math.floor(Math.random() * 2 ** 31), last: 2 ** 32 - 1 }
}
