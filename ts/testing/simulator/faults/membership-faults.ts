/**
 * Operators who change the members all the time: servers go and come back, lose their vote and get one again, one by
 * one or many through a joint configuration, take the place of each other, now and then by force. Whoever leads is
 * asked; what it answers does not matter, but that it answers does. One that was removed may come back with another
 * disk.
 */

import { membersOf } from '../../../core/configuration.js'
import type { ChangeOptions } from '../../../raft.js'
import type { ServerId } from '../../../types.js'
import type { SimRaft } from '../doubles/sim-process.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { SeededRandom } from '../random.js'
import type { World } from '../world.js'
import type { Fault } from './fault.js'
import { askRaft, leaderOf } from './fault.js'
import type { FaultName } from './fault-names.js'

type MembershipFault =
  'member-goes' | 'member-comes' | 'member-vote' | 'members-joint' | 'member-replaced' | 'member-anew'

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
  /** Now and then by itself, which does nothing to one that is well. */
  'member-replaced': (world, random) => {
    const members = membersAt(leaderOf(world))
    const free = world.servers.filter(({ id }) => !members.includes(id))
    const old = random.pick(world.servers).id
    const { id, address } = random.pick(free.length > 0 && random.chance(0.8) ? free : world.servers)
    return asked(world, `${id} replaces ${old}`, (raft) => raft.replace(old, { id, address }, options(world, random)))
  },
  'member-anew': (world, random) => {
    const server = random.shuffled(world.servers).find((each) => mayBeRenewed(world, each))
    if (server === undefined) return null
    const others = world.servers.filter((other) => other !== server)
    const asks = random.shuffled(others.map(({ address }) => address))
    // The disk of before knows the others as they were then, as a server that was away.
    const mayBeFormer = others.every(({ renewedAt }) => renewedAt < server.renewedAt)
    const disk = server.renew(random.chance(0.5) ? asks : null, mayBeFormer)
    if (random.chance(0.7)) server.start()
    return `${server.id} with ${disk === 'new' ? 'a new disk' : 'the disk of before'}`
  },
}

/** Whether members may change in this world: then who is a quorum is for its logs to say. */
export function hasMembershipFaults({ plan }: World): boolean {
  return Object.keys(membershipFaults).some((name) => (plan.faults[name as FaultName] ?? 0) > 0)
}

/** Whether all of these vote, and no change is under way, nor asked for; asks for the next step where they do not. */
export function restoreMembers(world: World, servers: readonly SimServer[]): boolean {
  const leader = leaderOf(world)
  const configuration = leader?.process?.raft?.configuration()
  if (configuration === undefined) return false
  const { voters, outgoing, nonvoters } = configuration.configuration
  const isIn = (list: readonly { readonly id: ServerId }[], id: ServerId): boolean =>
    list.some((each) => each.id === id)
  const missing = servers.find(({ id }) => !isIn(voters, id))
  if (missing === undefined) {
    const isAsked = servers.some(({ process }) => process !== null && process.asked > 0)
    return configuration.isCommitted && outgoing === null && nonvoters.length === 0 && !isAsked
  }
  const { id, address } = missing
  const wait = { timeoutMs: Math.ceil(4 * world.plan.electionTimeoutMs) }
  if (isIn(nonvoters, id)) asked(world, `promotes ${id}`, (raft) => raft.promote(id, wait))
  else asked(world, `adds ${id}`, (raft) => raft.addVoter({ id, address }, wait))
  return false
}

/**
 * Whether the id of this server may come back with another disk: its removal is committed, nobody knows of a later
 * configuration, and all others know that it is committed, so that what they knew of the store falls. Who was away
 * would refuse what comes, and where that leads, would never hear of the removal.
 */
function mayBeRenewed(world: World, server: SimServer): boolean {
  const leading = leaderOf(world)?.core ?? null
  if (leading === null) return false
  const { configuration, configurationIndex } = leading.log
  if (membersOf(configuration).some(({ id }) => id === server.id)) return false
  return world.servers.every((other) => {
    const { index, commitIndex } = newestConfiguration(other)
    return other === server ? index <= configurationIndex : index === configurationIndex && commitIndex >= index
  })
}

/** Where the last one stands in its log, and what it knows to be committed; of one that is down, by its disk. */
function newestConfiguration({ core, disk: { durable } }: SimServer): { index: number; commitIndex: number } {
  if (core !== null) return { index: core.log.configurationIndex, commitIndex: core.log.commitIndex }
  return { index: durable.configurations().at(-1)?.index ?? 0, commitIndex: durable.hardState.commitIndex }
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
