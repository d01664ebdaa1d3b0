/**
 * A promise that was given to a caller, with whatever may end the wait for it.
 *
 * Invariant: settled exactly once; later attempts do nothing. Once it is settled, nothing of it is armed, and it stands
 * in no room.
 */

import type { Outcome } from '../../errors.js'
import { aborted, timedOut } from '../refusals.js'
import type { Deadlines, Expirable } from './deadlines.js'
import type { Abortable, Signals } from './signals.js'

/** What every call takes that is waited for. */
export interface WaitOptions {
  /** Stops the wait, never the command. */
  readonly signal?: AbortSignal
  /** 1 .. 2^31 - 1. Stops the wait, never the command. */
  readonly timeoutMs?: number
}

/** Where a call waits for its outcome. */
export interface Room<Value> {
  /**
   * Takes out a call whose caller has given up, at the same cost however many others wait; says what that means for its
   * command.
   */
  withdraw(call: PendingCall<Value>): Outcome
}

/** What can end the wait for a call from outside. */
export interface Alarms {
  readonly deadlines: Deadlines
  readonly signals: Signals
}

const NEVER = new Promise<never>(() => {})

export class PendingCall<Value> implements Expirable, Abortable {
  /** What the caller was given. */
  readonly promise: Promise<Value>
  /** Null once the call is settled; both go together. */
  #resolve: ((value: Value) => void) | null = null
  #reject: ((error: unknown) => void) | null = null
  /** Takes the deadline and the signal back; null while there is neither. */
  #disarm: (() => void) | null = null
  /** Who is to forget the call when its wait is given up; null before a room has taken it, and once it is settled. */
  #room: Room<Value> | null = null

  /** `isTold` false: nobody is given the promise, and there is none. */
  constructor(isTold = true) {
    if (!isTold) {
      this.promise = NEVER
      this.#resolve = ignore
      return
    }
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get settled(): boolean {
    return this.#resolve === null
  }

  /** Called by the room that has taken it in. */
  enter(room: Room<Value>): void {
    this.#room = room
  }

  resolve(value: Value): void {
    this.#resolve?.(value)
    this.#end()
  }

  /** With a RaftError, or with what the code of a user has thrown. */
  reject(error: unknown): void {
    this.#reject?.(error)
    this.#end()
  }

  expire(): void {
    if (!this.settled) this.reject(timedOut(this.#withdraw()))
  }

  abort(reason: unknown): void {
    if (!this.settled) this.reject(aborted(this.#withdraw(), reason))
  }

  /** Ends the wait at a deadline or a signal, when the caller asked for that. */
  arm({ signal, timeoutMs }: WaitOptions, { deadlines, signals }: Alarms, now: number): void {
    if (signal === undefined && timeoutMs === undefined) return
    if (signal?.aborted === true) return this.abort(signal.reason)
    const bucket = timeoutMs === undefined ? null : deadlines.add(now + timeoutMs, this)
    if (signal !== undefined) signals.add(signal, this)
    this.#disarm = () => {
      if (bucket !== null) deadlines.remove(bucket, this)
      if (signal !== undefined) signals.remove(signal, this)
    }
  }

  #withdraw(): Outcome {
    return this.#room?.withdraw(this) ?? 'not-applied'
  }

  #end(): void {
    this.#resolve = null
    this.#reject = null
    this.#room = null
    this.#disarm?.()
    this.#disarm = null
  }
}

function ignore(): void {}
