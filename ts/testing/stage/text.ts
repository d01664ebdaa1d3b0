/** Messages, tickets and events as stable lines of text, for transcripts and for the story of a failed run. */

import type {
  CoreEvent,
  PersistTicket,
  ReadOutcome,
  Request,
  Response,
  TicketOperation,
  TransferOutcome,
} from '../../core/index.js'
import { AssertionFailure } from '../../errors.js'
import { logIndex, termOf } from '../../types.js'
import type { Block } from '../../types.js'
import { earlierEntry, makeBlock } from './blocks.js'

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
      return `RequestVote term=${message.term} last=${message.lastIndex}/${message.lastTerm}${message.isTransfer === true ? ' transfer' : ''}`
    case 'TimeoutNow':
      return `TimeoutNow term=${message.term} last=${message.lastIndex}/${message.lastTerm}`
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

/**
 * Reads what `formatMessage` writes; what is left out is 0. The payloads of blocks say where they stand and in which
 * term.
 */
export function parseMessage(text: string): Request | Response {
  const [type = '', ...words] = text.split(' ')
  const fields = new Map(words.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]))
  const number = (name: string): number => Number(fields.get(name) ?? 0)
  const pair = (name: string): readonly number[] => (fields.get(name) ?? '0/0').split('/').map(Number)
  const term = termOf(number('term'))
  const round = number('round')
  const granted = words.includes('granted')
  const [lastIndex, lastTerm] = [logIndex(pair('last')[0] ?? 0), termOf(pair('last')[1] ?? 0)]
  switch (type) {
    case 'AppendEntries': {
      const [prevIndex = 0, prevTerm = 0] = pair('prev')
      const commitIndex = logIndex(number('commit'))
      const blocks = words.filter((word) => word.startsWith('[')).map(parseBlock)
      return { type, term, prevIndex: logIndex(prevIndex), prevTerm: termOf(prevTerm), commitIndex, round, blocks }
    }
    case 'AppendEntriesResult': {
      const status = (['matched', 'conflict', 'busy'] as const).find((word) => words.includes(word)) ?? 'matched'
      const [hintIndex, hintTerm] = [logIndex(pair('hint')[0] ?? 0), termOf(pair('hint')[1] ?? 0)]
      return { type, term, status, matchIndex: logIndex(number('match')), hintIndex, hintTerm, round }
    }
    case 'RequestVote':
      return { type, term, lastIndex, lastTerm, ...(words.includes('transfer') ? { isTransfer: true as const } : {}) }
    case 'TimeoutNow':
      return { type, term, lastIndex, lastTerm }
    case 'RequestVoteResult':
      return { type, term, granted }
    case 'PreVote':
      return { type, proposedTerm: termOf(number('proposed')), lastIndex, lastTerm, round }
    case 'PreVoteResult':
      return { type, term, granted, round }
    default:
      throw new AssertionFailure(`text: no message ${text}`)
  }
}

function parseBlock(word: string): Block {
  const [first = 0, last = 0, term = 0] = (word.match(/\d+/g) ?? []).map(Number)
  const payloads = Array.from({ length: last - first + 1 }, (_, at) => earlierEntry(first + at, term).payload)
  return makeBlock(first, term, payloads)
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
    case 'regressed':
      return `finds that ${event.peer} has lost some of its ${event.acknowledged} entries`
    case 'breach':
      return `blames ${event.peer}: ${event.reason}`
  }
}

export function formatRead(read: ReadOutcome): string {
  return read.status === 'confirmed' ? `read ${read.id} confirmed at ${read.index}` : `read ${read.id} ${read.status}`
}

export function formatTransfer(transfer: TransferOutcome): string {
  const to = transfer.to ?? 'nobody'
  return `transfer ${transfer.id} to ${to} ${transfer.status === 'failed' ? `failed: ${transfer.reason}` : 'done'}`
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
    case 'compact':
      return `compact to ${operation.first} behind ${operation.snapshot.index}/${operation.snapshot.term}`
    case 'hardState': {
      const { term, votedFor, commitIndex } = operation.hardState
      return `term=${term} vote=${votedFor ?? '-'} commit=${commitIndex}`
    }
  }
}
