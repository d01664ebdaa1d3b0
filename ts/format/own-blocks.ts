/**
 * Blocks that are to be kept for long, in memory that they fill. What a socket received are views of a slab of 256 KiB
 * or more, and a view keeps all of it alive, whatever else was in it. To be asked when nothing more will come in that
 * memory: while a slab is being filled, how much of it will be kept is not known.
 *
 * Invariant: blocks that are kept hold at most HELD_PER_KEPT times their bytes, as long as blocks of one memory come
 * and go together; who drops some of them asks again for the others.
 */

import type { Block } from '../types.js'

/**
 * Memory that is held for each byte that is kept. Above it the copy is small beside what it sets free, and beside a
 * checksum.
 */
const HELD_PER_KEPT = 4

/**
 * The same blocks; those that keep too much memory alive are copied, all of one memory together. Hot path: once per
 * slab.
 */
export function ownBlocks(blocks: readonly Block[]): readonly Block[] {
  let owned: Block[] | null = null
  for (let at = 0; at < blocks.length;) {
    const end = endOfMemory(blocks, at)
    const bytes = bytesOf(blocks, at, end)
    if (bytes * HELD_PER_KEPT < (blocks[at]?.data.buffer.byteLength ?? 0)) {
      owned ??= [...blocks]
      copyTogether(owned, at, end, bytes)
    }
    at = end
  }
  return owned ?? blocks
}

/** Behind the last block from `at` on that lies in the same memory. */
function endOfMemory(blocks: readonly Block[], at: number): number {
  const buffer = blocks[at]?.data.buffer
  let end = at + 1
  while (end < blocks.length && blocks[end]?.data.buffer === buffer) end += 1
  return end
}

function bytesOf(blocks: readonly Block[], at: number, end: number): number {
  let bytes = 0
  for (let each = at; each < end; each += 1) bytes += blocks[each]?.data.byteLength ?? 0
  return bytes
}

function copyTogether(blocks: Block[], at: number, end: number, bytes: number): void {
  const memory = new Uint8Array(bytes)
  let filled = 0
  for (let each = at; each < end; each += 1) {
    const block = blocks[each]
    if (block === undefined) continue
    const { first, last, term, data, configuration } = block
    memory.set(data, filled)
    const copy = memory.subarray(filled, filled + data.byteLength)
    blocks[each] = { first, last, term, data: copy, configuration }
    filled += data.byteLength
  }
}
