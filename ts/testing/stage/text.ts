/** Messages, tickets and events as stable lines of text, for transcripts and for the story of a failed run. */

import type {
  ChangeOutcome,
  ChangeRequest,
  ConfigurationChange,
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
import type { Block, Configuration, Server } from '../../types.js'
import { earlierEntry, makeBlock } from './blocks.js'

/** A message in one line, as the trace of a stage has it. */
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

/** An event of a core in words, as the trace of a stage has it. */
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
    case 'configuration': {
      const { configuration, index, isCommitted } = event
      return `${isCommitted ? 'has committed' : 'takes'} configuration ${index}: ${formatConfiguration(configuration)}`
    }
    case 'removed':
      return `is no member any more, by configuration ${event.index}`
    case 'contacts':
      return `talks to ${event.contacts.map(({ id }) => id).join(' ')}`
    case 'breach':
      return `blames ${event.peer}: ${event.reason}`
  }
}

/**
 * `s1 s2 s3`, `s2 s3 (out: s1 s2 s3)`, nonvoters behind a plus, with a star where they wait to be promoted, and `lease
 * 500`.
 */
export function formatConfiguration({ voters, outgoing, nonvoters, leaseMs }: Configuration): string {
  const idsOf = (servers: readonly Server[]): string => servers.map(({ id }) => id).join(' ')
  const out = outgoing === null ? '' : ` (out: ${idsOf(outgoing)})`
  const more = nonvoters.map(({ id, promote }) => ` +${id}${promote ? '*' : ''}`).join('')
  return `${idsOf(voters)}${out}${more}${leaseMs === undefined ? '' : ` lease ${leaseMs}`}`
}

/** `add s4 s4:1 promote`, `promote s4 at-once`, `remove s4`, `set s1,s2 s4`, and so on; `force` at the end. */
export function formatChange({ change, force }: Pick<ChangeRequest, 'change' | 'force'>): string {
  return `${change.type} ${wordsOf(change)}${force ? ' force' : ''}`
}

/** Reads what `formatChange` writes; extensions have no words. */
export function parseChange(text: string): ChangeRequest {
  const [type = '', id = '', ...words] = text.split(' ').filter((word) => word !== 'force')
  const request = { ifIndex: null, force: text.endsWith(' force') }
  const idsOf = (list: string): readonly string[] => list.split(',').filter((name) => name !== '-')
  switch (type) {
    case 'add': {
      const server = { id, address: words[0] ?? `${id}:1` }
      return { ...request, change: { type, server, promote: words.includes('promote') } }
    }
    case 'promote':
      return { ...request, change: { type, id, atOnce: words.includes('at-once') } }
    case 'demote':
    case 'remove':
      return { ...request, change: { type, id } }
    case 'replace':
      return { ...request, change: { type, id, by: words[0] ?? '' } }
    case 'update':
      return { ...request, change: { type, server: { id, address: words[0] ?? '' } } }
    case 'lease':
      return { ...request, change: { type, leaseMs: Number(id) } }
    case 'set':
      return { ...request, change: { type, voters: idsOf(id), nonvoters: idsOf(words[0] ?? '-') } }
    default:
      throw new AssertionFailure(`text: no change ${text}`)
  }
}

function wordsOf(change: ConfigurationChange): string {
  const listOf = (ids: readonly string[]): string => (ids.length === 0 ? '-' : ids.join(','))
  switch (change.type) {
    case 'add':
      return `${change.server.id} ${change.server.address}${change.promote ? ' promote' : ''}`
    case 'promote':
      return `${change.id}${change.atOnce ? ' at-once' : ''}`
    case 'demote':
    case 'remove':
      return change.id
    case 'replace':
      return `${change.id} ${change.by}`
    case 'update':
      return `${change.server.id} ${change.server.address}`
    case 'lease':
      return String(change.leaseMs)
    case 'set':
      return `${listOf(change.voters)} ${listOf(change.nonvoters)}`
  }
}

export function formatOutcome(outcome: ChangeOutcome): string {
  if (outcome.status === 'appended') return `change appended at ${outcome.index}`
  const { refusal } = outcome
  switch (refusal.kind) {
    case 'notLeader':
      return 'change refused: not leader'
    case 'notYet':
    case 'flaw':
      return `change refused: ${refusal.reason}`
    case 'lags':
      return `change refused: ${refusal.id} has not caught up`
    case 'otherIndex':
      return `change refused: the configuration is ${refusal.index}, not ${refusal.expected}`
    case 'noQuorum':
      return `change refused: ${refusal.unheard.join(' ')} not heard`
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
