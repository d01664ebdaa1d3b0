/**
 * A server that turns, as `raft.ts` sees it: takes calls and puts each into its queue, or refuses it at once; says how
 * things stand. What can be refused without the log is refused here.
 */

import { membersOf, peersOf } from '../core/configuration.js'
import type { RaftCore } from '../core/raft-core.js'
import { RaftError } from '../errors.js'
import { isThenable, onRejection } from '../foreign-values.js'
import type { Payload } from '../format/block.js'
import { NoAnswer } from '../machine/session-batch.js'
import { isTraced, traced } from '../observe/channels.js'
import { EventLoopLag } from '../observe/event-loop-lag.js'
import type { Events, RaftEvents } from '../observe/events.js'
import type { Meter } from '../observe/meter.js'
import type { Metric } from '../observe/metric.js'
import { watch } from '../observe/watch.js'
import type { EventName, Watch, WatchOptions } from '../observe/watch.js'
import type { LogStore, StoredState } from '../storage/log-store.js'
import type { Transport } from '../transport/transport.js'
import type { Clock, Identity, JoinStatus, LogIndex, Server as Peer, ServerId } from '../types.js'
import { ProposalCall } from './calls/apply-queue.js'
import type { ApplyQueue } from './calls/apply-queue.js'
import { ChangeCall } from './calls/change-queue.js'
import type { ChangeQueue } from './calls/change-queue.js'
import type { Deadlines } from './calls/deadlines.js'
import { TransferCall } from './calls/leadership-queue.js'
import type { CloseOptions, LeadershipQueue } from './calls/leadership-queue.js'
import { PendingCall } from './calls/pending-call.js'
import type { Alarms, WaitOptions } from './calls/pending-call.js'
import type { QueriesUnderWay } from './calls/queries-under-way.js'
import type { ReadQueue } from './calls/read-queue.js'
import type { ReadyQueue } from './calls/ready-queue.js'
import { replace } from './calls/replacement.js'
import type { Changing, Replacement } from './calls/replacement.js'
import type { Signals } from './calls/signals.js'
import type { SnapshotQueue } from './calls/snapshot-queue.js'
import type { Currency } from './currency.js'
import type { EntryClock } from './entry-clock.js'
import type { AnyServer, Local } from './forward/any-server.js'
import type { Proposed } from './forward/asking.js'
import type { Forwarding } from './forward/forwarding.js'
import { healthOf } from './health.js'
import type { Health } from './health.js'
import type { Life } from './life.js'
import { metricsOf } from './metrics.js'
import type { PeerPins } from './peer-pins.js'
import type { PeerRefusals } from './peer-refusals.js'
import type { Repairs } from './repair/repairs.js'
import { aborted, noAnswer, notLeader, overloaded, transferInProgress } from './refusals.js'
import type { Snapshots } from './snapshots.js'
import { describe } from './status.js'
import type { ConfigurationAnswer, SnapshotInfo, Status } from './status.js'
import type { EventLoop } from './turn/event-loop.js'
import type { Inbound } from './turn/inbound.js'
import type { Mailbox } from './turn/mailbox.js'
import type { WritesUnderWay } from './turn/writes-under-way.js'

export interface ServerParts {
  readonly core: RaftCore
  readonly store: LogStore
  readonly clock: Clock
  readonly events: Events
  readonly life: Life
  readonly mailbox: Mailbox
  readonly proposals: ApplyQueue
  readonly reads: ReadQueue
  readonly readies: ReadyQueue
  readonly changes: ChangeQueue
  readonly queries: QueriesUnderWay
  readonly leadership: LeadershipQueue
  readonly deadlines: Deadlines
  readonly signals: Signals
  readonly pins: PeerPins
  readonly entryClock: EntryClock
  readonly writes: WritesUnderWay
  readonly transport: Transport
  readonly meter: Meter
  readonly currency: Currency
  readonly loop: EventLoop
  readonly inbound: Inbound
  readonly refusals: PeerRefusals
  readonly snapshots: Snapshots
  readonly snapshotCalls: SnapshotQueue
  readonly repairs: Repairs
  readonly forwarding: Forwarding
  readonly identity: Identity
  readonly recoveries: readonly string[]
  /** What it waits for as long as it is no member; null: it was not to be added. */
  readonly join: JoinStatus | null
  readonly durability: StoredState['durability']
  /** As it was set: the longest that a transfer of leadership takes. */
  readonly electionTimeoutMs: number
}

/** Of a close that says nothing else. */
const LAST_SNAPSHOT_MS_MAX = 30_000

/** From one look at what is left to the next: in most cases one is enough. */
const DRAIN_LOOK_MS = 5

/** Of the rooms, those in which somebody's call stands, also a peer's or a client's. */
const CALLS = [
  ...(['waiting', 'accepted', 'reads', 'readies', 'changes', 'queries', 'snapshotCalls', 'leadership'] as const),
  ...(['submitted', 'asked', 'served', 'clientCalls', 'leaderWaits', 'indexWaits'] as const),
] satisfies readonly (keyof Counters)[]

/** How much stands in each room of the shell: all of them are empty when nothing is asked of the server. */
export interface Counters {
  /** What has come since the last turn. */
  readonly mail: number
  /** Proposals that wait for the next batch, and their bytes. */
  readonly waiting: number
  readonly waitingBytes: number
  /** 1 while proposals are refused until something has left. */
  readonly full: number
  /** Proposals in the log that have no outcome yet. */
  readonly accepted: number
  /** `readIndex` calls that wait to be confirmed, or for the state machine. */
  readonly reads: number
  /** Requests to the core whose reads wait. */
  readonly readRounds: number
  /** `ready` calls that wait for a leader. */
  readonly readies: number
  /** Changes of the members without an outcome. */
  readonly changes: number
  /** Queries whose answer is promised and not there. */
  readonly queries: number
  /** `snapshot` calls that wait for one. */
  readonly snapshotCalls: number
  readonly repairs: number
  readonly givings: number
  /** Commands that were submitted and have no outcome, and what only the leader can do and was asked for here. */
  readonly submitted: number
  /** Queries of `query` that have no answer yet. */
  readonly asked: number
  readonly forwarded: number
  /** What peers have asked for and has no answer yet. */
  readonly served: number
  /** What clients have asked for and has no answer yet. */
  readonly clientCalls: number
  /** Calls that wait for a leader, and reads that wait for an index. */
  readonly leaderWaits: number
  readonly indexWaits: number
  /** Calls that hand leadership over, or give it up. */
  readonly leadership: number
  /** Calls with a deadline that has not come. */
  readonly deadlines: number
  /** Signals that are listened to. */
  readonly signals: number
  /** Claims of peers that are not written down yet. */
  readonly admissions: number
  /** Tickets given to the store and not yet durable, the core's and others. */
  readonly writes: number
  /** 1 while the state machine is to answer in a later turn. */
  readonly applying: number
}

type Ask<Answer> = () => Answer | PromiseLike<Answer>

export class Server implements Changing {
  /** What the calls that every server takes ask of this one: they were taken, so they go on while it leaves. */
  readonly local: Local = {
    holdsLease: () => this.#holdsLease(),
    begin: (call, options) => this.#begin(call, options),
    proposePlaced: (call, options) => this.#proposePlaced(call, options),
    readIndex: (options) => this.#readIndex(options),
    staleRead: (ask, options) => this.#staleRead(ask, options),
    leaseRead: (ask, options, otherwise) => this.#leaseRead(ask, options, otherwise),
  }
  /** For the simulator, which watches its two doors; nobody else looks at it. */
  readonly core: RaftCore
  readonly #store: LogStore
  readonly #clock: Clock
  readonly #events: Events
  readonly #life: Life
  readonly #mailbox: Mailbox
  readonly #proposals: ApplyQueue
  readonly #reads: ReadQueue
  readonly #readies: ReadyQueue
  readonly #changes: ChangeQueue
  readonly #queries: QueriesUnderWay
  readonly #leadership: LeadershipQueue
  readonly #deadlines: Deadlines
  readonly #signals: Signals
  readonly #pins: PeerPins
  readonly #entryClock: EntryClock
  readonly #writes: WritesUnderWay
  readonly #transport: Transport
  readonly #meter: Meter
  readonly #currency: Currency
  readonly #lag = new EventLoopLag()
  readonly #loop: EventLoop
  readonly #inbound: Inbound
  readonly #refusals: PeerRefusals
  readonly #snapshots: Snapshots
  readonly #snapshotCalls: SnapshotQueue
  readonly #repairs: Repairs
  readonly #forwarding: Forwarding
  readonly #identity: Identity
  readonly #recoveries: readonly string[]
  readonly #join: JoinStatus | null
  readonly #durability: StoredState['durability']
  readonly #electionTimeoutMs: number
  /** What `close` answers with, however often it is called; null before the first time. */
  #closing: Promise<void> | null = null

  constructor(parts: ServerParts) {
    this.core = parts.core
    this.#store = parts.store
    this.#clock = parts.clock
    this.#events = parts.events
    this.#life = parts.life
    this.#mailbox = parts.mailbox
    this.#proposals = parts.proposals
    this.#reads = parts.reads
    this.#readies = parts.readies
    this.#changes = parts.changes
    this.#queries = parts.queries
    this.#leadership = parts.leadership
    this.#deadlines = parts.deadlines
    this.#signals = parts.signals
    this.#pins = parts.pins
    this.#entryClock = parts.entryClock
    this.#writes = parts.writes
    this.#transport = parts.transport
    this.#meter = parts.meter
    this.#currency = parts.currency
    this.#loop = parts.loop
    this.#inbound = parts.inbound
    this.#refusals = parts.refusals
    this.#snapshots = parts.snapshots
    this.#snapshotCalls = parts.snapshotCalls
    this.#repairs = parts.repairs
    this.#forwarding = parts.forwarding
    this.#identity = parts.identity
    this.#recoveries = parts.recoveries
    this.#join = parts.join
    this.#durability = parts.durability
    this.#electionTimeoutMs = parts.electionTimeoutMs
    void this.#life.ended.then(() => this.#lag.stop())
  }

  /**
   * Throws why so many commands, with so many bytes so far, are not taken now. Asked before any more of them is
   * encoded; `propose` asks again.
   */
  checkRoom(count: number, bytes: number): void {
    const refusal = this.#life.refusal ?? this.#notLeader() ?? this.#noRoom(this.#proposals.refusal(count, bytes))
    if (refusal !== null) throw refusal
  }

  /**
   * Proposes the payloads in order, in one append. Resolves with one result each: of a command the machine's answer, of
   * a barrier its index.
   */
  propose(
    payloads: readonly Payload[],
    kind: ProposalCall['kind'],
    options: WaitOptions | undefined,
  ): Promise<readonly unknown[]> {
    return this.proposeCall(new ProposalCall(kind, payloads), options)
  }

  /** The same with a call that was made elsewhere. */
  proposeCall(call: ProposalCall, options: WaitOptions | undefined): Promise<readonly unknown[]> {
    return this.#isTaken(call) ? this.#proposed(call, options) : call.promise
  }

  /** The same with one command, and with its place in the log. Rejects where it came to no answer. */
  // Hot path: once per command that is submitted, or of a session, on the server that leads.
  #proposePlaced(call: ProposalCall, options: WaitOptions | undefined): Promise<Proposed<unknown>> {
    return this.#proposed(call, options).then(([result]) => {
      if (result instanceof NoAnswer && result.reason !== null) throw noAnswer(result)
      return { index: call.index, term: call.term, result }
    })
  }

  #proposed(call: ProposalCall, options: WaitOptions | undefined): Promise<readonly unknown[]> {
    if (!isTraced()) return this.#propose(call, options)
    const about = { server: this.id, kind: call.kind, entries: call.count }
    return traced(about, () => this.#propose(call, options))
  }

  #propose(call: ProposalCall, options: WaitOptions | undefined): Promise<readonly unknown[]> {
    if (!this.#begin(call, options)) return call.promise
    const refusal = this.#notLeader() ?? this.#noRoom(this.#proposals.add(call))
    if (refusal === null) this.#mailbox.schedule()
    else call.reject(refusal)
    return call.promise
  }

  /** What every server takes. */
  get any(): AnyServer {
    return this.#forwarding.any
  }

  /** Resolves with an index that is applied here, and at or above everything committed before the call (thesis 6.4). */
  readIndex(options: WaitOptions | undefined): Promise<LogIndex> {
    const { refusal } = this.#life
    return refusal === null ? this.#readIndex(options) : Promise.reject(refusal)
  }

  /** Also for what was taken before this server left. */
  #readIndex(options: WaitOptions | undefined): Promise<LogIndex> {
    const mayShare = options === undefined && this.#life.over === null && this.core.role === 'leader'
    const shared = mayShare ? this.#reads.share() : null
    if (shared !== null) {
      this.#mailbox.schedule()
      return shared
    }
    const call = new PendingCall<LogIndex>()
    if (!this.#begin(call, options)) return call.promise
    const refusal = this.#notLeader() ?? this.#reads.add(call)
    if (refusal === null) this.#mailbox.schedule()
    else call.reject(refusal)
    return call.promise
  }

  /**
   * Asks the state machine, after a proof of leadership. What it throws or rejects with goes to the caller as it is.
   * Hot path: once per read.
   */
  async read<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Promise<Answer> {
    const since = this.#beginOf(options)
    await this.readIndex(options)
    return this.#answerOf(ask, options, since)
  }

  async #readOn<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Promise<Answer> {
    const since = this.#beginOf(options)
    await this.#readIndex(options)
    return this.#answerOf(ask, options, since)
  }

  #answerOf<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined, since: number): Answer | Promise<Answer> {
    const answer = ask()
    return isThenable(answer) ? this.#untilAnswered(answer, options, since) : answer
  }

  /** The same at once, without a proof: an answer that is there is no promise. Throws what `read` rejects with. */
  staleRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Answer | Promise<Answer> {
    const { refusal } = this.#life
    if (refusal !== null) throw refusal
    return this.#staleRead(ask, options)
  }

  #staleRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Answer | Promise<Answer> {
    const since = this.#beginOf(options)
    this.#checkStale(options)
    const answer = ask()
    return isThenable(answer) ? this.#untilAnswered(answer, options, since) : answer
  }

  /**
   * The same by the lease of this server, where it holds one before and after, and `otherwise` where it does not: an
   * answer that took long, or a process that slept meanwhile, is no reason to answer with what was true long ago. Hot
   * path: once per read.
   */
  leaseRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Promise<Answer> {
    const { refusal } = this.#life
    if (refusal !== null) return Promise.reject(refusal)
    return this.#leaseRead(ask, options, (left) => this.#readOn(ask, left))
  }

  async #leaseRead<Answer>(
    ask: Ask<Answer>,
    options: WaitOptions | undefined,
    otherwise: (left: WaitOptions | undefined) => Promise<Answer>,
  ): Promise<Answer> {
    const { term } = this.core
    if (!this.#mayReadByLease) return otherwise(options)
    const since = this.#beginOf(options)
    const answer = await this.#staleRead(ask, options)
    if (this.#mayReadByLease && this.core.term === term) return answer
    return otherwise(this.#rest(options, since))
  }

  ready(options: WaitOptions | undefined): Promise<void> {
    const call = new PendingCall<void>()
    if (!this.#isTaken(call) || !this.#begin(call, options)) return call.promise
    this.#readies.add(call)
    this.#mailbox.schedule()
    return call.promise
  }

  /** Resolves with a snapshot that is durable, and covers what was applied here when it was asked for. */
  snapshot(options: WaitOptions | undefined): Promise<SnapshotInfo> {
    const call = new PendingCall<SnapshotInfo>()
    if (!this.#isTaken(call) || !this.#begin(call, options)) return call.promise
    const refusal = this.#snapshots.ask(call, this.core.log.appliedIndex)
    if (refusal === null) this.#mailbox.schedule()
    else call.reject(refusal)
    return call.promise
  }

  /** The bytes of such a snapshot, as its file has them. */
  async *exportSnapshot(options: WaitOptions | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    const { id } = await this.snapshot(options)
    yield* this.#snapshots.bytesOf(id)
  }

  /** Resolves with the id of the server that leads now. */
  transferLeadership(to: ServerId | null, options: WaitOptions | undefined): Promise<ServerId> {
    const call = new TransferCall()
    if (!this.#isTaken(call) || !this.#begin(call, options)) return call.promise
    const refusal = this.#notLeader()
    if (refusal === null) this.#transfer(call, to)
    else call.reject(refusal)
    return call.promise
  }

  /** Resolves when this server leads no more. */
  stepDown(): Promise<void> {
    const call = new PendingCall<void>()
    if (!this.#isTaken(call) || !this.#begin(call, undefined)) return call.promise
    const refusal = this.#notLeader()
    if (refusal === null) {
      this.#leadership.addStepDown(call)
      this.#mailbox.push({ type: 'stepDown', reason: 'its operator asked for it' })
    } else call.reject(refusal)
    return call.promise
  }

  /** Resolves with the configuration that the change has led to, once that is committed. */
  async change(call: ChangeCall, options: WaitOptions | undefined): Promise<ConfigurationAnswer> {
    return this.#changed(call, options, () => this.#changes.add(call))
  }

  async settled(voter: ServerId | null, options: WaitOptions | undefined): Promise<ConfigurationAnswer> {
    const call = new ChangeCall(
      { change: { type: 'set', voters: [], nonvoters: [] }, ifIndex: null, force: false },
      voter,
    )
    return this.#changed(call, options, () => this.#changes.addAppended(call, this.core.log.configurationIndex))
  }

  /** Resolves when the new server has the place of the old one. */
  async replace(replacement: Replacement, options: WaitOptions | undefined): Promise<ConfigurationAnswer> {
    const since = this.#beginOf(options)
    const refusal = this.#life.refusal ?? this.#notLeader()
    if (refusal !== null) throw refusal
    return replace(this, replacement, () => this.#rest(options, since))
  }

  get id(): ServerId {
    return this.#identity.serverId
  }

  /** On the connection of now, within an election timeout. */
  isWell(id: ServerId): boolean {
    const peer = this.core.peers.get(id)
    if (peer === undefined) return false
    return peer.session !== null && peer.matchIndex > 0 && peer.regressedOn === null && peer.isHeard(this.#clock.now())
  }

  async #changed(
    call: ChangeCall,
    options: WaitOptions | undefined,
    add: () => RaftError | null,
  ): Promise<ConfigurationAnswer> {
    if (this.#isTaken(call) && this.#begin(call, options)) {
      const refusal = this.#notLeader() ?? add()
      if (refusal === null) this.#mailbox.schedule()
      else call.reject(refusal)
    }
    const { configuration, index } = await call.promise
    return { configuration: describe(configuration), index, isCommitted: true }
  }

  /** The one in force here: the newest in the log, committed or not (thesis 4.1). */
  get configuration(): ConfigurationAnswer {
    const { configuration, log } = this.core
    const { configurationIndex: index, settledIndex } = log
    return { configuration: describe(configuration), index, isCommitted: index <= settledIndex }
  }

  /** That server, as the configuration in force has it. */
  memberOf(id: ServerId): Peer | undefined {
    return membersOf(this.core.configuration).find((server) => server.id === id)
  }

  get status(): Status {
    const { core } = this
    const { log } = core
    const { clusterId, serverId } = this.#identity
    const { isRunning } = this.#life
    return {
      id: serverId,
      clusterId,
      recoveries: this.#recoveries,
      role: isRunning ? core.role : 'follower',
      term: core.term,
      leader: isRunning ? core.leader : null,
      firstIndex: log.firstIndex,
      lastIndex: log.lastIndex,
      durableIndex: log.durableIndex,
      commitIndex: log.commitIndex,
      appliedIndex: log.appliedIndex,
      configuration: describe(core.configuration),
      configurationIndex: log.configurationIndex,
      configurationIsCommitted: log.configurationIndex <= log.settledIndex,
      peers: peersOf(core.configuration, serverId).map(({ id, address }) => ({
        id,
        address,
        connected: this.#inbound.isConnected(id),
        downReason: this.#inbound.downReasonOf(id),
        matchIndex: core.matchIndexOf(id),
        lastIndex: core.role === 'leader' ? this.#inbound.lastIndexOf(id) : null,
        refusal: this.#refusals.of(id),
      })),
      join: core.isMember ? null : this.#join,
      snapshot: this.#snapshots.status,
      repairs: this.#repairs.status,
      clock: this.#entryClock.status,
      store: this.#store.stats(),
      durability: this.#durability,
      fault: this.#life.fault,
    }
  }

  get entryTime(): number {
    return this.#entryClock.now
  }

  get counters(): Counters {
    return {
      mail: this.#mailbox.count,
      waiting: this.#proposals.waitingCount,
      waitingBytes: this.#proposals.waitingBytes,
      full: Number(this.#proposals.isFull),
      accepted: this.#proposals.acceptedCount,
      reads: this.#reads.count,
      readRounds: this.#reads.rounds,
      readies: this.#readies.count,
      changes: this.#changes.count,
      queries: this.#queries.count,
      snapshotCalls: this.#snapshotCalls.count,
      ...this.#repairs.counts,
      ...this.#forwarding.counts,
      leadership: this.#leadership.count,
      deadlines: this.#deadlines.count,
      signals: this.#signals.count,
      admissions: this.#pins.count,
      writes: this.#writes.count,
      applying: Number(this.#loop.isApplying),
    }
  }

  get health(): Health {
    return healthOf({
      ...{ core: this.core, life: this.#life, currency: this.#currency, isRestoring: this.#snapshots.isRestoring },
      ...{ electionTimeoutMs: this.#electionTimeoutMs, now: this.#clock.now() },
    })
  }

  get metrics(): readonly Metric[] {
    const { status, health } = this
    const rooms = { ...this.counters }
    const traffic = this.#transport.traffic?.() ?? null
    const transfers = this.#snapshots.transfers
    return metricsOf({
      ...{ status, health, rooms, transfers, traffic, storeStats: this.#store.stats() },
      ...{ meter: this.#meter, lag: this.#lag },
    })
  }

  watch<Name extends EventName>(options: WatchOptions<Name> | undefined): Watch<Name> {
    return watch({ events: this.#events, ended: this.ended, dropped: () => this.watchDropped() }, options)
  }

  /** An event was lost to a watcher. */
  watchDropped(): void {
    this.#meter.droppedEvents += 1
  }

  on<Name extends keyof RaftEvents>(name: Name, listener: (event: RaftEvents[Name]) => void): () => void {
    return this.#events.on(name, listener)
  }

  /** A leader whom anybody could follow hands over first, and only then takes a snapshot: nobody waits for that. */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options, this.#clock.now())
    return this.#closing
  }

  get ended(): Promise<RaftError | null> {
    return this.#life.ended
  }

  get fault(): RaftError | null {
    return this.#life.fault
  }

  /** False: nothing new is taken, and the call has ended. */
  #isTaken<Value>(call: PendingCall<Value>): boolean {
    const { refusal } = this.#life
    if (refusal !== null) call.reject(refusal)
    return refusal === null
  }

  /** False: the call has ended before it began. `since`: what its deadline is counted from. */
  #begin<Value>(call: PendingCall<Value>, options: WaitOptions | undefined, since?: number): boolean {
    const { over } = this.#life
    if (over !== null) call.reject(over)
    else if (options === undefined) return true
    else call.arm(options, this.#alarms, since ?? this.#clock.now())
    return !call.settled
  }

  #holdsLease(): boolean {
    return this.core.countsLease && this.core.holdsLease(this.#clock.bootNow?.() ?? Infinity)
  }

  get #mayReadByLease(): boolean {
    return this.core.countsLease && this.core.mayReadByLease(this.#clock.bootNow?.() ?? Infinity)
  }

  get #alarms(): Alarms {
    return { deadlines: this.#deadlines, signals: this.#signals }
  }

  /** What a deadline is counted from; nobody asks where there is none. */
  #beginOf(options: WaitOptions | undefined): number {
    return options?.timeoutMs === undefined ? 0 : this.#clock.now()
  }

  #rest(options: WaitOptions | undefined, since: number): WaitOptions | undefined {
    if (options?.timeoutMs === undefined) return options
    return { ...options, timeoutMs: this.#msLeft(options.timeoutMs, since) }
  }

  #msLeft(timeoutMs: number, since: number): number {
    return Math.max(1, since + timeoutMs - this.#clock.now())
  }

  /** What is asked at once waits for nothing, but is not asked of a server that has ended, nor by who has given up. */
  #checkStale(options: WaitOptions | undefined): void {
    const { over } = this.#life
    if (over !== null) throw over
    if (this.#snapshots.isRestoring) throw overloaded('the state machine is being restored from a snapshot')
    if (options?.signal?.aborted === true) throw aborted('not-applied', options.signal.reason)
  }

  /** Waits for the promise of a user as for anything else: no longer than the caller, and than this server. */
  #untilAnswered<Answer>(
    answer: PromiseLike<Answer>,
    options: WaitOptions | undefined,
    since: number,
  ): Promise<Answer> {
    const call = new PendingCall<Answer>()
    if (!this.#begin(call, options, since)) {
      onRejection(answer, ignore)
      return call.promise
    }
    const refusal = this.#queries.add(call as PendingCall<unknown>, answer)
    if (refusal !== null) call.reject(refusal)
    else if (options !== undefined) this.#mailbox.schedule()
    return call.promise
  }

  async #close(options: CloseOptions, since: number): Promise<void> {
    const { transferLeadership = true, snapshot = false, timeoutMs, drainMs = 0 } = options
    if (drainMs > 0) await this.#finishAsLeader(since + drainMs)
    const leaves = this.#clock.now()
    if (transferLeadership && this.#life.isRunning && this.#isFollowed) {
      const call = new TransferCall()
      call.arm({ timeoutMs: timeoutMs ?? this.#electionTimeoutMs }, this.#alarms, leaves)
      this.#transfer(call, null)
      this.#life.leave()
      // Why it came to nothing no longer matters: the others find a leader by themselves.
      await call.promise.catch(ignore)
    }
    const snapshotMs = timeoutMs === undefined ? LAST_SNAPSHOT_MS_MAX : this.#msLeft(timeoutMs, leaves)
    if (drainMs > 0) await this.#finish(since + drainMs)
    if (snapshot && this.#life.isRunning) await this.#takeLast(snapshotMs)
    await this.#loop.close()
  }

  /** What nobody else can finish: what waits for the log of this server, or for a proof that it leads. */
  #finishAsLeader(endsAt: number): Promise<void> {
    this.#life.leave()
    return this.#drain(endsAt, ({ waiting, accepted, reads, leadership, changes }) => {
      const { configurationIndex, settledIndex } = this.core.log
      // One that waits for a server to catch up may take long, and whoever leads then goes on with it.
      const isChanging = changes > 0 && configurationIndex > settledIndex
      return waiting + accepted + reads + leadership + Number(isChanging)
    })
  }

  async #finish(endsAt: number): Promise<void> {
    if (callsOf(this.counters) === 0 || !(this.#clock.now() < endsAt)) return
    // It takes no commands any more, so it must not lead while it waits.
    if (this.#life.isRunning && this.#isFollowed) this.#mailbox.push({ type: 'stepDown', reason: 'it closes' })
    await this.#drain(endsAt, callsOf)
  }

  /** Until none of those calls is under way, or that time has come, or this server has ended by itself. */
  async #drain(endsAt: number, countOf: (counters: Counters) => number): Promise<void> {
    for (;;) {
      const leftMs = endsAt - this.#clock.now()
      if (!this.#life.isRunning || !(leftMs > 0) || countOf(this.counters) === 0) return
      await new Promise<void>((resolve) => {
        this.#clock.setTimer(Math.min(leftMs, DRAIN_LOOK_MS), resolve)
      })
    }
  }

  /** A snapshot with which the next start begins. What keeps it from being taken is told, and keeps nothing waiting. */
  async #takeLast(timeoutMs: number): Promise<void> {
    this.#life.leave()
    // It takes no commands any more, so it must not lead while it writes.
    if (this.#isFollowed) this.#mailbox.push({ type: 'stepDown', reason: 'it closes' })
    const { appliedIndex } = this.core.log
    const call = new PendingCall<SnapshotInfo>()
    call.arm({ timeoutMs }, this.#alarms, this.#clock.now())
    const refusal = this.#snapshots.ask(call, appliedIndex)
    if (refusal === null) this.#mailbox.schedule()
    else call.reject(refusal)
    await call.promise.catch((error: unknown) => {
      if (this.#life.isRunning && error instanceof RaftError) this.#snapshots.notTaken(appliedIndex, error)
    })
  }

  #transfer(call: TransferCall, to: ServerId | null): void {
    this.#leadership.addTransfer(call)
    this.#mailbox.push({ type: 'transfer', id: call.id, to })
  }

  /** Whether this server leads others that could lead. */
  get #isFollowed(): boolean {
    const { role, configuration } = this.core
    return role === 'leader' && configuration.voters.some(({ id }) => this.#inbound.isConnected(id))
  }

  /** While leadership is handed over, that is why there is no room. */
  #noRoom(refusal: RaftError | null): RaftError | null {
    const isHandedOver = refusal?.code === 'ERR_RAFT_OVERLOADED' && this.core.counters.transfers > 0
    return isHandedOver ? transferInProgress() : refusal
  }

  #notLeader(): RaftError | null {
    return this.core.role === 'leader' ? null : notLeader(this.core.leader)
  }
}

/** All that was asked here and has no outcome. */
function callsOf(counters: Counters): number {
  return CALLS.reduce((sum, room) => sum + counters[room], 0)
}

function ignore(): void {}
