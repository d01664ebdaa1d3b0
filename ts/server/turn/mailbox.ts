/**
 * What waits for the next turn. Whoever has news leaves it here and knows nothing of the turn: sockets, the store's
 * wake, timers, calls, and the state machine when it answers late. A leaf: it calls nobody but the clock.
 *
 * Invariant: however much is left here, one turn is asked for; after `close` nothing is taken and no turn begins.
 */

import type { Input } from '../../core/ready.js'
import type { RaftError } from '../../errors.js'
import type { Applied } from '../../machine/applier.js'
import type { Clock } from '../../types.js'

export type Mail =
  | Input
  /** The state machine has answered for the range that it was handed in an earlier turn. */
  | { readonly type: 'answered'; readonly applied: Applied }
  /** Something failed outside a turn that this server cannot go on without. */
  | { readonly type: 'failed'; readonly error: RaftError }

export class Mailbox {
  readonly #clock: Clock
  /** In the order in which it came; emptied once per turn. */
  #mail: Mail[] = []
  /** The loop's turn, once the loop serves this mailbox. */
  #turn: () => void = () => {}
  /** A turn is asked for and has not begun. */
  #isTurnDue = false
  #isClosed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Called once, by the loop. */
  serve(turn: () => void): void {
    this.#turn = turn
  }

  push(mail: Mail): void {
    if (this.#isClosed) return
    this.#mail.push(mail)
    this.schedule()
  }

  /** Asks for a turn. */
  schedule(): void {
    if (this.#isTurnDue || this.#isClosed) return
    this.#isTurnDue = true
    this.#clock.defer(this.#begin)
  }

  get count(): number {
    return this.#mail.length
  }

  /** Everything that has come, in the order in which it came. */
  drain(): readonly Mail[] {
    const mail = this.#mail
    this.#mail = []
    return mail
  }

  close(): void {
    this.#isClosed = true
    this.#mail = []
  }

  readonly #begin = (): void => {
    this.#isTurnDue = false
    if (!this.#isClosed) this.#turn()
  }
}
