/**
 * Feeds committed entries to the state machine: in index order, each exactly once, one batch at a time.
 * What throws here halts the server: an entry is never skipped (scenario A4).
 */

import { RecordCursor } from '../format/block.js'
import { SESSION_HEADER_BYTES } from '../format/session.js'
import { logIndex } from '../types.js'
import type { Block, ConfigurationStatus, LogIndex } from '../types.js'
import { passThrough, SessionBatch } from './session-batch.js'
import { Sessions } from './sessions.js'
import type { Session } from './sessions.js'
import type { Entry } from './state-machine.js'
import type { BatchRange, BatchWaits, GuardedCodec, GuardedMachine, GuardedResultCodec } from './user-code.js'

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
  /** What it answered to them. */
  readonly answers: readonly unknown[]
  /** The commands of the range, ascending; the entries between them were not commands. */
  readonly indexes: readonly LogIndex[]
  /** What callers are told of these: also of commands of sessions that did not reach the machine. */
  readonly results: readonly unknown[]
}

/** A configuration of the range, with the number of commands that come before it. */
interface PlacedConfiguration {
  readonly before: number
  readonly index: LogIndex
  readonly configuration: ConfigurationStatus
}

/** What was read of a range of the log. */
interface Collected<Command> {
  /** For the machine. */
  readonly batch: Entry<Command>[]
  /** Of all commands. */
  readonly indexes: LogIndex[]
  readonly configurations: PlacedConfiguration[]
  /** Null while no command of the range is of a session: then `batch` has all of them. */
  sessions: SessionBatch | null
}

/** What an applier asks of the server around it. */
export interface ApplierQuestions {
  /** The tag of the call that waits for that entry; null for nobody. */
  readonly tagAt: (index: LogIndex) => number | null
  readonly isReplay: (index: LogIndex) => boolean
  readonly readConfiguration: (payload: Uint8Array) => ConfigurationStatus
}

const NONE: readonly never[] = []

/**
 * Small blocks are copied into memory that they share; larger ones have their own. Whoever keeps a command's bytes
 * keeps at most so much.
 */
const SLAB_BYTES = 64 * 1024
const SHARED_BYTES_MAX = SLAB_BYTES / 4

export class Applier<Command> {
  readonly #machine: GuardedMachine<Command, unknown, unknown, unknown>
  readonly #codec: GuardedCodec<Command>
  readonly #resultCodec: GuardedResultCodec<unknown>
  /** Of a batch without commands of sessions. */
  readonly #waits: BatchWaits
  readonly #isReplay: (index: LogIndex) => boolean
  readonly #readConfiguration: (payload: Uint8Array) => ConfigurationStatus
  readonly #cursor = new RecordCursor()
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #free = 0
  #copyOffset = 0
  /** The time of the last entry that was applied, whatever its kind; 0 before the first. */
  #time = 0
  /** The machine has everything up to here by itself: it is passed over, but for the sessions. */
  #machineIndex: LogIndex
  readonly sessions: Sessions

  constructor(
    machine: GuardedMachine<Command, unknown, unknown, unknown>,
    codec: GuardedCodec<Command>,
    resultCodec: GuardedResultCodec<unknown>,
    start: { readonly machineIndex: LogIndex; readonly sessions: readonly Session[] },
    ask: ApplierQuestions,
  ) {
    this.#machine = machine
    this.#codec = codec
    this.#resultCodec = resultCodec
    this.#machineIndex = start.machineIndex
    this.sessions = new Sessions(start.sessions)
    this.#waits = { isAwaited: (index) => ask.tagAt(index) !== null, tagAt: ask.tagAt, isKept: () => false }
    this.#isReplay = ask.isReplay
    this.#readConfiguration = ask.readConfiguration
  }

  get time(): number {
    return this.#time
  }

  get machineIndex(): LogIndex {
    return this.#machineIndex
  }

  /** The machine holds a snapshot up to this entry, which had this time, and these sessions beside it. */
  restored(index: LogIndex, time: number, sessions: readonly Session[]): void {
    this.#machineIndex = index
    this.#time = time
    this.sessions.replace(sessions)
  }

  /**
   * Applies first .. last, which the blocks cover, or a part of it from first on, and of which all is replay, or none.
   * Synchronous when the machine is. Throws, or rejects with, ERR_RAFT_APPLY_FAILED.
   */
  apply(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Applied | Promise<Applied> {
    if (first <= this.#machineIndex) return this.#passOver(first, logIndex(Math.min(last, this.#machineIndex)), blocks)
    const collected: Collected<Command> = { batch: [], indexes: [], configurations: [], sessions: null }
    let bytes = 0
    for (const block of blocks) {
      this.#collect(block, first, last, collected)
      bytes += block.data.length
    }
    const { batch: entries, indexes, sessions } = collected
    const replaying = this.#isReplay(last)
    const found = this.#applyCollected(collected, { first, last })
    const settle = (answers: readonly unknown[]): Applied => {
      const results = sessions === null ? answers : sessions.settle(answers, indexes.length)
      return { first, last, bytes, replaying, entries, answers, indexes, results }
    }
    return found instanceof Promise ? found.then(settle) : settle(found)
  }

  #applyCollected(
    { batch, configurations, sessions }: Collected<Command>,
    range: BatchRange,
  ): readonly unknown[] | Promise<readonly unknown[]> {
    const waits = sessions === null ? this.#waits : withSessions(this.#waits, sessions)
    if (configurations.length === 0) return this.#applyBatch(batch, range, waits)
    return this.#applyBetween(configurations, batch, range, waits)
  }

  #applyBatch(
    batch: readonly Entry<Command>[],
    range: BatchRange,
    waits: BatchWaits,
  ): readonly unknown[] | Promise<readonly unknown[]> {
    if (batch.length === 0) return NONE
    const replaying = this.#isReplay(range.last)
    const context = { appliedIndex: range.last, isAwaited: waits.isAwaited, replaying }
    return this.#machine.apply(batch, context, range, waits)
  }

  /** The machine hears of each configuration behind the commands before it. */
  async #applyBetween(
    configurations: readonly PlacedConfiguration[],
    batch: readonly Entry<Command>[],
    { first, last }: BatchRange,
    waits: BatchWaits,
  ): Promise<readonly unknown[]> {
    let results: readonly unknown[] = []
    let from = first
    for (const { before, index, configuration } of configurations) {
      const range = { first: from, last: logIndex(index - 1) }
      results = results.concat(await this.#applyBatch(batch.slice(results.length, before), range, waits))
      await this.#machine.configured(configuration, index)
      from = logIndex(index + 1)
    }
    return results.concat(await this.#applyBatch(batch.slice(results.length), { first: from, last }, waits))
  }

  /**
   * Hot path: once per block. The commands are views of a copy: the block goes to the store and to peers as well, and a
   * user may write to what was a command.
   */
  #collect(block: Block, first: LogIndex, last: LogIndex, collected: Collected<Command>): void {
    const { batch, indexes, configurations } = collected
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
      indexes.push(cursor.index)
      const skipped = cursor.hasSession ? SESSION_HEADER_BYTES : 0
      if (skipped > 0 && !this.#admit(collected)) continue
      copy ??= this.#copy(block.data)
      const at = this.#copyOffset + cursor.payloadOffset + skipped
      const command = this.#codec.decodeIn(copy, at, cursor.payloadLength - skipped, cursor.index)
      batch.push({ index: cursor.index, term: block.term, time, command })
    }
  }

  /** Whether the command of the session, at which the cursor stands, is for the machine. */
  #admit(collected: Collected<Command>): boolean {
    const { session, index, time } = this.#cursor
    collected.sessions ??= new SessionBatch(this.sessions, this.#resultCodec)
    return collected.sessions.admit(session, collected.indexes.length - 1, index, time)
  }

  /** Entries that the machine has by itself: nobody waits for them, and what they came to is not known here. */
  #passOver(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Applied {
    const cursor = this.#cursor
    let bytes = 0
    for (const block of blocks) {
      if (block.first > last) break
      bytes += block.data.length
      cursor.reset(block)
      while (cursor.next() && cursor.index <= last) {
        if (cursor.index < first) continue
        this.#time = cursor.time
        if (cursor.kind !== 'command' || !cursor.hasSession) continue
        passThrough(this.sessions, cursor.session, cursor.index, cursor.time)
      }
    }
    const replaying = this.#isReplay(last)
    return { first, last, bytes, replaying, entries: NONE, answers: NONE, indexes: NONE, results: NONE }
  }

  /** Answers with the memory in which the copy begins at `#copyOffset`. */
  #copy(data: Uint8Array): ArrayBufferLike {
    const { length } = data
    // What another thread decodes is given away.
    if (length > SHARED_BYTES_MAX || this.#codec.isElsewhere) {
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

/** The answers to commands of sessions are kept, so they are made on every server. */
function withSessions({ isAwaited, tagAt }: BatchWaits, sessions: SessionBatch): BatchWaits {
  const isKept = (index: LogIndex): boolean => sessions.isApplied(index)
  return { isAwaited: (index) => isKept(index) || isAwaited(index), tagAt, isKept }
}

/** The answer for a command of the range. */
export function resultAt({ indexes, results }: Applied): (index: LogIndex) => unknown {
  let at = 0
  return (index) => {
    while ((indexes[at] ?? Infinity) < index) at += 1
    return results[at]
  }
}
