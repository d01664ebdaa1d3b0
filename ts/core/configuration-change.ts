/**
 * What may become of a configuration, one step at a time (thesis 4). A step is safe when each quorum of what was
 * before shares a voter with each quorum of what comes: at most one voter of difference (4.1), or into a joint
 * configuration and out of it (4.3). Everything here is pure: when a step may be taken is the leader's to know
 * (`leader/membership`).
 */

import type { Configuration, LogIndex, Nonvoter, Server, ServerId } from '../types.js'
import { membersOf } from './configuration.js'

/** Members of one cluster, of every kind. */
export const MEMBERS_MAX = 64

/** What may be done to the members, one change at a time. */
export type ConfigurationChange =
  /** A member without a vote; with `promote`, whoever leads makes it a voter once it has caught up. */
  | { readonly type: 'add'; readonly server: Server; readonly promote: boolean }
  /** A nonvoter is to become a voter: once it has caught up, or `atOnce`. */
  | { readonly type: 'promote'; readonly id: ServerId; readonly atOnce: boolean }
  /** A voter becomes a nonvoter; of a nonvoter that waits to be promoted: it waits no more. */
  | { readonly type: 'demote'; readonly id: ServerId }
  | { readonly type: 'remove'; readonly id: ServerId }
  /** A nonvoter, `by`, takes the place of another member, which goes: in one step, once it has caught up. */
  | { readonly type: 'replace'; readonly id: ServerId; readonly by: ServerId }
  /** Another address, or other extensions. */
  | { readonly type: 'update'; readonly server: Server }
  /** Leases of so many milliseconds; 0: none. */
  | { readonly type: 'lease'; readonly leaseMs: number }
  /** These members and no others, all of them members already; through a joint configuration where it must be. */
  | { readonly type: 'set'; readonly voters: readonly ServerId[]; readonly nonvoters: readonly ServerId[] }

/** Why a change was not taken. */
export type ChangeRefusal =
  | { readonly kind: 'notLeader' }
  /** It may be taken soon: something before it is not committed yet, or there is no room just now. */
  | { readonly kind: 'notYet'; readonly reason: string }
  /** It may be taken when that server has caught up; what else is asked need not wait for that. */
  | { readonly kind: 'lags'; readonly id: ServerId }
  | { readonly kind: 'otherIndex'; readonly expected: LogIndex; readonly index: LogIndex }
  /** It makes no sense, now and later. */
  | { readonly kind: 'flaw'; readonly reason: string }
  /** Too few of the voters of one half are heard. */
  | { readonly kind: 'noQuorum'; readonly unheard: readonly ServerId[] }

/** What became of a `configure`, under its id, in the turn that took it. */
export type ChangeOutcome =
  | {
      readonly id: number
      readonly status: 'appended'
      readonly index: LogIndex
      readonly configuration: Configuration
    }
  | { readonly id: number; readonly status: 'refused'; readonly refusal: ChangeRefusal }

/** What a change makes of a configuration, or in words why it makes no sense. */
export type Changed = { readonly configuration: Configuration } | { readonly flaw: string }

/** Invariant: what comes of it is a step that `isStep` allows. */
export function configurationAfter(current: Configuration, change: ConfigurationChange): Changed {
  if (current.outgoing !== null) return { flaw: 'the configuration is joint, and is left before anything else changes' }
  const changed = changedBy(current, change)
  if ('flaw' in changed) return changed
  const { voters, outgoing } = changed.configuration
  if (voters.length === 0) return { flaw: 'no voter would be left: add another one first (addVoter)' }
  const count = membersOf(changed.configuration).length
  if (count > MEMBERS_MAX)
    return { flaw: `a cluster has at most ${MEMBERS_MAX} members: remove one first (removeServer)` }
  if (outgoing !== null || differenceOf(current.voters, voters) <= 1) return changed
  return { configuration: { ...changed.configuration, outgoing: current.voters } }
}

/** A joint configuration without the half that goes. */
export function withoutOutgoing(joint: Configuration): Configuration {
  return { ...joint, outgoing: null }
}

/** Whether each quorum of the one shares a voter with each quorum of the other. */
export function isStep(from: Configuration, to: Configuration): boolean {
  if (to.voters.length === 0) return false
  if (from.outgoing !== null) return to.outgoing === null && differenceOf(from.voters, to.voters) === 0
  if (to.outgoing !== null) return differenceOf(from.voters, to.outgoing) === 0
  return differenceOf(from.voters, to.voters) <= 1
}

function changedBy(current: Configuration, change: ConfigurationChange): Changed {
  switch (change.type) {
    case 'add':
      return added(current, change.server, change.promote)
    case 'promote':
      return promoted(current, change.id, change.atOnce)
    case 'demote':
      return demoted(current, change.id)
    case 'remove':
      return removed(current, change.id)
    case 'replace':
      return replaced(current, change.id, change.by)
    case 'update':
      return updated(current, change.server)
    case 'lease':
      return leased(current, change.leaseMs)
    case 'set':
      return set(current, change.voters, change.nonvoters)
  }
}

function added(current: Configuration, server: Server, promote: boolean): Changed {
  const { id } = server
  const there = membersOf(current).find((member) => member.id === id)
  if (there !== undefined) {
    const remedy = 'promote, demote or remove it, or change its address (updateServer)'
    return { flaw: `server ${id} is a member already, at ${there.address}: ${remedy}` }
  }
  const flaw = addressFlaw(current, server)
  if (flaw !== null) return { flaw }
  const nonvoter: Nonvoter = { ...plain(server), promote }
  return { configuration: { ...current, nonvoters: [...current.nonvoters, nonvoter] } }
}

function promoted(current: Configuration, id: ServerId, atOnce: boolean): Changed {
  const nonvoter = current.nonvoters.find((server) => server.id === id)
  if (nonvoter === undefined) {
    return { flaw: isIn(current.voters, id) ? `server ${id} is a voter already` : notAddedYet(current, id) }
  }
  if (!atOnce) return { configuration: withPromote(current, id, true) }
  const nonvoters = without(current.nonvoters, id)
  return { configuration: { ...current, voters: [...current.voters, plain(nonvoter)], nonvoters } }
}

function demoted(current: Configuration, id: ServerId): Changed {
  const voter = current.voters.find((server) => server.id === id)
  if (voter !== undefined) {
    const nonvoters = [...current.nonvoters, { ...voter, promote: false }]
    return { configuration: { ...current, voters: without(current.voters, id), nonvoters } }
  }
  const nonvoter = current.nonvoters.find((server) => server.id === id)
  if (nonvoter === undefined) return { flaw: unknownMember(current, id) }
  if (!nonvoter.promote) return { flaw: `server ${id} is a nonvoter already, and does not wait to be promoted` }
  return { configuration: withPromote(current, id, false) }
}

function removed(current: Configuration, id: ServerId): Changed {
  if (!isIn(membersOf(current), id)) return { flaw: unknownMember(current, id) }
  const [voters, nonvoters] = [without(current.voters, id), without(current.nonvoters, id)]
  return { configuration: { ...current, voters, nonvoters } }
}

/** A voter by a voter: through a joint configuration, so that no vote is missing in between. */
function replaced(current: Configuration, id: ServerId, by: ServerId): Changed {
  const nonvoter = current.nonvoters.find((server) => server.id === by)
  if (nonvoter === undefined) {
    return { flaw: isIn(current.voters, by) ? `server ${by} is a voter already` : notAddedYet(current, by) }
  }
  const [voters, nonvoters] = [without(current.voters, id), without(current.nonvoters, id)]
  if (voters.length < current.voters.length) {
    return { configuration: { ...current, voters: [...voters, plain(nonvoter)], nonvoters: without(nonvoters, by) } }
  }
  const before = current.nonvoters.find((server) => server.id === id)
  if (before === undefined) return { flaw: unknownMember(current, id) }
  return { configuration: withPromote({ ...current, nonvoters }, by, before.promote) }
}

function updated(current: Configuration, server: Server): Changed {
  const { id } = server
  if (!isIn(membersOf(current), id)) return { flaw: unknownMember(current, id) }
  const flaw = addressFlaw(current, server)
  if (flaw !== null) return { flaw }
  const voters = current.voters.map((voter) => (voter.id === id ? server : voter))
  const nonvoters = current.nonvoters.map((nonvoter) =>
    nonvoter.id === id ? { ...server, promote: nonvoter.promote } : nonvoter,
  )
  return { configuration: { ...current, voters, nonvoters } }
}

function leased(current: Configuration, leaseMs: number): Changed {
  const { leaseMs: before = 0, ...rest } = current
  if (leaseMs === before) return { flaw: leaseMs === 0 ? 'there are no leases' : `leases last ${leaseMs} ms already` }
  return { configuration: leaseMs === 0 ? rest : { ...rest, leaseMs } }
}

function set(current: Configuration, voterIds: readonly ServerId[], nonvoterIds: readonly ServerId[]): Changed {
  const named = [...voterIds, ...nonvoterIds]
  const twice = named.find((id, at) => named.indexOf(id) !== at)
  if (twice !== undefined) return { flaw: `server ${twice} is named twice` }
  const members = new Map(membersOf(current).map((server) => [server.id, plain(server)]))
  const unknown = named.find((id) => !members.has(id))
  if (unknown !== undefined) return { flaw: notAddedYet(current, unknown) }
  const serversOf = (ids: readonly ServerId[]): readonly Server[] => ids.flatMap((id) => members.get(id) ?? [])
  const nonvoters = serversOf(nonvoterIds).map((server) => ({ ...server, promote: false }))
  return { configuration: { ...current, voters: serversOf(voterIds), nonvoters } }
}

/** A member without what only a nonvoter has. */
function plain({ id, address, extensions }: Server): Server {
  return extensions === undefined ? { id, address } : { id, address, extensions }
}

function addressFlaw(current: Configuration, { id, address }: Server): string | null {
  const other = membersOf(current).find((member) => member.id !== id && member.address === address)
  return other === undefined ? null : `the address ${address} is that of server ${other.id}: give ${id} its own`
}

/** Of one that is to have a place: it can be given one. */
function notAddedYet(current: Configuration, id: ServerId): string {
  return `server ${id} is not a member: add it first as a nonvoter (addNonvoter). ${membersAre(current)}`
}

/** Of one that is to lose its place, or to have it changed: to add it first makes no sense. */
function unknownMember(current: Configuration, id: ServerId): string {
  return `server ${id} is not a member. ${membersAre(current)}`
}

function membersAre(current: Configuration): string {
  const ids = membersOf(current).map((member) => member.id)
  return `Members are ${ids.sort().join(', ')}`
}

function withPromote(current: Configuration, id: ServerId, promote: boolean): Configuration {
  const nonvoters = current.nonvoters.map((server) => (server.id === id ? { ...server, promote } : server))
  return { ...current, nonvoters }
}

/** Voters that stand in one list alone. */
function differenceOf(a: readonly Server[], b: readonly Server[]): number {
  const only = (these: readonly Server[], those: readonly Server[]): number =>
    these.filter(({ id }) => !isIn(those, id)).length
  return only(a, b) + only(b, a)
}

function isIn(servers: readonly Server[], id: ServerId): boolean {
  return servers.some((server) => server.id === id)
}

function without<Member extends Server>(servers: readonly Member[], id: ServerId): readonly Member[] {
  return servers.filter((server) => server.id !== id)
}
