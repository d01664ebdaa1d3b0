/** What is found wrong ends a world, whenever it is found: also in the last thing that happens in it. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import type { WorldObserver } from '#balsa/testing/simulator/world-observer.js'

/** In one of some fifteen short worlds the last answer is also the last thing that happens in a phase. */
const SEEDS = Array.from({ length: 20 }, (_, at) => at + 1)
const STEPS = 120

const tests = suite('findings in simulated worlds')

/** Finds fault with the answer of that number; counts them. */
class FaultFinder implements WorldObserver {
  answers = 0
  readonly #wrong: number

  constructor(wrong: number) {
    this.#wrong = wrong
  }

  returned(): void {
    this.answers += 1
    if (this.answers === this.#wrong) throw new Violation(14, `answer ${this.#wrong} is wrong`)
  }
}

async function found(
  seed: number,
  wrong: number,
): Promise<{ readonly answers: number; readonly message: string | null }> {
  const finder = new FaultFinder(wrong)
  const { failure } = await simulate({ seed, steps: STEPS, observers: [finder] })
  return { answers: finder.answers, message: failure?.message ?? null }
}

tests('are told when they are made of the first or of the last answer', async () => {
  for (const seed of SEEDS) {
    const { answers } = await found(seed, 0)
    for (const wrong of new Set([1, answers].filter((number) => number <= answers))) {
      assert.is((await found(seed, wrong)).message, `invariant 14: answer ${wrong} is wrong`, `seed ${seed}`)
    }
  }
})

tests.run()
