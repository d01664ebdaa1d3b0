/** Leaders that are asked to hand over or to step down, also while they are busy; and links that flap under them. */

import type { Fault } from './fault.js'
import { askRaft, causeLater, leaderOf } from './fault.js'
import type { FaultName } from './fault-names.js'

type LeadershipFault = 'transfer' | 'step-down' | 'flap'

const FLAPS_MAX = 8

export const leadershipFaults: Readonly<Record<LeadershipFault & FaultName, Fault>> = {
  transfer: (world, random) => {
    const leader = leaderOf(world)
    const { id } = random.pick(world.servers)
    const to = random.chance(0.5) ? { to: id } : {}
    const timeoutMs = Math.ceil(random.between(0.5, 3) * world.plan.electionTimeoutMs)
    return askRaft(world, leader, `to ${to.to ?? 'anyone'}`, (raft) => raft.transferLeadership({ ...to, timeoutMs }))
  },
  'step-down': (world) => {
    const leader = leaderOf(world)
    return askRaft(world, leader, leader?.id ?? '', (raft) => raft.stepDown())
  },
  /** One link breaks again and again, as soon as it is up: nobody else must come to doubt the leader. */
  flap: (world, random) => {
    const leader = leaderOf(world)
    if (leader === null || world.servers.length < 2) return null
    const other = random.pick(world.servers.filter((server) => server !== leader))
    const flaps = random.int(2, FLAPS_MAX + 1)
    const flap = (left: number): void => {
      world.network.cut(leader.address, other.address)
      const ms = random.exponential(world.plan.electionTimeoutMs / 4)
      if (left > 1) causeLater(world, ms, () => flap(left - 1))
    }
    flap(flaps)
    return `${leader.id} ${other.id} ${flaps} times`
  },
}
