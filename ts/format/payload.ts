/**
 * Where the bytes of commands wait to be sealed. Each is copied once, behind room for the header of its record, one
 * record after the other: what was copied in a row goes into a block in one piece (`BlockWriter.addPayload`), and no
 * object is made per copy but its place.
 */

import { RECORD_HEADER_BYTES, recordLength } from './block.js'
import type { Payload, PayloadSlab } from './block.js'

const SLAB_BYTES = 64 * 1024
/** A larger one has a slab of its own: so little of one is left over. */
const SHARED_BYTES_MAX = SLAB_BYTES / 16

export class PayloadSlabs {
  #slab = newSlab(0)
  /** Invariant: a multiple of 8; bytes of the slab from here on are zero. */
  #free = 0

  /** A copy; what is done to `bytes` afterwards is of no matter. */
  // Hot path: once per command.
  copy(bytes: Uint8Array): Payload {
    const byteLength = bytes.length
    const recordBytes = recordLength(byteLength)
    if (byteLength > SHARED_BYTES_MAX) return place(newSlab(recordBytes), 0, bytes, byteLength)
    if (this.#free + recordBytes > this.#slab.bytes.length) {
      this.#slab = newSlab(SLAB_BYTES)
      this.#free = 0
    }
    const at = this.#free
    this.#free += recordBytes
    return place(this.#slab, at, bytes, byteLength)
  }
}

/** What an entry without content holds. */
export const NO_PAYLOAD: Payload = { slab: newSlab(RECORD_HEADER_BYTES), at: 0, byteLength: 0 }

/** A view of the bytes. */
export function bytesOf({ slab, at, byteLength }: Payload): Uint8Array {
  const start = at + RECORD_HEADER_BYTES
  return slab.bytes.subarray(start, start + byteLength)
}

function place(slab: PayloadSlab, at: number, bytes: Uint8Array, byteLength: number): Payload {
  slab.bytes.set(bytes, at + RECORD_HEADER_BYTES)
  return { slab, at, byteLength }
}

function newSlab(length: number): PayloadSlab {
  const bytes = new Uint8Array(length)
  return { bytes, view: new DataView(bytes.buffer) }
}
