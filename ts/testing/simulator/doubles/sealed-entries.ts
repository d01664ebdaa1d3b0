/**
 * The entries of the blocks that real stores and wires carry (docs/storage-format.md), as the truth reads them. Written
 * from the format, without the library's own reader.
 */

import { verifyBlock } from '../../../format/block.js'
import type { Block } from '../../../types.js'
import type { EntryReader } from '../../invariants/truth.js'

const BLOCK_HEADER_BYTES = 24
const RECORD_HEADER_BYTES = 32
const COMMAND_KIND = 1

// Hot path: twice per entry and server.
export class SealedEntries implements EntryReader {
  #view: DataView = new DataView(new ArrayBuffer(0))
  #left = 0
  #at = 0
  #next = 0

  isIntact({ data }: Block): boolean {
    return verifyBlock(data)
  }

  begin({ first, last, data }: Block): void {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    this.#left = last - first + 1
    this.#next = BLOCK_HEADER_BYTES
  }

  next(): boolean {
    if (this.#left === 0) return false
    this.#left -= 1
    this.#at = this.#next
    this.#next += RECORD_HEADER_BYTES + ((this.#view.getUint32(this.#at, true) + 7) & ~7)
    return true
  }

  /** The record's own checksum, which covers index, term, kind, time and payload. */
  get fingerprint(): number {
    return this.#view.getUint32(this.#at + 4, true)
  }

  /** Commands of the simulator begin with their id; those of sessions, which may come twice, count as none. */
  get command(): number {
    // Kind and flags.
    if (this.#view.getUint16(this.#at + 24, true) !== COMMAND_KIND) return 0
    return this.#view.getUint32(this.#at + RECORD_HEADER_BYTES)
  }
}
