/**
 * What a client is told when its command could not be carried out here.
 *
 * MOVED, CLUSTERDOWN and TRYAGAIN make cluster clients send the command again, by themselves. So they are said only of
 * commands that were not applied and never will be; a write whose outcome is unknown is always `ERR RAFT_UNKNOWN`, or
 * an INCR could count twice.
 */

import { RaftError } from 'balsa-raft'
import { redirectAddress, type KnownMember } from '../cluster/members.js'
import { inOwnWords } from '../commands/remedies.js'
import { FORWARDED_ANSWER_BYTES_MAX, LEADER_WAIT_MS } from '../limits.js'
import { failure, textBytes, type ErrorReply } from '../resp/reply.js'
import type { Leadership } from './leadership.js'

const noLeader = failure('CLUSTERDOWN no leader is known here; one is being elected, or most servers cannot be reached')
const overloaded = failure('TRYAGAIN this server has more commands waiting than it takes')
const late = failure(
  `TRYAGAIN this server did not have what the read must have seen within ${LEADER_WAIT_MS} ms: the leader does not answer, this server is behind, or no write was ever told that MININDEX`,
)
const closing = failure('CLUSTERDOWN this server is closing')

/** The data set is full, and this command could make it larger. */
export const outOfMemory = failure("OOM command not allowed when used memory > 'maxmemory'.")

/** A forwarded command whose answer could not come back. */
export const answerTooLarge = failure(
  `ERR the answer would be over ${FORWARDED_ANSWER_BYTES_MAX} bytes, which is as much as comes back from the leader: ask it there`,
)

/** All that was here is being replaced. */
export const loading = failure('LOADING this server is reading a snapshot of the data set; ask another, or again')

/**
 * Sends a client to the leader. All 16384 slots are the leader's. A command without keys names slot 0: that is true as
 * well, and clients (redis-cli -c, ioredis, go-redis) go by the address; any other answer they would report as an error
 * instead of following it.
 */
export function moved(
  leadership: Leadership,
  slot: number,
  leader: KnownMember | null = leadership.leader,
): ErrorReply {
  if (leader === null || leader === leadership.self) return noLeader
  if (leader.redis === null) {
    const remedy = `say it to the leader: RAFT UPDATE ${leader.id} host:port host:port`
    return failure(
      `CLUSTERDOWN ${textBytes(leader.id)} leads, and nobody has said where its clients find it; ${textBytes(remedy)}`,
    )
  }
  return failure(`MOVED ${slot} ${textBytes(redirectAddress(leader.redis))}`)
}

/**
 * Whether the leader has to be asked instead, whoever that is: better told by MOVED, which clients follow at once, than
 * by CLUSTERDOWN, after which each waits for a while of its own.
 */
export function isForLeader(error: unknown): boolean {
  if (!(error instanceof RaftError) || error.outcome !== 'not-applied') return false
  return ['ERR_RAFT_NOT_LEADER', 'ERR_RAFT_LEADERSHIP_LOST', 'ERR_RAFT_NO_LEADER'].includes(error.code)
}

/** What a client is told of a command of the data set that has to be carried out by the leader, and cannot be. */
export function elsewhere(
  leadership: Leadership,
  slot: number,
  leader: KnownMember | null = leadership.leader,
): ErrorReply {
  if (!leadership.forwards || leader === null || leader === leadership.self) return moved(leadership, slot, leader)
  return failure(`CLUSTERDOWN ${textBytes(leader.id)} leads, and does not answer this server, which forwards to it`)
}

/** The answer to a write that failed. */
export function writeFailure(error: unknown, leadership: Leadership, slot: number): ErrorReply {
  if (!(error instanceof RaftError)) return unknownOutcome(String(error))
  switch (error.outcome) {
    case 'not-applied':
      return refusal(error, leadership, slot)
    case 'unknown':
      return unknownOutcome(error.message)
    case 'applied':
      return failure(`ERR RAFT_APPLIED the command was applied, but its answer is lost: ${textBytes(error.message)}`)
  }
}

/** The answer to a read that failed: it changed nothing, so it may always be sent again. */
export function readFailure(error: unknown, leadership: Leadership, slot: number): ErrorReply {
  if (!(error instanceof RaftError)) return failure(`ERR RAFT_FAILED ${textBytes(String(error))}`)
  return refusal(error, leadership, slot)
}

/** The answer to a call of the library that failed: nothing that a client sent is applied again by asking again. */
export function callFailure(error: unknown, leadership: Leadership): ErrorReply {
  if (!(error instanceof RaftError)) return failure(`ERR RAFT_FAILED ${textBytes(String(error))}`)
  const isElsewhere = error.code === 'ERR_RAFT_NOT_LEADER' || error.code === 'ERR_RAFT_NO_LEADER'
  // Also where this server forwards: these are calls of a person, who is told whom to ask.
  return isElsewhere ? moved(leadership, 0, leadership.member(error.leader) ?? leadership.leader) : told(error)
}

function refusal(error: RaftError, leadership: Leadership, slot: number): ErrorReply {
  switch (error.code) {
    case 'ERR_RAFT_NOT_LEADER':
    case 'ERR_RAFT_LEADERSHIP_LOST':
    case 'ERR_RAFT_NO_LEADER':
      return elsewhere(leadership, slot, leadership.member(error.leader) ?? leadership.leader)
    case 'ERR_RAFT_TIMEOUT':
      // Of a read: what it was waiting for says more.
      return error.cause instanceof RaftError ? refusal(error.cause, leadership, slot) : late
    case 'ERR_RAFT_OVERLOADED':
    case 'ERR_RAFT_TRANSFER_IN_PROGRESS':
    case 'ERR_RAFT_ABORTED':
      return overloaded
    case 'ERR_RAFT_CLOSED':
      return closing
    case 'ERR_RAFT_TOO_LARGE':
    case 'ERR_RAFT_ENCODE':
    case 'ERR_RAFT_INVALID':
    case 'ERR_RAFT_TRANSFER_FAILED':
    case 'ERR_RAFT_APPLY_FAILED':
    case 'ERR_RAFT_STORE_CORRUPT':
    case 'ERR_RAFT_STORE_FULL':
    case 'ERR_RAFT_STORE_POISONED':
    case 'ERR_RAFT_STORE_FORMAT':
    case 'ERR_RAFT_SNAPSHOT_CORRUPT':
    case 'ERR_RAFT_SNAPSHOT_FAILED':
    case 'ERR_RAFT_NATIVE_UNAVAILABLE':
    case 'ERR_RAFT_DIR_LOCKED':
    case 'ERR_RAFT_DIR_UNUSABLE':
    case 'ERR_RAFT_CLUSTER_MISMATCH':
    case 'ERR_RAFT_CLUSTER_RECOVERED':
    case 'ERR_RAFT_WRONG_FOLDER':
    case 'ERR_RAFT_COPIED_FOLDER':
    case 'ERR_RAFT_PEER_REPLACED':
    case 'ERR_RAFT_BOOT_UNPROVEN':
    case 'ERR_RAFT_LISTEN':
    case 'ERR_RAFT_UNREACHABLE':
    case 'ERR_RAFT_CLIENT_REFUSED':
    case 'ERR_RAFT_UNAUTHENTICATED':
    case 'ERR_RAFT_QUERY_FAILED':
    case 'ERR_RAFT_CHANGE_REFUSED':
    case 'ERR_RAFT_REMOVED':
    case 'ERR_RAFT_SESSION_LOST':
    case 'ERR_RAFT_SESSION_SEQUENCE':
    case 'ERR_RAFT_ANSWER_LOST':
    case 'ERR_RAFT_THREAD_LOST':
    case 'ERR_RAFT_OPTIONS':
      return told(error)
  }
}

/** The code, and what is wrong and what helps, in words of this server. */
function told({ code, message }: RaftError): ErrorReply {
  return failure(`ERR ${code.slice(4)} ${textBytes(inOwnWords(message))}`)
}

function unknownOutcome(message: string): ErrorReply {
  return failure(
    `ERR RAFT_UNKNOWN the command may or may not have been applied; read before sending it again: ${textBytes(inOwnWords(message))}`,
  )
}
