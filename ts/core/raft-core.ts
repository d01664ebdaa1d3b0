/**
 * The consensus module: a synchronous, deterministic value. `step` takes one input, `takeReady` returns what is to be
 * done about all of them; between the two nothing leaves. No clock, no randomness but the injected one, no I/O: the
 * same inputs give the same outputs.
 *
 * This file holds what every role shares: term and vote, the log, the transitions between roles, the gate in front of
 * what may leave. What each role does stands in `follower`, `candidate` and `leader`; how votes are given in `voter`.
 *
 * Invariant: after `halt` nothing leaves any more (rule of poison).
 */

import { assert } from '../errors.js'
import type { LeaderHint } from '../errors.js'
import { logIndex, termOf } from '../types.js'
import type { Block, Configuration, HardState, LogIndex, Role, ServerId, Term } from '../types.js'
import { Candidate, PreCandidate } from './candidate.js'
import { Follower, UNAPPLIED_BYTES_MAX } from './follower.js'
import { Leader } from './leader/leader.js'
import type { AppendEntries, Request, Response } from './messages.js'
import { Outbox } from './outbox.js'
import type { Progress } from './leader/progress.js'
import { requestFault, responseFault } from './protocol-fault.js'
import { RaftLog } from './raft-log.js'
import type { BlockMaker, LogStart } from './raft-log.js'
import type { Admission, ApplyRange, Input, Ready } from './ready.js'
import type { CoreSettings, RoleContext } from './role.js'
import { Tickets } from './tickets.js'
import { answerPreVote, answerRequestVote } from './voter.js'

/** Uncommitted bytes above which a leader takes no more. */
export const UNCOMMITTED_BYTES_MAX = 16 * 1024 * 1024
/** Blocks kept in memory for peers and for the state machine. */
const TAIL_BYTES_MAX = 64 * 1024 * 1024
/** Tickets under way above which new proposals wait and merge: one in the writer's hands, one behind it. */
const TICKETS_PENDING_MAX = 2
/**
 * Only a batch of so many bytes goes behind the ticket in the writer's hands; a smaller one could not be written sooner, and
 * grows while it waits (docs/adr/0006).
 */
export const FULL_BATCH_BYTES = 64 * 1024
/** One range for the state machine. */
const APPLY_BYTES_MAX = 4 * 1024 * 1024
/** Proposals taken in one turn. */
const BATCH_BYTES_MAX = 1024 * 1024

const NO_PEERS: ReadonlyMap<ServerId, Readonly<Progress>> = new Map()

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

export class RaftCore {
  readonly #context: RoleContext
  readonly #log: RaftLog
  readonly #tickets: Tickets
  readonly #outbox = new Outbox()
  readonly #sessions = new Map<ServerId, number>()
  readonly #settings: CoreSettings
  readonly #random: () => number
  readonly #tailBytesMax: number
  #role: Follower | PreCandidate | Candidate | Leader
  #leader: ServerId | null = null
  /** The term in which the leader was told last. */
  #leaderTerm = termOf(0)
  #now: number
  #credit = 0
  #preVoteRound = 0
  /** The highest commit index that a leader has told of; what it covers may still be on its way here. */
  #toldCommit = logIndex(0)
  /** The end of the range that the state machine is busy with; null when it is idle. */
  #applying: LogIndex | null = null
  #halted = false

  constructor(options: CoreOptions) {
    this.#settings = options.settings
    this.#random = options.random
    this.#now = options.now
    this.#tailBytesMax = options.tailBytesMax ?? TAIL_BYTES_MAX
    this.#log = new RaftLog(options.log, options.maker)
    this.#tickets = new Tickets(this.#log, options.hardState)
    this.#context = this.#makeContext(options)
    const first = options.settings.firstElectionTimeoutMs
    const timeoutMs = first === null ? this.#drawElectionTimeout() : first * (1 + this.#random())
    this.#role = new Follower(this.#context, null, options.now + timeoutMs)
  }

  get role(): Role {
    return this.#role.role
  }

  get term(): Term {
    return this.#tickets.term
  }

  get votedFor(): ServerId | null {
    return this.#tickets.votedFor
  }

  get leader(): LeaderHint | null {
    if (this.#leader === null) return null
    const { voters, outgoing, nonvoters } = this.#log.configuration
    const server = [...voters, ...(outgoing ?? []), ...nonvoters].find(({ id }) => id === this.#leader)
    return server === undefined ? null : { id: server.id, address: server.address }
  }

  get configuration(): Configuration {
    return this.#log.configuration
  }

  /** For status, invariants and tests; read only. */
  get log(): Readonly<RaftLog> {
    return this.#log
  }

  /** For invariants and tests; read only. */
  get tickets(): Readonly<Tickets> {
    return this.#tickets
  }

  /** The highest entry that this server knows to be committed, whether or not it has it yet. */
  get knownCommitIndex(): LogIndex {
    return logIndex(Math.max(this.#log.commitIndex, this.#toldCommit))
  }

  /** What the leader knows of a peer; 0 on other servers. */
  matchIndexOf(peer: ServerId): LogIndex {
    return this.#role.role === 'leader' ? this.#role.matchIndexOf(peer) : logIndex(0)
  }

  /** What the leader knows of each peer; empty on other servers. For status, invariants and tests; read only. */
  get peers(): ReadonlyMap<ServerId, Readonly<Progress>> {
    return this.#role.role === 'leader' ? this.#role.peers : NO_PEERS
  }

  /** When the next `tick` is due, on the clock of the inputs. */
  nextDeadline(): number {
    return this.#halted ? Infinity : this.#role.nextDeadline()
  }

  /** Whether a batch of proposals with so many bytes would be taken now. Asked once per turn, before the batch is sealed. */
  admit(waitingBytes: number): Admission {
    if (this.#role.role !== 'leader' || this.#halted) return { status: 'refuse' }
    const log = this.#log
    const uncommitted = log.bytesAbove(log.commitIndex)
    // What a state machine that hangs does not take stays in memory.
    const unapplied = log.bytesAbove(log.appliedIndex)
    const room = Math.min(this.#credit, UNCOMMITTED_BYTES_MAX - uncommitted, UNAPPLIED_BYTES_MAX - unapplied)
    const pendingMax = waitingBytes < FULL_BATCH_BYTES ? TICKETS_PENDING_MAX - 1 : TICKETS_PENDING_MAX
    if (room <= 0 || this.#tickets.pendingCount >= pendingMax) return { status: 'wait' }
    const first = logIndex(log.lastIndex + 1)
    return { status: 'accept', first, term: this.#tickets.term, bytesMax: Math.min(room, BATCH_BYTES_MAX) }
  }

  /** Takes one input. Never throws because of what a peer sent. */
  step(input: Input): void {
    if (this.#halted) {
      if (input.type === 'readIndex') this.#outbox.read({ id: input.id, status: 'notLeader' })
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
        this.#credit = input.bytes
        return
      case 'applied':
        return this.#applied(input.index)
      case 'readIndex':
        if (this.#role.role === 'leader') this.#role.readIndex(input.id)
        else this.#outbox.read({ id: input.id, status: 'notLeader' })
        return
      case 'fetched':
        if (this.#role.role === 'leader') this.#role.fetched(input.fetch, input.blocks)
        return
      case 'fetchFailed':
        if (this.#role.role === 'leader') this.#role.fetchFailed(input.fetch)
        return
    }
  }

  /** Hot path: once per turn. Drains everything that is to be done; the caller does all of it. */
  takeReady(): Ready {
    if (this.#halted) return this.#outbox.drain(null, null)
    this.#role.flush()
    const ticket = this.#tickets.take(this.#now)
    this.#outbox.release(this.#tickets.durable)
    const apply = this.#nextApply()
    this.#log.trimTail(this.#tailBytesMax)
    return this.#outbox.drain(ticket, apply)
  }

  #makeContext(options: CoreOptions): RoleContext {
    const core = this
    return {
      id: options.id,
      settings: options.settings,
      log: this.#log,
      tickets: this.#tickets,
      outbox: this.#outbox,
      maker: options.maker,
      sessions: this.#sessions,
      get now() {
        return core.#now
      },
      get configuration() {
        return core.#log.configuration
      },
      get credit() {
        return core.#credit
      },
      drawElectionTimeout: () => this.#drawElectionTimeout(),
      accept: (block) => this.#accept(block),
      setLeader: (leader) => this.#setLeader(leader),
      commitTo: (index) => this.#commitTo(index),
      grantVote: (candidate) => this.#grantVote(candidate),
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
    if (wasAway && (this.#role.role === 'follower' || this.#role.role === 'leader')) {
      this.#role.grace(now + this.#settings.heartbeatMs)
    }
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
    const fault = requestFault(message)
    if (fault !== null) {
      this.#outbox.reject(link, fault)
      this.#outbox.event({ type: 'protocolFault', peer: from, reason: fault })
      return
    }
    if (message.type === 'AppendEntries') {
      this.#handleAppendEntries(from, link, message)
      return
    }
    const role = this.#role
    const hearsLeader = role.role === 'leader' || (role.role === 'follower' && role.hearsLeader)
    const answer =
      message.type === 'RequestVote'
        ? answerRequestVote(this.#context, from, message, hearsLeader)
        : answerPreVote(this.#context, message, hearsLeader)
    this.#outbox.hold(this.#tickets.gate, this.#tickets.term, { kind: 'response', link, message: answer })
  }

  #handleResponse(from: ServerId, session: number, message: Response): void {
    const fault = responseFault(message)
    if (fault === null) this.#role.onResponse(from, session, message)
    else this.#outbox.event({ type: 'protocolFault', peer: from, reason: fault })
  }

  #handleAppendEntries(from: ServerId, link: number, message: AppendEntries): void {
    if (message.term < this.#tickets.term) {
      const answer = {
        type: 'AppendEntriesResult',
        term: this.#tickets.term,
        status: 'conflict',
        matchIndex: logIndex(0),
        hintIndex: logIndex(0),
        hintTerm: termOf(0),
        round: 0,
      } as const
      this.#outbox.hold(this.#tickets.gate, this.#tickets.term, { kind: 'response', link, message: answer })
      return
    }
    if (message.term > this.#tickets.term || this.#role.role === 'preCandidate' || this.#role.role === 'candidate') {
      this.#becomeFollower(message.term, from, `${from} leads term ${message.term}`)
    }
    if (this.#role.role !== 'follower' || (this.#leader !== null && this.#leader !== from)) {
      const reason = `it claims to lead term ${message.term}, which ${this.#leader} leads`
      this.#outbox.reject(link, reason)
      this.#outbox.event({ type: 'protocolFault', peer: from, reason })
      return
    }
    this.#toldCommit = logIndex(Math.max(this.#toldCommit, message.commitIndex))
    this.#role.handleAppendEntries(from, link, message)
  }

  #propose(block: Block): void {
    assert(this.#role.role === 'leader', () => `core: a block ${block.first} proposed to a ${this.#role.role}`)
    assert(
      block.term === this.#tickets.term,
      () => `core: proposed in term ${block.term}, now is ${this.#tickets.term}`,
    )
    this.#accept(block)
  }

  #accept(block: Block): void {
    this.#tickets.append(block)
    this.#credit -= block.data.byteLength
  }

  #applied(index: LogIndex): void {
    const end = this.#applying
    assert(
      end !== null && index > this.#log.appliedIndex && index <= end,
      () => `core: applied ${index} of a range to ${end}`,
    )
    this.#log.appliedIndex = index
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

  #commitTo(index: LogIndex): void {
    assert(index <= this.#log.lastIndex, () => `core: commit ${index} beyond the last entry ${this.#log.lastIndex}`)
    if (index > this.#log.commitIndex) this.#log.commitIndex = index
  }

  #grantVote(candidate: ServerId): void {
    this.#tickets.vote(candidate)
    if (this.#role.role === 'follower') this.#role.resetElectionTimer()
  }

  #setLeader(leader: ServerId | null): void {
    const { term } = this.#tickets
    // Who leads again in a later term may have been deposed in between, and another may have committed: that is news.
    if (leader === this.#leader && (leader === null || term === this.#leaderTerm)) return
    this.#leader = leader
    this.#leaderTerm = term
    this.#outbox.event({ type: 'leader', leader: this.leader, term })
  }

  #becomeFollower(term: Term, leader: ServerId | null, reason: string): void {
    const before = this.#role
    if (term > this.#tickets.term) this.#enterTerm(term, null)
    if (before.role === 'leader') this.#endLeadership(before, reason)
    // A term alone is no sign of a live leader: only a vote or entries put off a follower's election (5.2).
    const electionAt = before.role === 'follower' ? before.electionAt : this.#now + this.#drawElectionTimeout()
    this.#role = new Follower(this.#context, leader, electionAt)
    this.#setLeader(leader)
    if (before.role !== 'follower') this.#roleChanged()
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
    this.#enterTerm(termOf(this.#tickets.term + 1), this.#context.id)
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
    this.#tickets.enterTerm(term, votedFor)
    this.#outbox.dropOlderThan(term)
  }

  #endLeadership(leader: Leader, reason: string): void {
    leader.abandonReads()
    this.#outbox.lost(this.#log.commitIndex)
    this.#outbox.event({ type: 'steppedDown', term: this.#tickets.term, reason })
  }

  #halt(): void {
    if (this.#role.role === 'leader') this.#endLeadership(this.#role, 'this server has halted')
    this.#role = new Follower(this.#context, null, Infinity)
    this.#setLeader(null)
    this.#roleChanged()
    this.#outbox.silence()
    this.#halted = true
  }

  #roleChanged(): void {
    this.#outbox.event({ type: 'role', role: this.#role.role, term: this.#tickets.term })
  }

  #drawElectionTimeout(): number {
    return this.#settings.electionTimeoutMs * (1 + this.#random())
  }
}
