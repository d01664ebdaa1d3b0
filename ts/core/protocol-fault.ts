/**
 * What no correct peer sends, in words; null when the message makes sense. Checked once, at the gateway of the core: what
 * has passed here is trusted to be well formed, and may still be late, repeated or out of date.
 */

import { isPosition } from '../types.js'
import type { AppendEntries, Request, Response } from './messages.js'

export function requestFault(message: Request): string | null {
  switch (message.type) {
    case 'AppendEntries':
      return appendFault(message)
    case 'RequestVote':
      return rangeFault(message.type, message.term, message.lastIndex, message.lastTerm)
    case 'PreVote':
      return rangeFault(message.type, message.proposedTerm, message.lastIndex, message.lastTerm, message.round)
  }
}

export function responseFault(message: Response): string | null {
  switch (message.type) {
    case 'AppendEntriesResult': {
      const { type, term, matchIndex, hintIndex, hintTerm, round } = message
      return rangeFault(type, term, matchIndex, hintIndex, hintTerm, round)
    }
    case 'RequestVoteResult':
      return rangeFault(message.type, message.term)
    case 'PreVoteResult':
      return rangeFault(message.type, message.term, message.round)
  }
}

/** Hot path: once per batch. Invariant of what passes: the blocks follow prevIndex without a hole, and their terms never fall. */
function appendFault(message: AppendEntries): string | null {
  const { term, prevIndex, prevTerm, commitIndex, round } = message
  const fault = rangeFault(message.type, term, prevIndex, prevTerm, commitIndex, round)
  if (fault !== null) return fault
  if (prevTerm > term) return `a previous term ${prevTerm} above its own ${term}`
  let last: number = prevIndex
  // The first term is 1.
  let lastTerm = Math.max(prevTerm, 1)
  for (const block of message.blocks) {
    if (block.first !== last + 1 || !isPosition(block.last) || block.last < block.first) {
      return `a block ${block.first}-${block.last} after entry ${last}`
    }
    if (!isPosition(block.term) || block.term < lastTerm || block.term > term) {
      return `a block of term ${block.term} after term ${lastTerm}, in term ${term}`
    }
    last = block.last
    lastTerm = block.term
  }
  return null
}

function rangeFault(type: string, ...numbers: readonly number[]): string | null {
  return numbers.every(isPosition) ? null : `a ${type} with a number out of range`
}
