/**
 * What peers send, on its way to the core. Entries are checked here, once, before anything believes them: damage on the wire
 * must end a connection, not poison a store.
 */

import type { Request, Response } from '../../core/messages.js'
import type { Input } from '../../core/ready.js'
import type { LogStore } from '../../storage/log-store.js'
import type { LinkId, Session, Transport, TransportHandlers } from '../../transport/transport.js'
import type { Identity, Logger, LogIndex, ServerId } from '../../types.js'
import type { Events } from '../../observe/events.js'
import type { PeerPins } from '../peer-pins.js'

export interface InboundParts {
  readonly store: LogStore
  readonly transport: Transport
  readonly pins: PeerPins
  readonly logger: Logger
  readonly events: Events
  readonly push: (input: Input) => void
  /** Whether this server closes or has halted: then connections end as they should. */
  readonly isEnding: () => boolean
}

export class Inbound implements TransportHandlers {
  readonly #parts: InboundParts
  readonly #connected = new Set<ServerId>()
  /** Where the log of each peer ends, as it last said in an answer. */
  readonly #lastIndexes = new Map<ServerId, LogIndex>()

  constructor(parts: InboundParts) {
    this.#parts = parts
  }

  isConnected(peer: ServerId): boolean {
    return this.#connected.has(peer)
  }

  /** Null while that peer has not said. */
  lastIndexOf(peer: ServerId): LogIndex | null {
    return this.#lastIndexes.get(peer) ?? null
  }

  admit(peer: Identity): Promise<void> {
    return this.#parts.pins.admit(peer)
  }

  onRequest(from: ServerId, link: LinkId, message: Request): void {
    if (message.type === 'AppendEntries') {
      const damaged = message.blocks.find((block) => !this.#parts.store.verify(block.data))
      if (damaged !== undefined) {
        this.#parts.transport.reject(link, `the block with the entries ${damaged.first} .. ${damaged.last} is damaged`)
        return
      }
    }
    this.#parts.push({ type: 'request', from, link, message })
  }

  onResponse(from: ServerId, session: Session, message: Response): void {
    if (message.type === 'AppendEntriesResult' && message.lastIndex !== undefined) {
      this.#lastIndexes.set(from, message.lastIndex)
    }
    this.#parts.push({ type: 'response', from, session, message })
  }

  onPeerUp(peer: ServerId, session: Session): void {
    this.#connected.add(peer)
    this.#parts.push({ type: 'peerUp', peer, session })
    this.#parts.logger.info('peer connected', { peer, session })
    this.#parts.events.emit('peer', { id: peer, connected: true, reason: 'connected' })
  }

  onPeerDown(peer: ServerId, session: Session, reason: string): void {
    this.#connected.delete(peer)
    this.#parts.push({ type: 'peerDown', peer, session })
    const level = this.#parts.isEnding() ? 'info' : 'warn'
    this.#parts.logger[level]('peer disconnected', { peer, session, reason })
    this.#parts.events.emit('peer', { id: peer, connected: false, reason })
  }
}
