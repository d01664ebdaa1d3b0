/**
 * Decides whether a history is linearizable: whether all operations can be put in one order that keeps real time (what
 * returned before another was called comes first) and in which every answer is that of the sequential specification.
 *
 * The history is split into groups of keys that no operation connects; it is linearizable exactly when each group is
 * (Herlihy and Wing 1990, locality). Each group is searched as by Wing and Gong, memoised as by Lowe, on (linearized
 * set, state). Clients are sequential, so a linearized set is one position per line of operations that follow one
 * another.
 */

import type { History, Operation } from './history.js'
import { prepare } from './history.js'
import { isReadOnly, runSteps, sameResults } from './model.js'
import { onlyWriteOf, registersOf, sightsOf, withoutSilentWrites } from './silent-writes.js'

export interface CheckOptions {
  /** Fewer completed operations than this make the history invalid: it would prove nothing. */
  readonly completedMin: number
  /** How many states of the search each group of keys may visit before the check is given up. Default 2,000,000. */
  readonly stepsMax?: number
}

/** Only `linearizable` is a success. */
export type Verdict =
  | { readonly kind: 'linearizable'; readonly operations: number; readonly groups: number; readonly steps: number }
  | { readonly kind: 'violation'; readonly keys: readonly string[]; readonly explanation: string }
  | { readonly kind: 'undecided'; readonly keys: readonly string[]; readonly steps: number }
  | { readonly kind: 'invalid'; readonly reason: string }

export function checkHistory(history: History, options: CheckOptions): Verdict {
  const prepared = prepare(history, options.completedMin)
  if ('invalid' in prepared) return { kind: 'invalid', reason: prepared.invalid }
  const groups = splitByKeys(withoutSilentWrites(prepared.operations))
  let steps = 0
  for (const group of groups) {
    const search = new Search(group.operations, options.stepsMax ?? 2_000_000)
    const outcome = search.run()
    if (outcome === 'undecided') return { kind: 'undecided', keys: group.keys, steps: search.steps }
    if (outcome === 'violation') return { kind: 'violation', keys: group.keys, explanation: search.explain() }
    steps += search.steps
  }
  return { kind: 'linearizable', operations: prepared.operations.length, groups: groups.length, steps }
}

interface Group {
  readonly keys: readonly string[]
  readonly operations: History
}

/** The connected components of keys, where an operation connects all keys that it touches. */
function splitByKeys(operations: History): readonly Group[] {
  const parents = new Map<string, string>()
  const find = (key: string): string => {
    const parent = parents.get(key)
    if (parent === undefined || parent === key) return key
    const top = find(parent)
    parents.set(key, top)
    return top
  }
  for (const { steps } of operations) {
    const first = steps[0]?.key ?? ''
    for (const { key } of steps) {
      if (!parents.has(key)) parents.set(key, key)
      parents.set(find(key), find(first))
    }
  }
  const groups = new Map<string, { keys: string[]; operations: Operation[] }>()
  for (const key of parents.keys()) {
    const top = find(key)
    const group = groups.get(top) ?? { keys: [], operations: [] }
    group.keys.push(key)
    groups.set(top, group)
  }
  for (const operation of operations) groups.get(find(operation.steps[0]?.key ?? ''))?.operations.push(operation)
  return [...groups.values()]
}

/** An operation within its group. */
interface Item {
  readonly operation: Operation
  readonly at: number
  /** The open writes that may come just before it. */
  readonly sights: readonly string[]
  /** Infinity for one without an answer. */
  readonly returns: number
  /** Which of the completed lines it is in, and where; -1 for one without an answer. */
  readonly line: number
  readonly position: number
  /** Its bit among those without an answer; 0n for a completed one. */
  readonly bit: bigint
  /** Completed operations on the same keys that overlap it in time. */
  readonly rivals: Item[]
  /** Whether an operation without an answer may come before it on the same keys. */
  haunted: boolean
  /** Of one without an answer: the previous one of the same steps, which may as well come first. */
  readonly twin: Item | null
}

/** One state of the search: what has been linearized, and what the keys hold then. */
interface Frame {
  /** For each line, how many of its operations are linearized. */
  readonly positions: Uint32Array
  /** Which of the operations without an answer have taken effect. */
  readonly taken: bigint
  readonly values: number
  /** The number of completed operations linearized. */
  readonly depth: number
  /** The open operation that led here; null when a completed one did. */
  readonly lastOpen: Item | null
  /** What to try, last first. */
  readonly moves: Item[]
}

/** Searches one group of keys. */
class Search {
  steps = 0
  readonly #stepsMax: number
  /** Completed operations in as many lines as run beside each other, each in order of call. */
  readonly #lines: Item[][] = []
  /** Operations without an answer, in order of call. */
  readonly #open: Item[] = []
  /** Of those, by what they write: the ones that help only just before an operation that sees it. */
  readonly #writers = new Map<string, Item>()
  /** And the ones that may help at any time. */
  readonly #helpers: Item[] = []
  readonly #completed: number
  readonly #states = new States()
  /** For each set of completed operations and state: the minimal sets of open operations from which it was visited. */
  readonly #visited = new Map<string, bigint[]>()
  #deepest: Frame | null = null

  constructor(operations: History, stepsMax: number) {
    this.#stepsMax = stepsMax
    this.#admit(operations)
    this.#completed = operations.length - this.#open.length
    this.#findRivals()
  }

  run(): 'linearizable' | 'violation' | 'undecided' {
    const stack = [this.#start()]
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.depth === this.#completed) return 'linearizable'
      const move = top.moves.pop()
      if (move === undefined) {
        stack.pop()
        continue
      }
      const next = this.#take(top, move)
      if (next === null) continue
      this.steps += 1
      if (this.steps > this.#stepsMax) return 'undecided'
      stack.push(next)
    }
    return 'violation'
  }

  /** The longest order that was found, its end, and what could not follow. */
  explain(): string {
    const frame = this.#deepest ?? this.#start()
    const blocked = this.#lines.flatMap((line, at) => line[frame.positions[at] ?? 0] ?? [])
    const lines = blocked
      .toSorted((a, b) => a.returns - b.returns)
      .map(({ operation }) => `  ${JSON.stringify(operation)}`)
    return [
      `no order exists: ${frame.depth} of ${this.#completed} completed operations could be put in order, and then`,
      `  the keys hold ${JSON.stringify(Object.fromEntries(this.#states.valuesOf(frame.values)))}`,
      'and none of the next operations fits:',
      ...lines,
    ].join('\n')
  }

  #start(): Frame {
    const positions = new Uint32Array(this.#lines.length)
    return this.#enter({ positions, taken: 0n, values: this.#states.empty, depth: 0, lastOpen: null, moves: [] })
  }

  #admit(operations: History): void {
    const registers = registersOf(operations)
    const lineOf = new Map<string, number>()
    for (const [at, operation] of operations.toSorted((a, b) => a.call - b.call).entries()) {
      const shared = { operation, at, sights: sightsOf(operation), rivals: [], haunted: false, twin: null }
      if (operation.return === null) {
        this.#admitOpen(shared, onlyWriteOf(operation, registers))
        continue
      }
      const line = this.#lineFor(operation, lineOf.get(operation.client))
      lineOf.set(operation.client, line)
      const items = this.#lines[line] ?? []
      items.push({ ...shared, returns: operation.return, line, position: items.length, bit: 0n })
    }
  }

  #admitOpen(shared: Omit<Item, 'returns' | 'line' | 'position' | 'bit'>, write: string | null): void {
    const bit = 1n << BigInt(this.#open.length)
    const name = JSON.stringify(shared.operation.steps)
    const twin = this.#open.findLast((item) => JSON.stringify(item.operation.steps) === name) ?? null
    const item = { ...shared, returns: Infinity, line: -1, position: -1, bit, twin }
    this.#open.push(item)
    if (write === null) this.#helpers.push(item)
    else this.#writers.set(write, item)
  }

  /**
   * Its client's own, or any other whose last operation returned before this one was called: their order is given as
   * well, and clients that come and go leave no lines behind.
   */
  #lineFor({ client, call }: Operation, own: number | undefined): number {
    if (own !== undefined && this.#lines[own]?.at(-1)?.operation.client === client) return own
    const free = this.#lines.findIndex((items) => (items.at(-1)?.returns ?? Infinity) < call)
    return free === -1 ? this.#lines.push([]) - 1 : free
  }

  #findRivals(): void {
    const completed = this.#lines.flat().toSorted((a, b) => a.at - b.at)
    for (const [index, item] of completed.entries()) {
      for (let other = index + 1; other < completed.length; other++) {
        const rival = completed[other]
        if (rival === undefined || rival.operation.call > item.returns) break
        // In one line their order is given.
        if (rival.line === item.line || !shareKeys(item, rival)) continue
        item.rivals.push(rival)
        rival.rivals.push(item)
      }
      item.haunted = this.#open.some((open) => open.operation.call <= item.returns && shareKeys(open, item))
    }
  }

  #enter(frame: Frame): Frame {
    frame.moves.push(...this.#movesOf(frame))
    if (frame.depth > (this.#deepest?.depth ?? -1)) this.#deepest = frame
    return frame
  }

  /**
   * What may come next, the most promising last. When some operation loses nothing by coming now, it is the only move:
   * a read whose answer fits, since it changes nothing; and an operation that no other one on its keys may precede. An
   * open operation whose effect the next one would hide need not have happened: that order is found without it.
   */
  #movesOf(frame: Frame): readonly Item[] {
    const heads = this.#lines.flatMap((line, at) => line[frame.positions[at] ?? 0] ?? [])
    const horizon = heads.reduce((earliest, item) => Math.min(earliest, item.returns), Infinity)
    const enabled = heads.filter((item) => item.operation.call <= horizon)
    for (const item of enabled) {
      if (isReadOnly(item.operation) && this.#states.after(frame.values, item) !== null) return [item]
      if (!item.haunted && item.rivals.every((rival) => (frame.positions[rival.line] ?? 0) > rival.position))
        return [item]
    }
    const open = this.#helpersOf(enabled).filter((item) => item.operation.call <= horizon && isFree(item, frame.taken))
    const moves = [...open, ...enabled.toSorted((a, b) => b.returns - a.returns)]
    const { lastOpen } = frame
    return lastOpen === null ? moves : moves.filter((item) => !hides(item, lastOpen))
  }

  /** The open operations that may come before one of these to any effect, the first one last. */
  #helpersOf(enabled: readonly Item[]): readonly Item[] {
    const found = new Set(this.#helpers)
    for (const { sights } of enabled) {
      for (const sight of sights) {
        const writer = this.#writers.get(sight)
        if (writer !== undefined) found.add(writer)
      }
    }
    return [...found].toSorted((a, b) => b.at - a.at)
  }

  /** The state after a move; null when its answer does not fit, or when nothing new can come of it. */
  #take(frame: Frame, item: Item): Frame | null {
    const values = this.#states.after(frame.values, item)
    if (values === null) return null
    const positions = frame.positions.slice()
    if (item.line !== -1) positions[item.line] = item.position + 1
    const taken = frame.taken | item.bit
    if (!this.#isNew(positions, taken, values)) return null
    const depth = frame.depth + (item.line === -1 ? 0 : 1)
    return this.#enter({ positions, taken, values, depth, lastOpen: item.line === -1 ? item : null, moves: [] })
  }

  /**
   * Whether this state was not yet visited with the same or fewer of the open operations used up: those are never
   * forced to take effect, so whatever is possible with fewer left is possible with more left.
   */
  #isNew(positions: Uint32Array, taken: bigint, values: number): boolean {
    const key = `${values}:${positions.join(',')}`
    const before = this.#visited.get(key)
    if (before === undefined) {
      this.#visited.set(key, [taken])
      return true
    }
    if (before.some((smaller) => (smaller & taken) === smaller)) return false
    const minimal = before.filter((larger) => (larger & taken) !== taken)
    minimal.push(taken)
    this.#visited.set(key, minimal)
    return true
  }
}

/** Numbers the states that the keys of a group pass through, and remembers what each operation makes of each. */
class States {
  readonly empty = 0
  readonly #all: ReadonlyMap<string, string>[] = [new Map()]
  readonly #numbers = new Map<string, number>([['[]', 0]])
  /** By state, then by operation: the state after, or null when its answer does not fit. */
  readonly #transitions: Map<number, number | null>[] = [new Map()]

  valuesOf(state: number): ReadonlyMap<string, string> {
    return this.#all[state] ?? new Map()
  }

  after(state: number, item: Item): number | null {
    const known = this.#transitions[state]?.get(item.at)
    if (known !== undefined) return known
    const values = new Map(this.valuesOf(state))
    const expected = runSteps(values, item.operation.steps)
    const fits = item.operation.results === null || sameResults(item.operation.results, expected)
    const next = fits ? this.#number(values) : null
    this.#transitions[state]?.set(item.at, next)
    return next
  }

  #number(values: ReadonlyMap<string, string>): number {
    const name = JSON.stringify([...values].sort(([a], [b]) => (a < b ? -1 : 1)))
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    this.#numbers.set(name, this.#all.length)
    this.#all.push(values)
    this.#transitions.push(new Map())
    return this.#all.length - 1
  }
}

function isFree(item: Item, taken: bigint): boolean {
  return (taken & item.bit) === 0n && (item.twin === null || (taken & item.twin.bit) !== 0n)
}

/** Whether `item` overwrites all that `earlier` wrote, without having looked at it. */
function hides(item: Item, earlier: Item): boolean {
  return earlier.operation.steps.every(
    ({ op, key }) => op === 'get' || item.operation.steps.find((step) => step.key === key)?.op === 'set',
  )
}

function shareKeys(a: Item, b: Item): boolean {
  return a.operation.steps.some((step) => b.operation.steps.some((other) => other.key === step.key))
}
