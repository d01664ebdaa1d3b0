/**
 * A snapshot as it is asked for, piece by piece. Each piece is made in a turn of the event loop of its own, however
 * fast it is taken, from a bounded number of keys; while there is load, only some turns have one.
 */

import type { Capture } from '../data-set/capture.js'
import type { PlacedItem } from '../data-set/item.js'
import { SNAPSHOT_IDLE_TURN_MS, SNAPSHOT_OTHERS_SHARE, SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECE_STEPS } from '../limits.js'
import { nextTurn, type Pace } from './pace.js'
import { encodedBytes, encodeHead, encodeItems } from './snapshot-format.js'

export class SnapshotPieces implements AsyncIterableIterator<Uint8Array> {
  readonly #capture: Capture
  readonly #pace: Pace | null
  /** When the last piece was made, and how long that took. */
  #madeAt = 0
  #took = 0
  #isBegun = false
  #isOver = false

  /** Without `pace` each piece is made at once. */
  constructor(capture: Capture, pace: Pace | null) {
    this.#capture = capture
    this.#pace = pace
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
      if (this.#pace !== null) await this.#othersTurns(this.#pace)
      const from = this.#pace?.now() ?? 0
      const piece = this.#piece()
      this.#madeAt = this.#pace?.now() ?? 0
      this.#took = this.#madeAt - from
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

  async #othersTurns(pace: Pace): Promise<void> {
    const until = this.#madeAt + this.#took * SNAPSHOT_OTHERS_SHARE
    for (let turnAt = pace.now(); ;) {
      await nextTurn(pace)
      const now = pace.now()
      if (now >= until || now - turnAt < SNAPSHOT_IDLE_TURN_MS) return
      turnAt = now
    }
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
