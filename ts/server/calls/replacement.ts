/**
 * One server in the place of another, in one call: changes of the members that follow one another, each by the ordinary
 * way. What is next is read from the configuration in force, so that the same call goes on from there, to whichever
 * leader it is made.
 *
 * Another id: the new server becomes a nonvoter, and takes the place of the old one in one step once it has caught up.
 * The same id, with an empty folder: it is removed and added, since what is known of a store falls with the committed
 * removal of its id, and with nothing else.
 */

import { RaftError } from '../../errors.js'
import { metaOf } from '../../format/server-meta.js'
import type { ConfigurationStatus, LogIndex, Member, Server, ServerId } from '../../types.js'
import type { ConfigurationAnswer } from '../status.js'
import { ChangeCall } from './change-queue.js'
import type { ChangeRequest } from './change-queue.js'
import type { WaitOptions } from './pending-call.js'

/** What a replacement asks of the server that it is made on. */
export interface Changing {
  readonly id: ServerId
  readonly configuration: ConfigurationAnswer
  /** Whether that member is heard, and has what this leader knows it to have. */
  isWell(id: ServerId): boolean
  change(call: ChangeCall, options: WaitOptions | undefined): Promise<ConfigurationAnswer>
  /** Resolves when the configuration in force is committed and final, and `voter` has its vote. */
  settled(voter: ServerId | null, options: WaitOptions | undefined): Promise<ConfigurationAnswer>
}

export interface Replacement {
  readonly oldId: ServerId
  readonly server: Server
  readonly ifIndex: LogIndex | null
  readonly force: boolean
}

interface Step {
  readonly change: ChangeRequest['change']
  /** Who is to be a voter at the end of it; null where the configuration itself is what is asked for. */
  readonly voter: ServerId | null
  /** What is so then, for whoever is told how far it has come; null: all is done. */
  readonly done: string | null
}

/** More are taken only when others change the same servers meanwhile. */
const STEPS_MAX = 2

/** `waitOf` tells what is left of the deadline. */
export async function replace(
  changing: Changing,
  replacement: Replacement,
  waitOf: () => WaitOptions | undefined,
): Promise<ConfigurationAnswer> {
  const { oldId, server, force } = replacement
  if (oldId === server.id && oldId === changing.id) {
    throw refused(`server ${oldId} leads, so it has its folder: its address is changed with updateServer`)
  }
  const before = changing.configuration.configuration
  // Of one that is no member any more nobody knows what it was: what is replaced is a voter.
  const isVoter = !before.nonvoters.some(({ id, promote }) => id === oldId && !promote)
  let { ifIndex } = replacement
  let soFar: string | null = null
  for (let count = 0; count < STEPS_MAX; count += 1) {
    const { configuration } = changing.configuration
    const isFirst = count === 0
    const step =
      oldId === server.id
        ? stepOfTheSame(configuration, server, isVoter, isFirst && (force || !changing.isWell(oldId)))
        : stepOfAnother(configuration, oldId, server)
    if (step === null) return changing.settled(isVoter ? server.id : null, waitOf())
    try {
      const call = new ChangeCall({ change: step.change, ifIndex, force }, step.voter)
      const answer = await changing.change(call, waitOf())
      if (step.done === null) return answer
      soFar = step.done
    } catch (error) {
      throw soFar === null || !(error instanceof RaftError) ? error : partly(error, soFar)
    }
    // What was asked for by its index was the first step; this call itself has made what is in force since.
    ifIndex = null
  }
  throw refused(`the members ${oldId} and ${server.id} were changed by another call meanwhile: look at configuration()`)
}

/** Null: nothing is left to be done. */
function stepOfAnother(configuration: ConfigurationStatus, oldId: ServerId, server: Server): Step | null {
  const { id } = server
  const member = memberOf(configuration, id)
  const isOldThere = memberOf(configuration, oldId) !== null
  if (member === null) {
    if (!isOldThere) throw refused(`neither ${oldId} nor ${id} is a member: add ${id} with addVoter`)
    const done = `server ${id} is a nonvoter, and ${oldId} is still a member`
    return { change: { type: 'add', server, promote: false }, voter: null, done }
  }
  checkSame(member, server)
  if (!isOldThere) return null
  if (isIn(configuration.voters, id)) throw refused(`server ${id} is a voter already: removeServer takes ${oldId} out`)
  const voter = isIn(configuration.voters, oldId) ? id : null
  return { change: { type: 'replace', id: oldId, by: id }, voter, done: null }
}

/** The same for an empty folder under the same id; `isAnew`: the one that is there is to go first. */
function stepOfTheSame(
  configuration: ConfigurationStatus,
  server: Server,
  isVoter: boolean,
  isAnew: boolean,
): Step | null {
  const { id } = server
  const member = memberOf(configuration, id)
  if (member === null) {
    return { change: { type: 'add', server, promote: isVoter }, voter: isVoter ? id : null, done: null }
  }
  if (!isAnew && isSame(member, server)) return null
  return { change: { type: 'remove', id }, voter: null, done: `server ${id} is removed, and not added again` }
}

/** Of the two halves of a joint configuration: the one that stays. */
function memberOf({ voters, nonvoters }: ConfigurationStatus, id: ServerId): Member | null {
  return [...voters, ...nonvoters].find((member) => member.id === id) ?? null
}

function isIn(members: readonly Member[], id: ServerId): boolean {
  return members.some((member) => member.id === id)
}

function isSame(member: Member, server: Server): boolean {
  const [before, now] = [Object.entries(member.meta ?? {}), metaOf(server)]
  const isSameMeta =
    before.length === Object.keys(now ?? {}).length && before.every(([key, text]) => now?.[key] === text)
  return member.address === server.address && isSameMeta
}

function checkSame(member: Member, server: Server): void {
  if (isSame(member, server)) return
  const remedy = `say the same, or change what is said of it with updateServer`
  throw refused(`server ${server.id} is a member already, at ${member.address}, and is said to be another: ${remedy}`)
}

function refused(reason: string): RaftError {
  return new RaftError('ERR_RAFT_CHANGE_REFUSED', reason)
}

/** A step that is done stays done, and making the call again does no harm. */
function partly({ code, message, outcome, retryable, leader, cause }: RaftError, soFar: string): RaftError {
  const how = 'The same call goes on from there, made to whichever server leads'
  return new RaftError(code, `${message}; so far: ${soFar}. ${how}`, {
    outcome: outcome === 'not-applied' ? 'applied' : outcome,
    retryable: retryable || code !== 'ERR_RAFT_CHANGE_REFUSED',
    leader,
    cause,
  })
}
