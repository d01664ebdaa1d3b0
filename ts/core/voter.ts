/**
 * How a server of any role answers RequestVote (5.2, 5.4.1) and PreVote (thesis 9.6).
 *
 * Invariant: a server that hears a live leader, or is one, gives no vote and does not adopt the asker's term.
 */

import type { ServerId } from '../types.js'
import type { PreVote, PreVoteResult, RequestVote, RequestVoteResult } from './messages.js'
import type { RoleContext } from './role.js'

/** Decides on a vote. Changes term and vote when it must; the answer waits for their ticket. */
export function answerRequestVote(
  core: RoleContext,
  from: ServerId,
  message: RequestVote,
  hearsLeader: boolean,
): RequestVoteResult {
  const { tickets, log } = core
  if (message.term > tickets.term && !hearsLeader) {
    core.becomeFollower(message.term, null, `${from} asked for a vote in term ${message.term}`)
  }
  const free = tickets.votedFor === null || tickets.votedFor === from
  const current = message.term === tickets.term && !hearsLeader
  const granted = current && free && log.isUpToDate(message.lastIndex, message.lastTerm)
  if (granted) core.grantVote(from)
  return { type: 'RequestVoteResult', term: tickets.term, granted }
}

/** Changes nothing: no term, no vote, no timer. */
export function answerPreVote(core: RoleContext, message: PreVote, hearsLeader: boolean): PreVoteResult {
  const { tickets, log } = core
  const granted =
    !hearsLeader && message.proposedTerm > tickets.term && log.isUpToDate(message.lastIndex, message.lastTerm)
  return { type: 'PreVoteResult', term: tickets.term, granted, round: message.round }
}
