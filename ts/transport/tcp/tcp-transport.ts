/**
 * The transport over TCP: accepts peers, keeps each peer dialled, and knows the way from a session or a link to its
 * connection. docs/wire-format.md has the bytes.
 */

import type { Server as NetServer, Socket } from 'node:net'
import { assert, RaftError } from '../../errors.js'
import { optionsError } from '../../option-checks.js'
import {
  type Channel,
  type ChannelFrame,
  type ChannelHandlers,
  type ClientHello,
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
  type Recipe,
  type Refusal,
  refusalOf,
  type Request,
  type Response,
  type Server,
  type ServerId,
  serverCloses,
  type Session,
  type Stranger,
  Strangers,
  type Transport,
  takesNoClients,
  type TransportHandlers,
} from '../index.js'
import { type Address, formatAddress, parseAddress } from './address.js'
import { Asking } from './asking.js'
import { Channels, noChannel } from './channels.js'
import { Connection, type ConnectionOwner } from './connection.js'
import { Dialler, type DiallerContext } from './dialler.js'
import type { Material } from './material.js'
import { type TcpOptions, tcpSettings, type TcpSettings } from './options.js'
import { type Counted, emptyStats, type TcpStats } from './stats.js'
import { Securing } from './securing.js'
import { Turnstile } from './turnstile.js'

/**
 * Connections that have not shaken hands may be as many as this from one address, or a quarter of all, if that is more.
 */
const SHARE_MIN = 8

/** Handshakes of TLS that begin in one turn, of half a millisecond or more each: strangers may ask for any number. */
const HANDSHAKES_PER_TURN = 4

/** Connections that a reload looks at in one turn: some milliseconds. */
const JUDGED_AT_ONCE = 16

/** A transport over TCP that will listen on `listen`. Throws ERR_RAFT_OPTIONS when a bound is out of its own. */
export function tcp(options: TcpOptions): TcpTransport {
  return new TcpTransport(tcpSettings(options), { module: import.meta.url, make: 'tcp', options })
}

/** Messages over TCP: one connection that each server dials to each peer, made anew when it breaks. */
export class TcpTransport implements Transport, ConnectionOwner {
  /** With secrets in it, so it is shown to whoever asks for it by name alone. */
  readonly #recipe: Recipe | undefined
  readonly #settings: TcpSettings
  readonly #stats: TcpStats = emptyStats()
  /** By peer. Invariant: nobody is in it but those that are dialled. */
  readonly #traffic = new Map<ServerId, Counted>()
  readonly #server: NetServer
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
  /** Accepted sockets on which hands of TLS are being shaken; strangers all of them. */
  readonly #securing = new Set<Securing>()
  readonly #turnstile = new Turnstile(HANDSHAKES_PER_TURN)
  /** Accepted connections that have ended and stay for their last words, the oldest first. */
  readonly #leaving = new Set<Connection>()
  /** Questions of this side that are on their way. */
  readonly #asking = new Set<Asking>()
  #sessions = 0
  #context: DiallerContext | null = null
  #phase: 'new' | 'started' | 'closed' = 'new'
  #onLastClosed: () => void = () => {}

  constructor(settings: TcpSettings, recipe?: Recipe) {
    this.#settings = settings
    this.#recipe = recipe
    this.#server = settings.sockets.server((socket) => this.#accept(socket))
  }

  get recipe(): Recipe | undefined {
    return this.#recipe
  }

  addressFlaw(address: string): string | null {
    const parsed = parseAddress(address)
    if (parsed !== null && parsed.port > 0) return null
    return 'it must be host:port, such as kv-1.internal:7600 or [::1]:7600'
  }

  traffic(): ReadonlyMap<ServerId, Counted> {
    return new Map([...this.#traffic].map(([peer, { sent, received }]) => [peer, { sent, received }]))
  }

  /** A copy of the counters. */
  stats(): Readonly<TcpStats> {
    return { ...this.#stats }
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
      securing: this.#securing.size,
      leaving: this.#leaving.size,
      asking: this.#asking.size,
      unflushed: this.#dirty.length,
      unsent,
    }
  }

  async start(self: Identity, handlers: TransportHandlers, clock: Clock, logger: Logger): Promise<string> {
    if (this.#phase !== 'new') throw notNew(this.#phase === 'closed')
    this.#phase = 'started'
    const bound = await this.#bind(self.serverId, clock).catch((error: unknown) => {
      if (!this.#isClosed()) this.#phase = 'new'
      throw error
    })
    if (this.#isClosed()) {
      await new Promise((resolve) => this.#server.close(resolve))
      throw new RaftError('ERR_RAFT_CLOSED', `the transport on ${bound} was closed while it started`)
    }
    this.#server.on('error', (error) =>
      logger.error('transport.accept-failed', { address: bound, reason: error.message }),
    )
    this.#context = {
      self,
      address: this.#settings.advertise ?? bound,
      clock,
      settings: this.#settings,
      stats: this.#stats,
      trafficOf: (peer) => this.#traffic.get(peer) ?? { sent: 0, received: 0 },
      handlers,
      logger,
      quiet: new QuietLog(logger),
      nextSession: () => ++this.#sessions,
      track: (connection) => this.#connections.add(connection),
      untrack: (connection) => this.closed(connection),
    }
    const { credentials } = this.#settings
    const expires = credentials?.material.expires
    logger.info('transport.listening', { address: bound, ...(expires !== undefined && { expires }) })
    if (credentials?.material.isClosedToStrangers !== true && !isLoopback(this.#server)) {
      logger.warn('transport.unprotected', { address: bound, reason: unprotected(credentials !== null) })
    }
    return bound
  }

  /**
   * Calls the functions given as `tls` and `token` again. Connections that are made from then on are made with what
   * they read; those that are there stay if they could be made so again, and are ended and, by whoever dials, made anew
   * if not. Rejects with ERR_RAFT_OPTIONS when something cannot be read or used, and what was in force stays.
   */
  async reload(): Promise<void> {
    const { credentials } = this.#settings
    if (this.#isClosed()) throw new RaftError('ERR_RAFT_CLOSED', 'this transport is closed: nothing is reloaded')
    if (credentials === null) throw optionsError('tcp: nothing to reload: it was made without tls')
    if (this.#context === null) throw optionsError('tcp: not started: what tls and token say is read at the start')
    const { clock, logger } = this.#context
    await credentials.reload(clock)
    const { material } = credentials
    logger.info('transport.reloaded', { expires: material.expires })
    await judgeAll(this.#connections, material, clock)
  }

  setPeers(peers: readonly Server[]): void {
    assert(!this.#isClosed(), 'setPeers after close')
    const context = this.#started()
    const wanted = new Map(peers.map((peer) => [peer.id, peer]))
    assert(!wanted.has(context.self.serverId), `server ${context.self.serverId} is not a peer of itself`)
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
    const parsed = parseAddress(address)
    if (this.#isClosed()) throw new Error('this transport is closed')
    if (parsed === null) throw new Error(`the address ${address} is not host:port`)
    await this.#settings.credentials?.load(clock)
    if (this.#isClosed()) throw new Error('this transport is closed')
    const asking = new Asking(parsed, question, this.#settings, clock)
    this.#asking.add(asking)
    void asking.closed.then(() => {
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
    this.#stats.flushes++
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
    const wasListening = this.#server.listening
    if (this.#context !== null) this.#leaveAll(serverCloses(this.#context.self.serverId))
    this.#phase = 'closed'
    for (const one of [...this.#asking, ...this.#securing]) one.end('this transport is closed')
    if (wasListening) await new Promise((resolve) => this.#server.close(resolve))
    if (this.#openCount === 0) return
    await new Promise<void>((resolve) => (this.#onLastClosed = resolve))
  }

  introduce(peer: ServerId): Introduction {
    return this.#started().handlers.introduce(peer)
  }

  /** Asks the server whether this peer may talk to it. */
  admit(peer: Introduction, connection: Connection): Promise<void> {
    this.#strangers.named(connection)
    if (connection.isChannel) this.#channels.named(connection)
    return this.#started().handlers.admit(peer)
  }

  asked(question: Uint8Array): Uint8Array | null {
    return this.#started().handlers.onQuestion?.(question) ?? null
  }

  client(hello: ClientHello): Refusal | ((connection: Connection) => void) {
    const context = this.#started()
    const taken = context.handlers.onClient?.(hello) ?? takesNoClients(context.self.serverId)
    if (typeof taken !== 'function') return taken
    return (connection) => {
      this.#strangers.delete(connection)
      this.#channels.openedToClient(connection, taken, context)
    }
  }

  /** A connection whose handshake is done. */
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

  /** A message of a peer, handed on. */
  received(connection: Connection, message: Request | Response): void {
    const { handlers } = this.#started()
    const from = connection.peer?.serverId
    assert(from !== undefined, () => `a message on link ${connection.link} before its hello`)
    switch (message.type) {
      case 'AppendEntries':
      case 'RequestVote':
      case 'PreVote':
      case 'TimeoutNow':
        return handlers.onRequest(from, connection.link, message)
      case 'AppendEntriesResult':
      case 'RequestVoteResult':
      case 'PreVoteResult':
        assert(false, `a ${message.type} passed the connection that peer ${from} dialled`)
    }
  }

  receivedFrame(connection: Connection, frame: ChannelFrame | Ping): void {
    this.#channels.receivedFrame(connection, frame)
  }

  arriving(connection: Connection): void {
    const from = connection.peer?.serverId
    assert(from !== undefined, `a message on link ${connection.link} before its hello`)
    this.#started().handlers.onArriving?.(from, connection.link)
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
    else if (wasOpen && connection.isOfClient) logger.debug('transport.client-down', { ...fields, reason })
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

  /** Sockets that are not gone. */
  get #openCount(): number {
    return this.#connections.size + this.#asking.size + this.#securing.size
  }

  #leaveAll(reason: string): void {
    for (const dialler of this.#diallers.values()) dialler.stop(reason)
    for (const connection of this.#connections) connection.leave(reason)
  }

  #queue(connection: Connection | null | undefined, message: Request | Response): void {
    if (connection === null || connection === undefined) return
    if (connection.send(message)) this.#dirty.push(connection)
  }

  #accept(socket: Socket): void {
    const context = this.#context
    if (context === null || this.#phase !== 'started') {
      socket.destroy()
      return
    }
    if (this.#settings.credentials !== null) return this.#secure(socket, context)
    const connection = Connection.accept(socket, ++this.#linkCount, context, this)
    this.#connections.add(connection)
    this.#strangers.add(connection)
    this.#makeRoom(connection)
  }

  #secure(raw: Socket, context: DiallerContext): void {
    const securing = new Securing(raw, this.#turnstile, context, {
      secured: (trust) => {
        this.#strangers.delete(securing)
        const connection = Connection.accept(trust, ++this.#linkCount, context, this)
        this.#connections.add(connection)
        this.#strangers.add(connection)
        connection.judge()
      },
      ended: (reason) => {
        const { remoteHost, remote } = securing
        context.quiet.warn('transport.link-refused', remoteHost, reason, { peer: null, link: null, remote })
      },
      closed: () => {
        this.#strangers.delete(securing)
        this.#securing.delete(securing)
        this.#maybeLastClosed()
      },
    })
    this.#securing.add(securing)
    this.#strangers.add(securing)
    this.#makeRoom(securing)
  }

  /**
   * Whoever says nothing must not keep a member out: the oldest goes, of the newcomer's address when that has more than
   * its share. A member that has shaken hands has a place of its own, and keeps it.
   */
  #makeRoom({ remoteHost }: Stranger): void {
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
    assert(this.#context !== null, 'the transport was not started')
    return this.#context
  }

  async #bind(self: ServerId, clock: Clock): Promise<string> {
    const { credentials } = this.#settings
    await credentials?.load(clock)
    credentials?.bind(self)
    return this.#listen()
  }

  async #listen(): Promise<string> {
    const { listen } = this.#settings
    const address = parseAddress(listen)
    if (address === null) {
      const remedy = 'give host:port, such as 127.0.0.1:7600 or [::1]:7600'
      throw new RaftError('ERR_RAFT_LISTEN', `cannot listen on '${listen}': it is not host:port; ${remedy}`)
    }
    try {
      await listening(this.#server, address)
    } catch (error) {
      throw listenError(listen, error)
    }
    const bound = this.#server.address()
    assert(bound !== null && typeof bound === 'object', `listening on ${listen} without an address`)
    return formatAddress({ host: address.host, port: bound.port })
  }
}

/** In slices: with thousands of connections it would else hold up a turn for longer than an election may wait. */
async function judgeAll(connections: Iterable<Connection>, material: Material, clock: Clock): Promise<void> {
  let judged = 0
  for (const connection of [...connections]) {
    connection.judgeAgain(material)
    judged += 1
    if (judged % JUDGED_AT_ONCE === 0) await new Promise<void>((resolve) => clock.defer(resolve))
  }
}

function isLoopback(server: NetServer): boolean {
  const bound = server.address()
  return typeof bound === 'object' && bound !== null && /^(?:::ffff:)?127\.|^::1$/.test(bound.address)
}

const unprotected = (isEncrypted: boolean): string =>
  isEncrypted
    ? 'whoever reaches this port may call itself a server: leave tls.requestCert and tls.rejectUnauthorized out, or give a token'
    : 'whoever reaches this port reads everything and may call itself a server: give tcp the option tls, or listen on 127.0.0.1'

function listening(server: NetServer, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const onListening = (): void => {
      server.off('error', onError)
      resolve()
    }
    const onError = (error: Error): void => {
      server.off('listening', onListening)
      reject(error)
    }
    server.once('error', onError)
    server.once('listening', onListening)
    // A worker of node:cluster would else share the port with its like, and get every other connection.
    server.listen({ host: address.host, port: address.port, exclusive: true })
  })
}

function listenError(listen: string, cause: unknown): RaftError {
  const code = String((cause as { readonly code?: unknown } | null)?.code ?? cause)
  const remedy = REMEDIES[code] ?? "check the host and the port given as 'listen'"
  return new RaftError('ERR_RAFT_LISTEN', `cannot listen on ${listen}: ${code}; ${remedy}`, { cause })
}

const REMEDIES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process has this port: stop it, or choose another port',
  EADDRNOTAVAIL: 'this machine does not have that address: give one of its own, or 0.0.0.0 for all',
  EACCES: 'this user may not take that port: choose one above 1023',
  ENOTFOUND: 'the host name does not resolve: correct it, or give an IP address',
}
