/**
 * What dies, in the order of deadlines, and of keys where those are the same: a binary heap, the earliest first.
 * Everything in it knows its place, so that whatever is changed or taken out leaves nothing behind that would have to
 * be swept up later, all at once.
 *
 * Invariant: which one is the first follows from what is in here, and not from how it came in: a server that was
 * restored from a snapshot removes the same keys as one that has applied every entry.
 */

export interface Mortal {
  /** Of one key there is one item. */
  readonly key: string
  readonly deadline: number
  /** Its place in the heap; kept by it. */
  deadlinePlace: number
}

export class Deadlines<Item extends Mortal> {
  readonly #heap: Item[] = []

  get size(): number {
    return this.#heap.length
  }

  /** The one with the earliest deadline. */
  get first(): Item | undefined {
    return this.#heap[0]
  }

  /** Its deadline stays as it is while it is in here. */
  add(item: Item): void {
    this.#put(item, this.#heap.length)
    this.#rise(item)
  }

  /** Invariant: it is in here. */
  remove(item: Item): void {
    const last = this.#heap.pop()
    if (last === undefined || last === item) return
    this.#put(last, item.deadlinePlace)
    this.#rise(last)
    this.#sink(last)
  }

  #rise(item: Item): void {
    while (item.deadlinePlace > 0) {
      const above = this.#heap[(item.deadlinePlace - 1) >> 1]
      if (above === undefined || !precedes(item, above)) return
      this.#swap(above, item)
    }
  }

  #sink(item: Item): void {
    for (;;) {
      const left = this.#heap[2 * item.deadlinePlace + 1]
      const right = this.#heap[2 * item.deadlinePlace + 2]
      const below = left !== undefined && right !== undefined && precedes(right, left) ? right : left
      if (below === undefined || !precedes(below, item)) return
      this.#swap(item, below)
    }
  }

  #swap(above: Item, below: Item): void {
    const place = above.deadlinePlace
    this.#put(above, below.deadlinePlace)
    this.#put(below, place)
  }

  #put(item: Item, place: number): void {
    this.#heap[place] = item
    item.deadlinePlace = place
  }
}

function precedes(one: Mortal, other: Mortal): boolean {
  return one.deadline < other.deadline || (one.deadline === other.deadline && one.key < other.key)
}
