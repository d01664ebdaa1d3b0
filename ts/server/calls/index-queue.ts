/** Reads that wait until the state machine of this server has come to an index that they name. */

import type { Outcome, RaftError } from '../../errors.js'
import type { LogIndex } from '../../types.js'
import { overloaded } from '../refusals.js'
import type { PendingCall, Room } from './pending-call.js'

type Call = PendingCall<LogIndex>

/** Reads that wait in one server; above that they are refused. */
const WAITING_MAX = 65_536

export class IndexQueue implements Room<LogIndex> {
  /** By call: where the state machine must be. */
  readonly #waiting = new Map<Call, number>()
  /** Not above any of them: below it nobody is looked for. */
  #lowest = Infinity

  get count(): number {
    return this.#waiting.size
  }

  /** Returns the refusal when there is no room. */
  add(call: Call, index: number): RaftError | null {
    if (this.#waiting.size >= WAITING_MAX) return overloaded(`${WAITING_MAX} reads wait for an index`)
    call.enter(this)
    this.#waiting.set(call, index)
    this.#lowest = Math.min(this.#lowest, index)
    return null
  }

  withdraw(call: Call): Outcome {
    this.#waiting.delete(call)
    return 'not-applied'
  }

  /** Looked at once per turn. */
  applied(appliedIndex: LogIndex): void {
    if (appliedIndex < this.#lowest) return
    let lowest = Infinity
    for (const [call, index] of [...this.#waiting]) {
      if (index > appliedIndex) {
        lowest = Math.min(lowest, index)
        continue
      }
      this.#waiting.delete(call)
      call.resolve(appliedIndex)
    }
    this.#lowest = lowest
  }

  failAll(error: RaftError): void {
    const calls = [...this.#waiting.keys()]
    this.#waiting.clear()
    this.#lowest = Infinity
    for (const call of calls) call.reject(error)
  }
}
