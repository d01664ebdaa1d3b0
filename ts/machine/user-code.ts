/**
 * The one place where a user's codec and state machine are called. Whatever they answer or throw becomes what the
 * contract promises, or an error that names the culprit.
 *
 * Invariants: memory that came from a codec is copied before its code runs again, and what is handed out is a copy
 * (`Applier`): so nothing that users do to theirs reaches a log. What they answer is looked at once, here.
 */

import { RaftError } from '../errors.js'
import type { RaftErrorCode } from '../errors.js'
import { PAYLOAD_BYTES_MAX } from '../format/block.js'
import type { Payload } from '../format/block.js'
import { hexOf } from '../format/hex.js'
import { PayloadSlabs } from '../format/payload.js'
import { STATE_HASH_BYTES_MAX } from '../format/snapshot.js'
import { isBytes, isDetached, isThenable, kindOf, messageOf, onRejection, textOf } from '../foreign-values.js'
import { isPosition } from '../types.js'
import type { ConfigurationStatus, LogIndex, SnapshotMeta } from '../types.js'
import { isSource, snapshotFailed } from './snapshot-pieces.js'
import type { RestoredPieces } from './snapshot-pieces.js'
import type { ApplyContext, Codec, Entry, SnapshotSource, StateMachine } from './state-machine.js'

const OF_A_COMMAND: ReadonlySet<RaftErrorCode> = new Set(['ERR_RAFT_ENCODE', 'ERR_RAFT_TOO_LARGE'])

/** Says what may be proposed: as a state machine does. */
interface CommandRule<Command> {
  /** False: everything may. */
  readonly validates: boolean
  /** Throws for a command that may not. */
  validate(command: Command): void
}

const ANY_COMMAND: CommandRule<unknown> = { validates: false, validate: ignore }

/** By command, why it is not to be appended; null where it may be, and in place of all where all may. */
export type Refusals = readonly (RaftError | null)[] | null

export class GuardedCodec<Command> {
  readonly #codec: Codec<Command>
  readonly #rule: CommandRule<Command>
  readonly #slabs = new PayloadSlabs()

  /** `rule` is asked of each command that is encoded. */
  constructor(codec: Codec<Command>, rule: CommandRule<Command> = ANY_COMMAND) {
    this.#codec = codec
    this.#rule = rule
  }

  /** A copy of what the codec answers with. Throws ERR_RAFT_INVALID, ERR_RAFT_ENCODE or ERR_RAFT_TOO_LARGE. */
  // Hot path: once per command.
  encode(command: Command): Payload {
    return this.#slabs.copy(this.#encoded(command, PAYLOAD_BYTES_MAX))
  }

  /** The same in memory of its own, behind so many bytes of room: for what may be sent more than once. */
  // Hot path: once per command.
  encodeBehind(room: number, command: Command): Uint8Array {
    const encoded = this.#encoded(command, PAYLOAD_BYTES_MAX - room)
    const bytes = Buffer.allocUnsafe(room + encoded.length)
    bytes.set(encoded, room)
    return bytes
  }

  /** Whether it runs in another thread: then `refusalsOf` answers with a promise. */
  get isElsewhere(): boolean {
    return false
  }

  /** Whether there is anything to ask of what another server has encoded. */
  get validates(): boolean {
    return this.#rule.validates
  }

  /** Why what others have encoded is not to be appended; null if it may be. Writes nothing to `bytes`. */
  // Hot path: once per command of a client, and per one that is forwarded to a machine with `validate`.
  refusalOf(bytes: Uint8Array): RaftError | null {
    try {
      // No Buffer, whose `slice` is no copy.
      this.#rule.validate(this.#decoded(Uint8Array.prototype.slice.call(bytes), null))
      return null
    } catch (error) {
      if (error instanceof RaftError) return error
      throw error
    }
  }

  /** The same of many; null where none is refused. Of a codec in another thread, a promise of it. */
  refusalsOf(commands: readonly Uint8Array[]): Refusals | Promise<Refusals> {
    let refusals: (RaftError | null)[] | null = null
    for (const [at, command] of commands.entries()) {
      const refusal = this.refusalOf(command)
      if (refusal === null) continue
      refusals ??= commands.map(() => null)
      refusals[at] = refusal
    }
    return refusals
  }

  /** What the codec answers with: memory of a user's. */
  #encoded(command: Command, bytesMax: number): Uint8Array {
    this.#rule.validate(command)
    let answer: unknown
    try {
      answer = this.#codec.encode(command)
    } catch (cause) {
      // Such as from `msgpackCodec`, which says more.
      if (cause instanceof RaftError && OF_A_COMMAND.has(cause.code)) throw cause
      throw notEncoded(`threw: ${textOf(cause)}`, cause)
    }
    if (!isBytes(answer)) {
      onRejection(answer, ignore)
      throw notEncoded(`answered with ${kindOf(answer)}, not with a Uint8Array`)
    }
    // Not `byteLength`, which engines are slow to tell.
    const { length } = answer
    if (length > bytesMax) throw tooLarge(length, bytesMax)
    if (length === 0 && isDetached(answer)) throw notEncoded('answered with a Uint8Array whose memory is detached')
    return answer
  }

  /** `bytes` may be written to. Throws ERR_RAFT_APPLY_FAILED. */
  // Hot path: once per command.
  decode(bytes: Uint8Array, index: LogIndex): Command {
    return this.#decoded(bytes, index)
  }

  /** The same of bytes that lie in there. */
  // Hot path: once per command.
  decodeIn(memory: ArrayBufferLike, at: number, length: number, index: LogIndex): Command {
    return this.#decoded(new Uint8Array(memory, at, length), index)
  }

  /** `index` is null before it is in the log: then ERR_RAFT_INVALID. */
  #decoded(bytes: Uint8Array, index: LogIndex | null): Command {
    let command: Command
    try {
      command = this.#codec.decode(bytes)
      if (typeof command !== 'object' || command === null || !hasThen(command)) return command
    } catch (cause) {
      throw undecoded(`threw on ${encodedIn(index)}: ${textOf(cause)}`, index, cause)
    }
    onRejection(command, ignore)
    throw undecoded(`answered with a promise for ${encodedIn(index)}, not with the command`, index)
  }
}

/**
 * What commands came to, as bytes: for results that travel to another server, or are kept. The command is committed by
 * then, so whatever fails here is told to its caller alone, with the outcome `applied`, and halts nobody.
 */
export class GuardedResultCodec<Result> {
  readonly #codec: Codec<Result>

  constructor(codec: Codec<Result>) {
    this.#codec = codec
  }

  /** A copy of what the codec answers with. Throws ERR_RAFT_ENCODE or ERR_RAFT_TOO_LARGE. */
  // Hot path: once per result.
  encode(result: Result): Uint8Array {
    let answer: unknown
    try {
      answer = this.#codec.encode(result)
    } catch (cause) {
      throw resultLost(`resultCodec's encode threw: ${textOf(cause)}`, cause)
    }
    if (!isBytes(answer)) {
      onRejection(answer, ignore)
      throw resultLost(`resultCodec's encode answered with ${kindOf(answer)}, not with a Uint8Array`)
    }
    const { length } = answer
    if (length > PAYLOAD_BYTES_MAX) {
      const why = `its result has ${length} bytes, at most ${PAYLOAD_BYTES_MAX} travel`
      throw new RaftError('ERR_RAFT_TOO_LARGE', lost(why), { outcome: 'applied' })
    }
    if (length === 0 && isDetached(answer)) {
      throw resultLost(`resultCodec's encode answered with a Uint8Array whose memory is detached`)
    }
    return new Uint8Array(answer)
  }

  /** `bytes` may be written to. Throws ERR_RAFT_ENCODE. */
  // Hot path: once per result.
  decode(bytes: Uint8Array): Result {
    let result: Result
    try {
      result = this.#codec.decode(bytes)
      if (typeof result !== 'object' || result === null || !hasThen(result)) return result
    } catch (cause) {
      throw resultLost(`resultCodec's decode threw: ${textOf(cause)}`, cause)
    }
    onRejection(result, ignore)
    throw resultLost(`resultCodec's decode answered with a promise, not with the result`)
  }
}

/** What a batch covers, for messages. */
export interface BatchRange {
  readonly first: LogIndex
  readonly last: LogIndex
}

/** Who waits for the answers to a batch. */
export interface BatchWaits {
  readonly isAwaited: ApplyContext['isAwaited']
  /** By which another thread knows the call that waits for that entry, 0 for one of this thread; null for nobody. */
  readonly tagAt: (index: LogIndex) => number | null
  /** Whether the answer is kept with its session. */
  readonly isKept: (index: LogIndex) => boolean
}

type Results = readonly unknown[]

/** What a snapshot is to hold. */
export interface Captured {
  readonly source: SnapshotSource
  /** Null for a machine that says none. */
  readonly stateHash: string | null
}

export class GuardedMachine<Command, Result, Query, Answer> {
  readonly #machine: StateMachine<Command, Result, Query, Answer>

  constructor(machine: StateMachine<Command, Result, Query, Answer>) {
    this.#machine = machine
  }

  get validates(): boolean {
    return this.#machine.validate !== undefined
  }

  /** Throws ERR_RAFT_INVALID when the machine refuses the command, or answers with what could be taken for that. */
  // Hot path: once per command.
  validate(command: Command): void {
    if (this.#machine.validate === undefined) return
    let answer: unknown
    try {
      answer = this.#machine.validate(command)
    } catch (cause) {
      throw invalid(`refused the command: ${messageOf(cause)}`, cause)
    }
    if (answer === false) throw invalid('answered with false; a command is refused by a throw that says why')
    if (!isThenable(answer)) return
    onRejection(answer, ignore)
    throw invalid('answered with a promise; it must be synchronous')
  }

  /**
   * One result per entry, in an array of ours. Synchronous when the machine is. Throws, or rejects with,
   * ERR_RAFT_APPLY_FAILED.
   */
  // Hot path: once per batch.
  apply(
    batch: readonly Entry<Command>[],
    context: ApplyContext,
    range: BatchRange,
    _waits: BatchWaits,
  ): Results | Promise<Results> {
    const count = batch.length
    let answer: unknown
    try {
      answer = this.#machine.apply(batch, context)
    } catch (cause) {
      throw failed('threw', range, cause)
    }
    if (!isThenable(answer)) return takeResults(answer, count, range)
    return Promise.resolve(answer).then(
      (results) => takeResults(results, count, range),
      (cause: unknown) => Promise.reject(failed('rejected', range, cause)),
    )
  }

  get hearsConfigurations(): boolean {
    return this.#machine.configured !== undefined
  }

  /** Rejects with ERR_RAFT_APPLY_FAILED. */
  async configured(configuration: ConfigurationStatus, index: LogIndex): Promise<void> {
    try {
      await this.#machine.configured?.(configuration, index)
    } catch (cause) {
      const what = `the state machine's configured failed on the configuration at ${index}: ${textOf(cause)}`
      throw halting(what, 'state machine', cause)
    }
  }

  /** Whether it can be written out and read back. */
  get canSnapshot(): boolean {
    return this.#machine.snapshot !== undefined && this.#machine.restore !== undefined
  }

  /** The state as it is now, and its hash, or a promise of them. Throws, or rejects with, ERR_RAFT_SNAPSHOT_FAILED. */
  capture(): Captured | Promise<Captured> {
    const stateHash = this.#hash()
    if (stateHash instanceof Promise) return stateHash.then((hash) => this.#captured(hash))
    return this.#captured(stateHash)
  }

  #captured(stateHash: string | null): Captured | Promise<Captured> {
    const source = this.#snapshot()
    return source instanceof Promise ? source.then((later) => ({ source: later, stateHash })) : { source, stateHash }
  }

  /** In hex digits; null for a machine that says none. */
  #hash(): string | null | Promise<string | null> {
    if (this.#machine.hash === undefined) return null
    let answer: unknown
    try {
      answer = this.#machine.hash()
    } catch (cause) {
      throw snapshotFailed(`the state machine's hash threw: ${textOf(cause)}`, cause)
    }
    if (!isThenable(answer)) return takeHash(answer)
    return Promise.resolve(answer).then(takeHash, (cause: unknown) =>
      Promise.reject(snapshotFailed(`the state machine's hash rejected: ${textOf(cause)}`, cause)),
    )
  }

  #snapshot(): SnapshotSource | Promise<SnapshotSource> {
    let answer: unknown
    try {
      answer = this.#machine.snapshot?.()
    } catch (cause) {
      throw snapshotFailed(`the state machine's snapshot threw: ${textOf(cause)}`, cause)
    }
    if (!isThenable(answer)) return takeSource(answer)
    return Promise.resolve(answer).then(takeSource, (cause: unknown) =>
      Promise.reject(snapshotFailed(`the state machine's snapshot rejected: ${textOf(cause)}`, cause)),
    )
  }

  /** Rejects with ERR_RAFT_APPLY_FAILED when the machine fails, and with what `pieces` failed of when that was it. */
  async restore(pieces: RestoredPieces, meta: SnapshotMeta): Promise<void> {
    let cause: unknown = null
    try {
      await this.#machine.restore?.(pieces, meta)
    } catch (error) {
      cause = error
    }
    if (pieces.failure !== null) throw pieces.failure
    if (cause === null) return
    const what = `the state machine's restore failed on the snapshot at ${meta.index}: ${textOf(cause)}`
    throw halting(what, 'state machine', cause)
  }

  /** Whether it holds what was written out, as far as both say. Rejects with ERR_RAFT_APPLY_FAILED if not. */
  async checkRestored(expected: string | undefined, { index }: SnapshotMeta): Promise<void> {
    if (expected === undefined) return
    let found: string | null
    try {
      found = await this.#hash()
    } catch (cause) {
      throw halting(`the restored snapshot at ${index} could not be checked: ${textOf(cause)}`, 'state machine', cause)
    }
    if (found === null || found === expected) return
    const what = `the state restored from the snapshot at ${index} has the hash ${found}, and the one written out had ${expected}`
    const changed = 'if hash itself was changed, start once without it and take a snapshot'
    throw halting(`${what}: snapshot or restore loses or changes something (${changed})`, 'state machine')
  }

  /** What the machine has by itself, durably; 0 for one that begins empty. Rejects with ERR_RAFT_OPTIONS. */
  async appliedIndex(): Promise<number> {
    let answer: unknown
    try {
      answer = (await this.#machine.appliedIndex?.()) ?? 0
    } catch (cause) {
      throw new RaftError('ERR_RAFT_OPTIONS', `the state machine's appliedIndex threw: ${textOf(cause)}`, { cause })
    }
    if (isPosition(answer)) return answer
    const what = `the state machine's appliedIndex answered ${shownNumber(answer)}, and not a whole number from 0 on`
    throw new RaftError('ERR_RAFT_OPTIONS', what)
  }

  get hasQuery(): boolean {
    return this.#machine.query !== undefined
  }

  /** What the query throws or rejects with goes to whoever asked, as it is; so does a promise that never settles. */
  query(query: Query): Answer | PromiseLike<Answer> {
    return this.#machine.query?.(query) as Answer | PromiseLike<Answer>
  }
}

/** For the hot paths, where what throws is caught around them: `isThenable` asks more. */
function hasThen(value: object): boolean {
  return 'then' in value && typeof value.then === 'function'
}

function takeResults(answer: unknown, count: number, range: BatchRange): Results | Promise<Results> {
  if (!Array.isArray(answer)) throw misanswered(kindOf(answer), count, range)
  if (answer.length !== count) throw misanswered(`${answer.length} results`, count, range)
  const results = new Array<unknown>(count)
  let promised = false
  try {
    for (let at = 0; at < count; at += 1) {
      const result: unknown = answer[at]
      results[at] = result
      if (typeof result === 'object' && result !== null && hasThen(result)) promised = true
    }
  } catch (cause) {
    throw failed('answered with what cannot be read', range, cause)
  }
  if (!promised) return results
  // Each answer promised by itself: the batch is applied when all of them are there.
  return Promise.all(results).catch((cause: unknown) => Promise.reject(failed('rejected', range, cause)))
}

function takeSource(answer: unknown): SnapshotSource {
  if (isSource(answer)) return answer
  throw snapshotFailed(`the state machine's snapshot answered with ${kindOf(answer)}, and not with pieces to iterate`)
}

function takeHash(answer: unknown): string {
  const length = isBytes(answer) ? answer.length : 0
  if (isBytes(answer) && length >= 1 && length <= STATE_HASH_BYTES_MAX) return hexOf(answer)
  const found = isBytes(answer) ? `${length} bytes` : kindOf(answer)
  throw snapshotFailed(
    `the state machine's hash answered with ${found}, and not with 1 .. ${STATE_HASH_BYTES_MAX} bytes`,
  )
}

const shownNumber = (value: unknown): string => (typeof value === 'number' ? String(value) : kindOf(value))

function misanswered(what: string, count: number, range: BatchRange): RaftError {
  const about = `for ${count} command${count === 1 ? '' : 's'} on the ${entriesOf(range)}`
  return halting(`the state machine's apply answered with ${what} ${about}`, 'state machine')
}

function failed(how: string, range: BatchRange, cause: unknown): RaftError {
  return halting(
    `the state machine's apply ${how} on the ${entriesOf(range)}: ${textOf(cause)}`,
    'state machine',
    cause,
  )
}

function entriesOf({ first, last }: BatchRange): string {
  return `entries ${first} .. ${last}`
}

function halting(what: string, culprit: string, cause?: unknown): RaftError {
  const remedy = `this server has halted. Correct the ${culprit} and restart: the log is kept`
  return new RaftError('ERR_RAFT_APPLY_FAILED', `${what}; ${remedy}`, { outcome: 'applied', cause })
}

const encodedIn = (index: LogIndex | null): string =>
  index === null ? 'a command that was encoded elsewhere' : `entry ${index}`

function undecoded(how: string, index: LogIndex | null, cause?: unknown): RaftError {
  const what = `the codec's decode ${how}`
  if (index !== null) return halting(what, 'codec', cause)
  return new RaftError('ERR_RAFT_INVALID', `${what}; nothing was appended`, { cause })
}

function notEncoded(what: string, cause?: unknown): RaftError {
  return new RaftError('ERR_RAFT_ENCODE', `the codec's encode ${what}; nothing was appended`, { cause })
}

function invalid(what: string, cause?: unknown): RaftError {
  return new RaftError('ERR_RAFT_INVALID', `the state machine's validate ${what}; nothing was appended`, { cause })
}

function resultLost(why: string, cause?: unknown): RaftError {
  return new RaftError('ERR_RAFT_ENCODE', lost(why), { outcome: 'applied', cause })
}

const lost = (why: string): string =>
  `${why}; the command is applied, and its result is lost: correct resultCodec, or answer with less`

function tooLarge(bytes: number, bytesMax: number): RaftError {
  const message = `the command has ${bytes} bytes, at most ${bytesMax} are allowed: split it`
  return new RaftError('ERR_RAFT_TOO_LARGE', message)
}

function ignore(): void {}
