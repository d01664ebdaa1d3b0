/**
 * Operators who turn leases on, make them longer or shorter, and turn them off; and followers that would lead while the
 * leader reads by its lease.
 */

import type { Fault } from './fault.js'
import { askRaft, causeLater, leaderOf } from './fault.js'
import type { FaultName } from './fault-names.js'
import { between, cutFor, others } from './network-faults.js'

type LeaseFault = 'lease' | 'usurp'

/** As long as a lease may be in half of the cases: then it is most often in somebody's way. */
const LONGEST_CHANCE = 0.5
/** How often a server comes back while another asks for votes, in an election timeout. */
const RETURNS_PER_TIMEOUT = 6

export const leaseFaults: Readonly<Record<LeaseFault & FaultName, Fault>> = {
  lease: (world, random) => {
    const { electionTimeoutMs, heartbeatMs } = world.plan
    const isLongest = random.chance(LONGEST_CHANCE)
    const drawnMs = isLongest ? electionTimeoutMs : random.int(2 * heartbeatMs, electionTimeoutMs + 1)
    const leaseMs = random.chance(0.85) ? drawnMs : 0
    const timeoutMs = Math.ceil(random.between(1, 4) * electionTimeoutMs)
    return askRaft(world, leaderOf(world), `of ${leaseMs} ms`, (raft) => raft.setLease(leaseMs, { timeoutMs }))
  },
  /**
   * One follower hears the leader no more, and asks the others for votes; they come back from a crash again and again,
   * and know of no leader each time, though they have just answered one. In some cases leases are turned on meanwhile.
   */
  usurp: (world, random) => {
    const leader = leaderOf(world)
    if (leader === null || world.servers.length < 3) return null
    const { electionTimeoutMs } = world.plan
    const [usurper, ...rest] = random.shuffled(others(world, leader))
    if (usurper === undefined) return null
    const ms = electionTimeoutMs * random.between(2, 4)
    for (let at = electionTimeoutMs / 2; at < ms; at += electionTimeoutMs / RETURNS_PER_TIMEOUT) {
      causeLater(world, at + random.between(0, electionTimeoutMs / RETURNS_PER_TIMEOUT), () => {
        const server = random.pick(rest)
        server.crash('crash', false)
        server.start()
      })
    }
    if (random.chance(0.3)) causeLater(world, ms * random.next(), () => void leaseFaults.lease(world, random))
    return `${usurper.id}: ${cutFor(world, between([leader], [usurper]), ms)}`
  },
}
