/**
 * What somebody asks who may belong to no cluster, in the place of a hello, and what is answered. A question stands in
 * the head of its frame, so that a stranger gets no more memory than for a hello; an answer follows the head, which
 * has the checksum of it.
 */

import { crc32cOfView } from '../../format/crc32c.js'
import { viewOf } from '../../format/little-endian.js'
import { ANSWER_BYTES_MAX, QUESTION_BYTES_MAX } from '../transport.js'
import {
  CHECKSUM_BYTES,
  finishHead,
  FRAME_BYTES_MIN,
  FRAME_HEADER_BYTES,
  type FrameMemory,
  frameMemory,
  frameTypeAt,
  FrameType,
  headLengthAt,
  type Malformed,
  malformed,
} from './frame.js'

/** What a server asks a member before it belongs to the cluster. */
export interface Question {
  readonly type: 'question'
  readonly data: Uint8Array
}

/** What a member answers to a question; how it is written, the two servers know. */
export interface Answer {
  readonly type: 'answer'
  readonly data: Uint8Array
}

const ANSWER_HEAD_BYTES = FRAME_BYTES_MIN + CHECKSUM_BYTES

/** An answer with all that is around it. */
export const ANSWER_WIRE_BYTES_MAX = ANSWER_HEAD_BYTES + ANSWER_BYTES_MAX

/** Invariant: at most QUESTION_BYTES_MAX. */
export function encodeQuestion(data: Uint8Array): Uint8Array {
  const memory = frameMemory(new Uint8Array(FRAME_BYTES_MIN + data.byteLength))
  memory.bytes.set(data, FRAME_HEADER_BYTES)
  finishHead(memory, 0, FRAME_HEADER_BYTES + data.byteLength, FrameType.question, 0)
  return memory.bytes
}

/** Invariant: at most ANSWER_BYTES_MAX. */
export function encodeAnswer(data: Uint8Array): Uint8Array {
  const memory = frameMemory(new Uint8Array(ANSWER_HEAD_BYTES + data.byteLength))
  memory.bytes.set(data, ANSWER_HEAD_BYTES)
  memory.view.setUint32(FRAME_HEADER_BYTES, crc32cOfView(data, viewOf(data), 0, data.byteLength), true)
  finishHead(memory, 0, FRAME_HEADER_BYTES + CHECKSUM_BYTES, FrameType.answer, data.byteLength)
  return memory.bytes
}

export const isOfQuestions = (type: number): boolean => type === FrameType.question || type === FrameType.answer

/** Reads the frame at [start, end), a question or an answer. Invariant: its outline has no flaw. Total. */
export function decodeQuestionOrAnswer(memory: FrameMemory, start: number, end: number): Question | Answer | Malformed {
  const { bytes, view } = memory
  const headEnd = start + headLengthAt(memory, start)
  if (frameTypeAt(memory, start) === FrameType.question) {
    const data = bytes.subarray(start + FRAME_HEADER_BYTES, headEnd - CHECKSUM_BYTES)
    if (headEnd === end && data.length <= QUESTION_BYTES_MAX) return { type: 'question', data }
    return malformed(`a question of ${data.length} bytes, and ${end - headEnd} behind its head`)
  }
  const length = end - headEnd
  if (headEnd - start !== ANSWER_HEAD_BYTES || length > ANSWER_BYTES_MAX) {
    return malformed(`an answer of ${length} bytes behind a head of ${headEnd - start}`)
  }
  if (view.getUint32(start + FRAME_HEADER_BYTES, true) !== crc32cOfView(bytes, view, headEnd, end)) {
    return malformed('the checksum of an answer is wrong: its bytes have changed on the way')
  }
  return { type: 'answer', data: bytes.subarray(headEnd, end) }
}
