/** Processes that die, at every point; that are stopped, paused, or too busy to turn. */

import type { Fault } from './fault.js'
import { spell, victim } from './fault.js'
import type { FaultName } from './fault-names.js'
import type { SeededRandom } from '../random.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { World } from '../world.js'

/** Points to go at most before a process dies at one: some turns. */
const POINTS_MAX = 60

type ProcessFault = 'crash' | 'crash-at-point' | 'power-cut' | 'crash-all' | 'restart' | 'pause' | 'stall'

export const processFaults: Readonly<Record<ProcessFault & FaultName, Fault>> = {
  crash: (world, random) => {
    const server = victim(world, random)
    server.crash('crash', false)
    if (random.chance(0.3)) server.start()
    return server.id
  },
  'power-cut': (world, random) => {
    const server = victim(world, random)
    server.crash('power cut', true)
    return server.id
  },
  'crash-at-point': (world, random) => {
    const server = victim(world, random)
    if (server.process === null) return null
    dieSoon(server, random)
    return `${server.id} in ${server.process.pointsToLive} points`
  },
  'crash-all': (world, random) => {
    for (const server of world.servers) server.crash('all crash', random.chance(0.5))
    return 'all'
  },
  restart: (world, random) => {
    const server = victim(world, random)
    if (!server.isUp) return null
    server.stop()
    return server.id
  },
  pause: (world, random) => {
    const server = victim(world, random)
    return server.paused ? null : pauseFor(world, server, spell(world, random))
  },
  stall: (world, random) => {
    const server = victim(world, random)
    return server.paused ? null : pauseFor(world, server, random.exponential(world.plan.electionTimeoutMs * 0.7))
  },
}

export function dieSoon({ process }: SimServer, random: SeededRandom): void {
  if (process !== null) process.pointsToLive = random.int(1, POINTS_MAX)
}

/** Whatever comes meanwhile comes at once, afterwards. */
export function pauseFor(world: World, server: SimServer, ms: number): string | null {
  const { process } = server
  if (process === null) return null
  process.pause()
  world.queue.after(ms, () => {
    if (process.isAlive && process.isPaused) process.resume()
  })
  return `${server.id} for ${ms.toFixed(0)} ms`
}
