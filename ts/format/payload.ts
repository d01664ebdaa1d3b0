/**
 * Where the bytes of commands wait to be sealed. Each is copied once, behind room for the header of its record, one
 * record after the other: what was copied in a row goes into a block in one piece (`BlockWriter.addPayload`), and no
 * view is made per command.
 *
 * Invariant: a slab is used again only when every payload of it was released, each once. One that is forgotten costs
 * its slab, no more.
 */

import { assert } from '../errors.js'
import { RECORD_HEADER_BYTES, recordLength } from './block.js'
import type { Payload, PayloadSlab } from './block.js'

const SLAB_BYTES = 64 * 1024
/** A larger one has a slab of its own: so little of one is left over. */
const SHARED_BYTES_MAX = SLAB_BYTES / 16
/** Slabs that are kept for later, at most. */
const FREE_MAX = 16

class Slab implements PayloadSlab {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Payloads of it that are not released: up with each copy into it, down with each release. */
  live = 0
  /** Who uses it again when `live` is 0; null for one that is made for a single payload, and goes with it. */
  readonly #home: PayloadSlabs | null

  constructor(length: number, home: PayloadSlabs | null) {
    this.bytes = new Uint8Array(length)
    this.view = new DataView(this.bytes.buffer)
    this.#home = home
  }

  release(): void {
    if (this.#home === null) return
    assert(this.live > 0, 'a payload is released a second time')
    this.live -= 1
    if (this.live === 0) this.#home.takeBack(this)
  }
}

export class PayloadSlabs {
  /** Slabs without a payload, none of them the current one. */
  readonly #free: Slab[] = []
  /** The current one: what is copied goes there. */
  #slab = new Slab(SLAB_BYTES, this)
  /** Where the next record begins in it; back to 0 with each slab. Invariant: a multiple of 8. */
  #at = 0

  /**
   * A copy; what is done to `bytes` afterwards is of no matter. To be released once it is in a block, or never will be.
   */
  // Hot path: once per command.
  copy(bytes: Uint8Array): Payload {
    const { length } = bytes
    const recordBytes = recordLength(length)
    if (length > SHARED_BYTES_MAX) return place(new Slab(recordBytes, null), 0, bytes, recordBytes)
    if (this.#at + recordBytes > SLAB_BYTES) this.#turnOver()
    const at = this.#at
    this.#at += recordBytes
    return place(this.#slab, at, bytes, recordBytes)
  }

  /** The current slab stays where it is: its end is used before its beginning is again. */
  takeBack(slab: Slab): void {
    if (slab !== this.#slab && this.#free.length < FREE_MAX) this.#free.push(slab)
  }

  #turnOver(): void {
    const full = this.#slab
    this.#slab = full.live === 0 ? full : (this.#free.pop() ?? new Slab(SLAB_BYTES, this))
    this.#at = 0
  }
}

/** What an entry without content holds. */
export const NO_PAYLOAD: Payload = { slab: new Slab(RECORD_HEADER_BYTES, null), at: 0, byteLength: 0 }

/** A view of the bytes. */
export function bytesOf({ slab, at, byteLength }: Payload): Uint8Array {
  const start = at + RECORD_HEADER_BYTES
  return slab.bytes.subarray(start, start + byteLength)
}

function place(slab: Slab, at: number, bytes: Uint8Array, recordBytes: number): Payload {
  const target = slab.bytes
  const byteLength = bytes.length
  const start = at + RECORD_HEADER_BYTES
  target.set(bytes, start)
  // Records end with zeros, and a slab may have been used before.
  for (let pad = start + byteLength; pad < at + recordBytes; pad += 1) target[pad] = 0
  slab.live += 1
  return { slab, at, byteLength }
}
