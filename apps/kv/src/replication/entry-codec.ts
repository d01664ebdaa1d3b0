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

import { strict } from 'node:assert'
import { latin1 } from '../resp/latin1.js'

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

export function decodeEntry(bytes: Uint8Array): KvEntry {
  const reader = new EntryReader(bytes)
  const count = reader.number()
  if (count === 0) return { type: 'time' }
  if (count !== TRANSACTION_MARK) return { type: 'command', words: reader.words(count) }
  const watched: WatchedKey[] = []
  for (let left = reader.number(); left > 0; left -= 1) watched.push({ key: reader.word(), version: reader.version() })
  const commands: string[][] = []
  for (let left = reader.number(); left > 0; left -= 1) commands.push(reader.words(reader.number()))
  return { type: 'transaction', watched, commands }
}

function writeCommand(buffer: Buffer, start: number, words: readonly string[]): number {
  let at = buffer.writeUInt32LE(words.length, start)
  for (const word of words) at = writeWord(buffer, at, word)
  return at
}

function writeWord(buffer: Buffer, at: number, word: string): number {
  buffer.writeUInt32LE(word.length, at)
  return at + 4 + buffer.write(word, at + 4, 'latin1')
}

class EntryReader {
  readonly #buffer: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  number(): number {
    const value = this.#buffer.readUInt32LE(this.#at)
    this.#at += 4
    return value
  }

  version(): number {
    const value = this.#buffer.readDoubleLE(this.#at)
    this.#at += 8
    return value
  }

  word(): string {
    const length = this.number()
    const end = this.#at + length
    strict.ok(end <= this.#buffer.length, `entry: a word ends at ${end}, the entry at ${this.#buffer.length}`)
    const text = latin1(this.#buffer, this.#at, end)
    this.#at = end
    return text
  }

  words(count: number): string[] {
    const words: string[] = []
    for (let left = count; left > 0; left -= 1) words.push(this.word())
    return words
  }
}
