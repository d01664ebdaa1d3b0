/** Causes faults, as often and as variously as the plan of the world says, until the world is mended. */

import { faults } from './faults.js'
import { FAULT_NAMES } from './fault-names.js'
import type { FaultName } from './fault-names.js'
import type { SeededRandom } from '../random.js'
import type { Actor, World } from '../world.js'

export class Nemesis implements Actor {
  start(world: World): void {
    const random = world.random.fork()
    const names = FAULT_NAMES.filter((name) => (world.plan.faults[name] ?? 0) > 0)
    if (names.length > 0) this.#wait(world, random, names)
  }

  #wait(world: World, random: SeededRandom, names: readonly FaultName[]): void {
    world.queue.after(random.exponential(world.plan.faultEveryMs), () => {
      if (world.isMended) return
      const name = draw(world, random, names)
      const detail = faults[name](world, random)
      if (detail !== null) world.observers.fault(name, detail)
      this.#wait(world, random, names)
    })
  }
}

function draw(world: World, random: SeededRandom, names: readonly FaultName[]): FaultName {
  let total = 0
  for (const name of names) total += world.plan.faults[name] ?? 0
  let left = random.next() * total
  for (const name of names) {
    left -= world.plan.faults[name] ?? 0
    if (left < 0) return name
  }
  return random.pick(names)
}
