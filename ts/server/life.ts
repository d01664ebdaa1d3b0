/**
 * Whether a server runs, has halted or closes, and why.
 *
 * Invariant: it leaves `running` once, for good. A server that has halted can still be closed; its fault stays.
 */

import type { RaftError } from '../errors.js'
import { closed, halted } from './refusals.js'

export class Life {
  /**
   * Resolves when the server has halted or closed, with the error that halted it or that kept it from closing, or null.
   * Never rejects.
   */
  readonly ended: Promise<RaftError | null>
  /** What halted this server: its store is poisoned, or its state machine threw. Set once, by `halt`. */
  #fault: RaftError | null = null
  /** Nothing new is taken, and what was taken goes on: it may finish, and leadership is handed over. */
  #isLeaving = false
  /** What is under way has ended, or ends now; stays so. */
  #isClosing = false
  /** Resolves `ended`; called when the last part of the server is silent. */
  #end: (fault: RaftError | null) => void = () => {}

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  get fault(): RaftError | null {
    return this.#fault
  }

  /** Why nothing new can be taken any more; null while the server runs. */
  get refusal(): RaftError | null {
    return this.over ?? (this.#isLeaving ? closed('not-applied') : null)
  }

  /** Why what was taken cannot go on either; null while it can. */
  get over(): RaftError | null {
    if (this.#fault !== null) return halted(this.#fault)('not-applied')
    return this.#isClosing ? closed('not-applied') : null
  }

  get isRunning(): boolean {
    return this.#fault === null && !this.#isClosing
  }

  halt(fault: RaftError): void {
    this.#fault = fault
  }

  leave(): void {
    this.#isLeaving = true
  }

  close(): void {
    this.#isClosing = true
  }

  /** Nothing of this server moves any more. `trouble`: what went wrong in ending it. */
  end(trouble: RaftError | null = null): void {
    this.#end(this.#fault ?? trouble)
  }
}
