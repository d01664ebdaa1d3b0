/**
 * The bytes of a snapshot, in a file and on the wire: docs/snapshots.md. A header, the data in chunks, an end. The
 * checksum of each chunk goes on from that of the one before, and that of the first from the header's: so a chunk is
 * right only at its place in its own snapshot, and whoever has checked one has checked everything before it.
 */

import { assert } from '../errors.js'
import { isPosition, logIndex, termOf } from '../types.js'
import type { SnapshotHeader } from '../types.js'
import { decodeConfiguration, encodeConfiguration } from './configuration.js'
import { crc32c } from './crc32c.js'
import { bytesOfHex, hexOf } from './hex.js'
import { readU64, viewOf, writeU64 } from './little-endian.js'
import { MalformedBytes, UnknownFormat } from './malformed.js'
import { SESSION_TABLE_BYTES_MAX } from './session-table.js'

/** The most data of one chunk: what is read, checked or written in one go, a tenth of a millisecond of checksums. */
export const CHUNK_DATA_BYTES_MAX = 64 * 1024
/** Before the data of a chunk: checksum and length. */
export const CHUNK_HEAD_BYTES = 8
export const SNAPSHOT_END_BYTES = 28
/** Far above what the configurations of a cluster need; a length above it is damage. */
export const SNAPSHOT_HEADER_BYTES_MAX = 1024 * 1024

const VERSION = 1
const MAGIC = new TextEncoder().encode('balsasnp')
/** Magic, version and length, which stand first in every version. */
const START_BYTES = 16
const FIXED_BYTES = 104
const CRC_BYTES = 4
const ID_BYTES = 16
/** Of an extension, before its name: length of the value, whether it is required, length of the name. */
const EXTENSION_HEAD_BYTES = 6

/** The extensions that this version knows, and the longest value that a hash has. */
const STATE_HASH = 'state-hash'
const SESSIONS = 'sessions'
const SESSIONS_VALUE_BYTES = 8
export const STATE_HASH_BYTES_MAX = 64

const EXTENSION_NAME = /^[a-z][a-z0-9-]{0,63}$/
const ascii = new TextDecoder('latin1')

export function encodeSnapshotHeader(header: SnapshotHeader): Uint8Array {
  const payload = encodeConfiguration(header)
  const extensions = [...encodeSessionBytes(header.sessionBytes), ...encodeStateHash(header.stateHash)]
  const extensionBytes = extensions.reduce((sum, extension) => sum + extension.length, 0)
  const bytes = new Uint8Array(FIXED_BYTES + payload.length + extensionBytes + CRC_BYTES)
  assert(bytes.length <= SNAPSHOT_HEADER_BYTES_MAX, `a header of ${bytes.length} bytes`)
  const view = viewOf(bytes)
  bytes.set(MAGIC)
  view.setUint32(8, VERSION, true)
  view.setUint32(12, bytes.length, true)
  bytes.set(bytesOfHex(header.id), 16)
  bytes.set(bytesOfHex(header.clusterId), 32)
  bytes.set(bytesOfHex(header.incarnation), 48)
  writeU64(view, 64, header.index)
  writeU64(view, 72, header.term)
  writeU64(view, 80, header.time)
  writeU64(view, 88, header.configurationIndex)
  view.setUint32(96, payload.length, true)
  view.setUint32(100, extensions.length, true)
  let at = FIXED_BYTES
  for (const part of [payload, ...extensions]) {
    bytes.set(part, at)
    at += part.length
  }
  const crcAt = bytes.length - CRC_BYTES
  view.setUint32(crcAt, crc32c(bytes, 0, crcAt), true)
  return bytes
}

/** Required: whoever does not know it would take sessions for a part of the state. */
function encodeSessionBytes(sessionBytes: number | undefined): readonly Uint8Array[] {
  if (sessionBytes === undefined) return []
  assert(sessionBytes >= 1 && sessionBytes <= SESSION_TABLE_BYTES_MAX, `sessions of ${sessionBytes} bytes`)
  const value = new Uint8Array(SESSIONS_VALUE_BYTES)
  writeU64(viewOf(value), 0, sessionBytes)
  return [encodeExtension(SESSIONS, 1, value)]
}

/** Not required: whoever does not know it restores the same state. */
function encodeStateHash(stateHash: string | undefined): readonly Uint8Array[] {
  if (stateHash === undefined) return []
  const value = bytesOfHex(stateHash)
  assert(value.length >= 1 && value.length <= STATE_HASH_BYTES_MAX, `a hash of ${value.length} bytes`)
  return [encodeExtension(STATE_HASH, 0, value)]
}

function encodeExtension(name: string, isRequired: 0 | 1, value: Uint8Array): Uint8Array {
  const valueAt = EXTENSION_HEAD_BYTES + name.length
  const bytes = new Uint8Array(valueAt + value.length)
  const view = viewOf(bytes)
  view.setUint32(0, value.length, true)
  view.setUint8(4, isRequired)
  view.setUint8(5, name.length)
  bytes.set(new TextEncoder().encode(name), EXTENSION_HEAD_BYTES)
  bytes.set(value, valueAt)
  return bytes
}

/** Makes the bytes of one snapshot, in order. Nothing of it is held here but a few numbers. */
export class SnapshotWriter {
  readonly header: Uint8Array
  readonly #headerCrc: number
  #crc: number
  #dataBytes = 0
  #chunks = 0

  constructor(header: SnapshotHeader) {
    this.header = encodeSnapshotHeader(header)
    this.#headerCrc = viewOf(this.header).getUint32(this.header.length - CRC_BYTES, true)
    this.#crc = this.#headerCrc
  }

  /** Completes the next chunk, whose data stands behind CHUNK_HEAD_BYTES of room. */
  // Hot path: once per chunk.
  seal(chunk: Uint8Array): void {
    const length = chunk.length - CHUNK_HEAD_BYTES
    assert(length >= 1 && length <= CHUNK_DATA_BYTES_MAX, () => `a chunk of ${length} bytes`)
    const view = viewOf(chunk)
    view.setUint32(4, length, true)
    this.#crc = crc32c(chunk, CRC_BYTES, chunk.length, this.#crc)
    view.setUint32(0, this.#crc, true)
    this.#dataBytes += length
    this.#chunks += 1
  }

  end(): Uint8Array {
    const bytes = new Uint8Array(SNAPSHOT_END_BYTES)
    const view = viewOf(bytes)
    writeU64(view, 8, this.#dataBytes)
    writeU64(view, 16, this.#chunks)
    view.setUint32(24, this.#crc, true)
    view.setUint32(0, crc32c(bytes, CRC_BYTES, bytes.length, this.#headerCrc), true)
    return bytes
  }
}

/**
 * Takes a snapshot apart as its bytes come, in pieces of any size, and gives out nothing that was not checked. Holds
 * one part of it at most: the header or one chunk. Total: throws MalformedBytes for whatever is not a snapshot, and
 * UnknownFormat for what a later version wrote.
 */
export class SnapshotReader {
  readonly #bytes: number
  readonly #givesData: boolean
  /** Where chunks are put together one after the other when nobody is given their data. */
  readonly #arena: Uint8Array
  #header: SnapshotHeader | null = null
  #headerCrc = 0
  #end: SnapshotEnd | null = null
  /** Of everything up to `checked`. */
  #crc = 0
  #checked = 0
  #dataBytes = 0
  #chunks = 0
  /** What has come of the part that begins at `checked`: its start, and then as much room as that asks for. */
  #part: Uint8Array = new Uint8Array(START_BYTES)
  #held = 0

  /**
   * `bytes` is how long all of it is, where that is known: a length that passes it is then found at once. One that only
   * checks (`givesData` false) uses the same memory for each chunk.
   */
  constructor(bytes = Infinity, givesData = true) {
    this.#bytes = bytes
    this.#givesData = givesData
    this.#arena = new Uint8Array(givesData ? 0 : CHUNK_HEAD_BYTES + CHUNK_DATA_BYTES_MAX)
  }

  /** Null until all of it has come. */
  get header(): SnapshotHeader | null {
    return this.#header
  }

  /** Bytes of the parts that have come whole, and were right. */
  get checked(): number {
    return this.#checked
  }

  /** Bytes that have come. */
  get taken(): number {
    return this.#checked + this.#held
  }

  /** Whether the end has come. */
  get isWhole(): boolean {
    return this.#end !== null
  }

  /**
   * The next bytes; answers with the data of the chunks that they complete, each in memory of its own. After a throw
   * only `forget` may be called, and what was completed before it in the same call is not given out.
   */
  // Hot path: once per chunk.
  push(bytes: Uint8Array): readonly Uint8Array[] {
    const chunks: Uint8Array[] = []
    for (let at = 0; at < bytes.length;) {
      if (this.#end !== null) fail(`${bytes.length - at} bytes follow its end at byte ${this.#checked}`)
      const most = Math.min(this.#part.length - this.#held, bytes.length - at)
      this.#part.set(bytes.subarray(at, at + most), this.#held)
      this.#held += most
      at += most
      if (this.#held < this.#part.length || this.#grow()) continue
      const data = this.#complete()
      if (data !== null && this.#givesData) chunks.push(data)
    }
    return chunks
  }

  /** Forgets what came behind `checked`: the next bytes begin there. */
  forget(): void {
    this.#held = 0
    this.#part = new Uint8Array(this.#header === null ? START_BYTES : CHUNK_HEAD_BYTES)
  }

  /** Throws MalformedBytes when what has come is not the whole. */
  finish(): void {
    if (this.#end === null) fail(`it ends at byte ${this.taken}, before its end`)
  }

  /** Makes room for the part whose start has come; whether there was more of it to come. */
  #grow(): boolean {
    const bytes = this.#partBytes()
    if (bytes === this.#part.length) return false
    const isInArena = this.#header !== null && bytes <= this.#arena.length
    const part = isInArena ? this.#arena.subarray(0, bytes) : new Uint8Array(bytes)
    part.set(this.#part)
    this.#part = part
    return true
  }

  /** How long the part is, as its start says. */
  #partBytes(): number {
    const length = this.#header === null ? snapshotHeaderBytes(this.#part) : chunkBytes(this.#part, this.#checked)
    // Behind each part but the end there is an end.
    const isEnd = this.#header !== null && isEndHead(this.#part)
    const least = this.#checked + length + (isEnd ? 0 : SNAPSHOT_END_BYTES)
    if (least > this.#bytes) fail(`the part at byte ${this.#checked} has ${length} bytes, and all of it ${this.#bytes}`)
    return length
  }

  /** Checks the part that has come; answers with its data when it is a chunk. */
  #complete(): Uint8Array | null {
    const part = this.#part
    let data: Uint8Array | null = null
    if (this.#header === null) this.#takeHeader(part)
    else if (isEndHead(part)) this.#takeEnd(part)
    else data = this.#takeChunk(part)
    this.#checked += part.length
    this.forget()
    return data
  }

  #takeHeader(part: Uint8Array): void {
    this.#header = decodeSnapshotHeader(part)
    this.#headerCrc = viewOf(part).getUint32(part.length - CRC_BYTES, true)
    this.#crc = this.#headerCrc
  }

  #takeChunk(part: Uint8Array): Uint8Array {
    const crc = crc32c(part, CRC_BYTES, part.length, this.#crc)
    if (viewOf(part).getUint32(0, true) !== crc) fail(`the chunk at byte ${this.#checked} does not match its checksum`)
    this.#crc = crc
    this.#dataBytes += part.length - CHUNK_HEAD_BYTES
    this.#chunks += 1
    return part.subarray(CHUNK_HEAD_BYTES)
  }

  #takeEnd(part: Uint8Array): void {
    const end = decodeSnapshotEnd(part, this.#headerCrc, this.#checked)
    const { dataBytes, chunks, lastCrc } = end
    if (dataBytes !== this.#dataBytes || chunks !== this.#chunks || lastCrc !== this.#crc) {
      const found = `${this.#dataBytes} bytes in ${this.#chunks} chunks`
      fail(`its end at byte ${this.#checked} speaks of ${dataBytes} bytes in ${chunks} chunks, there are ${found}`)
    }
    this.#end = end
  }
}

/** How long a header is, as its first 16 bytes say, which every version writes alike. */
export function snapshotHeaderBytes(start: Uint8Array): number {
  if (start.length < START_BYTES) fail(`it has ${start.length} bytes, not even the start of a header`)
  if (MAGIC.some((byte, at) => start[at] !== byte)) fail('it does not begin as a snapshot, at byte 0')
  const length = viewOf(start).getUint32(12, true)
  if (length < START_BYTES + CRC_BYTES || length > SNAPSHOT_HEADER_BYTES_MAX) {
    fail(`its header says, at byte 12, that it has ${length} bytes`)
  }
  return length
}

/** How long the chunk is, or the end, that begins so. */
function chunkBytes(head: Uint8Array, at: number): number {
  const length = viewOf(head).getUint32(4, true)
  if (length > CHUNK_DATA_BYTES_MAX) fail(`the chunk at byte ${at} says that it has ${length} bytes`)
  return isEndHead(head) ? SNAPSHOT_END_BYTES : CHUNK_HEAD_BYTES + length
}

/** An end stands where a chunk would, and says that it has no data. */
function isEndHead(head: Uint8Array): boolean {
  return viewOf(head).getUint32(4, true) === 0
}

/** Exactly the bytes of one header. The checksum first: a damaged version is damage, and no later version. */
export function decodeSnapshotHeader(bytes: Uint8Array): SnapshotHeader {
  const view = viewOf(bytes)
  const length = snapshotHeaderBytes(bytes)
  if (length !== bytes.length) fail(`its header says that it has ${length} bytes, there are ${bytes.length}`)
  const crcAt = length - CRC_BYTES
  if (view.getUint32(crcAt, true) !== crc32c(bytes, 0, crcAt)) {
    fail(`its header, bytes 0 .. ${length - 1}, does not match its checksum`)
  }
  const version = view.getUint32(8, true)
  if (version !== VERSION) {
    throw new UnknownFormat('snapshot', `its format version is ${version}, this server reads version ${VERSION}`)
  }
  const payloadEnd = FIXED_BYTES + (length < FIXED_BYTES + CRC_BYTES ? 0 : view.getUint32(96, true))
  if (payloadEnd > crcAt) fail(`its header has ${length} bytes, and a configuration up to byte ${payloadEnd}`)
  const extensions = decodeExtensions(bytes.subarray(payloadEnd, crcAt), view.getUint32(100, true))
  const index = position(view, 64)
  const configurationIndex = position(view, 88)
  if (configurationIndex > index) fail(`its configuration is of index ${configurationIndex}, and it covers ${index}`)
  return {
    id: hexOf(bytes.subarray(16, 16 + ID_BYTES)),
    clusterId: hexOf(bytes.subarray(32, 32 + ID_BYTES)),
    incarnation: hexOf(bytes.subarray(48, 48 + ID_BYTES)),
    index: logIndex(index),
    term: termOf(position(view, 72)),
    time: position(view, 80),
    configurationIndex: logIndex(configurationIndex),
    ...decodeConfiguration(bytes.slice(FIXED_BYTES, payloadEnd)),
    ...extensions,
  }
}

/**
 * What a file of `fileBytes` says of itself at its two ends, its data unread: exactly the bytes of the header, and the
 * last SNAPSHOT_END_BYTES. So one that was cut off, grew, or has the end of another is found at once.
 */
export function decodeSnapshotEnds(header: Uint8Array, end: Uint8Array, fileBytes: number): SnapshotHeader {
  const decoded = decodeSnapshotHeader(header)
  const headerCrc = viewOf(header).getUint32(header.length - CRC_BYTES, true)
  const { dataBytes, chunks } = decodeSnapshotEnd(end, headerCrc, fileBytes - end.length)
  const expected = header.length + dataBytes + chunks * CHUNK_HEAD_BYTES + SNAPSHOT_END_BYTES
  if (fileBytes !== expected) fail(`it has ${fileBytes} bytes, and by its end ${expected}`)
  return decoded
}

/** What the end says; by the header's checksum it is known to be of the same snapshot. */
interface SnapshotEnd {
  readonly dataBytes: number
  readonly chunks: number
  /** Of the last chunk, or of the header where there is none. */
  readonly lastCrc: number
}

/** `at` is where it begins, for the words of a refusal. */
function decodeSnapshotEnd(bytes: Uint8Array, headerCrc: number, at: number): SnapshotEnd {
  const view = viewOf(bytes)
  if (bytes.length !== SNAPSHOT_END_BYTES || view.getUint32(4, true) !== 0) fail(`there is no end at byte ${at}`)
  if (view.getUint32(0, true) !== crc32c(bytes, CRC_BYTES, bytes.length, headerCrc)) {
    fail(`its end at byte ${at} does not match its checksum`)
  }
  return { dataBytes: position(view, 8), chunks: position(view, 16), lastCrc: view.getUint32(24, true) }
}

type Known = Pick<SnapshotHeader, 'stateHash' | 'sessionBytes'>

/** One that is not known is refused where it must be understood, and passed over otherwise. */
function decodeExtensions(bytes: Uint8Array, count: number): Known {
  const view = viewOf(bytes)
  let at = 0
  let known: Known = {}
  for (let n = 0; n < count; n += 1) {
    if (at + EXTENSION_HEAD_BYTES > bytes.length) fail(`its header has no room for its ${count} extensions`)
    const isRequired = view.getUint8(at + 4)
    const nameAt = at + EXTENSION_HEAD_BYTES
    const valueAt = nameAt + view.getUint8(at + 5)
    const end = valueAt + view.getUint32(at, true)
    if (end > bytes.length) fail(`its header has no room for its ${count} extensions`)
    const name = ascii.decode(bytes.subarray(nameAt, valueAt))
    if (!EXTENSION_NAME.test(name) || isRequired > 1) fail('an extension of its header has no name of a-z, 0-9 and -')
    const value = bytes.subarray(valueAt, end)
    if (name === STATE_HASH) known = { ...known, stateHash: stateHashOf(value, known) }
    else if (name === SESSIONS) known = { ...known, sessionBytes: sessionBytesOf(value, known) }
    else if (isRequired === 1) {
      throw new UnknownFormat('snapshot', `it requires the extension ${name}, which is not known here`)
    }
    at = end
  }
  if (at !== bytes.length) fail(`its header has ${bytes.length - at} bytes more than it says`)
  return known
}

function stateHashOf(value: Uint8Array, { stateHash }: Known): string {
  const isRight = stateHash === undefined && value.length >= 1 && value.length <= STATE_HASH_BYTES_MAX
  if (!isRight) fail(`its header has a ${STATE_HASH} of ${value.length} bytes, or two of them`)
  return hexOf(value)
}

function sessionBytesOf(value: Uint8Array, { sessionBytes }: Known): number {
  const bytes = value.length === SESSIONS_VALUE_BYTES ? readU64(viewOf(value), 0) : 0
  const isRight = sessionBytes === undefined && bytes >= 1 && bytes <= SESSION_TABLE_BYTES_MAX
  if (!isRight) fail(`its header has ${SESSIONS} of ${bytes} bytes, or twice`)
  return bytes
}

function position(view: DataView, at: number): number {
  const value = readU64(view, at)
  if (!isPosition(value)) fail(`position ${value} is over 2^53 - 1`)
  return value
}

function fail(reason: string): never {
  throw new MalformedBytes('snapshot', reason)
}
