/**
 * What a message must be, whoever wrote it: one set of rules for what is sent, what is decoded, what passes by
 * reference, and what the core is given. Only what a message says of itself is judged here; whether it fits this
 * server's log is the business of the role. What has passed is well formed, and may still be late, repeated or out of
 * date.
 */

import { isPosition } from '../types.js'
import type { AppendEntries, Request, Response } from './messages.js'

/**
 * What no correct peer sends, in words; null when the message makes sense. Total: any field may be any number. Hot
 * path: once per batch.
 */
export function messageFlaw(message: Request | Response): string | null {
  switch (message.type) {
    case 'AppendEntries':
      return (
        flaw('term', message.term) ??
        flaw('prevIndex', message.prevIndex) ??
        flaw('prevTerm', message.prevTerm) ??
        flaw('commitIndex', message.commitIndex) ??
        flaw('round', message.round) ??
        blocksFlaw(message)
      )
    case 'AppendEntriesResult':
      return (
        flaw('term', message.term) ??
        flaw('matchIndex', message.matchIndex) ??
        flaw('hintIndex', message.hintIndex) ??
        flaw('hintTerm', message.hintTerm) ??
        flaw('round', message.round) ??
        (message.lastIndex === undefined ? null : flaw('lastIndex', message.lastIndex))
      )
    case 'RequestVote':
      return flaw('term', message.term) ?? flaw('lastIndex', message.lastIndex) ?? flaw('lastTerm', message.lastTerm)
    case 'RequestVoteResult':
      return flaw('term', message.term)
    case 'PreVote':
      return (
        flaw('proposedTerm', message.proposedTerm) ??
        flaw('lastIndex', message.lastIndex) ??
        flaw('lastTerm', message.lastTerm) ??
        flaw('round', message.round)
      )
    case 'PreVoteResult':
      return flaw('term', message.term) ?? flaw('round', message.round)
  }
}

function flaw(field: string, value: number): string | null {
  return isPosition(value) ? null : `${field} ${value} is not a whole number in 0 .. 2^53 - 1`
}

/** Blocks follow one another from prevIndex + 1, and terms never fall along the log nor pass the leader's (5.3). */
function blocksFlaw(message: AppendEntries): string | null {
  if (message.prevTerm > message.term) return `prevTerm ${message.prevTerm} is above its own term ${message.term}`
  let next = message.prevIndex + 1
  // The first term is 1.
  let term = Math.max(message.prevTerm, 1)
  for (const block of message.blocks) {
    if (block.first !== next) return `a block begins at index ${block.first} where ${next} must follow`
    if (!isPosition(block.last) || block.last < block.first) {
      return `a block of indexes ${block.first} .. ${block.last} is empty`
    }
    if (!isPosition(block.term) || block.term < term || block.term > message.term) {
      return `a block of term ${block.term} does not lie between term ${term} before it and the leader's ${message.term}`
    }
    next = block.last + 1
    term = block.term
  }
  return isPosition(next) ? null : `the blocks end at index ${next - 1}, over 2^53 - 2`
}
