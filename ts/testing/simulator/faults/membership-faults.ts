/**
 * Operators who change the members all the time: servers go and come back, lose their vote and get one again, one by
 * one or many through a joint configuration, now and then by force. Whoever leads is asked; what it answers does not
 * matter, but that it answers does.
 */

import type { ChangeOptions } from '../../../raft.js'
import type { ServerId } from '../../../types.js'
import type { SimRaft } from '../doubles/sim-process.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { SeededRandom } from '../random.js'
import type { World } from '../world.js'
import type { Fault } from './fault.js'
import { askRaft, leaderOf } from './fault.js'
import type { FaultName } from './fault-names.js'

type MembershipFault = 'member-goes' | 'member-comes' | 'member-vote' | 'members-joint'

export const membershipFaults: Readonly<Record<MembershipFault & FaultName, Fault>> = {
  'member-goes': (world, random) => {
    const { id } = random.pick(world.servers)
    return asked(world, `removes ${id}`, (raft) => raft.removeServer(id, options(world, random)))
  },
  'member-comes': (world, random) => {
    const { id, address } = random.pick(world.servers)
    const how = random.chance(0.7) ? 'addVoter' : 'addNonvoter'
    return asked(world, `${how} ${id}`, (raft) => raft[how]({ id, address }, options(world, random)))
  },
  'member-vote': (world, random) => {
    const { id } = random.pick(world.servers)
    const how = random.chance(0.5) ? 'promote' : 'demoteVoter'
    return asked(world, `${how} ${id}`, (raft) => raft[how](id, options(world, random)))
  },
  'members-joint': (world, random) => {
    const members = membersAt(leaderOf(world))
    const voters = members.filter(() => random.chance(0.6))
    const nonvoters = members.filter((id) => !voters.includes(id) && random.chance(0.7))
    const names = `${voters.join(' ')} + ${nonvoters.join(' ')}`
    return asked(world, names, (raft) => raft.changeMembership({ voters, nonvoters }, options(world, random)))
  },
}

/** Whether members may change in this world: then who is a quorum is for its logs to say. */
export function hasMembershipFaults({ plan }: World): boolean {
  return Object.keys(membershipFaults).some((name) => (plan.faults[name as FaultName] ?? 0) > 0)
}

/** Whether all of these vote, and nothing is under way; asks for the next step towards it where they do not. */
export function restoreMembers(world: World, servers: readonly SimServer[]): boolean {
  const leader = leaderOf(world)
  const configuration = leader?.process?.raft?.configuration()
  if (configuration === undefined) return false
  const { voters, outgoing, nonvoters } = configuration.configuration
  const isIn = (list: readonly { readonly id: ServerId }[], id: ServerId): boolean =>
    list.some((each) => each.id === id)
  const missing = servers.find(({ id }) => !isIn(voters, id))
  if (missing === undefined) return configuration.isCommitted && outgoing === null && nonvoters.length === 0
  const { id, address } = missing
  const wait = { timeoutMs: Math.ceil(4 * world.plan.electionTimeoutMs) }
  if (isIn(nonvoters, id)) asked(world, `promotes ${id}`, (raft) => raft.promote(id, wait))
  else asked(world, `adds ${id}`, (raft) => raft.addVoter({ id, address }, wait))
  return false
}

function options(world: World, random: SeededRandom): ChangeOptions {
  return { timeoutMs: Math.ceil(random.between(1, 4) * world.plan.electionTimeoutMs), force: random.chance(0.15) }
}

function membersAt(server: SimServer | null): readonly ServerId[] {
  const configuration = server?.process?.raft?.configuration().configuration
  return configuration === undefined ? [] : [...configuration.voters, ...configuration.nonvoters].map(({ id }) => id)
}

function asked(world: World, what: string, ask: (raft: SimRaft) => Promise<unknown>): string | null {
  return askRaft(world, leaderOf(world), what, ask)
}
