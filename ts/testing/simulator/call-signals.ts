/**
 * The AbortSignals that clients give to their calls: aborted before the call, while it is under way, when it has ended;
 * one for one call, or one for all calls of a process. Whoever aborts one runs in the process that was asked.
 */

import type { EventQueue } from './event-queue.js'
import type { SeededRandom } from './random.js'
import type { SimProcess } from './doubles/sim-process.js'
import type { WorldObservers } from './world-observers.js'

/** Of the calls that have a signal: how many are given one that is aborted already, and one that is for others too. */
const ABORTED_SHARE = 0.1
const SHARED_SHARE = 0.5

export interface SignalSite {
  readonly queue: EventQueue
  readonly observers: WorldObservers
  /** How long a signal is left alone, on average. */
  readonly patienceMs: number
  promised(): void
}

export class CallSignals {
  readonly #site: SignalSite
  readonly #random: SeededRandom
  /** By process: the one for many calls. Another one comes once it is aborted. */
  readonly #shared = new WeakMap<SimProcess, AbortSignal>()

  constructor(site: SignalSite, random: SeededRandom) {
    this.#site = site
    this.#random = random
  }

  /** For one call to that process. `share`: of the calls, how many have a signal; null for the others. */
  draw(process: SimProcess | null, share: number): AbortSignal | null {
    if (process === null || share === 0 || !this.#random.chance(share)) return null
    if (this.#random.chance(ABORTED_SHARE)) return AbortSignal.abort()
    if (!this.#random.chance(SHARED_SHARE)) return this.#abortedLater(process)
    const known = this.#shared.get(process)
    if (known?.aborted === false) return known
    const shared = this.#abortedLater(process)
    this.#shared.set(process, shared)
    return shared
  }

  #abortedLater(process: SimProcess): AbortSignal {
    const { queue, observers, patienceMs } = this.#site
    const controller = new AbortController()
    const { signal } = controller
    queue.after(this.#random.exponential(patienceMs), () => {
      process.arrive(() => {
        controller.abort()
        this.#site.promised()
        // What follows from it comes before the next event.
        queue.call(queue.now, () => observers.aborted(signal))
      })
    })
    return signal
  }
}
