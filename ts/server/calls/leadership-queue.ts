/**
 * Calls that hand leadership over or give it up, until the core has told what became of each. What the core was asked
 * it does or gives up by itself within an election timeout: a caller who waits no longer stops nothing.
 */

import type { TransferOutcome } from '../../core/ready.js'
import type { Outcome, RaftError } from '../../errors.js'
import type { ServerId } from '../../types.js'
import { PendingCall } from './pending-call.js'
import type { Room, WaitOptions } from './pending-call.js'

/** What `transferLeadership` takes. */
export interface TransferOptions extends WaitOptions {
  /** The voter that is to lead; default: the one that is most caught up. */
  readonly to?: ServerId
}

/** What `close` takes. */
export interface CloseOptions {
  /** Default true: a leader hands over before it closes. */
  readonly transferLeadership?: boolean
  /** Default false: a snapshot is taken first, with which the next start begins. A leader hands over before that. */
  readonly snapshot?: boolean
  /** 1 .. 2^31 - 1: how long both may take. Default: an election timeout, and 30 s for the snapshot. */
  readonly timeoutMs?: number
  /**
   * 0 .. 2^31 - 1, default 0: so long what was asked before may finish; what has not by then ends as it stands. A
   * leader finishes what only it can, and then hands over; until then the others know it, and it takes no commands.
   */
  readonly drainMs?: number
}

/** Resolved with the id of the server that leads now. */
export class TransferCall extends PendingCall<ServerId> {
  /** Names it to the core; given by the queue. */
  id = 0
}

export class LeadershipQueue implements Room<ServerId> {
  #lastId = 0
  readonly #transfers = new Map<number, TransferCall>()
  #stepDowns: PendingCall<void>[] = []

  get count(): number {
    return this.#transfers.size + this.#stepDowns.length
  }

  addTransfer(call: TransferCall): void {
    this.#lastId += 1
    call.id = this.#lastId
    call.enter(this)
    this.#transfers.set(call.id, call)
  }

  addStepDown(call: PendingCall<void>): void {
    this.#stepDowns.push(call)
  }

  withdraw(call: TransferCall): Outcome {
    this.#transfers.delete(call.id)
    return 'unknown'
  }

  ended(outcome: TransferOutcome, errorOf: (outcome: TransferOutcome & { status: 'failed' }) => RaftError): void {
    const call = this.#transfers.get(outcome.id)
    this.#transfers.delete(outcome.id)
    if (outcome.status === 'transferred') call?.resolve(outcome.to)
    else call?.reject(errorOf(outcome))
  }

  /** A turn is over: this server leads no more, or leads again since. */
  turned(): void {
    if (this.#stepDowns.length === 0) return
    for (const call of this.#stepDowns.splice(0)) call.resolve()
  }

  failAll(error: RaftError): void {
    const transfers = [...this.#transfers.values()]
    this.#transfers.clear()
    for (const call of [...transfers, ...this.#stepDowns.splice(0)]) call.reject(error)
  }
}
