/**
 * A server of a worker thread, as `raft.ts` sees it: what is called here is done there, and the state machine is asked
 * here. Its life follows that of the server: what waits ends with it, and with its thread.
 */

import { RaftError } from '../../errors.js'
import { isThenable, onRejection } from '../../foreign-values.js'
import { recordLength } from '../../format/block.js'
import type { Payload } from '../../format/block.js'
import type { Entry } from '../../machine/state-machine.js'
import { isTraced, traced } from '../../observe/channels.js'
import type { Events, RaftEvents } from '../../observe/events.js'
import type { Metric } from '../../observe/metric.js'
import { watch } from '../../observe/watch.js'
import type { EventName, Watch, WatchOptions } from '../../observe/watch.js'
import type { GuardedResultCodec } from '../../machine/user-code.js'
import type { CancelTimer, Clock, LogIndex, Server as Described, ServerId } from '../../types.js'
import { ApplyQueue } from '../calls/apply-queue.js'
import type { ProposalKind } from '../calls/apply-queue.js'
import type { ChangeCall } from '../calls/change-queue.js'
import { Deadlines } from '../calls/deadlines.js'
import type { CloseOptions } from '../calls/leadership-queue.js'
import { PendingCall } from '../calls/pending-call.js'
import type { WaitOptions } from '../calls/pending-call.js'
import { QueriesUnderWay } from '../calls/queries-under-way.js'
import type { Replacement } from '../calls/replacement.js'
import { Signals } from '../calls/signals.js'
import type { Door } from '../door.js'
import { SUBMITTED_BYTES_MAX, SUBMITTED_COUNT_MAX } from '../forward/any-server.js'
import type { QueryOptions, Submission } from '../forward/any-server.js'
import type { Proposed } from '../forward/asking.js'
import type { Health } from '../health.js'
import type { Life } from '../life.js'
import { closed, halted, overloaded } from '../refusals.js'
import type { ConfigurationAnswer, SnapshotInfo, Status } from '../status.js'
import { ProposalOutbox } from './batches.js'
import type { Glance } from './glance.js'
import type { Line } from './line.js'
import { owned } from './line.js'
import { abortedBefore, Aborting, NearProposal, NearSubmission } from './near-calls.js'
import type { TaggedCall } from './near-calls.js'
import type { NearMachine } from './near-machine.js'
import type { ErrorWire, WireError } from './wire-error.js'
import type { FarFacts, FarWait, ToMachine, ToServer } from './words.js'

/**
 * Proposals that the other thread has not taken in yet, in number and in bytes of records: the longest list there is,
 * and what that thread may be silent about.
 */
const UNTAKEN_COUNT_MAX = 8192 + 1024
const UNTAKEN_BYTES_MAX = 18 * 1024 * 1024
/** From one look at what is left to the next, while this server drains. */
const DRAIN_LOOK_MS = 5
/** Longer than a server takes to close that is given no time for anything else, whatever hangs. */
const CLOSE_MS_MAX = 60_000
/** So long the last snapshot may take where nothing else is said. */
const LAST_SNAPSHOT_MS_MAX = 30_000

export interface ThreadedParts {
  readonly id: ServerId
  readonly line: Line<ToServer, ToMachine>
  readonly errors: ErrorWire
  readonly machine: NearMachine
  readonly glance: Glance
  readonly life: Life
  readonly events: Events
  readonly clock: Clock
  readonly resultCodec: GuardedResultCodec<unknown>
  readonly electionTimeoutMs: number
  /** Ends the thread; resolves when it has. */
  readonly terminate: () => Promise<void>
}

type Ask<Answer> = () => Answer | PromiseLike<Answer>

/** Knows what never fits, as every server. */
const ROOM = new ApplyQueue()

export class ThreadedServer implements Door {
  readonly any: Door['any'] = {
    checkRoom: (bytes) => this.#checkSubmitted(bytes),
    propose: (submission, options) => this.#submit(submission, options),
    query: (ask, options) => this.#query(ask, options),
    waitForLeader: (options) => this.#call('waitForLeader', {}, options),
  }
  readonly #parts: ThreadedParts
  readonly #line: Line<ToServer, ToMachine>
  readonly #life: Life
  readonly #events: Events
  readonly #clock: Clock
  readonly #outbox = new ProposalOutbox()
  /** By tag. */
  readonly #tagged = new Map<number, TaggedCall>()
  /** Proposals among them. */
  #proposalCount = 0
  readonly #signals = new Signals()
  readonly #deadlines = new Deadlines()
  readonly #queries = new QueriesUnderWay()
  #untakenCount = 0
  #untakenBytes = 0
  #submittedCount = 0
  #submittedBytes = 0
  /** Of the next deadline; null while there is none. */
  #timer: CancelTimer | null = null
  /** What was applied here and is not told yet, in order, while anybody listens. */
  #applied: { readonly entries: readonly Entry<unknown>[]; readonly results: readonly unknown[] }[] = []
  #hearsApplied = false
  /** The thread is there no more. */
  #isLost = false
  #closing: Promise<void> | null = null

  constructor(parts: ThreadedParts) {
    this.#parts = parts
    this.#line = parts.line
    this.#life = parts.life
    this.#events = parts.events
    this.#clock = parts.clock
    this.#line.beforeLeaving = () => {
      this.#sayProposals()
      parts.glance.stale()
    }
  }

  checkRoom(count: number, bytes: number): void {
    const refusal = this.#life.refusal ?? ROOM.refusal(count, bytes) ?? this.#noRoom(count, bytes)
    if (refusal !== null) throw refusal
  }

  propose(
    payloads: readonly Payload[],
    kind: ProposalKind,
    options: WaitOptions | undefined,
  ): Promise<readonly unknown[]> {
    if (!isTraced()) return this.#propose(payloads, kind, options)
    const about = { server: this.#parts.id, kind, entries: payloads.length }
    return traced(about, () => this.#propose(payloads, kind, options))
  }

  // Hot path: once per call.
  #propose(
    payloads: readonly Payload[],
    kind: ProposalKind,
    options: WaitOptions | undefined,
  ): Promise<readonly unknown[]> {
    let bytes = 0
    for (const { byteLength } of payloads) bytes += recordLength(byteLength)
    const refusal = this.#life.refusal ?? abortedBefore(options) ?? this.#noRoom(payloads.length, bytes)
    if (refusal !== null) {
      if (kind !== 'barrier') for (const { slab } of payloads) slab.release()
      return Promise.reject(refusal)
    }
    const call = new NearProposal(this.#line.newId(), { kind, count: payloads.length }, this.#over)
    this.#tagged.set(call.tag, call)
    this.#proposalCount += 1
    this.#untakenCount += payloads.length
    this.#untakenBytes += bytes
    if (options?.signal !== undefined) call.arm(options.signal, this.#signals, this.#callOff)
    this.#outbox.add(call.tag, kind, payloads, options?.timeoutMs ?? 0, options?.signal !== undefined)
    this.#line.due()
    return call.promise
  }

  readIndex(options: WaitOptions | undefined): Promise<LogIndex> {
    return this.#call('readIndex', {}, options)
  }

  async read<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Promise<Answer> {
    const since = this.#clock.now()
    await this.#call('readIndex', {}, options)
    return this.#answerOf(ask, options, since)
  }

  async leaseRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Promise<Answer> {
    const since = this.#clock.now()
    await this.#call('leaseRead', {}, options)
    return this.#answerOf(ask, options, since)
  }

  staleRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Answer | Promise<Answer> {
    const refusal = this.#life.refusal ?? this.#restoring ?? abortedBefore(options)
    if (refusal !== null) throw refusal
    return this.#answerOf(ask, options, this.#clock.now())
  }

  ready(options: WaitOptions | undefined): Promise<void> {
    return this.#call('ready', {}, options)
  }

  snapshot(options: WaitOptions | undefined): Promise<SnapshotInfo> {
    return this.#call('snapshot', {}, options)
  }

  async *exportSnapshot(options: WaitOptions | undefined): AsyncGenerator<Uint8Array, void, undefined> {
    const id = await this.#call('exportBegin', {}, options)
    try {
      for (;;) {
        const piece = await this.#line.ask('exportNext', id).answer
        if (piece === null) return
        yield piece
      }
    } finally {
      if (this.#life.over === null) await this.#line.ask('exportEnd', id).answer
    }
  }

  transferLeadership(to: ServerId | null, options: WaitOptions | undefined): Promise<ServerId> {
    return this.#call('transferLeadership', { to }, options)
  }

  async stepDown(): Promise<void> {
    const { refusal } = this.#life
    if (refusal !== null) throw refusal
    await this.#line.ask('stepDown', null).answer
  }

  change({ request, voter }: ChangeCall, options: WaitOptions | undefined): Promise<ConfigurationAnswer> {
    return this.#call('change', { request, voter }, options)
  }

  replace(replacement: Replacement, options: WaitOptions | undefined): Promise<ConfigurationAnswer> {
    return this.#call('replace', { replacement }, options)
  }

  get configuration(): ConfigurationAnswer {
    return this.#parts.glance.look('configuration') as ConfigurationAnswer
  }

  memberOf(id: ServerId): Described | undefined {
    const { voters, outgoing, nonvoters } = this.configuration.configuration
    return [...voters, ...(outgoing ?? []), ...nonvoters].find((server) => server.id === id)
  }

  get status(): Status {
    const status = this.#parts.glance.look('status') as Status
    const { fault, isRunning } = this.#life
    return isRunning ? status : { ...status, role: 'follower', leader: null, fault: fault ?? status.fault }
  }

  get entryTime(): number {
    return this.#parts.glance.look('entryTime') as number
  }

  get health(): Health {
    const health = this.#parts.glance.look('health') as Health
    const { refusal, fault } = this.#life
    if (refusal === null) return health
    return { ...health, isAlive: false, isReady: false, reason: refusal.message, fault: fault?.code ?? health.fault }
  }

  get metrics(): readonly Metric[] {
    return (this.#parts.glance.look('metrics') ?? []) as readonly Metric[]
  }

  on<Name extends keyof RaftEvents>(name: Name, listener: (event: RaftEvents[Name]) => void): () => void {
    if (name === 'applied') this.#hearApplied()
    return this.#events.on(name, listener)
  }

  watch<Name extends EventName>(options: WatchOptions<Name> | undefined): Watch<Name> {
    const events = this.#events
    const dropped = (): void => this.#line.tell('watchDropped', null)
    const watched = watch({ events, ended: this.ended, dropped }, options)
    if (events.hears('applied')) this.#hearApplied()
    return watched
  }

  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options)
    return this.#closing
  }

  get ended(): Promise<RaftError | null> {
    return this.#life.ended
  }

  /** The machine's answer to a command of the call of that tag. */
  // Hot path: once per command.
  applied(tag: number, result: unknown): void {
    this.#tagged.get(tag)?.applied(result)
  }

  /** All of a batch, for whoever listens. */
  batch(entries: readonly Entry<unknown>[], results: readonly unknown[]): void {
    if (!this.#events.hears('applied')) {
      this.#applied = []
      return
    }
    this.#hearApplied()
    this.#applied.push({ entries, results })
  }

  rejected(tag: number, error: WireError): void {
    const call = this.#tagged.get(tag)
    if (call instanceof NearProposal) call.reject(this.#parts.errors.decode(error))
  }

  /** A barrier stands there, and everything before it is applied. */
  barrier(tag: number, index: LogIndex): void {
    this.applied(tag, index)
  }

  taken({ count, bytes }: ToMachine['news']['proposalsTaken']): void {
    this.#untakenCount -= count
    this.#untakenBytes -= bytes
  }

  heard(name: string, event: unknown): void {
    if (name === 'applied') this.#tellApplied(event as RaftEvents['applied'])
    else this.#events.emit(name as keyof RaftEvents, this.#parts.errors.decodeIn(event) as never)
  }

  /** The server has halted, and its thread goes on until this is closed; or it has closed by itself. */
  over(fault: RaftError | null, hasHalted: boolean, facts: FarFacts): void {
    if (!this.#life.isRunning) return
    if (hasHalted && fault !== null) this.#life.halt(fault)
    else this.#life.close()
    this.#endQueries(this.#life.over ?? closed('not-applied'))
    this.#life.end(fault)
    if (hasHalted || this.#closing !== null) return
    this.#parts.glance.learn(facts)
    this.#parts.glance.end()
    this.#closing = this.#parts.terminate()
    this.#line.end(() => closed('not-applied'))
  }

  /** The thread has ended by itself, for this reason: nobody is left to tell what became of anything. */
  lost(error: RaftError): void {
    this.#isLost = true
    this.#parts.glance.end()
    const wasRunning = this.#life.isRunning
    if (wasRunning) this.#life.halt(error)
    this.#rejectProposals(halted(error)('unknown'))
    this.#endQueries(halted(error)('not-applied'))
    if (wasRunning) this.#events.emit('fault', { error })
    this.#life.end(error)
  }

  async #close(options: CloseOptions): Promise<void> {
    if (this.#isLost) return
    const { glance, terminate, electionTimeoutMs } = this.#parts
    const { drainMs = 0, timeoutMs = Math.max(electionTimeoutMs, LAST_SNAPSHOT_MS_MAX) } = options
    const endsAt = this.#clock.now() + drainMs
    this.#life.leave()
    await this.#drain(endsAt)
    const leftMs = Math.max(0, endsAt - this.#clock.now())
    const asked = this.#line.ask('close', { ...options, drainMs: leftMs }).answer
    try {
      glance.learn(await this.#within(leftMs + timeoutMs + electionTimeoutMs + CLOSE_MS_MAX, asked))
    } finally {
      if (this.#life.fault === null) this.#life.close()
      glance.end()
      this.#endQueries(this.#life.over ?? closed('not-applied'))
      await terminate()
      this.#rejectProposals(closed('unknown'))
      this.#line.end(() => closed('not-applied'))
      this.#life.end()
    }
  }

  /** What was called here may finish, also what this thread alone knows of. */
  async #drain(endsAt: number): Promise<void> {
    for (;;) {
      const leftMs = endsAt - this.#clock.now()
      const waits = this.#proposalCount + this.#line.count + this.#queries.count
      if (!this.#life.isRunning || !(leftMs > 0) || waits === 0) return
      await new Promise<void>((resolve) => {
        this.#clock.setTimer(Math.min(leftMs, DRAIN_LOOK_MS), resolve)
      })
    }
  }

  async #within<Answer>(ms: number, answer: Promise<Answer>): Promise<Answer> {
    let cancel = (): void => {}
    const late = new Promise<never>((_, reject) => {
      const message = `the worker thread of server ${this.#parts.id} did not close its server within ${ms} ms, and was ended: what is durable is kept`
      const error = new RaftError('ERR_RAFT_THREAD_LOST', message)
      cancel = this.#clock.setTimer(ms, () => reject(error))
    })
    try {
      return await Promise.race([answer, late])
    } finally {
      cancel()
    }
  }

  /** Asks the other thread, with the deadline and the signal of the caller. */
  async #call<Name extends AskName>(
    name: Name,
    arg: Omit<ToServer['asks'][Name]['arg'], keyof FarWait>,
    options: WaitOptions | undefined,
    tagged: TaggedCall | null = null,
  ): Promise<ToServer['asks'][Name]['answer']> {
    const refusal = this.#life.refusal ?? abortedBefore(options)
    if (refusal !== null) throw refusal
    const signal = options?.signal
    const wait: FarWait = {
      ...(options?.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      ...(signal === undefined ? {} : { hasSignal: true }),
    }
    const { id, answer } = this.#line.ask(name, { ...arg, ...wait })
    const aborting = signal === undefined ? null : new Aborting(id, this.#callOff)
    if (signal !== undefined && aborting !== null) this.#signals.add(signal, aborting)
    if (tagged !== null) this.#tagged.set(id, tagged)
    try {
      return await answer
    } catch (error) {
      throw aborting?.told(error) ?? error
    } finally {
      if (signal !== undefined && aborting !== null) this.#signals.remove(signal, aborting)
      if (tagged !== null) this.#tagged.delete(id)
    }
  }

  // Hot path: once per submitted command.
  async #submit(submission: Submission, options: WaitOptions | undefined): Promise<Proposed<unknown>> {
    const { kind, bytes, retry } = submission
    const { length } = bytes
    this.#checkSubmitted(length)
    this.#submittedCount += 1
    this.#submittedBytes += length
    const call = new NearSubmission()
    try {
      const placed = await this.#call('submit', { kind, bytes: owned(bytes), retry }, options, call)
      const { index, term, result } = placed
      if (call.kept !== null) return { index, term, result: call.kept.result }
      return { index, term, result: result === null ? undefined : this.#parts.resultCodec.decode(result) }
    } finally {
      this.#submittedCount -= 1
      this.#submittedBytes -= length
    }
  }

  async #query<Answer>(ask: Ask<Answer>, options: QueryOptions): Promise<Answer> {
    const { consistency = 'linearizable', ...wait } = options
    const since = this.#clock.now()
    if (consistency === 'stale') return this.staleRead(ask, wait)
    // What was checked may be more than plain data.
    const plain = typeof consistency === 'string' ? consistency : { ...consistency }
    await this.#call('query', { consistency: plain }, wait)
    const { over } = this.#life
    const refusal = over ?? this.#restoring
    if (refusal !== null) throw refusal
    return this.#answerOf(ask, wait, since)
  }

  #answerOf<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined, since: number): Answer | Promise<Answer> {
    const answer = ask()
    return isThenable(answer) ? this.#untilAnswered(answer, options, since) : answer
  }

  /** Waits for the promise of a user as for anything else: no longer than the caller, and than this server. */
  #untilAnswered<Answer>(
    answer: PromiseLike<Answer>,
    options: WaitOptions | undefined,
    since: number,
  ): Promise<Answer> {
    const call = new PendingCall<Answer>()
    const { over } = this.#life
    if (over !== null) call.reject(over)
    else if (options !== undefined) call.arm(options, { deadlines: this.#deadlines, signals: this.#signals }, since)
    if (call.settled) {
      onRejection(answer, ignore)
      return call.promise
    }
    const refusal = this.#queries.add(call as PendingCall<unknown>, answer)
    if (refusal !== null) call.reject(refusal)
    else this.#lookAtDeadlines()
    return call.promise
  }

  #lookAtDeadlines(): void {
    const { nextAt } = this.#deadlines
    if (this.#timer !== null || nextAt === Infinity) return
    this.#timer = this.#clock.setTimer(Math.max(0, nextAt - this.#clock.now()), () => {
      this.#timer = null
      this.#deadlines.expire(this.#clock.now())
      this.#lookAtDeadlines()
    })
  }

  /** Nothing of this thread waits any more. */
  #endQueries(error: RaftError): void {
    this.#queries.failAll(error)
    this.#timer?.()
    this.#timer = null
  }

  #hearApplied(): void {
    if (this.#hearsApplied) return
    this.#hearsApplied = true
    this.#line.tell('hearsApplied', null)
  }

  /** With the entries that this thread has; those of batches from before anybody listened are not told. */
  #tellApplied({ first, last, replaying }: RaftEvents['applied']): void {
    const told = { entries: [] as Entry<unknown>[], results: [] as unknown[] }
    for (let [batch] = this.#applied; batch !== undefined; [batch] = this.#applied) {
      if ((batch.entries.at(-1)?.index ?? 0) > last) break
      this.#applied.shift()
      if ((batch.entries[0]?.index ?? 0) < first) continue
      told.entries.push(...batch.entries)
      told.results.push(...batch.results)
    }
    this.#events.emit('applied', { first, last, replaying, ...told })
  }

  #checkSubmitted(bytes: number): void {
    if (this.#submittedCount < SUBMITTED_COUNT_MAX && this.#submittedBytes + bytes <= SUBMITTED_BYTES_MAX) return
    const bounds = `${SUBMITTED_COUNT_MAX} and ${SUBMITTED_BYTES_MAX}`
    const now = `${this.#submittedCount} submitted commands with ${this.#submittedBytes} bytes are under way`
    throw overloaded(`${now}; the bounds are ${bounds}`)
  }

  #noRoom(count: number, bytes: number): RaftError | null {
    const isFree = this.#untakenCount + count <= UNTAKEN_COUNT_MAX && this.#untakenBytes + bytes <= UNTAKEN_BYTES_MAX
    if (isFree) return null
    const waiting = `${this.#untakenCount} commands with ${this.#untakenBytes} bytes wait for the worker thread`
    return overloaded(`${waiting}; the bounds are ${UNTAKEN_COUNT_MAX} and ${UNTAKEN_BYTES_MAX}`)
  }

  get #restoring(): RaftError | null {
    return this.#parts.machine.isRestoring ? overloaded('the state machine is being restored from a snapshot') : null
  }

  #rejectProposals(error: RaftError): void {
    for (const call of this.#tagged.values()) if (call instanceof NearProposal) call.reject(error)
  }

  #sayProposals(): void {
    const proposals = this.#outbox.take()
    if (proposals !== null) this.#line.tell('proposals', proposals, [proposals.bytes.buffer])
  }

  readonly #callOff = (id: number): void => {
    // It may be one of them.
    this.#sayProposals()
    this.#line.tell('abort', id)
  }

  readonly #over = (call: NearProposal): void => {
    this.#tagged.delete(call.tag)
    this.#proposalCount -= 1
  }
}

type AskName = Exclude<
  keyof ToServer['asks'],
  'open' | 'close' | 'stepDown' | 'exportNext' | 'exportEnd' | 'restoreNext'
>

function ignore(): void {}
