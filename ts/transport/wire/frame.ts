/**
 * The outline that every frame shares (docs/wire-format.md draws it): its length, its type, the length of its head, the
 * group, then fields, then a checksum of all that, which ends the head; sealed blocks may follow, which carry checksums
 * of their own, and so may what is long on a channel, whose users check it. A frame can follow another on any stream of
 * bytes.
 *
 * Eight bytes for a Raft group are in every frame from the first version on, so that many groups can share a connection
 * later without a format break; for now the group is 0.
 */

import { crc32cOfView } from '../../format/crc32c.js'
import { readU64, viewOf, writeU64 } from '../../format/little-endian.js'

/** u32 length of the whole frame, u8 type, u24 length of its head, u64 group. */
export const FRAME_HEADER_BYTES = 16

export const CHECKSUM_BYTES = 4

/** A frame without fields. */
export const FRAME_BYTES_MIN = FRAME_HEADER_BYTES + CHECKSUM_BYTES

/**
 * All of a frame but its blocks: room for the fields of later versions. While hands are shaken it bounds the whole
 * frame, so that whoever has not said who it is gets no more memory.
 */
export const HEAD_BYTES_MAX = 4096

/** The blocks of one frame together. */
export const BLOCKS_BYTES_MAX = 4 * 2 ** 20

/** Bytes of the longest frame: a message with all the blocks that it may have. */
export const FRAME_BYTES_MAX = HEAD_BYTES_MAX + BLOCKS_BYTES_MAX

export const FrameType = {
  hello: 1,
  welcome: 2,
  refusal: 3,
  goodbye: 4,
  question: 5,
  answer: 6,
  clientHello: 7,
  clientWelcome: 8,
  proof: 10,
  appendEntries: 16,
  appendEntriesResult: 17,
  requestVote: 18,
  requestVoteResult: 19,
  preVote: 20,
  preVoteResult: 21,
  timeoutNow: 22,
  channelFrame: 32,
  ping: 33,
} as const

/** What cannot be read: no bytes make a decoder throw. */
export interface Malformed {
  readonly type: 'Malformed'
  /** What is wrong, and where it is in the frame when that says more. */
  readonly what: string
}

export const malformed = (what: string): Malformed => ({ type: 'Malformed', what })

/** Bytes, and a view of exactly them: made once for many frames. */
export interface FrameMemory {
  readonly bytes: Uint8Array
  readonly view: DataView
}

/** Memory in which frames are read. */
export function frameMemory(bytes: Uint8Array): FrameMemory {
  return { bytes, view: viewOf(bytes) }
}

/** How long the frame at `at` says that it is. Invariant: 4 bytes of it are there. */
export function frameLengthAt({ view }: FrameMemory, at: number): number {
  return view.getUint32(at, true)
}

/** Invariant of this and the next two: FRAME_HEADER_BYTES of the frame are there. */
export function frameTypeAt({ view }: FrameMemory, at: number): number {
  return view.getUint8(at + 4)
}

export function headLengthAt({ view }: FrameMemory, at: number): number {
  return view.getUint32(at + 4, true) >>> 8
}

/**
 * Completes the head of a frame at `at` whose fields stand from FRAME_HEADER_BYTES on and end at `fieldsEnd`. Returns
 * where it ends. Invariant: CHECKSUM_BYTES are left behind the fields; `blocksBytes` of blocks will follow. Hot path:
 * once per frame.
 */
export function finishHead(
  { bytes, view }: FrameMemory,
  at: number,
  fieldsEnd: number,
  type: number,
  blocksBytes: number,
): number {
  const headLength = fieldsEnd + CHECKSUM_BYTES - at
  view.setUint32(at, headLength + blocksBytes, true)
  view.setUint32(at + 4, type | (headLength << 8), true)
  writeU64(view, at + 8, 0)
  view.setUint32(fieldsEnd, crc32cOfView(bytes, view, at, fieldsEnd), true)
  return at + headLength
}

/**
 * What is wrong with the head of the frame at `at`, or null. Total, when FRAME_HEADER_BYTES are there and the frame is
 * no longer than it may be; of a head that has not come whole, only its length is judged. Hot path: once per frame.
 */
export function headFlaw(memory: FrameMemory, at: number, available: number): string | null {
  const { bytes, view } = memory
  const frameLength = frameLengthAt(memory, at)
  const headLength = headLengthAt(memory, at)
  if (headLength < FRAME_BYTES_MIN || headLength > frameLength || headLength > HEAD_BYTES_MAX) {
    return `a head of ${headLength} bytes in a frame of ${frameLength} (at most ${HEAD_BYTES_MAX})`
  }
  if (available < headLength) return null
  const fieldsEnd = at + headLength - CHECKSUM_BYTES
  if (view.getUint32(fieldsEnd, true) !== crc32cOfView(bytes, view, at, fieldsEnd)) {
    return 'the checksum of its head is wrong: its bytes have changed on the way'
  }
  const group = readU64(view, at + 8)
  return group === 0 ? null : `group ${group} is not known here`
}

/** What is wrong with the outline of the frame at [start, end), or null. Total. */
export function frameFlaw(memory: FrameMemory, start: number, end: number): string | null {
  const length = end - start
  if (length < FRAME_BYTES_MIN) return `${length} bytes are fewer than the shortest frame`
  if (frameLengthAt(memory, start) !== length) {
    return `a frame of ${length} bytes that says it has ${frameLengthAt(memory, start)}`
  }
  return headFlaw(memory, start, length)
}
