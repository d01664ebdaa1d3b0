/**
 * Calls that every server takes, whoever leads: each is tried here or, over `Forwards`, by the leader, and tried again
 * where that can do no harm.
 *
 * Invariants: a command is tried again only when the try before is known not to be applied, unless its caller has said
 * that it is idempotent, or it is of a session. No try begins after the deadline of its call, or after RETRIES_MS_MAX
 * where it has none. What is under way is bounded in number and in bytes, also while it waits for its next try.
 */

import type { RaftCore } from '../../core/raft-core.js'
import { RaftError } from '../../errors.js'
import type { LeaderHint, Outcome } from '../../errors.js'
import type { Payload } from '../../format/block.js'
import { PayloadSlabs } from '../../format/payload.js'
import type { Clock, LogIndex, ServerId } from '../../types.js'
import type { CommandKind } from '../calls/apply-queue.js'
import type { IndexQueue } from '../calls/index-queue.js'
import type { LeaderQueue } from '../calls/leader-queue.js'
import { PendingCall } from '../calls/pending-call.js'
import type { WaitOptions } from '../calls/pending-call.js'
import { overloaded, sentBefore, timedOutTrying } from '../refusals.js'
import type { Mailbox } from '../turn/mailbox.js'
import { ForwardedCommand } from './asking.js'
import type { Proposed } from './asking.js'
import type { Forwards } from './forwards.js'

/** Commands under way in one server, and their bytes; above that they are refused. */
export const SUBMITTED_COUNT_MAX = 8192
export const SUBMITTED_BYTES_MAX = 8 * 1024 * 1024
/** So long a call without a deadline is tried again. */
export const RETRIES_MS_MAX = 30_000
/** From one try to the next, where the same server leads: half of it to one and a half; doubled each time. */
const BACKOFF_MS = 10
const BACKOFF_MS_MAX = 500

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
  /** `session`: also when it was applied, and its answer is not known: it is applied once. */
  readonly retry: Retry
}

type Retry = NonNullable<SubmitOptions['retry']> | 'session'

/** What `query` takes. */
export interface QueryOptions extends WaitOptions {
  readonly consistency?: Consistency
}

/**
 * What an answer has seen at least.
 *
 * - `linearizable`: all that was acknowledged, to anybody, before the query was asked.
 * - `stale`: nothing is promised.
 * - `maxStalenessMs`: all that was acknowledged until so long before the query, by the monotonic clock of this server.
 * - `minIndex`: the entry there, such as `propose` tells of a write: so whoever wrote it reads it.
 */
export type Consistency = 'linearizable' | 'stale' | { readonly maxStalenessMs: number } | { readonly minIndex: number }

type Ask<Answer> = () => Answer | PromiseLike<Answer>

/** What is asked of the server itself. */
export interface Local {
  /** False: the call has ended before it began. */
  begin<Value>(call: PendingCall<Value>, options: WaitOptions | undefined, since?: number): boolean
  proposePlaced(kind: CommandKind, payload: Payload, options: WaitOptions | undefined): Promise<Proposed<unknown>>
  readIndex(options: WaitOptions | undefined): Promise<LogIndex>
  staleRead<Answer>(ask: Ask<Answer>, options: WaitOptions | undefined): Answer | Promise<Answer>
}

export interface AnyServerParts {
  readonly core: RaftCore
  readonly clock: Clock
  readonly mailbox: Mailbox
  readonly forwards: Forwards
  readonly leaders: LeaderQueue
  readonly indexes: IndexQueue
  readonly random: () => number
  readonly local: () => Local
}

export class AnyServer {
  readonly #core: RaftCore
  readonly #clock: Clock
  readonly #mailbox: Mailbox
  readonly #forwards: Forwards
  readonly #leaders: LeaderQueue
  readonly #indexes: IndexQueue
  readonly #random: () => number
  /** Made after this. */
  readonly #local: () => Local
  readonly #slabs = new PayloadSlabs()
  #count = 0
  #bytes = 0
  /** What the state machine holds now has all that was acknowledged before this. Only grows. */
  #currentAt = -Infinity

  constructor(parts: AnyServerParts) {
    this.#core = parts.core
    this.#clock = parts.clock
    this.#mailbox = parts.mailbox
    this.#forwards = parts.forwards
    this.#leaders = parts.leaders
    this.#indexes = parts.indexes
    this.#random = parts.random
    this.#local = parts.local
  }

  /** Commands under way. */
  get count(): number {
    return this.#count
  }

  /** Throws why so many bytes more are not taken now. Asked before a command is encoded, with 0. */
  checkRoom(bytes: number): void {
    if (this.#count < SUBMITTED_COUNT_MAX && this.#bytes + bytes <= SUBMITTED_BYTES_MAX) return
    const bounds = `${SUBMITTED_COUNT_MAX} and ${SUBMITTED_BYTES_MAX}`
    throw overloaded(
      `${this.#count} submitted commands with ${this.#bytes} bytes are under way; the bounds are ${bounds}`,
    )
  }

  // Hot path: once per command.
  async propose(submission: Submission, options: WaitOptions | undefined): Promise<Proposed<unknown>> {
    const { length } = submission.bytes
    this.checkRoom(length)
    const since = this.#clock.now()
    let outcome: Outcome = 'not-applied'
    this.#count += 1
    this.#bytes += length
    try {
      for (let tries = 0; ; tries += 1) {
        const tried = this.#core.leaderId
        try {
          return await this.#proposeOnce(submission, tries === 0 ? options : this.#rest(options, since))
        } catch (error) {
          if (!(error instanceof RaftError)) throw error
          const told = sentBefore(error, outcome)
          if (!mayTryAgain(error, submission.retry)) throw told
          ;({ outcome } = told)
          await this.#pause(told, { tries, tried, since }, options)
        }
      }
    } finally {
      this.#count -= 1
      this.#bytes -= length
    }
  }

  async query<Answer>(ask: Ask<Answer>, { consistency = 'linearizable', ...wait }: QueryOptions): Promise<Answer> {
    const since = this.#clock.now()
    if (consistency === 'linearizable') await this.#readIndexTrying(wait)
    else if (consistency !== 'stale') {
      if ('minIndex' in consistency) await this.#reach(consistency.minIndex, wait)
      else if (!(since - this.#currentAt <= consistency.maxStalenessMs)) await this.#readIndexTrying(wait)
    }
    return this.#local().staleRead(ask, this.#rest(wait, since))
  }

  /** Resolves with whoever leads, once anybody does. */
  waitForLeader(options: WaitOptions | undefined): Promise<LeaderHint> {
    return this.#leader(null, options)
  }

  #proposeOnce({ kind, bytes }: Submission, options: WaitOptions | undefined): Promise<Proposed<unknown>> {
    if (this.#core.role === 'leader') return this.#local().proposePlaced(kind, this.#slabs.copy(bytes), options)
    const call = new ForwardedCommand(kind, bytes)
    if (this.#local().begin(call, options)) this.#forwards.addCommand(call)
    return call.promise
  }

  /** Resolves when the state machine of this server has all that was acknowledged before the call. */
  async #readIndexTrying(options: WaitOptions): Promise<void> {
    const since = this.#clock.now()
    for (let tries = 0; ; tries += 1) {
      const tried = this.#core.leaderId
      const askedAt = this.#clock.now()
      try {
        await this.#readIndexOnce(tries === 0 ? options : this.#rest(options, since))
        this.#currentAt = Math.max(this.#currentAt, askedAt)
        return
      } catch (error) {
        if (!(error instanceof RaftError) || !mayTryAgain(error, 'safe')) throw error
        await this.#pause(error, { tries, tried, since }, options)
      }
    }
  }

  #readIndexOnce(options: WaitOptions | undefined): Promise<LogIndex> {
    if (this.#core.role === 'leader') return this.#local().readIndex(options)
    const call = new PendingCall<LogIndex>()
    if (!this.#local().begin(call, options)) return call.promise
    const refusal = this.#forwards.addRead(call)
    if (refusal !== null) call.reject(refusal)
    return call.promise
  }

  /** Resolves when the state machine of this server is at `index`, or behind it. */
  async #reach(index: number, options: WaitOptions): Promise<void> {
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

  /** Until another server leads than the one that was tried, or for a while. Throws `error` when no time is left. */
  async #pause(error: RaftError, { tries, tried, since }: Attempt, options: WaitOptions | undefined): Promise<void> {
    const endsAt = since + (options?.timeoutMs ?? RETRIES_MS_MAX)
    const leftMs = endsAt - this.#clock.now()
    const isLed = this.#core.leader !== null
    const backoffMs = Math.min(BACKOFF_MS * 2 ** tries, BACKOFF_MS_MAX) * (0.5 + this.#random())
    const timeoutMs = isLed ? Math.min(leftMs, backoffMs) : leftMs
    const signal = options?.signal
    try {
      await this.#leader(isLed ? tried : null, signal === undefined ? { timeoutMs } : { timeoutMs, signal })
    } catch (ended) {
      if (!(ended instanceof RaftError) || ended.code !== 'ERR_RAFT_TIMEOUT') {
        throw ended instanceof RaftError ? sentBefore(ended, error.outcome) : ended
      }
    }
    if (this.#clock.now() >= endsAt) throw options?.timeoutMs === undefined ? error : timedOutTrying(error)
  }

  /** What is left of the deadline. */
  #rest(options: WaitOptions | undefined, since: number): WaitOptions | undefined {
    if (options?.timeoutMs === undefined) return options
    return { ...options, timeoutMs: since + options.timeoutMs - this.#clock.now() }
  }
}

interface Attempt {
  /** Those before it. */
  readonly tries: number
  /** Who was asked; null where nobody led. */
  readonly tried: ServerId | null
  /** When the call began. */
  readonly since: number
}

/** Whoever gave up is not served on, and a server that has ended tries nothing. */
function mayTryAgain({ code, outcome, retryable }: RaftError, retry: Retry): boolean {
  if (retry === false || code === 'ERR_RAFT_TIMEOUT' || code === 'ERR_RAFT_ABORTED') return false
  if (outcome === 'not-applied') return retryable
  if (code !== 'ERR_RAFT_LEADERSHIP_LOST') return false
  return retry === 'session' || (retry === 'idempotent' && outcome === 'unknown')
}
