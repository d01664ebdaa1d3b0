/**
 * Where random tests get their seed: from `BALSA_SEED` when it is set, so that a red run can be replayed, and from the
 * clock otherwise. The numbers come from mulberry32, which is small, and the same on every machine.
 */

/** Draws from 0 (inclusive) to 1 (exclusive). */
export type Random = () => number

/** The seed of this run. The test prints it when it fails: `BALSA_SEED=<seed> npm test -- <file>` replays it. */
export function drawSeed(): number {
  const given = process.env['BALSA_SEED']
  if (given === undefined) return Date.now() % 2 ** 32
  const seed = Number(given)
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new RangeError(`BALSA_SEED is ${given}: it must be a whole number in 0 .. 2^32 - 1`)
  }
  return seed
}

export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A whole number in 0 .. bound - 1. */
export function below(random: Random, bound: number): number {
  return Math.floor(random() * bound)
}

/** One element of a list that is not empty. */
export function pick<Item>(random: Random, items: readonly Item[]): Item {
  const item = items[below(random, items.length)]
  if (item === undefined) throw new RangeError('pick needs at least one item')
  return item
}

/** A whole number in lo .. hi - 1. */
export function randomInt(random: Random, lo: number, hi: number): number {
  return lo + below(random, hi - lo)
}

/** One element; undefined of an empty list. */
export function maybePick<Item>(random: Random, items: readonly Item[]): Item | undefined {
  return items[below(random, items.length)]
}
