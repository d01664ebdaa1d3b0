/** Any frame, read: a message, a step of the handshake, what goes over a channel, or what is wrong with it. */

import type { Request, Response } from '../../core/messages.js'
import { type ChannelFrame, decodeChannelFrame, type Ping } from './channel-codec.js'
import { type ClientHello, type ClientWelcome, decodeClientHandshake, isOfClients } from './client-handshake.js'
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
import { decodeProof, type Proof } from './proof-codec.js'
import { type Answer, decodeQuestionOrAnswer, isOfQuestions, type Question } from './question-codec.js'

/** Every frame of the wire, read. */
export type Frame =
  | Request
  | Response
  | Hello
  | ForeignHello
  | Welcome
  | RefusalFrame
  | Goodbye
  | Question
  | Answer
  | ClientHello
  | ClientWelcome
  | Proof
  | ChannelFrame
  | Ping

/**
 * Reads the frame at [start, end); blocks, and what goes over a channel, are views of the memory. Total: any bytes give
 * a frame or what is wrong with them. Hot path: once per batch.
 */
export function decodeFrame(memory: FrameMemory, start = 0, end = memory.bytes.length): Frame | Malformed {
  const flaw = frameFlaw(memory, start, end)
  if (flaw !== null) return malformed(flaw)
  const type = frameTypeAt(memory, start)
  if (type < FrameType.appendEntries) {
    if (isOfClients(type)) return decodeClientHandshake(memory, start, end)
    if (type === FrameType.proof) return decodeProof(memory, start, end)
    return isOfQuestions(type) ? decodeQuestionOrAnswer(memory, start, end) : decodeHandshake(memory, start, end)
  }
  return type < FrameType.channelFrame ? decodeMessage(memory, start, end) : decodeChannelFrame(memory, start, end)
}
