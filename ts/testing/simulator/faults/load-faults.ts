/** Clients that ask for more than there is room for. */

import type { Fault } from './fault.js'
import { leaderOf, spell } from './fault.js'
import type { FaultName } from './fault-names.js'

/** One more than a server lets wait (8192), in calls of this many commands. */
const FLOOD_CALLS = 33
const FLOOD_COMMANDS = 256

export const loadFaults: Readonly<Record<('rush' | 'flood') & FaultName, Fault>> = {
  rush: (world, random) => {
    world.pace = random.logBetween(0.01, 0.3)
    world.queue.after(spell(world, random), () => (world.pace = 1))
    return `${(1 / world.pace).toFixed(0)} times`
  },
  flood: (world) => {
    const leader = leaderOf(world)
    if (leader === null || !leader.isUp || leader.paused) return null
    for (let call = 0; call < FLOOD_CALLS; call += 1) world.visitor().visit(leader, 'writes', FLOOD_COMMANDS)
    return leader.id
  },
}
