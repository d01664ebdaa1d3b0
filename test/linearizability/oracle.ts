/**
 * Linearizability by its definition, for histories of a few operations: try every subset of the operations without an
 * answer, in every order. Slow and plain on purpose; the checker is compared with it.
 */

import type { History, Operation } from './history.js'
import { runSteps, sameResults } from './model.js'

export function isLinearizable(history: History): boolean {
  const certain = history.filter((operation) => operation.outcome === 'ok')
  const open = history.filter((operation) => operation.outcome === 'unknown')
  for (let subset = 0; subset < 2 ** open.length; subset++) {
    const chosen = open.filter((_, at) => Math.floor(subset / 2 ** at) % 2 === 1)
    for (const order of permutations([...certain, ...chosen])) {
      if (keepsRealTime(order) && answersFit(order)) return true
    }
  }
  return false
}

function* permutations(items: readonly Operation[]): Generator<readonly Operation[]> {
  if (items.length === 0) yield []
  for (const [at, first] of items.entries()) {
    for (const rest of permutations(items.toSpliced(at, 1))) yield [first, ...rest]
  }
}

/** What returned before another was called does not come after it. */
function keepsRealTime(order: readonly Operation[]): boolean {
  return order.every((later, at) => order.slice(0, at).every((earlier) => !returnedBefore(later, earlier)))
}

function returnedBefore(first: Operation, second: Operation): boolean {
  return first.return !== null && first.return < second.call
}

function answersFit(order: readonly Operation[]): boolean {
  const values = new Map<string, string>()
  return order.every(({ steps, results }) => {
    const expected = runSteps(values, steps)
    return results === null || sameResults(results, expected)
  })
}
