/**
 * A snapshot as it is asked for, piece by piece. Each piece is made in a turn of the event loop of its own, however
 * fast it is taken, from a bounded number of keys.
 */

import type { Capture } from '../data-set/capture.js'
import type { PlacedItem } from '../data-set/item.js'
import { SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECE_STEPS } from '../limits.js'
import { encodedBytes, encodeHead, encodeItems } from './snapshot-format.js'

export class SnapshotPieces implements AsyncIterableIterator<Uint8Array> {
  readonly #capture: Capture
  readonly #nextTurn: () => Promise<void>
  #isBegun = false
  #isOver = false

  constructor(capture: Capture, nextTurn: () => Promise<void>) {
    this.#capture = capture
    this.#nextTurn = nextTurn
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    if (!this.#isBegun && !this.#isOver) {
      this.#isBegun = true
      return { done: false, value: encodeHead(this.#capture.facts) }
    }
    while (!this.#isOver) {
      await this.#nextTurn()
      const piece = this.#piece()
      // A piece of keys that were all handed out before they changed.
      if (piece.length > 0) return { done: false, value: piece }
    }
    return { done: true, value: undefined }
  }

  /** The rest is not wanted: nothing is kept for it. */
  return(): Promise<IteratorResult<Uint8Array>> {
    this.#isOver = true
    this.#capture.end()
    return Promise.resolve({ done: true, value: undefined })
  }

  #piece(): Uint8Array {
    const items: PlacedItem[] = []
    let bytes = 0
    const handOut = (item: PlacedItem): void => {
      items.push(item)
      bytes += encodedBytes(item)
    }
    for (let steps = 0; steps < SNAPSHOT_PIECE_STEPS && !this.#isOver; steps += 1) {
      this.#isOver = !this.#capture.step(handOut)
      if (bytes >= SNAPSHOT_PIECE_BYTES) break
    }
    const reason = this.#capture.gaveUp
    if (reason !== null) throw new Error(`the snapshot was given up: ${reason}`)
    return encodeItems(items, bytes)
  }
}
