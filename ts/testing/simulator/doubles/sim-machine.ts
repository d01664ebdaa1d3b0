/**
 * The state machine of a simulated process: registers, which answer a write with what the register held before, so that
 * every command's place in the order can be told from its answer; and beside them the machine under test, if there is
 * one. Its hash covers all answers so far: two servers share it at an index exactly when they agree.
 */

import { serialize } from 'node:v8'

import { isThenable } from '../../../foreign-values.js'
import { crc32c } from '../../../format/crc32c.js'
import type { ApplyContext, Codec, Entry, SnapshotSource, StateMachine } from '../../../machine/state-machine.js'
import { logIndex } from '../../../types.js'
import type { LogIndex, SnapshotMeta } from '../../../types.js'
import type { FramedMachine } from '../../machine-under-test.js'
import type { AppliedCommand } from '../../observer.js'
import { hold } from '../../invariants/violation.js'

export interface SimCommand {
  /** Unique in one world; also the value that is written. */
  readonly id: number
  readonly key: number
  /** The command for the machine under test; without one, bytes that only make commands differ in length. */
  readonly inner: Uint8Array
}

export interface SimAnswer {
  readonly index: number
  readonly value: number
}

/** From here on commands have ids that clients with sessions give. */
export const SESSION_COMMANDS = 2 ** 31

const FRAME_BYTES = 8

export const simCodec: Codec<SimCommand> = {
  encode({ id, key, inner }) {
    const bytes = new Uint8Array(FRAME_BYTES + inner.byteLength)
    writeU32(bytes, 0, id)
    writeU32(bytes, 4, key)
    bytes.set(inner, FRAME_BYTES)
    return bytes
  },
  decode(bytes) {
    return { id: readU32(bytes, 0), key: readU32(bytes, 4), inner: bytes.subarray(FRAME_BYTES) }
  },
}

// Hot path: twice per command. By hand, because a view costs more than all four bytes.
function writeU32(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24
  bytes[at + 1] = word >>> 16
  bytes[at + 2] = word >>> 8
  bytes[at + 3] = word
}

// Hot path: twice per command.
function readU32(bytes: Uint8Array, at: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0
}

/** What happens in the process around an `apply`. */
export interface MachineUser {
  point(where: string): void
  /** Does it after a while, where state machines are slow; null where they answer at once. */
  slowly<Result>(run: () => Result | Promise<Result>): Promise<Result> | null
  applied(commands: readonly AppliedCommand[], last: LogIndex, hash: number): void
  restored(snapshot: SnapshotMeta, hash: number): void
  /** Throws what was planned to go wrong there. */
  disturb(where: MachineFaultPlace): void
  /** What its snapshots are padded with. */
  readonly stateBytes: number
}

export const MACHINE_FAULTS = ['snapshot', 'source', 'restore'] as const

export type MachineFaultPlace = (typeof MACHINE_FAULTS)[number]

/** Planned: no finding. */
export class MachineFault extends Error {
  override readonly name = 'MachineFault'
}

/** Of padding, in one piece. */
const PIECE_BYTES = 50_000

export class SimMachine implements StateMachine<SimCommand, SimAnswer, number, SimAnswer> {
  readonly #registers = new Map<number, number>()
  readonly #tested: ReturnType<FramedMachine['create']> | null
  readonly #user: MachineUser
  #hash = 0
  #appliedIndex = logIndex(0)
  /** As it was told last; it lives as long as its process. */
  #isReplaying = true

  constructor(tested: FramedMachine | null, user: MachineUser) {
    this.#tested = tested?.create() ?? null
    this.#user = user
  }

  apply(
    batch: readonly Entry<SimCommand>[],
    context: ApplyContext,
  ): readonly SimAnswer[] | Promise<readonly SimAnswer[]> {
    this.#user.point('apply')
    this.#holdReplay(batch, context)
    const slow = this.#user.slowly(() => this.#run(batch, context))
    return slow ?? this.#run(batch, context)
  }

  /** Invariant 34: a replay ends once, and nobody waits for what is replayed; answers of sessions are kept. */
  #holdReplay(batch: readonly Entry<SimCommand>[], { replaying, isAwaited, appliedIndex }: ApplyContext): void {
    hold(this.#isReplaying || !replaying, 34, () => `the replay is over, and ${appliedIndex} is said to be replayed`)
    this.#isReplaying = replaying
    if (!replaying) return
    const awaited = batch.find(({ index, command }) => command.id < SESSION_COMMANDS && isAwaited(index))
    hold(awaited === undefined, 34, () => `entry ${awaited?.index} is said to be replayed, and somebody waits for it`)
  }

  #run(
    batch: readonly Entry<SimCommand>[],
    context: ApplyContext,
  ): readonly SimAnswer[] | Promise<readonly SimAnswer[]> {
    if (this.#tested === null) return this.#applied(batch, context, null)
    const inner = batch.map(({ index, term, time, command }) => ({ index, term, time, command: command.inner }))
    // Somebody waits for every answer, on every server: they are compared.
    const results = this.#tested.apply(inner, { ...context, isAwaited: () => true })
    if (isThenable(results)) return Promise.resolve(results).then((answers) => this.#applied(batch, context, answers))
    return this.#applied(batch, context, results)
  }

  /** What it holds, taken at once, and streamed later; without a machine under test, which is not asked. */
  snapshot(): SnapshotSource | Promise<SnapshotSource> {
    this.#user.point('snapshot')
    this.#user.disturb('snapshot')
    const words = [[this.#appliedIndex, this.#hash] as const, [this.#registers.size, 0] as const, ...this.#registers]
    const bytes = new Uint8Array(FRAME_BYTES * words.length)
    words.forEach(([a, b], at) => {
      writeU32(bytes, FRAME_BYTES * at, a)
      writeU32(bytes, FRAME_BYTES * at + 4, b)
    })
    const source = this.#pieces(bytes)
    return this.#user.slowly(() => source) ?? source
  }

  async *#pieces(state: Uint8Array): AsyncGenerator<Uint8Array, void> {
    yield state
    this.#user.disturb('source')
    for (let left = this.#user.stateBytes; left > 0; left -= PIECE_BYTES) {
      yield new Uint8Array(Math.min(left, PIECE_BYTES))
      await this.#user.slowly(() => {})
    }
  }

  async restore(source: AsyncIterable<Uint8Array>, meta: SnapshotMeta): Promise<void> {
    this.#user.point('restore')
    const pieces: Uint8Array[] = []
    for await (const piece of source) {
      pieces.push(piece)
      await this.#user.slowly(() => {})
    }
    this.#user.disturb('restore')
    const words = new Uint8Array(Buffer.concat(pieces))
    this.#registers.clear()
    const end = 2 * FRAME_BYTES + FRAME_BYTES * readU32(words, FRAME_BYTES)
    for (let at = 2 * FRAME_BYTES; at < end; at += FRAME_BYTES) {
      this.#registers.set(readU32(words, at), readU32(words, at + 4))
    }
    this.#appliedIndex = logIndex(readU32(words, 0))
    this.#hash = readU32(words, 4) | 0
    this.#user.restored(meta, this.#hash)
    this.#user.point('restored')
  }

  query(key: number): SimAnswer {
    return { index: this.#appliedIndex, value: this.#registers.get(key) ?? 0 }
  }

  #applied(
    batch: readonly Entry<SimCommand>[],
    { appliedIndex }: ApplyContext,
    results: readonly unknown[] | null,
  ): readonly SimAnswer[] {
    if (results !== null && results.length !== batch.length) {
      throw new TypeError(`apply answered ${results.length} results for ${batch.length} commands`)
    }
    const answers: SimAnswer[] = []
    const applied: AppliedCommand[] = []
    batch.forEach(({ index, term, command }, at) => {
      answers.push({ index, value: this.#registers.get(command.key) ?? 0 })
      const { id } = command
      applied.push(id < SESSION_COMMANDS ? { index, term, id } : { index, term, id: 0, once: id })
      this.#registers.set(command.key, command.id)
      this.#hash = mixed(mixed(this.#hash, index), command.id)
      if (results !== null) this.#hash = mixed(this.#hash, crc32c(serialize(results[at])))
    })
    this.#appliedIndex = appliedIndex
    this.#user.applied(applied, appliedIndex, this.#hash)
    this.#user.point('applied')
    return answers
  }
}

/** One step of a hash that depends on order. */
export function mixed(hash: number, word: number): number {
  let next = Math.imul(hash ^ (word | 0), 0x9e3779b1)
  // Nearly never: what lies above the low 32 bits.
  if (word < 0 || word >= 2 ** 32) next ^= Math.floor(word / 2 ** 32) | 0
  return Math.imul(next ^ (next >>> 15), 0x85ebca6b) ^ (next >>> 13)
}
