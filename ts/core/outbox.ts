/**
 * Collects what one `takeReady` will return, and holds back what must not leave before a ticket is durable.
 *
 * Invariant: nothing that reveals a term or a vote leaves before the ticket that holds it is durable (scenarios E1,
 * C9). When the term grows, everything held back for the older term is dropped, never sent late.
 */

import type { LogIndex, ServerId, Term } from '../types.js'
import type { ChangeOutcome } from './configuration-change.js'
import type { Request, Response } from './messages.js'
import type { CoreEvent, Fetch, OutgoingMessage, ReadOutcome, Ready, SnapshotSend, TransferOutcome } from './ready.js'

/** Of what is rare: a turn without any makes no list. */
const NONE: readonly never[] = []

interface GatedMessage {
  readonly gate: number
  readonly term: Term
  readonly outgoing: OutgoingMessage
}

export class Outbox {
  #messages: OutgoingMessage[] = []
  #gated: GatedMessage[] = []
  #fetches: Fetch[] = []
  #sends: readonly SnapshotSend[] = NONE
  #reads: ReadOutcome[] = []
  #changes: readonly ChangeOutcome[] = NONE
  #transfers: readonly TransferOutcome[] = NONE
  #rejects: { link: number; reason: string }[] = []
  #events: CoreEvent[] = []
  #lostAbove: LogIndex | null = null

  /** Messages that wait for a ticket. */
  get heldCount(): number {
    return this.#gated.length
  }

  request(to: ServerId, session: number, message: Request): void {
    this.#messages.push({ kind: 'request', to, session, message })
  }

  respond(link: number, message: Response): void {
    this.#messages.push({ kind: 'response', link, message })
  }

  /** Leaves once ticket `gate` is durable, unless the term has grown by then. */
  hold(gate: number, term: Term, outgoing: OutgoingMessage): void {
    this.#gated.push({ gate, term, outgoing })
  }

  fetch(fetch: Fetch): void {
    this.#fetches.push(fetch)
  }

  sendSnapshot(send: SnapshotSend): void {
    this.#sends = [...this.#sends, send]
  }

  read(outcome: ReadOutcome): void {
    this.#reads.push(outcome)
  }

  change(outcome: ChangeOutcome): void {
    this.#changes = [...this.#changes, outcome]
  }

  transfer(outcome: TransferOutcome): void {
    this.#transfers = [...this.#transfers, outcome]
  }

  /** A peer sent on this link what no correct server sends: the link ends, and both sides are told why. */
  breach(peer: ServerId, link: number, reason: string): void {
    this.#rejects.push({ link, reason })
    this.event({ type: 'breach', peer, reason })
  }

  event(event: CoreEvent): void {
    this.#events.push(event)
  }

  lost(above: LogIndex): void {
    this.#lostAbove = above
  }

  dropOlderThan(term: Term): void {
    this.#gated = this.#gated.filter((held) => held.term >= term)
  }

  /** Lets go what waited for tickets that are durable now. */
  release(durable: number): void {
    if (this.#gated.length === 0) return
    for (const held of this.#gated) if (held.gate <= durable) this.#messages.push(held.outgoing)
    this.#gated = this.#gated.filter((held) => held.gate > durable)
  }

  /** The store is gone: nothing that was about to leave may leave. */
  silence(): void {
    this.#messages = []
    this.#gated = []
    this.#fetches = []
    this.#sends = NONE
  }

  // Hot path: once per turn. One literal: an object that is spread and added to costs as much as the rest of
  // `takeReady`.
  drain(ticket: Ready['ticket'], apply: Ready['apply'], restore: Ready['restore']): Ready {
    const drained = {
      ticket,
      messages: this.#messages,
      apply,
      restore,
      sends: this.#sends,
      fetches: this.#fetches,
      reads: this.#reads,
      changes: this.#changes,
      transfers: this.#transfers,
      lostAbove: this.#lostAbove,
      rejects: this.#rejects,
      events: this.#events,
    }
    this.#messages = []
    this.#fetches = []
    this.#sends = NONE
    this.#reads = []
    this.#changes = NONE
    this.#transfers = NONE
    this.#rejects = []
    this.#events = []
    this.#lostAbove = null
    return drained
  }
}
