/**
 * Reads the file of a file store from its first byte to its last, and says what it holds. Every batch is checked:
 * place, sequence, chain and both checksums. The first that is not intact is the end, if nothing follows it: a batch is
 * begun only when the one before it is durable, so it was never reported. An intact header behind it proves that it
 * was, and that it is damaged.
 */

import type { DiskFile } from '../../disk/files.js'
import { RaftError } from '../../errors.js'
import {
  BATCH_HEADER_BYTES,
  decodeBatchHeader,
  decodeBoot,
  decodeFileHeader,
  FILE_HEADER_BYTES,
  isBodyIntact,
  placeBehind,
} from '../../format/file-batch.js'
import type { BatchHeader, BatchPlace, FileIdentity } from '../../format/file-batch.js'
import { ALIGN } from '../../format/little-endian.js'
import { MalformedBytes, UnknownFormat } from '../../format/malformed.js'
import { decodeOperations } from '../../format/operations.js'
import { neverEmpty } from '../lost-data.js'
import { FileImage } from './image.js'

export interface Replayed {
  readonly identity: FileIdentity
  readonly image: FileImage
  /** Of the last open; 0 when there was none. */
  readonly bootCounter: number
  /** Behind the last intact batch. */
  readonly end: BatchPlace
  /** The last intact batch: the only one that may be in the system's cache alone. Null when there is none. */
  readonly last: BatchHeader | null
  /** The length of the file; more than `end.position` when a batch was cut off. */
  readonly size: number
}

/** What is read at once, unless a batch is larger. */
const WINDOW_BYTES = 1024 * 1024

/** Throws ERR_RAFT_STORE_CORRUPT with file, byte and index; an error of the system as it is. */
export async function replayFile(file: DiskFile, path: string): Promise<Replayed> {
  const size = await file.size()
  const window = new Window(file, size)
  const header = decodeFileHeader((await window.take(0, FILE_HEADER_BYTES)) ?? new Uint8Array(0))
  if (header === null) throw corruptError(path, 0, 0, 'its header is missing or not intact')
  const { identity } = header
  const image = new FileImage()
  let end = header.first
  let last: BatchHeader | null = null
  let bootCounter = 0
  for (;;) {
    const { position } = end
    const found = await takeBatch(window, identity, position)
    if (found === null) break
    const { header: batch, body } = found
    if (batch.sequence !== end.sequence || batch.previous !== end.previous) {
      const reason = `batch ${batch.sequence} does not follow batch ${end.sequence - 1}`
      throw corruptError(path, position, image.head.lastIndex + 1, reason)
    }
    try {
      bootCounter = carryOut(image, batch, body, bootCounter)
    } catch (cause) {
      if (cause instanceof UnknownFormat) throw laterFormat(path, image.head.lastIndex + 1, cause)
      if (!(cause instanceof MalformedBytes)) throw cause
      throw corruptError(path, position, image.head.lastIndex + 1, cause.message, cause)
    }
    last = batch
    end = placeBehind(batch)
  }
  const later = await findHeader(window, identity, end.position + ALIGN)
  if (later !== null) {
    const reason = `the batch there is not intact, and another follows at byte ${later}`
    throw corruptError(path, end.position, image.head.lastIndex + 1, reason)
  }
  return { identity, image, bootCounter, end, last, size }
}

/** `index` is the first that the damage may concern. */
export function corruptError(
  path: string,
  position: number,
  index: number,
  reason: string,
  cause?: unknown,
): RaftError {
  return new RaftError(
    'ERR_RAFT_STORE_CORRUPT',
    `${path} is damaged at byte ${position}, index ${index}: ${reason}. The file was left as it is. The others go on without this server while they are a majority. ${neverEmpty}`,
    { cause },
  )
}

/** Nothing is damaged: the remedy is another version, never another directory. */
function laterFormat(path: string, index: number, cause: UnknownFormat): RaftError {
  return new RaftError('ERR_RAFT_STORE_FORMAT', `${path} at index ${index}: ${cause.message}`, { cause })
}

/** An intact batch at that place; null when there is none. */
async function takeBatch(
  window: Window,
  identity: FileIdentity,
  position: number,
): Promise<{ header: BatchHeader; body: Uint8Array } | null> {
  const head = await window.take(position, BATCH_HEADER_BYTES)
  const header = head === null ? null : decodeBatchHeader(identity, head, 0, position)
  if (header === null) return null
  const body = await window.take(position + BATCH_HEADER_BYTES, header.bodyBytes)
  return body !== null && isBodyIntact(header, body) ? { header, body } : null
}

/** The boot counter after this batch. */
function carryOut(image: FileImage, header: BatchHeader, body: Uint8Array, bootCounter: number): number {
  switch (header.kind) {
    case 'tickets':
      image.apply(decodeOperations(body), body, header.position + BATCH_HEADER_BYTES)
      return bootCounter
    case 'open': {
      const counted = decodeBoot(body)
      if (counted === bootCounter + 1) return counted
      throw new MalformedBytes('operations', `boot counter ${counted} follows ${bootCounter}`)
    }
    case 'close':
      if (body.length === 0) return bootCounter
      throw new MalformedBytes('operations', `a close with ${body.length} bytes`)
    default:
      throw new TypeError(`unknown batch ${JSON.stringify(header.kind satisfies never)}`)
  }
}

/** The position of the first intact header at `from` or behind it, on a multiple of 8; null when there is none. */
async function findHeader(window: Window, identity: FileIdentity, from: number): Promise<number | null> {
  let position = from
  while (position + BATCH_HEADER_BYTES <= window.size) {
    const bytes = await window.take(position, Math.min(WINDOW_BYTES, window.size - position))
    if (bytes === null) return null
    let at = 0
    for (; at + BATCH_HEADER_BYTES <= bytes.length; at += ALIGN) {
      if (decodeBatchHeader(identity, bytes, at, position + at) !== null) return position + at
    }
    position += at
  }
  return null
}

/** A stretch of the file in memory. */
class Window {
  readonly size: number
  readonly #file: DiskFile
  #bytes: Uint8Array = new Uint8Array(0)
  #start = 0

  constructor(file: DiskFile, size: number) {
    this.#file = file
    this.size = size
  }

  /** A view that is valid until the next call; null when the file ends before it does. */
  async take(position: number, length: number): Promise<Uint8Array | null> {
    if (position + length > this.size) return null
    if (position < this.#start || position + length > this.#start + this.#bytes.length) {
      this.#bytes = new Uint8Array(Math.min(Math.max(length, WINDOW_BYTES), this.size - position))
      this.#start = position
      await readFully(this.#file, this.#bytes, position)
    }
    const at = position - this.#start
    return this.#bytes.subarray(at, at + length)
  }
}

/** Fills `into`; throws when the file ends before. */
export async function readFully(file: DiskFile, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const read = await file.read(into.subarray(done), position + done)
    if (read === 0) throw new Error(`the file ended at ${position + done} while it was read`)
    done += read
  }
}
