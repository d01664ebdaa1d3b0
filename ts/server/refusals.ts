/**
 * Why a call is not taken, or ends without its answer, in words: each said in one place. All of them say what became of
 * the command; where that depends on the call, the caller tells it.
 */

import type { TransferFailure, TransferOutcome } from '../core/ready.js'
import { RaftError } from '../errors.js'
import type { LeaderHint, Outcome } from '../errors.js'
import type { NoAnswer } from '../machine/session-batch.js'
import { SESSION_WINDOW } from '../machine/sessions.js'
import type { ServerId } from '../types.js'

/** The reason for giving up, told for either outcome. */
export type ErrorOf = (outcome: Outcome) => RaftError

/** This server does not lead: with the best hint that it has. */
export function notLeader(leader: LeaderHint | null): RaftError {
  if (leader === null) {
    const message = 'no leader is known: an election is under way or a quorum is missing'
    return new RaftError('ERR_RAFT_NO_LEADER', message, { retryable: true })
  }
  const message = `this server does not lead: ask ${leader.id} for it, or call submit or query, which work on every server`
  return new RaftError('ERR_RAFT_NOT_LEADER', message, { leader, retryable: true })
}

/**
 * Accepted commands whose leadership has ended: what becomes of them is not known here any more, or their answer is
 * not.
 */
export function leadershipLost(outcome: Outcome): RaftError {
  const message =
    outcome === 'applied'
      ? 'leadership was lost after the command was committed: it is applied by the other servers, and its answer is lost'
      : 'leadership was lost before the command was committed: it may or may not be applied by a later leader'
  return new RaftError('ERR_RAFT_LEADERSHIP_LOST', message, { outcome })
}

/** A command was sent to the leader, and whether it took it was not heard. */
export function wayLost(leader: ServerId, reason: string): RaftError {
  const message = `the way to the leader ${leader} was lost before it had answered: ${reason}; the command may or may not be applied`
  return new RaftError('ERR_RAFT_LEADERSHIP_LOST', message, { outcome: 'unknown' })
}

/** Nothing was sent. */
export function leaderNotReached(leader: ServerId, reason: string): RaftError {
  const message = `the leader ${leader} was not reached: ${reason}`
  return new RaftError('ERR_RAFT_NO_LEADER', message, { retryable: true })
}

/** Commands and reads travel over channels, which not every transport has. */
export function noWay(leader: LeaderHint): RaftError {
  const message = `this server does not lead, ${leader.id} does, and its transport has no channels (openChannel), over which submit and query reach the leader`
  return new RaftError('ERR_RAFT_NOT_LEADER', message, { leader })
}

/** What a server is told that led as a stranger, and is known to be a member now. */
export function comeAgain(id: ServerId): RaftError {
  return overloaded(`server ${id} was not known to be a member when it came, and is now`)
}

/** What a server is told whose removal is committed, where it is still connected. */
export function removed(id: ServerId): RaftError {
  const message = `server ${id} was removed from the cluster: stop it, or add it again`
  return new RaftError('ERR_RAFT_REMOVED', message)
}

export function closed(outcome: Outcome): RaftError {
  return new RaftError('ERR_RAFT_CLOSED', `this server is closed; ${whatBecame(outcome)}`, { outcome })
}

/** This server has halted: every call of it ends with the error that halted it. */
export function halted(error: RaftError): ErrorOf {
  return (outcome) => new RaftError(error.code, error.message, { outcome, cause: error })
}

/** So much waits, and so much may. */
export function overloaded(what: string): RaftError {
  return new RaftError('ERR_RAFT_OVERLOADED', `${what}: slow down and try again`, { retryable: true })
}

/** This server hands leadership over: a second transfer is not taken, nor what does not fit into what waits. */
export function transferInProgress(): RaftError {
  const message = 'leadership is being handed over, which takes an election timeout at most: try again then'
  return new RaftError('ERR_RAFT_TRANSFER_IN_PROGRESS', message, { retryable: true })
}

/** Why leadership was not handed over, and what to do; `unknown`: the other may still come to lead. */
export function transferFailed(
  failed: TransferOutcome & { readonly status: 'failed' },
  hint: LeaderHint | null,
): RaftError {
  const { reason, to } = failed
  if (reason === 'notLeader') return notLeader(hint)
  if (reason === 'inProgress') return transferInProgress()
  const message = `leadership was not handed over${to === null ? '' : ` to ${to}`}: ${WHY_NOT[reason]}`
  const outcome = reason === 'timedOut' ? 'unknown' : 'not-applied'
  return new RaftError('ERR_RAFT_TRANSFER_FAILED', message, { outcome, leader: hint, retryable: reason !== 'notVoter' })
}

const WHY_NOT: Readonly<Record<Exclude<TransferFailure, 'notLeader' | 'inProgress'>, string>> = {
  noTarget: 'no other voter is heard; look at status.peers for why',
  notVoter: 'it is no other voter of the configuration; name one, or promote it first',
  notHeard: 'it is not heard; look at status.peers for why',
  targetGone: 'its process has ended',
  timedOut: 'it did not lead within an election timeout; look at status.peers whether it is connected and keeps up',
  leadershipLost: 'this server lost leadership before the other was asked',
  otherElected: 'another server was elected',
}

/** So much was asked for as never fits, and so much would. */
export function tooLarge(what: string): RaftError {
  return new RaftError('ERR_RAFT_TOO_LARGE', `${what}: split it`)
}

/** Nothing of it is applied any more; what became of a command that was sent before, the caller says. */
export function sessionLost(id: number, why: string): RaftError {
  return new RaftError('ERR_RAFT_SESSION_LOST', `session ${id} ${why}: open another one`)
}

/** Why a command of a session that is in the log was not applied there, or has no answer. */
export function noAnswer({ session, sequence, reason }: NoAnswer): RaftError {
  const command = `command ${sequence} of session ${session}`
  switch (reason) {
    case 'past':
      return sessionSequence(
        `${command} went back: its answer was said to be needed no more, so it may be applied`,
        'unknown',
      )
    case 'ahead':
      return sessionSequence(
        `${command} is more than ${SESSION_WINDOW} ahead of what waits for an answer`,
        'not-applied',
      )
    case 'applied': {
      const message = `${command} was applied before, and its answer is not kept any more`
      return new RaftError('ERR_RAFT_ANSWER_LOST', message, { outcome: 'applied' })
    }
    default:
      return sessionLost(session, 'is not there any more, since it was closed or has expired, or others took its place')
  }
}

function sessionSequence(what: string, outcome: Outcome): RaftError {
  const message = `${what}. Resume a session with what its last error or its token said, or open another one`
  return new RaftError('ERR_RAFT_SESSION_SEQUENCE', message, { outcome })
}

export function timedOut(outcome: Outcome): RaftError {
  return givenUp('ERR_RAFT_TIMEOUT', 'the call took longer than its timeoutMs', outcome)
}

export function aborted(outcome: Outcome, reason: unknown): RaftError {
  return givenUp('ERR_RAFT_ABORTED', 'the call was aborted by its signal', outcome, reason)
}

function givenUp(code: 'ERR_RAFT_TIMEOUT' | 'ERR_RAFT_ABORTED', why: string, outcome: Outcome, cause?: unknown) {
  const details = { outcome, cause, retryable: outcome === 'not-applied' }
  return new RaftError(code, `${why}; ${whatBecame(outcome)}`, details)
}

/** The deadline of a call has come while it waited for its next try. */
export function timedOutTrying(error: RaftError): RaftError {
  const { outcome, message, leader } = error
  const what = `the call took longer than its timeoutMs; ${whatBecame(outcome)}. The last try: ${message}`
  const details = { outcome, leader, cause: error, retryable: outcome === 'not-applied' }
  return new RaftError('ERR_RAFT_TIMEOUT', what, details)
}

/** From what says least to what says most of what became of a command that was sent more than once. */
const OUTCOMES: readonly Outcome[] = ['not-applied', 'unknown', 'applied']

/** The command was sent before, which may have come to more than this try. */
export function sentBefore(error: RaftError, outcome: Outcome): RaftError {
  if (OUTCOMES.indexOf(outcome) <= OUTCOMES.indexOf(error.outcome)) return error
  const { code, message, leader } = error
  const earlier = outcome === 'unknown' ? 'may be applied all the same' : 'was applied'
  return new RaftError(code, `${message}; sent before, the command ${earlier}`, { outcome, leader, cause: error })
}

function whatBecame(outcome: Outcome): string {
  switch (outcome) {
    case 'unknown':
      return 'the command may still be applied'
    case 'applied':
      return 'the command is committed, and its answer is lost'
    case 'not-applied':
      return 'nothing was appended'
  }
}
