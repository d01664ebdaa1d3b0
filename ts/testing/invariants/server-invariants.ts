/**
 * What must hold of each server by itself, whatever the others say to it: nothing goes back (2), one vote in a term
 * (3), for a log as up-to-date as its own (6), the order of the pointers (9), nothing leaves before it is durable (10),
 * nothing needless is truncated (12), and a server that has failed is silent (17). It compares what a server does with
 * its own disk and its own past, and tells the truth what the server has accepted (4) and which term it leads (1).
 */

import type {
  AppendEntries,
  AppendEntriesResult,
  Input,
  PersistTicket,
  RaftCore,
  Ready,
  Request,
  Response,
} from '../../core/index.js'
import type { LogIndex, ServerId, SnapshotMeta, StoreOperation } from '../../types.js'
import type { AppliedCommand, Observer, ServerView } from '../observer.js'
import type { Truth } from './truth.js'
import { hold } from './violation.js'

type Compaction = Extract<StoreOperation, { readonly type: 'compact' }>

interface Seen {
  term: number
  votedFor: ServerId | null
  isLeader: boolean
  commitIndex: number
  /** When this turn began. */
  turnCommitIndex: number
  appliedIndex: number
  /** What the state machine was given, in this boot. */
  machineIndex: number
  /** The terms of the accepted log, at their indexes: what was written, or is about to be. */
  readonly terms: number[]
  /** The highest term that it has told anybody, over all its boots. */
  revealed: number
  /** The last entry that it told a leader it has, over all its boots, unless it was lawfully removed since. */
  acknowledged: number
}

export class ServerInvariants implements Observer {
  readonly #truth: Truth
  readonly #seen: (Seen | undefined)[] = []
  /** By `incarnation/term`: who was given that vote. */
  readonly #votes = new Map<string, ServerId>()

  constructor(truth: Truth) {
    this.#truth = truth
  }

  booted(server: ServerView): void {
    const { hardState, lastIndex, blocks, snapshot } = server.disk.durable
    const { term, votedFor } = hardState
    const before = this.#seen[server.ordinal]
    const { revealed, acknowledged } = before ?? { revealed: 0, acknowledged: 0 }
    hold(term >= revealed, 2, () => `${server.id} starts in term ${term} and has told of term ${revealed}`)
    hold(lastIndex >= acknowledged, 2, () => {
      return `${server.id} starts with ${lastIndex} entries and has acknowledged ${acknowledged}`
    })
    if (snapshot !== null) this.#checkCovered(server, snapshot)
    const terms = snapshot === null ? [0] : this.#committedTerms(snapshot)
    for (const block of blocks) {
      if (this.#truth.isIntact(block)) this.#truth.accept(server.id, block, terms[block.first - 1] ?? 0)
      for (let index: number = block.first; index <= block.last; index += 1) terms[index] = block.term
    }
    const indexes = { commitIndex: 0, turnCommitIndex: 0, appliedIndex: 0, machineIndex: 0 }
    this.#seen[server.ordinal] = { term, votedFor, isLeader: false, ...indexes, terms, revealed, acknowledged }
    if (before === undefined) this.#inherit(hardState.commitIndex, terms)
  }

  /** From here on it is another server under the same id. */
  forgot(server: ServerView): void {
    this.#seen[server.ordinal] = undefined
    for (const key of this.#votes.keys()) if (key.startsWith(`${server.disk.incarnation}/`)) this.#votes.delete(key)
  }

  /** So it is here; but an earlier disk may come back, and what was promised on that still holds. */
  renewed(server: ServerView): void {
    this.#seen[server.ordinal] = undefined
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore, input: Input): void {
    const seen = this.#of(server)
    if (input.type === 'turn') seen.turnCommitIndex = seen.commitIndex
    if (core.term !== seen.term || core.votedFor !== seen.votedFor) voted(server, core, seen, input)
    const { commitIndex, appliedIndex } = core.log
    if (commitIndex !== seen.commitIndex) {
      hold(commitIndex > seen.commitIndex, 2, () => `${server.id}: commit goes back to ${commitIndex}`)
      seen.commitIndex = commitIndex
    }
    if (appliedIndex !== seen.appliedIndex) {
      hold(appliedIndex > seen.appliedIndex, 2, () => `${server.id}: applied goes back to ${appliedIndex}`)
      seen.appliedIndex = appliedIndex
    }
    if (seen.isLeader || core.role !== 'leader') return
    seen.isLeader = true
    this.#leads(server, core)
  }

  // Hot path: once per turn.
  decided(server: ServerView, core: RaftCore, { ticket }: Ready): void {
    const seen = this.#of(server)
    if (ticket !== null) this.#written(server, seen, ticket)
    const { lastIndex } = core.log
    const writtenTo = seen.terms.length - 1
    // A server that has failed may have taken what it will never write.
    hold(lastIndex === writtenTo || server.halted, 9, () => {
      return `${server.id} ends at ${lastIndex}, its writes at ${writtenTo}`
    })
  }

  turned(server: ServerView, core: RaftCore): void {
    const { appliedIndex, commitIndex, durableIndex, lastIndex } = core.log
    const isOrdered =
      appliedIndex <= commitIndex &&
      commitIndex <= lastIndex &&
      durableIndex <= lastIndex &&
      appliedIndex <= durableIndex
    hold(isOrdered, 9, () => {
      return `${server.id}: applied ${appliedIndex}, committed ${commitIndex}, durable ${durableIndex}, last ${lastIndex}`
    })
  }

  // Hot path: once per message. Everything that leaves a server passes here, while its disk is as it is.
  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    hold(!server.halted, 17, () => `${server.id} sends ${message.type} after it has failed`)
    const seen = this.#of(server)
    const { term, votedFor } = server.disk.durable.hardState
    const revealed = message.type === 'PreVote' ? message.proposedTerm - 1 : message.term
    hold(revealed <= term, 10, () => `${server.id} sends ${message.type} of term ${revealed}, durable is term ${term}`)
    if (revealed > seen.revealed) seen.revealed = revealed
    switch (message.type) {
      case 'AppendEntries':
        return appends(server, seen, message)
      case 'AppendEntriesResult':
        return acknowledges(server, seen, message)
      case 'RequestVote':
        hold(term === message.term && votedFor === server.id, 10, () => {
          return `${server.id} asks for votes in term ${message.term} before its own is durable`
        })
        return this.#vote(server, message.term, server.id)
      case 'RequestVoteResult':
        if (!message.granted) return
        hold(term === message.term && votedFor === to, 10, () => {
          return `${server.id} grants ${to} its vote in term ${message.term} before that is durable`
        })
        return this.#vote(server, message.term, to)
      case 'PreVote':
      case 'PreVoteResult':
      case 'TimeoutNow':
        return
    }
  }

  applied(server: ServerView, _commands: readonly AppliedCommand[], last: LogIndex): void {
    const seen = this.#of(server)
    hold(last > seen.machineIndex, 8, () => `${server.id} applies up to ${last} after ${seen.machineIndex}`)
    const durable = this.#truth.durableTerm(server.disk.durable, last)
    hold(durable === (seen.terms[last] ?? null), 9, () => `${server.id} applies ${last} before it is durable`)
    seen.machineIndex = last
  }

  restored(server: ServerView, { index }: SnapshotMeta): void {
    const seen = this.#of(server)
    hold(index >= seen.machineIndex, 8, () => `${server.id} restores ${index} after ${seen.machineIndex}`)
    const covers = server.disk.durable.snapshot?.index ?? 0
    hold(index <= covers, 26, () => `${server.id} restores ${index} before its log stands on it durably: ${covers}`)
    seen.machineIndex = index
  }

  /** What a snapshot covers was committed. */
  #checkCovered({ id }: ServerView, { index, term }: SnapshotMeta): void {
    const known = this.#truth.committed[index]?.term
    // Where messages are made up, nobody knows what was committed.
    hold(known === undefined || known === term, 26, () => {
      return `${id} stands on a snapshot at ${index} of term ${term}, committed is term ${known}`
    })
  }

  /** The terms of all entries that a snapshot covers. */
  #committedTerms({ index, term }: SnapshotMeta): number[] {
    const terms = this.#truth.committedTerms.slice(0, index + 1)
    while (terms.length <= index) terms.push(term)
    return terms
  }

  /** A cluster may begin with history: what its disks know to be committed when they are first seen. */
  #inherit(commitIndex: number, terms: readonly number[]): void {
    for (let index = this.#truth.commitIndex + 1; index <= commitIndex; index += 1) {
      const entry = this.#truth.find(index, terms[index] ?? 0)
      if (entry === null) return
      this.#truth.commit(entry, 0)
    }
  }

  #leads(server: ServerView, { term, log }: RaftCore): void {
    this.#truth.lead(term, server.id, log.termRuns, log.lastIndex)
    const { hardState } = server.disk.durable
    hold(hardState.term === term && hardState.votedFor === server.id, 10, () => {
      return `${server.id} leads term ${term} before its vote for itself is durable`
    })
    this.#vote(server, term, server.id)
  }

  #vote(server: ServerView, term: number, candidate: ServerId): void {
    const key = `${server.disk.incarnation}/${term}`
    const before = this.#votes.get(key)
    hold(before === undefined || before === candidate, 3, () => {
      return `${server.id} votes in term ${term} for ${before} and ${candidate}`
    })
    this.#votes.set(key, candidate)
  }

  /** Before the disk has the ticket: what it appends and what it removes, against what was accepted before. */
  #written(server: ServerView, seen: Seen, { operations }: PersistTicket): void {
    const { id } = server
    const { terms, commitIndex, turnCommitIndex } = seen
    let firstRemoved = Infinity
    for (let at = 0; at < operations.length; at += 1) {
      const operation = operations[at]
      if (operation?.type === 'truncateSuffix') {
        const { from } = operation
        hold(from > turnCommitIndex, 12, () => `${id} truncates from ${from}, committed up to ${turnCommitIndex}`)
        const next = operations[at + 1]
        const isConflict = next?.type === 'append' && next.block.first === from && next.block.term !== terms[from]
        // A second leader may replace within one turn what a first one has replaced.
        const isReplaced = next?.type === 'truncateSuffix' && next.from <= from
        hold(isConflict || isReplaced, 12, () => `${id} truncates from ${from}, where nothing conflicts`)
        firstRemoved = Math.min(firstRemoved, from)
        terms.length = from
      } else if (operation?.type === 'compact') {
        this.#compacted(server, seen, operation)
      } else if (operation?.type === 'append') {
        const { block } = operation
        hold(block.first === terms.length, 4, () => `${id} appends ${block.first} behind ${terms.length - 1}`)
        this.#truth.accept(id, block, terms[block.first - 1] ?? 0)
        for (let index: number = block.first; index <= block.last; index += 1) terms.push(block.term)
      }
    }
    seen.acknowledged = Math.min(seen.acknowledged, firstRemoved - 1)
    const { committed } = this.#truth
    for (let index = firstRemoved; index <= commitIndex && index < committed.length; index += 1) {
      hold(terms[index] === committed[index]?.term, 12, () => `${id} replaces the committed entry ${index}`)
    }
  }

  /** What stands behind a snapshot stays if it agrees with it, and only then (scenarios N1, N2). */
  #compacted(server: ServerView, seen: Seen, { first, snapshot, keepSuffix }: Compaction): void {
    const { id } = server
    const { terms } = seen
    this.#checkCovered(server, snapshot)
    hold(first <= snapshot.index + 1, 26, () => `${id} keeps from ${first} on behind a snapshot at ${snapshot.index}`)
    const agrees = terms[snapshot.index] === snapshot.term
    hold(keepSuffix === agrees, 26, () => {
      const what = keepSuffix ? 'keeps' : 'throws away'
      return `${id} ${what} what follows ${snapshot.index}, of term ${terms[snapshot.index]} here and ${snapshot.term} there`
    })
    if (keepSuffix) return
    seen.acknowledged = Math.min(seen.acknowledged, snapshot.index)
    // Made only here, where they are needed: a long log is compacted often. One by one: there may be more than a call
    // takes as arguments.
    const covered = this.#committedTerms(snapshot)
    terms.length = 0
    for (const committed of covered) terms.push(committed)
  }

  #of(server: ServerView): Seen {
    const seen = this.#seen[server.ordinal]
    hold(seen !== undefined, 0, () => `${server.id} acts before it has booted`)
    return seen
  }
}

/** Its term or its vote has changed. */
function voted({ id }: ServerView, { term, votedFor, log }: RaftCore, seen: Seen, input: Input): void {
  if (input.type === 'request' && input.message.type === 'RequestVote' && input.from === votedFor) {
    // A voter denies its vote when its own log, as it has accepted it, is more up-to-date than the candidate's (5.4.1).
    const { lastTerm, lastIndex } = input.message
    hold(lastTerm > log.lastTerm || (lastTerm === log.lastTerm && lastIndex >= log.lastIndex), 6, () => {
      return `${id} votes for ${votedFor}, whose log ends at ${lastIndex}/${lastTerm}: its own ends at ${log.lastIndex}/${log.lastTerm}`
    })
  }
  hold(term >= seen.term, 2, () => `${id} goes from term ${seen.term} back to ${term}`)
  if (term > seen.term) seen.isLeader = false
  else hold(seen.votedFor === null, 3, () => `${id} votes for ${seen.votedFor} and ${votedFor} in term ${term}`)
  seen.term = term
  seen.votedFor = votedFor
}

function appends(
  { id }: ServerView,
  { terms }: Seen,
  { prevIndex, prevTerm, blocks, commitIndex }: AppendEntries,
): void {
  hold(
    terms[prevIndex] === prevTerm,
    4,
    () => `${id} sends prev ${prevIndex}/${prevTerm}, its own is ${terms[prevIndex]}`,
  )
  const isBounded = blocks.length > 0 || commitIndex <= prevIndex
  hold(isBounded, 7, () => `${id} sends a heartbeat with commit ${commitIndex} above prev ${prevIndex}`)
  let next = prevIndex + 1
  for (const { first, last } of blocks) {
    const expected = next
    hold(first === expected, 18, () => `${id} sends ${first} where ${expected} must follow`)
    next = last + 1
  }
}

function acknowledges({ id, disk }: ServerView, seen: Seen, { status, matchIndex }: AppendEntriesResult): void {
  hold(status !== 'conflict' || matchIndex === 0, 10, () => `${id} sends a conflict with match ${matchIndex}`)
  if (matchIndex === 0) return
  const { snapshot } = disk.durable
  const isDurable = matchIndex <= (snapshot?.index ?? 0) || disk.durable.termAt(matchIndex) !== null
  hold(isDurable, 10, () => `${id} acknowledges ${matchIndex} before it is durable`)
  seen.acknowledged = Math.max(seen.acknowledged, matchIndex)
}
