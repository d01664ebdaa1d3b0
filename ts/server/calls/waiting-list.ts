/**
 * Who waits, in the order in which they came: joining, leaving from anywhere, and taking the first cost the same
 * however many there are. Each knows its place, which is cheaper by far than a Set, and than links between neighbours.
 *
 * Invariant: a member stands in one list at most, at its `place`.
 */

export interface Member {
  /** Moved by the list alone; -1 outside. */
  place: number
}

/** Fewer places that were left are not worth closing the gaps. */
const GAPS_MIN = 64

export class WaitingList<Item extends Member> {
  /** Places below `#head` were left, and some above. */
  #places: (Item | undefined)[] = []
  #head = 0
  #count = 0

  /** The one that has waited longest. */
  get first(): Item | undefined {
    while (this.#head < this.#places.length && this.#places[this.#head] === undefined) this.#head += 1
    return this.#places[this.#head]
  }

  push(item: Item): void {
    item.place = this.#places.length
    this.#places.push(item)
    this.#count += 1
  }

  /** Whether it stood in here. */
  remove(item: Item): boolean {
    const { place } = item
    if (place < 0) return false
    this.#places[place] = undefined
    item.place = -1
    this.#count -= 1
    const gaps = this.#places.length - this.#count
    if (this.#count === 0 || (gaps >= GAPS_MIN && gaps > this.#count)) this.#closeGaps()
    return true
  }

  /** Costs its length; after as many were removed that is constant for each. */
  #closeGaps(): void {
    const left = this.#places.filter((item) => item !== undefined)
    for (const [at, item] of left.entries()) item.place = at
    this.#places = left
    this.#head = 0
  }
}
