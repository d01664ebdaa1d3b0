/** Processes that die, at every point; that are stopped, paused, or too busy to turn. */

import { starve } from './disk-faults.js'
import type { Fault } from './fault.js'
import { causeLater, spell, victim } from './fault.js'
import type { FaultName } from './fault-names.js'
import type { SeededRandom } from '../random.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { World } from '../world.js'

/** Points to go at most before a process dies at one: some turns. */
const POINTS_MAX = 60
/** Calls that are begun just before their server is closed. */
const VISITS_MAX = 20
const CALLS = ['write', 'writes', 'read', 'readIndex', 'ready', 'barrier'] as const

type ProcessFault =
  'crash' | 'crash-at-point' | 'power-cut' | 'crash-all' | 'restart' | 'close-busy' | 'pause' | 'stall'

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
  /**
   * Closed in order, in some cases twice, while calls of every kind are under way; in some cases its disk has little
   * room, so that of a list a part waits.
   */
  'close-busy': (world, random) => {
    const server = victim(world, random)
    if (!server.isUp || server.paused) return null
    const { turnMs, applyMs, disk, network } = world.plan
    const ms = random.exponential(turnMs + applyMs + 2 * (disk.writeMs + network.delayMs))
    if (random.chance(0.3)) starve(world, server, random.logBetween(1, 1000), ms)
    for (let visits = random.int(1, VISITS_MAX + 1); visits > 0; visits -= 1) {
      const kind = random.pick(CALLS)
      const commands = kind === 'write' ? 1 : kind === 'writes' ? random.int(2, 9) : 0
      causeLater(world, ms * random.next(), () => world.visitor().visit(server, kind, commands))
    }
    for (let closes = random.int(1, 3); closes > 0; closes -= 1) causeLater(world, ms, () => server.stop())
    return `${server.id} in ${ms.toFixed(2)} ms`
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
