/** Callers that wait until something is there, or another than the one they know of. */

import type { Outcome, RaftError } from '../errors.js'
import type { PendingCall, Room } from '../server/calls/pending-call.js'
import { overloaded } from '../server/refusals.js'

/** Callers that wait in one client; above that they are refused. */
const WAITING_MAX = 65_536

export class Waiters<Value> implements Room<Value> {
  /** By call: what is not waited for; null: anything is. */
  readonly #waiting = new Map<PendingCall<Value>, string | null>()

  get count(): number {
    return this.#waiting.size
  }

  /** Returns the refusal when there is no room. */
  add(call: PendingCall<Value>, other: string | null): RaftError | null {
    if (this.#waiting.size >= WAITING_MAX) return overloaded(`${WAITING_MAX} calls of this client wait`)
    call.enter(this)
    this.#waiting.set(call, other)
    return null
  }

  withdraw(call: PendingCall<Value>): Outcome {
    this.#waiting.delete(call)
    return 'not-applied'
  }

  /** It is there, and is called so. */
  settle(name: string, value: Value): void {
    for (const [call, other] of this.#waiting) {
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
