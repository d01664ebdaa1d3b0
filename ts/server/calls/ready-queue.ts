/**
 * Callers of `ready`: they wait until a leader is known and what was committed when it became known is applied here.
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { Outcome, RaftError } from '../../errors.js'
import type { PendingCall, Room } from './pending-call.js'

export class ReadyQueue implements Room<void> {
  /** Those that have no outcome yet. */
  #waiting = new Set<PendingCall<void>>()

  get count(): number {
    return this.#waiting.size
  }

  add(call: PendingCall<void>): void {
    call.enter(this)
    this.#waiting.add(call)
  }

  withdraw(call: PendingCall<void>): Outcome {
    this.#waiting.delete(call)
    return 'not-applied'
  }

  /** Looked at once per turn. */
  settle(core: RaftCore): void {
    if (this.#waiting.size === 0) return
    if (!isCurrent(core) || core.log.appliedIndex < core.log.knownCommitIndex) return
    for (const call of this.#takeAll()) call.resolve()
  }

  failAll(error: RaftError): void {
    for (const call of this.#takeAll()) call.reject(error)
  }

  #takeAll(): ReadonlySet<PendingCall<void>> {
    const waiting = this.#waiting
    this.#waiting = new Set()
    return waiting
  }
}

/**
 * Whether this server knows how far the cluster has come. What a leader of an older term committed says nothing yet:
 * its own term must have (8).
 */
export function isCurrent({ leader, log, term }: RaftCore): boolean {
  return leader !== null && log.termAt(log.commitIndex) === term
}
