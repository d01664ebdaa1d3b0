/**
 * Tells from how its connections end that the process of a peer is gone: both have, the one that this server dialled
 * and the one that it accepted, and each in a way that says so. One of them alone may be a link that broke.
 *
 * Invariant: a peer of which anything was heard since counts as there.
 */

import type { ConnectionEnd } from '../transport/transport.js'
import type { ServerId } from '../types.js'

export class Departures {
  /** Peers of which one connection has ended like that, and which. */
  readonly #ended = new Map<ServerId, 'session' | 'link'>()

  /** Hot path: once per request. */
  heard(peer: ServerId): void {
    if (this.#ended.size > 0 && this.#ended.get(peer) === 'link') this.#ended.delete(peer)
  }

  connected(peer: ServerId): void {
    if (this.#ended.get(peer) === 'session') this.#ended.delete(peer)
  }

  /** Whether the peer is gone. */
  sessionEnded(peer: ServerId, end: ConnectionEnd): boolean {
    return this.#note(peer, 'session', end)
  }

  /** The same. */
  linkEnded(peer: ServerId, end: ConnectionEnd): boolean {
    return this.#note(peer, 'link', end)
  }

  #note(peer: ServerId, which: 'session' | 'link', end: ConnectionEnd): boolean {
    const before = this.#ended.get(peer)
    this.#ended.delete(peer)
    if (end === 'unclear') return false
    if (before !== undefined && before !== which) return true
    this.#ended.set(peer, which)
    return false
  }
}
