/**
 * In the worker thread, what stands for the user's state machine and codecs: each asks the thread in which they run.
 * Commands, queries and answers are bytes here, and results are not here at all unless their bytes are wanted.
 */

import { RaftError } from '../../errors.js'
import { isBytes } from '../../foreign-values.js'
import {
  GuardedCodec,
  GuardedMachine,
  GuardedResultCodec,
  type BatchRange,
  type BatchWaits,
  type Captured,
  type Refusals,
} from '../../machine/user-code.js'
import { GuardedQueryCodec } from '../../machine/query-codec.js'
import type { RestoredPieces } from '../../machine/snapshot-pieces.js'
import type { ApplyContext, Codec, Entry, StateMachine } from '../../machine/state-machine.js'
import type { ConfigurationStatus, LogIndex, SnapshotMeta } from '../../types.js'
import { overloaded } from '../refusals.js'
import { isWanted, packBatch } from './batches.js'
import type { FarCommand } from './batches.js'
import { owned } from './line.js'
import type { Line } from './line.js'
import type { ErrorWire } from './wire-error.js'
import type { MachineAbilities, ToMachine, ToServer } from './words.js'

export type MachineLine = Line<ToMachine, ToServer>

/** Queries of clients on their way to the other thread, in bytes; above that they are refused. */
const QUERIED_BYTES_MAX = 16 * 1024 * 1024

/** What a command came to, where the server is: bytes that travel on, or why there are none. */
export class FarResult {
  /** Null: the result is in the thread of the user, and nobody else wants it. */
  readonly bytes: Uint8Array | RaftError | null

  constructor(bytes: Uint8Array | RaftError | null) {
    this.bytes = bytes
  }
}

const KEPT = new FarResult(null)

const NO_MACHINE: StateMachine<unknown, unknown> = { apply: () => [] }
const NO_CODEC: Codec<unknown> = { encode: () => new Uint8Array(0), decode: (bytes) => bytes }

export class FarMachine extends GuardedMachine<unknown, unknown, unknown, unknown> {
  readonly #line: MachineLine
  readonly #errors: ErrorWire
  readonly #abilities: MachineAbilities
  #queriedBytes = 0
  /** What the machine is being restored from; null while it is not. */
  #restoring: AsyncGenerator<Uint8Array, void> | null = null

  constructor(line: MachineLine, errors: ErrorWire, abilities: MachineAbilities) {
    super(NO_MACHINE)
    this.#line = line
    this.#errors = errors
    this.#abilities = abilities
  }

  override get validates(): boolean {
    return this.#abilities.validates
  }

  override get hearsConfigurations(): boolean {
    return this.#abilities.hearsConfigurations
  }

  override get canSnapshot(): boolean {
    return this.#abilities.canSnapshot
  }

  override get hasQuery(): boolean {
    return this.#abilities.hasQuery
  }

  // Hot path: once per batch.
  override async apply(
    batch: readonly Entry<unknown>[],
    context: ApplyContext,
    range: BatchRange,
    waits: BatchWaits,
  ): Promise<readonly unknown[]> {
    const far = packBatch(batch as readonly Entry<FarCommand>[], context, range, waits)
    // A configuration may have cut a block in two: then its copy is needed once more.
    const given = this.hearsConfigurations ? [] : far.memories
    const bytes = await this.#line.ask('apply', far, given).answer
    const results: FarResult[] = batch.map(() => KEPT)
    if (bytes === null) return results
    let next = 0
    for (let at = 0; at < results.length; at += 1) {
      if (!isWanted(far, at)) continue
      const answer = bytes[next]
      next += 1
      results[at] = new FarResult(isBytes(answer) ? answer : this.#errorIn(answer))
    }
    return results
  }

  override async configured(configuration: ConfigurationStatus, index: LogIndex): Promise<void> {
    await this.#line.ask('configured', { configuration, index }).answer
  }

  override async capture(): Promise<Captured> {
    const stateHash = await this.#line.ask('capture', null).answer
    return { source: this.#captured(), stateHash }
  }

  override async restore(pieces: RestoredPieces, meta: SnapshotMeta): Promise<void> {
    this.#restoring = pieces[Symbol.asyncIterator]()
    try {
      await this.#line.ask('restore', meta).answer
    } catch (error) {
      throw pieces.failure ?? error
    } finally {
      this.#restoring = null
    }
    if (pieces.failure !== null) throw pieces.failure
  }

  /** The next piece of what it is restored from. */
  async restoreNext(): Promise<Uint8Array | null> {
    const next = await this.#restoring?.next()
    return next === undefined || next.done === true ? null : owned(next.value)
  }

  override async checkRestored(expected: string | undefined, meta: SnapshotMeta): Promise<void> {
    await this.#line.ask('checkRestored', { expected, meta }).answer
  }

  override appliedIndex(): Promise<number> {
    return this.#line.ask('appliedIndex', null).answer
  }

  /** Of bytes, with bytes. */
  override query(query: unknown): Promise<unknown> {
    const bytes = query as Uint8Array
    if (this.#queriedBytes + bytes.length > QUERIED_BYTES_MAX) {
      const what = `${this.#queriedBytes} bytes of queries wait for the thread of the state machine`
      return Promise.reject(overloaded(`${what}, and the bound is ${QUERIED_BYTES_MAX}`))
    }
    this.#queriedBytes += bytes.length
    return this.#line.ask('query', bytes).answer.finally(() => {
      this.#queriedBytes -= bytes.length
    })
  }

  async *#captured(): AsyncGenerator<Uint8Array, void> {
    try {
      for (;;) {
        const piece = await this.#line.ask('captureNext', null).answer
        if (piece === null) return
        yield piece
      }
    } finally {
      await this.#line.ask('captureEnd', null).answer
    }
  }

  #errorIn(answer: Parameters<ErrorWire['decode']>[0] | undefined): RaftError | null {
    return answer === undefined ? null : this.#errors.decode(answer)
  }
}

export class FarCodec extends GuardedCodec<unknown> {
  readonly #line: MachineLine
  readonly #errors: ErrorWire
  readonly #validates: boolean

  constructor(line: MachineLine, errors: ErrorWire, { validates }: MachineAbilities) {
    super(NO_CODEC)
    this.#line = line
    this.#errors = errors
    this.#validates = validates
  }

  override get isElsewhere(): boolean {
    return true
  }

  override get validates(): boolean {
    return this.#validates
  }

  override decodeIn(memory: ArrayBuffer, at: number, length: number): FarCommand {
    return { memory, at, length }
  }

  override async refusalsOf(commands: readonly Uint8Array[]): Promise<Refusals> {
    const refusals = await this.#line.ask('judge', commands.map(owned)).answer
    return refusals?.map((error) => (error === null ? null : this.#errors.decode(error))) ?? null
  }
}

export class FarResultCodec extends GuardedResultCodec<unknown> {
  constructor() {
    super(NO_CODEC)
  }

  override encode(result: unknown): Uint8Array {
    const bytes = result instanceof FarResult ? result.bytes : null
    if (bytes instanceof RaftError) throw bytes
    if (bytes !== null) return bytes
    const why = 'its result was not asked for before it was applied'
    throw new RaftError('ERR_RAFT_ENCODE', `${why}; the command is applied, and its result is lost`, {
      outcome: 'applied',
    })
  }

  override decode(bytes: Uint8Array): FarResult {
    return new FarResult(bytes)
  }
}

export class FarQueryCodec extends GuardedQueryCodec<unknown> {
  constructor(name: 'queryCodec' | 'answerCodec') {
    super(name, NO_CODEC)
  }

  override encode(value: unknown): Uint8Array {
    return value as Uint8Array
  }

  override decode(bytes: Uint8Array): unknown {
    return bytes
  }
}
