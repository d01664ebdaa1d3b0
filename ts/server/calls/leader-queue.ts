/** Callers that wait until a leader is known, or another one than they know of. */

import type { RaftCore } from '../../core/raft-core.js'
import type { LeaderHint, Outcome, RaftError } from '../../errors.js'
import type { ServerId } from '../../types.js'
import { overloaded } from '../refusals.js'
import type { PendingCall, Room } from './pending-call.js'

type Call = PendingCall<LeaderHint>

/** Callers that wait in one server; above that they are refused. */
const WAITING_MAX = 65_536

export class LeaderQueue implements Room<LeaderHint> {
  /** By call: who is not waited for; null: anybody is. */
  readonly #waiting = new Map<Call, ServerId | null>()
  /** Who led when they were last looked at. */
  #seen: ServerId | null = null

  get count(): number {
    return this.#waiting.size
  }

  /** Returns the refusal when there is no room. */
  add(call: Call, other: ServerId | null): RaftError | null {
    if (this.#waiting.size >= WAITING_MAX) return overloaded(`${WAITING_MAX} calls wait for a leader`)
    call.enter(this)
    this.#waiting.set(call, other)
    // It may be known already.
    this.#seen = null
    return null
  }

  withdraw(call: Call): Outcome {
    this.#waiting.delete(call)
    return 'not-applied'
  }

  /** Looked at once per turn. */
  settle({ leader }: RaftCore): void {
    if (this.#waiting.size === 0 || leader === null || leader.id === this.#seen) return
    this.#seen = leader.id
    for (const [call, other] of [...this.#waiting]) {
      if (other === leader.id) continue
      this.#waiting.delete(call)
      call.resolve(leader)
    }
  }

  failAll(error: RaftError): void {
    const calls = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const call of calls) call.reject(error)
  }
}
