/**
 * What must hold of votes, leaders and what they say, compared among all servers: who leads has the votes of a quorum
 * (1) and every committed entry (6); only the leader of a term sends its entries, as they were written (18), and a
 * match is equal to its log (10); nobody listens to a server that has forgotten (3).
 */

import type { AppendEntries, AppendEntriesResult, RaftCore, Request, Response, TimeoutNow } from '../../core/index.js'
import type { LogIndex, ServerId } from '../../types.js'
import type { Observer, ServerView } from '../observer.js'
import { isQuorum } from './quorum.js'
import type { Truth } from './truth.js'
import { hold } from './violation.js'

export class ElectionInvariants implements Observer {
  readonly #truth: Truth
  /** By `term/candidate`: who has granted it a vote. */
  readonly #voters = new Map<string, Set<ServerId>>()
  /** By server: the last term that it was seen to lead. */
  readonly #led: (number | undefined)[] = []
  readonly #forgetful = new Set<ServerId>()
  /** Those that have a clone, which knows what was known when it was copied. */
  readonly #cloned = new Set<ServerId>()
  /** What a server that has forgotten sends to one of them: to the clone, or nobody. */
  readonly #toClones = new WeakSet<Request | Response>()

  constructor(truth: Truth) {
    this.#truth = truth
  }

  forgot(server: ServerView): void {
    this.#forgetful.add(server.id)
  }

  cloned(server: ServerView): void {
    this.#cloned.add(server.id)
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore): void {
    if (core.role !== 'leader' || this.#led[server.ordinal] === core.term) return
    this.#led[server.ordinal] = core.term
    this.#checkVotes(server, core)
    this.#checkCompleteness(server, core)
  }

  // Hot path: once per message.
  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    // What it may have forgotten is not known; nobody that knew it before may listen to it.
    const isHeard = this.#forgetful.has(server.id) && !this.#forgetful.has(to)
    if (isHeard && this.#cloned.has(to)) this.#toClones.add(message)
    else hold(!isHeard, 3, () => `${server.id} has forgotten, and sends ${message.type} to ${to}`)
    if (message.type === 'AppendEntries') this.#append(server, message)
    else if (message.type === 'TimeoutNow') this.#timeoutNow(server, message)
    else if (message.type === 'AppendEntriesResult') this.#result(server, message)
    else if (message.type === 'RequestVoteResult' && message.granted) this.#grant(server.id, message.term, to)
  }

  // Hot path: once per message.
  delivered(from: ServerId, { id }: ServerView, message: Request | Response): void {
    hold(!this.#toClones.has(message), 3, () => `${from} has forgotten, and its ${message.type} is heard by ${id}`)
  }

  #checkVotes({ id }: ServerView, { term, configuration }: RaftCore): void {
    const voters = this.#grant(id, term, id)
    hold(
      isQuorum(configuration, (voter) => voters.has(voter)),
      1,
      () => {
        return `${id} leads term ${term} by the votes of ${[...voters].join(', ')}`
      },
    )
  }

  #checkCompleteness({ id }: ServerView, { term, log }: RaftCore): void {
    const { committed, committedIn } = this.#truth
    // A vote that was on its way for long may make a leader of an older term: what later terms committed it need not
    // have.
    let { commitIndex } = this.#truth
    while ((committedIn[commitIndex] ?? 0) >= term) commitIndex -= 1
    // Whole terms at a time: within a run of equal terms, its last entry stands for all of them.
    for (let index = commitIndex; index >= 1; index -= 1) {
      const truth = committed[index]
      if (index < commitIndex && truth?.term === committed[index + 1]?.term) continue
      // What is no longer kept is in the snapshot on which the log stands.
      if (index < log.firstIndex - 1) return
      hold(log.termAt(index as LogIndex) === truth?.term, 6, () => {
        return `leader ${id} of term ${term} lacks the committed entry ${index} of term ${truth?.term}`
      })
    }
  }

  #append({ id }: ServerView, { term, blocks, commitIndex }: AppendEntries): void {
    const leader = this.#truth.leaderOf(term)
    hold(leader === id, 10, () => `${id} sends AppendEntries of term ${term}, which ${leader} leads`)
    hold(commitIndex <= this.#truth.commitIndex, 10, () => `${id} sends commit ${commitIndex} before it is so`)
    for (const block of blocks) {
      hold(this.#truth.isKnown(block), 18, () => `${id} sends ${block.first} .. ${block.last}, not its entries`)
    }
  }

  #timeoutNow({ id }: ServerView, { term }: TimeoutNow): void {
    const leader = this.#truth.leaderOf(term)
    hold(leader === id, 10, () => `${id} sends TimeoutNow of term ${term}, which ${leader} leads`)
  }

  /** What a match says is equal to the log of that term's leader. */
  #result({ id, disk }: ServerView, { term, matchIndex }: AppendEntriesResult): void {
    if (matchIndex === 0) return
    const durable = this.#truth.durableTerm(disk.durable, matchIndex)
    const leaders = this.#truth.termWithLeaderOf(term, matchIndex)
    hold(durable === leaders, 10, () => {
      return `${id} acknowledges ${matchIndex} to term ${term}: durable is term ${durable}, the leader's is ${leaders}`
    })
  }

  #grant(voter: ServerId, term: number, candidate: ServerId): ReadonlySet<ServerId> {
    const key = `${term}/${candidate}`
    const voters = this.#voters.get(key) ?? new Set()
    this.#voters.set(key, voters.add(voter))
    return voters
  }
}
