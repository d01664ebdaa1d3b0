/**
 * What is looked for among all keys: by KEYS and CLUSTER COUNTKEYSINSLOT. A walk shows it every item (walk.ts), in as
 * many turns as that takes.
 */

import { keySlot, SLOT_COUNT } from '../cluster/slots.js'
import { OUTPUT_BYTES_MAX } from '../limits.js'
import { failure, notAnInteger, type ErrorReply, type Reply } from '../resp/reply.js'
import { isRefusal, prepareGlob } from './glob.js'
import { parseInteger } from './integer.js'

export interface KeyWalk {
  visit(key: string): void
  /** Nothing more needs to be shown to it. */
  readonly isOver: boolean
  answer(): Reply
}

/** Makes one for a command, or says why not. */
export type KeyWalkOf = (words: readonly string[]) => KeyWalk | ErrorReply

export const keysWalk: KeyWalkOf = (words) => {
  const accepts = prepareGlob(words[1] ?? '')
  return isRefusal(accepts) ? accepts : new MatchingKeys(accepts)
}

export const countKeysInSlotWalk: KeyWalkOf = (words) => {
  const slot = parseInteger(words[2] ?? '')
  if (slot === null) return notAnInteger
  return slot < 0 || slot >= SLOT_COUNT ? failure('ERR Invalid slot') : new SlotCount(Number(slot))
}

/** An answer is written in pieces of about so many bytes. */
const CHUNK_BYTES = 64 * 1024

/** Makes its answer into bytes as it goes, so that no turn has to make all of them. */
class MatchingKeys implements KeyWalk {
  readonly #accepts: (key: string) => boolean
  readonly #chunks: string[] = []
  #chunk = ''
  #count = 0
  #bytes = 0

  constructor(accepts: (key: string) => boolean) {
    this.#accepts = accepts
  }

  get isOver(): boolean {
    return this.#bytes > OUTPUT_BYTES_MAX
  }

  visit(key: string): void {
    if (this.isOver || !this.#accepts(key)) return
    const element = `$${key.length}\r\n${key}\r\n`
    this.#count += 1
    this.#bytes += element.length
    this.#chunk += element
    if (this.#chunk.length >= CHUNK_BYTES) this.#endChunk()
  }

  answer(): Reply {
    if (this.isOver) return failure(`ERR the answer is longer than ${OUTPUT_BYTES_MAX} bytes: use SCAN`)
    this.#endChunk()
    return { type: 'encoded', chunks: [`*${this.#count}\r\n`, ...this.#chunks] }
  }

  #endChunk(): void {
    if (this.#chunk === '') return
    // V8 joins strings by reference; to look inside makes one string of them.
    this.#chunk.charCodeAt(0)
    this.#chunks.push(this.#chunk)
    this.#chunk = ''
  }
}

class SlotCount implements KeyWalk {
  readonly isOver = false
  readonly #slot: number
  #count = 0

  constructor(slot: number) {
    this.#slot = slot
  }

  visit(key: string): void {
    if (keySlot(key) === this.#slot) this.#count += 1
  }

  answer(): Reply {
    return this.#count
  }
}
