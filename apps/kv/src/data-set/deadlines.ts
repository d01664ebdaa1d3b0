/**
 * When keys die: a binary heap of (deadline, key), smallest first. A deadline that was changed leaves its old place
 * behind; such places are dropped when they come up, or all at once when they outnumber the living.
 */

export interface Deadline {
  readonly at: number
  readonly key: string
}

export class Deadlines {
  #heap: Deadline[] = []

  get size(): number {
    return this.#heap.length
  }

  /** The earliest, stale or not. */
  get first(): Deadline | undefined {
    return this.#heap[0]
  }

  add(at: number, key: string): Deadline {
    const deadline = { at, key }
    this.#heap.push(deadline)
    this.#rise(this.#heap.length - 1)
    return deadline
  }

  removeFirst(): void {
    const last = this.#heap.pop()
    if (last === undefined || this.#heap.length === 0) return
    this.#heap[0] = last
    this.#sink(0)
  }

  /** Keeps only those for which `lives` holds. */
  sweep(lives: (deadline: Deadline) => boolean): void {
    this.#heap = this.#heap.filter(lives)
    for (let at = (this.#heap.length >> 1) - 1; at >= 0; at -= 1) this.#sink(at)
  }

  clear(): void {
    this.#heap = []
  }

  #rise(start: number): void {
    let at = start
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#swapUnordered(parent, at)) return
      at = parent
    }
  }

  #sink(start: number): void {
    let at = start
    for (;;) {
      const left = 2 * at + 1
      const right = left + 1
      const smaller = this.#deadline(right) < this.#deadline(left) ? right : left
      if (left >= this.#heap.length || !this.#swapUnordered(at, smaller)) return
      at = smaller
    }
  }

  #swapUnordered(upper: number, lower: number): boolean {
    const above = this.#heap[upper]
    const below = this.#heap[lower]
    if (above === undefined || below === undefined || above.at <= below.at) return false
    this.#heap[upper] = below
    this.#heap[lower] = above
    return true
  }

  #deadline(at: number): number {
    return this.#heap[at]?.at ?? Number.POSITIVE_INFINITY
  }
}
