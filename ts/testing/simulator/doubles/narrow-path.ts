/**
 * What one machine sends another over a link with a bandwidth: one thing after the other, whatever connections they are
 * of, each for as long as its bytes need. What is long is told of in parts while it comes, as the TCP transport does.
 * Frames of channels yield: between two parts of one, messages go first.
 */

import type { EventQueue } from '../event-queue.js'

/** A part is told of so often, if so much has come meanwhile: as in `transport/tcp/connection`. */
const PART_EVERY_MS = 20
const PART_BYTES_MIN = 1024

export interface Crossing {
  readonly bytes: number
  /** It is a frame of a channel. */
  readonly yields: boolean
  /** False: its connection has ended, and nothing of it is on the link any more. */
  readonly isWanted: boolean
  /** One more part of it has crossed, and it is not whole. */
  crossedInPart(): void
  /** Its last byte has crossed. */
  crossed(): void
  /** It never will. */
  lost(): void
}

interface Waiting {
  readonly crossing: Crossing
  bytesLeft: number
}

export class NarrowPath {
  readonly bytesPerMs: number
  /** Since when it is narrow. */
  readonly since: number
  readonly #queue: EventQueue
  /** In their order. */
  #messages: Waiting[] = []
  #frames: Waiting[] = []
  /** Of which a part is on the link; null for none. */
  #onLink: Waiting | null = null
  /** Of messages. */
  #bytes = 0

  constructor(queue: EventQueue, bytesPerMs: number) {
    this.#queue = queue
    this.since = queue.now
    this.bytesPerMs = bytesPerMs
  }

  /** How long the messages on it take to cross, and what comes now has to wait. */
  get waitMs(): number {
    return this.#bytes / this.bytesPerMs
  }

  add(crossing: Crossing): void {
    const waiting = { crossing, bytesLeft: crossing.bytes }
    if (crossing.yields) this.#frames.push(waiting)
    else {
      this.#bytes += crossing.bytes
      this.#messages.push(waiting)
    }
    if (this.#onLink === null) this.#carryNext()
  }

  /** It is as wide as others again: whatever still waits crosses at once. */
  mend(): void {
    for (const crossing of this.#takeAll()) if (crossing.isWanted) crossing.crossed()
  }

  /** The machine that sends is without power, and with it everything that has not left. */
  lose(): void {
    for (const crossing of this.#takeAll()) crossing.lost()
  }

  #takeAll(): readonly Crossing[] {
    const all = [...this.#messages, ...this.#frames]
    this.#bytes = 0
    this.#messages = []
    this.#frames = []
    this.#onLink = null
    return all.map(({ crossing }) => crossing)
  }

  #carryNext(): void {
    for (const waiting of [...this.#messages, ...this.#frames]) {
      if (waiting.crossing.isWanted) return this.#carry(waiting)
      this.#remove(waiting)
    }
    this.#onLink = null
  }

  #carry(waiting: Waiting): void {
    this.#onLink = waiting
    const { crossing } = waiting
    const bytes = Math.min(waiting.bytesLeft, Math.max(PART_BYTES_MIN, PART_EVERY_MS * this.bytesPerMs))
    this.#queue.after(bytes / this.bytesPerMs, () => {
      if (this.#onLink !== waiting) return
      waiting.bytesLeft -= bytes
      if (!crossing.yields) this.#bytes -= bytes
      const isWhole = waiting.bytesLeft === 0
      if (isWhole) this.#remove(waiting)
      else if (crossing.isWanted) crossing.crossedInPart()
      this.#carryNext()
      if (isWhole && crossing.isWanted) crossing.crossed()
    })
  }

  #remove(waiting: Waiting): void {
    const { crossing, bytesLeft } = waiting
    if (!crossing.yields) this.#bytes -= bytesLeft
    const list = crossing.yields ? this.#frames : this.#messages
    list.splice(list.indexOf(waiting), 1)
  }
}
