/**
 * The log of a file store as segments: files of one size each, one behind the other, of which only the last is written
 * to. A place in the log counts on through all of them. Whole segments that hold nothing any more are removed; what
 * stays is never written again.
 *
 * What must hold: a segment has its name only when all that it begins with is durable; the one before it is marked as
 * sealed only then; one is removed only when what makes it needless is durable. So the newest segments are there
 * without a gap, and a removal that was cut off leaves only such as lie below all that is needed.
 */

import { join } from 'node:path'

import { writeAll } from '../../disk/files.js'
import type { DiskFile } from '../../disk/files.js'
import { assert } from '../../errors.js'
import { encodeCheckpoint } from '../../format/file-checkpoint.js'
import type { Checkpoint } from '../../format/file-checkpoint.js'
import { BATCH_HEADER_BYTES, encodeSegment } from '../../format/file-batch.js'
import type { BatchKind, BatchPlace, FileIdentity } from '../../format/file-batch.js'
import type { Disk } from './disk.js'
import { readFully } from './read-fully.js'
import { FileWriter, whenRoom } from './writer.js'
import type { OnFull } from './writer.js'

/** Few enough files for a long log, and small enough to give room back soon. */
export const SEGMENT_BYTES = 64 * 1024 * 1024

const NAME = /^segment-(\d{8,15})$/
const NUMBER_DIGITS = 8
/** A segment that is being made. */
const NEW = '.new'

export function segmentName(number: number): string {
  return `segment-${String(number).padStart(NUMBER_DIGITS, '0')}`
}

/** Null when the name is of something else. */
export function segmentNumber(name: string): number | null {
  const number = Number(NAME.exec(name)?.[1])
  return segmentName(number) === name ? number : null
}

/** Whether it is a segment whose making was cut off. */
export function isUnfinished(name: string): boolean {
  return name.endsWith(NEW) && segmentNumber(name.slice(0, -NEW.length)) !== null
}

export interface Segment {
  readonly number: number
  readonly path: string
  /** The place of its first byte in the log. */
  readonly base: number
}

export interface SealedSegment extends Segment {
  /** Its length, or more. Invariant: the next one begins at base + bytes. */
  readonly bytes: number
}

/** Where a log stands that was replayed. */
export interface LogFiles {
  readonly identity: FileIdentity
  /** Ascending, without a gap up to `last`. */
  readonly sealed: readonly SealedSegment[]
  readonly last: Segment
  /** Of `last`, open. */
  readonly file: DiskFile
  /** Where the next batch goes, in `last`. */
  readonly end: BatchPlace
}

export class Segments {
  readonly #disk: Disk
  readonly #dir: string
  readonly #identity: FileIdentity
  readonly #segmentBytes: number
  readonly #sealed: SealedSegment[]
  #last: Segment
  #file: DiskFile
  #writer: FileWriter
  /** Of segments that are sealed. */
  #flushCount = 0
  /** Behind the checkpoint of the last segment; null where that was there before. */
  #emptyAt: number | null = null
  /** Of the last segment, under way. */
  readonly #reads = new Set<Promise<void>>()
  /** Files of earlier last segments are closed when their last read is over. */
  #closing: Promise<unknown> = Promise.resolve()
  /** What is to be removed, and was not yet; oldest first. */
  readonly #doomed: { readonly path: string; readonly bytes: number }[]
  #removing: Promise<void> | null = null

  /** `leftovers`: paths of segments that are no longer needed. */
  constructor(disk: Disk, dir: string, files: LogFiles, leftovers: readonly string[], segmentBytes: number) {
    this.#disk = disk
    this.#dir = dir
    this.#identity = files.identity
    this.#segmentBytes = segmentBytes
    this.#sealed = [...files.sealed]
    this.#last = files.last
    this.#file = files.file
    this.#writer = new FileWriter(files.file, files.last.path, files.identity, files.end)
    this.#doomed = leftovers.map((path) => ({ path, bytes: 0 }))
  }

  /** The file that is written to. */
  get lastPath(): string {
    return this.#last.path
  }

  /** Of the segments that are there, leftovers of an earlier open aside. */
  get usedBytes(): number {
    let bytes = this.#writer.place.position
    for (const segment of this.#sealed) bytes += segment.bytes
    for (const segment of this.#doomed) bytes += segment.bytes
    return bytes
  }

  /** Device flushes that it asked for. */
  get flushes(): number {
    return this.#flushCount + this.#writer.flushes
  }

  /** Whether a batch with such a body goes into the last segment; the first one always does. */
  hasRoomFor(bodyBytes: number): boolean {
    const { position } = this.#writer.place
    return position === this.#emptyAt || position + BATCH_HEADER_BYTES + bodyBytes <= this.#segmentBytes
  }

  /** Makes one batch durable, at the end; answers with the place of its body in the log. */
  // Hot path: once per batch.
  async append(kind: BatchKind, parts: readonly Uint8Array[], onFull: OnFull): Promise<number> {
    const { base } = this.#last
    return base + (await this.#writer.append(kind, parts, onFull))
  }

  /** Begins the next segment with what must be known without those before it. */
  async roll(checkpoint: Checkpoint, onFull: OnFull): Promise<void> {
    const { place } = this.#writer
    const number = this.#last.number + 1
    const path = join(this.#dir, segmentName(number))
    const { bytes, next } = encodeSegment(this.#identity, number, place, encodeCheckpoint(checkpoint))
    const file = await this.#makeFile(path, bytes, onFull)
    try {
      await this.#writer.append('sealed', [], onFull)
    } catch (error) {
      await file.close()
      throw error
    }
    const { position } = this.#writer.place
    this.#sealed.push({ ...this.#last, bytes: position })
    this.#flushCount += this.#writer.flushes
    this.#closeLater(this.#file)
    this.#last = { number, path, base: this.#last.base + position }
    this.#file = file
    this.#writer = new FileWriter(file, path, this.#identity, next)
    this.#emptyAt = next.position
  }

  /** The segment at that place, and where it ends. */
  at(place: number): { readonly segment: Segment; readonly end: number } {
    if (place >= this.#last.base) return { segment: this.#last, end: Infinity }
    const segment = this.#sealed.findLast(({ base }) => base <= place)
    assert(segment !== undefined, `no segment holds ${place}`)
    return { segment, end: segment.base + segment.bytes }
  }

  isKept({ number }: Segment): boolean {
    return number >= (this.#sealed[0] ?? this.#last).number
  }

  /** Fills `into` from a byte of the segment on; false when its file is not there. */
  async read(segment: Segment, into: Uint8Array, position: number): Promise<boolean> {
    if (segment.number === this.#last.number) {
      const reading = readFully(this.#file, into, position)
      this.#reads.add(reading)
      try {
        await reading
      } finally {
        this.#reads.delete(reading)
      }
      return true
    }
    const file = await this.#disk.openFile(segment.path)
    if (file === null) return false
    try {
      await readFully(file, into, position)
    } finally {
      await file.close()
    }
    return true
  }

  /**
   * Gives room back, in the background: nothing before that place of the log is needed any more, by what is durable;
   * null: nothing before the last segment. A file that cannot be removed is tried again with the next call.
   */
  removeBefore(place: number | null): void {
    const needed = place ?? this.#last.base
    for (let oldest = this.#sealed[0]; oldest !== undefined; oldest = this.#sealed[0]) {
      const { path, base, bytes } = oldest
      if (base + bytes > needed) break
      this.#sealed.shift()
      this.#doomed.push({ path, bytes })
    }
    if (this.#doomed.length > 0) this.#removing ??= this.#removeDoomed()
  }

  async close(): Promise<void> {
    await this.#removing
    await this.#closing
    await Promise.allSettled(this.#reads)
    await this.#file.close()
  }

  /** A whole segment under its name, durably. */
  async #makeFile(path: string, bytes: Uint8Array, onFull: OnFull): Promise<DiskFile> {
    const unnamed = path + NEW
    const file = await whenRoom(() => this.#disk.createFile(unnamed), unnamed, onFull)
    try {
      await whenRoom(() => writeAll(file, bytes, 0), unnamed, onFull)
      this.#flushCount += 1
      await file.datasync()
      await whenRoom(() => this.#disk.rename(unnamed, path), path, onFull)
      await this.#disk.syncDirectory(this.#dir)
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** All of it is durable: an error has nothing to say. */
  #closeLater(file: DiskFile): void {
    const reads = Promise.allSettled(this.#reads)
    const closing = reads.then(() => file.close()).catch(() => {})
    this.#closing = Promise.all([this.#closing, closing])
  }

  async #removeDoomed(): Promise<void> {
    try {
      for (let oldest = this.#doomed[0]; oldest !== undefined; oldest = this.#doomed[0]) {
        await this.#disk.remove(oldest.path)
        this.#doomed.shift()
      }
      await this.#disk.syncDirectory(this.#dir)
    } catch {
      // Nothing is lost by a file too many: it counts in `usedBytes`, and the next call finds it in `doomed`.
    }
    this.#removing = null
  }
}
