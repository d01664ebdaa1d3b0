/**
 * The sending end: what was queued in a turn, handed to the socket at its end as one write. Headers of one turn lie one
 * after the other in memory of their own, blocks are passed on by reference, so a turn's heartbeats are one piece and
 * an AppendEntries two or more.
 */

import type { Socket } from 'node:net'
import type { Request, Response } from '../../core/messages.js'
import { encodeHeader } from './codec.js'
import { MESSAGE_HEADER_BYTES_MAX } from './frame.js'

/** Headers of about 128 messages. Never written twice: the socket may still hold what was sent from it. */
const HEADER_SLAB_BYTES = 8 * 1024

export class FrameWriter {
  #slab = Buffer.allocUnsafeSlow(HEADER_SLAB_BYTES)
  /** Headers in [runStart, runEnd) of the slab are not yet in `pieces`. */
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
    if (this.#slab.length - this.#runEnd < MESSAGE_HEADER_BYTES_MAX) {
      this.#closeRun()
      this.#slab = Buffer.allocUnsafeSlow(HEADER_SLAB_BYTES)
      this.#runStart = 0
      this.#runEnd = 0
    }
    const end = encodeHeader(message, this.#slab, this.#runEnd)
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
    socket.cork()
    for (const piece of pieces) socket.write(piece)
    socket.uncork()
  }

  clear(): void {
    this.#pieces = []
    this.#runStart = this.#runEnd
    this.#bytes = 0
  }

  #closeRun(): void {
    if (this.#runStart === this.#runEnd) return
    this.#pieces.push(this.#slab.subarray(this.#runStart, this.#runEnd))
    this.#runStart = this.#runEnd
  }
}
