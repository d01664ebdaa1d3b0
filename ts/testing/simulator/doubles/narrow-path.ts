/**
 * What one machine sends another over a link with a bandwidth: one thing after the other, whatever connections they are
 * of, each for as long as its bytes need. What is long is told of in parts while it comes, as the TCP transport does.
 */

import type { EventQueue } from '../event-queue.js'

/** A part is told of so often, if so much has come meanwhile: as in `transport/tcp/connection`. */
const PART_EVERY_MS = 20
const PART_BYTES_MIN = 1024

export interface Crossing {
  readonly bytes: number
  /** False: its connection has ended, and nothing of it is on the link any more. */
  readonly isWanted: boolean
  /** One more part of it has crossed, and it is not whole. */
  crossedInPart(): void
  /** Its last byte has crossed. */
  crossed(): void
  /** It never will. */
  lost(): void
}

export class NarrowPath {
  readonly bytesPerMs: number
  /** Since when it is narrow. */
  readonly since: number
  readonly #queue: EventQueue
  /** The first one is on the link. */
  readonly #waiting: Crossing[] = []
  #bytes = 0

  constructor(queue: EventQueue, bytesPerMs: number) {
    this.#queue = queue
    this.since = queue.now
    this.bytesPerMs = bytesPerMs
  }

  /** How long what is on it takes to cross, and what comes now has to wait. */
  get waitMs(): number {
    return this.#bytes / this.bytesPerMs
  }

  add(crossing: Crossing): void {
    this.#bytes += crossing.bytes
    this.#waiting.push(crossing)
    if (this.#waiting.length === 1) this.#carry(crossing, crossing.bytes)
  }

  /** It is as wide as others again: whatever still waits crosses at once. */
  mend(): void {
    this.#bytes = 0
    for (const crossing of this.#waiting.splice(0)) if (crossing.isWanted) crossing.crossed()
  }

  /** The machine that sends is without power, and with it everything that has not left. */
  lose(): void {
    this.#bytes = 0
    for (const crossing of this.#waiting.splice(0)) crossing.lost()
  }

  #carry(crossing: Crossing, bytesLeft: number): void {
    const bytes = Math.min(bytesLeft, Math.max(PART_BYTES_MIN, PART_EVERY_MS * this.bytesPerMs))
    this.#queue.after(bytes / this.bytesPerMs, () => {
      if (this.#waiting[0] !== crossing) return
      if (crossing.isWanted && bytesLeft > bytes) {
        this.#bytes -= bytes
        crossing.crossedInPart()
        this.#carry(crossing, bytesLeft - bytes)
        return
      }
      this.#bytes -= bytesLeft
      this.#waiting.shift()
      this.#carryNext()
      if (crossing.isWanted) crossing.crossed()
    })
  }

  #carryNext(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (next.isWanted) return this.#carry(next, next.bytes)
      this.#bytes -= next.bytes
      this.#waiting.shift()
    }
  }
}
