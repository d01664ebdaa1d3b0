/**
 * A server that turns, as `raft.ts` sees it: takes calls and puts each into its queue, or refuses it at once; says how
 * things stand. What can be refused without the log is refused here.
 */

import { membersOf, peersOf } from '../core/configuration.js'
import type { RaftCore } from '../core/raft-core.js'
import type { RaftError } from '../errors.js'
import { isThenable, onRejection } from '../foreign-values.js'
import type { Payload } from '../format/block.js'
import type { Events, RaftEvents } from '../observe/events.js'
import type { LogStore, StoredState } from '../storage/log-store.js'
import type { Clock, Identity, LogIndex, Server as Peer, ServerId } from '../types.js'
import { ProposalCall } from './calls/apply-queue.js'
import type { ApplyQueue } from './calls/apply-queue.js'
import type { ChangeCall, ChangeQueue } from './calls/change-queue.js'
import type { Deadlines } from './calls/deadlines.js'
import { PendingCall } from './calls/pending-call.js'
import type { WaitOptions } from './calls/pending-call.js'
import type { QueriesUnderWay } from './calls/queries-under-way.js'
import type { ReadQueue } from './calls/read-queue.js'
import type { ReadyQueue } from './calls/ready-queue.js'
import type { Signals } from './calls/signals.js'
import type { EntryClock } from './entry-clock.js'
import type { Life } from './life.js'
import type { PeerPins } from './peer-pins.js'
import type { PeerRefusals } from './peer-refusals.js'
import { aborted, notLeader } from './refusals.js'
import { describe } from './status.js'
import type { ConfigurationAnswer, Status } from './status.js'
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
  readonly deadlines: Deadlines
  readonly signals: Signals
  readonly pins: PeerPins
  readonly entryClock: EntryClock
  readonly writes: WritesUnderWay
  readonly loop: EventLoop
  readonly inbound: Inbound
  readonly refusals: PeerRefusals
  readonly identity: Identity
  readonly durability: StoredState['durability']
}

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

export class Server {
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
  readonly #deadlines: Deadlines
  readonly #signals: Signals
  readonly #pins: PeerPins
  readonly #entryClock: EntryClock
  readonly #writes: WritesUnderWay
  readonly #loop: EventLoop
  readonly #inbound: Inbound
  readonly #refusals: PeerRefusals
  readonly #identity: Identity
  readonly #durability: StoredState['durability']

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
    this.#deadlines = parts.deadlines
    this.#signals = parts.signals
    this.#pins = parts.pins
    this.#entryClock = parts.entryClock
    this.#writes = parts.writes
    this.#loop = parts.loop
    this.#inbound = parts.inbound
    this.#refusals = parts.refusals
    this.#identity = parts.identity
    this.#durability = parts.durability
  }

  /**
   * Throws why so many commands, with so many bytes so far, are not taken now. Asked before any more of them is
   * encoded; `propose` asks again.
   */
  checkRoom(count: number, bytes: number): void {
    const refusal = this.#life.refusal ?? this.#notLeader() ?? this.#proposals.refusal(count, bytes)
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
    const call = new ProposalCall(kind, payloads)
    if (!this.#begin(call, options)) return call.promise
    const refusal = this.#notLeader() ?? this.#proposals.add(call)
    if (refusal === null) this.#mailbox.schedule()
    else call.reject(refusal)
    return call.promise
  }

  /** Resolves with an index that is applied here, and at or above everything committed before the call (thesis 6.4). */
  readIndex(options: WaitOptions | undefined): Promise<LogIndex> {
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
    const answer = ask()
    return isThenable(answer) ? this.#untilAnswered(answer, options, since) : answer
  }

  /** The same at once, without a proof: an answer that is there is no promise. Throws what `read` rejects with. */
  staleRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Answer | Promise<Answer> {
    const since = this.#beginOf(options)
    this.#checkStale(options)
    const answer = ask()
    return isThenable(answer) ? this.#untilAnswered(answer, options, since) : answer
  }

  ready(options: WaitOptions | undefined): Promise<void> {
    const call = new PendingCall<void>()
    if (!this.#begin(call, options)) return call.promise
    this.#readies.add(call)
    this.#mailbox.schedule()
    return call.promise
  }

  /** Resolves with the configuration that the change has led to, once that is committed. */
  async change(call: ChangeCall, options: WaitOptions | undefined): Promise<ConfigurationAnswer> {
    if (this.#begin(call, options)) {
      const refusal = this.#notLeader() ?? this.#changes.add(call)
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
      deadlines: this.#deadlines.count,
      signals: this.#signals.count,
      admissions: this.#pins.count,
      writes: this.#writes.count,
      applying: Number(this.#loop.isApplying),
    }
  }

  on<Name extends keyof RaftEvents>(name: Name, listener: (event: RaftEvents[Name]) => void): () => void {
    return this.#events.on(name, listener)
  }

  close(): Promise<void> {
    return this.#loop.close()
  }

  get ended(): Promise<RaftError | null> {
    return this.#life.ended
  }

  get fault(): RaftError | null {
    return this.#life.fault
  }

  /** False: the call has ended before it began. `since`: what its deadline is counted from. */
  #begin<Value>(call: PendingCall<Value>, options: WaitOptions | undefined, since?: number): boolean {
    const { refusal } = this.#life
    if (refusal !== null) call.reject(refusal)
    else if (options === undefined) return true
    else call.arm(options, { deadlines: this.#deadlines, signals: this.#signals }, since ?? this.#clock.now())
    return !call.settled
  }

  /** What a deadline is counted from; nobody asks where there is none. */
  #beginOf(options: WaitOptions | undefined): number {
    return options?.timeoutMs === undefined ? 0 : this.#clock.now()
  }

  /** What is asked at once waits for nothing, but is not asked of a server that has ended, nor by who has given up. */
  #checkStale(options: WaitOptions | undefined): void {
    const { refusal } = this.#life
    if (refusal !== null) throw refusal
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

  #notLeader(): RaftError | null {
    return this.core.role === 'leader' ? null : notLeader(this.core.leader)
  }
}

function ignore(): void {}
