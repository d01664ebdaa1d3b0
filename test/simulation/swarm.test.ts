/**
 * The swarm: random worlds for a bounded time, each with faults of its own, all invariants on, from a seed that is
 * printed; what failed is told with the line that replays it. The seeds are new each time, and `.ci/run` is where
 * worlds run for long. What worlds must have been in is asked of `npm run sim`, whose seeds are fixed: of seeds drawn
 * anew it would be a matter of luck.
 */

import { test } from 'uvu'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import { drawSeed } from '../support/seed.js'

const STEPS = 5000
const SECONDS = 5

test('no world of the swarm breaks an invariant or fails to recover', async () => {
  const first = drawSeed()
  console.log(`swarm: from seed ${first}; BALSA_SEED=${first} begins there again`)
  const begin = performance.now()
  let [worlds, steps] = [0, 0]
  for (; performance.now() - begin < SECONDS * 1000; worlds += 1) {
    const seed = (first + worlds) % 2 ** 32
    const result = await simulate({ seed, steps: STEPS })
    steps += result.steps
    if (result.failure === null) continue
    console.error(`swarm: replay it with npm run sim -- --seed ${seed} --steps ${STEPS} --trace`)
    throw result.failure
  }
  console.log(`swarm: ${worlds} worlds, ${steps} core steps`)
})

test.run()
