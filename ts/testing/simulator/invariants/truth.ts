/**
 * What is true of a world as a whole, kept naively beside it: every entry that any server has accepted, and the one
 * sequence of entries that was committed. Nothing here is taken back.
 */

import { verifyBlock } from '../../../format/block.js'
import type { MemoryDisk } from '../../../storage/memory/memory-log-store.js'
import type { Block } from '../../../types.js'
import { hold } from './violation.js'

/** An entry under one index and term; there can be only one (log matching, 5.3). */
export interface KnownEntry {
  readonly term: number
  /** Covers index, term, kind, time and payload. */
  readonly checksum: number
  /** The term of the entry before it. */
  readonly prevTerm: number
  /** The id of its command; 0 for what is not a command. */
  readonly command: number
}

const BLOCK_HEADER_BYTES = 24
const RECORD_HEADER_BYTES = 32
const COMMAND_KIND = 1

export class Truth {
  /** By index: what was ever accepted there. */
  readonly #known: KnownEntry[][] = []
  /** Entry i at position i; position 0 is not used. */
  readonly committed: KnownEntry[] = [{ term: 0, checksum: 0, prevTerm: 0, command: 0 }]
  /** The term of the leader that committed entry i first, at position i. */
  readonly committedIn: number[] = [0]
  /** Commands among the first i committed entries, at position i. */
  readonly commandsUpTo: number[] = [0]

  get commitIndex(): number {
    return this.committed.length - 1
  }

  find(index: number, term: number): KnownEntry | null {
    const there = this.#known[index]
    if (there === undefined) return null
    for (const entry of there) if (entry.term === term) return entry
    return null
  }

  /** Hot path: once per block that a server accepts. Invariant 4. */
  accept(who: string, block: Block, prevTerm: number): void {
    const { data } = block
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    let at = BLOCK_HEADER_BYTES
    let before = prevTerm
    for (let index: number = block.first; index <= block.last; index += 1) {
      const checksum = view.getUint32(at + 4, true)
      const known = this.find(index, block.term)
      if (known === null) this.#add(index, block.term, checksum, before, view, at)
      else {
        hold(known.checksum === checksum && known.prevTerm === before, 4, () => {
          return `${who} accepts another entry ${index} of term ${block.term} than is known`
        })
      }
      before = block.term
      at += RECORD_HEADER_BYTES + ((view.getUint32(at, true) + 7) & ~7)
    }
  }

  /** Hot path: once per block that is sent. Whether these are exactly the entries that were accepted. */
  isKnown(block: Block): boolean {
    const { data } = block
    if (!verifyBlock(data)) return false
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    let at = BLOCK_HEADER_BYTES
    for (let index: number = block.first; index <= block.last; index += 1) {
      if (this.find(index, block.term)?.checksum !== view.getUint32(at + 4, true)) return false
      at += RECORD_HEADER_BYTES + ((view.getUint32(at, true) + 7) & ~7)
    }
    return true
  }

  commit(entry: KnownEntry, inTerm: number): void {
    this.committed.push(entry)
    this.committedIn.push(inTerm)
    this.commandsUpTo.push((this.commandsUpTo.at(-1) ?? 0) + (entry.command === 0 ? 0 : 1))
  }

  #add(index: number, term: number, checksum: number, prevTerm: number, view: DataView, at: number): void {
    const isCommand = view.getUint8(at + 24) === COMMAND_KIND
    const command = isCommand ? view.getUint32(at + RECORD_HEADER_BYTES) : 0
    const there = this.#known[index]
    const entry = { term, checksum, prevTerm, command }
    if (there === undefined) this.#known[index] = [entry]
    else there.push(entry)
  }
}

/** The term of a durable entry; null when there is none. */
export function durableTerm(disk: MemoryDisk, index: number): number | null {
  const { blocks } = disk.durable
  let low = 0
  let high = blocks.length - 1
  while (low <= high) {
    const middle = (low + high) >>> 1
    const block = blocks[middle]
    if (block === undefined) return null
    if (block.last < index) low = middle + 1
    else if (block.first > index) high = middle - 1
    else return block.term
  }
  return null
}
