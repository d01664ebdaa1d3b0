/**
 * Takes one snapshot from a peer over a channel: tells from where it is wanted, writes what comes in the background,
 * asks again for what is damaged, and says when it is done.
 *
 * Invariants: what was not written yet is at most WINDOW_BYTES and a piece, in at most PIECES_MAX, or the channel ends:
 * a peer cannot make this server hold more. Bytes are taken only where they belong (scenario N5). What came stays when
 * the channel breaks, and is gone on with (N4).
 */

import { textOf } from '../../foreign-values.js'
import type { CancelTimer, Clock, SnapshotHeader } from '../../types.js'
import type { SnapshotIntake, SnapshotStore, StoredSnapshot } from '../snapshot-store.js'
import { encodeTransfer, PIECE_BYTES, WINDOW_BYTES } from './messages.js'
import { PieceMemory } from './piece-memory.js'
import type { Wire } from './wire.js'

/** However small: each costs memory of its own. A sender's are PIECE_BYTES long, but for the last. */
const PIECES_MAX = 1024
/** So much is written between two words to the sender. */
const WORD_BYTES = WINDOW_BYTES / 4
/** So often the sender hears that this server lives, whatever it waits for. */
const RECEIVER_WORD_MS = 3000
/** A sender that sends nothing although it may is given up. */
const SILENCE_MS = 15_000
/** The same place damaged so often is no accident of the way. */
const DAMAGES_MAX = 8

export interface ReceivingParts {
  readonly store: Pick<SnapshotStore, 'receive'>
  readonly header: SnapshotHeader
  /** All of its file. */
  readonly bytes: number
  readonly wire: Wire
  readonly clock: Clock
  /** It is whole and durable. Called once at most; `done` ends it then. */
  readonly received: (stored: StoredSnapshot) => void
  /** It is over without that. Called once at most. */
  readonly failed: (reason: string) => void
}

export class SnapshotReceiving {
  readonly header: SnapshotHeader
  readonly #bytes: number
  readonly #store: ReceivingParts['store']
  readonly #wire: Wire
  readonly #clock: Clock
  readonly #received: ReceivingParts['received']
  readonly #failed: ReceivingParts['failed']
  #intake: SnapshotIntake | null = null
  readonly #memory = new PieceMemory()
  /** Came and is not written: each in memory of its own, of which the piece is the beginning. Null: it came damaged. */
  #queue: ({ readonly memory: Uint8Array; readonly length: number } | null)[] = []
  #queuedBytes = 0
  /** Where the next piece must begin. */
  #expected = 0
  /** It was asked for again: what comes before it was on its way by then. */
  #isResuming = false
  #toldAt = 0
  #damages = 0
  #isWriting = false
  #isWhole = false
  #isOver = false
  /** The log has come to what it holds: nobody will go on with it. */
  #isNeedless = false
  #heardAt: number
  #timer: CancelTimer = () => {}

  constructor(parts: ReceivingParts) {
    this.header = parts.header
    this.#bytes = parts.bytes
    this.#store = parts.store
    this.#wire = parts.wire
    this.#clock = parts.clock
    this.#received = parts.received
    this.#failed = parts.failed
    this.#heardAt = parts.clock.now()
  }

  /** What all of it has. */
  get bytes(): number {
    return this.#bytes
  }

  /** How much of it is written here. */
  get written(): number {
    return this.#intake?.received ?? 0
  }

  async begin(): Promise<void> {
    try {
      const intake = await this.#store.receive(this.header, this.#bytes)
      if (this.#isOver) return await this.#leave(intake)
      this.#intake = intake
      this.#heardAt = this.#clock.now()
      this.#want(true)
      this.#keepWord()
      if (intake.received === this.#bytes) await this.#write()
    } catch (error) {
      this.refuse(textOf(error))
    }
  }

  /** A piece has come; `data` is only lent. */
  piece(offset: number, data: Uint8Array): void {
    if (this.#isOver) return
    this.#heardAt = this.#clock.now()
    if (offset !== this.#expected) {
      if (this.#isResuming && offset > this.#expected) return
      return this.refuse(`a piece from byte ${offset} came where ${this.#expected} belongs`)
    }
    this.#isResuming = false
    const { length } = data
    this.#queuedBytes += length
    const isTooMuch = this.#queuedBytes > WINDOW_BYTES + PIECE_BYTES || this.#queue.length >= PIECES_MAX
    if (isTooMuch) return this.refuse('more came than was asked for')
    if (length > PIECE_BYTES) return this.refuse(`a piece of ${length} bytes came, and ${PIECE_BYTES} are the most`)
    this.#expected = offset + length
    const memory = this.#memory.take()
    memory.set(data)
    this.#queue.push({ memory, length })
    void this.#write()
  }

  /** Something came of which nothing can be told. What came before it is written, and what follows asked for again. */
  damaged(): void {
    if (this.#isOver) return
    if (this.#intake === null) return this.refuse('it came damaged')
    this.#heardAt = this.#clock.now()
    this.#isResuming = true
    if (this.#queue.includes(null)) return
    this.#queue.push(null)
    void this.#write()
  }

  /** The state machine has what it holds, or more. */
  done(): void {
    if (this.#isOver) return
    this.#wire.send(encodeTransfer({ type: 'done' }))
    this.#end()
    // It came to have that by the log alone.
    this.#isNeedless = !this.#isWhole
    if (this.#isNeedless) void this.#leave()
  }

  /** The channel has ended. What came stays. */
  closed(reason: string): void {
    if (this.#isOver) return
    this.#end()
    void this.#leave()
    if (!this.#isWhole) this.#failed(reason)
  }

  /** It comes to nothing, and the sender is told why. */
  refuse(reason: string): void {
    if (this.#isOver) return
    this.#wire.send(encodeTransfer({ type: 'refused', reason }))
    this.#wire.close(reason)
    this.#end()
    void this.#leave()
    this.#failed(reason)
  }

  async #write(): Promise<void> {
    if (this.#isWriting) return
    this.#isWriting = true
    try {
      for (let next = this.#queue.shift(); next !== undefined && !this.#isOver; next = this.#queue.shift()) {
        if (next === null) {
          this.#askAgain()
          continue
        }
        await this.#writePiece(next.memory.subarray(0, next.length))
        this.#memory.give(next.memory)
      }
      const isAll = !this.#isOver && !this.#isWhole && this.#intake?.received === this.#bytes
      if (isAll) await this.#finish()
    } catch (error) {
      this.refuse(textOf(error))
    } finally {
      this.#isWriting = false
    }
  }

  async #writePiece(data: Uint8Array): Promise<void> {
    const intake = this.#intake
    if (intake === null) return
    const outcome = await intake.write(data)
    this.#queuedBytes -= data.length
    if (this.#isOver) return
    if (outcome === 'damaged') return this.#askAgain()
    if (intake.received - this.#toldAt >= WORD_BYTES) this.#want(false)
  }

  #askAgain(): void {
    this.#damages += 1
    if (this.#damages > DAMAGES_MAX)
      return this.refuse(`it came damaged ${this.#damages} times: the sender's file may be damaged`)
    this.#queue = []
    this.#queuedBytes = 0
    this.#isResuming = true
    this.#want(true)
  }

  async #finish(): Promise<void> {
    const stored = await this.#intake?.finish()
    if (stored === undefined || this.#isOver) return
    this.#isWhole = true
    this.#received(stored)
  }

  #want(again: boolean): void {
    const offset = this.#intake?.received ?? 0
    if (again) this.#expected = offset
    this.#toldAt = offset
    this.#wire.send(encodeTransfer({ type: 'want', offset, again }))
  }

  #keepWord(): void {
    this.#timer = this.#clock.setTimer(RECEIVER_WORD_MS, () => {
      const isWaiting = !this.#isWhole && this.#queue.length === 0 && !this.#isWriting
      if (isWaiting && this.#clock.now() - this.#heardAt >= SILENCE_MS) {
        return this.refuse(`nothing has come for ${SILENCE_MS} ms`)
      }
      this.#want(false)
      this.#keepWord()
    })
  }

  async #leave(intake = this.#intake): Promise<void> {
    try {
      await (this.#isNeedless ? intake?.abort() : intake?.suspend())
    } catch {
      // It was aborted by what failed before; nothing of it is left.
    }
  }

  #end(): void {
    this.#isOver = true
    this.#timer()
    this.#queue = []
  }
}
