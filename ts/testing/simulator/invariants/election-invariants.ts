/**
 * What must hold of terms, votes, leaders and of everything that leaves a server: invariants 1, 2, 3, 6, 10, 17 and 18.
 * What leaves is compared with what is durable at that moment, on that disk.
 */

import type { AppendEntries, AppendEntriesResult, Request, Response } from '../../../core/messages.js'
import type { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import type { LogIndex, ServerId, TermRun } from '../../../types.js'
import type { Observer, ServerView } from '../observer.js'
import type { Truth } from './truth.js'
import { durableTerm } from './truth.js'
import { hold } from './violation.js'

interface Leadership {
  readonly id: ServerId
  /** Its log when it began to lead; everything behind that is of its own term. */
  readonly runs: readonly TermRun[]
  readonly firstOfTerm: number
}

interface Seen {
  term: number
  votedFor: ServerId | null
  isLeader: boolean
  /** The highest term that it has told anybody, over all its boots. */
  revealed: number
  /** The last entry that it told a leader it has, unless it was lawfully removed since. */
  acknowledged: number
}

export class ElectionInvariants implements Observer {
  readonly leaderships = new Map<number, Leadership>()
  readonly #truth: Truth
  readonly #grants = new Map<string, ServerId>()
  /** By `term/candidate`: who has granted it a vote, itself included. */
  readonly #voters = new Map<string, Set<ServerId>>()
  readonly #wiped = new Set<ServerId>()
  readonly #seen: (Seen | undefined)[] = []

  constructor(truth: Truth) {
    this.#truth = truth
  }

  booted(server: ServerView): void {
    const { hardState, lastIndex } = server.disk.durable
    const { term, votedFor } = hardState
    const seen = this.#seen[server.ordinal] ?? { term, votedFor, isLeader: false, revealed: 0, acknowledged: 0 }
    this.#seen[server.ordinal] = seen
    hold(term >= seen.revealed, 2, () => `${server.id} starts in term ${term} and has told of term ${seen.revealed}`)
    hold(lastIndex >= seen.acknowledged, 2, () => {
      return `${server.id} starts with ${lastIndex} entries and has acknowledged ${seen.acknowledged}`
    })
    seen.term = term
    seen.votedFor = votedFor
    seen.isLeader = false
  }

  /** From here on it is another server under the same id; its peers must refuse it. */
  wiped(server: ServerView): void {
    this.#seen[server.ordinal] = undefined
    this.#wiped.add(server.id)
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore, input: Input): void {
    const seen = this.#of(server)
    const { term, votedFor } = core
    if (votedFor !== seen.votedFor || term !== seen.term) checkVote(server, core, input)
    if (term !== seen.term) {
      hold(term > seen.term, 2, () => `${server.id} goes from term ${seen.term} back to ${term}`)
      seen.term = term
      seen.votedFor = votedFor
      seen.isLeader = false
    } else if (votedFor !== seen.votedFor) {
      hold(seen.votedFor === null, 3, () => `${server.id} votes for ${seen.votedFor} and ${votedFor} in term ${term}`)
      seen.votedFor = votedFor
    }
    if (seen.isLeader || core.role !== 'leader') return
    seen.isLeader = true
    this.#leads(server, core)
  }

  decided(server: ServerView, _core: RaftCore, { ticket }: Ready): void {
    const seen = this.#of(server)
    for (const operation of ticket?.operations ?? []) {
      if (operation.type === 'truncateSuffix') seen.acknowledged = Math.min(seen.acknowledged, operation.from - 1)
    }
  }

  // Hot path: once per message. Everything that leaves a server passes here, while its disk is as it is.
  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    hold(!server.halted, 17, () => `${server.id} sends ${message.type} after it has failed`)
    // What a wiped server may have forgotten is not known; nobody that knew it before may listen to it.
    const isHeard = this.#wiped.has(server.id) && !this.#wiped.has(to)
    hold(!isHeard, 3, () => `${server.id} was wiped, and sends ${message.type} to ${to}`)
    const seen = this.#of(server)
    const { term, votedFor } = server.disk.durable.hardState
    const revealed = message.type === 'PreVote' ? message.proposedTerm - 1 : message.term
    hold(revealed <= term, 10, () => `${server.id} sends ${message.type} of term ${revealed}, durable is term ${term}`)
    if (revealed > seen.revealed) seen.revealed = revealed
    switch (message.type) {
      case 'AppendEntries':
        return this.#append(server, message)
      case 'AppendEntriesResult':
        return this.#result(server, seen, message)
      case 'RequestVote':
        hold(term === message.term && votedFor === server.id, 10, () => {
          return `${server.id} asks for votes in term ${message.term} before its own is durable`
        })
        return this.#grant(server, message.term, server.id)
      case 'RequestVoteResult':
        if (!message.granted) return
        hold(term === message.term && votedFor === to, 10, () => {
          return `${server.id} grants ${to} its vote in term ${message.term} before that is durable`
        })
        return this.#grant(server, message.term, to)
      case 'PreVote':
      case 'PreVoteResult':
        return
    }
  }

  /** One leader per term, ever (5.2); it has every committed entry (5.4), and its vote for itself is durable. */
  #leads(server: ServerView, core: RaftCore): void {
    const { term, log } = core
    const before = this.leaderships.get(term)
    hold(before === undefined, 1, () => `term ${term} has two leaders, ${before?.id} and ${server.id}`)
    this.leaderships.set(term, { id: server.id, runs: [...log.termRuns], firstOfTerm: log.lastIndex })
    const { hardState } = server.disk.durable
    hold(hardState.term === term && hardState.votedFor === server.id, 10, () => {
      return `${server.id} leads term ${term} before its vote for itself is durable`
    })
    this.#grant(server, term, server.id)
    const voters = this.#voters.get(`${term}/${server.id}`) ?? new Set()
    const { voters: incoming, outgoing } = core.configuration
    for (const half of outgoing === null ? [incoming] : [incoming, outgoing]) {
      const count = half.filter(({ id }) => voters.has(id)).length
      hold(count * 2 > half.length, 1, () => {
        return `${server.id} leads term ${term} by the votes of ${[...voters].join(', ')}`
      })
    }
    const { committed, committedIn } = this.#truth
    // A vote that was on its way for long may make a leader of an older term: what later terms committed it need not have.
    let { commitIndex } = this.#truth
    while ((committedIn[commitIndex] ?? 0) >= term) commitIndex -= 1
    // Whole terms at a time: within a run of equal terms, its last entry stands for all of them.
    for (let index = commitIndex; index >= 1; index -= 1) {
      const truth = committed[index]
      if (index < commitIndex && truth?.term === committed[index + 1]?.term) continue
      hold(log.termAt(index as LogIndex) === truth?.term, 6, () => {
        return `leader ${server.id} of term ${term} lacks the committed entry ${index} of term ${truth?.term}`
      })
    }
  }

  #append(server: ServerView, message: AppendEntries): void {
    const { term, prevIndex, prevTerm, blocks, commitIndex } = message
    const leader = this.leaderships.get(term)
    hold(
      leader?.id === server.id,
      10,
      () => `${server.id} sends AppendEntries of term ${term}, which ${leader?.id} leads`,
    )
    hold(this.#leaderTerm(term, prevIndex) === prevTerm, 4, () => `${server.id} sends prev ${prevIndex}/${prevTerm}`)
    hold(commitIndex <= this.#truth.commitIndex, 10, () => `${server.id} sends commit ${commitIndex} before it is so`)
    const isBounded = blocks.length > 0 || commitIndex <= prevIndex
    hold(isBounded, 7, () => `${server.id} sends a heartbeat with commit ${commitIndex} above prev ${prevIndex}`)
    let next = prevIndex + 1
    for (const block of blocks) {
      const expected = next
      hold(block.first === expected, 18, () => `${server.id} sends ${block.first} where ${expected} must follow`)
      hold(this.#truth.isKnown(block), 18, () => `${server.id} sends ${block.first} .. ${block.last}, not its entries`)
      next = block.last + 1
    }
  }

  /** What a match says is durable here and equal there. */
  #result(server: ServerView, seen: Seen, { term, status, matchIndex }: AppendEntriesResult): void {
    hold(status !== 'conflict' || matchIndex === 0, 10, () => `${server.id} sends a conflict with match ${matchIndex}`)
    if (matchIndex === 0) return
    const durable = durableTerm(server.disk, matchIndex)
    hold(durable !== null && durable === this.#leaderTerm(term, matchIndex), 10, () => {
      return `${server.id} acknowledges ${matchIndex} to term ${term}: durable is term ${durable}, the leader's is ${this.#leaderTerm(term, matchIndex)}`
    })
    seen.acknowledged = Math.max(seen.acknowledged, matchIndex)
  }

  #leaderTerm(term: number, index: number): number {
    const leadership = this.leaderships.get(term)
    if (leadership === undefined || index === 0) return 0
    if (index >= leadership.firstOfTerm) return term
    let found = 0
    for (const run of leadership.runs) if (run.first <= index) found = run.term
    return found
  }

  #grant(server: ServerView, term: number, candidate: ServerId): void {
    const key = `${server.disk.incarnation}/${term}`
    const before = this.#grants.get(key)
    hold(before === undefined || before === candidate, 3, () => {
      return `${server.id} votes in term ${term} for ${before} and ${candidate}`
    })
    this.#grants.set(key, candidate)
    const voters = this.#voters.get(`${term}/${candidate}`)
    if (voters === undefined) this.#voters.set(`${term}/${candidate}`, new Set([server.id]))
    else voters.add(server.id)
  }

  #of(server: ServerView): Seen {
    const seen = this.#seen[server.ordinal]
    hold(seen !== undefined, 0, () => `${server.id} acts before it has booted`)
    return seen
  }
}

/** A voter denies its vote when its own log, as it has accepted it, is more up-to-date than the candidate's (5.4.1). */
function checkVote({ id }: ServerView, { votedFor, log }: RaftCore, input: Input): void {
  if (input.type !== 'request' || input.message.type !== 'RequestVote' || input.from !== votedFor) return
  const { lastTerm, lastIndex } = input.message
  hold(lastTerm > log.lastTerm || (lastTerm === log.lastTerm && lastIndex >= log.lastIndex), 6, () => {
    return `${id} votes for ${votedFor}, whose log ends at ${lastIndex}/${lastTerm}: its own ends at ${log.lastIndex}/${log.lastTerm}`
  })
}
