/** Messages, tickets and events as stable lines of text, for transcripts and for the story of a failed run. */

import type { Block } from '#balsa/types.js'
import type { CoreEvent, PersistTicket, ReadOutcome, Request, Response, TicketOperation } from '#balsa/core/index.js'

export function formatMessage(message: Request | Response): string {
  switch (message.type) {
    case 'AppendEntries': {
      const { term, prevIndex, prevTerm, commitIndex, round } = message
      const what = message.blocks.length === 0 ? 'heartbeat' : message.blocks.map(formatBlock).join(' ')
      return `AppendEntries term=${term} prev=${prevIndex}/${prevTerm} commit=${commitIndex} round=${round} ${what}`
    }
    case 'AppendEntriesResult': {
      const { term, status, matchIndex, hintIndex, hintTerm, round } = message
      const hint = status === 'conflict' ? ` hint=${hintIndex}/${hintTerm}` : ''
      return `AppendEntriesResult term=${term} ${status} match=${matchIndex}${hint} round=${round}`
    }
    case 'RequestVote':
      return `RequestVote term=${message.term} last=${message.lastIndex}/${message.lastTerm}`
    case 'RequestVoteResult':
      return `RequestVoteResult term=${message.term} ${message.granted ? 'granted' : 'refused'}`
    case 'PreVote': {
      const { proposedTerm, lastIndex, lastTerm, round } = message
      return `PreVote proposed=${proposedTerm} last=${lastIndex}/${lastTerm} round=${round}`
    }
    case 'PreVoteResult':
      return `PreVoteResult term=${message.term} ${message.granted ? 'granted' : 'refused'} round=${message.round}`
  }
}

export function formatTicket(ticket: PersistTicket): string {
  return `ticket ${ticket.ticket}: ${ticket.operations.map(formatOperation).join(', ')}`
}

export function formatEvent(event: CoreEvent): string {
  switch (event.type) {
    case 'role':
      return `is ${event.role} in term ${event.term}`
    case 'leader':
      return event.leader === null ? 'knows no leader' : `follows ${event.leader.id} in term ${event.term}`
    case 'steppedDown':
      return `steps down: ${event.reason}`
    case 'protocolFault':
      return `blames ${event.peer}: ${event.reason}`
  }
}

export function formatRead(read: ReadOutcome): string {
  return read.status === 'confirmed' ? `read ${read.id} confirmed at ${read.index}` : `read ${read.id} ${read.status}`
}

/** `first-last/term`. */
export function formatBlock(block: Block): string {
  return `[${block.first}-${block.last}/${block.term}]`
}

function formatOperation(operation: TicketOperation): string {
  switch (operation.type) {
    case 'append':
      return `append ${formatBlock(operation.block)}`
    case 'truncateSuffix':
      return `truncate from ${operation.from}`
    case 'hardState': {
      const { term, votedFor, commitIndex } = operation.hardState
      return `term=${term} vote=${votedFor ?? '-'} commit=${commitIndex}`
    }
  }
}
