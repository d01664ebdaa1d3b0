/**
 * How fast the simulator is: worlds of the swarm, whole, with all invariants on; the steps are the inputs of the cores.
 */

import { simulate } from '#balsa/testing/simulator/simulate.js'
import type { Settings } from '../settings.js'
import type { OpenSuite, Sample, Suite } from '../suite.js'

/** Core steps of one world, as `npm run sim` has them. */
const STEPS = 10_000

export const sim: Suite = {
  name: 'sim',
  purpose: 'the simulator: worlds of the swarm one after another on one core, all invariants on',
  minutes: 1,
  rounds: 5,
  seconds: 8,
  metrics: [
    { key: 'stepsPerSecond', head: 'core steps/s', digits: 0 },
    { key: 'stepsPerCpuSecond', head: 'core steps/CPU s', digits: 0 },
    { key: 'worldsPerSecond', head: 'worlds/s', digits: 1 },
  ],
  judged: { key: 'stepsPerSecond', better: 'more' },
  open,
}

/** Until the engine has compiled what runs often: in the first ten seconds it is busier with that than with worlds. */
const WARM_UP_WORLDS = 60

/** Every round runs the same worlds, as far as it comes. */
async function open(settings: Settings): Promise<OpenSuite> {
  for (let seed = 1; seed <= WARM_UP_WORLDS; seed += 1) await simulate({ seed, steps: STEPS })
  const measure = async (): Promise<Sample> => {
    const begin = performance.now()
    const cpuBegin = process.cpuUsage()
    let [worlds, steps, elapsed] = [0, 0, 0]
    while (elapsed < settings.seconds * 1000) {
      worlds += 1
      const result = await simulate({ seed: worlds, steps: STEPS })
      if (result.failure !== null) throw result.failure
      steps += result.steps
      elapsed = performance.now() - begin
    }
    const { user, system } = process.cpuUsage(cpuBegin)
    return {
      stepsPerSecond: (steps * 1000) / elapsed,
      stepsPerCpuSecond: (steps * 1e6) / (user + system),
      worldsPerSecond: (worlds * 1000) / elapsed,
    }
  }
  return {
    cases: [{ contender: 'swarm', at: { 'steps of a world': STEPS }, measure }],
    skipped: [],
    notes: [
      `${WARM_UP_WORLDS} worlds run before the first round`,
      'both phases of each world count, and everything from its plan to its verdict',
      'a CPU second is one of the whole process, its threads for compilation and garbage included: what the machine does beside it matters less',
    ],
    close: async () => {},
  }
}
