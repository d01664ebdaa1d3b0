/**
 * A batch of worlds for a bounded time, from a seed that is printed; what failed is told with the line that replays it.
 */

import { assert as assertFact } from '#balsa/errors.js'
import { MUST_REACH, formatCounts } from '#balsa/testing/simulator/batch.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import { drawSeed } from '../support/seed.js'

const STEPS = 5000
/** Below this many steps, such as on a machine that is busy, a batch is not asked for rare situations. */
const JUDGED_STEPS = 300_000

/** `part` of `parts`: together they cover consecutive seeds, from one that `BALSA_SEED` may set. */
export async function runBatch(part: number, parts: number, seconds: number): Promise<void> {
  const first = drawSeed()
  console.log(`swarm: part ${part} of ${parts}, from seed ${first}; BALSA_SEED=${first} begins there again`)
  const reached = new Map<string, number>()
  const begin = performance.now()
  let [worlds, steps] = [0, 0]
  for (let at = part - 1; performance.now() - begin < seconds * 1000; at += parts) {
    const seed = (first + at) % 2 ** 32
    const result = await simulate({ seed, steps: STEPS })
    worlds += 1
    steps += result.steps
    for (const [what, times] of result.reached) reached.set(what, (reached.get(what) ?? 0) + times)
    if (result.failure === null) continue
    console.error(`swarm: replay it with npm run sim -- --seed ${seed} --steps ${STEPS} --trace`)
    throw result.failure
  }
  console.log(`swarm: ${worlds} worlds, ${steps} core steps`)
  const missed = MUST_REACH.filter((what) => !reached.has(what))
  if (steps < JUDGED_STEPS) return
  assertFact(missed.length === 0, `swarm: never reached: ${missed.join(', ')}; reached\n${formatCounts(reached)}`)
}
