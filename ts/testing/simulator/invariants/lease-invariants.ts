/**
 * Invariant 35: whoever holds a lease is the newest leader that there is. It is asked on its own clock, also
 * while it is paused, whenever it has turned and whenever another begins to lead: a lease that lasts too long is found
 * before anybody reads by it.
 */

import type { RaftCore } from '../../../core/raft-core.js'
import { hold } from '../../invariants/violation.js'
import type { ServerView } from '../../observer.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { WorldObserver } from '../world-observer.js'

export class LeaseInvariants implements WorldObserver {
  readonly #servers: () => readonly SimServer[]
  readonly #count: (what: string) => void
  /** The highest term that anybody has led, by epoch. */
  readonly #led: number[] = []

  constructor(servers: () => readonly SimServer[], count: (what: string) => void) {
    this.#servers = servers
    this.#count = count
  }

  // Hot path: once per core step.
  stepped({ epoch }: ServerView, core: RaftCore): void {
    if (core.role !== 'leader' || core.term <= (this.#led[epoch] ?? 0)) return
    this.#led[epoch] = core.term
    for (const server of this.#servers()) this.#look(server)
  }

  turned({ ordinal }: ServerView): void {
    const server = this.#servers()[ordinal]
    if (server !== undefined) this.#look(server)
  }

  #look({ id, epoch, core, clock }: SimServer): void {
    if (core === null || !core.countsLease || !core.holdsLease(clock.bootNow())) return
    this.#count('lease held')
    const newest = this.#led[epoch] ?? 0
    hold(core.term >= newest, 35, () => `${id} holds a lease of term ${core.term}, and term ${newest} is led`)
  }
}
