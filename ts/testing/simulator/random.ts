/**
 * Chance from one integer (sfc32, seeded through splitmix32): small, and the same on every machine. A world draws
 * everything from one of these, and gives parts of it streams of their own, so that one part more or less does not
 * shift the others.
 */

const RANGE = 2 ** 32

export class SeededRandom {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number) {
    let state = seed | 0
    const mix = (): number => {
      state = (state + 0x9e3779b9) | 0
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
      return mixed ^ (mixed >>> 15)
    }
    this.#a = mix()
    this.#b = mix()
    this.#c = mix()
  }

  /** A whole number in 0 .. 2^32 - 1. */
  word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** In [0, 1). */
  next(): number {
    return this.word() / RANGE
  }

  /** A whole number in lo .. hi - 1. */
  int(lo: number, hi: number): number {
    return lo + Math.floor(this.next() * (hi - lo))
  }

  between(lo: number, hi: number): number {
    return lo + this.next() * (hi - lo)
  }

  /** Between the two, each order of magnitude as likely as the other. */
  logBetween(lo: number, hi: number): number {
    return lo * (hi / lo) ** this.next()
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** How long until something that happens every `meanMs` on average happens next. */
  exponential(meanMs: number): number {
    return -Math.log(1 - this.next()) * meanMs
  }

  /** One element of a list that is not empty. */
  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.int(0, items.length)]
    if (item === undefined) throw new RangeError('pick from an empty list')
    return item
  }

  shuffled<Item>(items: readonly Item[]): readonly Item[] {
    return items
      .map((item) => ({ item, place: this.word() }))
      .sort((a, b) => a.place - b.place)
      .map(({ item }) => item)
  }

  /** A stream of its own. */
  fork(): SeededRandom {
    return new SeededRandom(this.word())
  }
}
