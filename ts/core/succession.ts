/**
 * Who leads after a leader that has asked another server to (thesis 3.10): what becomes of the transfer is known only
 * when somebody leads, and the leadership that began it is over by then. It changes nothing but what is told.
 *
 * Invariant: a transfer that is awaited has its outcome at `giveUpAt` at the latest.
 */

import type { ServerId } from '../types.js'
import type { Outbox } from './outbox.js'
import type { TransferFailure } from './ready.js'

/** A transfer whose leadership has ended. */
export interface AwaitedTransfer {
  readonly id: number
  readonly to: ServerId
  readonly giveUpAt: number
}

export class Succession {
  readonly #outbox: Outbox
  #awaited: AwaitedTransfer | null = null

  constructor(outbox: Outbox) {
    this.#outbox = outbox
  }

  get count(): number {
    return Number(this.#awaited !== null)
  }

  nextDeadline(): number {
    return this.#awaited?.giveUpAt ?? Infinity
  }

  expect(transfer: AwaitedTransfer): void {
    this.#awaited = transfer
  }

  /** A leader is known. */
  leads(leader: ServerId): void {
    const awaited = this.#awaited
    if (awaited === null) return
    if (leader !== awaited.to) return this.#fail('otherElected')
    this.#awaited = null
    this.#outbox.transfer({ id: awaited.id, status: 'transferred', to: leader })
  }

  tick(now: number): void {
    if (now >= this.nextDeadline()) this.#fail('timedOut')
  }

  /** This server has halted. */
  end(): void {
    this.#fail('leadershipLost')
  }

  #fail(reason: TransferFailure): void {
    const awaited = this.#awaited
    if (awaited === null) return
    this.#awaited = null
    this.#outbox.transfer({ id: awaited.id, status: 'failed', to: awaited.to, reason })
  }
}
