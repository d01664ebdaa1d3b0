/**
 * The events of a server as an async iterator. Nothing waits for whoever iterates: what is not taken waits, up to a
 * bound, and beyond it the oldest goes; the next thing told is then how many have gone.
 *
 * Invariant: every event since the call is told, or counted in a `dropped`, in the order in which they came. Every
 * promise settles: at the latest when the server has ended.
 */

import { RaftError } from '../errors.js'
import { checkOptionNames, optionsError, shown } from '../option-checks.js'
import { checkEventName, EVENT_NAMES } from './events.js'
import type { Events, RaftEvents } from './events.js'

/** What `on` and `watch` know. */
export type EventName = keyof RaftEvents

/** What a watcher is told: `type` is the name of the event; `dropped` stands where `count` events are missing. */
export type WatchedEvent<Name extends EventName = EventName> =
  | { readonly [Each in Name]: { readonly type: Each; readonly event: RaftEvents[Each] } }[Name]
  | { readonly type: 'dropped'; readonly count: number }

/** What `raft.watch` takes. */
export interface WatchOptions<Name extends EventName = EventName> {
  /** Only these. Default: all but `applied`, which comes with each batch and holds its entries while it waits. */
  readonly events?: readonly Name[]
  /** So many events wait at most. 1 .. 65536, default 1024. */
  readonly limit?: number
  /** Ends it: what `next` waits for then rejects with ERR_RAFT_ABORTED, once. */
  readonly signal?: AbortSignal
}

/** Ends, when all that came before is taken, with the server, by `return`, or by the signal. */
export interface Watch<Name extends EventName = EventName> extends AsyncIterableIterator<WatchedEvent<Name>> {
  /** The next event, or the end of all once the server has ended. */
  next(): Promise<IteratorResult<WatchedEvent<Name>, undefined>>
  /** Nothing more is told, and nothing that waits. */
  return(): Promise<IteratorResult<WatchedEvent<Name>, undefined>>
  /** As `return`. */
  [Symbol.asyncDispose](): Promise<void>
}

const OPTION_NAMES: readonly string[] = ['events', 'limit', 'signal']
const EVENTS: readonly EventName[] = EVENT_NAMES.filter((name) => name !== 'applied')
const LIMIT = 1024
const LIMIT_MAX = 65_536
/** Calls of `next` that wait for one event each. */
const TAKERS_MAX = 1024

export interface WatchedParts {
  readonly events: Events
  /** Resolves when the server has ended. */
  readonly ended: Promise<unknown>
  /** One event was lost to a watcher. */
  dropped(): void
}

export function watch<Name extends EventName>(parts: WatchedParts, options: WatchOptions<Name> = {}): Watch<Name> {
  checkOptionNames('watch', options, OPTION_NAMES)
  const { events = EVENTS as readonly Name[], limit = LIMIT, signal } = options
  if (!Array.isArray(events)) {
    throw optionsError(`option events of watch must be a list of names of events, and is ${shown(events)}`)
  }
  for (const name of events as readonly unknown[]) checkEventName(name)
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
    throw optionsError(`option limit of watch is ${shown(limit)}; must be a whole number of 1 .. ${LIMIT_MAX}`)
  }
  if (signal !== undefined && typeof (signal as Partial<AbortSignal>).addEventListener !== 'function') {
    throw optionsError('option signal of watch must be an AbortSignal')
  }
  return new Watcher<Name>(parts, { events: [...new Set(events)], limit, signal })
}

type Told<Name extends EventName> = IteratorResult<WatchedEvent<Name>, undefined>

interface Taker<Name extends EventName> {
  readonly resolve: (told: Told<Name>) => void
  readonly reject: (error: RaftError) => void
}

class Watcher<Name extends EventName> implements Watch<Name> {
  readonly #limit: number
  readonly #parts: WatchedParts
  /** From `#head` on, at most `#limit`; before that, what is gone. None while somebody waits. */
  #waiting: (WatchedEvent<Name> | undefined)[] = []
  #head = 0
  /** Events that are missing before the first that waits. */
  #missing = 0
  /** In the order in which they asked. */
  #takers: Taker<Name>[] = []
  /** Why the next call of `next` rejects; null for no reason. */
  #failure: RaftError | null = null
  #isEnded = false
  /** Ends the subscriptions. */
  readonly #ends: (() => void)[]

  constructor(
    parts: WatchedParts,
    { events: names, limit, signal }: { events: readonly Name[]; limit: number; signal: AbortSignal | undefined },
  ) {
    this.#limit = limit
    this.#parts = parts
    this.#ends = names.map((name) =>
      parts.events.on(name, (event) => this.#came({ type: name, event } as unknown as WatchedEvent<Name>)),
    )
    void parts.ended.then(() => this.#end())
    if (signal !== undefined) this.#heed(signal)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<Told<Name>> {
    const failure = this.#failure
    if (failure !== null) {
      this.#failure = null
      throw failure
    }
    if (this.#missing > 0) {
      const count = this.#missing
      this.#missing = 0
      return { done: false, value: { type: 'dropped', count } }
    }
    const value = this.#shift()
    if (value !== undefined) return { done: false, value }
    if (this.#isEnded) return { done: true, value: undefined }
    if (this.#takers.length >= TAKERS_MAX) {
      throw new RaftError('ERR_RAFT_OVERLOADED', `${TAKERS_MAX} calls of next wait for events: await one first`)
    }
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject })
    })
  }

  async return(): Promise<Told<Name>> {
    this.#forget()
    this.#failure = null
    this.#end()
    return { done: true, value: undefined }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  #heed(signal: AbortSignal): void {
    const abort = (): void => this.#abort(signal.reason)
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    this.#ends.push(() => signal.removeEventListener('abort', abort))
  }

  #came(told: WatchedEvent<Name>): void {
    const taker = this.#takers.shift()
    if (taker !== undefined) return taker.resolve({ done: false, value: told })
    if (this.#waiting.length - this.#head === this.#limit) {
      this.#shift()
      this.#missing += 1
      this.#parts.dropped()
    }
    this.#waiting.push(told)
  }

  /** The oldest. Room for it goes with that of as many others. */
  #shift(): WatchedEvent<Name> | undefined {
    if (this.#head === this.#waiting.length) return undefined
    const oldest = this.#waiting[this.#head]
    this.#waiting[this.#head] = undefined
    this.#head += 1
    if (this.#head >= this.#limit) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
    return oldest
  }

  #forget(): void {
    this.#waiting = []
    this.#head = 0
    this.#missing = 0
  }

  #abort(reason: unknown): void {
    if (this.#isEnded) return
    this.#forget()
    const failure = new RaftError('ERR_RAFT_ABORTED', 'the signal has ended this watch', { cause: reason })
    const taker = this.#takers.shift()
    if (taker === undefined) this.#failure = failure
    else taker.reject(failure)
    this.#end()
  }

  #end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    for (const end of this.#ends) end()
    const takers = this.#takers
    this.#takers = []
    for (const { resolve } of takers) resolve({ done: true, value: undefined })
  }
}
