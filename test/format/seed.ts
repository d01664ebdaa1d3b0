/** The seed of the properties of one process: printed, and taken from BALSA_SEED to run the same again. */

import fc from 'fast-check'
import { drawSeed } from '../support/seed.js'

/** fast-check takes 31 bits. */
const seed = drawSeed() % 2 ** 31
console.log(`random tests: BALSA_SEED=${seed}`)

/** Runs one property from the seed of this process. */
export async function check<T>(property: fc.IRawProperty<T>, numRuns: number): Promise<void> {
  await fc.assert(property, { seed, numRuns })
}
