/**
 * What whoever dials says first where the servers share a token with those who may dial them: a proof that it has it.
 * How it is made, the transport knows: it depends on the connection.
 */

import {
  CHECKSUM_BYTES,
  finishHead,
  FRAME_BYTES_MIN,
  FRAME_HEADER_BYTES,
  type FrameMemory,
  frameMemory,
  headLengthAt,
  type Malformed,
  malformed,
  FrameType,
} from './frame.js'

/** Bytes of a proof: those of SHA-256. */
export const PROOF_BYTES = 32

/** That whoever dials has the token of the cluster. */
export interface Proof {
  readonly type: 'proof'
  readonly data: Uint8Array
}

/** Invariant: PROOF_BYTES. */
export function encodeProof(data: Uint8Array): Uint8Array {
  const memory = frameMemory(new Uint8Array(FRAME_BYTES_MIN + PROOF_BYTES))
  memory.bytes.set(data, FRAME_HEADER_BYTES)
  finishHead(memory, 0, FRAME_HEADER_BYTES + PROOF_BYTES, FrameType.proof, 0)
  return memory.bytes
}

/** Reads the frame at [start, end). Invariant: its outline has no flaw. Total. */
export function decodeProof(memory: FrameMemory, start: number, end: number): Proof | Malformed {
  const headEnd = start + headLengthAt(memory, start)
  const data = memory.bytes.subarray(start + FRAME_HEADER_BYTES, headEnd - CHECKSUM_BYTES)
  if (headEnd === end && data.length === PROOF_BYTES) return { type: 'proof', data }
  return malformed(`a proof of ${data.length} bytes, and ${end - headEnd} behind its head`)
}
