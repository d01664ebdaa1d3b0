/**
 * Values as MessagePack, each only if it comes back as it was: what would come back changed is refused, with its place
 * and kind.
 *
 * Invariant: bytes that were answered are never written again.
 */

import { types } from 'node:util'

import { RaftError } from '../../errors.js'
import { isBytes, isDetached, kindOf } from '../../foreign-values.js'
import { PAYLOAD_BYTES_MAX } from '../../format/block.js'
import { viewOf } from '../../format/little-endian.js'

/** The unit of allocation; a command that needs more gets memory of its own. */
const SLAB_BYTES = 16 * 1024
/** Deeper than any command is, and far from the end of the stack of whoever decodes it. */
const DEPTH_MAX = 512
/** Up to so many characters, text is first tried as ASCII, by hand. */
const SHORT_TEXT = 64
/** In front of a text. */
const HEADER_BYTES_MAX = 5
/** Of one UTF-16 unit. */
const UTF8_BYTES_MAX = 3
/** In one piece with its header. */
const NUMBER_BYTES_MAX = 15

const BIGINT_MIN = -(2n ** 63n)
const BIGINT_MAX = 2n ** 64n - 1n
const SECONDS_32_END = 2 ** 32
const SECONDS_34_END = 2 ** 34

type Key = string | number

export class Encoder {
  /** Something that is being encoded has called back, with something else to encode. */
  isBusy = false
  #bytes = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #view = viewOf(this.#bytes)
  /** The command under way begins there. */
  #start = 0
  #at = 0
  /** Where the value under way stands: the first `depth` keys count. */
  readonly #path: Key[] = []
  #depth = 0

  /** Throws ERR_RAFT_ENCODE, ERR_RAFT_TOO_LARGE, or what a getter throws. */
  encode(command: unknown): Uint8Array {
    this.isBusy = true
    this.#depth = 0
    this.#start = this.#at
    try {
      this.#write(command)
      return new Uint8Array(this.#bytes.buffer, this.#start, this.#at - this.#start)
    } catch (error) {
      this.#at = this.#start
      throw error
    } finally {
      this.isBusy = false
      if (this.#bytes.length > SLAB_BYTES) this.#use(Buffer.allocUnsafeSlow(SLAB_BYTES), 0)
    }
  }

  // Hot path: once per value.
  #write(value: unknown): void {
    switch (typeof value) {
      case 'string':
        return this.#writeText(value, 'a string')
      case 'number':
        return this.#writeNumber(value)
      case 'object':
        return value === null ? this.#writeByte(0xc0) : this.#writeObject(value)
      case 'boolean':
        return this.#writeByte(value ? 0xc3 : 0xc2)
      case 'bigint':
        return this.#writeBigInt(value)
      case 'undefined':
        return this.#writeUndefined()
      case 'function':
      case 'symbol':
        this.#refuse(kindOf(value))
    }
  }

  #writeByte(byte: number): void {
    this.#reserve(1)
    this.#bytes[this.#at] = byte
    this.#at += 1
  }

  /** An extension that others use for it as well. */
  #writeUndefined(): void {
    this.#reserve(3)
    this.#view.setUint8(this.#at, 0xd4)
    this.#view.setUint16(this.#at + 1, 0)
    this.#at += 3
  }

  #writeNumber(value: number): void {
    this.#reserve(NUMBER_BYTES_MAX)
    if (value >>> 0 === value && !Object.is(value, -0)) this.#writeWhole(value)
    else if (value >> 0 === value && value < 0) this.#writeNegative(value)
    else {
      this.#bytes[this.#at] = 0xcb
      this.#view.setFloat64(this.#at + 1, value)
      this.#at += 9
    }
  }

  #writeWhole(value: number): void {
    if (value < 0x80) {
      this.#bytes[this.#at] = value
      this.#at += 1
    } else this.#writeSized(value, 0xcc)
  }

  /** A number of 8, 16 or 32 bits behind its code: `code`, `code + 1`, `code + 2`. */
  #writeSized(value: number, code: number): void {
    if (value < 0x100) {
      this.#bytes[this.#at] = code
      this.#bytes[this.#at + 1] = value
      this.#at += 2
    } else if (value < 0x1_0000) {
      this.#bytes[this.#at] = code + 1
      this.#view.setUint16(this.#at + 1, value)
      this.#at += 3
    } else {
      this.#bytes[this.#at] = code + 2
      this.#view.setUint32(this.#at + 1, value)
      this.#at += 5
    }
  }

  #writeNegative(value: number): void {
    if (value >= -0x20) {
      this.#bytes[this.#at] = value
      this.#at += 1
    } else if (value >= -0x80) {
      this.#bytes[this.#at] = 0xd0
      this.#bytes[this.#at + 1] = value
      this.#at += 2
    } else if (value >= -0x8000) {
      this.#bytes[this.#at] = 0xd1
      this.#view.setInt16(this.#at + 1, value)
      this.#at += 3
    } else {
      this.#bytes[this.#at] = 0xd2
      this.#view.setInt32(this.#at + 1, value)
      this.#at += 5
    }
  }

  #writeBigInt(value: bigint): void {
    if (value < BIGINT_MIN || value > BIGINT_MAX) this.#refuse('a bigint outside of -2^63 .. 2^64 - 1')
    this.#reserve(NUMBER_BYTES_MAX)
    this.#bytes[this.#at] = value < 0n ? 0xd3 : 0xcf
    // The same bits for both.
    this.#view.setBigUint64(this.#at + 1, BigInt.asUintN(64, value))
    this.#at += 9
  }

  #writeText(text: string, what: string): void {
    const { length } = text
    if (length > SHORT_TEXT || !this.#writeAscii(text, length)) this.#writeLongText(text, what)
  }

  /** False, and nothing is written, when some of it is not ASCII. */
  #writeAscii(text: string, length: number): boolean {
    this.#reserve(2 + SHORT_TEXT)
    const bytes = this.#bytes
    let to = this.#at
    if (length < 32) bytes[to++] = 0xa0 | length
    else {
      bytes[to++] = 0xd9
      bytes[to++] = length
    }
    for (let at = 0; at < length; at += 1) {
      const unit = text.charCodeAt(at)
      if (unit >= 0x80) return false
      bytes[to++] = unit
    }
    this.#at = to
    return true
  }

  #writeLongText(text: string, what: string): void {
    if (!(text as unknown as WellFormed).isWellFormed()) this.#refuse(`${what} with a lone surrogate`)
    // Written where it belongs if it is ASCII, which most text is; otherwise it is longer than it has characters, and
    // may move.
    const { length } = text
    const most = length * UTF8_BYTES_MAX
    this.#reserve(HEADER_BYTES_MAX + (most < SLAB_BYTES ? most : Buffer.byteLength(text)))
    const bytes = this.#bytes
    const at = this.#at
    const expected = at + headerOf(length)
    const written = bytes.write(text, expected)
    const start = at + headerOf(written)
    if (start !== expected) bytes.copyWithin(start, expected, expected + written)
    if (written < 32) bytes[at] = 0xa0 | written
    else this.#writeSized(written, 0xd9)
    this.#at = start + written
  }

  #writeObject(value: object): void {
    const prototype: unknown = Object.getPrototypeOf(value)
    if (Array.isArray(value)) {
      // The prototype of lists is a list itself, in every realm; that of a class is not.
      if (!Array.isArray(prototype)) this.#refuse(kindOf(value))
      this.#writeList(value)
    } else if (prototype === Object.prototype || isPlain(prototype)) this.#writePlain(value)
    else if (isBytes(value)) this.#writeBytes(value, prototype)
    else if (types.isDate(value)) this.#writeDate(value, prototype)
    else this.#refuse(kindOf(value))
  }

  #writeList(list: readonly unknown[]): void {
    const { length } = list
    const keys = Object.keys(list).length
    if (keys < length) this.#refuse('an array with holes')
    if (keys > length) this.#refuse('an array with properties of its own')
    this.#reserve(5)
    if (length < 16) this.#bytes[this.#at++] = 0x90 | length
    else this.#writeLongCount(length, 0xdc)
    const key = this.#descend()
    for (let at = 0; at < length; at += 1) {
      this.#path[key] = at
      this.#write(list[at])
    }
    this.#depth = key
  }

  #writePlain(value: object): void {
    const tag = Object.prototype.toString.call(value)
    if (tag !== '[object Object]')
      this.#refuse(`${tag === '[object Math]' ? 'a' : 'an'} ${tag.slice('[object '.length, -1)} object`)
    if (Object.getOwnPropertySymbols(value).length > 0) this.#refuse('an object with a symbol as a key')
    const keys = Object.keys(value)
    const { length } = keys
    this.#reserve(5)
    if (length < 16) this.#bytes[this.#at++] = 0x80 | length
    else this.#writeLongCount(length, 0xde)
    const depth = this.#descend()
    for (let at = 0; at < length; at += 1) {
      const key = keys[at] as string
      this.#path[depth] = key
      this.#writeText(key, 'a key')
      this.#write((value as Record<string, unknown>)[key])
    }
    this.#depth = depth
  }

  /** Of 16 bits or more. */
  #writeLongCount(count: number, code: number): void {
    if (count < 0x1_0000) {
      this.#bytes[this.#at] = code
      this.#view.setUint16(this.#at + 1, count)
      this.#at += 3
    } else {
      this.#bytes[this.#at] = code + 1
      this.#view.setUint32(this.#at + 1, count)
      this.#at += 5
    }
  }

  #writeBytes(value: Uint8Array, prototype: unknown): void {
    // Its own in every realm; a Buffer comes back as the Uint8Array that it is.
    if (!Object.hasOwn(prototype as object, 'BYTES_PER_ELEMENT') && !Buffer.isBuffer(value)) this.#refuse(kindOf(value))
    const { length } = value
    if (length === 0 && isDetached(value)) this.#refuse('a Uint8Array whose memory is detached')
    this.#reserve(5 + length)
    this.#writeSized(length, 0xc4)
    this.#bytes.set(value, this.#at)
    this.#at += length
  }

  /** As the extension that MessagePack has for it, in the shortest of its three forms. */
  #writeDate(value: Date, prototype: unknown): void {
    if (!Object.hasOwn(prototype as object, 'getTime')) this.#refuse(kindOf(value))
    if (Object.keys(value).length > 0) this.#refuse('a Date with properties of its own')
    const time = value.getTime()
    if (Number.isNaN(time)) this.#refuse('an invalid Date')
    const seconds = Math.floor(time / 1000)
    const nanoseconds = (time - seconds * 1000) * 1_000_000
    this.#reserve(NUMBER_BYTES_MAX)
    const view = this.#view
    const at = this.#at
    if (nanoseconds === 0 && seconds >= 0 && seconds < SECONDS_32_END) {
      view.setUint16(at, 0xd6ff)
      view.setUint32(at + 2, seconds)
      this.#at += 6
    } else if (seconds >= 0 && seconds < SECONDS_34_END) {
      view.setUint16(at, 0xd7ff)
      view.setUint32(at + 2, nanoseconds * 4 + Math.floor(seconds / SECONDS_32_END))
      view.setUint32(at + 6, seconds % SECONDS_32_END)
      this.#at += 10
    } else {
      view.setUint16(at, 0xc70c)
      view.setUint8(at + 2, 0xff)
      view.setUint32(at + 3, nanoseconds)
      view.setBigInt64(at + 7, BigInt(seconds))
      this.#at += 15
    }
  }

  /** Into a list or an object: answers with where its keys stand in the path. */
  #descend(): number {
    const depth = this.#depth
    if (depth === DEPTH_MAX) this.#refuse(`nested deeper than ${DEPTH_MAX}, or in a circle`)
    this.#depth = depth + 1
    return depth
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes > this.#bytes.length) this.#grow(bytes)
  }

  #grow(more: number): void {
    const used = this.#at - this.#start
    if (used + more > PAYLOAD_BYTES_MAX + NUMBER_BYTES_MAX + SHORT_TEXT) {
      const bound = `at most ${PAYLOAD_BYTES_MAX} are allowed: split it`
      throw new RaftError('ERR_RAFT_TOO_LARGE', `the command has more than ${used} bytes, ${bound}`)
    }
    const before = this.#bytes.subarray(this.#start, this.#at)
    this.#use(Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, 2 * (used + more))), used)
    this.#bytes.set(before)
  }

  #use(bytes: Buffer<ArrayBuffer>, at: number): void {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
    this.#start = 0
    this.#at = at
  }

  #refuse(kind: string): never {
    const place = `command${this.#path.slice(0, this.#depth).map(step).join('')}`
    const remedy =
      'It carries plain objects and arrays, strings, numbers, booleans, null, undefined, bigint, Date and Uint8Array'
    throw new RaftError(
      'ERR_RAFT_ENCODE',
      `msgpackCodec cannot carry ${place}, ${kind}: it would not come back as it is. ${remedy}`,
    )
  }
}

/** The length of what stands in front of so many bytes of text. */
function headerOf(bytes: number): number {
  if (bytes < 32) return 1
  if (bytes < 0x100) return 2
  return bytes < 0x1_0000 ? 3 : HEADER_BYTES_MAX
}

/** Of the library that TypeScript knows for this target, and of every Node that this runs on. */
interface WellFormed {
  isWellFormed(): boolean
}

/** Whether it is what `{}` inherits from, in some realm. */
function isPlain(prototype: unknown): boolean {
  if (prototype === null) return false
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'isPrototypeOf')
}

/** One step of a path, as it is written in code. */
function step(key: Key): string {
  if (typeof key === 'number') return `[${key}]`
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`
}
