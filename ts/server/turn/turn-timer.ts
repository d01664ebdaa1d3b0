/**
 * The one timer of a server, or of a client: asks for a turn when something is due. Moved only to an earlier time; one
 * that fires early costs an empty turn.
 */

import type { CancelTimer, Clock } from '../../types.js'
import type { Mailbox } from './mailbox.js'

export class TurnTimer {
  readonly #clock: Clock
  readonly #mailbox: Mailbox
  /** Infinity while nothing is armed. */
  #at = Infinity
  /** Of the timer that is set for `#at`; null while none is. */
  #cancel: CancelTimer | null = null

  constructor(clock: Clock, mailbox: Mailbox) {
    this.#clock = clock
    this.#mailbox = mailbox
  }

  /** A turn at `at`, on the monotonic clock; Infinity for none. */
  arm(at: number): void {
    if (at >= this.#at) return
    this.stop()
    const delayMs = Math.max(0, at - this.#clock.now())
    this.#at = at
    this.#cancel = this.#clock.setTimer(Math.ceil(delayMs), this.#ring)
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#at = Infinity
  }

  readonly #ring = (): void => {
    this.#cancel = null
    this.#at = Infinity
    this.#mailbox.schedule()
  }
}
