/**
 * Memory for pieces, used again and again: a transfer of a gigabyte takes as much as its window, and leaves nothing to
 * be collected. Each stretch has room for a piece and for the head of its frame.
 */

import { PIECE_BYTES, PIECE_HEAD_BYTES } from './messages.js'

export class PieceMemory {
  readonly #free: Uint8Array[] = []

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(PIECE_HEAD_BYTES + PIECE_BYTES)
  }

  /** Nobody reads it any more. */
  give(memory: Uint8Array): void {
    this.#free.push(memory)
  }
}
