/**
 * The block of docs/storage-format.md: consecutive entries of one term as the bytes that the wire, the log and the
 * state machine share. Packing (BlockWriter), sealing, checking, clipping and walking them. Pure: no node: import, and
 * the same bytes on every machine.
 *
 * Two gateways: `verifyBlock` proves bytes that came from outside, once; `decodeBlock` gives them their shape, in O(1).
 * Everything else trusts its block.
 */

import { assert } from '../errors.js'
import { isPosition, logIndex, termOf } from '../types.js'
import type { Block, Configuration, EntryKind, LogIndex, Term } from '../types.js'
import { decodeConfiguration } from './configuration.js'
import { crc32cOfView } from './crc32c.js'
import { ALIGN, padded, readU64, viewOf, writeU64 } from './little-endian.js'
import { MalformedBytes } from './malformed.js'
import { readSessionHeader, SESSION_HEADER_BYTES } from './session.js'
import type { SessionHeader } from './session.js'

const BLOCK_HEADER_BYTES = 24
export const RECORD_HEADER_BYTES = 32
/** A batch is cut so that its blocks stay at or below this, unless a single entry is larger. */
export const BLOCK_BYTES_MAX = 65_536
/** The longest payload of an entry. */
export const PAYLOAD_BYTES_MAX = 1_048_576

const CRC_BYTES = 4
/** One entry of the offset table. */
const OFFSET_BYTES = 4
/** Entry times have 48 bits. */
export const MILLISECONDS_END = 2 ** 48

/**
 * Of what is believed when a peer says it, the year 6429: entry time never falls, so above it must be room for all that
 * is still to come.
 */
export const MILLISECONDS_BELIEVED_END = 2 ** 47
/** The shortest block: one record without payload. */
const BLOCK_BYTES_MIN = BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES + OFFSET_BYTES + CRC_BYTES
/** The unit in which the leader allocates: 16 full blocks. */
const ARENA_BYTES = 16 * BLOCK_BYTES_MAX

const KIND_CODES = { command: 1, noop: 2, barrier: 3, configuration: 4 } as const satisfies Record<EntryKind, number>
/** The flag of a command whose payload begins with a session header; the other flags have no meaning yet. */
const SESSION_FLAG = 1
/** The two bytes of kind and flags. */
const RECORD_CODES = { ...KIND_CODES, session: KIND_CODES.command | (SESSION_FLAG << 8) } as const
const KINDS: readonly (EntryKind | undefined)[] = [undefined, 'command', 'noop', 'barrier', 'configuration']

/** What a batch is packed of: `session` is a command whose payload begins with a session header. */
export type RecordKind = Exclude<keyof typeof RECORD_CODES, 'configuration'>

/** Memory in which payloads wait, each behind room for the header of its record. */
export interface PayloadSlab {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** One payload of it is no longer needed; said once for each. */
  release(): void
}

/** The content of an entry to be (`PayloadSlabs` makes them). */
export interface Payload {
  readonly slab: PayloadSlab
  /** Where its record begins: the room for the header, then the bytes, then zeros up to a multiple of 8. */
  readonly at: number
  readonly byteLength: number
}

/** Completes a block in place and returns its length: `sealBlock`, or the `seal` of a store. */
export type Seal = (arena: Uint8Array, offset: number) => number

/** The length of a sealed block with `count` records of `recordBytes` bytes together, padding included. */
export function sealedLength(count: number, recordBytes: number): number {
  return BLOCK_HEADER_BYTES + recordBytes + OFFSET_BYTES * count + CRC_BYTES
}

/** The bytes of a record with a payload of that length, padding included. */
export function recordLength(payloadBytes: number): number {
  return RECORD_HEADER_BYTES + padded(payloadBytes)
}

/**
 * Packs the proposals of a batch into blocks. The blocks are views of arenas that are never written again, so they may
 * be handed to the store, the sockets and the state machine at once; an arena is garbage when its last block is.
 *
 * begin, add until it answers false or nothing is left, finish; then begin again.
 */
export class BlockWriter {
  /** None before the first block: a server that never leads needs none. */
  #arena: Uint8Array = new Uint8Array(0)
  #view = viewOf(this.#arena)
  /** Invariant: a multiple of 8; bytes from here on are zero, or belong to the block under construction. */
  #free = 0
  /**
   * The block under construction: in `arena` from `free` on, or alone in an arena of its own when its entry is too
   * large.
   */
  #target: Uint8Array = this.#arena
  #targetView = this.#view
  #start = 0
  #end = 0
  #first = 0
  #term = 0
  #entries = 0
  #lastMilliseconds = 0
  /** Records that lie in a row in a slab, up to `runEnd`, and belong at `runAt`: copied together, by `flushRun`. */
  #runSlab: PayloadSlab | null = null
  #runStart = 0
  #runEnd = 0
  #runAt = 0

  /** Entries added since `begin`. */
  get count(): number {
    return this.#entries
  }

  /** How long the block would be if it were finished now. */
  get byteLength(): number {
    return sealedLength(this.#entries, this.#end - this.#start - BLOCK_HEADER_BYTES)
  }

  /** Starts a block; drops what was added and not finished. */
  begin(first: LogIndex, term: Term): void {
    assert(first >= 1 && term >= 1, () => `a block begins at index ${first} in term ${term}, below 1`)
    if (this.#entries > 0 && this.#target === this.#arena) this.#arena.fill(0, this.#start, this.#end)
    this.#runSlab = null
    if (this.#free + BLOCK_BYTES_MAX > this.#arena.length) {
      this.#arena = new Uint8Array(ARENA_BYTES)
      this.#view = viewOf(this.#arena)
      this.#free = 0
    }
    this.#target = this.#arena
    this.#targetView = this.#view
    this.#start = this.#free
    this.#end = this.#start + BLOCK_HEADER_BYTES
    this.#first = first
    this.#term = term
    this.#entries = 0
    this.#lastMilliseconds = 0
  }

  /**
   * Adds one entry; false when the block is full (then finish it and begin the next). Copies the payload.
   * `milliseconds` never goes back: the caller takes the maximum of its clock and the time of the entry before.
   */
  // Hot path: once per entry; allocates nothing.
  add(kind: RecordKind, milliseconds: number, payload: Uint8Array): boolean {
    const { length } = payload
    if (!this.#hasRoom(length, milliseconds)) return false
    const at = this.#end
    writeRecordHeader(
      this.#targetView,
      at,
      RECORD_CODES[kind],
      this.#first + this.#entries,
      this.#term,
      milliseconds,
      length,
    )
    this.#target.set(payload, at + RECORD_HEADER_BYTES)
    this.#added(recordLength(length), milliseconds)
    return true
  }

  /** The same for what lies in a slab; the header is made there, and the record copied with those around it. */
  // Hot path: once per entry; allocates nothing.
  addPayload(kind: RecordKind, milliseconds: number, payload: Payload): boolean {
    const { slab, at, byteLength } = payload
    if (!this.#hasRoom(byteLength, milliseconds)) return false
    if (slab !== this.#runSlab || at !== this.#runEnd) {
      this.#flushRun()
      this.#runSlab = slab
      this.#runStart = at
      this.#runAt = this.#end
    }
    writeRecordHeader(
      slab.view,
      at,
      RECORD_CODES[kind],
      this.#first + this.#entries,
      this.#term,
      milliseconds,
      byteLength,
    )
    const bytes = recordLength(byteLength)
    this.#runEnd = at + bytes
    this.#added(bytes, milliseconds)
    return true
  }

  /** Seals what was added. The writer never touches the block again. */
  finish(seal: Seal): Block {
    assert(this.#entries > 0, 'a block needs at least one entry')
    this.#flushRun()
    writeBlockHeader(
      this.#targetView,
      this.#start,
      this.#first,
      this.#entries,
      this.#end - this.#start - BLOCK_HEADER_BYTES,
    )
    const length = seal(this.#target, this.#start)
    assert(length === this.byteLength, () => `sealed ${length} bytes of ${this.byteLength}`)
    const block: Block = {
      first: logIndex(this.#first),
      last: logIndex(this.#first + (this.#entries - 1)),
      term: termOf(this.#term),
      data: new Uint8Array(this.#target.buffer, this.#start, length),
      configuration: null,
    }
    if (this.#target === this.#arena) this.#free = padded(this.#start + length)
    this.#entries = 0
    this.#term = 0
    return block
  }

  /** Whether an entry with such a payload fits into the block. */
  #hasRoom(payloadLength: number, milliseconds: number): boolean {
    assert(this.#term !== 0, 'add without begin')
    const recordBytes = this.#end - this.#start - BLOCK_HEADER_BYTES + recordLength(payloadLength)
    const sealed = sealedLength(this.#entries + 1, recordBytes)
    if (sealed > BLOCK_BYTES_MAX) {
      if (this.#entries > 0) return false
      this.#useOwnArena(payloadLength, sealed)
    }
    // Not even a function that would make the message.
    if (!(milliseconds >= this.#lastMilliseconds && milliseconds < MILLISECONDS_END)) {
      assert(false, `entry time ${milliseconds} is not in ${this.#lastMilliseconds} .. 2^48 - 1`)
    }
    return true
  }

  #added(bytes: number, milliseconds: number): void {
    this.#end += bytes
    this.#entries += 1
    this.#lastMilliseconds = milliseconds
  }

  #flushRun(): void {
    if (this.#runSlab === null) return
    this.#target.set(this.#runSlab.bytes.subarray(this.#runStart, this.#runEnd), this.#runAt)
    this.#runSlab = null
  }

  #useOwnArena(payloadLength: number, sealed: number): void {
    assert(payloadLength <= PAYLOAD_BYTES_MAX, `a payload of ${payloadLength} bytes is over ${PAYLOAD_BYTES_MAX}`)
    this.#target = new Uint8Array(sealed)
    this.#targetView = viewOf(this.#target)
    this.#start = 0
    this.#end = BLOCK_HEADER_BYTES
  }
}

/**
 * Completes a block whose header and records stand in `arena` at `offset`: record CRCs, offset table, block CRC.
 * Returns its length. The same as `LogStore.seal`, in TypeScript.
 */
// Hot path: once per batch.
export function sealBlock(arena: Uint8Array, offset: number): number {
  const room = arena.length - offset
  assert(offset >= 0 && room >= BLOCK_BYTES_MIN, `no block fits at ${offset} of ${arena.length}`)
  const view = new DataView(arena.buffer, arena.byteOffset + offset, room)
  const length = sealedLength(view.getUint32(16, true), view.getUint32(20, true))
  assert(length <= room, `a block of ${length} bytes does not fit into ${room}`)
  const data = new Uint8Array(arena.buffer, arena.byteOffset + offset, length)
  for (let at = BLOCK_HEADER_BYTES, left = view.getUint32(16, true); left > 0; left -= 1) {
    const payloadEnd = at + RECORD_HEADER_BYTES + view.getUint32(at, true)
    assert(payloadEnd <= length, `a record ends at ${payloadEnd}, behind its block of ${length}`)
    view.setUint32(at + 4, crc32cOfView(data, view, at + 8, payloadEnd), true)
    at = padded(payloadEnd)
  }
  complete(data, view)
  return length
}

/**
 * The shape of a block that was verified or that this process wrote: O(1), looks at the header and the first record.
 * Throws MalformedBytes when the lengths do not add up; CRCs are not looked at.
 */
export function decodeBlock(data: Uint8Array): Block {
  const view = viewOf(data)
  const fault = shapeFault(view)
  if (fault !== null) throw new MalformedBytes('block', fault)
  const first = readU64(view, 8)
  const isConfiguration = view.getUint8(BLOCK_HEADER_BYTES + 24) === KIND_CODES.configuration
  return {
    first: logIndex(first),
    last: logIndex(first + (view.getUint32(16, true) - 1)),
    term: termOf(readU64(view, BLOCK_HEADER_BYTES + 16)),
    data,
    configuration: isConfiguration ? configurationOf(data, view) : null,
  }
}

/** Whether these bytes are exactly one intact block. Total: never throws, whatever the bytes. */
export function verifyBlock(data: Uint8Array): boolean {
  const view = viewOf(data)
  if (shapeFault(view) !== null) return false
  const crcAt = data.length - CRC_BYTES
  if (view.getUint32(crcAt, true) !== crc32cOfView(data, view, 0, crcAt)) return false
  const count = view.getUint32(16, true)
  const tableAt = BLOCK_HEADER_BYTES + view.getUint32(20, true)
  const first = readU64(view, 8)
  const term = readU64(view, BLOCK_HEADER_BYTES + 16)
  let at = BLOCK_HEADER_BYTES
  let time = 0
  for (let n = 0; n < count; n += 1) {
    if (view.getUint32(tableAt + OFFSET_BYTES * n, true) !== at) return false
    if (!isRecordIntact(data, view, at, tableAt)) return false
    if (readU64(view, at + 8) !== first + n || readU64(view, at + 16) !== term) return false
    if (view.getUint8(at + 24) === KIND_CODES.configuration && count !== 1) return false
    if (readTime(view, at) < time) return false
    time = readTime(view, at)
    at += recordLength(view.getUint32(at, true))
  }
  return at === tableAt
}

/**
 * The length of the block that begins at `offset`, so that concatenated blocks can be walked with one view. Throws
 * MalformedBytes.
 */
export function blockLengthAt(view: DataView, offset: number): number {
  const room = view.byteLength - offset
  if (offset < 0 || room < BLOCK_BYTES_MIN) {
    throw new MalformedBytes('block', `${room} bytes are left at ${offset}, fewer than the shortest block`)
  }
  const length = sealedLength(view.getUint32(offset + 16, true), view.getUint32(offset + 20, true))
  if (length > room || length < BLOCK_BYTES_MIN) {
    throw new MalformedBytes('block', `its header at ${offset} says ${length} bytes, ${room} are left`)
  }
  return length
}

/**
 * The entries first .. last of a block, as a block of their own (the block itself when that is all of it).
 * Record CRCs are carried over, not made anew: damage does not become valid by being copied.
 */
export function sliceBlock(block: Block, first: LogIndex, last: LogIndex): Block {
  assert(
    block.first <= first && first <= last && last <= block.last,
    `entries ${first} .. ${last} of a block with ${block.first} .. ${block.last}`,
  )
  if (first === block.first && last === block.last) return block
  const source = viewOf(block.data)
  const from = recordOffset(block, source, first)
  const to = last === block.last ? tableOffset(block) : recordOffset(block, source, logIndex(last + 1))
  const count = last - first + 1
  const data = new Uint8Array(sealedLength(count, to - from))
  const view = viewOf(data)
  writeBlockHeader(view, 0, first, count, to - from)
  data.set(block.data.subarray(from, to), BLOCK_HEADER_BYTES)
  complete(data, view)
  return { first, last, term: block.term, data, configuration: block.configuration }
}

/** The time of the last entry, in milliseconds since 1970: the floor for the next one. */
// Hot path: once per batch.
export function lastEntryTime(block: Block): number {
  const view = viewOf(block.data)
  return readTime(view, recordOffset(block, view, block.last))
}

/** A sealed block with one entry: what a leader writes besides the batches of its callers. */
export function entryBlock(
  kind: EntryKind,
  first: LogIndex,
  term: Term,
  milliseconds: number,
  payload: Uint8Array,
): Block {
  assert(payload.length <= PAYLOAD_BYTES_MAX, `a payload of ${payload.length} bytes is over ${PAYLOAD_BYTES_MAX}`)
  const bytes = recordLength(payload.length)
  const data = new Uint8Array(sealedLength(1, bytes))
  const view = viewOf(data)
  writeBlockHeader(view, 0, first, 1, bytes)
  writeRecordHeader(view, BLOCK_HEADER_BYTES, KIND_CODES[kind], first, term, milliseconds, payload.length)
  data.set(payload, BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES)
  sealBlock(data, 0)
  return decodeBlock(data)
}

/**
 * Walks the entries of blocks; one cursor serves any number of them. Before the first `next`, and after one that
 * answered false, its fields mean nothing.
 */
export class RecordCursor {
  index = logIndex(0)
  kind: EntryKind = 'noop'
  /** When the leader made it, in milliseconds since 1970. */
  time = 0
  #data: Uint8Array = new Uint8Array(0)
  #view = viewOf(this.#data)
  #left = 0
  #at = 0
  #following = 0
  #payloadLength = 0

  reset(block: Block): void {
    this.#data = block.data
    this.#view = viewOf(block.data)
    this.#left = block.last - block.first + 1
    this.index = logIndex(block.first - 1)
    this.#following = BLOCK_HEADER_BYTES
  }

  // Hot path: once per entry; allocates nothing.
  next(): boolean {
    if (this.#left === 0) return false
    const at = this.#following
    const kind = KINDS[this.#view.getUint8(at + 24)]
    if (kind === undefined) throw new MalformedBytes('block', `a record of unknown kind at ${at}`)
    this.#left -= 1
    this.#at = at
    this.index = logIndex(this.index + 1)
    this.kind = kind
    this.time = readTime(this.#view, at)
    this.#payloadLength = this.#view.getUint32(at, true)
    this.#following = at + recordLength(this.#payloadLength)
    return true
  }

  /** Whether the payload begins with a session header. */
  get hasSession(): boolean {
    return this.#view.getUint8(this.#at + 25) === SESSION_FLAG
  }

  /** Invariant: `hasSession`. */
  get session(): SessionHeader {
    return readSessionHeader(this.#view, this.#at + RECORD_HEADER_BYTES)
  }

  /** A view of the payload, made at each call; it keeps the block's memory alive. */
  get payload(): Uint8Array {
    return new Uint8Array(this.#data.buffer, this.#data.byteOffset + this.payloadOffset, this.#payloadLength)
  }

  /** Where in the block the payload begins. */
  get payloadOffset(): number {
    return this.#at + RECORD_HEADER_BYTES
  }

  get payloadLength(): number {
    return this.#payloadLength
  }
}

/**
 * What is wrong with the header or the first record, or null. Afterwards all lengths that they name lie inside the
 * view.
 */
function shapeFault(view: DataView): string | null {
  if (view.byteLength < BLOCK_BYTES_MIN) return `${view.byteLength} bytes are fewer than the shortest block`
  const count = view.getUint32(16, true)
  const bytes = view.getUint32(20, true)
  const length = sealedLength(count, bytes)
  if (length !== view.byteLength) return `its header says ${length} bytes, it has ${view.byteLength}`
  if (count === 0 || count * RECORD_HEADER_BYTES > bytes || bytes % ALIGN !== 0) {
    return `${count} records cannot take ${bytes} bytes`
  }
  const group = readU64(view, 0)
  if (group !== 0) return `its group is ${group}, this version knows only group 0`
  const first = readU64(view, 8)
  if (first === 0 || !isPosition(first) || !isPosition(first + (count - 1)))
    return `first index ${first} with ${count} entries`
  const at = BLOCK_HEADER_BYTES
  if (readU64(view, at + 8) !== first) return `first record has index ${readU64(view, at + 8)}, its block ${first}`
  const term = readU64(view, at + 16)
  if (term === 0 || !isPosition(term)) return `term ${term}`
  const kind = view.getUint8(at + 24)
  if (KINDS[kind] === undefined) return `unknown kind ${kind}`
  if (kind === KIND_CODES.configuration && count !== 1) return `a configuration entry among ${count} entries`
  const payload = view.getUint32(at, true)
  if (payload > PAYLOAD_BYTES_MAX || recordLength(payload) > bytes) return `a payload of ${payload} bytes in ${bytes}`
  return null
}

/** Whether the record at `at` ends before `end`, has a known kind and flags, zero padding, and the right CRC. */
function isRecordIntact(data: Uint8Array, view: DataView, at: number, end: number): boolean {
  if (at + RECORD_HEADER_BYTES > end) return false
  const payload = view.getUint32(at, true)
  const recordEnd = at + recordLength(payload)
  if (payload > PAYLOAD_BYTES_MAX || recordEnd > end) return false
  const kind = view.getUint8(at + 24)
  // An entry that carries a flag without a meaning would be read wrongly.
  if (KINDS[kind] === undefined || !areFlagsKnown(view.getUint8(at + 25), kind, payload)) return false
  const payloadEnd = at + RECORD_HEADER_BYTES + payload
  for (let pad = payloadEnd; pad < recordEnd; pad += 1) if (data[pad] !== 0) return false
  return view.getUint32(at + 4, true) === crc32cOfView(data, view, at + 8, payloadEnd)
}

function areFlagsKnown(flags: number, kind: number, payloadLength: number): boolean {
  if (flags === 0) return true
  return flags === SESSION_FLAG && kind === KIND_CODES.command && payloadLength >= SESSION_HEADER_BYTES
}

/** Fills the offset table and the block CRC of a block whose records, CRCs included, are in place. */
function complete(data: Uint8Array, view: DataView): void {
  const count = view.getUint32(16, true)
  const tableAt = BLOCK_HEADER_BYTES + view.getUint32(20, true)
  let at = BLOCK_HEADER_BYTES
  for (let n = 0; n < count; n += 1) {
    view.setUint32(tableAt + OFFSET_BYTES * n, at, true)
    at += recordLength(view.getUint32(at, true))
  }
  assert(at === tableAt, `records end at ${at}, the header says ${tableAt}`)
  const crcAt = tableAt + OFFSET_BYTES * count
  view.setUint32(crcAt, crc32cOfView(data, view, 0, crcAt), true)
}

function configurationOf(data: Uint8Array, view: DataView): Configuration {
  const start = BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES
  return decodeConfiguration(data.subarray(start, start + view.getUint32(BLOCK_HEADER_BYTES, true))).configuration
}

function tableOffset(block: Block): number {
  return block.data.length - CRC_BYTES - OFFSET_BYTES * (block.last - block.first + 1)
}

/** `view`: of the block's data. */
function recordOffset(block: Block, view: DataView, index: LogIndex): number {
  return view.getUint32(tableOffset(block) + OFFSET_BYTES * (index - block.first), true)
}

function writeBlockHeader(view: DataView, at: number, first: number, count: number, bytes: number): void {
  writeU64(view, at, 0)
  writeU64(view, at + 8, first)
  view.setUint32(at + 16, count, true)
  view.setUint32(at + 20, bytes, true)
}

function writeRecordHeader(
  view: DataView,
  at: number,
  kind: number,
  index: number,
  term: number,
  milliseconds: number,
  length: number,
): void {
  view.setUint32(at, length, true)
  writeU64(view, at + 8, index)
  writeU64(view, at + 16, term)
  view.setUint32(at + 24, kind | ((milliseconds & 0xffff) << 16), true)
  view.setUint32(at + 28, milliseconds / 65_536, true)
}

function readTime(view: DataView, at: number): number {
  return view.getUint32(at + 28, true) * 65_536 + view.getUint16(at + 26, true)
}
