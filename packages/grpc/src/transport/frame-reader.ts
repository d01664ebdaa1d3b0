/**
 * Finds whole frames in the bytes of a stream, wherever these are cut into messages. A frame that lies in one message
 * is read where it is; one that does not is put together in memory of its own, once its length is known and believed.
 */

import {
  FRAME_BYTES_MIN,
  FRAME_HEADER_BYTES,
  frameLengthAt,
  type FrameMemory,
  frameMemory,
  headFlaw,
} from 'balsa-raft/transport'

/** Of a frame, those that say how long it is. */
const LENGTH_BYTES = 4

const NOTHING = new Uint8Array()

/** Memory of that frame, and where it lies there; returns whether to go on. */
type Take = (memory: FrameMemory, start: number, end: number) => boolean

export class FrameReader {
  /** Frames over this are refused as soon as their length is known, before there is memory for them. */
  frameBytesMax: number
  /** Fewer than LENGTH_BYTES of a frame. */
  #short: Uint8Array = NOTHING
  /** A frame that has come in part; null while there is none. */
  #partial: FrameMemory | null = null
  #partialBytes = 0
  #consumed = 0

  constructor(frameBytesMax: number) {
    this.frameBytesMax = frameBytesMax
  }

  /** Bytes of the stream that were read as whole frames. */
  get frameBytes(): number {
    return this.#consumed
  }

  /** Bytes of a frame that has not come whole. */
  get pendingBytes(): number {
    return this.#partialBytes + this.#short.byteLength
  }

  /** Gives `take` every frame that is whole now. Returns what is wrong with the stream, or null. */
  read(bytes: Uint8Array, take: Take): string | null {
    const rest = this.#partial === null ? this.#joined(bytes) : this.#fill(this.#partial, bytes, take)
    if (rest === null) return null
    return typeof rest === 'string' ? rest : this.#readWhole(rest, take)
  }

  #joined(bytes: Uint8Array): Uint8Array {
    if (this.#short.byteLength === 0) return bytes
    const joined = Buffer.concat([this.#short, bytes])
    this.#short = NOTHING
    return joined
  }

  /** What is left behind the frame that was in part; null when there is nothing to go on with; or a flaw. */
  #fill(partial: FrameMemory, bytes: Uint8Array, take: Take): Uint8Array | string | null {
    const { length } = partial.bytes
    const count = Math.min(bytes.byteLength, length - this.#partialBytes)
    partial.bytes.set(bytes.subarray(0, count), this.#partialBytes)
    this.#partialBytes += count
    if (this.#partialBytes < length) return this.#earlyFlaw(partial)
    this.#partial = null
    this.#partialBytes = 0
    if (!take(partial, 0, length)) return null
    this.#consumed += length
    return bytes.subarray(count)
  }

  #readWhole(bytes: Uint8Array, take: Take): string | null {
    if (bytes.byteLength === 0) return null
    const memory = frameMemory(bytes)
    const end = bytes.byteLength
    let start = 0
    while (end - start >= LENGTH_BYTES) {
      const length = frameLengthAt(memory, start)
      if (length < FRAME_BYTES_MIN || length > this.frameBytesMax) {
        return `its length is out of bounds (${this.frameBytesMax} bytes)`
      }
      if (start + length > end) return this.#keep(bytes.subarray(start), length)
      if (!take(memory, start, start + length)) return null
      start += length
      this.#consumed += length
    }
    // A copy: a few bytes must not keep a whole message alive.
    if (start < end) this.#short = bytes.slice(start)
    return null
  }

  #keep(bytes: Uint8Array, length: number): string | null {
    const partial = frameMemory(Buffer.allocUnsafeSlow(length))
    partial.bytes.set(bytes, 0)
    this.#partial = partial
    this.#partialBytes = bytes.byteLength
    return this.#earlyFlaw(partial)
  }

  /** A length that was damaged on the way would swallow everything that follows before it is found. */
  #earlyFlaw(partial: FrameMemory): string | null {
    return this.#partialBytes < FRAME_HEADER_BYTES ? null : headFlaw(partial, 0, this.#partialBytes)
  }
}
