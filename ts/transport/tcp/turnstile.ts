/**
 * Lets so many through in one turn of the event loop, and the others in those that follow, in their order: what is
 * expensive, and may be asked for by anybody, does not hold up everybody else.
 */

import type { Clock } from '../index.js'

export class Turnstile {
  readonly #perTurn: number
  readonly #waiting = new Set<() => void>()
  /** In this turn. */
  #passed = 0
  /** The end of this turn is awaited. */
  #isAwaited = false

  constructor(perTurn: number) {
    this.#perTurn = perTurn
  }

  /** Calls `go`, once, now or in a later turn, unless what is returned was called before: then its place is free. */
  pass(go: () => void, clock: Clock): () => void {
    this.#waiting.add(go)
    this.#turn(clock)
    return () => {
      this.#waiting.delete(go)
    }
  }

  #turn(clock: Clock): void {
    if (!this.#isAwaited) {
      this.#isAwaited = true
      clock.defer(() => {
        this.#isAwaited = false
        this.#passed = 0
        if (this.#waiting.size > 0) this.#turn(clock)
      })
    }
    for (const go of this.#waiting) {
      if (this.#passed >= this.#perTurn) return
      this.#passed += 1
      this.#waiting.delete(go)
      go()
    }
  }
}
