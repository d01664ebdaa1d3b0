/**
 * A disk with the semantics of the log store: atomic tickets, in order, durable only when `write` says so. A crash drops
 * what was not written; a write that was not yet reported survives it.
 */

import { assert } from '#balsa/errors.js'
import { logIndex } from '#balsa/types.js'
import type { Block, HardState, TermRun } from '#balsa/types.js'
import type { ConfigurationAt, LogStart, PersistTicket, TicketOperation } from '#balsa/core/index.js'
import { entriesOf, makeBlock } from './fake-blocks.js'
import type { FakeEntry } from './fake-blocks.js'

export class FakeDisk {
  /** What would be there after a crash now; the entry of index i stands at i - 1. */
  readonly entries: FakeEntry[]
  hardState: HardState
  /** The log with everything that was submitted, written or not. */
  readonly accepted: FakeEntry[]
  #pending: PersistTicket[] = []
  #submitted = 0
  #written = 0
  #writes = 0

  constructor(entries: readonly FakeEntry[], hardState: HardState) {
    this.entries = [...entries]
    this.accepted = [...entries]
    this.hardState = hardState
  }

  get pending(): readonly PersistTicket[] {
    return this.#pending
  }

  /** The last ticket of this boot that is durable. */
  get written(): number {
    return this.#written
  }

  /** Tickets ever written; for tests that count writes. */
  get writes(): number {
    return this.#writes
  }

  submit(ticket: PersistTicket): void {
    assert(ticket.ticket === this.#submitted + 1, `fake disk: ticket ${ticket.ticket} after ${this.#submitted}`)
    assert(ticket.operations.length > 0, `fake disk: ticket ${ticket.ticket} is empty`)
    this.#submitted = ticket.ticket
    this.#pending.push(ticket)
    for (const operation of ticket.operations) changeLog(this.accepted, operation)
  }

  /** Makes the oldest tickets durable, each whole; returns the last durable ticket. */
  write(count = this.#pending.length): number {
    for (const ticket of this.#pending.splice(0, count)) {
      for (const operation of ticket.operations) {
        changeLog(this.entries, operation)
        if (operation.type === 'hardState') this.#setHardState(operation.hardState)
      }
      // A crash now would find an entry of a term that this server has not entered (scenario C9).
      const lastTerm = this.entries.at(-1)?.term ?? 0
      assert(lastTerm <= this.hardState.term, `fake disk: entry of term ${lastTerm}, term ${this.hardState.term}`)
      this.#written = ticket.ticket
      this.#writes += 1
    }
    return this.#written
  }

  /** What is not written is gone; the next boot counts its tickets from 1 again. */
  crash(): void {
    this.#pending = []
    this.#submitted = 0
    this.#written = 0
    this.accepted.length = 0
    for (const entry of this.entries) this.accepted.push(entry)
  }

  /** What a server that opens the store is told. */
  start(): LogStart {
    const termRuns: TermRun[] = []
    const configurations: ConfigurationAt[] = []
    this.entries.forEach((entry, at) => {
      const index = logIndex(at + 1)
      if (termRuns.at(-1)?.term !== entry.term) termRuns.push({ first: index, term: entry.term as TermRun['term'] })
      if (entry.configuration !== null) configurations.push({ index, configuration: entry.configuration })
    })
    const lastIndex = logIndex(this.entries.length)
    return { firstIndex: logIndex(1), lastIndex, commitIndex: this.hardState.commitIndex, termRuns, configurations }
  }

  /** Durable entries lo .. hi - 1 as blocks, at most `bytesMax` bytes but at least one entry. */
  read(lo: number, hi: number, bytesMax: number): readonly Block[] {
    assert(hi - 1 <= this.entries.length, `fake disk: entry ${hi - 1} read, ${this.entries.length} is the last durable`)
    const blocks: Block[] = []
    let bytes = 0
    let at = lo
    while (at < hi) {
      const head = this.entries[at - 1]
      assert(head !== undefined, `fake disk: entry ${at} read`)
      const payloads: number[] = []
      for (let next = this.entries[at - 1]; at < hi && next !== undefined; next = this.entries[at - 1]) {
        const full = (blocks.length > 0 || payloads.length > 0) && bytes + next.size > bytesMax
        if (full || next.term !== head.term || next.size !== head.size) break
        if (next.configuration !== head.configuration) break
        bytes += next.size
        payloads.push(next.payload)
        at += 1
      }
      if (payloads.length === 0) break
      const block = makeBlock(at - payloads.length, head.term, payloads, head.size)
      blocks.push({ ...block, configuration: head.configuration })
    }
    return blocks
  }

  #setHardState(next: HardState): void {
    const { term, votedFor, commitIndex } = this.hardState
    const names = `${term}/${votedFor}/${commitIndex} to ${next.term}/${next.votedFor}/${next.commitIndex}`
    assert(next.term >= term && next.commitIndex >= commitIndex, `fake disk: hard state went back from ${names}`)
    assert(next.term > term || votedFor === null || votedFor === next.votedFor, `fake disk: vote changed from ${names}`)
    assert(next.commitIndex <= this.entries.length, `fake disk: commit beyond the log, ${names}`)
    this.hardState = next
  }
}

function changeLog(log: FakeEntry[], operation: TicketOperation): void {
  switch (operation.type) {
    case 'append': {
      const { first, last } = operation.block
      assert(first === log.length + 1, `fake disk: block ${first}-${last} appended after entry ${log.length}`)
      for (const entry of entriesOf(operation.block)) log.push(entry)
      return
    }
    case 'truncateSuffix':
      assert(
        operation.from >= 1 && operation.from <= log.length,
        `fake disk: truncation from ${operation.from} of ${log.length} entries`,
      )
      log.length = operation.from - 1
      return
    case 'hardState':
      return
  }
}
