/**
 * What one Raft entry of this server holds. Numbers are little-endian.
 *
 * - A command: u32 count of its words, then each word as u32 length and bytes. The first word is the name, in lower
 *   case.
 * - A transaction: u32 0xffffffff; u32 count of watched keys, each u32 length, bytes, and the version it must still
 *   have as f64; u32 count of
 *   commands, each as above.
 * - Time: u32 0. Changes nothing but the data set's clock.
 *
 * Entries are read on every server in every later version: this format may grow, never change.
 */

import { latin1, latin1Name, writeLatin1 } from '../resp/latin1.js'

export interface WatchedKey {
  readonly key: string
  readonly version: number
}

export type KvEntry =
  | { readonly type: 'command'; readonly words: readonly string[] }
  | {
      readonly type: 'transaction'
      readonly watched: readonly WatchedKey[]
      readonly commands: readonly (readonly string[])[]
    }
  | { readonly type: 'time' }

const TRANSACTION_MARK = 0xffffffff

export const timeEntry: Uint8Array = new Uint8Array(4)

export function commandBytes(words: readonly string[]): number {
  let bytes = 4
  for (const word of words) bytes += 4 + word.length
  return bytes
}

export function encodeCommand(words: readonly string[]): Uint8Array {
  const buffer = Buffer.allocUnsafe(commandBytes(words))
  writeCommand(buffer, 0, words)
  return buffer
}

export function encodeTransaction(
  watched: readonly WatchedKey[],
  commands: readonly (readonly string[])[],
): Uint8Array {
  let bytes = 12
  for (const { key } of watched) bytes += 12 + key.length
  for (const words of commands) bytes += commandBytes(words)
  const buffer = Buffer.allocUnsafe(bytes)
  let at = buffer.writeUInt32LE(TRANSACTION_MARK, 0)
  at = buffer.writeUInt32LE(watched.length, at)
  for (const { key, version } of watched) at = buffer.writeDoubleLE(version, writeWord(buffer, at, key))
  at = buffer.writeUInt32LE(commands.length, at)
  for (const words of commands) at = writeCommand(buffer, at, words)
  return buffer
}

/** A text says what is wrong with bytes that are no entry. */
export function decodeEntry(bytes: Uint8Array): KvEntry | string {
  const reader = new EntryReader(bytes)
  const content = readEntry(reader)
  if (reader.isShort) return `ends at byte ${bytes.length}, in the middle of what it announces`
  return reader.isAtEnd ? content : `holds bytes behind its end`
}

function readEntry(reader: EntryReader): KvEntry {
  const count = reader.number()
  if (count === 0) return { type: 'time' }
  if (count !== TRANSACTION_MARK) return { type: 'command', words: reader.words(count) }
  const watched: WatchedKey[] = []
  for (let left = reader.number(); left > 0 && !reader.isShort; left -= 1) {
    watched.push({ key: reader.word(), version: reader.version() })
  }
  const commands: string[][] = []
  for (let left = reader.number(); left > 0 && !reader.isShort; left -= 1) commands.push(reader.words(reader.number()))
  return { type: 'transaction', watched, commands }
}

// Hot path: once per command. By hand, as is reading: what Buffer checks of each number is known here.
function writeCommand(bytes: Uint8Array, start: number, words: readonly string[]): number {
  let at = writeNumber(bytes, start, words.length)
  for (const word of words) at = writeWord(bytes, at, word)
  return at
}

function writeWord(bytes: Uint8Array, at: number, word: string): number {
  return writeLatin1(bytes, writeNumber(bytes, at, word.length), word)
}

function writeNumber(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
  bytes[at + 2] = value >>> 16
  bytes[at + 3] = value >>> 24
  return at + 4
}

/** Reads what is there; beyond the end there are zeros and empty words. */
class EntryReader {
  readonly #bytes: Uint8Array
  /** Not the view's own `length`, which engines are slow to tell of foreign ones. */
  readonly #end: number
  #at = 0
  #isShort = false

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#end = bytes.length
  }

  /** More was read than there is. */
  get isShort(): boolean {
    return this.#isShort
  }

  get isAtEnd(): boolean {
    return this.#at === this.#end
  }

  number(): number {
    if (!this.#has(4)) return 0
    const bytes = this.#bytes
    const at = this.#at - 4
    const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16)
    return (low | ((bytes[at + 3] ?? 0) << 24)) >>> 0
  }

  version(): number {
    if (!this.#has(8)) return 0
    const { buffer, byteOffset } = this.#bytes
    return new DataView(buffer, byteOffset + this.#at - 8, 8).getFloat64(0, true)
  }

  word(): string {
    const length = this.number()
    return this.#has(length) ? latin1(this.#bytes, this.#at - length, this.#at) : ''
  }

  words(count: number): string[] {
    const words: string[] = []
    if (count > 0) words.push(this.#name())
    for (let left = count - 1; left > 0 && !this.#isShort; left -= 1) words.push(this.word())
    return words
  }

  #name(): string {
    const length = this.number()
    return this.#has(length) ? latin1Name(this.#bytes, this.#at - length, this.#at) : ''
  }

  /** Steps over so many bytes, if they are there. */
  #has(count: number): boolean {
    if (this.#at + count > this.#end) this.#isShort = true
    else this.#at += count
    return !this.#isShort
  }
}
