/**
 * The transport over gRPC: takes the calls of peers on the application's server, keeps each peer dialled, and knows the
 * way from a session or a link to its connection. docs/wire-format.md of Balsa has the bytes.
 */

import type { ServerDuplexStream } from '@grpc/grpc-js'
import { RaftError } from 'balsa-raft'
import {
  type Channel,
  type ChannelFrame,
  type ChannelHandlers,
  type Clock,
  type ConnectionEnd,
  type Hello,
  type Identity,
  type Introduction,
  isOfThePeer,
  type LinkId,
  type Logger,
  notAPeer,
  notNew,
  peerChanged,
  type Ping,
  QuietLog,
  type Refusal,
  refusalOf,
  type Request,
  type Response,
  type Server,
  type ServerId,
  serverCloses,
  type Session,
  Strangers,
  type Transport,
  type TransportHandlers,
} from 'balsa-raft/transport'
import { Asking } from './asking.js'
import { Channels, noChannel } from './channels.js'
import { Connection, type ConnectionOwner, type Counted } from './connection.js'
import { Dialler, type DiallerContext } from './dialler.js'
import { addressFlaw, grpcSettings, type GrpcSettings, type GrpcTransportOptions } from './options.js'
import { ReachProbe } from './reach-probe.js'
import { raftService } from './service.js'

/**
 * Connections that have not shaken hands may be as many as this from one address, or a quarter of all, if that is more.
 */
const SHARE_MIN = 8

/**
 * A transport over the application's gRPC server. Throws ERR_RAFT_OPTIONS for an option that is none, or out of bounds.
 */
export function grpcTransport(options: GrpcTransportOptions): GrpcTransport {
  return new GrpcTransport(grpcSettings(options))
}

/** Messages over gRPC: one stream that each server dials to each peer, made anew when it breaks. */
export class GrpcTransport implements Transport, ConnectionOwner {
  readonly #settings: GrpcSettings
  /** By peer. Invariant: nobody is in it but those that are dialled. */
  readonly #traffic = new Map<ServerId, Counted>()
  readonly #connections = new Set<Connection>()
  readonly #diallers = new Map<ServerId, Dialler>()
  /** Accepted connections that may be talked to. */
  readonly #links = new Map<LinkId, Connection>()
  readonly #linkOfPeer = new Map<ServerId, LinkId>()
  readonly #channels = new Channels()
  /** Connections with something queued since the last flush. */
  #dirty: Connection[] = []
  /** Links given out so far. */
  #linkCount = 0
  readonly #strangers = new Strangers()
  /** Accepted connections that have ended and stay for their last words, the oldest first. */
  readonly #leaving = new Set<Connection>()
  /** Questions of this side that are on their way. */
  readonly #asking = new Set<Asking>()
  #sessions = 0
  #context: DiallerContext | null = null
  #probe: ReachProbe | null = null
  #phase: 'new' | 'started' | 'closed' = 'new'
  #onLastClosed: () => void = () => {}

  constructor(settings: GrpcSettings) {
    this.#settings = settings
  }

  addressFlaw(address: string): string | null {
    return addressFlaw(address)
  }

  traffic(): ReadonlyMap<ServerId, Counted> {
    return new Map([...this.#traffic].map(([peer, { sent, received }]) => [peer, { sent, received }]))
  }

  /**
   * What stands in each room. Invariant: 0 in all but those of open connections when nothing was queued since the last
   * flush and every peer has read; 0 in all of them after `close`.
   */
  get rooms(): Readonly<Record<string, number>> {
    let unsent = 0
    for (const connection of this.#connections) unsent += connection.unsent
    return {
      connections: this.#connections.size,
      links: this.#links.size,
      linkedPeers: this.#linkOfPeer.size,
      channels: this.#channels.count,
      strangers: this.#strangers.count,
      leaving: this.#leaving.size,
      asking: this.#asking.size,
      unflushed: this.#dirty.length,
      unsent,
    }
  }

  async start(self: Identity, handlers: TransportHandlers, clock: Clock, logger: Logger): Promise<string> {
    if (this.#phase !== 'new') throw notNew(this.#phase === 'closed')
    const { server, address, backoffMaxMs } = this.#settings
    try {
      server.addService(raftService, { Connect: (stream: ServerDuplexStream<Buffer, Buffer>) => this.#accept(stream) })
    } catch (cause) {
      const remedy = 'close that one first, or choose another gRPC server'
      const message = `cannot listen at ${address}: its gRPC server carries a server of Balsa already; ${remedy}`
      throw new RaftError('ERR_RAFT_LISTEN', message, { cause })
    }
    this.#phase = 'started'
    const quiet = new QuietLog(logger)
    this.#context = {
      ...{ self, clock, settings: this.#settings, handlers, logger, quiet },
      trafficOf: (peer) => this.#traffic.get(peer) ?? { sent: 0, received: 0 },
      nextSession: () => ++this.#sessions,
      track: (connection) => this.#connections.add(connection),
      untrack: (connection) => this.closed(connection),
    }
    const ask = (word: Uint8Array): Promise<Uint8Array> => this.ask(address, word, clock)
    this.#probe = new ReachProbe({ address, everyMs: backoffMaxMs, clock, logger, quiet, ask })
    logger.info('transport.listening', { address })
    return address
  }

  setPeers(peers: readonly Server[]): void {
    const context = this.#started()
    const wanted = new Map(peers.map((peer) => [peer.id, peer]))
    for (const [id, dialler] of this.#diallers) {
      const peer = wanted.get(id)
      if (peer?.address === dialler.peer.address) continue
      this.#diallers.delete(id)
      if (peer === undefined) this.#traffic.delete(id)
      dialler.stop(peerChanged(context.self.serverId, id, peer?.address))
    }
    this.#channels.setPeers(context.self.serverId, wanted)
    for (const peer of peers) {
      if (this.#diallers.has(peer.id)) continue
      const dialler = new Dialler(peer, context)
      this.#diallers.set(peer.id, dialler)
      if (!this.#traffic.has(peer.id)) this.#traffic.set(peer.id, { sent: 0, received: 0 })
      dialler.dial()
    }
  }

  async openChannel(to: ServerId, handlers: ChannelHandlers): Promise<Channel> {
    const context = this.#started()
    const { serverId } = context.self
    if (this.#isClosed()) throw noChannel(to, serverCloses(serverId))
    const peer = this.#diallers.get(to)?.peer
    if (peer === undefined) throw noChannel(to, notAPeer(serverId, to))
    return this.#channels.open(peer, handlers, context)
  }

  async ask(address: string, question: Uint8Array, clock: Clock): Promise<Uint8Array> {
    if (this.#isClosed()) throw new Error('this transport is closed')
    const asking = new Asking(address, question, this.#settings, clock)
    this.#asking.add(asking)
    void asking.gone.then(() => {
      this.#asking.delete(asking)
      this.#maybeLastClosed()
    })
    return asking.answer
  }

  send(to: ServerId, session: Session, message: Request): void {
    this.#queue(this.#diallers.get(to)?.connectionOf(session), message)
  }

  respond(link: LinkId, message: Response): void {
    this.#queue(this.#links.get(link), message)
  }

  flush(): void {
    const dirty = this.#dirty
    this.#dirty = []
    for (const connection of dirty) connection.flush()
  }

  reject(link: LinkId, reason: string): void {
    this.#links.get(link)?.refuse({ code: 'REJECTED', reason }, `rejected: ${reason}`)
  }

  expel(peer: ServerId, error: RaftError, stays: Identity | null = null): void {
    const refusal = refusalOf(error)
    this.#diallers.get(peer)?.expel(refusal, stays)
    const link = this.#linkOfPeer.get(peer)
    if (link !== undefined) this.#links.get(link)?.expel(refusal, stays)
    this.#channels.expel(peer, refusal, stays)
  }

  async close(): Promise<void> {
    if (this.#isClosed()) return
    const wasStarted = this.#phase === 'started'
    this.#probe?.stop()
    if (this.#context !== null) this.#leaveAll(serverCloses(this.#context.self.serverId))
    this.#phase = 'closed'
    if (wasStarted) this.#settings.server.removeService(raftService)
    for (const asking of this.#asking) asking.end('this transport is closed')
    if (this.#openCount === 0) return
    await new Promise<void>((resolve) => (this.#onLastClosed = resolve))
  }

  introduce(peer: ServerId): Introduction {
    return this.#started().handlers.introduce(peer)
  }

  admit(peer: Introduction, connection: Connection): Promise<void> {
    this.#strangers.named(connection)
    if (connection.isChannel) this.#channels.named(connection)
    return this.#started().handlers.admit(peer)
  }

  asked(question: Uint8Array): Uint8Array | null {
    return this.#probe?.answer(question) ?? this.#started().handlers.onQuestion?.(question) ?? null
  }

  opened(connection: Connection, hello: Hello): void {
    if (connection.isChannel) {
      this.#strangers.delete(connection)
      return this.#channels.opened(connection, hello.serverId, this.#started())
    }
    const { logger, quiet } = this.#started()
    const { link } = connection
    const other = this.#linkOfPeer.get(hello.serverId)
    if (other !== undefined && other > link) {
      connection.end('the peer has a newer connection', { code: 'REPLACED', reason: 'you have a newer connection' })
      return
    }
    this.#strangers.delete(connection)
    this.#links.set(link, connection)
    this.#linkOfPeer.set(hello.serverId, link)
    if (other !== undefined) {
      const reason = 'replaced by a newer connection of the same peer'
      this.#links.get(other)?.end(reason, { code: 'REPLACED', reason })
    }
    quiet.forget('transport.link-refused', hello.serverId)
    logger.info('transport.link-up', {
      peer: hello.serverId,
      link,
      advertised: hello.address,
      remote: connection.remote,
    })
    // A peer that dials is alive: no need to wait for the backoff.
    this.#diallers.get(hello.serverId)?.dial()
  }

  received(connection: Connection, message: Request | Response): void {
    // A connection that was accepted lets nothing pass but requests, and none before its hello.
    const from = connection.peer?.serverId ?? ''
    this.#started().handlers.onRequest(from, connection.link, message as Request)
  }

  receivedFrame(connection: Connection, frame: ChannelFrame | Ping): void {
    this.#channels.receivedFrame(connection, frame)
  }

  arriving(connection: Connection): void {
    this.#started().handlers.onArriving?.(connection.peer?.serverId ?? '', connection.link)
  }

  refused(connection: Connection, by: 'self' | 'peer', { code, reason }: Refusal): void {
    const refusal = { code, reason, by, dialledBy: 'peer' } as const
    const isMistaken = code === 'WRONG_SERVER' && by === 'self'
    // What a stranger says before it is admitted is worth nothing, whoever it says that it is.
    const isHeard = (by === 'self' || connection.isOpen) && !connection.isChannel
    if (connection.claimedId === null || isMistaken || !isHeard || !isOfThePeer(refusal)) return
    this.#started().handlers.onRefused?.(connection.claimedId, refusal)
  }

  ended(connection: Connection, reason: string, wasOpen: boolean, end: ConnectionEnd): void {
    const { handlers, logger, quiet } = this.#started()
    const { link } = connection
    const peer = connection.peer?.serverId
    this.#links.delete(link)
    if (peer !== undefined && this.#linkOfPeer.get(peer) === link) this.#linkOfPeer.delete(peer)
    const fields = { peer: peer ?? null, link, remote: connection.remote }
    this.#strangers.delete(connection)
    if (connection.isLingering) this.#lingers(connection)
    const { isChannel } = connection
    if (connection.isAnswered) logger.debug('transport.question-answered', fields)
    else if (wasOpen) logger.info(isChannel ? 'transport.channel-down' : 'transport.link-down', { ...fields, reason })
    else quiet.warn('transport.link-refused', peer ?? connection.remoteHost, reason, fields)
    if (isChannel) this.#channels.ended(connection, reason)
    else if (wasOpen && peer !== undefined) handlers.onLinkDown?.(peer, link, end)
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection)
    this.#leaving.delete(connection)
    this.#maybeLastClosed()
  }

  #maybeLastClosed(): void {
    if (this.#isClosed() && this.#openCount === 0) this.#onLastClosed()
  }

  /** Streams that are not gone. */
  get #openCount(): number {
    return this.#connections.size + this.#asking.size
  }

  #leaveAll(reason: string): void {
    for (const dialler of this.#diallers.values()) dialler.stop(reason)
    for (const connection of this.#connections) connection.leave(reason)
  }

  #queue(connection: Connection | null | undefined, message: Request | Response): void {
    if (connection === null || connection === undefined) return
    if (connection.send(message)) this.#dirty.push(connection)
  }

  #accept(stream: ServerDuplexStream<Buffer, Buffer>): void {
    const connection = Connection.accept(stream, ++this.#linkCount, this.#started(), this)
    this.#connections.add(connection)
    this.#strangers.add(connection)
    this.#makeRoom(connection)
  }

  /**
   * Whoever says nothing must not keep a member out: the oldest goes, of the newcomer's address when that has more than
   * its share. A member that has shaken hands has a place of its own, and keeps it.
   */
  #makeRoom({ remoteHost }: Connection): void {
    const { acceptedMax } = this.#settings
    const shareMax = Math.max(Math.floor(acceptedMax / 4), SHARE_MIN)
    if (this.#strangers.countOf(remoteHost) > shareMax) {
      const reason = `over the connections of one address that have not shaken hands: the bound is ${shareMax}`
      this.#strangers.firstToGo(remoteHost)?.end(reason)
    } else if (this.#strangers.count + this.#leaving.size > acceptedMax) {
      const reason = `over the connections that have not shaken hands: the bound is ${acceptedMax}`
      this.#strangers.firstToGo()?.end(reason)
    }
  }

  /** Last words may take half of the places. */
  #lingers(connection: Connection): void {
    this.#leaving.add(connection)
    const [oldest] = this.#leaving
    if (this.#leaving.size > Math.max(this.#settings.acceptedMax >> 1, 1)) oldest?.hangUp()
  }

  #isClosed(): boolean {
    return this.#phase === 'closed'
  }

  #started(): DiallerContext {
    if (this.#context === null) throw new Error('the transport was not started')
    return this.#context
  }
}
