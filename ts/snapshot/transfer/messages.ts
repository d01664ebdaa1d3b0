/**
 * What two servers say to each other over the channel on which one gives the other a snapshot (docs/snapshots.md).
 * Pure. What comes from outside is total: malformed bytes are null, never an error.
 */

import { crc32c } from '../../format/crc32c.js'
import { decodeSnapshotHeader, encodeSnapshotHeader } from '../../format/snapshot.js'
import { readU64, viewOf, writeU64 } from '../../format/little-endian.js'
import { MalformedBytes, UnknownFormat } from '../../format/malformed.js'
import { isPosition } from '../../types.js'
import type { SnapshotHeader } from '../../types.js'

/** Data of the file in one frame. */
export const PIECE_BYTES = 128 * 1024
/** What may be on its way, or wait for the disk of the receiver: all that either side holds of a snapshot. */
export const WINDOW_BYTES = 1024 * 1024

export type TransferMessage =
  /** Sender: that one, all of whose file has so many bytes; `term` is the one that the sender leads. */
  | { readonly type: 'offer'; readonly term: number; readonly bytes: number; readonly header: SnapshotHeader }
  /** Receiver: everything before `offset` is written; `again`: what was sent behind it is lost, and sent again. */
  | { readonly type: 'want'; readonly offset: number; readonly again: boolean }
  /** Sender: bytes of the file, from `offset` on. */
  | { readonly type: 'piece'; readonly offset: number; readonly data: Uint8Array }
  /** Receiver: its state machine has what the snapshot holds, or more. */
  | { readonly type: 'done' }
  /** Receiver: why it comes to nothing. */
  | { readonly type: 'refused'; readonly reason: string }

/** Something that was changed on its way: what it was cannot be told. */
export interface Damaged {
  readonly type: 'damaged'
}

const DAMAGED: Damaged = { type: 'damaged' }

const OFFER = 1
const WANT = 2
const PIECE = 3
const DONE = 4
const REFUSED = 5

const CHECKSUM_AT = 4
const HEAD_BYTES = 8
/** What is before the data of a piece. */
export const PIECE_HEAD_BYTES = HEAD_BYTES + 8
const REASON_BYTES_MAX = 4096

export function encodeTransfer(message: TransferMessage): Uint8Array {
  switch (message.type) {
    case 'offer': {
      const header = encodeSnapshotHeader(message.header)
      const bytes = frame(OFFER, 16 + header.length)
      writeU64(viewOf(bytes), HEAD_BYTES, message.term)
      writeU64(viewOf(bytes), HEAD_BYTES + 8, message.bytes)
      bytes.set(header, HEAD_BYTES + 16)
      return sealed(bytes)
    }
    case 'want': {
      const bytes = frame(WANT, 16)
      writeU64(viewOf(bytes), HEAD_BYTES, message.offset)
      writeU64(viewOf(bytes), HEAD_BYTES + 8, Number(message.again))
      return sealed(bytes)
    }
    case 'piece': {
      const bytes = new Uint8Array(PIECE_HEAD_BYTES + message.data.length)
      bytes.set(message.data, PIECE_HEAD_BYTES)
      return pieceIn(bytes, message.offset, message.data.length)
    }
    case 'done':
      return sealed(frame(DONE, 0))
    case 'refused': {
      const reason = new TextEncoder().encode(message.reason).subarray(0, REASON_BYTES_MAX)
      const bytes = frame(REFUSED, reason.length)
      bytes.set(reason, HEAD_BYTES)
      return sealed(bytes)
    }
  }
}

/** The message of a piece whose data stands in `memory` already, behind PIECE_HEAD_BYTES. */
export function pieceIn(memory: Uint8Array, offset: number, length: number): Uint8Array {
  const view = viewOf(memory)
  view.setUint32(0, PIECE, true)
  writeU64(view, HEAD_BYTES, offset)
  return sealed(memory.subarray(0, PIECE_HEAD_BYTES + length))
}

/** Null for what no server sends. A text says why a later version is not understood. */
export function decodeTransfer(bytes: Uint8Array): TransferMessage | Damaged | string | null {
  if (bytes.length < HEAD_BYTES) return null
  const view = viewOf(bytes)
  const body = bytes.length - HEAD_BYTES
  if (view.getUint32(CHECKSUM_AT, true) !== checksumOf(bytes)) return DAMAGED
  switch (view.getUint32(0, true)) {
    case OFFER:
      return body < 16 ? null : decodeOffer(bytes, readU64(view, HEAD_BYTES), readU64(view, HEAD_BYTES + 8))
    case WANT: {
      if (body !== 16) return null
      const offset = readU64(view, HEAD_BYTES)
      const again = readU64(view, HEAD_BYTES + 8)
      return isPosition(offset) && again <= 1 ? { type: 'want', offset, again: again === 1 } : null
    }
    case PIECE: {
      const offset = body < 9 ? Number.NaN : readU64(view, HEAD_BYTES)
      return isPosition(offset) ? { type: 'piece', offset, data: bytes.subarray(PIECE_HEAD_BYTES) } : null
    }
    case DONE:
      return body === 0 ? { type: 'done' } : null
    case REFUSED:
      return { type: 'refused', reason: new TextDecoder().decode(bytes.subarray(HEAD_BYTES)) }
    default:
      return null
  }
}

function decodeOffer(bytes: Uint8Array, term: number, fileBytes: number): TransferMessage | string | null {
  if (!isPosition(term) || !isPosition(fileBytes)) return null
  try {
    const header = decodeSnapshotHeader(bytes.slice(HEAD_BYTES + 16))
    return { type: 'offer', term, bytes: fileBytes, header }
  } catch (error) {
    if (error instanceof UnknownFormat) return error.message
    if (error instanceof MalformedBytes) return null
    throw error
  }
}

/** A word that says what it is, and room for a checksum. */
function frame(kind: number, bodyBytes: number): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES + bodyBytes)
  viewOf(bytes).setUint32(0, kind, true)
  return bytes
}

function sealed(bytes: Uint8Array): Uint8Array {
  viewOf(bytes).setUint32(CHECKSUM_AT, checksumOf(bytes), true)
  return bytes
}

/** Over all but itself, and the data of a piece: the chunks of the file have checksums of their own. */
function checksumOf(bytes: Uint8Array): number {
  const isPiece = viewOf(bytes).getUint32(0, true) === PIECE
  const end = isPiece ? Math.min(PIECE_HEAD_BYTES, bytes.length) : bytes.length
  return crc32c(bytes, HEAD_BYTES, end, crc32c(bytes, 0, CHECKSUM_AT))
}
