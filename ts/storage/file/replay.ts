/**
 * Reads the segments of a file store, from the oldest to the newest, and says what they hold. Every batch is checked:
 * place, sequence, chain and both checksums. The first of the newest segment that is not intact is the end, if nothing
 * follows it: a batch is begun only when the one before it is durable, so it was never reported. An intact header, or a
 * segment, behind it proves that it was, and that it is damaged.
 *
 * Where segments are missing, those above the gap are read. What a compaction was removing may be gone in part; whether
 * more than that is gone shows at the end: an entry of the log then lies in no segment that is there.
 */

import { join } from 'node:path'

import type { DiskFile } from '../../disk/files.js'
import { RaftError } from '../../errors.js'
import {
  BATCH_HEADER_BYTES,
  decodeBatchHeader,
  decodeBoot,
  decodeStoreHeader,
  isBodyIntact,
  placeBehind,
  SEGMENT_HEADER_BYTES,
  segmentHeaderFault,
  STORE_HEADER_BYTES,
} from '../../format/file-batch.js'
import type { BatchHeader, BatchLink, BatchPlace, FileIdentity } from '../../format/file-batch.js'
import { decodeCheckpoint, encodeCheckpoint } from '../../format/file-checkpoint.js'
import { ALIGN } from '../../format/little-endian.js'
import { MalformedBytes, UnknownFormat } from '../../format/malformed.js'
import { decodeOperations } from '../../format/operations.js'
import { neverEmpty } from '../lost-data.js'
import { LOG_FILE } from './directory.js'
import type { Disk } from './disk.js'
import { FileImage } from './image.js'
import { readFully } from './read-fully.js'
import { segmentName, segmentNumber } from './segments.js'
import type { LogFiles, SealedSegment, Segment } from './segments.js'

export interface Replayed extends LogFiles {
  readonly image: FileImage
  /** The last intact batch: the only one that may be in the system's cache alone. */
  readonly lastBatch: BatchHeader
  /** The length of the last segment; more than `end.position` when a batch was cut off. */
  readonly size: number
  /** Paths of segments below a gap. */
  readonly leftovers: readonly string[]
  /** The segment before the last, where the process died before it put the mark behind it. */
  readonly unsealed: Pick<ReadSegment, 'segment' | 'end'> | null
}

/** What is read at once, unless a batch is larger. */
const WINDOW_BYTES = 1024 * 1024

/** One segment, read to its end. */
interface ReadSegment {
  readonly segment: Segment
  readonly file: DiskFile
  /** After all of its batches. */
  readonly image: FileImage
  /** Behind the last intact batch, the mark of a sealed one aside. */
  readonly end: BatchPlace
  readonly lastBatch: BatchHeader
  readonly isSealed: boolean
  readonly size: number
}

/** Throws ERR_RAFT_STORE_CORRUPT with file, byte and index; an error of the system as it is. */
export async function replayStore(disk: Disk, dir: string): Promise<Replayed> {
  const { identity, first } = await readStoreHeader(disk, join(dir, LOG_FILE))
  const numbers = await segmentsIn(disk, dir)
  const from = Math.max(
    0,
    numbers.findLastIndex((number, at) => at > 0 && numbers[at - 1] !== number - 1),
  )
  const leftovers = numbers.slice(0, from).map((number) => join(dir, segmentName(number)))
  const sealed: SealedSegment[] = []
  let before: ReadSegment | null = null
  let read: ReadSegment | null = null
  for (const number of numbers.slice(from)) {
    if (read !== null) {
      await read.file.close()
      sealed.push({ ...read.segment, bytes: read.size })
    }
    const base = read === null ? 0 : read.segment.base + read.size
    const segment = { number, path: join(dir, segmentName(number)), base }
    before = read
    read = await openSegment(disk, segment, { identity, first, before })
  }
  if (read === null) throw missingError(join(dir, segmentName(1)), 'no segment of the log is there')
  const { segment: last, file, image, end, lastBatch, size } = read
  try {
    checkWhole(dir, [...sealed, last], read)
  } catch (error) {
    await file.close()
    throw error
  }
  const unsealed = before === null || before.isSealed ? null : before
  return { identity, sealed, last, file, image, end, lastBatch, size, leftovers, unsealed }
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

export function missingError(path: string, reason: string): RaftError {
  return new RaftError('ERR_RAFT_STORE_CORRUPT', `${path} is missing: ${reason}. Put the file back. ${neverEmpty}`)
}

async function readStoreHeader(disk: Disk, path: string): Promise<{ identity: FileIdentity; first: BatchLink }> {
  const file = await disk.openFile(path)
  if (file === null) throw missingError(path, 'FORMAT says that the store is complete')
  try {
    const window = new Window(file, await file.size())
    const header = decodeStoreHeader((await window.take(0, STORE_HEADER_BYTES)) ?? new Uint8Array(0))
    if (header === null || window.size !== STORE_HEADER_BYTES) {
      throw corruptError(path, 0, 0, 'its header is missing or not intact')
    }
    return header
  } finally {
    await file.close()
  }
}

/** Ascending. */
export async function segmentsIn(disk: Disk, dir: string): Promise<readonly number[]> {
  const numbers = (await disk.list(dir)).map(segmentNumber).filter((number) => number !== null)
  return numbers.toSorted((a, b) => a - b)
}

/** What a whole log needs, of the segments that are there. */
function checkWhole(dir: string, there: readonly Segment[], { segment, image, isSealed }: ReadSegment): void {
  if (isSealed) {
    throw missingError(join(dir, segmentName(segment.number + 1)), `${segment.path} says that it follows`)
  }
  if (image.isWhole) return
  const oldest = there[0] ?? segment
  const reason = `the log begins at index ${image.head.firstIndex}, which is not in ${oldest.path} and what follows it`
  throw missingError(join(dir, segmentName(oldest.number - 1)), reason)
}

interface Context {
  readonly identity: FileIdentity
  /** What the first batch of the store must say. */
  readonly first: BatchLink
  /** Null for the oldest that is there. */
  readonly before: ReadSegment | null
}

async function openSegment(disk: Disk, segment: Segment, context: Context): Promise<ReadSegment> {
  const file = await disk.openFile(segment.path)
  if (file === null) throw missingError(segment.path, 'it was there when the directory was listed')
  try {
    return await readSegment(file, segment, context)
  } catch (error) {
    await file.close()
    throw error
  }
}

async function readSegment(file: DiskFile, segment: Segment, context: Context): Promise<ReadSegment> {
  const { path, base } = segment
  const { identity } = context
  const size = await file.size()
  const window = new Window(file, size)
  const start = await readStart(window, segment, context)
  const { image } = start
  let lastBatch = start.batch
  let mark: BatchHeader | null = null
  while (mark === null) {
    const end = placeBehind(lastBatch)
    const { position } = end
    const found = await takeBatch(window, identity, position)
    if (found === null) break
    const { batch, body } = found
    const index = image.head.lastIndex + 1
    if (!follows(batch, end)) throw corruptError(path, position, index, brokenChain(batch, end))
    understood(path, position, index, () => carryOut(image, batch, body, base))
    if (batch.kind === 'sealed') mark = batch
    else lastBatch = batch
  }
  const behind = placeBehind(mark ?? lastBatch).position
  const later = await findHeader(window, identity, mark === null ? behind + ALIGN : behind)
  if (later !== null) {
    const reason = `the batch there is not intact, and another follows at byte ${later}`
    throw corruptError(path, behind, image.head.lastIndex + 1, reason)
  }
  return { segment, file, image, end: placeBehind(lastBatch), lastBatch, isSealed: mark !== null, size }
}

/** The header and the first batch, which have been durable since the segment has its name: damage is no cut. */
async function readStart(
  window: Window,
  { number, path }: Segment,
  { identity, first, before }: Context,
): Promise<{ batch: BatchHeader; image: FileImage }> {
  const index = before === null ? 0 : before.image.head.lastIndex + 1
  const header = (await window.take(0, SEGMENT_HEADER_BYTES)) ?? new Uint8Array(0)
  const fault = segmentHeaderFault(identity, number, header)
  if (fault !== null) throw corruptError(path, 0, index, fault)
  const found = await takeBatch(window, identity, SEGMENT_HEADER_BYTES)
  if (found === null || found.batch.kind !== 'checkpoint') {
    throw corruptError(path, SEGMENT_HEADER_BYTES, index, 'it does not begin with a checkpoint that is intact')
  }
  const { batch, body } = found
  const link = before?.end ?? (number === 1 ? first : null)
  if (before !== null && batch.sequence > before.end.sequence) {
    const reason = `the batch there is not intact, and ${path} follows`
    throw corruptError(before.segment.path, before.end.position, index, reason)
  }
  if (link !== null && !follows(batch, link)) {
    throw corruptError(path, SEGMENT_HEADER_BYTES, index, brokenChain(batch, link))
  }
  const image = understood(path, SEGMENT_HEADER_BYTES, index, () => new FileImage(decodeCheckpoint(body)))
  if (before === null) return { batch, image }
  if (Buffer.compare(encodeCheckpoint(before.image.checkpoint()), body) !== 0) {
    const reason = `its checkpoint is not what ${before.segment.path} leaves`
    throw corruptError(path, SEGMENT_HEADER_BYTES, index, reason)
  }
  return { batch, image: before.image }
}

export function follows(batch: BatchLink, link: BatchLink): boolean {
  return batch.sequence === link.sequence && batch.previous === link.previous
}

export function brokenChain(batch: BatchLink, { sequence }: BatchLink): string {
  return `batch ${batch.sequence} does not follow batch ${sequence - 1}`
}

/** What is intact and cannot be carried out, as an error with its place. */
function understood<T>(path: string, position: number, index: number, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    // Nothing is damaged: the remedy is another version, never another directory.
    if (cause instanceof UnknownFormat) {
      throw new RaftError('ERR_RAFT_STORE_FORMAT', `${path} at index ${index}: ${cause.message}`, { cause })
    }
    if (!(cause instanceof MalformedBytes)) throw cause
    throw corruptError(path, position, index, cause.message, cause)
  }
}

/** An intact batch at that place; null when there is none. */
export async function takeBatch(
  window: Window,
  identity: FileIdentity,
  position: number,
): Promise<{ batch: BatchHeader; body: Uint8Array } | null> {
  const head = await window.take(position, BATCH_HEADER_BYTES)
  const batch = head === null ? null : decodeBatchHeader(identity, head, 0, position)
  if (batch === null) return null
  const body = await window.take(position + BATCH_HEADER_BYTES, batch.bodyBytes)
  return body !== null && isBodyIntact(batch, body) ? { batch, body } : null
}

export function carryOut(image: FileImage, { kind, position }: BatchHeader, body: Uint8Array, base: number): void {
  switch (kind) {
    case 'tickets':
      image.apply(decodeOperations(body), body, base + position + BATCH_HEADER_BYTES)
      return
    case 'open': {
      const { bootCounter } = image
      const counted = decodeBoot(body)
      if (counted !== bootCounter + 1) {
        throw new MalformedBytes('operations', `boot counter ${counted} follows ${bootCounter}`)
      }
      image.bootCounter = counted
      return
    }
    case 'checkpoint':
      throw new MalformedBytes('operations', 'a checkpoint behind the beginning of a segment')
    case 'close':
    case 'sealed':
      if (body.length > 0) throw new MalformedBytes('operations', `a mark with ${body.length} bytes`)
      return
    default:
      throw new TypeError(`unknown batch ${JSON.stringify(kind satisfies never)}`)
  }
}

/** The position of the first intact header at `from` or behind it, on a multiple of 8; null when there is none. */
export async function findHeader(window: Window, identity: FileIdentity, from: number): Promise<number | null> {
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
export class Window {
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
