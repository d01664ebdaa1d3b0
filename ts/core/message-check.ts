/**
 * What a message must be, whoever wrote it: one set of rules for what is sent, what is decoded, what passes by
 * reference, and what the core is given. Only what a message says of itself is judged here; whether it fits this
 * server's log is the business of the role. What has passed is well formed, and may still be late, repeated or out of
 * date.
 */

import { isPosition } from '../types.js'
import type { Term } from '../types.js'
import type { AppendEntries, Request, Response } from './messages.js'

/**
 * How far the term of a message may be above that of the server which it reaches. Whatever was missed: at a new term
 * every 30 ms, the shortest election timeout that there is, it takes four years. A larger step is no election but
 * damage or a forgery, and a term that was taken is never given back.
 */
export const TERM_JUMP_MAX = 2 ** 32

/**
 * What no correct peer sends, in words; null when the message makes sense. Total: any field may be any number. A
 * number is at most `max`: by default, all that the wire carries; the core believes no more than POSITION_MAX. Hot
 * path: once per batch.
 */
export function messageFlaw(message: Request | Response, max = Number.MAX_SAFE_INTEGER): string | null {
  switch (message.type) {
    case 'AppendEntries':
      return (
        flaw('term', message.term, max) ??
        flaw('prevIndex', message.prevIndex, max) ??
        flaw('prevTerm', message.prevTerm, max) ??
        flaw('commitIndex', message.commitIndex, max) ??
        flaw('round', message.round, max) ??
        blocksFlaw(message, max)
      )
    case 'AppendEntriesResult':
      return (
        flaw('term', message.term, max) ??
        flaw('matchIndex', message.matchIndex, max) ??
        flaw('hintIndex', message.hintIndex, max) ??
        flaw('hintTerm', message.hintTerm, max) ??
        flaw('round', message.round, max) ??
        (message.lastIndex === undefined ? null : flaw('lastIndex', message.lastIndex, max)) ??
        (message.acceptedIndex === undefined ? null : flaw('acceptedIndex', message.acceptedIndex, max))
      )
    case 'RequestVote':
    case 'TimeoutNow':
      return (
        flaw('term', message.term, max) ??
        flaw('lastIndex', message.lastIndex, max) ??
        flaw('lastTerm', message.lastTerm, max)
      )
    case 'RequestVoteResult':
      return flaw('term', message.term, max)
    case 'PreVote':
      return (
        flaw('proposedTerm', message.proposedTerm, max) ??
        flaw('lastIndex', message.lastIndex, max) ??
        flaw('lastTerm', message.lastTerm, max) ??
        flaw('round', message.round, max)
      )
    case 'PreVoteResult':
      return flaw('term', message.term, max) ?? flaw('round', message.round, max)
  }
}

/** What is wrong with the term of a message for a server that is in term `own`; null when elections explain it. */
export function termFlaw(message: Request | Response, own: Term): string | null {
  const term = message.type === 'PreVote' ? message.proposedTerm : message.term
  if (term - own <= TERM_JUMP_MAX) return null
  return `term ${term} is over 2^32 above term ${own} here: no elections lead there, and it is not taken`
}

function flaw(field: string, value: number, max: number): string | null {
  return isPosition(value, max) ? null : `${field} ${value} is not a whole number in 0 .. ${max}`
}

/** Blocks follow one another from prevIndex + 1, and terms never fall along the log nor pass the leader's (5.3). */
function blocksFlaw(message: AppendEntries, max: number): string | null {
  if (message.prevTerm > message.term) return `prevTerm ${message.prevTerm} is above its own term ${message.term}`
  let next = message.prevIndex + 1
  // The first term is 1.
  let term = Math.max(message.prevTerm, 1)
  for (const block of message.blocks) {
    if (block.first !== next) return `a block begins at index ${block.first} where ${next} must follow`
    if (!isPosition(block.last, max) || block.last < block.first) {
      return `a block of indexes ${block.first} .. ${block.last} is empty`
    }
    if (!isPosition(block.term, max) || block.term < term || block.term > message.term) {
      return `a block of term ${block.term} does not lie between term ${term} before it and the leader's ${message.term}`
    }
    next = block.last + 1
    term = block.term
  }
  return isPosition(next, max) ? null : `the blocks end at index ${next - 1}, and ${max} is the largest that there is`
}
