/**
 * Many commands in few pieces of memory, on their way to the other thread: those that are proposed, and those that are
 * to be applied. Copied once, and given away.
 */

import { recordLength } from '../../format/block.js'
import type { Payload, PayloadSlab } from '../../format/block.js'
import { logIndex, termOf } from '../../types.js'
import type { LogIndex } from '../../types.js'
import type { BatchRange, BatchWaits } from '../../machine/user-code.js'
import type { ApplyContext, Entry } from '../../machine/state-machine.js'
import type { ProposalKind } from '../calls/apply-queue.js'

/** Of each entry: index, term, time, where its command lies and how long it is, who waits, whether bytes are wanted. */
const COLUMNS = 8
const [MEMORY, AT, LENGTH, TAG, WANTED] = [3, 4, 5, 6, 7] as const
/** In the column of tags. */
const NOBODY = -1
const ANYBODY = 0

/** Where the bytes of a command lie. */
export interface FarCommand {
  /** A copy of its block, which is the batch's alone. */
  readonly memory: ArrayBuffer
  readonly at: number
  readonly length: number
}

/** What is to be applied. */
export interface FarBatch {
  readonly range: BatchRange
  readonly appliedIndex: LogIndex
  readonly replaying: boolean
  readonly table: Float64Array<ArrayBuffer>
  /** In which the commands lie. */
  readonly memories: readonly ArrayBuffer[]
}

/** Of an entry whose bytes are wanted: for a session, or for whoever is not in this process. */
export const isWanted = ({ table }: FarBatch, at: number): boolean => table[at * COLUMNS + WANTED] === 1

/** Of the call of this process that waits for it; 0 for none. */
export const tagOf = ({ table }: FarBatch, at: number): number => Math.max(0, table[at * COLUMNS + TAG] ?? 0)

export const isAwaited = ({ table }: FarBatch, at: number): boolean => table[at * COLUMNS + TAG] !== NOBODY

// Hot path: once per batch.
export function packBatch(
  batch: readonly Entry<FarCommand>[],
  { appliedIndex, replaying }: ApplyContext,
  range: BatchRange,
  waits: BatchWaits,
): FarBatch {
  const table = new Float64Array(batch.length * COLUMNS)
  const memories: ArrayBuffer[] = []
  let row = 0
  for (const { index, term, time, command } of batch) {
    if (command.memory !== memories.at(-1)) memories.push(command.memory)
    const tag = waits.tagAt(index)
    const isKept = waits.isKept(index)
    table[row] = index
    table[row + 1] = term
    table[row + 2] = time
    table[row + MEMORY] = memories.length - 1
    table[row + AT] = command.at
    table[row + LENGTH] = command.length
    table[row + TAG] = tag ?? (isKept ? ANYBODY : NOBODY)
    table[row + WANTED] = isKept || tag === 0 ? 1 : 0
    row += COLUMNS
  }
  return { range, appliedIndex, replaying, table, memories }
}

/** `decode` turns the bytes of a command, which are its own from then on, into the command. */
// Hot path: once per batch.
export function unpackBatch<Command>(
  { table, memories }: FarBatch,
  decode: (memory: ArrayBuffer, at: number, length: number, index: LogIndex) => Command,
): Entry<Command>[] {
  const entries: Entry<Command>[] = []
  for (let row = 0; row < table.length; row += COLUMNS) {
    const index = logIndex(table[row] as number)
    const memory = memories[table[row + MEMORY] as number] as ArrayBuffer
    const command = decode(memory, table[row + AT] as number, table[row + LENGTH] as number, index)
    entries.push({ index, term: termOf(table[row + 1] as number), time: table[row + 2] as number, command })
  }
  return entries
}

/** Proposals of one turn. */
export interface FarProposals {
  /** Of each call: tag, kind, how many commands, deadline (0 for none), whether a signal may end it. */
  readonly calls: Float64Array<ArrayBuffer>
  /** Of each command. */
  readonly lengths: Int32Array<ArrayBuffer>
  /** The records, one behind the other, as a slab has them. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

const KINDS: readonly ProposalKind[] = ['command', 'session', 'barrier']
const CALL_COLUMNS = 5

/** Records that lie in a row. */
interface Run {
  readonly slab: PayloadSlab
  readonly start: number
  end: number
}

/** Proposals until they leave. */
export class ProposalOutbox {
  #calls: number[] = []
  #lengths: number[] = []
  #payloads: Payload[] = []
  #runs: Run[] = []
  #run: Run | null = null
  #bytes = 0

  /** Releases the payloads when they have left. */
  // Hot path: once per call.
  add(tag: number, kind: ProposalKind, payloads: readonly Payload[], timeoutMs: number, hasSignal: boolean): void {
    this.#calls.push(tag, KINDS.indexOf(kind), payloads.length, timeoutMs, hasSignal ? 1 : 0)
    for (const payload of payloads) {
      const { slab, at, byteLength } = payload
      const recordBytes = recordLength(byteLength)
      const run = this.#run
      if (run !== null && run.slab === slab && run.end === at) run.end += recordBytes
      else this.#runs.push((this.#run = { slab, start: at, end: at + recordBytes }))
      this.#bytes += recordBytes
      this.#lengths.push(byteLength)
      this.#payloads.push(payload)
    }
  }

  /** Null for none. */
  take(): FarProposals | null {
    if (this.#calls.length === 0) return null
    const bytes = new Uint8Array(this.#bytes)
    let at = 0
    for (const { slab, start, end } of this.#runs) {
      bytes.set(slab.bytes.subarray(start, end), at)
      at += end - start
    }
    for (const { slab } of this.#payloads) slab.release()
    const proposals = { calls: new Float64Array(this.#calls), lengths: new Int32Array(this.#lengths), bytes }
    this.#calls = []
    this.#lengths = []
    this.#payloads = []
    this.#runs = []
    this.#run = null
    this.#bytes = 0
    return proposals
  }
}

/** What has come is garbage when nothing of it waits any more. */
class FarSlab implements PayloadSlab {
  readonly bytes: Uint8Array
  readonly view: DataView

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer)
  }

  release(): void {}
}

/** A call as it has come to the other thread. */
export interface FarCall {
  readonly tag: number
  readonly kind: ProposalKind
  readonly payloads: readonly Payload[]
  readonly timeoutMs: number
  readonly hasSignal: boolean
}

/** `take` is given each, in their order. */
// Hot path: once per message.
export function unpackProposals({ calls, lengths, bytes }: FarProposals, take: (call: FarCall) => void): void {
  const slab = new FarSlab(bytes)
  let at = 0
  let place = 0
  for (let row = 0; row < calls.length; row += CALL_COLUMNS) {
    const payloads: Payload[] = []
    for (let left = calls[row + 2] as number; left > 0; left -= 1) {
      const byteLength = lengths[place] as number
      payloads.push({ slab, at, byteLength })
      at += recordLength(byteLength)
      place += 1
    }
    const kind = KINDS[calls[row + 1] as number] as ProposalKind
    const [tag, timeoutMs] = [calls[row] as number, calls[row + 3] as number]
    take({ tag, kind, payloads, timeoutMs, hasSignal: calls[row + 4] === 1 })
  }
}
