/**
 * The bytes of the files that `fileStore()` keeps (docs/storage-format.md): the header of the store, and segments, each
 * with a header and batches, one behind the other. Pure. A batch says where it lies, which store it belongs to and what
 * it follows, so that no copy, no leftover and no gap can pass for one.
 */

import { assert } from '../errors.js'
import { isPosition } from '../types.js'
import { crc32c } from './crc32c.js'
import { padded, readU64, viewOf, writeU64 } from './little-endian.js'

export const STORE_HEADER_BYTES = 64
export const SEGMENT_HEADER_BYTES = 48
export const BATCH_HEADER_BYTES = 48

const STORE_MAGIC = 'balsalog'
const SEGMENT_MAGIC = 'balsaseg'
const MAGIC_BYTES = 8
export const FILE_VERSION = 2
const ID_BYTES = 16
const SALT_BYTES = 8
const CRC_BYTES = 4
/** 'blsb' as its bytes stand in the file. */
const BATCH_MAGIC = 0x6273_6c62

const KIND_CODES = { tickets: 1, open: 2, close: 3, checkpoint: 4, sealed: 5 } as const
const KINDS: readonly (BatchKind | undefined)[] = [undefined, 'tickets', 'open', 'close', 'checkpoint', 'sealed']

/**
 * One group commit of tickets; the mark of an open with its boot counter; the mark of an orderly close; what a segment
 * begins with; the mark that another segment follows.
 */
export type BatchKind = keyof typeof KIND_CODES

/** Drawn at random when the store is made; never changed. */
export interface FileIdentity {
  readonly uuid: Uint8Array
  readonly incarnation: Uint8Array
}

/** What the next batch must say. */
export interface BatchLink {
  /** 1 for the first batch of the store, then one more each time. */
  readonly sequence: number
  /** The header CRC of the batch before, which covers its body; the CRC of the header of the store for the first. */
  readonly previous: number
}

/** Where the next batch of a segment goes, and what it must say. */
export interface BatchPlace extends BatchLink {
  readonly position: number
}

/** A header that is intact and lies where it says. */
export interface BatchHeader extends BatchPlace {
  readonly kind: BatchKind
  /** A multiple of 8. */
  readonly bodyBytes: number
  readonly bodyCrc: number
  readonly crc: number
}

/** The header of the store, and what its first batch must say. */
export function encodeStoreHeader(identity: FileIdentity): { bytes: Uint8Array; first: BatchLink } {
  assert(identity.uuid.length === ID_BYTES && identity.incarnation.length === ID_BYTES, 'an id is not 16 bytes')
  const bytes = startHeader(STORE_HEADER_BYTES, STORE_MAGIC)
  bytes.set(identity.uuid, 16)
  bytes.set(identity.incarnation, 32)
  return { bytes, first: { sequence: 1, previous: sealHeader(bytes) } }
}

/** Null when it is not the header of such a store, or not intact. */
export function decodeStoreHeader(bytes: Uint8Array): { identity: FileIdentity; first: BatchLink } | null {
  const crc = intactHeader(bytes, STORE_HEADER_BYTES, STORE_MAGIC)
  if (crc === null) return null
  const identity = { uuid: bytes.slice(16, 32), incarnation: bytes.slice(32, 48) }
  return { identity, first: { sequence: 1, previous: crc } }
}

/** A segment with its first batch, whole, and the place behind it. */
export function encodeSegment(
  identity: FileIdentity,
  number: number,
  link: BatchLink,
  checkpoint: Uint8Array,
): { bytes: Uint8Array; next: BatchPlace } {
  const header = startHeader(SEGMENT_HEADER_BYTES, SEGMENT_MAGIC)
  header.set(identity.uuid, 16)
  writeU64(viewOf(header), 32, number)
  sealHeader(header)
  const batch = encodeBatch(identity, { ...link, position: header.length }, 'checkpoint', [checkpoint])
  const bytes = new Uint8Array(header.length + batch.bytes.length)
  bytes.set(header)
  bytes.set(batch.bytes, header.length)
  return { bytes, next: batch.next }
}

/** Why these bytes are not the header of that segment of that store; null when they are. */
export function segmentHeaderFault(identity: FileIdentity, number: number, bytes: Uint8Array): string | null {
  if (intactHeader(bytes, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC) === null) return 'its header is missing or not intact'
  if (identity.uuid.some((byte, n) => bytes[16 + n] !== byte)) return 'it is a segment of another store'
  const said = readU64(viewOf(bytes), 32)
  return said === number ? null : `its header says that it is segment ${said}`
}

function startHeader(length: number, magic: string): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes.set(new TextEncoder().encode(magic))
  viewOf(bytes).setUint32(MAGIC_BYTES, FILE_VERSION, true)
  return bytes
}

function sealHeader(bytes: Uint8Array): number {
  const crc = crc32c(bytes, 0, bytes.length - CRC_BYTES)
  viewOf(bytes).setUint32(bytes.length - CRC_BYTES, crc, true)
  return crc
}

/** Its CRC; null when it is not such a header, or not intact. */
function intactHeader(bytes: Uint8Array, length: number, magic: string): number | null {
  if (bytes.length !== length) return null
  const view = viewOf(bytes)
  const crc = view.getUint32(length - CRC_BYTES, true)
  const isIntact = crc === crc32c(bytes, 0, length - CRC_BYTES)
  const found = String.fromCharCode(...bytes.subarray(0, MAGIC_BYTES))
  return isIntact && found === magic && view.getUint32(MAGIC_BYTES, true) === FILE_VERSION ? crc : null
}

/** One whole batch, ready to be written at its place, and the place behind it. */
// Hot path: once per batch.
export function encodeBatch(
  identity: FileIdentity,
  place: BatchPlace,
  kind: BatchKind,
  parts: readonly Uint8Array[],
): { bytes: Uint8Array; next: BatchPlace } {
  let length = BATCH_HEADER_BYTES
  for (const part of parts) length += part.length
  assert(length === padded(length), `a batch of ${length} bytes, not a multiple of 8`)
  const bytes = new Uint8Array(length)
  let at = BATCH_HEADER_BYTES
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  const view = viewOf(bytes)
  view.setUint32(0, BATCH_MAGIC, true)
  view.setUint32(4, KIND_CODES[kind], true)
  writeU64(view, 8, place.sequence)
  writeU64(view, 16, place.position)
  view.setUint32(24, length - BATCH_HEADER_BYTES, true)
  view.setUint32(28, place.previous, true)
  bytes.set(identity.uuid.subarray(0, SALT_BYTES), 32)
  view.setUint32(40, crc32c(bytes, BATCH_HEADER_BYTES), true)
  const crc = crc32c(bytes, 0, BATCH_HEADER_BYTES - 4)
  view.setUint32(BATCH_HEADER_BYTES - 4, crc, true)
  return { bytes, next: { position: place.position + length, sequence: place.sequence + 1, previous: crc } }
}

/**
 * The header at `at` of these bytes, which begin at `position - at` of the file; null when there is none that is
 * intact.
 */
export function decodeBatchHeader(
  identity: FileIdentity,
  bytes: Uint8Array,
  at: number,
  position: number,
): BatchHeader | null {
  if (bytes.length - at < BATCH_HEADER_BYTES) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, BATCH_HEADER_BYTES)
  if (view.getUint32(0, true) !== BATCH_MAGIC || readU64(view, 16) !== position) return null
  const crc = view.getUint32(BATCH_HEADER_BYTES - 4, true)
  if (crc32c(bytes, at, at + BATCH_HEADER_BYTES - 4) !== crc) return null
  for (let n = 0; n < SALT_BYTES; n += 1) if (bytes[at + 32 + n] !== identity.uuid[n]) return null
  const kind = KINDS[view.getUint32(4, true)]
  const sequence = readU64(view, 8)
  const bodyBytes = view.getUint32(24, true)
  if (kind === undefined || !isPosition(sequence) || bodyBytes !== padded(bodyBytes)) return null
  const previous = view.getUint32(28, true)
  return { position, sequence, previous, kind, bodyBytes, bodyCrc: view.getUint32(40, true), crc }
}

export function isBodyIntact(header: BatchHeader, body: Uint8Array): boolean {
  return body.length === header.bodyBytes && crc32c(body) === header.bodyCrc
}

/** The place behind an intact batch. */
export function placeBehind({ position, sequence, bodyBytes, crc }: BatchHeader): BatchPlace {
  return { position: position + BATCH_HEADER_BYTES + bodyBytes, sequence: sequence + 1, previous: crc }
}

/** The body of an `open` batch. */
export function encodeBoot(bootCounter: number): Uint8Array {
  const body = new Uint8Array(8)
  writeU64(viewOf(body), 0, bootCounter)
  return body
}

/** Null when the body is not that of an `open` batch. */
export function decodeBoot(body: Uint8Array): number | null {
  if (body.length !== 8) return null
  const bootCounter = readU64(viewOf(body), 0)
  return isPosition(bootCounter) ? bootCounter : null
}
