/** Disks that are slow, hang, are full, fail, rot, or are gone. */

import type { Fault } from './fault.js'
import { spell, victim } from './fault.js'
import type { FaultName } from './fault-names.js'
import { SeededRandom } from '../random.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { World } from '../world.js'

type DiskFault =
  'disk-slow' | 'disk-hang' | 'disk-full' | 'disk-starve' | 'disk-fail' | 'bit-rot' | 'wipe' | 'rollback' | 'clone'

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
    const count = random.int(1, 3)
    // Drawn by itself, so that whatever else goes wrong stays the same.
    const apart = new SeededRandom(world.plan.seed ^ Math.floor(world.queue.now * 1000))
    const rotten = apart.chance(0.5) ? server.sim.rotAtRest(count, apart) : []
    if (rotten.length > 0) return `${server.id} at rest at ${rotten.join(', ')}`
    server.sim.rot(count)
    return server.id
  },
  /** A disk is lost, and its server starts again with an empty one under the same id. */
  wipe: (world, random) => {
    const server = random.pick(world.servers)
    const isKnown = (pin: string): boolean => pin.startsWith(server.disk.incarnation)
    if (!mayForget(world, server, isKnown)) return null
    server.wipe()
    return server.id
  },
  /** A disk becomes the copy of itself that was made at an earlier fault. */
  rollback: (world, random) => {
    const server = withOlderCopy(world, random)
    if (server === null) return copyAll(world)
    server.rollBack()
    return `${server.id} to boot ${server.disk.bootCounter}, and ${startAgain(world, random, server)} starts`
  },
  /** A second process runs beside the first, from a copy of the disk that was made at an earlier fault. */
  clone: (world, random) => {
    const server = withOlderCopy(world, random)
    if (server === null) return copyAll(world)
    if (server.isCloned) return null
    const clone = world.addClone(server)
    return `${server.id} of boot ${clone.disk.bootCounter}, and ${startAgain(world, random, clone)} starts`
  },
}

/** All disks are copied, once. */
function copyAll(world: World): string | null {
  if (world.servers.some(({ sim }) => sim.copiedBoot !== null)) return null
  for (const server of world.servers) server.sim.keepCopy()
  return 'all are copied'
}

/** A server of which each of the others has met a boot that began after its disk was copied. */
function withOlderCopy(world: World, random: SeededRandom): SimServer | null {
  const hasOlderCopy = (server: SimServer): boolean => {
    const { copiedBoot } = server.sim
    if (copiedBoot === null) return false
    return mayForget(world, server, (pin) => Number(pin.split(' ')[1]) > copiedBoot)
  }
  return random.shuffled(world.servers).find(hasOlderCopy) ?? null
}

/** Starts it again, as often as it may take to pass every boot counter that the others know. Returns how often. */
function startAgain(world: World, random: SeededRandom, server: SimServer): number {
  const starts = random.int(0, 12)
  for (let start = 1; start <= starts; start += 1) {
    world.queue.after(start * world.plan.disk.writeMs * 20, () => {
      if (world.isLeftBroken(server)) return
      server.crash('restarted', false)
      server.start()
    })
  }
  return starts
}

export function starve(world: World, server: SimServer, bytes: number, ms: number): void {
  server.sim.creditMax = bytes
  world.queue.after(ms, () => (server.sim.creditMax = Infinity))
}

/**
 * Whether somebody may come under the id of this server who has lost what it said. Only while the rest can still win a
 * vote, so that the damage stays recoverable; and only once each of the others has written down of it what tells it
 * from what comes: identity is trusted on first use, so one that does not know better believes it, and may be the
 * missing part of a quorum.
 */
function mayForget(world: World, server: SimServer, isKnown: (pin: string) => boolean): boolean {
  // Who is left of a quorum is counted by the first members, and by what they have on their disks.
  if (world.plan.losesQuorumAt !== null) return false
  const others = world.servers.filter((other) => other !== server)
  const forgetful = others.filter(({ hasForgotten, isCloned }) => hasForgotten || isCloned).length
  const isBearable = (world.servers.length - forgetful - 1) * 2 > world.servers.length
  const pin = (other: SimServer): string => new TextDecoder().decode(other.disk.durable.facts.get(`peer/${server.id}`))
  return isBearable && !server.hasForgotten && others.every((other) => isKnown(pin(other)))
}
