/**
 * The receiving end of a connection's bytes: hands out the memory into which the socket reads, and finds whole frames
 * in it. Memory is a slab that is filled once from front to back, so that blocks can be lent out as views of it; a slab
 * that has lent nothing is used again. A frame that does not fit into what is left moves, as far as it has come, to a
 * slab of its own size: nothing is ever put together from pieces.
 */

import { assert } from '../../errors.js'
import {
  FRAME_BYTES_MIN,
  FRAME_HEADER_BYTES,
  frameLengthAt,
  type FrameMemory,
  frameMemory,
  headFlaw,
} from '../index.js'

/** Large enough that a busy connection needs few; small enough that a view which is kept for long does not pin much. */
const SLAB_BYTES = 256 * 1024

/** With less room than this left, a read would bring too little to be worth its call. */
const READ_BYTES_MIN = 16 * 1024

export class FrameReader {
  /** Frames over this are refused as soon as their length is known, before there is memory for them. */
  frameBytesMax: number
  #slab = Buffer.allocUnsafeSlow(READ_BYTES_MIN)
  #memory = frameMemory(this.#slab)
  /** The first byte not yet consumed. Invariant: 0 <= start <= end <= slab length. */
  #start = 0
  #end = 0
  #lent = false
  #consumed = 0

  constructor(frameBytesMax: number) {
    this.frameBytesMax = frameBytesMax
  }

  get slab(): Buffer {
    return this.#slab
  }

  /** The slab, for the decoder. */
  get memory(): FrameMemory {
    return this.#memory
  }

  get start(): number {
    return this.#start
  }

  get available(): number {
    return this.#end - this.#start
  }

  /** How many bytes of the connection were consumed: where the next frame begins. */
  get offset(): number {
    return this.#consumed
  }

  /** Where the next read goes; never empty. Valid until the next call of any method. */
  space(): Buffer {
    const length = this.available >= 4 ? Math.min(frameLengthAt(this.#memory, this.#start), this.frameBytesMax) : 0
    if (this.available === 0 && !this.#lent) {
      this.#start = 0
      this.#end = 0
    }
    const fits = this.#start + length <= this.#slab.length
    const room = this.#slab.length - this.#end
    // A frame that fits is awaited in place even when little room is left: room is then the rest of that frame at
    // least.
    if (!fits || (room < READ_BYTES_MIN && length === 0) || room === 0) this.#move(length)
    return this.#slab.subarray(this.#end)
  }

  filled(count: number): void {
    assert(this.#end + count <= this.#slab.length, () => `${count} bytes read into ${this.#slab.length - this.#end}`)
    this.#end += count
  }

  /** The length of the frame at `start`; 0 when it is not yet whole; -1 when its length is out of bounds. */
  frameLength(): number {
    if (this.available < 4) return 0
    const length = frameLengthAt(this.#memory, this.#start)
    if (length < FRAME_BYTES_MIN || length > this.frameBytesMax) return -1
    return this.available < length ? 0 : length
  }

  /**
   * What is wrong with the frame at `start` that is not yet whole, as far as its head has come, or null. A length that
   * was damaged on the way would otherwise swallow everything that follows before it is found.
   */
  earlyFlaw(): string | null {
    return this.available < FRAME_HEADER_BYTES ? null : headFlaw(this.#memory, this.#start, this.available)
  }

  consume(length: number): void {
    assert(length <= this.available, () => `${length} bytes consumed of ${this.available}`)
    this.#start += length
    this.#consumed += length
  }

  /** From now on someone holds a view of this slab: it is never written twice. */
  lend(): void {
    this.#lent = true
  }

  #move(length: number): void {
    const slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, length))
    this.#end = this.#slab.copy(slab, 0, this.#start, this.#end)
    this.#start = 0
    this.#slab = slab
    this.#memory = frameMemory(slab)
    this.#lent = false
  }
}
