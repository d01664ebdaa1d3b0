/** Disks that are slow, hang, are full, fail, rot, or are gone. */

import type { Fault } from './fault.js'
import { spell, victim } from './fault.js'
import type { FaultName } from './fault-names.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { World } from '../world.js'

type DiskFault = 'disk-slow' | 'disk-hang' | 'disk-full' | 'disk-starve' | 'disk-fail' | 'bit-rot' | 'wipe'

export const diskFaults: Readonly<Record<DiskFault & FaultName, Fault>> = {
  'disk-slow': (world, random) => {
    const server = victim(world, random)
    server.sim.slowness = random.logBetween(3, 300)
    world.queue.after(spell(world, random), () => (server.sim.slowness = 1))
    return `${server.id} ${server.sim.slowness.toFixed(0)} times`
  },
  'disk-hang': (world, random) => {
    const server = victim(world, random)
    const ms = spell(world, random)
    server.sim.hang(ms)
    return `${server.id} for ${ms.toFixed(0)} ms`
  },
  'disk-full': (world, random) => {
    const server = victim(world, random)
    if (server.sim.isFull) return null
    server.sim.fill()
    world.queue.after(spell(world, random), () => {
      if (!world.isLeftBroken(server)) server.sim.mend()
    })
    return server.id
  },
  /** Hardly any room is left in the queue of the disk: what needs more must wait. */
  'disk-starve': (world, random) => {
    const server = victim(world, random)
    const bytes = Math.round(random.logBetween(1, 10_000))
    starve(world, server, bytes, spell(world, random))
    return `${server.id} ${bytes} bytes`
  },
  /** A write fails, and only a reopen shows whether it was made: the commit error that says nothing. */
  'disk-fail': (world, random) => {
    const server = victim(world, random)
    const fate = random.chance(0.5) ? 'lost' : 'kept'
    server.sim.memory.failTicket(random.int(1, 4), fate)
    return `${server.id} ${fate}`
  },
  'bit-rot': (world, random) => {
    const server = victim(world, random)
    server.sim.rot(random.int(1, 3))
    return server.id
  },
  /** A disk is lost, and its server starts again with an empty one under the same id. */
  wipe: (world, random) => {
    const server = random.pick(world.servers)
    if (!mayBeWiped(world, server)) return null
    server.wipe()
    return server.id
  },
}

export function starve(world: World, server: SimServer, bytes: number, ms: number): void {
  server.sim.creditMax = bytes
  world.queue.after(ms, () => (server.sim.creditMax = Infinity))
}

/**
 * Only while the rest can still win a vote, so that the damage stays recoverable; and only once every other server has
 * pinned the store that goes: identity is trusted on first use, so a server that was never met can come back as
 * another.
 */
function mayBeWiped(world: World, server: SimServer): boolean {
  const others = world.servers.filter((other) => other !== server)
  const wiped = others.filter(({ isWiped }) => isWiped).length
  const isBearable = (world.servers.length - wiped - 1) * 2 > world.servers.length
  const pin = (other: SimServer): string => new TextDecoder().decode(other.disk.durable.facts.get(`peer/${server.id}`))
  return isBearable && !server.isWiped && others.every((other) => pin(other).startsWith(server.disk.incarnation))
}
