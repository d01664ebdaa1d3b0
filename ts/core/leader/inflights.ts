/**
 * The AppendEntries that a peer has been sent and has not yet acknowledged: a ring of (last index, bytes), so that the
 * window is bounded in messages and in bytes. Freed by match, never by counting answers, because answers merge.
 */

import { assert } from '../../errors.js'
import type { LogIndex } from '../../types.js'

export class Inflights {
  readonly #lasts: Float64Array
  readonly #bytes: Float64Array
  readonly #bytesMax: number
  #head = 0
  #count = 0
  #bytesHeld = 0

  constructor(messagesMax: number, bytesMax: number) {
    this.#lasts = new Float64Array(messagesMax)
    this.#bytes = new Float64Array(messagesMax)
    this.#bytesMax = bytesMax
  }

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytesHeld
  }

  /** A message may pass the bound in bytes, but none may follow it. */
  get full(): boolean {
    return this.#count === this.#lasts.length || this.#bytesHeld >= this.#bytesMax
  }

  /** Invariant: `last` grows from one call to the next. */
  add(last: LogIndex, bytes: number): void {
    assert(
      !this.full,
      () => `inflights: added ${last} to a full window of ${this.#count} messages, ${this.#bytesHeld} bytes`,
    )
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
