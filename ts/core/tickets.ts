/**
 * What the core has asked the store to write, and how much of it is durable. A ticket is one atomic write; tickets become
 * durable in order. Everything accepted in one turn is one ticket.
 *
 * Invariant: after ticket t is durable, durableIndex = min(t.lastIndex, from - 1 of every truncation still pending), so a
 * late completion never credits entries that were overwritten in the meantime (scenario C7).
 */

import { assert } from '../errors.js'
import { logIndex } from '../types.js'
import type { Block, HardState, LogIndex, ServerId, StoreOperation, Term } from '../types.js'
import type { RaftLog } from './raft-log.js'

/** The steps that the core asks for; facts of the server itself are the shell's. */
export type TicketOperation = Exclude<StoreOperation, { readonly type: 'put' | 'delete' }>

/** One atomic durable write. */
export interface PersistTicket {
  /** 1, 2, 3, ... */
  readonly ticket: number
  readonly operations: readonly TicketOperation[]
}

interface PendingTicket {
  readonly ticket: number
  readonly lastIndex: LogIndex
  /** The lowest truncation in it; Infinity when there is none. */
  readonly truncateFrom: number
  readonly appends: boolean
  readonly submittedAt: number
}

export class Tickets {
  readonly #log: RaftLog
  #term: Term
  #votedFor: ServerId | null
  #operations: TicketOperation[] = []
  #truncateFrom = Infinity
  #pending: PendingTicket[] = []
  #lastTaken = 0
  #durable = 0
  /** The ticket that holds the current term and vote; at most #durable when they are durable. */
  #hardStateTicket = 0
  #commitWritten: LogIndex

  constructor(log: RaftLog, hardState: HardState) {
    this.#log = log
    this.#term = hardState.term
    this.#votedFor = hardState.votedFor
    this.#commitWritten = hardState.commitIndex
  }

  get term(): Term {
    return this.#term
  }

  get votedFor(): ServerId | null {
    return this.#votedFor
  }

  get durable(): number {
    return this.#durable
  }

  get pendingCount(): number {
    return this.#pending.length
  }

  /** The ticket that must be durable before anything that reveals the current term or vote may leave. */
  get gate(): number {
    return this.#hardStateTicket
  }

  get hardStateIsDurable(): boolean {
    return this.#hardStateTicket <= this.#durable
  }

  /** Whether entries of this server are on their way to the disk. */
  get hasPendingAppends(): boolean {
    return this.#operations.some((operation) => operation.type === 'append') || this.#pending.some((t) => t.appends)
  }

  /** When the oldest unfinished ticket was submitted; null when none is. */
  get oldestSubmittedAt(): number | null {
    return this.#pending[0]?.submittedAt ?? null
  }

  /** Term and vote change together; the vote is cleared only because the term grows (scenario E2). */
  enterTerm(term: Term, votedFor: ServerId | null): void {
    assert(term > this.#term, `tickets: term ${term} does not follow term ${this.#term}`)
    this.#term = term
    this.#votedFor = votedFor
    this.#hardStateTicket = this.#lastTaken + 1
  }

  /** Invariant: at most one vote in a term (5.2). */
  vote(candidate: ServerId): void {
    if (this.#votedFor === candidate) return
    assert(this.#votedFor === null, `tickets: a second vote in term ${this.#term}`)
    this.#votedFor = candidate
    this.#hardStateTicket = this.#lastTaken + 1
  }

  append(block: Block): void {
    this.#log.append(block)
    this.#operations.push({ type: 'append', block })
  }

  truncateSuffix(from: LogIndex): void {
    this.#log.truncateSuffix(from)
    this.#operations.push({ type: 'truncateSuffix', from })
    this.#truncateFrom = Math.min(this.#truncateFrom, from)
  }

  /** Everything accepted since the last call, as one write; null when there is nothing. */
  take(now: number): PersistTicket | null {
    const hardStateChanged = this.#hardStateTicket > this.#lastTaken
    if (this.#operations.length === 0 && !hardStateChanged) return null
    const operations = this.#operations
    // The commit index never causes a write; it rides in one that is made anyway.
    if (hardStateChanged || this.#log.commitIndex > this.#commitWritten) {
      const commitIndex = this.#log.commitIndex
      operations.push({ type: 'hardState', hardState: { term: this.#term, votedFor: this.#votedFor, commitIndex } })
      this.#commitWritten = commitIndex
    }
    this.#lastTaken += 1
    this.#pending.push({
      ticket: this.#lastTaken,
      lastIndex: this.#log.lastIndex,
      truncateFrom: this.#truncateFrom,
      appends: operations.some((operation) => operation.type === 'append'),
      submittedAt: now,
    })
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
    this.#log.durableIndex = logIndex(durableIndex)
  }
}
