/**
 * Entries out of the segments of a file store: one read of the system for each call, every block checked before it
 * leaves.
 */

import type { RaftError } from '../../errors.js'
import { decodeBlock, verifyBlock } from '../../format/block.js'
import { logIndex } from '../../types.js'
import type { Block, LogIndex } from '../../types.js'
import type { BlockPlaces } from '../block-places.js'
import { clip, shorten } from '../clip-block.js'
import { READ_BYTES_MAX } from '../log-store.js'
import { unusableError } from './directory.js'
import { corruptError, missingError } from './replay.js'
import type { Segment, Segments } from './segments.js'

/** One block in a segment, and up to where it counts. */
interface Stretch {
  readonly first: number
  /** One behind its last entry that is in the log. */
  readonly until: LogIndex
  /** In the log. */
  readonly place: number
  readonly length: number
}

/** Blocks of one segment; what lies between them is read as well, and counts. */
interface Chunk {
  readonly segment: Segment
  readonly segmentEnd: number
  /** In the log, as `end`. */
  readonly start: number
  end: number
  readonly stretches: Stretch[]
}

/** Which entries, and how much of them at most. */
interface Range {
  readonly lo: LogIndex
  readonly hi: LogIndex
  readonly maxBytes: number
}

/**
 * Blocks clipped to lo .. hi-1, all of which the log holds; at most `maxBytes` and READ_BYTES_MAX, at least one entry.
 * None when a compaction has removed them meanwhile.
 */
export async function readBlocks(segments: Segments, places: BlockPlaces, range: Range): Promise<readonly Block[]> {
  const maxBytes = Math.min(range.maxBytes, READ_BYTES_MAX)
  const blocks: Block[] = []
  let left = maxBytes
  // Before the first await: a ticket that becomes durable meanwhile may change the places, never the bytes.
  for (const chunk of chunksOf(segments, places, { ...range, maxBytes })) {
    const bytes = await readChunk(segments, chunk)
    if (bytes === null) break
    for (const { first, until, place, length } of chunk.stretches) {
      const at = place - chunk.start
      const data = bytes.subarray(at, at + length)
      if (!verifyBlock(data)) throw damagedError(chunk, place, first)
      const clipped = clip(decodeBlock(data), range.lo, until)
      if (clipped.data.byteLength > left) {
        if (blocks.length === 0) blocks.push(shorten(clipped, left))
        return blocks
      }
      blocks.push(clipped)
      left -= clipped.data.byteLength
    }
  }
  return blocks
}

function chunksOf(segments: Segments, places: BlockPlaces, { lo, hi, maxBytes }: Range): readonly Chunk[] {
  const chunks: Chunk[] = []
  let left = maxBytes
  for (let row = places.find(lo); row < places.count && places.firstOf(row) < hi; row += 1) {
    const place = places.positionOf(row)
    const length = places.lengthOf(row)
    let chunk = chunks.at(-1)
    left -= chunk === undefined || place >= chunk.segmentEnd ? length : place + length - chunk.end
    if (left < 0 && chunk !== undefined) break
    if (chunk === undefined || place >= chunk.segmentEnd) {
      const { segment, end: segmentEnd } = segments.at(place)
      chunk = { segment, segmentEnd, start: place, end: place, stretches: [] }
      chunks.push(chunk)
    }
    const next = row + 1 < places.count ? places.firstOf(row + 1) : hi
    chunk.stretches.push({ first: places.firstOf(row), until: logIndex(Math.min(next, hi)), place, length })
    chunk.end = place + length
  }
  return chunks
}

/** Null when a compaction has removed the segment. */
async function readChunk(segments: Segments, { segment, start, end, stretches }: Chunk): Promise<Uint8Array | null> {
  const { path, base } = segment
  const index = stretches[0]?.first
  const bytes = Buffer.allocUnsafeSlow(end - start)
  let isThere: boolean
  try {
    isThere = await segments.read(segment, bytes, start - base)
  } catch (cause) {
    const reason = `cannot be read at byte ${start - base}, index ${index}. Check the disk and the mount`
    throw unusableError(path, reason, cause)
  }
  if (isThere) return bytes
  if (segments.isKept(segment)) throw missingError(path, `the log has index ${index} in it`)
  return null
}

function damagedError({ segment }: Chunk, place: number, index: number): RaftError {
  return corruptError(segment.path, place - segment.base, index, 'a block does not match its checksum')
}
