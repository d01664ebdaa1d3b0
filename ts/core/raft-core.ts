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
import { ELECTION_PRIORITY_MAX, logIndex, POSITION_MAX, termOf } from '../types.js'
import type {
  Block,
  Configuration,
  HardState,
  LogIndex,
  Role,
  Server,
  ServerId,
  SnapshotMeta,
  StoreIdentity,
  Term,
} from '../types.js'
import { Candidate, PreCandidate } from './candidate.js'
import { ConfigurationNews } from './configuration-news.js'
import { Electorate } from './electorate.js'
import type { PeerSession } from './electorate.js'
import { Follower } from './follower.js'
import { TermAndVote } from './hard-state.js'
import { Intake } from './intake.js'
import { Leader } from './leader/leader.js'
import type { Progress } from './leader/progress.js'
import { LeaderLoss } from './leader-loss.js'
import { messageFlaw, termFlaw } from './message-check.js'
import type { AppendEntries, Request, Response } from './messages.js'
import { Outbox } from './outbox.js'
import { Pledge } from './pledge.js'
import { RaftLog } from './raft-log.js'
import type { BlockMaker, LogStart } from './raft-log.js'
import type { Admission, Input, Ready } from './ready.js'
import { MachineFeed } from './machine-feed.js'
import { matchIndexOf } from './role.js'
import type { CoreContext, CoreSettings, RoleBehaviour } from './role.js'
import { Succession } from './succession.js'
import { Tickets } from './tickets.js'
import { answerPreVote, answerRequestVote } from './voter.js'

/** Blocks kept in memory for peers that lag, and for the state machine. */
const TAIL_BYTES_MAX = 64 * 1024 * 1024
/**
 * The same once nobody is known to lag: whoever turns out to is served from the store first. What leaves the tail soon
 * is collected with the young garbage; what stays for long costs a full collection.
 */
const TAIL_SPARE_BYTES = 1024 * 1024

/** What a core begins with: who it is, what its disk holds, and what it must not know by itself. */
export interface CoreOptions {
  readonly id: ServerId
  readonly store: StoreIdentity
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
  /** 1 while the state machine is restored. */
  readonly restoring: number
  /** Peers that are being given a snapshot. */
  readonly snapshotsSent: number
  /** Transfers of leadership without an outcome: one at most. */
  readonly transfers: number
  readonly uncommittedBytes: number
  readonly unappliedBytes: number
}

/**
 * One server's Raft, as a value: `step` takes an input, `takeReady` says what is to be done. No await, no I/O, no
 * clock.
 */
export class RaftCore {
  readonly #context: CoreContext
  readonly #hardState: TermAndVote
  readonly #log: RaftLog
  readonly #tickets: Tickets
  readonly #feed: MachineFeed
  readonly #intake: Intake
  readonly #outbox = new Outbox()
  readonly #configurations: ConfigurationNews
  readonly #pledge: Pledge
  readonly #succession = new Succession(this.#outbox)
  /** Connections that are up, by the peer that was dialled; a later session of a peer replaces the earlier one. */
  readonly #sessions = new Map<ServerId, PeerSession>()
  readonly #settings: CoreSettings
  readonly #random: () => number
  readonly #tailBytesMax: number
  /** Changed by the transitions below alone; the new one is in force at once. */
  #role: RoleBehaviour
  /** The leader of this term as far as it is known; null while none is. */
  #leader: ServerId | null = null
  /** The term in which a leader was last told. */
  #leaderTerm = termOf(0)
  /** There is a leader, told as none: the log does not name it as a member yet, so nobody knows where it is. */
  #isLeaderUnplaced = false
  /** The time of this turn, on the clock of the inputs. Never goes back. */
  #now: number
  /** The time of this turn on the clock that counts through suspend; -Infinity where it was not told. */
  #bootNow = -Infinity
  /** Names each attempt to ask for pre-votes. */
  #preVoteRound = 0
  /** What was received while the state machine was busy: it becomes the log's when that is over (scenario N9). */
  #received: SnapshotMeta | null = null
  #halted = false

  constructor(options: CoreOptions) {
    const { hardState } = options
    this.#settings = options.settings
    this.#random = options.random
    this.#now = options.now
    this.#tailBytesMax = options.tailBytesMax ?? TAIL_BYTES_MAX
    this.#hardState = new TermAndVote(hardState.term, hardState.votedFor)
    this.#log = new RaftLog(options.log, options.maker)
    this.#pledge = new Pledge(this.#log, options.now)
    this.#tickets = new Tickets(this.#log, this.#hardState, hardState.commitIndex)
    this.#feed = new MachineFeed(this.#log, this.#tickets)
    this.#intake = new Intake(this.#log, this.#hardState, this.#tickets)
    this.#configurations = new ConfigurationNews(options.id, this.#log, this.#outbox)
    this.#context = this.#makeContext(options)
    const first = options.settings.firstElectionTimeoutMs
    const timeoutMs = this.#drawElectionTimeout(first ?? undefined)
    this.#role = new Follower(this.#context, null, options.now + timeoutMs)
  }

  /** What it is in its term. */
  get role(): Role {
    return this.#role.role
  }

  /** The current term. */
  get term(): Term {
    return this.#hardState.term
  }

  /** Whom it voted for in this term; null for nobody. */
  get votedFor(): ServerId | null {
    return this.#hardState.votedFor
  }

  /** The leader of this term and its address; null while it knows none. */
  get leader(): LeaderHint | null {
    if (this.#leader === null) return null
    // One that was removed leads on until that is committed.
    const server = this.#configurations.servers.find(({ id }) => id === this.#leader)
    if (server === undefined) return null
    const { id, address } = server
    const meta = this.#context.maker.metaOf(server)
    return Object.freeze(meta === null ? { id, address } : { id, address, meta })
  }

  /** As `leader`, of which a hint is made each time; it may be one that was removed. */
  get leaderId(): ServerId | null {
    return this.#leader
  }

  /**
   * When the leader of this term was last heard, or by a leader a quorum, on the clock of the inputs: -Infinity for
   * never, Infinity for a leader that is a quorum by itself.
   */
  get leaderContactAt(): number {
    return this.#role.leaderContactAt
  }

  /** The newest one in its log, which is in force. */
  get configuration(): Configuration {
    return this.#log.configuration
  }

  /** Whether this server counts a lease: then each turn is told the time on the clock of leases. */
  get countsLease(): boolean {
    return this.#role.role === 'leader' && this.#log.configuration.leaseMs !== undefined
  }

  /** Whether nobody else can lead at that time of the clock of leases: what is committed here is all that is. */
  holdsLease(bootNow: number): boolean {
    return this.#role.holdsLease(bootNow)
  }

  /**
   * Whether what the state machine holds is a linearizable read at that time, on the clock of leases, without another
   * word (docs/reads.md).
   */
  mayReadByLease(bootNow: number): boolean {
    return this.#role.mayReadByLease(bootNow)
  }

  /** Until when this server helps nobody to lead, but whom its leader asks to; on the clock of the inputs. */
  get pledgedUntil(): number {
    return this.#pledge.until
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

  /** Whether the newest configuration here has this server, with the store that it has. */
  get isMember(): boolean {
    return this.#context.electorate.isMemberHere(this.configuration)
  }

  /** Whether that member was added, by the newest configuration here, and is none of the first. */
  wasAdded(id: ServerId): boolean {
    return this.#context.electorate.wasAdded(this.configuration, id)
  }

  /** The incarnation of the store that alone has the vote of that member; null where none is named. */
  storeNamedFor(configuration: Configuration, id: ServerId): string | null {
    return this.#context.electorate.storeNamedFor(configuration, id)
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
      rangesApplying: Number(this.#feed.isApplying),
      restoring: Number(this.#feed.isRestoring),
      snapshotsSent: this.#role.snapshotsSent,
      transfers: this.#role.transfersUnderWay + this.#succession.count,
      uncommittedBytes: this.#log.uncommittedBytes,
      unappliedBytes: this.#log.bytesAbove(this.#log.appliedIndex),
    }
  }

  /** Bytes that the store takes now, less what was accepted since it said so. For invariants and tests. */
  get credit(): number {
    return this.#intake.credit
  }

  /** Whether there may be something to do once the state machine has answered; asked after it has. */
  get awaitsMachine(): boolean {
    return this.#role.awaitsMachine
  }

  /** When the next `tick` is due, on the clock of the inputs. */
  nextDeadline(): number {
    return this.#halted ? Infinity : Math.min(this.#role.nextDeadline(), this.#succession.nextDeadline())
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
      this.#refuse(input)
      return
    }
    switch (input.type) {
      case 'turn':
        return this.#beginTurn(input.now, input.bootNow)
      case 'tick':
        return this.#tick(input.now)
      case 'request':
        return this.#handleRequest(input.from, input.link, input.message)
      case 'response':
        return this.#handleResponse(input.from, input.session, input.message)
      case 'arriving':
        return this.#role.onArriving(input.from, input.link)
      case 'hasJoined':
        return this.#context.electorate.hasJoined()
      case 'peerUp':
        this.#sessions.set(input.peer, { session: input.session, store: input.store })
        return this.#role.onPeerUp(input.peer, input.session)
      case 'peerDown':
        if (this.#sessions.get(input.peer)?.session !== input.session) return
        this.#sessions.delete(input.peer)
        return this.#role.onPeerDown(input.peer)
      case 'peerGone':
        return this.#role.onPeerGone(input.peer)
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
      case 'transfer':
        return this.#role.transfer(input.id, input.to)
      case 'stepDown':
        return this.#role.stepDown(input.reason)
      case 'fetched':
        return this.#role.fetched(input.fetch, input.blocks)
      case 'fetchFailed':
        return this.#role.fetchFailed(input.fetch)
      case 'snapshotTaken':
        return this.#snapshotTaken(input.snapshot, input.first, input.firstLeast)
      case 'snapshotReceived':
        return this.#snapshotReceived(input.snapshot)
      case 'restored':
        return this.#feed.restored(input.index)
      case 'snapshotSent':
        return this.#role.snapshotSent(input.peer, input.index)
      case 'snapshotFailed':
        return this.#role.snapshotFailed(input.peer, input.isGone)
    }
  }

  /** Hot path: once per turn. Drains everything that is to be done; the caller does all of it. */
  takeReady(): Ready {
    if (this.#halted) return this.#outbox.drain(null, null, null)
    this.#role.flush()
    this.#configurations.tell(this.#role.leaving, this.#role.role === 'leader')
    if (this.#isLeaderUnplaced) this.#tellLeader()
    const ticket = this.#tickets.take(this.#now)
    this.#outbox.release(this.#tickets.durable)
    const restore = this.#feed.nextRestore()
    const apply = this.#feed.nextRange()
    this.#log.trimTail(this.#tailBytesMax, this.#log.lastIndex)
    this.#log.trimTail(Math.min(this.#tailBytesMax, TAIL_SPARE_BYTES), this.#role.heldByPeers)
    return this.#outbox.drain(ticket, apply, restore)
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
      losses: new LeaderLoss(),
      pledge: this.#pledge,
      succession: this.#succession,
      sessions: this.#sessions,
      electorate: new Electorate(options.id, options.store, this.#sessions, options.maker),
      get now() {
        return core.#now
      },
      get bootNow() {
        return core.#bootNow
      },
      get configuration() {
        return core.#log.configuration
      },
      random: () => this.#random(),
      drawElectionTimeout: () => this.#drawElectionTimeout(),
      setLeader: (leader) => this.#setLeader(leader),
      becomeFollower: (term, leader, reason) => this.#becomeFollower(term, leader, reason),
      becomePreCandidate: () => this.#becomePreCandidate(),
      becomeCandidate: (isTransfer) => this.#becomeCandidate(isTransfer),
      becomeLeader: () => this.#becomeLeader(),
    }
  }

  #beginTurn(now: number, bootNow = this.#bootNow): void {
    this.#advance(now)
    this.#bootNow = bootNow
    // A deadline passed unnoticed: the event loop was away, and what peers sent meanwhile may still be on its way in.
    const wasAway = now - this.#role.nextDeadline() > this.#settings.heartbeatMs
    if (wasAway) this.#role.grace(now + this.#settings.heartbeatMs)
  }

  #tick(now: number): void {
    this.#advance(now)
    this.#succession.tick(now)
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
        const answer = answerRequestVote(this.#context, from, message, this.#deniesVotes(from, message.isTransfer))
        if (answer.granted) this.#role.onVoteGranted()
        return this.#respondGated(link, answer)
      }
      case 'PreVote':
        return this.#respondGated(link, answerPreVote(this.#context, message, this.#deniesVotes(from)))
      case 'TimeoutNow':
        if (message.term === this.#hardState.term) this.#role.onTimeoutNow(from, message)
    }
  }

  /**
   * Nobody gets a vote while a live leader is heard, or may hold a lease by what this server has pledged, unless that
   * leader itself hands over (thesis 4.2.3); and no
   * stranger gets one of a voter: only what leads is heard of one (H1-13). A server that is no voter by what it knows
   * may be one all the same, by an entry that only the asker has, and nobody else could be elected (M8).
   */
  #deniesVotes(from: ServerId, isTransfer = false): boolean {
    if (!isTransfer && (this.#role.hearsLeader || this.#pledge.isKept(this.#now))) return true
    const isVoterHere = this.#context.electorate.isVoterHere(this.configuration)
    return isVoterHere && !this.#configurations.servers.some(({ id }) => id === from)
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
    this.#pledge.renew(this.#now)
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
    this.#feed.applied(index)
    this.#installReceived()
  }

  /**
   * The log begins later from now on, but not behind what peers still need of it, and never without an entry: a leader
   * that asks a peer how far it agrees asks by an entry (scenario C15). One that covers what the log stands on, and no
   * more, takes the place of that: it was found damaged.
   */
  #snapshotTaken(snapshot: SnapshotMeta, first: LogIndex, firstLeast: LogIndex): void {
    const log = this.#log
    // A newer one was received meanwhile.
    if (snapshot.index < (log.snapshot?.index ?? 0)) return
    const wanted = Math.min(first, snapshot.index, this.#role.neededFrom(firstLeast))
    this.#tickets.compact(logIndex(Math.max(wanted, log.firstIndex)), snapshot)
  }

  /** Not in the middle of a range: the state machine has it, and would be older than its log afterwards. */
  #snapshotReceived(snapshot: SnapshotMeta): void {
    if (this.#received === null || snapshot.index > this.#received.index) this.#received = snapshot
    if (!this.#feed.isApplying) this.#installReceived()
  }

  /**
   * A leader needs none: its log has all that is committed (5.4). One that covers no more than is known to be committed
   * is of the past (scenario N2).
   */
  #installReceived(): void {
    const snapshot = this.#received
    this.#received = null
    if (snapshot === null || this.#role.role === 'leader' || snapshot.index <= this.#log.commitIndex) return
    const { term } = snapshot
    // A term is entered before an entry of it is in the log; and whoever wants to lead a term that has such an entry
    // has lost it to another (scenario H2-14).
    const isLost = term === this.#hardState.term && this.#role.role === 'candidate'
    if (term > this.#hardState.term || isLost) this.#becomeFollower(term, null, `a snapshot ends in term ${term}`)
    this.#tickets.install(snapshot)
  }

  #setLeader(leader: ServerId | null): void {
    const { term } = this.#hardState
    // Who leads again in a later term may have been deposed in between, and another may have committed: that is news.
    if (leader === this.#leader && (leader === null || term === this.#leaderTerm)) return
    this.#leader = leader
    this.#leaderTerm = term
    if (leader !== null) this.#succession.leads(leader)
    this.#isLeaderUnplaced = leader !== null && this.leader === null
    this.#outbox.event({ type: 'leader', leader: this.leader, term })
  }

  /** A server that was away may follow one that joined meanwhile: it is told again, once its log has come so far. */
  #tellLeader(): void {
    const { leader } = this
    if (leader === null) return
    this.#isLeaderUnplaced = false
    this.#outbox.event({ type: 'leader', leader, term: this.#leaderTerm })
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

  #becomeCandidate(isTransfer: boolean): void {
    this.#enterTerm(termOf(this.#hardState.term + 1), this.#context.id)
    const role = new Candidate(this.#context, isTransfer)
    this.#role = role
    this.#setLeader(null)
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
    this.#succession.end()
    this.#role = new Follower(this.#context, null, Infinity)
    this.#setLeader(null)
    this.#roleChanged()
    this.#outbox.silence()
    this.#halted = true
  }

  /** What a server that has halted is asked for. */
  #refuse(input: Input): void {
    if (input.type === 'readIndex') this.#outbox.read({ id: input.id, status: 'notLeader' })
    if (input.type === 'configure') this.#role.configure(input.id, input)
    if (input.type !== 'transfer') return
    this.#outbox.transfer({ id: input.id, status: 'failed', to: input.to, reason: 'notLeader' })
  }

  #roleChanged(): void {
    this.#outbox.event({ type: 'role', role: this.#role.role, term: this.#hardState.term })
  }

  #drawElectionTimeout(minMs = this.#settings.electionTimeoutMs): number {
    const { electionTimeoutMs, electionPriority = ELECTION_PRIORITY_MAX } = this.#settings
    return minMs * (1 + this.#random()) + electionTimeoutMs * (ELECTION_PRIORITY_MAX - electionPriority)
  }
}
