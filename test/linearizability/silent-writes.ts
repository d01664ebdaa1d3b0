/**
 * What an operation without an answer may still do to a history, and what it cannot: most of them need not be searched.
 * They have no end and need not happen at all, so an order in which one of them has no effect that anybody sees stays
 * an order without it, and an order in which one comes early stays one when it comes just before whoever sees it.
 */

import type { History, Operation, Step } from './history.js'

/**
 * The history without the open writes that nobody saw. One is dropped when its keys are nothing but registers in this
 * history and no answer holds a value of it: what it wrote was overwritten before anybody looked, or it never happened.
 */
export function withoutSilentWrites(operations: History): History {
  const registers = registersOf(operations)
  const seen = new Set<string>()
  for (const { steps, results } of operations) {
    for (const [at, { key }] of steps.entries()) {
      const result = results?.[at]
      if (typeof result === 'string') seen.add(nameOf(key, result))
    }
  }
  const isSilent = (step: Step): boolean => {
    if (!registers.has(step.key)) return false
    return !('value' in step) || !seen.has(nameOf(step.key, step.value))
  }
  return operations.filter(({ results, steps }) => results !== null || !steps.every(isSilent))
}

/**
 * What the operation writes, when that is all it does and its key is a register; null otherwise. Read beside
 * `sightsOf`.
 */
export function onlyWriteOf({ steps }: Operation, registers: ReadonlySet<string>): string | null {
  const [write, ...more] = steps
  if (write === undefined || more.length > 0 || !('value' in write) || !registers.has(write.key)) return null
  return nameOf(write.key, write.value)
}

/**
 * The writes that the operation sees when they come just before it: an open write helps no order but just before one
 * that sees it, for whatever comes next on its key without looking hides it.
 */
export function sightsOf({ steps, results }: Operation): readonly string[] {
  const sights: string[] = []
  for (const [at, { op, key }] of steps.entries()) {
    const result = results?.[at]
    const isFirst = steps.findIndex((step) => step.key === key) === at
    if (isFirst && op !== 'set' && typeof result === 'string') sights.push(nameOf(key, result))
  }
  return sights
}

/** Keys on which nothing is done but to read and to write. */
export function registersOf(operations: History): ReadonlySet<string> {
  const keys = new Set<string>()
  const steps = operations.flatMap((operation) => operation.steps)
  for (const { key } of steps) keys.add(key)
  for (const step of steps) if (!isRegister(step)) keys.delete(step.key)
  return keys
}

function isRegister({ op }: Step): boolean {
  return op === 'get' || op === 'set' || op === 'getset'
}

function nameOf(key: string, value: string): string {
  return JSON.stringify([key, value])
}
