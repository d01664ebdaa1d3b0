/** The seed of the random tests of one process: printed, and taken from SEED to run the same again. */

import fc from 'fast-check'

const given = process.env['SEED']
const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given)
console.log(`random tests: SEED=${seed}`)

/** Runs one property from the seed of this process. */
export async function check<T>(property: fc.IRawProperty<T>, numRuns: number): Promise<void> {
  await fc.assert(property, { seed, numRuns })
}
