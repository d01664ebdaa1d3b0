/**
 * Snapshots that are asked for at any time, and what goes wrong with them: machines and disks that fail in the middle,
 * files that are misread, channels that break.
 */

import { MACHINE_FAULTS } from '../doubles/sim-machine.js'
import type { Fault } from './fault.js'
import { askRaft, causeLater, leaderOf, spell, victim } from './fault.js'
import type { FaultName } from './fault-names.js'

type SnapshotFault = 'take-snapshot' | 'machine-fails' | 'file-fails' | 'file-rot' | 'break-channels'

/** Calls of the disk to go before one fails, at most: those of some snapshots. */
const CALLS_MAX = 12

export const snapshotFaults: Readonly<Record<SnapshotFault & FaultName, Fault>> = {
  'take-snapshot': (world, random) => {
    const server = victim(world, random)
    if (!server.takesSnapshots) return null
    const timeoutMs = Math.ceil(random.between(1, 4) * world.plan.electionTimeoutMs)
    return askRaft(world, server, server.id, (raft) => raft.snapshot({ timeoutMs }))
  },
  /** The next time that its state machine captures, streams or restores, it throws. */
  'machine-fails': (world, random) => {
    const server = victim(world, random)
    const what = random.pick(MACHINE_FAULTS)
    server.machineFaults.add(what)
    return `${server.id} in ${what}`
  },
  'file-fails': (world, random) => {
    const server = victim(world, random)
    const code = random.pick(['ENOSPC', 'EIO'])
    server.sim.snapshots.failCall(random.int(1, CALLS_MAX), code)
    return `${server.id} ${code}`
  },
  'file-rot': (world, random) => {
    const server = victim(world, random)
    server.sim.rotFiles(random.int(1, 3))
    return server.id
  },
  /** Those over which a leader gives snapshots, as soon as there are any. */
  'break-channels': (world, random) => {
    const end = world.queue.now + spell(world, random)
    const watch = (): void => {
      const leader = leaderOf(world)
      const broken = world.servers.filter(({ address }) => {
        return leader !== null && world.network.breakChannels(leader.address, address)
      })
      if (broken.length > 0) world.observers.fault('channels-broken', broken.map(({ id }) => id).join(' '))
      else if (world.queue.now < end) causeLater(world, random.exponential(world.plan.heartbeatMs), watch)
    }
    watch()
    return 'the next ones'
  },
}
