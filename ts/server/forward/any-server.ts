/**
 * Calls that every server takes, whoever leads: each is tried here or, over `Forwards`, by the leader, and tried again
 * where that can do no harm.
 *
 * Invariants: a command is tried again only when the try before is known not to be applied, unless its caller has said
 * that it is idempotent, or it is of a session. What is under way is bounded in number and in bytes, also while it
 * waits for its next try.
 */

import { isThenable } from '../../foreign-values.js'
import type { RaftCore } from '../../core/raft-core.js'
import type { LeaderHint } from '../../errors.js'
import { PayloadSlabs } from '../../format/payload.js'
import type { Clock, LogIndex, ServerId } from '../../types.js'
import { ProposalCall } from '../calls/apply-queue.js'
import type { CommandKind } from '../calls/apply-queue.js'
import type { IndexQueue } from '../calls/index-queue.js'
import { PendingCall } from '../calls/pending-call.js'
import type { WaitOptions } from '../calls/pending-call.js'
import type { ReadQueue } from '../calls/read-queue.js'
import type { Waiters } from '../calls/waiters.js'
import type { Life } from '../life.js'
import { overloaded } from '../refusals.js'
import type { Mailbox } from '../turn/mailbox.js'
import { ForwardedCommand } from './asking.js'
import type { Proposed } from './asking.js'
import type { Forwards } from './forwards.js'
import { Trying } from './trying.js'
import type { Retry } from './trying.js'

/** Commands under way in one server, and their bytes; above that they are refused. */
export const SUBMITTED_COUNT_MAX = 8192
export const SUBMITTED_BYTES_MAX = 8 * 1024 * 1024
/** Queries that share one question; a further one has its own. */
const SHARING_MAX = 65_536

/** What `submit` and `propose` take. */
export interface SubmitOptions extends WaitOptions {
  /**
   * When the command is tried again: `safe`, the default, while it is known not to be applied; `idempotent` also when
   * that is not known, since to apply it twice does no harm; false: never.
   */
  readonly retry?: 'safe' | 'idempotent' | false
}

/** A command on its way to the log. */
export interface Submission {
  readonly kind: CommandKind
  /** Encoded; begins with its header if it is of a session. Nobody writes to it any more. */
  readonly bytes: Uint8Array
  readonly retry: Retry
  /** By which another thread knows the call; none for 0, the default. */
  readonly tag?: number
}

/** What `query` takes. */
export interface QueryOptions extends WaitOptions {
  readonly consistency?: Consistency
}

/**
 * What an answer has seen at least.
 *
 * - `linearizable`: all that was acknowledged, to anybody, before the query was asked.
 * - `lease`: the same, and a leader that holds a lease asks nobody (docs/reads.md).
 * - `stale`: nothing is promised.
 * - `maxStalenessMs`: all that was acknowledged until so long before the query, by the monotonic clock of this server.
 * - `minIndex`: the entry there, such as `propose` tells of a write: so whoever wrote it reads it.
 */
export type Consistency =
  'linearizable' | 'lease' | 'stale' | { readonly maxStalenessMs: number } | { readonly minIndex: number }

/** What queries that nothing else can end wait for together. */
interface SharedRead {
  /** Of the queue where it waits to be asked. */
  readonly round: object
  readonly done: Promise<void>
  sharing: number
}

type Ask<Answer> = () => Answer | PromiseLike<Answer>

/** What is asked of the server itself. */
export interface Local {
  /** It leads, and what is committed here is all that is committed anywhere (docs/reads.md). */
  holdsLease(): boolean
  /** False: the call has ended before it began. */
  begin<Value>(call: PendingCall<Value>, options: WaitOptions | undefined, since?: number): boolean
  proposePlaced(call: ProposalCall, options: WaitOptions | undefined): Promise<Proposed<unknown>>
  readIndex(options: WaitOptions | undefined): Promise<LogIndex>
  staleRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Answer | Promise<Answer>
  leaseRead<Answer>(
    ask: Ask<Answer>,
    options: WaitOptions | undefined,
    otherwise: (left: WaitOptions | undefined) => Promise<Answer>,
  ): Promise<Answer>
}

export interface AnyServerParts {
  readonly core: RaftCore
  readonly clock: Clock
  readonly life: Life
  readonly mailbox: Mailbox
  readonly forwards: Forwards
  /** What this server asks itself while it leads. */
  readonly reads: ReadQueue
  readonly leaders: Waiters<LeaderHint>
  readonly indexes: IndexQueue
  readonly random: () => number
  readonly local: () => Local
}

export class AnyServer {
  readonly #core: RaftCore
  readonly #clock: Clock
  readonly #life: Life
  readonly #mailbox: Mailbox
  readonly #forwards: Forwards
  readonly #reads: ReadQueue
  readonly #leaders: Waiters<LeaderHint>
  readonly #indexes: IndexQueue
  readonly #trying: Trying
  /** Made after this. */
  readonly #local: () => Local
  readonly #slabs = new PayloadSlabs()
  #count = 0
  #bytes = 0
  #asked = 0
  /** What the state machine holds now has all that was acknowledged before this. Only grows. */
  #currentAt = -Infinity
  /** Invariant: whoever joins it while its round is the fresh one comes before that is asked. */
  #shared: SharedRead | null = null

  constructor(parts: AnyServerParts) {
    this.#core = parts.core
    this.#clock = parts.clock
    this.#life = parts.life
    this.#mailbox = parts.mailbox
    this.#forwards = parts.forwards
    this.#reads = parts.reads
    this.#leaders = parts.leaders
    this.#indexes = parts.indexes
    this.#trying = new Trying(parts.clock, parts.random, {
      current: () => this.#core.leaderId,
      next: (other, options) => this.#leader(other, options),
    })
    this.#local = parts.local
  }

  /** Commands under way. */
  get count(): number {
    return this.#count
  }

  /** Queries under way. */
  get asked(): number {
    return this.#asked
  }

  /** Throws why so many bytes more are not taken now. Asked before a command is encoded, with 0. */
  checkRoom(bytes: number): void {
    if (this.#count < SUBMITTED_COUNT_MAX && this.#bytes + bytes <= SUBMITTED_BYTES_MAX) return
    const bounds = `${SUBMITTED_COUNT_MAX} and ${SUBMITTED_BYTES_MAX}`
    throw overloaded(
      `${this.#count} submitted commands with ${this.#bytes} bytes are under way; the bounds are ${bounds}`,
    )
  }

  /** Throws at once where there is no room. */
  // Hot path: once per command.
  propose(submission: Submission, options: WaitOptions | undefined): Promise<Proposed<unknown>> {
    const { length } = submission.bytes
    this.#checkTaken()
    this.checkRoom(length)
    this.#count += 1
    this.#bytes += length
    const proposed = this.#trying.run(this.#proposeOnce, submission, options, submission.retry)
    const left = (): void => {
      this.#count -= 1
      this.#bytes -= length
    }
    // Before anybody else hears how it ended.
    proposed.then(left, left)
    return proposed
  }

  // Hot path: once per query.
  async query<Answer>(ask: Ask<Answer>, options: QueryOptions): Promise<Answer> {
    this.#checkTaken()
    const { consistency = 'linearizable', signal, timeoutMs } = options
    const wait: WaitOptions | undefined = signal === undefined && timeoutMs === undefined ? undefined : options
    const since = this.#clock.now()
    this.#asked += 1
    try {
      if (consistency === 'lease')
        return await this.#local().leaseRead(ask, wait, (left) => this.#queryByLease(ask, left))
      if (consistency === 'linearizable') await this.#readIndexTrying(wait)
      else if (consistency !== 'stale') {
        if ('minIndex' in consistency) await this.#reach(consistency.minIndex, wait)
        else if (!(since - this.#currentAt <= consistency.maxStalenessMs)) await this.#readIndexTrying(wait)
      }
      const answer = this.#local().staleRead(ask, this.#trying.rest(wait, since))
      return isThenable(answer) ? await answer : answer
    } finally {
      this.#asked -= 1
    }
  }

  /** By the lease of the leader, if that is another server. */
  async #queryByLease<Answer>(ask: Ask<Answer>, wait: WaitOptions | undefined): Promise<Answer> {
    const since = this.#clock.now()
    await this.#trying.run(this.#leaseIndex, null, wait, 'safe')
    return this.#local().staleRead(ask, this.#trying.rest(wait, since))
  }

  /** Resolves with whoever leads, once anybody does. */
  async waitForLeader(options: WaitOptions | undefined): Promise<LeaderHint> {
    this.#checkTaken()
    return this.#leader(null, options)
  }

  /** What was taken goes on while this server leaves; what comes new does not. */
  #checkTaken(): void {
    const { refusal } = this.#life
    if (refusal !== null) throw refusal
  }

  readonly #proposeOnce = (submission: Submission, options: WaitOptions | undefined): Promise<Proposed<unknown>> => {
    const { kind, bytes, tag } = submission
    if (this.#core.role === 'leader') {
      return this.#local().proposePlaced(new ProposalCall(kind, [this.#slabs.copy(bytes)], tag), options)
    }
    const call = new ForwardedCommand(kind, bytes)
    if (this.#local().begin(call, options)) this.#forwards.addCommand(call)
    return call.promise
  }

  /** Resolves when the state machine of this server has all that was acknowledged before the call. */
  #readIndexTrying(options: WaitOptions | undefined): Promise<void> {
    if (options !== undefined) return this.#trying.run(this.#readIndexNoting, null, options, 'safe')
    const isLeader = this.#core.role === 'leader'
    const round = isLeader ? this.#reads.fresh : this.#forwards.freshReads
    const shared = this.#shared
    if (shared?.round === round && shared.sharing < SHARING_MAX) {
      shared.sharing += 1
      return shared.done
    }
    const done = this.#trying.run(this.#readIndexNoting, null, undefined, 'safe')
    this.#shared = { round, done, sharing: 1 }
    return done
  }

  readonly #readIndexNoting = async (_: null, options: WaitOptions | undefined): Promise<void> => {
    const askedAt = this.#clock.now()
    await this.#readIndexOnce(false, options)
    this.#currentAt = Math.max(this.#currentAt, askedAt)
  }

  /** Nothing is noted: how current this server is, is told to those as well who believe in no clocks. */
  readonly #leaseIndex = (_: null, options: WaitOptions | undefined): Promise<LogIndex> => {
    return this.#readIndexOnce(true, options)
  }

  #readIndexOnce(byLease: boolean, options: WaitOptions | undefined): Promise<LogIndex> {
    if (this.#core.role === 'leader') return this.#local().readIndex(options)
    const call = new PendingCall<LogIndex>()
    if (!this.#local().begin(call, options)) return call.promise
    const refusal = this.#forwards.addRead(call, byLease)
    if (refusal !== null) call.reject(refusal)
    return call.promise
  }

  /** Resolves when the state machine of this server is at `index`, or behind it. */
  async #reach(index: number, options: WaitOptions | undefined): Promise<void> {
    if (this.#core.log.appliedIndex >= index) return
    const call = new PendingCall<LogIndex>()
    if (this.#local().begin(call, options)) {
      const refusal = this.#indexes.add(call, index)
      if (refusal === null) this.#mailbox.schedule()
      else call.reject(refusal)
    }
    await call.promise
  }

  #leader(other: ServerId | null, options: WaitOptions | undefined): Promise<LeaderHint> {
    const call = new PendingCall<LeaderHint>()
    if (!this.#local().begin(call, options)) return call.promise
    const refusal = this.#leaders.add(call, other)
    if (refusal === null) this.#mailbox.schedule()
    else call.reject(refusal)
    return call.promise
  }
}
