/**
 * Two machines over one log: the first takes its entries one by one, the second in batches; after each batch both must
 * agree.
 */

import { types } from 'node:util'

import type { Entry, StateMachine } from '../../machine/state-machine.js'
import { systemClock } from '../../clock.js'
import { isThenable } from '../../foreign-values.js'
import { logIndex } from '../../types.js'
import type { LogIndex } from '../../types.js'
import { watchAmbient } from './ambient.js'
import type { AmbientUse } from './ambient.js'
import { canonicalText, hashOf, shortText } from './canonical-text.js'
import type { Batch, CommandLog, Cut, Draw, OfEntry } from './command-log.js'
import { StateMachineFault } from './state-machine-fault.js'

/** What a machine that is tested must be; its queries do not matter. */
export type TestedMachine<Command> = StateMachine<Command, unknown, never, unknown>

export interface Judgement<Machine> {
  readonly seed: number
  /** For one call of `apply`, and for one of `stateOf`. */
  readonly deadlineMs: number
  /** Null: answers are equal when their texts are. */
  readonly equal: ((a: unknown, b: unknown) => boolean) | null
  /** Null: states are not compared. */
  readonly stateOf: ((machine: Machine) => unknown) | null
}

/** What a batch came to. */
export interface Answers {
  readonly results: readonly unknown[]
  /** Of the results at the moment at which they were answered: what they refer to may change later. */
  readonly texts: readonly string[]
  readonly uses: readonly AmbientUse[]
  /** Of the results, whether somebody gets them. */
  readonly awaited: readonly boolean[]
}

/** Where and for whom a machine runs. */
export interface Surroundings {
  /** How far ahead it finds the clocks: as on another server, on another day. */
  readonly shiftMs?: number
  /** Default: all that is no replay. */
  readonly isAwaited?: OfEntry
  /** Of the entries up to some one, and of no others. Default: none. */
  readonly isReplay?: OfEntry
}

/** One machine, its part of the log and how it is judged. */
export class MachineRun<Command, Machine extends TestedMachine<Command>> {
  readonly machine: Machine
  readonly #batchOf: (cut: Cut, reaches: boolean) => Batch<Command>
  readonly #judgement: Judgement<Machine>
  readonly #shiftMs: number
  readonly #isAwaited: OfEntry
  readonly #isReplay: OfEntry

  /** By itself it runs here and now, and each answer is awaited. */
  constructor(
    machine: Machine,
    log: CommandLog<Command>,
    judgement: Judgement<Machine>,
    { shiftMs = 0, isReplay = () => false, isAwaited = (index) => !isReplay(index) }: Surroundings = {},
  ) {
    this.machine = machine
    this.#batchOf = log.forOneMachine(isAwaited, isReplay)
    this.#judgement = judgement
    this.#shiftMs = shiftMs
    this.#isAwaited = isAwaited
    this.#isReplay = isReplay
  }

  /** Applies one batch and checks the answer's form as a server does, and that it comes. */
  async apply(cut: Cut, reaches: boolean): Promise<Answers> {
    const { seed, deadlineMs } = this.#judgement
    const { entries, context } = this.#batchOf(cut, reaches)
    const awaited = entries.map(({ index }) => this.#isAwaited(index))
    const place = { ...placeOf(entries), seed }
    const watch = watchAmbient(this.#shiftMs)
    let answer: unknown
    try {
      answer = this.machine.apply(entries, context)
      if (isThenable(answer)) answer = await orLate(Promise.resolve(answer), deadlineMs)
      // Each answer promised by itself: a server waits for all of them.
      if (Array.isArray(answer) && answer.some(isThenable)) answer = await orLate(Promise.all(answer), deadlineMs)
    } catch (cause) {
      const said = types.isNativeError(cause) ? String(cause) : shortText(cause)
      throw new StateMachineFault('threw', `apply threw: ${said}`, { ...place, cause })
    } finally {
      watch.stop()
    }
    if (answer === late) {
      throw new StateMachineFault('never-settled', `the promise of apply is pending after ${deadlineMs} ms`, place)
    }
    if (!Array.isArray(answer)) {
      const finding = `apply answered ${shortText(answer)}, which is not an array; it owes one result per entry`
      throw new StateMachineFault('not-an-array', finding, place)
    }
    if (answer.length !== entries.length) {
      const finding = `apply answered ${answer.length} results for ${entries.length} entries`
      throw new StateMachineFault('wrong-length', finding, place)
    }
    return { results: answer, texts: answer.map(canonicalText), uses: watch.uses, awaited }
  }

  /** The state as text; null when it is not compared. */
  async state(): Promise<string | null> {
    const { stateOf, deadlineMs } = this.#judgement
    if (stateOf === null) return null
    const state = await orLate(Promise.resolve(stateOf(this.machine)), deadlineMs)
    if (state === late) throw new Error(`stateOf has not settled after ${deadlineMs} ms`)
    return canonicalText(state)
  }

  /** Whether it was told so of a cut. */
  replays(cut: Cut): boolean {
    return this.#isReplay(this.place(cut).index)
  }

  /** The entries of a cut. */
  place(cut: Cut): { readonly first: LogIndex; readonly index: LogIndex } {
    return placeOf(this.#batchOf(cut, false).entries)
  }
}

/** A new machine; rejects when it does not come. */
export async function madeBy<Machine>(make: () => Machine | Promise<Machine>, deadlineMs: number): Promise<Machine> {
  const machine = await orLate(Promise.resolve(make()), deadlineMs)
  if (machine === late) throw new Error(`make has not settled after ${deadlineMs} ms`)
  return machine
}

/** Takes the same cut through both machines, through the first one by one. Rejects with what they do not agree on. */
export async function compareOver<Command, Machine extends TestedMachine<Command>>(
  first: MachineRun<Command, Machine>,
  second: MachineRun<Command, Machine>,
  cut: Cut,
  draw: Draw,
  judgement: Judgement<Machine>,
): Promise<void> {
  const results: unknown[] = []
  const texts: string[] = []
  const awaited: boolean[] = []
  const uses: AmbientUse[] = []
  for (let at = cut.lo; at < cut.hi; at += 1) {
    const answers = await first.apply({ lo: at, hi: at + 1 }, draw(2) === 0)
    results.push(...answers.results)
    texts.push(...answers.texts)
    awaited.push(...answers.awaited)
    uses.push(...answers.uses)
  }
  const other = await second.apply(cut, draw(2) === 0)
  uses.push(...other.uses)
  const sides = { first, cut, judgement, remedy: remedyFor(cut, uses, second.replays(cut)) }
  compareAnswers(sides, { results, texts, uses, awaited }, other)
  await compareStates(sides, second)
}

interface Sides<Command, Machine extends TestedMachine<Command>> {
  readonly first: MachineRun<Command, Machine>
  readonly cut: Cut
  readonly judgement: Judgement<Machine>
  readonly remedy: string
}

function compareAnswers<Command, Machine extends TestedMachine<Command>>(
  { first, cut, judgement, remedy }: Sides<Command, Machine>,
  one: Answers,
  other: Answers,
): void {
  const { equal, seed } = judgement
  const isEqual = (at: number): boolean =>
    equal === null ? one.texts[at] === other.texts[at] : equal(one.results[at], other.results[at])
  const at = one.texts.findIndex((_, n) => one.awaited[n] === true && other.awaited[n] === true && !isEqual(n))
  if (at < 0) return
  const { index } = first.place({ lo: cut.lo + at, hi: cut.lo + at + 1 })
  const results = [one.results[at], other.results[at]] as const
  const details = { index, first: index, seed, results }
  const [a, b] = [one.texts[at] ?? '', other.texts[at] ?? ''].map(trimmed)
  if (isSame(one.texts.toSorted(), other.texts.toSorted())) {
    const finding = `answered with ${b}, which is the answer of another entry of its batch, and not with ${a}`
    throw new StateMachineFault('out-of-order', `${finding}; result n belongs to entry n of the batch`, details)
  }
  throw new StateMachineFault('results-differ', `two machines answered ${a} and ${b}; ${remedy}`, details)
}

async function compareStates<Command, Machine extends TestedMachine<Command>>(
  { first, cut, judgement, remedy }: Sides<Command, Machine>,
  second: MachineRun<Command, Machine>,
): Promise<void> {
  const a = await first.state()
  const b = await second.state()
  if (a === null || b === null || a === b) return
  const hashes = [hashOf(a), hashOf(b)] as const
  const finding = `after it two machines hold different states, ${hashes[0]} and ${hashes[1]}; ${remedy}`
  throw new StateMachineFault('states-differ', finding, { ...first.place(cut), seed: judgement.seed, hashes })
}

function remedyFor({ lo, hi }: Cut, uses: readonly AmbientUse[], isReplay: boolean): string {
  const [use] = uses
  if (use !== undefined)
    return `apply asked ${use.what} (${use.where}); entries carry their time, and chance must come with the command`
  if (isReplay) return 'one replayed it, and nobody waited for an answer there: what it holds must not depend on that'
  if (hi - lo > 1) {
    return 'one took these entries one by one, the other as a batch: context speaks of the batch, an entry of itself'
  }
  return 'apply may depend on the entries alone: on no variable outside of the machine, no clock, no chance'
}

function placeOf(entries: readonly Entry<unknown>[]): { readonly first: LogIndex; readonly index: LogIndex } {
  return { first: entries[0]?.index ?? logIndex(0), index: entries.at(-1)?.index ?? logIndex(0) }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.every((text, n) => text === b[n])
}

function trimmed(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 80)}... (${hashOf(text)})`
}

const late: unique symbol = Symbol('not settled at the deadline')

/** The value, or `late`. */
async function orLate<Value>(promise: Promise<Value>, deadlineMs: number): Promise<Value | typeof late> {
  let cancel = (): void => {}
  const deadline = new Promise<typeof late>((resolve) => {
    cancel = systemClock().setTimer(deadlineMs, () => resolve(late))
  })
  try {
    return await Promise.race([promise, deadline])
  } finally {
    cancel()
  }
}
