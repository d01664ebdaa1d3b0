/**
 * A walk over the data set as it is when the walk begins, however many turns it takes and whatever changes meanwhile:
 * an item to which the walk has not come is visited right before its first change (copy on write, by key).
 *
 * Invariants: every item that lived at the beginning is visited once, as it was then, and no other. Items at places
 * from `#left` on are visited already or newer than the walk; those below are to be visited, but for those in `#done`.
 */

import { keyWeight, type Item, type PlacedItem } from './item.js'

export class Walk {
  readonly #order: readonly PlacedItem[]
  /** By which items are dead or alive to this walk. */
  readonly #time: number
  readonly #visit: (item: Item) => void
  readonly #onEnd: (walk: Walk) => void
  #left: number
  /** Below `#left`, and not to be visited: no more of them than there are items. */
  readonly #done = new Set<PlacedItem>()

  /** `onEnd`: it need not be told of changes any longer. */
  constructor(order: readonly PlacedItem[], time: number, visit: (item: Item) => void, onEnd: (walk: Walk) => void) {
    this.#order = order
    this.#left = order.length
    this.#time = time
    this.#visit = visit
    this.#onEnd = onEnd
  }

  /** Goes over up to `count` items, fewer when their keys are long. False: it has come to its end. */
  step(count: number): boolean {
    for (let weight = 0; weight < count && this.#left > 0;) {
      this.#left -= 1
      const item = this.#order[this.#left]
      if (item === undefined) continue
      weight += keyWeight(item.key)
      if (!this.#done.delete(item)) this.#visitAsItIs(item)
    }
    if (this.#left === 0) this.end()
    return this.#left > 0
  }

  /** It goes no further. */
  end(): void {
    this.#left = 0
    this.#done.clear()
    this.#onEnd(this)
  }

  /** To be called before an item changes. */
  changing(item: PlacedItem): void {
    if (item.place >= this.#left || this.#done.has(item)) return
    this.#done.add(item)
    this.#visitAsItIs(item)
  }

  /** To be called before an item is taken out. */
  removing(item: PlacedItem): void {
    if (item.place < this.#left && !this.#done.delete(item)) this.#visitAsItIs(item)
  }

  /** An item was taken out, which leaves `length`; what stood last, if it was another one, was moved to its place. */
  removed(moved: PlacedItem | null, length: number): void {
    if (moved !== null && length >= this.#left && moved.place < this.#left) this.#done.add(moved)
    if (this.#left > length) this.#left = length
  }

  #visitAsItIs(item: Item): void {
    if (item.deadline === 0 || item.deadline > this.#time) this.#visit(item)
  }
}
