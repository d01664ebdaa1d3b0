/**
 * Signals that may end calls: however many calls wait for one, it has one listener, and none when no call waits for it
 * any more.
 */

export interface Abortable {
  abort(reason: unknown): void
}

export class Signals {
  /** None of them is without a call. */
  readonly #watches = new Map<AbortSignal, Watch>()

  /** Signals that have a listener. */
  get count(): number {
    return this.#watches.size
  }

  add(signal: AbortSignal, waiting: Abortable): void {
    let watch = this.#watches.get(signal)
    if (watch === undefined) {
      watch = new Watch(signal)
      this.#watches.set(signal, watch)
    }
    watch.waiting.add(waiting)
  }

  remove(signal: AbortSignal, waiting: Abortable): void {
    const watch = this.#watches.get(signal)
    if (watch === undefined || !watch.waiting.delete(waiting) || watch.waiting.size > 0) return
    watch.end()
    this.#watches.delete(signal)
  }
}

class Watch {
  /** Whom the signal ends; each is taken out when it is settled, however it was. */
  readonly waiting = new Set<Abortable>()
  readonly #signal: AbortSignal

  constructor(signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this.#onAbort)
  }

  end(): void {
    this.#signal.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => {
    // Each removes itself.
    for (const each of this.waiting) each.abort(this.#signal.reason)
  }
}
