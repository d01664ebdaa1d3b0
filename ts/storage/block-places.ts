/**
 * Where the blocks of a log lie in its file: three columns, ascending in all of them, since the file only grows. A
 * block counts up to the first index of the next one: what a truncation cut off is still in the file, and no longer in
 * the log.
 */

import { assert } from '../errors.js'

const ROWS_FIRST = 1024

export class BlockPlaces {
  /** Rows in use. Invariant: at most the length of each column. */
  #rows = 0
  #firsts = new Float64Array(ROWS_FIRST)
  #positions = new Float64Array(ROWS_FIRST)
  #lengths = new Uint32Array(ROWS_FIRST)

  get count(): number {
    return this.#rows
  }

  /** Adds the block behind all others. */
  push(first: number, position: number, length: number): void {
    if (this.#rows === this.#firsts.length) this.#grow()
    this.#firsts[this.#rows] = first
    this.#positions[this.#rows] = position
    this.#lengths[this.#rows] = length
    this.#rows += 1
  }

  /** Drops each block that begins at `from` or behind it. */
  truncateSuffix(from: number): void {
    this.#rows = this.find(from - 1) + 1
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
    return cell(this.#firsts, row, this.#rows)
  }

  positionOf(row: number): number {
    return cell(this.#positions, row, this.#rows)
  }

  lengthOf(row: number): number {
    return cell(this.#lengths, row, this.#rows)
  }

  #grow(): void {
    const rows = 2 * this.#rows
    const firsts = new Float64Array(rows)
    const positions = new Float64Array(rows)
    const lengths = new Uint32Array(rows)
    firsts.set(this.#firsts)
    positions.set(this.#positions)
    lengths.set(this.#lengths)
    this.#firsts = firsts
    this.#positions = positions
    this.#lengths = lengths
  }
}

function cell(column: Float64Array | Uint32Array, row: number, rows: number): number {
  const value = column[row]
  assert(value !== undefined && row < rows, `row ${row} of ${rows}`)
  return value
}
