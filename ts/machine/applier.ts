/**
 * Feeds committed entries to the state machine: in index order, each exactly once, one batch at a time.
 * What throws here halts the server: an entry is never skipped (scenario A4).
 */

import { RecordCursor } from '../format/block.js'
import { logIndex } from '../types.js'
import type { Block, ConfigurationStatus, LogIndex } from '../types.js'
import type { ApplyContext, Entry } from './state-machine.js'
import type { BatchRange, GuardedCodec, GuardedMachine } from './user-code.js'

/** The machine's answers for one range of the log. */
export interface Applied {
  readonly first: LogIndex
  /** The end of the range. */
  readonly last: LogIndex
  /** Of the blocks that were read for it. */
  readonly bytes: number
  /** Whether all of it is replay; else none is. */
  readonly replaying: boolean
  /** What the machine was given: it may have written to it. */
  readonly entries: readonly Entry<unknown>[]
  /** The commands of the range, ascending; the entries between them were not commands. */
  readonly indexes: readonly LogIndex[]
  readonly results: readonly unknown[]
}

/** A configuration of the range, with the number of commands that come before it. */
interface PlacedConfiguration {
  readonly before: number
  readonly index: LogIndex
  readonly configuration: ConfigurationStatus
}

/**
 * Small blocks are copied into memory that they share; larger ones have their own. Whoever keeps a command's bytes
 * keeps at most so much.
 */
const SLAB_BYTES = 64 * 1024
const SHARED_BYTES_MAX = SLAB_BYTES / 4

export class Applier<Command> {
  readonly #machine: GuardedMachine<Command, unknown, unknown, unknown>
  readonly #codec: GuardedCodec<Command>
  readonly #isAwaited: ApplyContext['isAwaited']
  readonly #isReplay: (index: LogIndex) => boolean
  readonly #readConfiguration: (payload: Uint8Array) => ConfigurationStatus
  readonly #cursor = new RecordCursor()
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #free = 0
  #copyOffset = 0
  /** The time of the last entry that was applied, whatever its kind; 0 before the first. */
  #time = 0

  constructor(
    machine: GuardedMachine<Command, unknown, unknown, unknown>,
    codec: GuardedCodec<Command>,
    isAwaited: ApplyContext['isAwaited'],
    isReplay: (index: LogIndex) => boolean,
    readConfiguration: (payload: Uint8Array) => ConfigurationStatus,
  ) {
    this.#machine = machine
    this.#codec = codec
    this.#isAwaited = isAwaited
    this.#isReplay = isReplay
    this.#readConfiguration = readConfiguration
  }

  get time(): number {
    return this.#time
  }

  /** The machine holds a snapshot whose last entry had this time. */
  restored(time: number): void {
    this.#time = time
  }

  /**
   * Applies first .. last, which the blocks cover, and of which all is replay, or none. Synchronous when the machine
   * is. Throws, or rejects with, ERR_RAFT_APPLY_FAILED.
   */
  apply(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Applied | Promise<Applied> {
    const batch: Entry<Command>[] = []
    const indexes: LogIndex[] = []
    const configurations: PlacedConfiguration[] = []
    let bytes = 0
    for (const block of blocks) {
      this.#collect(block, first, last, batch, indexes, configurations)
      bytes += block.data.length
    }
    const results =
      configurations.length === 0
        ? this.#applyBatch(batch, { first, last })
        : this.#applyBetween(configurations, batch, { first, last })
    const replaying = this.#isReplay(last)
    const applied = { first, last, bytes, replaying, entries: batch, indexes }
    if (!(results instanceof Promise)) return { ...applied, results }
    return results.then((settled) => ({ ...applied, results: settled }))
  }

  #applyBatch(batch: readonly Entry<Command>[], range: BatchRange): readonly unknown[] | Promise<readonly unknown[]> {
    if (batch.length === 0) return []
    const replaying = this.#isReplay(range.last)
    return this.#machine.apply(batch, { appliedIndex: range.last, isAwaited: this.#isAwaited, replaying }, range)
  }

  /** The machine hears of each configuration behind the commands before it. */
  async #applyBetween(
    configurations: readonly PlacedConfiguration[],
    batch: readonly Entry<Command>[],
    { first, last }: BatchRange,
  ): Promise<readonly unknown[]> {
    let results: readonly unknown[] = []
    let from = first
    for (const { before, index, configuration } of configurations) {
      const range = { first: from, last: logIndex(index - 1) }
      results = results.concat(await this.#applyBatch(batch.slice(results.length, before), range))
      await this.#machine.configured(configuration, index)
      from = logIndex(index + 1)
    }
    return results.concat(await this.#applyBatch(batch.slice(results.length), { first: from, last }))
  }

  /**
   * Hot path: once per block. The commands are views of a copy: the block goes to the store and to peers as well, and a
   * user may write to what was a command.
   */
  #collect(
    block: Block,
    first: LogIndex,
    last: LogIndex,
    batch: Entry<Command>[],
    indexes: LogIndex[],
    configurations: PlacedConfiguration[],
  ): void {
    const cursor = this.#cursor
    let copy: ArrayBufferLike | null = null
    cursor.reset(block)
    while (cursor.next()) {
      if (cursor.index < first) continue
      if (cursor.index > last) break
      const { time } = cursor
      this.#time = time
      if (cursor.kind === 'configuration' && this.#machine.hearsConfigurations) {
        const configuration = this.#readConfiguration(cursor.payload)
        configurations.push({ before: batch.length, index: cursor.index, configuration })
      }
      if (cursor.kind !== 'command') continue
      copy ??= this.#copy(block.data)
      indexes.push(cursor.index)
      const command = this.#codec.decode(cursor.payloadIn(copy, this.#copyOffset), cursor.index)
      batch.push({ index: cursor.index, term: block.term, time, command })
    }
  }

  /** Answers with the memory in which the copy begins at `#copyOffset`. */
  #copy(data: Uint8Array): ArrayBufferLike {
    const { length } = data
    if (length > SHARED_BYTES_MAX) {
      this.#copyOffset = 0
      return new Uint8Array(data).buffer
    }
    if (this.#free + length > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#free = 0
    }
    this.#slab.set(data, this.#free)
    this.#copyOffset = this.#free
    this.#free += length
    return this.#slab.buffer
  }
}

/** The answer for a command of the range. */
export function resultAt({ indexes, results }: Applied): (index: LogIndex) => unknown {
  let at = 0
  return (index) => {
    while ((indexes[at] ?? Infinity) < index) at += 1
    return results[at]
  }
}
