/** Any frame, read: a message, a step of the handshake, or what is wrong with it. */

import type { Request, Response } from '../../core/messages.js'
import { frameFlaw, type FrameMemory, frameTypeAt, FrameType, type Malformed, malformed } from './frame.js'
import {
  decodeHandshake,
  type ForeignHello,
  type Goodbye,
  type Hello,
  type RefusalFrame,
  type Welcome,
} from './handshake.js'
import { decodeMessage } from './message-codec.js'

export type Frame = Request | Response | Hello | ForeignHello | Welcome | RefusalFrame | Goodbye

/**
 * Reads the frame at [start, end); blocks are views of the memory. Total: any bytes give a frame or what is wrong with
 * them. Hot path: once per batch.
 */
export function decodeFrame(memory: FrameMemory, start = 0, end = memory.bytes.length): Frame | Malformed {
  const flaw = frameFlaw(memory, start, end)
  if (flaw !== null) return malformed(flaw)
  return frameTypeAt(memory, start) < FrameType.appendEntries
    ? decodeHandshake(memory, start, end)
    : decodeMessage(memory, start, end)
}
