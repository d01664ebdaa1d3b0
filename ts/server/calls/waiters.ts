/** Callers that wait until something is known, such as a leader, or another than the one that they know of. */

import type { Outcome, RaftError } from '../../errors.js'
import { overloaded } from '../refusals.js'
import type { PendingCall, Room } from './pending-call.js'

/** Callers that wait here; above that they are refused. */
const WAITING_MAX = 65_536

export class Waiters<Value> implements Room<Value> {
  readonly #what: string
  /** By call: what is not waited for; null: anything is. */
  readonly #waiting = new Map<PendingCall<Value>, string | null>()
  /** What was known when they were last looked at. */
  #seen: string | null = null

  /** `what` they wait for, in words. */
  constructor(what: string) {
    this.#what = what
  }

  get count(): number {
    return this.#waiting.size
  }

  /** Returns the refusal when there is no room. */
  add(call: PendingCall<Value>, other: string | null): RaftError | null {
    if (this.#waiting.size >= WAITING_MAX) return overloaded(`${WAITING_MAX} calls wait for ${this.#what}`)
    call.enter(this)
    this.#waiting.set(call, other)
    // It may be known already.
    this.#seen = null
    return null
  }

  withdraw(call: PendingCall<Value>): Outcome {
    this.#waiting.delete(call)
    return 'not-applied'
  }

  /** It is known, and is called so. Looked at once per turn. */
  settle(name: string, value: Value): void {
    if (this.#waiting.size === 0 || name === this.#seen) return
    this.#seen = name
    for (const [call, other] of [...this.#waiting]) {
      if (other === name) continue
      this.#waiting.delete(call)
      call.resolve(value)
    }
  }

  failAll(error: RaftError): void {
    const calls = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const call of calls) call.reject(error)
  }
}
