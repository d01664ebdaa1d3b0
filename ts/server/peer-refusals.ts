/**
 * Which peers this server refuses, why and since when: for the status, the log and whoever listens. Told once when it
 * begins or its reason changes, and counted from then on.
 */

import type { RaftError, RaftErrorCode } from '../errors.js'
import type { Events } from '../observe/events.js'
import { QuietLog } from '../transport/quiet-log.js'
import type { Clock, Logger, ServerId } from '../types.js'

export interface PeerRefusal {
  readonly code: RaftErrorCode
  /** What is wrong and what helps, in words. */
  readonly reason: string
  /** When it was first refused for this reason, in milliseconds since 1970. */
  readonly since: number
  /** How often it has come since then. */
  readonly count: number
}

export class PeerRefusals {
  readonly #clock: Clock
  readonly #events: Events
  readonly #quiet: QuietLog
  /** By peer; none for one that was let in the last time. */
  readonly #refusals = new Map<ServerId, PeerRefusal>()

  constructor(clock: Clock, events: Events, logger: Logger) {
    this.#clock = clock
    this.#events = events
    this.#quiet = new QuietLog(logger)
  }

  /** Null while nothing is held against that peer. */
  of(peer: ServerId): PeerRefusal | null {
    return this.#refusals.get(peer) ?? null
  }

  refused(peer: ServerId, { code, message: reason }: RaftError): void {
    const before = this.#refusals.get(peer)
    const isKnown = before?.reason === reason
    const since = isKnown ? before.since : this.#clock.wallNow()
    this.#refusals.set(peer, { code, reason, since, count: (isKnown ? before.count : 0) + 1 })
    this.#quiet.warn('peer refused', peer, reason, { peer, code })
    if (!isKnown) this.#events.emit('refused', { id: peer, code, reason })
  }

  /** The peer was let in. */
  admitted(peer: ServerId): void {
    this.#refusals.delete(peer)
  }
}
