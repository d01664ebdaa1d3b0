/**
 * What the core has asked the store to write, and how much of it is durable. A ticket is one atomic write; tickets
 * become durable in order. Everything accepted in one turn is one ticket.
 *
 * Invariant: after ticket t is durable, durableIndex = min(t.lastIndex, from - 1 of every truncation still pending), so
 * a late completion never credits entries that were overwritten in the meantime (scenario C7).
 */

import { assert } from '../errors.js'
import { logIndex } from '../types.js'
import type { Block, LogIndex, SnapshotMeta, StoreOperation, Term } from '../types.js'
import type { TermAndVote } from './hard-state.js'
import type { RaftLog } from './raft-log.js'

/** The steps that the core asks for; facts of the server itself are the shell's. */
export type TicketOperation = Exclude<StoreOperation, { readonly type: 'put' | 'delete' }>

/** One atomic durable write. */
export interface PersistTicket {
  /** 1, 2, 3, ... */
  readonly ticket: number
  readonly operations: readonly TicketOperation[]
}

/** A ticket that was taken and is not durable yet. */
interface PendingTicket {
  readonly ticket: number
  /** The end of the log with it. */
  readonly lastIndex: LogIndex
  /** The lowest truncation in it; Infinity when there is none. */
  readonly truncateFrom: number
  readonly appends: boolean
  /** On the clock of the inputs. */
  readonly submittedAt: number
}

export class Tickets {
  readonly #log: RaftLog
  readonly #hardState: TermAndVote
  /** Accepted since the last ticket was taken, in order. */
  #operations: TicketOperation[] = []
  /** The lowest truncation among them; Infinity when there is none. */
  #truncateFrom = Infinity
  /** Taken and not durable, the oldest first. */
  #pending: PendingTicket[] = []
  /** Invariant: #durable <= #lastTaken, and #pending holds what lies between. */
  #lastTaken = 0
  #durable = 0
  /**
   * The ticket that holds the term and vote of now, unless they have changed since; 0 when they were stored before the
   * start.
   */
  #hardStateTicket = 0
  /** The ticket that holds the newest compaction; 0 when none was made since the start. */
  #compactionTicket = 0
  /**
   * The end of the log that tickets were made for: `lastIndex` at the last `take`, lower when a truncation came after
   * it.
   */
  #submittedIndex: LogIndex
  /** The commit index in the newest record of the store; may lag. */
  #commitWritten: LogIndex

  constructor(log: RaftLog, hardState: TermAndVote, commitWritten: LogIndex) {
    this.#log = log
    this.#hardState = hardState
    this.#commitWritten = commitWritten
    this.#submittedIndex = log.lastIndex
  }

  /** Every ticket up to this one is durable. */
  get durable(): number {
    return this.#durable
  }

  get submittedIndex(): LogIndex {
    return this.#submittedIndex
  }

  get pendingCount(): number {
    return this.#pending.length
  }

  /** Steps that the next ticket will hold. */
  get acceptedCount(): number {
    return this.#operations.length
  }

  /** The ticket that must be durable before anything that reveals the current term or vote may leave. */
  get gate(): number {
    return this.#hardState.isFresh ? this.#lastTaken + 1 : this.#hardStateTicket
  }

  get hardStateIsDurable(): boolean {
    return this.gate <= this.#durable
  }

  /** Whether a crash would leave the log on the snapshot on which it stands now. */
  get snapshotIsDurable(): boolean {
    return this.#compactionTicket <= this.#durable
  }

  /** Whether entries of this server are on their way to the disk. */
  get hasPendingAppends(): boolean {
    return this.#operations.some((operation) => operation.type === 'append') || this.#pending.some((t) => t.appends)
  }

  /** When the oldest unfinished ticket was submitted; null when none is. */
  get oldestSubmittedAt(): number | null {
    return this.#pending[0]?.submittedAt ?? null
  }

  /** Joins the log at once, and the next ticket. */
  append(block: Block): void {
    this.#log.append(block)
    this.#operations.push({ type: 'append', block })
  }

  truncateSuffix(from: LogIndex): void {
    this.#log.truncateSuffix(from)
    this.#operations.push({ type: 'truncateSuffix', from })
    this.#truncateFrom = Math.min(this.#truncateFrom, from)
    this.#submittedIndex = logIndex(Math.min(this.#submittedIndex, from - 1))
  }

  /** The log stands on a snapshot of this server's own, without the entries before `first`. */
  compact(first: LogIndex, snapshot: SnapshotMeta): void {
    this.#log.compact(first, snapshot)
    this.#operations.push({ type: 'compact', first, prevTerm: this.#prevTerm(first), snapshot, keepSuffix: true })
    this.#compactionTicket = this.#lastTaken + 1
  }

  /** The log stands on a snapshot of another server: the durable switch of an install. */
  install(snapshot: SnapshotMeta): void {
    const from = this.#log.commitIndex + 1
    const keepSuffix = this.#log.install(snapshot)
    const first = logIndex(snapshot.index + 1)
    this.#operations.push({ type: 'compact', first, prevTerm: this.#prevTerm(first), snapshot, keepSuffix })
    this.#compactionTicket = this.#lastTaken + 1
    if (keepSuffix) return
    // As with a truncation, no earlier ticket may credit what this one removes.
    this.#truncateFrom = Math.min(this.#truncateFrom, from)
    this.#submittedIndex = logIndex(Math.min(this.#submittedIndex, from - 1))
  }

  #prevTerm(first: LogIndex): Term {
    const term = this.#log.termAt(logIndex(first - 1))
    assert(term !== null, `tickets: no term at ${first - 1}`)
    return term
  }

  /** Everything accepted since the last call, as one write; null when there is nothing. */
  take(now: number): PersistTicket | null {
    const { isFresh, term, votedFor } = this.#hardState
    if (this.#operations.length === 0 && !isFresh) return null
    const operations = this.#operations
    this.#lastTaken += 1
    // The commit index never causes a write; it rides in one that is made anyway.
    if (isFresh || this.#log.commitIndex > this.#commitWritten) {
      const commitIndex = this.#log.commitIndex
      operations.push({ type: 'hardState', hardState: { term, votedFor, commitIndex } })
      this.#commitWritten = commitIndex
    }
    if (isFresh) {
      this.#hardStateTicket = this.#lastTaken
      this.#hardState.taken()
    }
    this.#pending.push({
      ticket: this.#lastTaken,
      lastIndex: this.#log.lastIndex,
      truncateFrom: this.#truncateFrom,
      appends: operations.some((operation) => operation.type === 'append'),
      submittedAt: now,
    })
    this.#submittedIndex = this.#log.lastIndex
    this.#operations = []
    this.#truncateFrom = Infinity
    return { ticket: this.#lastTaken, operations }
  }

  /** Every ticket up to this one is durable. */
  persisted(ticket: number): void {
    assert(
      ticket <= this.#lastTaken,
      () => `tickets: ticket ${ticket} reported durable, ${this.#lastTaken} is the last taken`,
    )
    let lastIndex: LogIndex | null = null
    while (this.#pending[0] !== undefined && this.#pending[0].ticket <= ticket) {
      lastIndex = this.#pending[0].lastIndex
      this.#pending.shift()
    }
    if (lastIndex === null) return
    this.#durable = ticket
    let durableIndex = Math.min(lastIndex, this.#truncateFrom - 1)
    for (const pending of this.#pending) durableIndex = Math.min(durableIndex, pending.truncateFrom - 1)
    this.#log.durableTo(logIndex(durableIndex))
  }
}
