/**
 * What goes over a channel once hands are shaken: frames of its users, and pings. A short frame stands in the head, and
 * is under its checksum; a long one follows the head, and its users check it. They do so anyway (a snapshot has a
 * checksum for each chunk, and asks again for one that is damaged); here it would cost both sides a second pass over
 * every byte, and end the channel where one chunk is to be sent again.
 */

import { CHANNEL_FRAME_BYTES_MAX } from '../channel.js'
import {
  CHECKSUM_BYTES,
  finishHead,
  FRAME_BYTES_MIN,
  FRAME_HEADER_BYTES,
  type FrameMemory,
  frameMemory,
  frameTypeAt,
  FrameType,
  HEAD_BYTES_MAX,
  headLengthAt,
  type Malformed,
  malformed,
} from './frame.js'

/** What travels over a channel. */
export interface ChannelFrame {
  readonly type: 'channelFrame'
  readonly data: Uint8Array
}

/** Says that the sender lives. */
export interface Ping {
  readonly type: 'ping'
}

/** A frame of a channel with all that is around it. */
export const CHANNEL_WIRE_BYTES_MAX = FRAME_BYTES_MIN + CHANNEL_FRAME_BYTES_MAX

/** What stands in the head. */
const SHORT_BYTES_MAX = HEAD_BYTES_MAX - FRAME_BYTES_MIN

/** The pieces of a frame, one behind the other; a long one is handed on as it is. Invariant: `data` has no flaw. */
export function encodeChannelFrame(data: Uint8Array): readonly Uint8Array[] {
  if (data.byteLength > SHORT_BYTES_MAX) return [headOf(FrameType.channelFrame, EMPTY, data.byteLength), data]
  return [headOf(FrameType.channelFrame, data, 0)]
}

/** The frame that says that its sender lives. */
export function encodePing(): Uint8Array {
  return headOf(FrameType.ping, EMPTY, 0)
}

/** Reads the frame at [start, end), which is of a channel. Invariant: its outline has no flaw. Total. */
export function decodeChannelFrame(memory: FrameMemory, start: number, end: number): ChannelFrame | Ping | Malformed {
  const type = frameTypeAt(memory, start)
  const headEnd = start + headLengthAt(memory, start)
  const short = memory.bytes.subarray(start + FRAME_HEADER_BYTES, headEnd - CHECKSUM_BYTES)
  const long = memory.bytes.subarray(headEnd, end)
  const length = short.length + long.length
  switch (type) {
    case FrameType.channelFrame:
      if (length > 0 && length <= CHANNEL_FRAME_BYTES_MAX && (short.length === 0 || long.length === 0)) {
        return { type: 'channelFrame', data: short.length > 0 ? short : long }
      }
      return malformed(`a frame of a channel with ${short.length} bytes in its head and ${long.length} behind it`)
    case FrameType.ping:
      return long.length === 0 ? { type: 'ping' } : malformed(`a ping with ${long.length} bytes behind its head`)
    default:
      return malformed(`frame type ${type} is not known`)
  }
}

const EMPTY = new Uint8Array()

function headOf(type: number, fields: Uint8Array, behindBytes: number): Uint8Array {
  const memory = frameMemory(new Uint8Array(FRAME_BYTES_MIN + fields.byteLength))
  memory.bytes.set(fields, FRAME_HEADER_BYTES)
  finishHead(memory, 0, FRAME_HEADER_BYTES + fields.byteLength, type, behindBytes)
  return memory.bytes
}
