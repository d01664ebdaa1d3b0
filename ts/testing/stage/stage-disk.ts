/**
 * A disk with the semantics of the log store: atomic tickets, in order, durable only when `write` says so. A crash
 * drops what was not written; a write that was not yet reported survives it. It asserts what a store asks of whoever
 * submits.
 */

import type { ConfigurationAt, LogStart, PersistTicket, TicketOperation } from '../../core/index.js'
import { assert } from '../../errors.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, Configuration, HardState, LogIndex, ServerId, SnapshotMeta, Term, TermRun } from '../../types.js'
import type { DiskView, DurableView } from '../observer.js'
import { entriesOf, makeBlock } from './blocks.js'
import type { StageEntry } from './blocks.js'

const NOBODY: Configuration = { voters: [], outgoing: null, nonvoters: [] }

/** A log and a hard state, and what each operation makes of them. */
export class StageLog implements DurableView {
  /** Those that are kept: the entry of index i stands at i - firstIndex. */
  readonly entries: StageEntry[]
  #hardState: HardState
  #firstIndex = logIndex(1)
  #prevTerm = termOf(0)
  #snapshot: SnapshotMeta | null = null

  constructor(entries: readonly StageEntry[], hardState: HardState) {
    this.entries = [...entries]
    this.#hardState = hardState
  }

  get firstIndex(): LogIndex {
    return this.#firstIndex
  }

  get snapshot(): SnapshotMeta | null {
    return this.#snapshot
  }

  get hardState(): HardState {
    return this.#hardState
  }

  get lastIndex(): LogIndex {
    return logIndex(this.#firstIndex + this.entries.length - 1)
  }

  get blocks(): readonly Block[] {
    return this.entries.length === 0 ? [] : this.read(this.#firstIndex, this.lastIndex + 1, Infinity)
  }

  termAt(index: LogIndex): Term | null {
    const entry = this.entries[index - this.#firstIndex]
    return entry === undefined ? null : termOf(entry.term)
  }

  copy(): StageLog {
    const log = new StageLog(this.entries, this.#hardState)
    log.#firstIndex = this.#firstIndex
    log.#prevTerm = this.#prevTerm
    log.#snapshot = this.#snapshot
    return log
  }

  apply(operation: TicketOperation): void {
    const { entries } = this
    switch (operation.type) {
      case 'append': {
        const { first, last } = operation.block
        assert(first === this.lastIndex + 1, `disk: block ${first}-${last} appended after entry ${this.lastIndex}`)
        for (const entry of entriesOf(operation.block)) entries.push(entry)
        return
      }
      case 'truncateSuffix': {
        const { from } = operation
        const { lastIndex } = this
        assert(from >= this.#firstIndex && from <= lastIndex, `disk: truncation from ${from}, the last is ${lastIndex}`)
        entries.length = from - this.#firstIndex
        return
      }
      case 'compact':
        this.#compact(operation)
        return
      case 'hardState':
        this.#setHardState(operation.hardState)
        return
    }
  }

  /** Entries lo .. hi - 1 as blocks, at most `bytesMax` bytes but at least one entry. */
  read(lo: number, hi: number, bytesMax: number): readonly Block[] {
    assert(hi - 1 <= this.lastIndex, `disk: entry ${hi - 1} read, ${this.lastIndex} is the last`)
    if (lo < this.#firstIndex) return []
    const blocks: Block[] = []
    let bytes = 0
    let at = lo
    while (at < hi) {
      const head = this.entries[at - this.#firstIndex]
      assert(head !== undefined, `disk: entry ${at} read`)
      const payloads: number[] = []
      for (let next = this.entries[at - this.#firstIndex]; at < hi && next !== undefined;) {
        const isFull = (blocks.length > 0 || payloads.length > 0) && bytes + next.size > bytesMax
        if (isFull || next.term !== head.term || next.size !== head.size) break
        if (next.configuration !== head.configuration) break
        bytes += next.size
        payloads.push(next.payload)
        at += 1
        next = this.entries[at - this.#firstIndex]
      }
      if (payloads.length === 0) break
      const block = makeBlock(at - payloads.length, head.term, payloads, head.size)
      blocks.push({ ...block, configuration: head.configuration })
    }
    return blocks
  }

  /** What a core that starts is told of it. */
  start(): LogStart {
    const termRuns: TermRun[] = []
    const configurations: ConfigurationAt[] = []
    this.entries.forEach((entry, at) => {
      const index = logIndex(this.#firstIndex + at)
      if (termRuns.at(-1)?.term !== entry.term) termRuns.push({ first: index, term: termOf(entry.term) })
      if (entry.configuration !== null) configurations.push({ index, configuration: entry.configuration })
    })
    const { firstIndex, lastIndex, snapshot } = this
    // A server that is to be added has no configuration yet.
    const isNew = snapshot === null && configurations[0]?.index !== 1
    if (isNew) configurations.unshift({ index: logIndex(0), configuration: NOBODY })
    const { commitIndex } = this.#hardState
    const bounds = { firstIndex, prevTerm: this.#prevTerm, lastIndex, commitIndex, appliedIndex: logIndex(0) }
    return { ...bounds, termRuns, configurations, snapshot }
  }

  /** What the contract of a store asks of whoever compacts (types.ts). */
  #compact({ first, prevTerm, snapshot, keepSuffix }: Extract<TicketOperation, { readonly type: 'compact' }>): void {
    const { firstIndex, lastIndex } = this
    const before = this.#snapshot?.index ?? 0
    const numbers = `to ${first} behind ${snapshot.index}, of ${firstIndex} .. ${lastIndex} behind ${before}`
    assert(
      firstIndex <= first && first <= snapshot.index + 1 && before <= snapshot.index,
      `disk: compaction ${numbers}`,
    )
    if (keepSuffix) {
      assert(snapshot.index <= lastIndex, `disk: compaction keeps what is not there, ${numbers}`)
      const term = first === firstIndex ? this.#prevTerm : this.termAt(logIndex(first - 1))
      assert(term === prevTerm, `disk: compaction says term ${prevTerm} before ${first}, it is ${term}`)
      this.entries.splice(0, first - firstIndex)
    } else {
      assert(first === snapshot.index + 1 && prevTerm === snapshot.term, `disk: compaction of all ${numbers}`)
      this.entries.length = 0
    }
    this.#firstIndex = first
    this.#prevTerm = prevTerm
    this.#snapshot = snapshot
  }

  #setHardState(next: HardState): void {
    const { term, votedFor, commitIndex } = this.#hardState
    const names = `${term}/${votedFor}/${commitIndex} to ${next.term}/${next.votedFor}/${next.commitIndex}`
    assert(next.term >= term && next.commitIndex >= commitIndex, `disk: hard state went back from ${names}`)
    assert(next.term > term || votedFor === null || votedFor === next.votedFor, `disk: vote changed from ${names}`)
    assert(next.commitIndex <= this.lastIndex, `disk: commit beyond the log, ${names}`)
    this.#hardState = next
  }
}

/** A snapshot as a disk of a stage holds it: what the state machine had applied. */
export interface StageSnapshot {
  readonly meta: SnapshotMeta
  readonly applied: readonly StageEntry[]
}

export class StageDisk implements DiskView {
  /** No disk of a stage is ever replaced: its server names it. */
  readonly incarnation: ServerId
  /** It began with nothing: its server was to be added. */
  readonly hasJoined: boolean
  /** What would be there after a crash now. */
  readonly durable: StageLog
  /** Whole ones, by their ids; they are durable before anything names them. */
  readonly snapshots = new Map<string, StageSnapshot>()
  /** The same with everything that was submitted, written or not. */
  accepted: StageLog
  #pending: PersistTicket[] = []
  #submitted = 0
  #written = 0
  #writes = 0

  constructor(server: ServerId, entries: readonly StageEntry[], hardState: HardState) {
    this.incarnation = server
    this.hasJoined = entries.length === 0
    this.durable = new StageLog(entries, hardState)
    this.accepted = this.durable.copy()
  }

  get pending(): readonly PersistTicket[] {
    return this.#pending
  }

  get pendingTickets(): number {
    return this.#pending.length
  }

  /** The last ticket of this boot that is durable. */
  get written(): number {
    return this.#written
  }

  /** Tickets ever written. */
  get writes(): number {
    return this.#writes
  }

  submit(ticket: PersistTicket): void {
    assert(ticket.ticket === this.#submitted + 1, `disk: ticket ${ticket.ticket} after ${this.#submitted}`)
    assert(ticket.operations.length > 0, `disk: ticket ${ticket.ticket} is empty`)
    this.#submitted = ticket.ticket
    this.#pending.push(ticket)
    for (const operation of ticket.operations) this.accepted.apply(operation)
  }

  /** Makes the oldest tickets durable, each whole; all of them unless told. */
  write(count = this.#pending.length): void {
    for (const ticket of this.#pending.splice(0, count)) {
      for (const operation of ticket.operations) this.durable.apply(operation)
      // A crash now would find an entry of a term that this server has not entered (scenario C9).
      const lastTerm = this.durable.entries.at(-1)?.term ?? 0
      const { term } = this.durable.hardState
      assert(lastTerm <= term, `disk: an entry of term ${lastTerm} is durable, term ${term} is`)
      this.#written = ticket.ticket
      this.#writes += 1
    }
  }

  /** What is not written is gone; the next boot counts its tickets from 1 again. */
  crash(): void {
    this.#pending = []
    this.#submitted = 0
    this.#written = 0
    this.accepted = this.durable.copy()
  }
}
