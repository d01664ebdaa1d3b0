/**
 * What peers send, on its way to the core. Entries are checked here, once, before anything believes them: damage on the
 * wire must end a connection, not poison a store.
 */

import type { Request, Response } from '../../core/messages.js'
import type { RaftCore } from '../../core/raft-core.js'
import { assert, RaftError } from '../../errors.js'
import { lastEntryTime, MILLISECONDS_BELIEVED_END } from '../../format/block.js'
import type { Events } from '../../observe/events.js'
import type { LogStore } from '../../storage/log-store.js'
import { BOOT_UNPROVEN } from '../../transport/refusal.js'
import type { ConnectionRefusal, Refusal } from '../../transport/refusal.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type {
  ClientOpening,
  ConnectionEnd,
  LinkId,
  Session,
  Transport,
  TransportHandlers,
} from '../../transport/transport.js'
import type { ClientHello } from '../../transport/wire/client-handshake.js'
import type { Block, Identity, Introduction, Logger, LogIndex, ServerId, StoreIdentity } from '../../types.js'
import { Departures } from '../departures.js'
import type { Forwarding } from '../forward/forwarding.js'
import { isForward } from '../forward/messages.js'
import type { Life } from '../life.js'
import type { OwnBoots } from '../own-boots.js'
import type { PeerPins } from '../peer-pins.js'
import type { PeerRefusals } from '../peer-refusals.js'
import { isRepair } from '../repair/messages.js'
import type { Repairs } from '../repair/repairs.js'
import type { SnapshotTransfers } from '../snapshot-transfers.js'
import type { Teller } from '../teller.js'
import type { Mailbox } from './mailbox.js'

export interface InboundParts {
  readonly identity: Identity
  readonly teller: Teller
  readonly core: RaftCore
  readonly boots: OwnBoots
  readonly store: LogStore
  readonly transport: Transport
  readonly transfers: SnapshotTransfers
  readonly repairs: Repairs
  readonly forwarding: Forwarding
  readonly pins: PeerPins
  readonly refusals: PeerRefusals
  readonly mailbox: Mailbox
  readonly life: Life
  readonly events: Events
  readonly logger: Logger
}

export class Inbound implements TransportHandlers {
  readonly #identity: Identity
  readonly #teller: Teller
  readonly #core: RaftCore
  readonly #boots: OwnBoots
  readonly #store: LogStore
  readonly #transport: Transport
  readonly #transfers: SnapshotTransfers
  readonly #repairs: Repairs
  readonly #forwarding: Forwarding
  readonly #pins: PeerPins
  readonly #refusals: PeerRefusals
  readonly #mailbox: Mailbox
  readonly #life: Life
  readonly #events: Events
  readonly #logger: Logger
  /** What was last admitted under the id of each peer. */
  readonly #stores = new Map<ServerId, StoreIdentity>()
  /** Peers whose dialled connection is up. */
  readonly #connected = new Set<ServerId>()
  /** Of the other peers: why. None of a peer of which nothing is known yet. */
  readonly #downReasons = new Map<ServerId, string>()
  readonly #departures = new Departures()
  /** Where the log of each peer ends, as it last said in an answer. */
  readonly #lastIndexes = new Map<ServerId, LogIndex>()
  /** By peer: which boot of it was asked for an earlier one and has not shown that. */
  readonly #asked = new Map<ServerId, string>()

  constructor(parts: InboundParts) {
    this.#identity = parts.identity
    this.#teller = parts.teller
    this.#core = parts.core
    this.#boots = parts.boots
    this.#store = parts.store
    this.#transport = parts.transport
    this.#transfers = parts.transfers
    this.#repairs = parts.repairs
    this.#forwarding = parts.forwarding
    this.#pins = parts.pins
    this.#refusals = parts.refusals
    this.#mailbox = parts.mailbox
    this.#life = parts.life
    this.#events = parts.events
    this.#logger = parts.logger
  }

  isConnected(peer: ServerId): boolean {
    return this.#connected.has(peer)
  }

  /** Why no session with that peer is up: how the last one ended or the last dial failed. Null while one is. */
  downReasonOf(peer: ServerId): string | null {
    return this.#downReasons.get(peer) ?? null
  }

  /** Null while that peer has not said. */
  lastIndexOf(peer: ServerId): LogIndex | null {
    return this.#lastIndexes.get(peer) ?? null
  }

  /**
   * Term and log end are those of the core, taken together: a term that is not durable yet promises nothing here, and
   * explains why the log may have become shorter.
   */
  introduce(peer: ServerId): Introduction {
    const { term, log } = this.#core
    const boots = this.#boots.shownTo(peer)
    return {
      ...{ ...this.#identity, boots, knownBoot: this.#pins.bootOf(peer), term, lastIndex: log.durableIndex },
      ...(this.#pins.hasJoined && { hasJoined: true }),
      ...(this.#core.wasAdded(peer) && { targetWasAdded: true }),
    }
  }

  async admit(peer: Introduction): Promise<void> {
    const { serverId } = peer
    const admitted = this.#pins.admit(peer)
    // Whoever has pinned a boot of this server must see it, also a leader that is no member here yet.
    const isKnown = this.#pins.isPeer(serverId) || this.#pins.isGuest(serverId)
    if (isKnown) this.#boots.wants(serverId, peer.knownBoot)
    try {
      await admitted
    } catch (error) {
      if (error instanceof RaftError && this.#isTold(serverId)) this.#refused(peer, error)
      throw error
    }
    this.#refusals.admitted(serverId)
    this.#stores.set(serverId, { incarnation: peer.incarnation, hasJoined: peer.hasJoined ?? false })
  }

  /** Only once it was asked, a peer that shows too little is at fault. */
  #refused({ serverId, bootNonce }: Introduction, error: RaftError): void {
    const isAsked = this.#asked.get(serverId) === bootNonce
    if (error.code === BOOT_UNPROVEN) this.#asked.set(serverId, bootNonce)
    if (error.code !== BOOT_UNPROVEN || isAsked) this.#refusals.refused(serverId, error)
  }

  /** What ends because this server does says nothing of the peer; who is no member may call itself anything. */
  #isTold(peer: ServerId): boolean {
    return this.#life.isRunning && this.#pins.isPeer(peer)
  }

  onRefused(peer: ServerId, refusal: ConnectionRefusal): void {
    if (this.#isTold(peer)) this.#refusals.connectionRefused(peer, refusal)
  }

  onDialFailed(peer: ServerId, reason: string): void {
    this.#downReasons.set(peer, reason)
  }

  /** What it is for, its first word says. */
  onChannel(from: ServerId, channel: Channel): ChannelHandlers | null {
    const forSnapshot = this.#life.isRunning ? this.#transfers.onChannel(from, channel) : null
    if (forSnapshot === null) return null
    let user: ChannelHandlers | null = null
    return {
      onFrame: (frame) => {
        user ??= this.#userOf(frame, channel) ?? forSnapshot
        user.onFrame(frame)
      },
      onClosed: (reason) => user?.onClosed(reason),
    }
  }

  /** Null: it is for a snapshot, or for nobody. */
  #userOf(first: Uint8Array, channel: Channel): ChannelHandlers | null {
    if (isRepair(first)) return this.#repairs.onChannel(channel)
    return isForward(first) ? this.#forwarding.onChannel(channel) : null
  }

  onClient(client: ClientHello): ClientOpening | Refusal | null {
    return this.#life.isRunning ? this.#forwarding.onClient(client) : null
  }

  onQuestion(question: Uint8Array): Uint8Array | null {
    return this.#life.isRunning ? this.#teller.answer(question) : null
  }

  onRequest(from: ServerId, link: LinkId, message: Request): void {
    this.#refusals.heard(from)
    this.#departures.heard(from)
    if (message.type === 'AppendEntries') {
      const flaw = this.#flawOf(message.blocks)
      if (flaw !== null) return this.#transport.reject(link, flaw)
    }
    this.#mailbox.push({ type: 'request', from, link, message })
  }

  onArriving(from: ServerId, link: LinkId): void {
    this.#mailbox.push({ type: 'arriving', from, link })
  }

  /**
   * What must not be stored: damage, a kind of entry that is not known here (`verify` tells both), and a time that no
   * later entry could follow.
   */
  #flawOf(blocks: readonly Block[]): string | null {
    for (const block of blocks) {
      const entries = `the block with the entries ${block.first} .. ${block.last}`
      if (!this.#store.verify(block.data)) return `${entries} is damaged, or holds what this version does not know`
      const time = lastEntryTime(block)
      if (time >= MILLISECONDS_BELIEVED_END) return `${entries} ends at time ${time}, which is after the year 6429`
    }
    return null
  }

  onResponse(from: ServerId, session: Session, message: Response): void {
    if (message.type === 'AppendEntriesResult' && message.lastIndex !== undefined) {
      this.#lastIndexes.set(from, message.lastIndex)
    }
    this.#mailbox.push({ type: 'response', from, session, message })
  }

  onPeerUp(peer: ServerId, session: Session): void {
    this.#connected.add(peer)
    this.#departures.connected(peer)
    this.#downReasons.delete(peer)
    this.#refusals.connected(peer)
    const store = this.#stores.get(peer)
    assert(store !== undefined, () => `inbound: ${peer} is connected, and nobody has asked to admit it`)
    this.#mailbox.push({ type: 'peerUp', peer, session, store })
    this.#logger.info('peer.connected', { peer, session })
    this.#events.emit('peer', { id: peer, connected: true, reason: 'connected' })
  }

  onPeerDown(peer: ServerId, session: Session, reason: string, end: ConnectionEnd = 'unclear'): void {
    this.#connected.delete(peer)
    this.#downReasons.set(peer, reason)
    this.#mailbox.push({ type: 'peerDown', peer, session })
    if (this.#departures.sessionEnded(peer, end)) this.#mailbox.push({ type: 'peerGone', peer })
    // While this server ends, its connections end as they should.
    const level = this.#life.isRunning ? 'warn' : 'info'
    this.#logger[level]('peer.disconnected', { peer, session, reason })
    this.#events.emit('peer', { id: peer, connected: false, reason })
  }

  onLinkDown(from: ServerId, _link: LinkId, end: ConnectionEnd): void {
    if (this.#departures.linkEnded(from, end)) this.#mailbox.push({ type: 'peerGone', peer: from })
  }
}
