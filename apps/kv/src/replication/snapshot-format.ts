/**
 * The bytes of a snapshot of the data set: docs/kv-snapshot.md. Read on every server in every later version. Whoever
 * stores or sends them checks them; what is checked here is that they make a data set.
 */

import type { DataSetFacts } from '../data-set/capture.js'
import type { PlacedItem } from '../data-set/item.js'
import { BULK_BYTES_MAX, ENTRY_BYTES_MAX } from '../limits.js'
import { latin1, writeLatin1 } from '../resp/latin1.js'

const MAGIC = 'balsa-kv'
const VERSION = 1
const HEAD_BYTES = 48
const ITEM_HEAD_BYTES = 28

export function encodeHead({ time, index, size, bytes, valueBytesMax }: DataSetFacts): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES)
  let at = writeLatin1(head, 0, MAGIC)
  at = head.writeUInt32LE(VERSION, at)
  at = head.writeUInt32LE(valueBytesMax, at)
  at = head.writeDoubleLE(index, at)
  at = head.writeDoubleLE(time, at)
  at = head.writeDoubleLE(size, at)
  head.writeDoubleLE(bytes, at)
  return head
}

export const encodedBytes = ({ key, value }: PlacedItem): number => ITEM_HEAD_BYTES + key.length + value.length

/** `bytes`: the sum of their `encodedBytes`. */
export function encodeItems(items: readonly PlacedItem[], bytes: number): Uint8Array {
  const piece = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const { key, value, deadline, version, place } of items) {
    at = piece.writeUInt32LE(place, at)
    at = piece.writeUInt32LE(key.length, at)
    at = piece.writeUInt32LE(value.length, at)
    at = piece.writeDoubleLE(deadline, at)
    at = piece.writeDoubleLE(version, at)
    at = writeLatin1(piece, writeLatin1(piece, at, key), value)
  }
  return piece
}

/** Reads them in whatever pieces they come. A flaw is thrown, in words. */
export class SnapshotReader {
  #bytes: Buffer = Buffer.alloc(0)
  #at = 0
  /** Come since, and not joined to `#bytes`, as that would not be enough. */
  #behind: Uint8Array[] = []
  #behindBytes = 0

  /** `bytes` stay as they are until everything in them was read. */
  push(bytes: Uint8Array): void {
    this.#behind.push(bytes)
    this.#behindBytes += bytes.length
  }

  /** Null: more has to come first. */
  head(): DataSetFacts | null {
    if (!this.#has(HEAD_BYTES)) return null
    const bytes = this.#bytes
    const at = this.#at
    const magic = latin1(bytes, at, at + MAGIC.length)
    if (magic !== MAGIC) throw new Error('it does not begin as a snapshot of balsa-kv does')
    const version = bytes.readUInt32LE(at + 8)
    if (version !== VERSION) throw new Error(`it has version ${version}, this server knows ${VERSION}: upgrade it`)
    this.#at += HEAD_BYTES
    return {
      valueBytesMax: bytes.readUInt32LE(at + 12),
      index: whole(bytes.readDoubleLE(at + 16), 'an index'),
      time: finite(bytes.readDoubleLE(at + 24), 'a time'),
      size: whole(bytes.readDoubleLE(at + 32), 'a count of keys'),
      bytes: whole(bytes.readDoubleLE(at + 40), 'a count of bytes'),
    }
  }

  /** Null: more has to come first. */
  item(): PlacedItem | null {
    if (!this.#has(ITEM_HEAD_BYTES)) return null
    const keyBytes = bounded(this.#bytes.readUInt32LE(this.#at + 4), ENTRY_BYTES_MAX, 'a key')
    const valueBytes = bounded(this.#bytes.readUInt32LE(this.#at + 8), BULK_BYTES_MAX, 'a value')
    if (!this.#has(ITEM_HEAD_BYTES + keyBytes + valueBytes)) return null
    const bytes = this.#bytes
    const at = this.#at
    const keyAt = at + ITEM_HEAD_BYTES
    const valueAt = keyAt + keyBytes
    this.#at = valueAt + valueBytes
    return {
      place: bytes.readUInt32LE(at),
      deadline: finite(bytes.readDoubleLE(at + 12), 'a deadline'),
      version: whole(bytes.readDoubleLE(at + 20), 'a version'),
      key: latin1(bytes, keyAt, valueAt),
      value: latin1(bytes, valueAt, valueAt + valueBytes),
    }
  }

  /** Bytes that have come and were not read. */
  get left(): number {
    return this.#bytes.length - this.#at + this.#behindBytes
  }

  #has(count: number): boolean {
    if (this.#bytes.length - this.#at >= count) return true
    if (this.left < count) return false
    this.#bytes = Buffer.concat([this.#bytes.subarray(this.#at), ...this.#behind])
    this.#at = 0
    this.#behind = []
    this.#behindBytes = 0
    return true
  }
}

function whole(value: number, what: string): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`it holds ${what} that is no whole number: ${value}`)
  return value
}

function finite(value: number, what: string): number {
  if (!Number.isFinite(value) || value < 0) throw new Error(`it holds ${what} that is none: ${value}`)
  return value
}

function bounded(bytes: number, most: number, what: string): number {
  if (bytes > most) throw new Error(`it holds ${what} of ${bytes} bytes, at most ${most} are allowed`)
  return bytes
}
