/**
 * A map by key that never stops to grow as a whole: V8 moves all entries of a `Map` at once whenever it doubles, which
 * takes half a second for four million keys and more than two for eight, and a leader that is away for so long is
 * deposed. So the keys are spread over many small maps, which double one by one.
 *
 * V8 does not look into strings of 2^14 characters and more for their hash: all of one length have the same, and a
 * `Map` looks through all of them. So a long key goes by its digest.
 *
 * The order of its entries is nobody's business: what depends on an order has one of its own.
 */

import { createHash } from 'node:crypto'

const PARTS = 256

/** Half of what V8 looks into, which is no promise of it. */
const HASHED_CHARACTERS_MAX = 8 * 1024

/** Stands before a digest. Keys are bytes, so none begins like this. */
const DIGEST_MARK = '\u0100'

/** So many characters of a key say where it belongs. */
const CHARACTERS_MAX = 16

export class KeyMap<Value> {
  readonly #parts: readonly Map<string, Value>[] = Array.from({ length: PARTS }, () => new Map<string, Value>())
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Keys in the part that holds the most: they move together when it doubles. */
  get largestPart(): number {
    return Math.max(...this.#parts.map(({ size }) => size))
  }

  get(key: string): Value | undefined {
    return this.#partOf(key).get(nameOf(key))
  }

  /** Invariant: the key is not there yet. */
  add(key: string, value: Value): void {
    this.#partOf(key).set(nameOf(key), value)
    this.#size += 1
  }

  delete(key: string): void {
    if (this.#partOf(key).delete(nameOf(key))) this.#size -= 1
  }

  /** In no order. */
  *values(): IterableIterator<Value> {
    for (const part of this.#parts) yield* part.values()
  }

  // Hot path: once per key of a command. Looks at the end of the key first, and at every place of a short one.
  #partOf(key: string): Map<string, Value> {
    const step = 1 + Math.floor(key.length / CHARACTERS_MAX)
    let hash = key.length
    for (let at = key.length - 1; at >= 0; at -= step) hash = (Math.imul(hash, 31) + key.charCodeAt(at)) | 0
    const part = this.#parts[(hash ^ (hash >>> 16)) & (PARTS - 1)]
    if (part === undefined) throw new RangeError(`there is no part for hash ${hash}`)
    return part
  }
}

/** By which a key is found: itself, or what stands for it alone. */
function nameOf(key: string): string {
  if (key.length <= HASHED_CHARACTERS_MAX) return key
  return DIGEST_MARK + createHash('sha256').update(key, 'latin1').digest('base64')
}
