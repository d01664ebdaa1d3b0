/** All observers of a world as one. */

import type { EntryRange } from '../../errors.js'
import type { ServerId } from '../../types.js'
import type { DurableView, ServerView } from '../observer.js'
import { listening, Observers } from '../observers.js'
import type { Listening } from '../observers.js'
import type { DiskBefore } from './invariants/repair-invariants.js'
import type { Operation, Returned, WorldObserver } from './world-observer.js'

export class WorldObservers extends Observers implements Required<WorldObserver> {
  readonly #invoked: readonly Listening<WorldObserver, 'invoked'>[]
  readonly #returned: readonly Listening<WorldObserver, 'returned'>[]
  readonly #aborted: readonly Listening<WorldObserver, 'aborted'>[]
  readonly #ended: readonly Listening<WorldObserver, 'ended'>[]
  readonly #framed: readonly Listening<WorldObserver, 'framed'>[]
  readonly #repaired: readonly Listening<WorldObserver, 'repaired'>[]
  readonly #fault: readonly Listening<WorldObserver, 'fault'>[]
  readonly #recovered: readonly Listening<WorldObserver, 'recovered'>[]
  readonly #healed: readonly Listening<WorldObserver, 'healed'>[]

  constructor(all: readonly WorldObserver[]) {
    super(all)
    this.#invoked = listening(all, 'invoked')
    this.#returned = listening(all, 'returned')
    this.#aborted = listening(all, 'aborted')
    this.#ended = listening(all, 'ended')
    this.#framed = listening(all, 'framed')
    this.#repaired = listening(all, 'repaired')
    this.#fault = listening(all, 'fault')
    this.#recovered = listening(all, 'recovered')
    this.#healed = listening(all, 'healed')
  }

  invoked(operation: Operation): void {
    for (const observer of this.#invoked) observer.invoked(operation)
  }

  returned(operation: Operation, returned: Returned): void {
    for (const observer of this.#returned) observer.returned(operation, returned)
  }

  aborted(signal: AbortSignal): void {
    for (const observer of this.#aborted) observer.aborted(signal)
  }

  ended(server: ServerView): void {
    for (const observer of this.#ended) observer.ended(server)
  }

  framed(server: ServerView, channel: object, frame: Uint8Array): void {
    for (const observer of this.#framed) observer.framed(server, channel, frame)
  }

  repaired(server: ServerView, range: EntryRange, before: DiskBefore): void {
    for (const observer of this.#repaired) observer.repaired(server, range, before)
  }

  fault(kind: string, detail: string): void {
    for (const observer of this.#fault) observer.fault(kind, detail)
  }

  recovered(server: ServerView, log: DurableView): void {
    for (const observer of this.#recovered) observer.recovered(server, log)
  }

  healed(core: readonly ServerId[]): void {
    for (const observer of this.#healed) observer.healed(core)
  }
}
