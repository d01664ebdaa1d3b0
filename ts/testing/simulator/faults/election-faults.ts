/** Faults that aim at changes of leadership: what single faults bring about only by luck. */

import { starve } from './disk-faults.js'
import type { Fault } from './fault.js'
import { causeLater, leaderOf } from './fault.js'
import type { FaultName } from './fault-names.js'
import { between, cutFor, mend, others } from './network-faults.js'
import { dieSoon, pauseFor } from './process-faults.js'
import type { Path, World } from '../world.js'

/**
 * Reads from a leader that does not know better, and as many writes to the one that follows it, by clients that come
 * late.
 */
const VISITS_MAX = 5

type ElectionFault = 'depose' | 'stale-leader' | 'race' | 'overtake' | 'orphan-votes'

export const electionFaults: Readonly<Record<ElectionFault & FaultName, Fault>> = {
  /**
   * The leader is cut off while clients still press it: its entries are left to be overwritten. In some cases whoever
   * follows it begins to lead without anything in memory, in some it finds no room on its own disk when it comes back.
   */
  depose: (world, random) => {
    const leader = leaderOf(world)
    if (leader === null) return null
    press(world)
    const hit = others(world, leader).filter(() => random.chance(0.8))
    const ms = world.plan.electionTimeoutMs * random.between(1, 5)
    if (hit.length === 0) return null
    if (random.chance(0.3)) for (const other of others(world, leader)) dieSoon(other, random)
    if (random.chance(0.3)) starve(world, leader, random.logBetween(1, 1000), ms * random.between(1, 2))
    return cutFor(world, between([leader], hit), ms)
  },
  /**
   * The leader is cut off and its clock stands still: it goes on believing that it leads, and clients go on asking it,
   * also some that come late; others find the next leader. In half of the cases what the others have said before still
   * reaches it, bit by bit.
   */
  'stale-leader': (world, random) => {
    const leader = leaderOf(world)
    if (leader === null) return null
    const ms = world.plan.electionTimeoutMs * random.between(2, 6)
    leader.clock.setRate(0)
    world.queue.after(ms, () => leader.clock.setRate(1))
    for (let visits = random.int(0, VISITS_MAX + 1); visits > 0; visits -= 1) {
      causeLater(world, ms * random.next(), () => world.visitor().visit(leader, 'read', 0))
      causeLater(world, ms * random.next(), () => world.visitor().visit(leaderOf(world) ?? leader, 'write', 1))
    }
    const rest = others(world, leader)
    if (random.chance(0.5)) return cutFor(world, between([leader], rest), ms)
    press(world)
    const slowness = ms / world.plan.network.delayMs
    for (const other of rest) world.network.slowPath(other.address, leader.address, slowness * random.between(0.1, 1))
    world.queue.after(ms, () => {
      for (const other of rest) mend(world, [other, leader])
    })
    const paths = rest.map((other): Path => [leader, other])
    causeLater(world, world.plan.electionTimeoutMs * random.between(0.05, 0.6), () => cutFor(world, paths, ms))
    return `${leader.id}, which still hears`
  },
  /**
   * All but a leader that is cut off wake up at once, late for an election, with disks that are slow to write their
   * votes.
   */
  race: (world, random) => {
    const leader = leaderOf(world)
    if (leader === null) return null
    const sleepMs = world.plan.electionTimeoutMs * random.between(2.1, 3)
    for (const server of others(world, leader)) {
      if (!server.paused) pauseFor(world, server, sleepMs)
      server.sim.slowness = random.logBetween(1, 100)
      world.queue.after(2 * sleepMs, () => (server.sim.slowness = 1))
    }
    return cutFor(world, between([leader], others(world, leader)), 2 * sleepMs)
  },
  /** One follower takes entries that its disk is slow to write; before it has, another leader replaces them. */
  overtake: (world, random) => {
    const leader = leaderOf(world)
    if (leader === null || world.servers.length < 3) return null
    const [follower, ...rest] = random.shuffled(others(world, leader))
    if (follower === undefined) return null
    const { electionTimeoutMs } = world.plan
    press(world)
    follower.sim.hang(electionTimeoutMs * random.between(1, 4))
    const ms = electionTimeoutMs * random.between(1, 5)
    causeLater(world, electionTimeoutMs * random.between(0.1, 0.6), () => {
      cutFor(world, between([leader], [follower]), ms)
    })
    return `${follower.id}, ${cutFor(world, between([leader], rest), ms)}`
  },
  /**
   * The leader is cut off with entries that nobody else has, and whoever wants to follow it stops while it is being
   * voted for: those that voted are then in a later term, with a shorter log.
   */
  'orphan-votes': (world, random) => {
    const leader = leaderOf(world)
    if (leader === null) return null
    press(world)
    const { electionTimeoutMs, disk, network } = world.plan
    const ms = electionTimeoutMs * random.between(3, 10)
    const voteMs = disk.writeMs + network.delayMs
    const end = world.queue.now + 3 * electionTimeoutMs
    const watch = (): void => {
      const candidate = others(world, leader).find(({ core }) => core?.role === 'candidate')
      if (candidate !== undefined) {
        causeLater(world, random.exponential(voteMs), () => pauseFor(world, candidate, ms))
      } else if (world.queue.now < end) {
        causeLater(world, voteMs / 4, watch)
      }
    }
    watch()
    return cutFor(world, between([leader], others(world, leader)), ms)
  },
}

/** Clients hurry, for an election timeout. */
function press(world: World): void {
  world.pace = Math.min(world.pace, 0.1)
  world.queue.after(world.plan.electionTimeoutMs, () => (world.pace = 1))
}
