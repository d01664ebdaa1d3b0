/**
 * The messages of one turn, until its end: heads lie one after the other in memory of their own, blocks are passed on
 * by reference.
 */

import {
  encodeHead,
  type FeatureSet,
  type FrameMemory,
  frameMemory,
  MESSAGE_HEAD_BYTES_MAX,
  NO_FEATURES,
  type Request,
  type Response,
} from 'balsa-raft/transport'

/** Heads of about a hundred messages. Never written twice: what was flushed of it may still wait. */
const HEAD_SLAB_BYTES = 8 * 1024

export class FrameWriter {
  /** What both sides have: nothing else is written. Known when hands have been shaken. */
  features: FeatureSet = NO_FEATURES
  #slab = newSlab()
  /** Heads in [runStart, runEnd) of the slab are not yet in `pieces`. */
  #runStart = 0
  #runEnd = 0
  #pieces: Uint8Array[] = []
  #bytes = 0

  /** Bytes queued and not yet taken. */
  get bytes(): number {
    return this.#bytes
  }

  /** Hot path: once per batch. */
  append(message: Request | Response): void {
    if (HEAD_SLAB_BYTES - this.#runEnd < MESSAGE_HEAD_BYTES_MAX) {
      this.#closeRun()
      this.#slab = newSlab()
      this.#runStart = 0
      this.#runEnd = 0
    }
    const end = encodeHead(message, this.features, this.#slab, this.#runEnd)
    this.#bytes += end - this.#runEnd
    this.#runEnd = end
    if (message.type !== 'AppendEntries' || message.blocks.length === 0) return
    this.#closeRun()
    for (const { data } of message.blocks) {
      this.#pieces.push(data)
      this.#bytes += data.byteLength
    }
  }

  /** All that is queued, in order; then nothing is. Hot path: once per turn and connection. */
  take(): readonly Uint8Array[] {
    this.#closeRun()
    const pieces = this.#pieces
    this.#pieces = []
    this.#bytes = 0
    return pieces
  }

  #closeRun(): void {
    if (this.#runStart === this.#runEnd) return
    this.#pieces.push(this.#slab.bytes.subarray(this.#runStart, this.#runEnd))
    this.#runStart = this.#runEnd
  }
}

function newSlab(): FrameMemory {
  return frameMemory(Buffer.allocUnsafeSlow(HEAD_SLAB_BYTES))
}
