/**
 * How a server of any role answers RequestVote (5.2, 5.4.1) and PreVote (thesis 9.6).
 *
 * Invariant: a server that hears a live leader, or is one, gives no vote and does not adopt the asker's term, unless
 * that leader itself has asked for the election (4.2.3); nor does it of a server that it does not know (`isDenied`).
 */

import type { ServerId } from '../types.js'
import type { PreVote, PreVoteResult, RequestVote, RequestVoteResult } from './messages.js'
import type { CoreContext } from './role.js'

/** Decides on a vote. Changes term and vote when it must; the answer waits for their ticket. */
export function answerRequestVote(
  core: CoreContext,
  from: ServerId,
  message: RequestVote,
  isDenied: boolean,
): RequestVoteResult {
  const { hardState, log } = core
  if (message.term > hardState.term && !isDenied) {
    core.becomeFollower(message.term, null, `${from} asked for a vote in term ${message.term}`)
  }
  const free = hardState.votedFor === null || hardState.votedFor === from
  const current = message.term === hardState.term && !isDenied
  const granted = current && free && log.isUpToDate(message.lastIndex, message.lastTerm)
  if (granted) hardState.vote(from)
  return { type: 'RequestVoteResult', term: hardState.term, granted }
}

/** Changes nothing: no term, no vote, no timer. */
export function answerPreVote(core: CoreContext, message: PreVote, isDenied: boolean): PreVoteResult {
  const { hardState, log } = core
  const granted =
    !isDenied && message.proposedTerm > hardState.term && log.isUpToDate(message.lastIndex, message.lastTerm)
  return { type: 'PreVoteResult', term: hardState.term, granted, round: message.round }
}
