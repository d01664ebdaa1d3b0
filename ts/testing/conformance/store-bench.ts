/**
 * Where the cases about a log store run: one directory, whatever is opened there, and what it holds as plain values.
 */

import { deepStrictEqual, ok, strictEqual } from 'node:assert'

import { systemClock } from '../../clock.js'
import { RaftError } from '../../errors.js'
import type { RaftErrorCode } from '../../errors.js'
import { entryBlock, verifyBlock } from '../../format/block.js'
import { encodeConfiguration } from '../../format/configuration.js'
import type { LogStore, StoredState, Ticket } from '../../storage/log-store.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, Configuration, StoreOperation } from '../../types.js'
import { entriesOf, hardState, hexOf, T0 } from './blocks.js'

/** What `logStoreConformance` takes; a hook that is null skips the cases that need it. */
export interface LogStoreConformanceOptions {
  /** A store object over `dir`; made again for the same `dir`, it finds what was kept. */
  readonly create: (dir: string) => LogStore
  /** An empty directory for one case. */
  readonly makeDir: () => Promise<string>
  /** Removes a folder that `makeDir` made, and all in it. */
  readonly removeDir: (dir: string) => Promise<void>
  /** Makes the next write of the store that is open in `dir` fail. */
  readonly failNextWrite: ((dir: string) => void) | null
  /** Ends the use of `dir` as the death of the process would, without close. */
  readonly crash: ((dir: string) => void) | null
  /** False leaves out what is about compaction, for a store that has none yet. Default true. */
  readonly compacts?: boolean
  /** For one case, and again for closing what it opened; half of it for one wake that it waits for. Default 60,000. */
  readonly deadlineMs?: number
}

export interface Behaviour {
  readonly name: string
  readonly needs?: 'failNextWrite' | 'crash'
  readonly run: (bench: Bench) => Promise<void>
}

export interface Opened {
  readonly store: LogStore
  readonly state: StoredState
  /** Waits until that ticket is durable; rejects with the store's fault. */
  readonly until: (ticket: Ticket) => Promise<void>
  /** Submits one ticket and waits for it. */
  readonly put: (operations: readonly StoreOperation[]) => Promise<void>
  readonly wakes: () => number
}

/** One case's directory and whatever it opened there. */
export class Bench {
  readonly #options: LogStoreConformanceOptions
  readonly #dir: string
  readonly #waitMs: number
  readonly #otherDirs: string[] = []
  readonly #stores: LogStore[] = []
  #opened: Opened | null = null

  constructor(options: LogStoreConformanceOptions, dir: string, waitMs: number) {
    this.#options = options
    this.#dir = dir
    this.#waitMs = waitMs
  }

  async open(): Promise<Opened> {
    this.#opened = await this.#openIn(this.#dir)
    return this.#opened
  }

  async openOther(): Promise<Opened> {
    const dir = await this.#options.makeDir()
    this.#otherDirs.push(dir)
    return this.#openIn(dir)
  }

  current(): Opened {
    if (this.#opened === null) throw new Error('nothing is open')
    return this.#opened
  }

  async reopen(): Promise<Opened> {
    await this.current().store.close()
    return this.open()
  }

  createSecond(): LogStore {
    return this.#create(this.#dir)
  }

  failNextWrite(): void {
    this.#options.failNextWrite?.(this.#dir)
  }

  crash(): void {
    this.#options.crash?.(this.#dir)
  }

  async dispose(): Promise<void> {
    for (const store of this.#stores) await store.close()
    for (const dir of [this.#dir, ...this.#otherDirs]) await this.#options.removeDir(dir)
  }

  #create(dir: string): LogStore {
    const store = this.#options.create(dir)
    this.#stores.push(store)
    return store
  }

  async #openIn(dir: string): Promise<Opened> {
    const store = this.#create(dir)
    const waker = new Waker(this.#waitMs)
    const state = await store.open(() => waker.wake())
    const until = async (ticket: Ticket): Promise<void> => {
      for (;;) {
        const { durable, fault } = store.poll()
        if (durable >= ticket) return
        if (fault !== null) throw fault
        await waker.next(`ticket ${ticket} is not durable, ${durable} is`)
      }
    }
    const put = (operations: readonly StoreOperation[]): Promise<void> => until(store.submit(operations))
    return { store, state, until, put, wakes: () => waker.count }
  }
}

/** Turns wakes into something to wait for, with a deadline. */
class Waker {
  count = 0
  readonly #waitMs: number
  #resolve: (() => void) | null = null

  constructor(waitMs: number) {
    this.#waitMs = waitMs
  }

  wake(): void {
    this.count += 1
    this.#resolve?.()
  }

  next(waitingFor: string): Promise<void> {
    const waitMs = this.#waitMs
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new Error(`no wake within ${waitMs} ms: ${waitingFor}`))
      const cancel = systemClock().setTimer(waitMs, late)
      this.#resolve = () => {
        cancel()
        resolve()
      }
    })
  }
}

export const plain: Configuration = {
  voters: [
    { id: 'a', address: 'a.example:7000' },
    { id: 'b', address: 'b.example:7000' },
  ],
  outgoing: null,
  nonvoters: [],
}

export const joint: Configuration = {
  voters: [{ id: 'a', address: 'a.example:7000' }],
  outgoing: plain.voters,
  nonvoters: [{ id: 'ç', address: 'c.example:7000', promote: true }],
}

export function configurationBlock(index: number, term: number, configuration: Configuration): Block {
  const payload = encodeConfiguration({ clusterName: 'conformance', configuration })
  return entryBlock('configuration', logIndex(index), termOf(term), T0, payload)
}

export async function checkLog(store: LogStore, entries: readonly object[]): Promise<void> {
  const { firstIndex, lastIndex } = store.stats()
  deepStrictEqual([firstIndex, lastIndex], [1, entries.length])
  const read = await store.read(logIndex(1), logIndex(entries.length + 1), 1 << 22)
  ok(read.every((block) => verifyBlock(block.data)))
  deepStrictEqual(entriesOf(read), entries)
}

export async function checkTerms(store: LogStore, terms: readonly number[]): Promise<void> {
  const read = await store.read(logIndex(1), logIndex(terms.length + 1), 1 << 20)
  const found = read.flatMap((block) => Array<number>(block.last - block.first + 1).fill(block.term))
  deepStrictEqual(found, terms)
}

export function withoutIdentity(state: StoredState) {
  const { firstIndex, prevTerm, snapshot, lastIndex, hardState: hard, termRuns, configurations, bootCounter } = state
  const facts = [...state.facts].map(([key, value]) => [key, hexOf(value)]).toSorted(byKey)
  const plainHard = hardState(hard.term, hard.votedFor, hard.commitIndex)
  const log = { firstIndex, prevTerm, snapshot, lastIndex, termRuns, configurations }
  return { ...log, hardState: plainHard, bootCounter, facts }
}

function byKey(a: readonly (string | undefined)[], b: readonly (string | undefined)[]): number {
  return (a[0] ?? '') < (b[0] ?? '') ? -1 : 1
}

export function runs(...pairs: readonly (readonly [number, number])[]): readonly object[] {
  return pairs.map(([first, term]) => ({ first, term }))
}

export function hasCode(code: RaftErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof RaftError && error.code === code
}

export async function rejects(promise: Promise<unknown>, code: RaftErrorCode): Promise<void> {
  const outcome = await promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof RaftError ? error.code : error),
  )
  strictEqual(outcome, code)
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
