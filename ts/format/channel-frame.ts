/**
 * The frames of channels, whatever is said in them: a word that says what it is, a checksum, and what belongs to that
 * word (docs/wire-format.md, Channels). Pure.
 *
 * Invariant: the checksum covers all but itself, or all up to `end` where what follows has checksums of its own.
 */

import { crc32c } from './crc32c.js'
import { viewOf } from './little-endian.js'

/** Something that was changed on its way: what it was cannot be told. */
export interface Damaged {
  readonly type: 'damaged'
}

export const DAMAGED: Damaged = { type: 'damaged' }

const CHECKSUM_AT = 4
/** Of every frame: the word and the checksum. */
export const FRAME_HEAD_BYTES = 8
const REASON_BYTES_MAX = 4096

/** A frame that says what it is, with room for a checksum and zeros in its body. */
export function newFrame(word: number, bodyBytes: number): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEAD_BYTES + bodyBytes)
  viewOf(bytes).setUint32(0, word, true)
  return bytes
}

/** Of at least FRAME_HEAD_BYTES, as for the others. */
export function wordOf(frame: Uint8Array): number {
  return viewOf(frame).getUint32(0, true)
}

/** Puts the checksum into a frame that is complete otherwise. */
export function sealFrame(frame: Uint8Array, end = frame.length): Uint8Array {
  viewOf(frame).setUint32(CHECKSUM_AT, checksumOf(frame, end), true)
  return frame
}

export function isSealed(frame: Uint8Array, end = frame.length): boolean {
  return viewOf(frame).getUint32(CHECKSUM_AT, true) === checksumOf(frame, end)
}

/** A reason as it goes into a frame: as much of it as may. */
export function reasonBytes(reason: string): Uint8Array {
  return new TextEncoder().encode(reason).subarray(0, REASON_BYTES_MAX)
}

function checksumOf(frame: Uint8Array, end: number): number {
  return crc32c(frame, FRAME_HEAD_BYTES, end, crc32c(frame, 0, CHECKSUM_AT))
}
