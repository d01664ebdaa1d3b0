/** One invariant, by its number, did not hold. */

export class Violation extends Error {
  override readonly name = 'Violation'
  /** As numbered in docs/simulator.md; 0 for an assertion of the library itself. */
  readonly invariant: number

  constructor(invariant: number, message: string) {
    super(`invariant ${invariant}: ${message}`)
    this.invariant = invariant
  }
}

/** Fails with a violation unless it holds. The message is made only then. */
export function hold(condition: boolean, invariant: number, message: () => string): asserts condition {
  if (!condition) throw new Violation(invariant, message())
}
