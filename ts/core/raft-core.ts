/**
 * The consensus module: a synchronous, deterministic value. `step` takes one input, `takeReady` returns what is to be
 * done about all of them; between the two nothing leaves. No clock, no randomness but the injected one, no I/O: the
 * same inputs give the same outputs.
 *
 * This file hands each input to whom it concerns, and holds the transitions between roles. What each role does stands
 * in `follower`, `candidate` and `leader/`; how votes are given in `voter`; what is taken in, in `intake`; what may
 * leave, in `outbox`.
 *
 * Invariant: after `halt` nothing leaves any more (rule of poison).
 */

import { assert } from '../errors.js'
import type { LeaderHint } from '../errors.js'
import { logIndex, POSITION_MAX, termOf } from '../types.js'
import type { Block, Configuration, HardState, LogIndex, Role, Server, ServerId, Term } from '../types.js'
import { Candidate, PreCandidate } from './candidate.js'
import { ConfigurationNews } from './configuration-news.js'
import { Follower } from './follower.js'
import { TermAndVote } from './hard-state.js'
import { Intake } from './intake.js'
import { Leader } from './leader/leader.js'
import type { Progress } from './leader/progress.js'
import { messageFlaw, termFlaw } from './message-check.js'
import type { AppendEntries, Request, Response } from './messages.js'
import { Outbox } from './outbox.js'
import { RaftLog } from './raft-log.js'
import type { BlockMaker, LogStart } from './raft-log.js'
import type { Admission, ApplyRange, Input, Ready } from './ready.js'
import { matchIndexOf } from './role.js'
import type { CoreContext, CoreSettings, RoleBehaviour } from './role.js'
import { Tickets } from './tickets.js'
import { answerPreVote, answerRequestVote } from './voter.js'

/** Blocks kept in memory for peers that lag, and for the state machine. */
const TAIL_BYTES_MAX = 64 * 1024 * 1024
/**
 * The same once nobody is known to lag: whoever turns out to is served from the store first. What leaves the tail soon
 * is collected with the young garbage; what stays for long costs a full collection.
 */
const TAIL_SPARE_BYTES = 1024 * 1024
/** One range for the state machine. */
const APPLY_BYTES_MAX = 4 * 1024 * 1024

export interface CoreOptions {
  readonly id: ServerId
  readonly settings: CoreSettings
  readonly hardState: HardState
  readonly log: LogStart
  readonly maker: BlockMaker
  /** In [0, 1). */
  readonly random: () => number
  readonly now: number
  readonly tailBytesMax?: number
}

/** How much stands in each room of the core: all of them are empty when nothing is asked and nobody lags. */
export interface CoreCounters {
  /** Accepted, and in no ticket yet: none between two turns. */
  readonly stepsToWrite: number
  /** Taken and not durable. */
  readonly tickets: number
  /** Messages that wait for a ticket. */
  readonly messagesHeld: number
  /** Requests for a read index without an outcome. */
  readonly readsToConfirm: number
  /** Handed to the state machine, which has not answered: one at most. */
  readonly rangesApplying: number
  readonly uncommittedBytes: number
  readonly unappliedBytes: number
}

export class RaftCore {
  readonly #context: CoreContext
  readonly #hardState: TermAndVote
  readonly #log: RaftLog
  readonly #tickets: Tickets
  readonly #intake: Intake
  readonly #outbox = new Outbox()
  readonly #configurations: ConfigurationNews
  /** Connections that are up, by the peer that was dialled; a later session of a peer replaces the earlier one. */
  readonly #sessions = new Map<ServerId, number>()
  readonly #settings: CoreSettings
  readonly #random: () => number
  readonly #tailBytesMax: number
  /** Changed by the transitions below alone; the new one is in force at once. */
  #role: RoleBehaviour
  /** The leader of this term as far as it is known; null while none is. */
  #leader: ServerId | null = null
  /** The term in which a leader was last told. */
  #leaderTerm = termOf(0)
  /** The time of this turn, on the clock of the inputs. Never goes back. */
  #now: number
  /** Names each attempt to ask for pre-votes. */
  #preVoteRound = 0
  /** The end of the range that the state machine is busy with; null when it is idle. */
  #applying: LogIndex | null = null
  #halted = false

  constructor(options: CoreOptions) {
    const { hardState } = options
    this.#settings = options.settings
    this.#random = options.random
    this.#now = options.now
    this.#tailBytesMax = options.tailBytesMax ?? TAIL_BYTES_MAX
    this.#hardState = new TermAndVote(hardState.term, hardState.votedFor)
    this.#log = new RaftLog(options.log, options.maker)
    this.#tickets = new Tickets(this.#log, this.#hardState, hardState.commitIndex)
    this.#intake = new Intake(this.#log, this.#hardState, this.#tickets)
    this.#configurations = new ConfigurationNews(options.id, this.#log, this.#outbox)
    this.#context = this.#makeContext(options)
    const first = options.settings.firstElectionTimeoutMs
    const timeoutMs = first === null ? this.#drawElectionTimeout() : first * (1 + this.#random())
    this.#role = new Follower(this.#context, null, options.now + timeoutMs)
  }

  get role(): Role {
    return this.#role.role
  }

  get term(): Term {
    return this.#hardState.term
  }

  get votedFor(): ServerId | null {
    return this.#hardState.votedFor
  }

  get leader(): LeaderHint | null {
    if (this.#leader === null) return null
    // One that was removed leads on until that is committed.
    const server = this.#configurations.servers.find(({ id }) => id === this.#leader)
    if (server === undefined) return null
    const { id, address } = server
    const meta = this.#context.maker.metaOf(server)
    return Object.freeze(meta === null ? { id, address } : { id, address, meta })
  }

  get configuration(): Configuration {
    return this.#log.configuration
  }

  /** Whom this server talks to: the members, and for a moment those that were removed; not itself. */
  get contacts(): readonly Server[] {
    return this.#configurations.contacts
  }

  /** For status, invariants and tests; read only. */
  get log(): Readonly<RaftLog> {
    return this.#log
  }

  /** For invariants and tests; read only. */
  get tickets(): Readonly<Tickets> {
    return this.#tickets
  }

  /** What the leader knows of a peer; 0 on other servers. */
  matchIndexOf(peer: ServerId): LogIndex {
    return matchIndexOf(this.#role.peers, peer)
  }

  /** What the leader knows of each peer; empty on other servers. For status, invariants and tests; read only. */
  get peers(): ReadonlyMap<ServerId, Readonly<Progress>> {
    return this.#role.peers
  }

  /** For invariants and tests. */
  get counters(): CoreCounters {
    return {
      stepsToWrite: this.#tickets.acceptedCount,
      tickets: this.#tickets.pendingCount,
      messagesHeld: this.#outbox.heldCount,
      readsToConfirm: this.#role.readsWaiting,
      rangesApplying: Number(this.#applying !== null),
      uncommittedBytes: this.#log.uncommittedBytes,
      unappliedBytes: this.#log.bytesAbove(this.#log.appliedIndex),
    }
  }

  /** Bytes that the store takes now, less what was accepted since it said so. For invariants and tests. */
  get credit(): number {
    return this.#intake.credit
  }

  /** When the next `tick` is due, on the clock of the inputs. */
  nextDeadline(): number {
    return this.#halted ? Infinity : this.#role.nextDeadline()
  }

  /**
   * Whether a batch of proposals with so many bytes would be taken now. Asked once per turn, before the batch is
   * sealed.
   */
  admit(waitingBytes: number): Admission {
    return this.#halted ? { status: 'refuse' } : this.#role.admit(waitingBytes)
  }

  /** Takes one input. Never throws because of what a peer sent. */
  step(input: Input): void {
    if (this.#halted) {
      if (input.type === 'readIndex') this.#outbox.read({ id: input.id, status: 'notLeader' })
      if (input.type === 'configure') this.#role.configure(input.id, input)
      return
    }
    switch (input.type) {
      case 'turn':
        return this.#beginTurn(input.now)
      case 'tick':
        return this.#tick(input.now)
      case 'request':
        return this.#handleRequest(input.from, input.link, input.message)
      case 'response':
        return this.#handleResponse(input.from, input.session, input.message)
      case 'arriving':
        return this.#role.onArriving(input.from, input.link)
      case 'peerUp':
        this.#sessions.set(input.peer, input.session)
        return this.#role.onPeerUp(input.peer, input.session)
      case 'peerDown':
        if (this.#sessions.get(input.peer) !== input.session) return
        this.#sessions.delete(input.peer)
        return this.#role.onPeerDown(input.peer)
      case 'propose':
        return this.#propose(input.block)
      case 'persisted':
        this.#tickets.persisted(input.ticket)
        return this.#role.onPersisted()
      case 'halt':
        return this.#halt()
      case 'credit':
        return this.#intake.creditIs(input.bytes)
      case 'applied':
        return this.#applied(input.index)
      case 'readIndex':
        return this.#role.readIndex(input.id)
      case 'configure':
        return this.#role.configure(input.id, input)
      case 'fetched':
        return this.#role.fetched(input.fetch, input.blocks)
      case 'fetchFailed':
        return this.#role.fetchFailed(input.fetch)
    }
  }

  /** Hot path: once per turn. Drains everything that is to be done; the caller does all of it. */
  takeReady(): Ready {
    if (this.#halted) return this.#outbox.drain(null, null)
    this.#role.flush()
    this.#configurations.tell(this.#role.leaving)
    const ticket = this.#tickets.take(this.#now)
    this.#outbox.release(this.#tickets.durable)
    const apply = this.#nextApply()
    this.#log.trimTail(this.#tailBytesMax, this.#log.lastIndex)
    this.#log.trimTail(Math.min(this.#tailBytesMax, TAIL_SPARE_BYTES), this.#role.heldByPeers)
    return this.#outbox.drain(ticket, apply)
  }

  #makeContext(options: CoreOptions): CoreContext {
    const core = this
    return {
      id: options.id,
      settings: options.settings,
      hardState: this.#hardState,
      log: this.#log,
      tickets: this.#tickets,
      intake: this.#intake,
      outbox: this.#outbox,
      maker: options.maker,
      sessions: this.#sessions,
      get now() {
        return core.#now
      },
      get configuration() {
        return core.#log.configuration
      },
      drawElectionTimeout: () => this.#drawElectionTimeout(),
      setLeader: (leader) => this.#setLeader(leader),
      becomeFollower: (term, leader, reason) => this.#becomeFollower(term, leader, reason),
      becomePreCandidate: () => this.#becomePreCandidate(),
      becomeCandidate: () => this.#becomeCandidate(),
      becomeLeader: () => this.#becomeLeader(),
    }
  }

  #beginTurn(now: number): void {
    this.#advance(now)
    // A deadline passed unnoticed: the event loop was away, and what peers sent meanwhile may still be on its way in.
    const wasAway = now - this.#role.nextDeadline() > this.#settings.heartbeatMs
    if (wasAway) this.#role.grace(now + this.#settings.heartbeatMs)
  }

  #tick(now: number): void {
    this.#advance(now)
    this.#role.tick()
  }

  // Hot path: twice per turn.
  #advance(now: number): void {
    assert(now >= this.#now, () => `core: the clock went back from ${this.#now} to ${now}`)
    this.#now = now
  }

  #handleRequest(from: ServerId, link: number, message: Request): void {
    const flaw = messageFlaw(message, POSITION_MAX) ?? termFlaw(message, this.#hardState.term)
    if (flaw !== null) return this.#outbox.breach(from, link, flaw)
    switch (message.type) {
      case 'AppendEntries':
        return this.#handleAppendEntries(from, link, message)
      case 'RequestVote': {
        const answer = answerRequestVote(this.#context, from, message, this.#deniesVotes(from))
        if (answer.granted) this.#role.onVoteGranted()
        return this.#respondGated(link, answer)
      }
      case 'PreVote':
        return this.#respondGated(link, answerPreVote(this.#context, message, this.#deniesVotes(from)))
    }
  }

  /** Nobody gets a vote while a live leader is heard, and no stranger ever: only what leads is heard of one (H1-13). */
  #deniesVotes(from: ServerId): boolean {
    return this.#role.hearsLeader || !this.#configurations.servers.some(({ id }) => id === from)
  }

  #handleResponse(from: ServerId, session: number, message: Response): void {
    const flaw = messageFlaw(message, POSITION_MAX) ?? termFlaw(message, this.#hardState.term)
    if (flaw !== null) return this.#outbox.event({ type: 'breach', peer: from, reason: flaw })
    // Whatever was asked, a higher term ends this one (5.1); but not that of a pre-vote, which may be only proposed
    // (9.6).
    if (message.type !== 'PreVoteResult' && message.term > this.#hardState.term) {
      this.#becomeFollower(message.term, null, `a ${message.type} carried term ${message.term}`)
    } else {
      this.#role.onResponse(from, session, message)
    }
  }

  #handleAppendEntries(from: ServerId, link: number, message: AppendEntries): void {
    if (message.term < this.#hardState.term) {
      return this.#respondGated(link, {
        type: 'AppendEntriesResult',
        term: this.#hardState.term,
        status: 'conflict',
        matchIndex: logIndex(0),
        hintIndex: logIndex(0),
        hintTerm: termOf(0),
        round: 0,
        lastIndex: this.#log.lastIndex,
      })
    }
    if (message.term > this.#hardState.term) {
      this.#becomeFollower(message.term, from, `${from} leads term ${message.term}`)
    }
    this.#role.handleAppendEntries(from, link, message)
  }

  /** Leaves once the term and vote of now are durable. */
  #respondGated(link: number, message: Response): void {
    this.#outbox.hold(this.#tickets.gate, this.#hardState.term, { kind: 'response', link, message })
  }

  #propose(block: Block): void {
    const { role } = this.#role
    const { term } = this.#hardState
    assert(role === 'leader', () => `core: a block ${block.first} proposed to a ${role}`)
    assert(block.term === term, () => `core: proposed in term ${block.term}, now is ${term}`)
    this.#intake.accept(block)
  }

  #applied(index: LogIndex): void {
    const end = this.#applying
    assert(end !== null && index <= end, () => `core: applied ${index} of a range to ${end}`)
    this.#log.appliedTo(index)
    this.#applying = null
  }

  /** What is committed and durable, and not yet applied. */
  #nextApply(): ApplyRange | null {
    const log = this.#log
    const first = logIndex(log.appliedIndex + 1)
    const end = logIndex(Math.min(log.commitIndex, log.durableIndex))
    if (this.#applying !== null || first > end) return null
    if (first < log.tailFirst) {
      this.#applying = logIndex(Math.min(end, log.tailFirst - 1))
      return { first, last: this.#applying, blocks: null }
    }
    const blocks = log.blocks(first, end, APPLY_BYTES_MAX)
    this.#applying = logIndex(Math.min(end, blocks.at(-1)?.last ?? end))
    return { first, last: this.#applying, blocks }
  }

  #setLeader(leader: ServerId | null): void {
    const { term } = this.#hardState
    // Who leads again in a later term may have been deposed in between, and another may have committed: that is news.
    if (leader === this.#leader && (leader === null || term === this.#leaderTerm)) return
    this.#leader = leader
    this.#leaderTerm = term
    this.#outbox.event({ type: 'leader', leader: this.leader, term })
  }

  #becomeFollower(term: Term, leader: ServerId | null, reason: string): RoleBehaviour {
    const before = this.#role
    if (term > this.#hardState.term) this.#enterTerm(term, null)
    before.end(reason)
    // A term alone is no sign of a live leader: only a vote or entries put off a follower's election (5.2).
    const electionAt = before.electionAt ?? this.#now + this.#drawElectionTimeout()
    this.#role = new Follower(this.#context, leader, electionAt)
    this.#setLeader(leader)
    if (before.role !== 'follower') this.#roleChanged()
    return this.#role
  }

  #becomePreCandidate(): void {
    this.#preVoteRound += 1
    const role = new PreCandidate(this.#context, this.#preVoteRound)
    this.#role = role
    // Whoever led is not believed any more, or peers would refuse each other because of it (scenario E7).
    this.#setLeader(null)
    this.#roleChanged()
    role.start()
  }

  #becomeCandidate(): void {
    this.#enterTerm(termOf(this.#hardState.term + 1), this.#context.id)
    const role = new Candidate(this.#context)
    this.#role = role
    this.#roleChanged()
    role.start()
  }

  #becomeLeader(): void {
    const role = new Leader(this.#context)
    this.#role = role
    this.#roleChanged()
    role.start()
  }

  #enterTerm(term: Term, votedFor: ServerId | null): void {
    this.#hardState.enterTerm(term, votedFor)
    this.#outbox.dropOlderThan(term)
  }

  #halt(): void {
    this.#role.end('this server has halted')
    this.#role = new Follower(this.#context, null, Infinity)
    this.#setLeader(null)
    this.#roleChanged()
    this.#outbox.silence()
    this.#halted = true
  }

  #roleChanged(): void {
    this.#outbox.event({ type: 'role', role: this.#role.role, term: this.#hardState.term })
  }

  #drawElectionTimeout(): number {
    return this.#settings.electionTimeoutMs * (1 + this.#random())
  }
}
