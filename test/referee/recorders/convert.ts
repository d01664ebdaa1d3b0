/** What the library says, in the words of the trace. The only folder beside the referee that knows the library. */

import type { PersistTicket, RaftCore, Request, Response } from '#balsa/core/index.js'
import type { Block, Configuration, SnapshotMeta } from '#balsa/types.js'
import type { Message, ServerEvent, Snapshot, Stretch, Voters, WriteStep } from '../trace-format.js'

/** The hash of each entry of a block. */
export type HashesOf = (block: Block) => readonly string[]

/** The hash of what is no command. */
export const INTERNAL = '-'

export function messageOf(message: Request | Response, hashesOf: HashesOf): Message {
  switch (message.type) {
    case 'AppendEntries': {
      const { type, term, prevIndex, prevTerm, round, commitIndex } = message
      const entries = message.blocks.map((block) => stretchOf(block, hashesOf))
      return { type, term, prevIndex, prevTerm, entries, commit: commitIndex, round }
    }
    case 'AppendEntriesResult': {
      const { type, term, status, matchIndex, round } = message
      return { type, term, success: status !== 'conflict', match: matchIndex, round }
    }
    case 'RequestVote': {
      const { type, term, lastIndex, lastTerm } = message
      return { type, term, lastIndex, lastTerm }
    }
    case 'TimeoutNow': {
      const { type, term } = message
      return { type, term }
    }
    case 'RequestVoteResult': {
      const { type, term, granted } = message
      return { type, term, granted }
    }
    case 'PreVote': {
      const { type, proposedTerm, lastIndex, lastTerm, round } = message
      return { type, proposedTerm, lastIndex, lastTerm, round }
    }
    case 'PreVoteResult': {
      const { type, term, granted, round } = message
      return { type, term, granted, round }
    }
  }
}

export function writeOf(server: string, { ticket, operations }: PersistTicket, hashesOf: HashesOf): ServerEvent {
  const steps = operations.map((operation): WriteStep => {
    switch (operation.type) {
      case 'append':
        return { step: 'append', entries: stretchOf(operation.block, hashesOf) }
      case 'truncateSuffix':
        return { step: 'truncate', from: operation.from }
      case 'compact': {
        const { first, prevTerm, keepSuffix } = operation
        const snapshot = snapshotOf(operation.snapshot)
        // Whoever makes a snapshot keeps its last entry at least.
        if (first > snapshot.index) return { step: 'install', snapshot, keeps: keepSuffix }
        return { step: 'compact', first, prevTerm, snapshot }
      }
      case 'hardState': {
        const { term, votedFor, commitIndex } = operation.hardState
        return { step: 'state', term, votedFor, commit: commitIndex }
      }
    }
  })
  return { event: 'write', server, write: ticket, steps }
}

export function turnOf(server: string, core: RaftCore): ServerEvent {
  const { lastIndex, lastTerm, commitIndex, durableIndex } = core.log
  const { role, term, votedFor } = core
  return {
    event: 'turn',
    server,
    role,
    term,
    votedFor,
    lastIndex,
    lastTerm,
    commit: commitIndex,
    durable: durableIndex,
  }
}

/** Of a core that has not taken any input. */
export function bootOf(server: string, core: RaftCore): ServerEvent {
  const { commitIndex, snapshot, firstIndex, lastIndex, termRuns } = core.log
  const runs = termRuns.map(({ first, term }) => ({ first, term }))
  return {
    event: 'boot',
    server,
    term: core.term,
    votedFor: core.votedFor,
    commit: commitIndex,
    snapshot: snapshot === null ? null : snapshotOf(snapshot),
    first: firstIndex,
    last: lastIndex,
    runs,
  }
}

function stretchOf(block: Block, hashesOf: HashesOf): Stretch {
  const stretch = { first: block.first, term: block.term, hashes: hashesOf(block) }
  if (block.configuration === null) return stretch
  return { ...stretch, configuration: votersOf(block.configuration) }
}

function snapshotOf({ id, index, term, configuration }: SnapshotMeta): Snapshot {
  return { id, index, term, voters: votersOf(configuration) }
}

function votersOf({ voters, outgoing }: Configuration): Voters {
  return { voters: voters.map(({ id }) => id), outgoing: outgoing?.map(({ id }) => id) ?? null }
}
