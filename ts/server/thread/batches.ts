/**
 * Many commands in few pieces of memory, on their way to the other thread: those that are proposed, and those that are
 * to be applied. Copied once, and given away.
 */

import type { Payload } from '../../format/block.js'
import type { PayloadSlabs } from '../../format/payload.js'
import { bytesOf } from '../../format/payload.js'
import { logIndex, termOf } from '../../types.js'
import type { LogIndex } from '../../types.js'
import type { BatchRange, BatchWaits } from '../../machine/user-code.js'
import type { ApplyContext, Entry } from '../../machine/state-machine.js'
import type { ProposalKind } from '../calls/apply-queue.js'

/** Whoever keeps the bytes of a command keeps at most so much, unless it is larger itself. */
const SLAB_BYTES = 64 * 1024

/** Of each entry: index, term, time, length of its command, tag of the call that waits, whether bytes are wanted. */
const COLUMNS = 6
/** In the column of tags. */
const NOBODY = -1
const ANYBODY = 0

/** What is to be applied. */
export interface FarBatch {
  readonly range: BatchRange
  readonly appliedIndex: LogIndex
  readonly replaying: boolean
  readonly table: Float64Array<ArrayBuffer>
  /** The bytes of the commands, one behind the other; one that does not fit begins the next. */
  readonly slabs: readonly ArrayBuffer[]
}

/** Of an entry whose bytes are wanted: for a session, or for whoever is not in this process. */
export const isWanted = ({ table }: FarBatch, at: number): boolean => table[at * COLUMNS + 5] === 1

/** Of the call of this process that waits for it; 0 for none. */
export const tagOf = ({ table }: FarBatch, at: number): number => Math.max(0, table[at * COLUMNS + 4] ?? 0)

export const isAwaited = ({ table }: FarBatch, at: number): boolean => table[at * COLUMNS + 4] !== NOBODY

// Hot path: once per batch.
export function packBatch(
  batch: readonly Entry<Uint8Array>[],
  { appliedIndex, replaying }: ApplyContext,
  range: BatchRange,
  waits: BatchWaits,
): FarBatch {
  const table = new Float64Array(batch.length * COLUMNS)
  let row = 0
  for (const { index, term, time, command } of batch) {
    const tag = waits.tagAt(index)
    const isKept = waits.isKept(index)
    table[row] = index
    table[row + 1] = term
    table[row + 2] = time
    table[row + 3] = command.length
    table[row + 4] = tag ?? (isKept ? ANYBODY : NOBODY)
    table[row + 5] = isKept || tag === 0 ? 1 : 0
    row += COLUMNS
  }
  return { range, appliedIndex, replaying, table, slabs: slabsOf(batch) }
}

function slabsOf(batch: readonly Entry<Uint8Array>[]): readonly ArrayBuffer[] {
  const slabs: ArrayBuffer[] = []
  for (let from = 0; from < batch.length;) {
    let bytes = 0
    let to = from
    for (; to < batch.length; to += 1) {
      const { length } = (batch[to] as Entry<Uint8Array>).command
      if (bytes > 0 && bytes + length > SLAB_BYTES) break
      bytes += length
    }
    const slab = new Uint8Array(bytes)
    let at = 0
    for (; from < to; from += 1) {
      const { command } = batch[from] as Entry<Uint8Array>
      slab.set(command, at)
      at += command.length
    }
    slabs.push(slab.buffer)
  }
  return slabs
}

/** `decode` turns the bytes of a command, which are its own from then on, into the command. */
// Hot path: once per batch.
export function unpackBatch<Command>(
  { table, slabs }: FarBatch,
  decode: (bytes: Uint8Array, index: LogIndex) => Command,
): Entry<Command>[] {
  const count = table.length / COLUMNS
  const entries: Entry<Command>[] = []
  let slab = 0
  let at = 0
  for (let row = 0; entries.length < count; row += COLUMNS) {
    const length = table[row + 3] as number
    if (length > 0 && at === (slabs[slab] as ArrayBuffer).byteLength) {
      slab += 1
      at = 0
    }
    const bytes = new Uint8Array(slabs[slab] as ArrayBuffer, at, length)
    at += length
    const index = logIndex(table[row] as number)
    const command = decode(bytes, index)
    entries.push({ index, term: termOf(table[row + 1] as number), time: table[row + 2] as number, command })
  }
  return entries
}

/** Proposals of one turn. */
export interface FarProposals {
  /** Of each call: tag, kind, how many commands, deadline (0 for none), whether a signal may end it. */
  readonly calls: readonly number[]
  readonly lengths: readonly number[]
  readonly bytes: Uint8Array<ArrayBuffer>
}

const KINDS: readonly ProposalKind[] = ['command', 'session', 'barrier']
const CALL_COLUMNS = 5
const FIRST_BYTES = 64 * 1024

/** Proposals until they leave. */
export class ProposalOutbox {
  #calls: number[] = []
  #lengths: number[] = []
  /** Used again: what leaves is a copy of as much as it holds. */
  #bytes = new Uint8Array(FIRST_BYTES)
  #length = 0

  /** Releases the payloads. */
  // Hot path: once per call.
  add(tag: number, kind: ProposalKind, payloads: readonly Payload[], timeoutMs: number, hasSignal: boolean): void {
    this.#calls.push(tag, KINDS.indexOf(kind), payloads.length, timeoutMs, hasSignal ? 1 : 0)
    for (const payload of payloads) {
      const { byteLength } = payload
      if (this.#length + byteLength > this.#bytes.length) this.#grow(byteLength)
      this.#bytes.set(bytesOf(payload), this.#length)
      this.#length += byteLength
      this.#lengths.push(byteLength)
      if (kind !== 'barrier') payload.slab.release()
    }
  }

  take(): FarProposals | null {
    if (this.#calls.length === 0) return null
    const proposals = { calls: this.#calls, lengths: this.#lengths, bytes: this.#bytes.slice(0, this.#length) }
    this.#calls = []
    this.#lengths = []
    this.#length = 0
    if (this.#bytes.length > FIRST_BYTES) this.#bytes = new Uint8Array(FIRST_BYTES)
    return proposals
  }

  #grow(more: number): void {
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
  }
}

/** A call as it has come to the other thread. */
export interface FarCall {
  readonly tag: number
  readonly kind: ProposalKind
  readonly payloads: readonly Payload[]
  readonly timeoutMs: number
  readonly hasSignal: boolean
}

// Hot path: once per message.
export function unpackProposals({ calls, lengths, bytes }: FarProposals, slabs: PayloadSlabs): readonly FarCall[] {
  const found: FarCall[] = []
  let at = 0
  let place = 0
  for (let row = 0; row < calls.length; row += CALL_COLUMNS) {
    const payloads: Payload[] = []
    for (let left = calls[row + 2] as number; left > 0; left -= 1) {
      const length = lengths[place] as number
      payloads.push(slabs.copy(bytes.subarray(at, at + length)))
      at += length
      place += 1
    }
    const kind = KINDS[calls[row + 1] as number] as ProposalKind
    found.push({
      ...{ tag: calls[row] as number, kind, payloads },
      ...{ timeoutMs: calls[row + 3] as number, hasSignal: calls[row + 4] === 1 },
    })
  }
  return found
}
