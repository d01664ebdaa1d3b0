/**
 * Entries out of the file of a file store: one read of the system for each call, every block checked before it leaves.
 */

import type { DiskFile } from '../../disk/files.js'
import { decodeBlock, verifyBlock } from '../../format/block.js'
import { logIndex } from '../../types.js'
import type { Block, LogIndex } from '../../types.js'
import type { BlockPlaces } from '../block-places.js'
import { clip, shorten } from '../clip-block.js'
import { READ_BYTES_MAX } from '../log-store.js'
import { unusableError } from './directory.js'
import { corruptError, readFully } from './replay.js'

/** One block in the file, and up to where it counts. */
interface Stretch {
  readonly first: number
  /** One behind its last entry that is in the log. */
  readonly until: LogIndex
  readonly position: number
  readonly length: number
}

/**
 * Blocks clipped to lo .. hi-1, all of which the log holds; at most `maxBytes` and READ_BYTES_MAX, at least one entry.
 */
export async function readBlocks(
  file: DiskFile,
  path: string,
  places: BlockPlaces,
  range: { readonly lo: LogIndex; readonly hi: LogIndex; readonly maxBytes: number },
): Promise<readonly Block[]> {
  const { lo, hi } = range
  const maxBytes = Math.min(range.maxBytes, READ_BYTES_MAX)
  // Before the first await: a ticket that becomes durable meanwhile may change the places, never the bytes.
  const stretches = stretchesOf(places, lo, hi, maxBytes)
  const start = stretches[0]?.position ?? 0
  const end = stretches.reduce((most, { position, length }) => Math.max(most, position + length), start)
  const bytes = Buffer.allocUnsafeSlow(end - start)
  try {
    await readFully(file, bytes, start)
  } catch (cause) {
    throw unusableError(path, `cannot be read at byte ${start}, index ${lo}. Check the disk and the mount`, cause)
  }
  const blocks: Block[] = []
  let left = maxBytes
  for (const { first, until, position, length } of stretches) {
    const data = bytes.subarray(position - start, position - start + length)
    if (!verifyBlock(data)) throw corruptError(path, position, first, 'a block does not match its checksum')
    const clipped = clip(decodeBlock(data), lo, until)
    if (clipped.data.byteLength > left) {
      if (blocks.length === 0) blocks.push(shorten(clipped, left))
      break
    }
    blocks.push(clipped)
    left -= clipped.data.byteLength
  }
  return blocks
}

/** Blocks that lie in one stretch of the file; what lies between them is read as well, and counts. */
function stretchesOf(places: BlockPlaces, lo: LogIndex, hi: LogIndex, maxBytes: number): readonly Stretch[] {
  const stretches: Stretch[] = []
  let row = places.find(lo)
  const start = places.positionOf(row)
  const end = start + Math.max(places.lengthOf(row), maxBytes)
  for (; row < places.count && places.firstOf(row) < hi; row += 1) {
    const position = places.positionOf(row)
    const length = places.lengthOf(row)
    if (position + length > end) break
    const next = row + 1 < places.count ? places.firstOf(row + 1) : hi
    stretches.push({ first: places.firstOf(row), until: logIndex(Math.min(next, hi)), position, length })
  }
  return stretches
}
