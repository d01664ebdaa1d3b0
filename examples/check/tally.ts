/** How much was acknowledged, and how long nothing was. */

export class Tally {
  #count = 0
  #lastAt = performance.now()
  #longestGapMs = 0
  #waits: { readonly count: number; readonly resolve: () => void }[] = []

  get count(): number {
    return this.#count
  }

  get longestGapMs(): number {
    return this.#longestGapMs
  }

  /** One more is acknowledged. */
  add(): void {
    const now = performance.now()
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastAt)
    this.#lastAt = now
    this.#count += 1
    for (const { resolve } of this.#waits.filter(({ count }) => count <= this.#count)) resolve()
    this.#waits = this.#waits.filter(({ count }) => count > this.#count)
  }

  /** Resolves when so many more are acknowledged. */
  async more(count: number): Promise<void> {
    const wanted = this.#count + count
    await new Promise<void>((resolve) => this.#waits.push({ count: wanted, resolve }))
  }
}
