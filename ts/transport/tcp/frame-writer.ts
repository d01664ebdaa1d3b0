/**
 * The sending end: what was queued in a turn, handed to the socket at its end as one write. Heads of one turn lie one
 * after the other in memory of their own, blocks are passed on by reference, so a turn's heartbeats are one piece and
 * an AppendEntries two or more.
 */

import type { Socket } from 'node:net'
import {
  encodeHead,
  type FeatureSet,
  type FrameMemory,
  frameMemory,
  MESSAGE_HEAD_BYTES_MAX,
  NO_FEATURES,
  type Request,
  type Response,
} from '../index.js'

/** Heads of about a hundred messages. Never written twice: the socket may still hold what was sent from it. */
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

  /** Bytes queued and not yet handed to the socket. */
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
    for (const block of message.blocks) {
      this.#pieces.push(block.data)
      this.#bytes += block.data.byteLength
    }
  }

  /** One write for all that is queued. Hot path: once per turn and connection. */
  flushTo(socket: Socket): void {
    this.#closeRun()
    const pieces = this.#pieces
    this.#pieces = []
    this.#bytes = 0
    writeTogether(socket, pieces)
  }

  clear(): void {
    this.#pieces = []
    this.#runStart = this.#runEnd
    this.#bytes = 0
  }

  #closeRun(): void {
    if (this.#runStart === this.#runEnd) return
    this.#pieces.push(this.#slab.bytes.subarray(this.#runStart, this.#runEnd))
    this.#runStart = this.#runEnd
  }
}

export function writeTogether(socket: Socket, pieces: readonly Uint8Array[]): void {
  socket.cork()
  for (const piece of pieces) socket.write(piece)
  socket.uncork()
}

function newSlab(): FrameMemory {
  return frameMemory(Buffer.allocUnsafeSlow(HEAD_SLAB_BYTES))
}
