/**
 * The trace of one server process, as text: from the inputs of its core, from what its core wants done, from its
 * applier.
 */

import { createHash } from 'node:crypto'
import type { Input, RaftCore, Ready } from '#balsa/core/index.js'
import { RecordCursor } from '#balsa/format/block.js'
import type { Block } from '#balsa/types.js'
import type { ServerEvent } from '../trace-format.js'
import { bootOf, messageOf, turnOf, writeOf } from './convert.js'

export class ProcessRecorder {
  readonly #id: string
  readonly #write: (text: string) => void
  readonly #links = new Map<number, string>()
  #text = ''
  #hasBooted = false
  #isHalted = false
  #isNews = false
  #turn = ''

  constructor(id: string, write: (text: string) => void) {
    this.#id = id
    this.#write = write
  }

  stepping(core: RaftCore, input: Input): void {
    if (!this.#hasBooted) {
      this.#hasBooted = true
      this.#tell(bootOf(this.#id, core))
    }
    if (this.#isHalted) return
    switch (input.type) {
      case 'request':
        this.#links.set(input.link, input.from)
        return this.#received(input)
      case 'response':
        return this.#received(input)
      case 'persisted':
        return this.#tell({ event: 'persisted', server: this.#id, write: input.ticket })
      case 'restored':
        return this.#tell({ event: 'restore', server: this.#id, index: input.index })
      case 'readIndex':
        return this.#tell({ event: 'read', server: this.#id, read: input.id })
      case 'halt':
        this.#isHalted = true
        return this.#tell({ event: 'halt', server: this.#id })
      default:
        return
    }
  }

  taken(core: RaftCore, ready: Ready): void {
    if (ready.ticket !== null) this.#tell(writeOf(this.#id, ready.ticket, hashesOf))
    if (!this.#isHalted) this.#turned(core)
    for (const outgoing of ready.messages) {
      const to = outgoing.kind === 'request' ? outgoing.to : (this.#links.get(outgoing.link) ?? 'nobody')
      this.#tell({ event: 'send', from: this.#id, to, message: messageOf(outgoing.message, hashesOf) })
    }
    for (const read of ready.reads) {
      const index = read.status === 'confirmed' ? read.index : null
      this.#tell({ event: 'answer', server: this.#id, read: read.id, index })
    }
    if (this.#text !== '') this.#write(this.#text)
    this.#text = ''
  }

  applying(first: number, last: number, blocks: readonly Block[]): void {
    for (const block of blocks) {
      const from = Math.max(first, block.first)
      const hashes = hashesOf(block).slice(from - block.first, last - block.first + 1)
      if (hashes.length === 0) continue
      this.#tell({ event: 'apply', server: this.#id, entries: { first: from, term: block.term, hashes } })
    }
  }

  #received({ from, message }: Extract<Input, { readonly type: 'request' | 'response' }>): void {
    this.#isNews = true
    this.#tell({ event: 'receive', from, to: this.#id, message: messageOf(message, hashesOf) })
  }

  /** Most turns change nothing. */
  #turned(core: RaftCore): void {
    const turn = turnOf(this.#id, core)
    const text = JSON.stringify(turn)
    if (text === this.#turn && !this.#isNews) return
    this.#turn = text
    this.#isNews = false
    this.#tell(turn)
  }

  #tell(event: ServerEvent): void {
    this.#text += `${JSON.stringify(event)}\n`
  }
}

const cursor = new RecordCursor()
/** A block goes to the disk, to each peer and to the state machine. */
const known = new WeakMap<Block, readonly string[]>()

function hashesOf(block: Block): readonly string[] {
  const before = known.get(block)
  if (before !== undefined) return before
  const hashes: string[] = []
  cursor.reset(block)
  while (cursor.next()) {
    hashes.push(createHash('sha1').update(cursor.kind).update(cursor.payload).digest('hex').slice(0, 12))
  }
  known.set(block, hashes)
  return hashes
}
