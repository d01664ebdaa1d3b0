/**
 * The operations of docs/storage-format.md: one ticket as one stretch of bytes, which is how it crosses the border to
 * the native store and how the journal keeps it.
 */

import { assert } from '../errors.js'
import { isPosition, logIndex, termOf } from '../types.js'
import type { HardState, StoreOperation } from '../types.js'
import { decodeBlock } from './block.js'
import { decodeConfiguration, encodeConfiguration } from './configuration.js'
import { bytesOfHex, hexOf } from './hex.js'
import { ALIGN, padded, readU64, viewOf, writeU64 } from './little-endian.js'
import { MalformedBytes } from './malformed.js'

type Compact = Extract<StoreOperation, { readonly type: 'compact' }>

/** The longest key of a fact, in bytes of UTF-8; also the longest server id. */
export const KEY_BYTES_MAX = 255
/** The longest value of a fact. */
export const VALUE_BYTES_MAX = 4096

const HEADER_BYTES = 16
/** The body of COMPACT before its configuration payload. */
const COMPACT_BYTES = 72
const ID_BYTES = 16
/** The packer begins with room for one full block and its companions, and doubles. */
const ARENA_BYTES_FIRST = 128 * 1024

const APPEND = 1
const TRUNC_SUFFIX = 2
const COMPACT = 3
const HARDSTATE = 4
const KV_PUT = 5
const KV_DEL = 6

/** UTF-16 code units to bytes of UTF-8, at worst. */
const UTF8_FACTOR = 3

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Packs tickets into one arena, again and again. */
export class OperationPacker {
  #arena = new Uint8Array(ARENA_BYTES_FIRST)
  #view = new DataView(this.#arena.buffer)
  #end = 0

  /** The bytes of one ticket: a view that is valid until the next call. */
  // Hot path: once per batch; one copy per block.
  pack(operations: readonly StoreOperation[]): Uint8Array {
    let room = 0
    for (const operation of operations) room += HEADER_BYTES + bodyBytesMost(operation) + ALIGN
    this.#reserve(room)
    this.#end = 0
    for (const operation of operations) this.#packOne(operation)
    return new Uint8Array(this.#arena.buffer, 0, this.#end)
  }

  #packOne(operation: StoreOperation): void {
    const body = this.#end + HEADER_BYTES
    switch (operation.type) {
      case 'append':
        this.#arena.set(operation.block.data, body)
        this.#close(APPEND, operation.block.data.length)
        return
      case 'truncateSuffix':
        writeU64(this.#view, body, operation.from)
        this.#close(TRUNC_SUFFIX, 8)
        return
      case 'compact':
        this.#close(COMPACT, this.#packCompact(body, operation))
        return
      case 'hardState':
        this.#close(HARDSTATE, this.#packHardState(body, operation.hardState))
        return
      case 'put': {
        const keyBytes = this.#writeKey(body + 4, operation.key)
        const { value } = operation
        assert(value.length <= VALUE_BYTES_MAX, `a value of ${value.length} bytes is over ${VALUE_BYTES_MAX}`)
        this.#view.setUint32(body, keyBytes, true)
        this.#arena.set(value, body + 4 + keyBytes)
        this.#close(KV_PUT, 4 + keyBytes + value.length)
        return
      }
      case 'delete':
        this.#close(KV_DEL, this.#writeKey(body, operation.key))
        return
      default:
        throw unknownOperation(operation)
    }
  }

  #packCompact(body: number, { first, prevTerm, snapshot, keepSuffix }: Compact): number {
    const payload = encodeConfiguration(snapshot)
    writeU64(this.#view, body, first)
    writeU64(this.#view, body + 8, prevTerm)
    writeU64(this.#view, body + 16, snapshot.index)
    writeU64(this.#view, body + 24, snapshot.term)
    writeU64(this.#view, body + 32, snapshot.time)
    writeU64(this.#view, body + 40, snapshot.configurationIndex)
    this.#arena.set(bytesOfHex(snapshot.id), body + 48)
    writeU64(this.#view, body + 64, Number(keepSuffix))
    this.#arena.set(payload, body + COMPACT_BYTES)
    return COMPACT_BYTES + payload.length
  }

  #packHardState(body: number, hardState: HardState): number {
    writeU64(this.#view, body, hardState.term)
    writeU64(this.#view, body + 8, hardState.commitIndex)
    return 16 + (hardState.votedFor === null ? 0 : this.#writeKey(body + 16, hardState.votedFor))
  }

  /** Writes the header of the operation whose body is in place, and its padding. */
  #close(code: number, bodyBytes: number): void {
    this.#view.setUint32(this.#end, code, true)
    this.#view.setUint32(this.#end + 4, bodyBytes, true)
    writeU64(this.#view, this.#end + 8, 0)
    const bodyEnd = this.#end + HEADER_BYTES + bodyBytes
    this.#end = padded(bodyEnd)
    this.#arena.fill(0, bodyEnd, this.#end)
  }

  #writeKey(at: number, key: string): number {
    const { read, written } = encoder.encodeInto(key, this.#arena.subarray(at))
    assert(
      read === key.length && written >= 1 && written <= KEY_BYTES_MAX,
      `a key of ${written} bytes, not 1 .. ${KEY_BYTES_MAX}`,
    )
    return written
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#arena.length) return
    this.#arena = new Uint8Array(Math.max(bytes, 2 * this.#arena.length))
    this.#view = new DataView(this.#arena.buffer)
  }
}

/** The steps of one packed ticket; blocks and values are views of `bytes`. Throws MalformedBytes; looks at no CRC. */
export function decodeOperations(bytes: Uint8Array): StoreOperation[] {
  const view = viewOf(bytes)
  const operations: StoreOperation[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes.length - at < HEADER_BYTES) fail(`${bytes.length - at} bytes are left at ${at}, not a header`)
    const length = view.getUint32(at + 4, true)
    const bodyEnd = at + HEADER_BYTES + length
    const end = padded(bodyEnd)
    if (end > bytes.length) fail(`a body of ${length} bytes at ${at} passes the end`)
    if (readU64(view, at + 8) !== 0) fail(`group ${readU64(view, at + 8)} at ${at}, this version knows only group 0`)
    for (let pad = bodyEnd; pad < end; pad += 1) if (bytes[pad] !== 0) fail(`padding at ${pad} is not zero`)
    operations.push(decodeOne(view.getUint32(at, true), bytes.subarray(at + HEADER_BYTES, bodyEnd)))
    at = end
  }
  return operations
}

function decodeOne(code: number, body: Uint8Array): StoreOperation {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  switch (code) {
    case APPEND:
      return { type: 'append', block: decodeBlock(body) }
    case TRUNC_SUFFIX:
      if (body.length !== 8) fail(`TRUNC_SUFFIX with ${body.length} bytes`)
      return { type: 'truncateSuffix', from: logIndex(position(view, 0)) }
    case COMPACT:
      return decodeCompact(view, body)
    case HARDSTATE:
      return { type: 'hardState', hardState: decodeHardState(view, body) }
    case KV_PUT:
      return decodePut(view, body)
    case KV_DEL:
      return { type: 'delete', key: decodeKey(body) }
    default:
      return fail(`unknown operation ${code}`)
  }
}

function decodeCompact(view: DataView, body: Uint8Array): Compact {
  if (body.length < COMPACT_BYTES) fail(`COMPACT with ${body.length} bytes`)
  const keepSuffix = readU64(view, 64)
  if (keepSuffix > 1) fail(`COMPACT with ${keepSuffix} where it says whether it keeps the suffix`)
  const payload = decodeConfiguration(body.slice(COMPACT_BYTES))
  return {
    type: 'compact',
    first: logIndex(position(view, 0)),
    prevTerm: termOf(position(view, 8)),
    snapshot: {
      id: hexOf(body.subarray(48, 48 + ID_BYTES)),
      index: logIndex(position(view, 16)),
      term: termOf(position(view, 24)),
      time: position(view, 32),
      configurationIndex: logIndex(position(view, 40)),
      ...payload,
    },
    keepSuffix: keepSuffix === 1,
  }
}

function decodeHardState(view: DataView, body: Uint8Array): HardState {
  if (body.length < 16) fail(`HARDSTATE with ${body.length} bytes`)
  return {
    term: termOf(position(view, 0)),
    commitIndex: logIndex(position(view, 8)),
    votedFor: body.length === 16 ? null : decodeKey(body.subarray(16)),
  }
}

function decodePut(view: DataView, body: Uint8Array): StoreOperation {
  if (body.length < 4) fail(`KV_PUT with ${body.length} bytes`)
  const keyEnd = 4 + view.getUint32(0, true)
  if (keyEnd > body.length) fail(`a key up to ${keyEnd} in a body of ${body.length} bytes`)
  const value = body.subarray(keyEnd)
  if (value.length > VALUE_BYTES_MAX) fail(`a value of ${value.length} bytes is over ${VALUE_BYTES_MAX}`)
  return { type: 'put', key: decodeKey(body.subarray(4, keyEnd)), value }
}

function decodeKey(bytes: Uint8Array): string {
  if (bytes.length < 1 || bytes.length > KEY_BYTES_MAX)
    fail(`a key of ${bytes.length} bytes, not 1 .. ${KEY_BYTES_MAX}`)
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new MalformedBytes('operations', 'a key is not UTF-8', cause)
  }
}

function position(view: DataView, at: number): number {
  const value = readU64(view, at)
  if (!isPosition(value)) fail(`position ${value} is over 2^53 - 1`)
  return value
}

/** Room for the body of one operation, never less than it takes. */
function bodyBytesMost(operation: StoreOperation): number {
  switch (operation.type) {
    case 'append':
      return operation.block.data.length
    case 'truncateSuffix':
      return 8
    case 'compact':
      return COMPACT_BYTES + encodeConfiguration(operation.snapshot).length
    case 'hardState':
      return 16 + UTF8_FACTOR * (operation.hardState.votedFor?.length ?? 0)
    case 'put':
      return 4 + UTF8_FACTOR * operation.key.length + operation.value.length
    case 'delete':
      return UTF8_FACTOR * operation.key.length
    default:
      throw unknownOperation(operation)
  }
}

function unknownOperation(operation: never): Error {
  return new TypeError(`unknown store operation ${JSON.stringify(operation)}`)
}

function fail(reason: string): never {
  throw new MalformedBytes('operations', reason)
}
