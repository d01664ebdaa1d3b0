/**
 * What this server will take into its log now: a leader asks for the next batch, a follower for what an AppendEntries
 * brings. An accepted ticket becomes durable or poisons the store, there is no third outcome; so room is asked for
 * before anything is accepted.
 */

import { logIndex } from '../types.js'
import type { Block } from '../types.js'
import type { TermAndVote } from './hard-state.js'
import type { RaftLog } from './raft-log.js'
import type { Admission } from './ready.js'
import type { Tickets } from './tickets.js'

/**
 * Uncommitted bytes above which a leader takes no more. It holds of the log, not of one leadership or one start: a
 * tail that grew with each of them would outgrow what followers may keep in memory, and then nobody could commit it.
 */
export const UNCOMMITTED_BYTES_MAX = 16 * 1024 * 1024
/**
 * Bytes that are not yet applied, and so must stay in memory: at this bound a leader lets proposals wait, a follower
 * answers `busy`.
 */
export const UNAPPLIED_BYTES_MAX = 64 * 1024 * 1024
/** Tickets under way above which new proposals wait and merge: one in the writer's hands, one behind it. */
const TICKETS_PENDING_MAX = 2
/**
 * Only a batch of so many bytes goes behind the ticket in the writer's hands; a smaller one could not be written
 * sooner, and grows while it waits (docs/adr/0006).
 */
export const FULL_BATCH_BYTES = 64 * 1024
/** Proposals taken in one turn. */
const BATCH_BYTES_MAX = 1024 * 1024

export class Intake {
  readonly #log: RaftLog
  readonly #hardState: TermAndVote
  readonly #tickets: Tickets
  /**
   * Bytes that the store will take now. Set at each turn, from what the store publishes; less by each block accepted
   * since. May fall below 0, by the no-op of a new leader, which asks for none.
   */
  #credit = 0

  constructor(log: RaftLog, hardState: TermAndVote, tickets: Tickets) {
    this.#log = log
    this.#hardState = hardState
    this.#tickets = tickets
  }

  /** What the store will take now, as far as is known here. */
  get credit(): number {
    return this.#credit
  }

  creditIs(bytes: number): void {
    this.#credit = bytes
  }

  /** Where a leader puts the next batch, if it takes one of so many bytes now. */
  admit(waitingBytes: number): Admission {
    const log = this.#log
    // What a state machine that hangs does not take stays in memory.
    const unapplied = log.bytesAbove(log.appliedIndex)
    const room = Math.min(this.#credit, UNCOMMITTED_BYTES_MAX - log.uncommittedBytes, UNAPPLIED_BYTES_MAX - unapplied)
    const pendingMax = waitingBytes < FULL_BATCH_BYTES ? TICKETS_PENDING_MAX - 1 : TICKETS_PENDING_MAX
    if (room <= 0 || this.#tickets.pendingCount >= pendingMax) return { status: 'wait' }
    const first = logIndex(log.lastIndex + 1)
    return { status: 'accept', first, term: this.#hardState.term, bytesMax: Math.min(room, BATCH_BYTES_MAX) }
  }

  /** Whether a follower takes all of these blocks now; it takes all or none. */
  hasRoomFor(blocks: readonly Block[]): boolean {
    let bytes = 0
    for (const block of blocks) bytes += block.data.byteLength
    if (bytes === 0) return true
    return bytes <= this.#credit && this.#log.bytesAbove(this.#log.appliedIndex) < UNAPPLIED_BYTES_MAX
  }

  /** Makes a block part of the log and of the next ticket. */
  accept(block: Block): void {
    this.#tickets.append(block)
    this.#credit -= block.data.byteLength
  }
}
