/**
 * Carries out one Ready: one write per peer, one ticket to the store, the state machine, and the promises.
 *
 * Invariant: the order inside is wire, disk, state machine: what takes longest starts first. A command waits for the disk of
 * this server, or for the way to a peer and back and the disk there (thesis 10.2.1); the core has already held back whatever
 * must wait for this disk.
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { ApplyRange, CoreEvent, Fetch, Input, Ready } from '../../core/ready.js'
import { RaftError } from '../../errors.js'
import type { Outcome } from '../../errors.js'
import { resultAt } from '../../machine/applier.js'
import type { Applied, Applier } from '../../machine/applier.js'
import type { LogStore } from '../../storage/log-store.js'
import type { Transport } from '../../transport/transport.js'
import { logIndex } from '../../types.js'
import type { Logger, StoreOperation } from '../../types.js'
import type { ApplyQueue } from '../calls/apply-queue.js'
import type { Events } from '../../observe/events.js'
import type { PeerPins } from '../peer-pins.js'
import type { ReadQueue } from '../calls/read-queue.js'

/** Entries read from the store at once for the state machine, at start. */
const REPLAY_BYTES_MAX = 1024 * 1024

/** One write under way, in the store's numbering and in the core's. */
interface Write {
  readonly storeTicket: number
  /** Null when it holds nothing of the core's. */
  readonly coreTicket: number | null
  readonly pins: boolean
}

export interface ReadyRunnerParts {
  readonly core: RaftCore
  readonly store: LogStore
  readonly transport: Transport
  readonly logger: Logger
  readonly events: Events
  readonly proposals: ApplyQueue
  readonly reads: ReadQueue
  readonly pins: PeerPins
  readonly applier: Applier<unknown>
  /** Asks for a turn. */
  readonly schedule: () => void
  /** Leaves an input for the next turn. */
  readonly push: (input: Input) => void
  readonly halt: (error: RaftError) => void
  readonly notLeader: () => RaftError
}

export class ReadyRunner {
  readonly #parts: ReadyRunnerParts
  #writes: Write[] = []
  #applying = false

  constructor(parts: ReadyRunnerParts) {
    this.#parts = parts
  }

  /** Whether the core has more to say without any new input. */
  get hasMore(): boolean {
    const { log } = this.#parts.core
    return !this.#applying && log.appliedIndex < Math.min(log.commitIndex, log.durableIndex)
  }

  /** The store's progress in the core's numbering; null when nothing of the core's has become durable. */
  durableTicket(storeTicket: number): number | null {
    let coreTicket: number | null = null
    let done = 0
    for (const write of this.#writes) {
      if (write.storeTicket > storeTicket) break
      coreTicket = write.coreTicket ?? coreTicket
      if (write.pins) this.#parts.pins.written()
      done += 1
    }
    if (done > 0) this.#writes = this.#writes.slice(done)
    return coreTicket
  }

  /** Hot path: once per turn. Returns the error that must halt this server, or null. */
  run(ready: Ready): RaftError | null {
    for (const event of ready.events) this.#report(event)
    if (ready.lostAbove !== null) this.#parts.proposals.failAccepted(ready.lostAbove, leadershipLost)
    this.#send(ready)
    const fault = this.#submit(ready)
    if (fault !== null) return fault
    for (const fetch of ready.fetches) this.#fetch(fetch)
    this.#settleReads(ready)
    return ready.apply === null ? null : this.#apply(ready.apply)
  }

  /** The last Ready before silence: outcomes and events only. */
  runLast(ready: Ready): void {
    for (const event of ready.events) this.#report(event)
    this.#settleReads(ready)
  }

  /** The commit index never causes a write, but for this one: a restart then knows what may be applied. */
  submitLast(): void {
    const { core, store } = this.#parts
    const { term, votedFor } = core.tickets
    store.submit([{ type: 'hardState', hardState: { term, votedFor, commitIndex: core.log.commitIndex } }])
  }

  #submit(ready: Ready): RaftError | null {
    const { store, pins } = this.#parts
    const facts = pins.takeWrites()
    const operations: readonly StoreOperation[] = [...(ready.ticket?.operations ?? []), ...facts]
    if (operations.length === 0) return null
    try {
      const storeTicket = store.submit(operations)
      this.#writes.push({ storeTicket, coreTicket: ready.ticket?.ticket ?? null, pins: facts.length > 0 })
      return null
    } catch (error) {
      if (error instanceof RaftError) return error
      throw error
    }
  }

  #send(ready: Ready): void {
    const { transport } = this.#parts
    for (const outgoing of ready.messages) {
      if (outgoing.kind === 'request') transport.send(outgoing.to, outgoing.session, outgoing.message)
      else transport.respond(outgoing.link, outgoing.message)
    }
    if (ready.messages.length > 0) transport.flush()
    for (const { link, reason } of ready.rejects) transport.reject(link, reason)
  }

  #fetch(fetch: Fetch): void {
    const { store, push, logger } = this.#parts
    store.read(fetch.from, fetch.to, fetch.bytesMax).then(
      (blocks) => push({ type: 'fetched', fetch, blocks }),
      (error: unknown) => {
        logger.error('entries for a peer cannot be read', { peer: fetch.peer, from: fetch.from, error: String(error) })
        push({ type: 'fetchFailed', fetch })
      },
    )
  }

  #settleReads(ready: Ready): void {
    const { reads, core, notLeader } = this.#parts
    for (const read of ready.reads) {
      if (read.status === 'confirmed') reads.confirmed(read.id, read.index)
      else if (read.status === 'notLeader') reads.failed(read.id, notLeader())
      else reads.failed(read.id, overloaded())
    }
    if (ready.reads.length > 0) reads.applied(core.log.appliedIndex)
  }

  #apply(range: ApplyRange): RaftError | null {
    this.#applying = true
    if (range.blocks === null) {
      this.#supervise(this.#replay(range))
      return null
    }
    try {
      const applied = this.#parts.applier.apply(range.first, range.last, range.blocks)
      if (applied instanceof Promise) this.#supervise(applied)
      else this.#applied(applied)
      return null
    } catch (error) {
      if (error instanceof RaftError) return error
      throw error
    }
  }

  /** A part of the range, as much as one read gives: after a restart, or when the machine lags behind the tail. */
  async #replay(range: ApplyRange): Promise<Applied> {
    const blocks = await this.#parts.store.read(range.first, logIndex(range.last + 1), REPLAY_BYTES_MAX)
    const last = logIndex(Math.min(range.last, blocks.at(-1)?.last ?? 0))
    return this.#parts.applier.apply(range.first, last, blocks)
  }

  #supervise(applying: Promise<Applied>): void {
    applying.then(
      (applied) => {
        this.#applied(applied)
        this.#parts.schedule()
      },
      (error: unknown) => this.#parts.halt(error instanceof RaftError ? error : assertionEscaped(error)),
    )
  }

  #applied(applied: Applied): void {
    const { core, proposals, reads } = this.#parts
    this.#applying = false
    core.step({ type: 'applied', index: applied.last })
    proposals.complete(applied.last, resultAt(applied))
    reads.applied(applied.last)
  }

  #report(event: CoreEvent): void {
    const { events, logger } = this.#parts
    switch (event.type) {
      case 'role':
        logger.info('role', { role: event.role, term: event.term })
        return events.emit('role', { role: event.role, term: event.term })
      case 'leader':
        logger.info('leader', { leader: event.leader?.id ?? null, term: event.term })
        return events.emit('leader', { leader: event.leader, term: event.term })
      case 'steppedDown':
        return logger.warn('stepped down', { term: event.term, reason: event.reason })
      case 'protocolFault':
        return logger.error('a peer broke the protocol', { peer: event.peer, reason: event.reason })
    }
  }
}

/** What becomes of accepted commands is not known here any more. */
export function leadershipLost(outcome: Outcome): RaftError {
  const message = 'leadership was lost before the command was committed: it may or may not be applied by a later leader'
  return new RaftError('ERR_RAFT_LEADERSHIP_LOST', message, { outcome })
}

function overloaded(): RaftError {
  return new RaftError('ERR_RAFT_OVERLOADED', 'too many reads wait for confirmation: slow down and try again', {
    retryable: true,
  })
}

/** Not about the world: thrown again where nobody catches it. */
function assertionEscaped(error: unknown): never {
  queueMicrotask(() => {
    throw error
  })
  throw error
}
