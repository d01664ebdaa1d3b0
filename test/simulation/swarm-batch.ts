/**
 * A batch of worlds for a bounded time, from a seed that is printed; what failed is told with the line that replays it.
 * What worlds must have been in is asked of `npm run sim`, whose seeds are fixed: of seeds drawn anew it would be a
 * matter of luck.
 */

import { simulate } from '#balsa/testing/simulator/simulate.js'
import { drawSeed } from '../support/seed.js'

const STEPS = 5000

/** `part` of `parts`: together they cover consecutive seeds, from one that `BALSA_SEED` may set. */
export async function runBatch(part: number, parts: number, seconds: number): Promise<void> {
  const first = drawSeed()
  console.log(`swarm: part ${part} of ${parts}, from seed ${first}; BALSA_SEED=${first} begins there again`)
  const begin = performance.now()
  let [worlds, steps] = [0, 0]
  for (let at = part - 1; performance.now() - begin < seconds * 1000; at += parts) {
    const seed = (first + at) % 2 ** 32
    const result = await simulate({ seed, steps: STEPS })
    worlds += 1
    steps += result.steps
    if (result.failure === null) continue
    console.error(`swarm: replay it with npm run sim -- --seed ${seed} --steps ${STEPS} --trace`)
    throw result.failure
  }
  console.log(`swarm: ${worlds} worlds, ${steps} core steps`)
}
