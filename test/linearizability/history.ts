/**
 * What clients saw of a key-value store, as data: who asked for what, when, and what came back. One JSON object per
 * line on disk. Nothing here knows the product: what it is judged by must not share its mistakes.
 */

export type Step =
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'set'; readonly key: string; readonly value: string }
  | { readonly op: 'getset'; readonly key: string; readonly value: string }
  /** Sets the value if the key holds `expected` (null: if there is no such key). */
  | { readonly op: 'cas'; readonly key: string; readonly expected: string | null; readonly value: string }
  | { readonly op: 'incr'; readonly key: string }
  | { readonly op: 'append'; readonly key: string; readonly value: string }
  | { readonly op: 'del'; readonly key: string }

/** What one step answers: the value before (get, getset; null: no such key), `OK` of a set, a number, or an error. */
export type Result = string | number | null | { readonly error: string }

/**
 * One call of one client; all steps take effect at one instant (a MULTI has several).
 * Times come from one monotonic clock for all clients; their unit does not matter.
 */
export interface Operation {
  /** A client is sequential: it calls again only after the previous call has returned. */
  readonly client: string
  readonly steps: readonly Step[]
  readonly call: number
  /** Null while the outcome is unknown: it may take effect at any time after the call, or never. */
  readonly return: number | null
  /** `failed`: it certainly had no effect. */
  readonly outcome: 'ok' | 'unknown' | 'failed'
  /** One for each step when the outcome is `ok`, else null. */
  readonly results: readonly Result[] | null
  /** It was sent together with the call before it of the same client, and takes effect after that one. */
  readonly isPipelined?: true
}

export type History = readonly Operation[]

export function formatHistory(history: History): string {
  return history.map((operation) => `${JSON.stringify(operation)}\n`).join('')
}

/** Throws a SyntaxError that names the line. */
export function parseHistory(text: string): History {
  return text.split('\n').flatMap((line, at) => {
    if (line.trim() === '') return []
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      throw new SyntaxError(`line ${at + 1} is not JSON`, { cause: error })
    }
    const trouble = shapeTrouble(value)
    if (trouble !== null) throw new SyntaxError(`line ${at + 1}: ${trouble}`)
    return [value as Operation]
  })
}

/** Of a history that may be judged: the operations that count. Of any other: why not. */
export type Prepared = { readonly operations: History } | { readonly invalid: string }

/**
 * Applies the rules of histories. Certain failures had no effect and are dropped; so are reads without an answer. A
 * write without an answer stays open for ever, which is only sound when its client never calls again. Values are
 * unique, since a read of a value that was written twice says too little.
 */
export function prepare(history: History, completedMin: number): Prepared {
  const trouble = sequenceTrouble(history) ?? uniquenessTrouble(history)
  if (trouble !== null) return { invalid: trouble }
  const operations = history.filter((operation) => {
    if (operation.outcome === 'failed') return false
    return operation.outcome === 'ok' || operation.steps.some((step) => step.op !== 'get')
  })
  const completed = operations.filter((operation) => operation.outcome === 'ok').length
  if (completed < completedMin) return { invalid: `${completed} completed operations, at least ${completedMin} needed` }
  return { operations }
}

function shapeTrouble(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return 'not an object'
  const { client, steps, call, return: returned, outcome, results } = value as Partial<Record<keyof Operation, unknown>>
  if (typeof client !== 'string') return 'client must be a string'
  if (!Array.isArray(steps) || steps.length === 0 || !steps.every(isStep)) return 'steps must be a list of steps'
  if (typeof call !== 'number') return 'call must be a number'
  if (outcome === 'ok') {
    if (typeof returned !== 'number') return 'return must be a number when the outcome is ok'
    const complete = Array.isArray(results) && results.length === steps.length && results.every(isResult)
    return complete ? null : 'results must have one result for each step'
  }
  if (outcome !== 'unknown' && outcome !== 'failed') return 'outcome must be ok, unknown or failed'
  return results === null ? null : 'results must be null unless the outcome is ok'
}

function isStep(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { op, key, value: written, expected } = value as Readonly<Record<string, unknown>>
  if (typeof key !== 'string') return false
  if (op === 'cas') return typeof written === 'string' && (expected === null || typeof expected === 'string')
  if (op === 'set' || op === 'getset' || op === 'append') return typeof written === 'string'
  return op === 'get' || op === 'incr' || op === 'del'
}

function isResult(value: unknown): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'number') return true
  return typeof value === 'object' && 'error' in value
}

function sequenceTrouble(history: History): string | null {
  const previous = new Map<string, Operation>()
  for (const operation of history.toSorted((a, b) => a.call - b.call)) {
    const { client, call } = operation
    const before = previous.get(client)
    if (before?.outcome === 'unknown') return `client ${client} calls at ${call}, after an unknown outcome`
    if (before !== undefined && before.return !== null && call < before.return && operation.isPipelined !== true) {
      return `client ${client} calls at ${call}, before its previous call returned at ${before.return}`
    }
    if (operation.return !== null && operation.return < call)
      return `client ${client} returns before its call at ${call}`
    previous.set(client, operation)
  }
  return null
}

function uniquenessTrouble(history: History): string | null {
  const seen = new Set<string>()
  for (const step of history.flatMap((operation) => operation.steps)) {
    if (!('value' in step)) continue
    const written = JSON.stringify([step.op === 'append', step.key, step.value])
    if (seen.has(written)) return `${step.op} writes ${step.value} to ${step.key} twice`
    seen.add(written)
  }
  return null
}
