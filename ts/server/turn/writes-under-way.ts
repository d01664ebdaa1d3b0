/**
 * The writes that the store has been given and has not yet reported durable, in both numberings: the store counts every
 * ticket, the core only its own. One write carries the core's ticket and what must be kept about peers.
 *
 * Invariant: store tickets ascend, and so do the core's tickets among them.
 */

import type { PersistTicket } from '../../core/tickets.js'
import { RaftError } from '../../errors.js'
import type { Meter } from '../../observe/meter.js'
import type { LogStore, Ticket } from '../../storage/log-store.js'
import { storeFault } from '../../storage/store-fault.js'
import type { HardState, StoreOperation } from '../../types.js'
import type { PeerPins } from '../peer-pins.js'

interface Write {
  /** The store's own number for it; durable in this order. */
  readonly storeTicket: Ticket
  /** Null when it holds nothing of the core's. */
  readonly coreTicket: number | null
  /** Claims of peers were written beside: the pins are told when they are durable. */
  readonly holdsPins: boolean
  /** When the store was given it. */
  readonly at: number
}

const NONE: readonly StoreOperation[] = []

export class WritesUnderWay {
  readonly #store: LogStore
  readonly #pins: PeerPins
  readonly #meter: Meter
  /** Not yet durable, ascending in both numberings. */
  #writes: Write[] = []

  constructor(store: LogStore, pins: PeerPins, meter: Meter) {
    this.#store = store
    this.#pins = pins
    this.#meter = meter
  }

  get count(): number {
    return this.#writes.length
  }

  /** Hands over what is to be written in this turn, as one ticket. Returns the error of a store that is poisoned. */
  // Hot path: once per turn.
  submit(ticket: PersistTicket | null): RaftError | null {
    const facts = this.#pins.takeWrites()
    const steps = ticket?.operations ?? NONE
    if (steps.length + facts.length === 0) return null
    const storeTicket = this.#submit(facts.length === 0 ? steps : [...steps, ...facts])
    if (storeTicket instanceof RaftError) return storeTicket
    this.#writes.push({
      storeTicket,
      coreTicket: ticket?.ticket ?? null,
      holdsPins: facts.some(({ type }) => type === 'put'),
      at: this.#meter.now,
    })
    return null
  }

  /**
   * The commit index never causes a write, but for this last one: a restart then knows what may be applied. Returns the
   * error of a store that is poisoned.
   */
  submitLast(hardState: HardState): RaftError | null {
    const storeTicket = this.#submit([{ type: 'hardState', hardState }])
    return storeTicket instanceof RaftError ? storeTicket : null
  }

  /** The store has come this far. Returns the core's newest ticket among what is durable now; null when none is. */
  durable(storeTicket: Ticket): number | null {
    let coreTicket: number | null = null
    let done = 0
    for (const write of this.#writes) {
      if (write.storeTicket > storeTicket) break
      coreTicket = write.coreTicket ?? coreTicket
      if (write.holdsPins) this.#pins.written()
      this.#meter.written(write.at)
      done += 1
    }
    if (done > 0) this.#writes = this.#writes.slice(done)
    return coreTicket
  }

  #submit(operations: readonly StoreOperation[]): Ticket | RaftError {
    try {
      return this.#store.submit(operations)
    } catch (error) {
      return storeFault('write', error)
    }
  }
}
