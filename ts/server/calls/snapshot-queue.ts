/**
 * Callers of `snapshot`: they wait until the log stands durably on one that covers what was applied when they asked.
 */

import type { Outcome } from '../../errors.js'
import { overloaded } from '../refusals.js'
import type { RaftError } from '../../errors.js'
import type { SnapshotInfo } from '../status.js'
import type { LogIndex } from '../../types.js'
import type { PendingCall, Room } from './pending-call.js'

type Call = PendingCall<SnapshotInfo>

const CALLS_MAX = 1024

export class SnapshotQueue implements Room<SnapshotInfo> {
  /** By call: what a snapshot must cover for it. */
  readonly #waiting = new Map<Call, LogIndex>()

  get count(): number {
    return this.#waiting.size
  }

  /** Returns the refusal when there is no room. */
  add(call: Call, index: LogIndex): RaftError | null {
    if (this.#waiting.size >= CALLS_MAX) return overloaded(`${CALLS_MAX} calls wait for a snapshot`)
    call.enter(this)
    this.#waiting.set(call, index)
    return null
  }

  withdraw(call: Call): Outcome {
    this.#waiting.delete(call)
    return 'not-applied'
  }

  settle(info: SnapshotInfo): void {
    for (const [call, index] of [...this.#waiting]) {
      if (index > info.index) continue
      this.#waiting.delete(call)
      call.resolve(info)
    }
  }

  failAll(error: RaftError): void {
    const calls = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const call of calls) call.reject(error)
  }
}
