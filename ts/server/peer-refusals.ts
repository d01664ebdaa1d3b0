/**
 * Which peers this server refuses, or is refused by, why and since when: for the status, the log and whoever listens.
 * Told once when it begins or its reason changes, and counted from then on.
 */

import type { RaftError } from '../errors.js'
import type { Events } from '../observe/events.js'
import { QuietLog } from '../transport/quiet-log.js'
import type { ConnectionRefusal, Refusal } from '../transport/refusal.js'
import type { Clock, Logger, ServerId } from '../types.js'

export interface PeerRefusal {
  /** A RaftErrorCode, or a word of the transport: PROTOCOL, UNKNOWN_FEATURE, WRONG_SERVER, MALFORMED, REJECTED. */
  readonly code: string
  /** What is wrong and what helps, in words. */
  readonly reason: string
  /** Who refuses: this server the peer, or the peer this server. */
  readonly by: 'self' | 'peer'
  /** When it first came for this reason, in milliseconds since 1970. */
  readonly since: number
  /** How often it has come since then. */
  readonly count: number
}

/**
 * Where it was refused: by `admit`, on the connection that this server dials or on one that the peer does. The same
 * must go well before it is forgotten: a peer that is let in here may still refuse this server.
 */
type Place = 'admit' | 'dialled' | 'accepted'

const EVENT = 'peer.refused'

export class PeerRefusals {
  readonly #clock: Clock
  readonly #events: Events
  readonly #quiet: QuietLog
  /** By peer, the last one; none for one that was well the last time. Invariant: only members are in it. */
  readonly #refusals = new Map<ServerId, PeerRefusal & { readonly place: Place }>()

  constructor(clock: Clock, events: Events, logger: Logger) {
    this.#clock = clock
    this.#events = events
    this.#quiet = new QuietLog(logger)
  }

  /** Null while nothing stands between that peer and this server. */
  of(peer: ServerId): PeerRefusal | null {
    const known = this.#refusals.get(peer)
    if (known === undefined) return null
    const { code, reason, by, since, count } = known
    return { code, reason, by, since, count }
  }

  /** That peer is no member any more. */
  forget(peer: ServerId): void {
    this.#refusals.delete(peer)
  }

  /** The server itself does not take the peer for what it says. */
  refused(peer: ServerId, { code, message: reason }: RaftError): void {
    this.#note(peer, 'admit', 'self', { code, reason })
  }

  /** One side has refused the other on a connection. */
  connectionRefused(peer: ServerId, { code, reason, by, dialledBy }: ConnectionRefusal): void {
    this.#note(peer, dialledBy === 'self' ? 'dialled' : 'accepted', by, { code, reason })
  }

  /** The server itself has let the peer in. */
  admitted(peer: ServerId): void {
    if (this.#refusals.get(peer)?.place === 'admit') this.#forget(peer)
  }

  /** A connection that this server dialled is up: each has let the other in. */
  connected(peer: ServerId): void {
    this.#forget(peer)
  }

  /**
   * The peer has sent a request, so the connection that it dials is up. What it was refused for there is no news yet
   * when it comes again: one who breaks the protocol may do so soon after each good message. Hot path: once per
   * message.
   */
  heard(peer: ServerId): void {
    if (this.#refusals.size === 0) return
    if (this.#refusals.get(peer)?.place === 'accepted') this.#refusals.delete(peer)
  }

  #note(peer: ServerId, place: Place, by: 'self' | 'peer', { code, reason }: Refusal): void {
    const before = this.#refusals.get(peer)
    const isKnown = before !== undefined && before.reason === reason && before.code === code && before.by === by
    const since = isKnown ? before.since : this.#clock.wallNow()
    this.#refusals.set(peer, { code, reason, by, since, count: (isKnown ? before.count : 0) + 1, place })
    const isNews = this.#quiet.warn(EVENT, peer, reason, { peer, code, by })
    if (isNews) this.#events.emit('refused', { id: peer, code, reason, by })
  }

  #forget(peer: ServerId): void {
    this.#refusals.delete(peer)
    this.#quiet.forget(EVENT, peer)
  }
}
