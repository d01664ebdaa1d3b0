/**
 * Snapshots that are asked for at any time, and what goes wrong with them: machines and disks that fail in the middle,
 * files that are misread, channels that break.
 */

import { MACHINE_FAULTS } from '../doubles/sim-machine.js'
import type { Fault } from './fault.js'
import { askRaft, causeLater, victim } from './fault.js'
import { dieSoon } from './process-faults.js'
import type { FaultName } from './fault-names.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { SeededRandom } from '../random.js'
import type { World } from '../world.js'

type SnapshotFault =
  'take-snapshot' | 'machine-fails' | 'file-fails' | 'file-rot' | 'break-channels' | 'crash-at-transfer'

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
  /** The next one over which a snapshot is given, in the middle of that. */
  'break-channels': (world, random) => {
    atTransfer(world, random, (from, to) => {
      world.network.breakChannels(from.address, to.address)
      world.observers.fault('channels-broken', `${from.id}>${to.id}`)
    })
    return 'the next one'
  },
  /** Who gives the next snapshot, or more often who gets it: while it comes, is installed or is restored. */
  'crash-at-transfer': (world, random) => {
    atTransfer(world, random, (from, to) => {
      const server = random.chance(0.2) ? from : to
      dieSoon(server, random)
      world.observers.fault('dies-at-transfer', server.id)
    })
    return 'the next one'
  },
}

/** Soon after the next one has begun, which may be long from now. */
function atTransfer(world: World, random: SeededRandom, act: (from: SimServer, to: SimServer) => void): void {
  const { network, electionTimeoutMs } = world.plan
  world.network.awaitChannel((...ends) => {
    const [from, to] = ends.map((end) => world.servers.find(({ address }) => address === end))
    if (from === undefined || to === undefined) return
    causeLater(world, random.logBetween(network.delayMs, electionTimeoutMs), () => act(from, to))
  })
}
