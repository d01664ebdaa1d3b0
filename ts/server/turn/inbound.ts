/**
 * What peers send, on its way to the core. Entries are checked here, once, before anything believes them: damage on the
 * wire must end a connection, not poison a store.
 */

import type { Request, Response } from '../../core/messages.js'
import type { Events } from '../../observe/events.js'
import type { LogStore } from '../../storage/log-store.js'
import type { LinkId, Session, Transport, TransportHandlers } from '../../transport/transport.js'
import type { Identity, Logger, LogIndex, ServerId } from '../../types.js'
import type { Life } from '../life.js'
import type { PeerPins } from '../peer-pins.js'
import type { Mailbox } from './mailbox.js'

export interface InboundParts {
  readonly store: LogStore
  readonly transport: Transport
  readonly pins: PeerPins
  readonly mailbox: Mailbox
  readonly life: Life
  readonly events: Events
  readonly logger: Logger
}

export class Inbound implements TransportHandlers {
  readonly #store: LogStore
  readonly #transport: Transport
  readonly #pins: PeerPins
  readonly #mailbox: Mailbox
  readonly #life: Life
  readonly #events: Events
  readonly #logger: Logger
  /** Peers whose dialled connection is up. */
  readonly #connected = new Set<ServerId>()
  /** Where the log of each peer ends, as it last said in an answer. */
  readonly #lastIndexes = new Map<ServerId, LogIndex>()

  constructor(parts: InboundParts) {
    this.#store = parts.store
    this.#transport = parts.transport
    this.#pins = parts.pins
    this.#mailbox = parts.mailbox
    this.#life = parts.life
    this.#events = parts.events
    this.#logger = parts.logger
  }

  isConnected(peer: ServerId): boolean {
    return this.#connected.has(peer)
  }

  /** Null while that peer has not said. */
  lastIndexOf(peer: ServerId): LogIndex | null {
    return this.#lastIndexes.get(peer) ?? null
  }

  admit(peer: Identity): Promise<void> {
    return this.#pins.admit(peer)
  }

  onRequest(from: ServerId, link: LinkId, message: Request): void {
    if (message.type === 'AppendEntries') {
      const damaged = message.blocks.find((block) => !this.#store.verify(block.data))
      if (damaged !== undefined) {
        this.#transport.reject(link, `the block with the entries ${damaged.first} .. ${damaged.last} is damaged`)
        return
      }
    }
    this.#mailbox.push({ type: 'request', from, link, message })
  }

  onResponse(from: ServerId, session: Session, message: Response): void {
    if (message.type === 'AppendEntriesResult' && message.lastIndex !== undefined) {
      this.#lastIndexes.set(from, message.lastIndex)
    }
    this.#mailbox.push({ type: 'response', from, session, message })
  }

  onPeerUp(peer: ServerId, session: Session): void {
    this.#connected.add(peer)
    this.#mailbox.push({ type: 'peerUp', peer, session })
    this.#logger.info('peer connected', { peer, session })
    this.#events.emit('peer', { id: peer, connected: true, reason: 'connected' })
  }

  onPeerDown(peer: ServerId, session: Session, reason: string): void {
    this.#connected.delete(peer)
    this.#mailbox.push({ type: 'peerDown', peer, session })
    // While this server ends, its connections end as they should.
    const level = this.#life.isRunning ? 'warn' : 'info'
    this.#logger[level]('peer disconnected', { peer, session, reason })
    this.#events.emit('peer', { id: peer, connected: false, reason })
  }
}
