/** Clocks that run fast or slow, stand still, or are set; machines that sleep. */

import type { Fault } from './fault.js'
import { spell, victim } from './fault.js'
import type { FaultName } from './fault-names.js'
import { pauseFor } from './process-faults.js'

type ClockFault = 'clock-drift' | 'clock-step' | 'clock-freeze' | 'suspend'

/** Where there are leases, which assume that no clock is faster. */
const FAST_MOST = 1.05
const STEP_MS_MAX = 10 * 365 * 24 * 3_600_000

export const clockFaults: Readonly<Record<ClockFault & FaultName, Fault>> = {
  'clock-drift': (world, random) => {
    const { clock, id } = victim(world, random)
    const rate = random.logBetween(0.2, world.plan.clients.leases > 0 ? FAST_MOST : 5)
    clock.setRate(rate)
    world.queue.after(spell(world, random), () => clock.setRate(1))
    return `${id} ${rate.toFixed(2)} times`
  },
  /** The date changes; what runs must not depend on it. */
  'clock-step': (world, random) => {
    const { clock, id } = victim(world, random)
    const ms = random.logBetween(1, STEP_MS_MAX) * (random.chance(0.5) ? 1 : -1)
    clock.stepWall(ms)
    return `${id} by ${ms.toFixed(0)} ms`
  },
  'clock-freeze': (world, random) => {
    const { clock, id } = victim(world, random)
    const ms = spell(world, random)
    clock.setRate(0)
    world.queue.after(ms, () => clock.setRate(1))
    return `${id} for ${ms.toFixed(0)} ms`
  },
  /** The machine sleeps and its clock with it: it does not notice. */
  suspend: (world, random) => {
    const server = victim(world, random)
    if (server.paused) return null
    const ms = spell(world, random)
    const told = pauseFor(world, server, ms)
    server.clock.setRate(0)
    world.queue.after(ms, () => server.clock.setRate(1))
    return told
  },
}
