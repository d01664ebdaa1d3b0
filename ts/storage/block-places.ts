/**
 * Where the blocks of a log lie in its files: three columns, ascending in all of them, since what is written goes
 * behind all else. A block counts up to the first index of the next one: what a truncation cut off is still in its
 * file, and no longer in the log; so is what a compaction cut off at the front of the first one.
 */

import { assert } from '../errors.js'

const ROWS_FIRST = 1024
/** Columns of which less than this part is in use are made shorter: what a compaction removes gives memory back. */
const SPARSE_PART = 8

export class BlockPlaces {
  /** Rows in use, from `start` on; those before it are of blocks that are gone. */
  #rows = 0
  #start = 0
  #firsts = new Float64Array(ROWS_FIRST)
  #positions = new Float64Array(ROWS_FIRST)
  #lengths = new Uint32Array(ROWS_FIRST)

  get count(): number {
    return this.#rows
  }

  /** Adds the block behind all others. */
  push(first: number, position: number, length: number): void {
    if (this.#start + this.#rows === this.#firsts.length) this.#move(2 * this.#rows)
    const row = this.#start + this.#rows
    this.#firsts[row] = first
    this.#positions[row] = position
    this.#lengths[row] = length
    this.#rows += 1
  }

  /** Drops each block that begins at `from` or behind it. */
  truncateSuffix(from: number): void {
    this.#rows = this.find(from - 1) + 1
  }

  /** Drops each block that ends before `first`. */
  truncatePrefix(first: number): void {
    const dropped = Math.max(0, this.find(first))
    this.#start += dropped
    this.#rows -= dropped
    if (this.#firsts.length > ROWS_FIRST && this.#rows < this.#firsts.length / SPARSE_PART) this.#move(2 * this.#rows)
  }

  clear(): void {
    this.#start = 0
    this.#rows = 0
    this.#move(ROWS_FIRST)
  }

  /** The row of the last block that begins at or before `index`; -1 when there is none. By halving. */
  find(index: number): number {
    let low = 0
    let high = this.#rows
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.firstOf(middle) <= index) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  firstOf(row: number): number {
    return this.#cell(this.#firsts, row)
  }

  /** In the store, over all of its segments. */
  positionOf(row: number): number {
    return this.#cell(this.#positions, row)
  }

  lengthOf(row: number): number {
    return this.#cell(this.#lengths, row)
  }

  #cell(column: Float64Array | Uint32Array, row: number): number {
    const value = column[this.#start + row]
    assert(value !== undefined && row >= 0 && row < this.#rows, `row ${row} of ${this.#rows}`)
    return value
  }

  /** To columns of that length, at least: nothing before the first row that is in use. */
  #move(length: number): void {
    const rows = Math.max(ROWS_FIRST, length)
    const end = this.#start + this.#rows
    const firsts = new Float64Array(rows)
    const positions = new Float64Array(rows)
    const lengths = new Uint32Array(rows)
    firsts.set(this.#firsts.subarray(this.#start, end))
    positions.set(this.#positions.subarray(this.#start, end))
    lengths.set(this.#lengths.subarray(this.#start, end))
    this.#firsts = firsts
    this.#positions = positions
    this.#lengths = lengths
    this.#start = 0
  }
}
