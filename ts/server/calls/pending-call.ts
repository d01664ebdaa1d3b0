/**
 * A promise that was given to a caller, with whatever may end the wait for it.
 *
 * Invariant: settled exactly once; later attempts do nothing. Once it is settled, nothing of it is armed.
 */

import type { Outcome } from '../../errors.js'
import { aborted, timedOut } from '../refusals.js'
import type { Deadlines, Expirable } from './deadlines.js'

export interface WaitOptions {
  /** Stops the wait, never the command. */
  readonly signal?: AbortSignal
  /** 1 .. 2^31 - 1. Stops the wait, never the command. */
  readonly timeoutMs?: number
}

export class PendingCall<Value> implements Expirable {
  /** What the caller was given. */
  readonly promise: Promise<Value>
  /** Null once the call is settled; both go together. */
  #resolve: ((value: Value) => void) | null = null
  #reject: ((error: Error) => void) | null = null
  /** Takes the deadline and the signal back; null while there is neither. */
  #disarm: (() => void) | null = null

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get settled(): boolean {
    return this.#resolve === null
  }

  resolve(value: Value): void {
    this.#resolve?.(value)
    this.#end()
  }

  reject(error: Error): void {
    this.#reject?.(error)
    this.#end()
  }

  expire(): void {
    if (!this.settled) this.reject(timedOut(this.abandoned()))
  }

  /** Ends the wait at a deadline or a signal, when the caller asked for that. */
  arm(options: WaitOptions | undefined, deadlines: Deadlines, now: number): void {
    const { signal, timeoutMs } = options ?? {}
    if (signal === undefined && timeoutMs === undefined) return
    const bucket = timeoutMs === undefined ? null : deadlines.add(now + timeoutMs, this)
    const onAbort = (): void => {
      if (!this.settled) this.reject(aborted(this.abandoned(), signal?.reason))
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#disarm = () => {
      if (bucket !== null) deadlines.remove(bucket, this)
      signal?.removeEventListener('abort', onAbort)
    }
    if (signal?.aborted === true) onAbort()
  }

  /** What it means for the command that the wait is given up now; called at most once. */
  protected abandoned(): Outcome {
    return 'not-applied'
  }

  #end(): void {
    this.#resolve = null
    this.#reject = null
    this.#disarm?.()
    this.#disarm = null
  }
}
