/** Messages with everything filled in but what a test cares about. */

import { logIndex, termOf } from '#balsa/types.js'
import type { Block, Configuration, SnapshotMeta } from '#balsa/types.js'
import type {
  AppendEntries,
  AppendEntriesResult,
  PreVote,
  PreVoteResult,
  RequestVote,
  RequestVoteResult,
} from '#balsa/core/index.js'

/** `index/term`, as logs and messages are written in traces. */
export type EntryId = `${number}/${number}`

export function appendEntries(
  term: number,
  prev: EntryId,
  blocks: readonly Block[],
  commitIndex = 0,
  round = 1,
): AppendEntries {
  const [prevIndex, prevTerm] = numbersOf(prev)
  return {
    type: 'AppendEntries',
    term: termOf(term),
    prevIndex: logIndex(prevIndex),
    prevTerm: termOf(prevTerm),
    blocks,
    commitIndex: logIndex(commitIndex),
    round,
  }
}

export function matched(term: number, matchIndex: number, round = 1): AppendEntriesResult {
  return result(term, 'matched', matchIndex, '0/0', round)
}

export function conflict(term: number, hint: EntryId, round = 1): AppendEntriesResult {
  return result(term, 'conflict', 0, hint, round)
}

/** An answer that also says where the log of its sender ends. */
export function endingAt(lastIndex: number, answer: AppendEntriesResult): AppendEntriesResult {
  return { ...answer, lastIndex: logIndex(lastIndex) }
}

/** An answer that has taken more than is durable. */
export function accepting(acceptedIndex: number, answer: AppendEntriesResult): AppendEntriesResult {
  return { ...answer, acceptedIndex: logIndex(acceptedIndex) }
}

export function requestVote(term: number, last: EntryId): RequestVote {
  const [lastIndex, lastTerm] = numbersOf(last)
  return { type: 'RequestVote', term: termOf(term), lastIndex: logIndex(lastIndex), lastTerm: termOf(lastTerm) }
}

export function vote(term: number, granted: boolean): RequestVoteResult {
  return { type: 'RequestVoteResult', term: termOf(term), granted }
}

export function preVote(proposedTerm: number, last: EntryId, round = 1): PreVote {
  const [lastIndex, lastTerm] = numbersOf(last)
  const proposed = termOf(proposedTerm)
  return { type: 'PreVote', proposedTerm: proposed, lastIndex: logIndex(lastIndex), lastTerm: termOf(lastTerm), round }
}

export function preVoteResult(term: number, granted: boolean, round = 1): PreVoteResult {
  return { type: 'PreVoteResult', term: termOf(term), granted, round }
}

/** A snapshot that covers everything up to there, with the configuration of entry 1 unless told. */
export function snapshotAt(index: number, term: number, configuration?: Configuration): SnapshotMeta {
  const voters = ['s1', 's2', 's3'].map((id) => ({ id, address: `${id}:1` }))
  return {
    id: index.toString(16).padStart(32, '0'),
    index: logIndex(index),
    term: termOf(term),
    time: 0,
    configuration: configuration ?? { voters, outgoing: null, nonvoters: [] },
    configurationIndex: logIndex(1),
    clusterName: 'test',
  }
}

function result(
  term: number,
  status: AppendEntriesResult['status'],
  matchIndex: number,
  hint: EntryId,
  round: number,
): AppendEntriesResult {
  const [hintIndex, hintTerm] = numbersOf(hint)
  return {
    type: 'AppendEntriesResult',
    term: termOf(term),
    status,
    matchIndex: logIndex(matchIndex),
    hintIndex: logIndex(hintIndex),
    hintTerm: termOf(hintTerm),
    round,
  }
}

function numbersOf(entry: EntryId): readonly [number, number] {
  const [index, term] = entry.split('/').map(Number)
  return [index ?? 0, term ?? 0]
}
