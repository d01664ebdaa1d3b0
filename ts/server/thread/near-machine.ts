/**
 * In the thread of the user, what answers the worker: the state machine and the codecs run here, each behind its guard.
 * Results stay here; whoever waits for one in this process has it as soon as the machine has answered.
 */

import { RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import { piecesOf, RestoredPieces } from '../../machine/snapshot-pieces.js'
import type { Entry } from '../../machine/state-machine.js'
import type { Settings } from '../../options.js'
import type { LogIndex } from '../../types.js'
import { isAwaited, isWanted, tagOf, unpackBatch } from './batches.js'
import type { FarBatch } from './batches.js'
import { owned } from './line.js'
import type { AskHandlers } from './line.js'
import type { ErrorWire, WireError } from './wire-error.js'
import type { MachineAbilities, ToMachine } from './words.js'

/** Who is told of what was applied. */
export interface NearListener {
  /** The machine's answer to a command of the call of that tag. */
  applied(tag: number, result: unknown): void
  /** All of a batch: for whoever listens. */
  batch(entries: readonly Entry<unknown>[], results: readonly unknown[]): void
}

type Pieces = AsyncGenerator<Uint8Array, void>

type Parts = Pick<
  Settings<unknown, unknown, unknown, unknown>,
  'stateMachine' | 'codec' | 'resultCodec' | 'queryCodec' | 'answerCodec'
>

export class NearMachine {
  readonly #parts: Parts
  readonly #errors: ErrorWire
  readonly #listener: NearListener
  /** What the state machine is restored from comes by this. */
  readonly #restoreNext: () => Promise<Uint8Array | null>
  /** What was captured last. */
  #captured: Pieces | null = null
  #isRestoring = false

  constructor(parts: Parts, errors: ErrorWire, listener: NearListener, restoreNext: () => Promise<Uint8Array | null>) {
    this.#parts = parts
    this.#errors = errors
    this.#listener = listener
    this.#restoreNext = restoreNext
  }

  /** The state machine is between two states: nobody may ask it. */
  get isRestoring(): boolean {
    return this.#isRestoring
  }

  get abilities(): MachineAbilities {
    const { validates, hearsConfigurations, canSnapshot, hasQuery } = this.#parts.stateMachine
    return { validates, hearsConfigurations, canSnapshot, hasQuery }
  }

  get handlers(): AskHandlers<ToMachine> {
    const { stateMachine: machine } = this.#parts
    return {
      apply: (batch) => this.#apply(batch),
      configured: ({ configuration, index }) => machine.configured(configuration, index),
      capture: () => this.#capture(),
      captureNext: () => this.#captureNext(),
      captureEnd: () => this.#endCapture(),
      restore: (meta) => this.#restore(meta),
      checkRestored: ({ expected, meta }) => machine.checkRestored(expected, meta),
      appliedIndex: () => machine.appliedIndex(),
      judge: (commands) => this.#judge(commands),
      query: (query) => this.#query(query),
    }
  }

  // Hot path: once per batch.
  #apply(batch: FarBatch): ToMachine['asks']['apply']['answer'] | Promise<ToMachine['asks']['apply']['answer']> {
    const { stateMachine: machine, codec } = this.#parts
    const { range, appliedIndex, replaying } = batch
    const entries = unpackBatch(batch, (memory, at, length, index) => codec.decodeIn(memory, at, length, index))
    const places = placesOf(entries)
    const isWaitedFor = (index: LogIndex): boolean => isAwaited(batch, index - places.first)
    const context = { appliedIndex, replaying, isAwaited: places.isDense ? isWaitedFor : awaitedOf(batch, entries) }
    const waits = { isAwaited: context.isAwaited, tagAt: () => null, isKept: () => false }
    // The machine may write to what it is given.
    const results = machine.apply(entries, context, range, waits)
    return results instanceof Promise
      ? results.then((later) => this.#applied(batch, entries, later))
      : this.#applied(batch, entries, results)
  }

  #applied(
    batch: FarBatch,
    entries: readonly Entry<unknown>[],
    results: readonly unknown[],
  ): ToMachine['asks']['apply']['answer'] {
    let wanted: (Uint8Array | WireError)[] | null = null
    for (let at = 0; at < results.length; at += 1) {
      const tag = tagOf(batch, at)
      if (isWanted(batch, at)) (wanted ??= []).push(this.#encoded(results[at]))
      if (tag > 0) this.#listener.applied(tag, results[at])
    }
    this.#listener.batch(entries, results)
    return wanted
  }

  #encoded(result: unknown): Uint8Array | WireError {
    try {
      return this.#parts.resultCodec.encode(result)
    } catch (error) {
      if (error instanceof RaftError) return this.#errors.encode(error)
      throw error
    }
  }

  async #capture(): Promise<string | null> {
    // One that was given up over there.
    await this.#endCapture()
    const { source, stateHash } = await this.#parts.stateMachine.capture()
    this.#captured = piecesOf(source)
    return stateHash
  }

  async #captureNext(): Promise<Uint8Array | null> {
    const next = await this.#captured?.next()
    return next === undefined || next.done === true ? null : owned(next.value)
  }

  async #endCapture(): Promise<void> {
    const captured = this.#captured
    this.#captured = null
    await captured?.return()
  }

  async #restore(meta: ToMachine['asks']['restore']['arg']): Promise<void> {
    this.#isRestoring = true
    try {
      await this.#parts.stateMachine.restore(new RestoredPieces(this.#restored()), meta)
    } finally {
      this.#isRestoring = false
    }
  }

  async *#restored(): Pieces {
    for (;;) {
      const piece = await this.#restoreNext()
      if (piece === null) return
      yield piece
    }
  }

  #judge(commands: readonly Uint8Array[]): readonly (WireError | null)[] | null {
    // A codec of this thread answers at once.
    const refusals = commands.map((command) => this.#parts.codec.refusalOf(command))
    if (refusals.every((refusal) => refusal === null)) return null
    return refusals.map((refusal) => (refusal === null ? null : this.#errors.encode(refusal)))
  }

  async #query(bytes: Uint8Array): Promise<Uint8Array> {
    const { stateMachine: machine, queryCodec, answerCodec } = this.#parts
    const query = queryCodec.decode(bytes)
    let answer: unknown
    try {
      answer = await machine.query(query)
    } catch (thrown) {
      if (thrown instanceof RaftError) throw thrown
      // What a query throws cannot travel as it is.
      throw new RaftError('ERR_RAFT_QUERY_FAILED', `the state machine's query failed: ${textOf(thrown)}`)
    }
    return answerCodec.encode(answer)
  }
}

interface Places {
  readonly first: number
  /** The entries follow one another without a gap. */
  readonly isDense: boolean
}

function placesOf(entries: readonly Entry<unknown>[]): Places {
  const first = entries[0]?.index ?? 0
  return { first, isDense: entries.length === (entries.at(-1)?.index ?? -1) - first + 1 }
}

/** The indexes are taken now: the machine may write to the entries. */
function awaitedOf(batch: FarBatch, entries: readonly Entry<unknown>[]): (index: LogIndex) => boolean {
  const places = new Map(entries.map(({ index }, at) => [index, at]))
  return (index) => {
    const at = places.get(index)
    return at !== undefined && isAwaited(batch, at)
  }
}
