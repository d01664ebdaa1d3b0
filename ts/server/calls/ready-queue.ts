/**
 * Callers of `ready`: they wait until a leader is known and what was committed when it became known is applied here.
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { RaftError } from '../../errors.js'
import type { PendingCall } from './pending-call.js'

export class ReadyQueue {
  #waiting: PendingCall<void>[] = []

  get count(): number {
    return this.#waiting.length
  }

  add(call: PendingCall<void>): void {
    this.#waiting.push(call)
  }

  /** Looked at once per turn. What a leader of an older term committed says nothing yet: its own term must have (8). */
  settle({ leader, log, term }: RaftCore): void {
    if (this.#waiting.length === 0) return
    const isCurrent = leader !== null && log.termAt(log.commitIndex) === term
    if (!isCurrent || log.appliedIndex < log.knownCommitIndex) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const call of waiting) call.resolve()
  }

  failAll(error: RaftError): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const call of waiting) call.reject(error)
  }
}
