/**
 * Gives one peer one snapshot over a channel: offers it, sends from where the peer wants it, and no more than a window
 * ahead of what the peer has written.
 *
 * Invariants: at most WINDOW_BYTES are on their way, so at most so much is held here. It ends once, with `ended`; what
 * the disk or the channel says afterwards goes nowhere. A peer that says nothing for SILENCE_MS is given up.
 */

import { textOf } from '../../foreign-values.js'
import type { CancelTimer, Clock } from '../../types.js'
import type { SnapshotStore, StoredSnapshot } from '../snapshot-store.js'
import { decodeTransfer, encodeTransfer, PIECE_BYTES, PIECE_HEAD_BYTES, pieceIn, WINDOW_BYTES } from './messages.js'
import { PieceMemory } from './piece-memory.js'
import type { Wire } from './wire.js'

/** A receiver says at least so often that it lives (RECEIVER_WORD_MS), also while it restores. */
const SILENCE_MS = 15_000

export interface SendingParts {
  readonly store: Pick<SnapshotStore, 'readInto'>
  readonly snapshot: StoredSnapshot
  /** That this server leads. */
  readonly term: number
  /** At most so much is sent in a second; null: as fast as the peer takes it. */
  readonly bytesPerSecond: number | null
  readonly clock: Clock
  /** Called once. Null: the peer has it. */
  readonly ended: (failure: string | null) => void
}

export class SnapshotSending {
  readonly snapshot: StoredSnapshot
  readonly #store: SendingParts['store']
  readonly #term: number
  readonly #bytesPerSecond: number | null
  readonly #clock: Clock
  readonly #ended: SendingParts['ended']
  #wire: Wire | null = null
  /** Everything before it is on the peer's disk; null before the peer has said where to begin. */
  #written: number | null = null
  /** The next byte to send. */
  #next = 0
  readonly #memory = new PieceMemory()
  /** What was sent and not written there yet, in order: where each piece ends, and its memory. */
  #underWay: { readonly end: number; readonly memory: Uint8Array }[] = []
  /** Counts what the peer wants again: a read that began before belongs to what is forgotten. */
  #restarts = 0
  #isReading = false
  /** When so much may be sent again. */
  #notBefore = -Infinity
  #heardAt: number
  #timer: CancelTimer = () => {}
  #isOver = false

  constructor(parts: SendingParts) {
    this.snapshot = parts.snapshot
    this.#store = parts.store
    this.#term = parts.term
    this.#bytesPerSecond = parts.bytesPerSecond
    this.#clock = parts.clock
    this.#ended = parts.ended
    this.#heardAt = parts.clock.now()
    this.#watch()
  }

  /** How much of it the peer has written. */
  get written(): number {
    return this.#written ?? 0
  }

  begin(wire: Wire): void {
    if (this.#isOver) return wire.close('the snapshot is not sent any more')
    this.#wire = wire
    const { header, bytes } = this.snapshot
    wire.send(encodeTransfer({ type: 'offer', term: this.#term, bytes, header }))
  }

  onFrame(frame: Uint8Array): void {
    if (this.#isOver) return
    this.#heardAt = this.#clock.now()
    const message = decodeTransfer(frame)
    if (message === null || typeof message === 'string') return this.end('the peer answered what makes no sense')
    switch (message.type) {
      case 'want':
        return this.#wanted(message.offset, message.again)
      case 'done':
        return this.#end(null)
      case 'refused':
        return this.#end(message.reason)
      case 'offer':
      case 'piece':
        return this.end(`the peer answered with a ${message.type}`)
      case 'damaged':
        return this.end('an answer of the peer came damaged')
    }
  }

  onClosed(reason: string): void {
    this.#wire = null
    this.#end(reason)
  }

  /** Gives it up. */
  end(reason: string): void {
    this.#end(reason)
  }

  #wanted(offset: number, again: boolean): void {
    const isNew = this.#written === null || again
    const isPlausible = offset <= this.snapshot.bytes && (isNew || (offset >= this.written && offset <= this.#next))
    if (!isPlausible) return this.end(`the peer wants byte ${offset}, and ${this.#next} were sent`)
    this.#written = offset
    if (isNew) {
      this.#next = offset
      this.#restarts += 1
      // Some of it may not have left yet: that memory is the system's, and is collected when it has.
      this.#underWay = []
    }
    this.#reuse(offset)
    void this.#send()
  }

  /** What the peer has written has left. */
  #reuse(written: number): void {
    const count = this.#underWay.findIndex(({ end }) => end > written)
    const left = this.#underWay.splice(0, count === -1 ? this.#underWay.length : count)
    for (const { memory } of left) this.#memory.give(memory)
  }

  /** As far as the window goes; one read at a time. */
  async #send(): Promise<void> {
    if (this.#isReading) return
    this.#isReading = true
    try {
      while (!this.#isOver && this.#mayRead()) await this.#sendPiece()
    } catch (error) {
      this.end(`it cannot be read: ${textOf(error)}`)
    } finally {
      this.#isReading = false
    }
  }

  #mayRead(): boolean {
    const isOpen = this.#written !== null && this.#next < this.snapshot.bytes
    return isOpen && this.#next + PIECE_BYTES <= this.written + WINDOW_BYTES && this.#clock.now() >= this.#notBefore
  }

  async #sendPiece(): Promise<void> {
    const { header } = this.snapshot
    const offset = this.#next
    const restarts = this.#restarts
    const memory = this.#memory.take()
    const length = await this.#store.readInto(header.id, offset, memory.subarray(PIECE_HEAD_BYTES))
    if (this.#isOver || restarts !== this.#restarts) return this.#memory.give(memory)
    if (length === 0) return this.end(`its file ends at ${offset}, and had ${this.snapshot.bytes} bytes`)
    this.#next = offset + length
    this.#underWay.push({ end: this.#next, memory })
    this.#wire?.send(pieceIn(memory, offset, length))
    if (this.#bytesPerSecond === null) return
    const since = Math.max(this.#notBefore, this.#clock.now())
    this.#notBefore = since + (1000 * length) / this.#bytesPerSecond
    this.#watch()
  }

  /** Wakes for what may be sent then, and for a peer that is silent. */
  #watch(): void {
    this.#timer()
    const now = this.#clock.now()
    const silentAt = this.#heardAt + SILENCE_MS
    if (now >= silentAt) return this.end(`the peer has said nothing for ${SILENCE_MS} ms`)
    const at = this.#notBefore > now ? Math.min(this.#notBefore, silentAt) : silentAt
    this.#timer = this.#clock.setTimer(Math.ceil(at - now), () => {
      this.#watch()
      if (!this.#isOver) void this.#send()
    })
  }

  #end(failure: string | null): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#timer()
    this.#wire?.close(failure ?? 'the snapshot was sent')
    this.#wire = null
    this.#ended(failure)
  }
}
