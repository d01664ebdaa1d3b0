/**
 * The sequential specification: what a store with one client at a time answers. It follows the Redis commands of the
 * same names, on strings; Redis has no `cas`, it answers 1 when it has set the value, else 0.
 */

import type { Operation, Result, Step } from './history.js'

/** Runs all steps on `values` (changing it) and returns their answers. */
export function runSteps(values: Map<string, string>, steps: readonly Step[]): readonly Result[] {
  return steps.map((step) => runStep(values, step))
}

/** Whether the answers that a client saw are those of the specification. The texts of errors are not compared. */
export function sameResults(seen: readonly Result[], expected: readonly Result[]): boolean {
  return seen.length === expected.length && seen.every((result, at) => sameResult(result, expected[at]))
}

export function isReadOnly(operation: Operation): boolean {
  return operation.steps.every((step) => step.op === 'get')
}

function runStep(values: Map<string, string>, step: Step): Result {
  const value = values.get(step.key) ?? null
  switch (step.op) {
    case 'get':
      return value
    case 'set':
      values.set(step.key, step.value)
      return 'OK'
    case 'getset':
      values.set(step.key, step.value)
      return value
    case 'cas':
      if (value !== step.expected) return 0
      values.set(step.key, step.value)
      return 1
    case 'append': {
      const longer = (value ?? '') + step.value
      values.set(step.key, longer)
      return Buffer.byteLength(longer)
    }
    case 'incr': {
      const number = integerOf(value ?? '0')
      if (number === null) return { error: 'not an integer' }
      values.set(step.key, String(number + 1))
      return number + 1
    }
    case 'del':
      return values.delete(step.key) ? 1 : 0
  }
}

/** Integers beyond 2^53 are not modelled: a history must stay below them. */
function integerOf(text: string): number | null {
  if (!/^(?:0|-?[1-9]\d*)$/.test(text)) return null
  const number = Number(text)
  if (!Number.isSafeInteger(number + 1)) throw new RangeError(`the model counts up to 2^53 only, not ${text}`)
  return number
}

function sameResult(seen: Result, expected: Result | undefined): boolean {
  if (typeof seen === 'object' && seen !== null) return typeof expected === 'object' && expected !== null
  return seen === expected
}
