/** The parts of a block that a read gives out. */

import { sliceBlock } from '../format/block.js'
import { logIndex } from '../types.js'
import type { Block, LogIndex } from '../types.js'

/** The entries of a block within lo .. hi-1. */
export function clip(block: Block, lo: LogIndex, hi: LogIndex): Block {
  const first = logIndex(Math.max(lo, block.first))
  const last = logIndex(Math.min(hi - 1, block.last))
  return sliceBlock(block, first, last)
}

/** As many of the first entries as fit, at least one. Halving, since records differ in length. */
export function shorten(block: Block, maxBytes: number): Block {
  let fits = block.first
  let high = block.last
  while (fits < high) {
    const middle = logIndex(Math.ceil((fits + high) / 2))
    if (sliceBlock(block, block.first, middle).data.byteLength <= maxBytes) fits = middle
    else high = logIndex(middle - 1)
  }
  return sliceBlock(block, block.first, fits)
}
