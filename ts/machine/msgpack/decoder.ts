/**
 * MessagePack as values: what `Encoder` makes, and every other way to say the same, such as earlier versions of this
 * library had. Nothing that is read shapes how the next is read, and no bytes make it read outside of them.
 */

const DECODED_TEXT = 24
const KEYS = 256
const KEY_BYTES_MAX = 32
const SECONDS_32 = 2 ** 32

/** A key that was met before, so that the engine need not make it again. */
interface KnownKey {
  readonly bytes: readonly number[]
  readonly text: string
}

class NoMessagePack extends Error {
  override readonly name = 'NoMessagePack'
}

export class Decoder {
  #bytes: Uint8Array = new Uint8Array(0)
  #view: DataView = new DataView(new ArrayBuffer(0))
  /** Made for the first text that is not short. */
  #buffer: Buffer | null = null
  #at = 0
  #end = 0
  readonly #keys = new Array<KnownKey | undefined>(KEYS)

  decode(bytes: Uint8Array): unknown {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#buffer = null
    this.#at = 0
    this.#end = bytes.length
    const value = this.#read()
    if (this.#at !== this.#end) throw malformed(`${this.#end - this.#at} bytes follow the value`, this.#at)
    return value
  }

  // Hot path: once per value.
  #read(): unknown {
    const code = this.#byte()
    if (code < 0x80) return code
    if (code < 0x90) return this.#object(code & 0x0f)
    if (code < 0xa0) return this.#list(code & 0x0f)
    if (code < 0xc0) return this.#text(code & 0x1f)
    if (code >= 0xe0) return code - 0x100
    return this.#readLong(code)
  }

  #readLong(code: number): unknown {
    switch (code) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#copy(this.#size(code - 0xc4))
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#size(code - 0xc7))
      case 0xca:
        return this.#view.getFloat32(this.#skip(4))
      case 0xcb:
        return this.#view.getFloat64(this.#skip(8))
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#size(code - 0xcc)
      case 0xcf:
        return this.#view.getBigUint64(this.#skip(8))
      case 0xd0:
        return this.#view.getInt8(this.#skip(1))
      case 0xd1:
        return this.#view.getInt16(this.#skip(2))
      case 0xd2:
        return this.#view.getInt32(this.#skip(4))
      case 0xd3:
        return this.#view.getBigInt64(this.#skip(8))
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (code - 0xd4))
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#size(code - 0xd9))
      case 0xdc:
      case 0xdd:
        return this.#list(this.#size(code - 0xdb))
      case 0xde:
      case 0xdf:
        return this.#object(this.#size(code - 0xdd))
      default:
        throw malformed(`a value begins with 0x${code.toString(16)}`, this.#at - 1)
    }
  }

  #byte(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw malformed('it ends in the middle of a value', this.#at)
    this.#at += 1
    return byte
  }

  /** Answers with where they begin. */
  #skip(count: number): number {
    const at = this.#at
    if (count > this.#end - at) throw malformed('it ends in the middle of a value', at)
    this.#at = at + count
    return at
  }

  /** A number of 8, 16 or 32 bits. */
  #size(order: number): number {
    if (order === 0) return this.#byte()
    return order === 1 ? this.#view.getUint16(this.#skip(2)) : this.#view.getUint32(this.#skip(4))
  }

  #list(length: number): unknown[] {
    // Each takes a byte at least: no length makes it ask for more memory than that.
    if (length > this.#end - this.#at) throw malformed(`a list of ${length}`, this.#at)
    const list: unknown[] = []
    for (let left = length; left > 0; left -= 1) list.push(this.#read())
    return list
  }

  #object(length: number): object {
    const object: Record<string, unknown> = {}
    for (let left = length; left > 0; left -= 1) {
      const key = this.#key()
      const value = this.#read()
      // The one key that would do something else.
      if (key === '__proto__')
        Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
      else object[key] = value
    }
    return object
  }

  #key(): string {
    const code = this.#byte()
    if (code >= 0xa0 && code < 0xc0) return this.#knownKey(code & 0x1f)
    if (code === 0xd9) return this.#knownKey(this.#byte())
    this.#at -= 1
    const key = this.#read()
    if (typeof key === 'object' && key !== null) throw malformed('a key that is no text', this.#at)
    return String(key)
  }

  /** Hot path: once per key. */
  #knownKey(length: number): string {
    if (length === 0 || length > KEY_BYTES_MAX) return this.#text(length)
    const bytes = this.#bytes
    const keys = this.#keys
    const start = this.#skip(length)
    const slot = (length * 7 + (bytes[start] ?? 0) * 31 + (bytes[this.#at - 1] ?? 0)) % KEYS
    const known = keys[slot]
    if (known !== undefined && isAt(bytes, start, length, known.bytes)) return known.text
    this.#at = start
    const text = this.#text(length)
    keys[slot] = { bytes: Array.from(bytes.subarray(start, start + length)), text }
    return text
  }

  #text(length: number): string {
    const start = this.#skip(length)
    if (length <= DECODED_TEXT) {
      const ascii = this.#ascii(start, length)
      if (ascii !== null) return ascii
    }
    // Not a TextDecoder, which takes a byte order mark away.
    this.#buffer ??= Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length)
    return this.#buffer.toString('utf8', start, this.#at)
  }

  /** Null when some of it is not. */
  #ascii(start: number, length: number): string | null {
    const bytes = this.#bytes
    let text = ''
    for (let at = start; at < start + length; at += 1) {
      const byte = bytes[at] ?? 0
      if (byte >= 0x80) return null
      text += String.fromCharCode(byte)
    }
    return text
  }

  /** In memory of its own, which nothing else is in. */
  #copy(length: number): Uint8Array {
    const start = this.#skip(length)
    return new Uint8Array(this.#bytes.subarray(start, start + length))
  }

  #extension(length: number): unknown {
    const type = this.#view.getInt8(this.#skip(1))
    const start = this.#skip(length)
    if (type === -1) return this.#date(start, length)
    if (type === 0 && length === 1) return undefined
    throw malformed(`an extension of type ${type} with ${length} bytes`, start)
  }

  #date(start: number, length: number): Date {
    const view = this.#view
    switch (length) {
      case 4:
        return new Date(view.getUint32(start) * 1000)
      case 8: {
        const first = view.getUint32(start)
        const seconds = (first % 4) * SECONDS_32 + view.getUint32(start + 4)
        return new Date(seconds * 1000 + Math.floor(first / 4) / 1_000_000)
      }
      case 12:
        return new Date(Number(view.getBigInt64(start + 4)) * 1000 + view.getUint32(start) / 1_000_000)
      default:
        // As earlier versions wrote an invalid one.
        return new Date(Number.NaN)
    }
  }
}

function isAt(bytes: Uint8Array, start: number, length: number, known: readonly number[]): boolean {
  if (known.length !== length) return false
  for (let at = 0; at < length; at += 1) if (bytes[start + at] !== known[at]) return false
  return true
}

function malformed(what: string, at: number): NoMessagePack {
  return new NoMessagePack(`these bytes are no MessagePack: ${what}, at ${at}`)
}
