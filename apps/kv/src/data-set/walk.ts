/**
 * A walk over the data set as it is when the walk begins, however many turns it takes and whatever changes meanwhile:
 * an item to which the walk has not come is visited right before its first change (copy on write, by key).
 *
 * Invariants: every item that lived at the beginning is visited once, as it was then, at the place where it was then,
 * and no other. Items at places from `#left` on are visited already or newer than the walk; those below are to be
 * visited, and stand where they stood, but for those at places that are done.
 */

import { keyWeight, type PlacedItem } from './item.js'

export class Walk {
  readonly #order: readonly PlacedItem[]
  /** By which items are dead or alive to this walk. */
  readonly #time: number
  readonly #visit: (item: PlacedItem) => void
  readonly #onEnd: (walk: Walk) => void
  #left: number
  /** One bit for each place. A set of items would be moved as a whole whenever it doubles (key-map.ts). */
  readonly #done: Uint8Array

  /** `onEnd`: it need not be told of changes any longer. */
  constructor(
    order: readonly PlacedItem[],
    time: number,
    visit: (item: PlacedItem) => void,
    onEnd: (walk: Walk) => void,
  ) {
    this.#order = order
    this.#left = order.length
    this.#time = time
    this.#visit = visit
    this.#onEnd = onEnd
    this.#done = new Uint8Array(Math.ceil(order.length / 8))
  }

  /** Goes over up to `count` items, fewer when their keys are long. False: it has come to its end. */
  step(count: number): boolean {
    for (let weight = 0; weight < count && this.#left > 0;) {
      this.#left -= 1
      const item = this.#order[this.#left]
      if (item === undefined) continue
      weight += keyWeight(item.key)
      if (!this.#isDone(item)) this.#visitAsItIs(item)
    }
    if (this.#left === 0) this.end()
    return this.#left > 0
  }

  /** It goes no further. */
  end(): void {
    this.#left = 0
    this.#onEnd(this)
  }

  /** To be called before an item changes. */
  changing(item: PlacedItem): void {
    if (item.place >= this.#left || this.#isDone(item)) return
    this.#visitAsItIs(item)
    this.#setDone(item.place)
  }

  /**
   * To be called before an item is taken out, and the last one, if it is another, moved to its place: which is done
   * then, and so is whatever comes to stand there.
   */
  removing(item: PlacedItem, last: PlacedItem): void {
    if (item.place >= this.#left) return
    this.changing(item)
    this.changing(last)
    if (this.#left > last.place) this.#left = last.place
  }

  #isDone({ place }: PlacedItem): boolean {
    return (((this.#done[place >> 3] ?? 0) >> (place & 7)) & 1) === 1
  }

  #setDone(place: number): void {
    this.#done[place >> 3] = (this.#done[place >> 3] ?? 0) | (1 << (place & 7))
  }

  #visitAsItIs(item: PlacedItem): void {
    if (item.deadline === 0 || item.deadline > this.#time) this.#visit(item)
  }
}
