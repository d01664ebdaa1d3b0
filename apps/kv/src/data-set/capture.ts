/**
 * The data set as it is at one moment, handed out item by item while it changes: what a snapshot is made of. To begin
 * looks at no key. An item that is about to change before it was handed out is set aside as it was; its strings are
 * kept, not copied.
 *
 * Invariants: every item of that moment is handed out once, also those that were dead and not removed yet, since the
 * entries behind the snapshot remove them at places of their own. Nothing is kept once it has ended.
 */

import { itemBytes, type PlacedItem } from './item.js'
import type { Walk } from './walk.js'

/** What the data set is beside its items. */
export interface DataSetFacts {
  /** The last entry that was applied, and its time. */
  readonly index: number
  readonly time: number
  /** Items, and what they count for in `maxmemory`. */
  readonly size: number
  readonly bytes: number
  readonly valueBytesMax: number
}

export class Capture {
  readonly facts: DataSetFacts
  readonly #walk: Walk
  readonly #tooMuch: () => string | null
  readonly #onEnd: (capture: Capture) => void
  #aside: PlacedItem[] = []
  #asideBytes = 0
  /** Items that the data set has let go of, all at once, and that are kept until the end of the walk. */
  #abandonedBytes = 0
  #handOut: ((item: PlacedItem) => void) | null = null
  #state: 'walking' | 'walked' | 'ended' = 'walking'
  #gaveUp: string | null = null
  #handedOut = 0

  /**
   * `tooMuch` is asked whenever more is kept: why that is more than may be, or null. `onEnd`: it keeps nothing any
   * longer, and is told of nothing.
   */
  constructor(
    facts: DataSetFacts,
    walk: (visit: (item: PlacedItem) => void) => Walk,
    tooMuch: () => string | null,
    onEnd: (capture: Capture) => void,
  ) {
    this.facts = facts
    this.#tooMuch = tooMuch
    this.#onEnd = onEnd
    this.#walk = walk((item) => (this.#handOut === null ? this.#setAside(item) : this.#give(item, this.#handOut)))
  }

  /** What is kept for it alone, counted as in `maxmemory`. */
  get keptBytes(): number {
    return this.#asideBytes + this.#abandonedBytes
  }

  get handedOut(): number {
    return this.#handedOut
  }

  /** Why it has ended before everything was handed out, by itself; null: it has not. */
  get gaveUp(): string | null {
    return this.#gaveUp
  }

  /**
   * Hands out an item, or looks at the place of one that was: `handOut` keeps it no longer than this turn. False: there
   * are no more.
   */
  step(handOut: (item: PlacedItem) => void): boolean {
    const item = this.#aside.pop()
    if (item !== undefined) {
      this.#asideBytes -= itemBytes(item)
      this.#give(item, handOut)
    } else if (this.#state === 'walking') {
      this.#handOut = handOut
      if (!this.#walk.step(1)) this.#state = 'walked'
      this.#handOut = null
    }
    const goesOn = this.#state === 'walking' || this.#aside.length > 0
    if (!goesOn && this.#state === 'walked') this.end()
    return goesOn
  }

  /** The data set has let go of all its items, of so many bytes. */
  abandoned(bytes: number): void {
    if (this.#state !== 'walking') return
    this.#abandonedBytes = bytes
    this.#checkKept()
  }

  giveUp(reason: string): void {
    if (this.#state === 'ended') return
    this.#gaveUp = reason
    this.end()
  }

  /** Nothing more will be asked of it. */
  end(): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#walk.end()
    this.#aside = []
    this.#asideBytes = 0
    this.#abandonedBytes = 0
    this.#onEnd(this)
  }

  #give(item: PlacedItem, handOut: (item: PlacedItem) => void): void {
    this.#handedOut += 1
    handOut(item)
  }

  #setAside({ key, value, deadline, version, place }: PlacedItem): void {
    const item = { key, value, deadline, version, place }
    this.#aside.push(item)
    this.#asideBytes += itemBytes(item)
    this.#checkKept()
  }

  #checkKept(): void {
    const reason = this.#tooMuch()
    if (reason !== null) this.giveUp(reason)
  }
}
