/**
 * Queries whose answer the state machine has promised and not given yet. A promise of a user may never settle: the wait
 * for it ends as any other does, at its deadline, by its signal, or when the server ends.
 */

import type { Outcome, RaftError } from '../../errors.js'
import { overloaded } from '../refusals.js'
import type { PendingCall, Room } from './pending-call.js'

/** Queries under way in one server; above that `read` answers OVERLOADED. */
const QUERIES_MAX = 65_536

export class QueriesUnderWay implements Room<unknown> {
  /** Those that have no outcome yet. */
  #waiting = new Set<PendingCall<unknown>>()

  get count(): number {
    return this.#waiting.size
  }

  /** The call ends as the answer does. Returns the refusal when there is no room. */
  add(call: PendingCall<unknown>, answer: PromiseLike<unknown>): RaftError | null {
    if (this.count >= QUERIES_MAX) return overloaded(`${this.count} queries have no answer yet, which is the bound`)
    call.enter(this)
    this.#waiting.add(call)
    Promise.resolve(answer).then(
      (value) => {
        if (this.#waiting.delete(call)) call.resolve(value)
      },
      (cause: unknown) => {
        if (this.#waiting.delete(call)) call.reject(cause)
      },
    )
    return null
  }

  withdraw(call: PendingCall<unknown>): Outcome {
    this.#waiting.delete(call)
    return 'not-applied'
  }

  failAll(error: RaftError): void {
    const waiting = this.#waiting
    this.#waiting = new Set()
    for (const call of waiting) call.reject(error)
  }
}
