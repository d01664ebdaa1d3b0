/**
 * A call that is tried until it has an outcome: again where that can do no harm, not before another server would be
 * asked or a pause is over, and never after its time. The same on a server and on a client.
 *
 * Invariants: what may have been applied is tried again only if its caller has said that it does no harm, or if it is
 * of a session. No try begins after the deadline of its call, or after RETRIES_MS_MAX where it has none. That an
 * earlier try is in doubt is told.
 */

import { RaftError } from '../../errors.js'
import type { Outcome } from '../../errors.js'
import type { Clock } from '../../types.js'
import type { WaitOptions } from '../calls/pending-call.js'
import { sentBefore, timedOutTrying } from '../refusals.js'

/** So long a call without a deadline is tried again. */
export const RETRIES_MS_MAX = 30_000
/** From one try to the next, where the same server would be asked: half of it to one and a half; doubled each time. */
const BACKOFF_MS = 10
const BACKOFF_MS_MAX = 500

/**
 * When a call is tried again; `session`: also when it was applied, and its answer is not known: it is applied once.
 */
export type Retry = 'safe' | 'idempotent' | 'session' | false

/** Whom the tries ask. */
export interface Target {
  /** Who would be asked now; null for nobody. */
  current(): string | null
  /** Resolves when anybody else than `other` would be asked. */
  next(other: string | null, options: WaitOptions): Promise<unknown>
}

/** One try of what is asked. */
export type Once<Asked, Value> = (asked: Asked, options: WaitOptions | undefined) => Promise<Value>

interface Attempt {
  /** Those before it. */
  readonly tries: number
  /** Who was asked; null where there was nobody. */
  readonly tried: string | null
  /** When the call began. */
  readonly since: number
}

export class Trying {
  readonly #clock: Clock
  readonly #random: () => number
  readonly #target: Target

  constructor(clock: Clock, random: () => number, target: Target) {
    this.#clock = clock
    this.#random = random
    this.#target = target
  }

  /** What succeeds at the first try, as nearly all do, costs no more than that. */
  // Hot path: once per call.
  run<Asked, Value>(
    once: Once<Asked, Value>,
    asked: Asked,
    options: WaitOptions | undefined,
    retry: Retry,
  ): Promise<Value> {
    const since = this.#clock.now()
    const tried = this.#target.current()
    return once(asked, options).catch((error: unknown) =>
      this.#again(error, { tries: 0, tried, since }, once, asked, options, retry),
    )
  }

  /** The first try has failed. */
  async #again<Asked, Value>(
    failure: unknown,
    first: Attempt,
    once: Once<Asked, Value>,
    asked: Asked,
    options: WaitOptions | undefined,
    retry: Retry,
  ): Promise<Value> {
    const { since } = first
    let outcome: Outcome = 'not-applied'
    let error = failure
    for (let attempt = first; ;) {
      if (!(error instanceof RaftError)) throw error
      const told = sentBefore(error, outcome)
      if (!mayTryAgain(error, retry)) throw told
      ;({ outcome } = told)
      await this.#pause(told, attempt, options)
      attempt = { tries: attempt.tries + 1, tried: this.#target.current(), since }
      try {
        return await once(asked, this.rest(options, since))
      } catch (again) {
        error = again
      }
    }
  }

  /** What is left of the deadline. */
  rest(options: WaitOptions | undefined, since: number): WaitOptions | undefined {
    if (options?.timeoutMs === undefined) return options
    return { ...options, timeoutMs: since + options.timeoutMs - this.#clock.now() }
  }

  /** Until another server would be asked than was, or for a while. Throws `error` when no time is left. */
  async #pause(error: RaftError, { tries, tried, since }: Attempt, options: WaitOptions | undefined): Promise<void> {
    const endsAt = since + (options?.timeoutMs ?? RETRIES_MS_MAX)
    const leftMs = endsAt - this.#clock.now()
    const isAnybody = this.#target.current() !== null
    const backoffMs = Math.min(BACKOFF_MS * 2 ** tries, BACKOFF_MS_MAX) * (0.5 + this.#random())
    const timeoutMs = isAnybody ? Math.min(leftMs, backoffMs) : leftMs
    const signal = options?.signal
    try {
      await this.#target.next(isAnybody ? tried : null, signal === undefined ? { timeoutMs } : { timeoutMs, signal })
    } catch (ended) {
      if (!(ended instanceof RaftError) || ended.code !== 'ERR_RAFT_TIMEOUT') {
        throw ended instanceof RaftError ? sentBefore(ended, error.outcome) : ended
      }
    }
    if (this.#clock.now() >= endsAt) throw options?.timeoutMs === undefined ? error : timedOutTrying(error)
  }
}

/** Whoever gave up is not served on, and a server that has ended tries nothing. */
function mayTryAgain({ code, outcome, retryable }: RaftError, retry: Retry): boolean {
  if (retry === false || code === 'ERR_RAFT_TIMEOUT' || code === 'ERR_RAFT_ABORTED') return false
  if (outcome === 'not-applied') return retryable
  if (code !== 'ERR_RAFT_LEADERSHIP_LOST') return false
  return retry === 'session' || (retry === 'idempotent' && outcome === 'unknown')
}
