/**
 * The AppendEntries that a peer has been sent and has not yet acknowledged: a ring of (last index, bytes), so that the
 * window is bounded in messages and in bytes. Freed by match, never by counting answers, because answers merge.
 */

import { assert } from '../../errors.js'
import type { LogIndex } from '../../types.js'

/** The window of one peer; a frame holds at most one message. */
export const INFLIGHT_MESSAGES_MAX = 8
export const INFLIGHT_BYTES_MAX = 4 * 1024 * 1024

export class Inflights {
  readonly #lasts = new Float64Array(INFLIGHT_MESSAGES_MAX)
  readonly #bytes = new Float64Array(INFLIGHT_MESSAGES_MAX)
  #head = 0
  #count = 0
  #bytesHeld = 0

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytesHeld
  }

  /** A message may pass the bound in bytes, but none may follow it. */
  isFull(bytesMax: number): boolean {
    return this.#count === this.#lasts.length || this.#bytesHeld >= bytesMax
  }

  /** Invariant: `last` grows from one call to the next. */
  add(last: LogIndex, bytes: number): void {
    assert(this.#count < this.#lasts.length, () => `inflights: added ${last} to a window of ${this.#count} messages`)
    const slot = (this.#head + this.#count) % this.#lasts.length
    this.#lasts[slot] = last
    this.#bytes[slot] = bytes
    this.#count += 1
    this.#bytesHeld += bytes
  }

  /** Frees every message that is acknowledged as a whole. */
  freeThrough(matchIndex: LogIndex): void {
    while (this.#count > 0 && (this.#lasts[this.#head] ?? 0) <= matchIndex) {
      this.#bytesHeld -= this.#bytes[this.#head] ?? 0
      this.#head = (this.#head + 1) % this.#lasts.length
      this.#count -= 1
    }
  }

  clear(): void {
    this.#count = 0
    this.#bytesHeld = 0
  }
}
