/**
 * What two servers say to each other over the channel on which one gives the other a snapshot (docs/snapshots.md).
 * Pure. What comes from outside is total: malformed bytes are null, never an error.
 */

import {
  DAMAGED,
  FRAME_HEAD_BYTES,
  isSealed,
  newFrame,
  reasonBytes,
  sealFrame,
  wordOf,
} from '../../format/channel-frame.js'
import type { Damaged } from '../../format/channel-frame.js'
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

const OFFER = 1
const WANT = 2
const PIECE = 3
const DONE = 4
const REFUSED = 5

/** What is before the data of a piece. */
export const PIECE_HEAD_BYTES = FRAME_HEAD_BYTES + 8

export function encodeTransfer(message: TransferMessage): Uint8Array {
  switch (message.type) {
    case 'offer': {
      const header = encodeSnapshotHeader(message.header)
      const bytes = newFrame(OFFER, 16 + header.length)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES, message.term)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES + 8, message.bytes)
      bytes.set(header, FRAME_HEAD_BYTES + 16)
      return sealFrame(bytes)
    }
    case 'want': {
      const bytes = newFrame(WANT, 16)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES, message.offset)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES + 8, Number(message.again))
      return sealFrame(bytes)
    }
    case 'piece': {
      const bytes = new Uint8Array(PIECE_HEAD_BYTES + message.data.length)
      bytes.set(message.data, PIECE_HEAD_BYTES)
      return pieceIn(bytes, message.offset, message.data.length)
    }
    case 'done':
      return sealFrame(newFrame(DONE, 0))
    case 'refused': {
      const reason = reasonBytes(message.reason)
      const bytes = newFrame(REFUSED, reason.length)
      bytes.set(reason, FRAME_HEAD_BYTES)
      return sealFrame(bytes)
    }
  }
}

/** The message of a piece whose data stands in `memory` already, behind PIECE_HEAD_BYTES. */
export function pieceIn(memory: Uint8Array, offset: number, length: number): Uint8Array {
  const view = viewOf(memory)
  view.setUint32(0, PIECE, true)
  writeU64(view, FRAME_HEAD_BYTES, offset)
  return sealFrame(memory.subarray(0, PIECE_HEAD_BYTES + length), PIECE_HEAD_BYTES)
}

/** Null for what no server sends. A text says why a later version is not understood. */
export function decodeTransfer(bytes: Uint8Array): TransferMessage | Damaged | string | null {
  if (bytes.length < FRAME_HEAD_BYTES) return null
  const view = viewOf(bytes)
  const body = bytes.length - FRAME_HEAD_BYTES
  if (!isSealed(bytes, sealedEnd(bytes))) return DAMAGED
  switch (wordOf(bytes)) {
    case OFFER:
      return body < 16 ? null : decodeOffer(bytes, readU64(view, FRAME_HEAD_BYTES), readU64(view, FRAME_HEAD_BYTES + 8))
    case WANT: {
      if (body !== 16) return null
      const offset = readU64(view, FRAME_HEAD_BYTES)
      const again = readU64(view, FRAME_HEAD_BYTES + 8)
      return isPosition(offset) && again <= 1 ? { type: 'want', offset, again: again === 1 } : null
    }
    case PIECE: {
      const offset = body < 9 ? Number.NaN : readU64(view, FRAME_HEAD_BYTES)
      return isPosition(offset) ? { type: 'piece', offset, data: bytes.subarray(PIECE_HEAD_BYTES) } : null
    }
    case DONE:
      return body === 0 ? { type: 'done' } : null
    case REFUSED:
      return { type: 'refused', reason: new TextDecoder().decode(bytes.subarray(FRAME_HEAD_BYTES)) }
    default:
      return null
  }
}

function decodeOffer(bytes: Uint8Array, term: number, fileBytes: number): TransferMessage | string | null {
  if (!isPosition(term) || !isPosition(fileBytes)) return null
  try {
    const header = decodeSnapshotHeader(bytes.slice(FRAME_HEAD_BYTES + 16))
    return { type: 'offer', term, bytes: fileBytes, header }
  } catch (error) {
    if (error instanceof UnknownFormat) return error.message
    if (error instanceof MalformedBytes) return null
    throw error
  }
}

/** How far the checksum reaches: not over the data of a piece, for the chunks of the file have their own. */
function sealedEnd(frame: Uint8Array): number {
  return wordOf(frame) === PIECE ? Math.min(PIECE_HEAD_BYTES, frame.length) : frame.length
}
