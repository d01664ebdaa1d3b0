/**
 * One connection, dialled or accepted: shakes hands, then turns bytes into messages and messages into bytes, or into
 * frames of a channel, and ends exactly once, with a reason. Who the peer may be, and what becomes of what it sends, is
 * the owner's business.
 *
 * The dialling side says hello, the accepting side says hello once it has read that; each then asks its own `admit`.
 * The accepting side says welcome when its has resolved; the connection opens on the dialling side with the welcome and
 * its own `admit`, so that no request is on its way before both sides want it. On a channel, where both sides may send,
 * the dialling side then says welcome too, and the accepting side opens with that.
 *
 * A client says a hello of its own, and is taken or refused at once; nobody is the peer of such a connection.
 */

import type { Socket } from 'node:net'
import { assert, RaftError } from '../../errors.js'
import {
  type CancelTimer,
  CHANNEL_REQUIRES,
  CHANNEL_WIRE_BYTES_MAX,
  type ChannelFrame,
  type ClientHello,
  type ClientWelcome,
  type Clock,
  closedByPeer,
  commonFeatures,
  type ConnectionEnd,
  decodeFrame,
  encodeAnswer,
  encodeClientHello,
  encodeClientWelcome,
  encodeGoodbye,
  encodeHello,
  encodeProof,
  encodeRefusal,
  encodeWelcome,
  FEATURES,
  foreignRefusal,
  FRAME_BYTES_MAX,
  HEAD_BYTES_MAX,
  type Hello,
  type Identity,
  identityRefusal,
  type Introduction,
  introductionOf,
  isSameBoot,
  isUnderstood,
  type LinkId,
  NO_ANSWER,
  type Ping,
  PROTOCOL,
  type Refusal,
  refusalOf,
  refusedByPeer,
  type Request,
  type Response,
  type ServerId,
  takesNoClients,
  unauthenticated,
} from '../index.js'
import { type Address, formatAddress } from './address.js'
import { FrameReader } from './frame-reader.js'
import { FrameWriter, writeTogether } from './frame-writer.js'
import { handshakeFlaw, type Material, NO_TLS } from './material.js'
import type { TcpSettings } from './options.js'
import type { Counted, TcpStats } from './stats.js'
import { Trust } from './trust.js'

/**
 * Each direction of a connection begins with these bytes; the line end in them shows a connection that rewrites text.
 */
export const MAGIC = Buffer.from('BALSA\r\n\0', 'latin1')

/** What TLS begins with: a record of a handshake, or of an alert. */
const TLS_RECORDS: ReadonlySet<number> = new Set([0x15, 0x16])

/** How long a connection that ends with words for the peer may stay, so that they arrive. */
export const FAREWELL_MS = 1000

/**
 * After so much silence the kernel asks whether the peer is still there: finds a half-open connection on which nothing
 * is sent.
 */
const KEEP_ALIVE_MS = 10_000

/** While a frame comes in, this is told so often, if so much has come meanwhile: less is no sign of life. */
const ARRIVING_EVERY_MS = 20
const ARRIVING_BYTES_MIN = 1024

/** What a socket fails with when the system of the other side has ended the connection. */
const ENDED_THERE: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE'])

export interface ConnectionContext {
  readonly self: Identity
  /** What this server says of where it is dialled. */
  readonly address: string
  readonly clock: Clock
  readonly settings: TcpSettings
  readonly stats: TcpStats
  /** Where the bytes with that peer are counted. */
  readonly trafficOf: (peer: ServerId) => Counted
}

/** Every function but `closed` is called only until `ended` was. */
export interface ConnectionOwner {
  /** As in TransportHandlers; `admit` with the connection on which it is asked. */
  introduce(peer: ServerId): Introduction
  admit(peer: Introduction, connection: Connection): Promise<void>
  opened(connection: Connection, peer: Hello): void
  received(connection: Connection, message: Request | Response): void
  /** The same on a channel; what is in it is a view of memory that is used again. */
  receivedFrame(connection: Connection, frame: ChannelFrame | Ping): void
  /** Part of a long request has come since this was last told. Of an accepted connection. */
  arriving?(connection: Connection): void
  /** Somebody asks in the place of a hello, on an accepted connection; null: there is no answer. */
  asked?(question: Uint8Array): Uint8Array | null
  /** A client has dialled an accepted connection: why it is refused, or what is called once it is open to it. */
  client?(hello: ClientHello): Refusal | ((connection: Connection) => void)
  /** The server has taken the client that this side is. */
  welcomed?(connection: Connection, welcome: ClientWelcome): void
  /** Right before `ended`, when one side refuses the other and it was not `admit` that did. */
  refused(connection: Connection, by: 'self' | 'peer', refusal: Refusal): void
  /** `wasOpen`: whether `opened` was called before. */
  ended(connection: Connection, reason: string, wasOpen: boolean, end: ConnectionEnd): void
  /** The socket is gone; the last call. */
  closed(connection: Connection): void
}

export class Connection {
  /** Whom the peer says it is; null before its hello was read and found fitting. */
  peer: Hello | null = null
  /** The same of any hello of this cluster's servers or another's: for `refused`. */
  claimedId: ServerId | null = null
  /** 0 on a dialled connection. */
  readonly link: LinkId
  readonly #socket: Socket
  readonly #context: ConnectionContext
  readonly #owner: ConnectionOwner
  /** Whom this side dialled; null on an accepted connection. */
  readonly #dialled: ServerId | null
  /** On an accepted connection known with the hello of the peer. */
  #isChannel: boolean
  /** What this side says as a client; null: it is a server. */
  readonly #asClient: Omit<ClientHello, 'type'> | null
  /** One side is a client; on an accepted connection known with its hello. */
  #isOfClient: boolean
  /** Of the handshake until it is open, then of all connections with this peer. */
  #traffic: Counted = { sent: 0, received: 0 }
  readonly #reader = new FrameReader(HEAD_BYTES_MAX)
  readonly #writer = new FrameWriter()
  readonly #remote: Address
  /** Null: nothing is encrypted, and whatever the other side says is believed. */
  readonly #trust: Trust | null
  /** Dialled, and hands of TLS are not shaken. */
  #isSecuring = false
  #magicSent = false
  #magicRead = false
  #admitted = false
  #welcomed = false
  #isOpen = false
  #isEnded = false
  /** It was a question, and the answer has ended it. */
  #isAnswered = false
  /** Ended in good order: the socket stays until the peer has hung up too, or for FAREWELL_MS. */
  #isLeaving = false
  #cancelTimer: CancelTimer
  /** When the oldest request was handed over that nothing has come back after; -1 when none is waiting. */
  #waitingSince = -1
  /** The frame that has come in part, by where it begins; when and how much of it was there when it was last told. */
  #arrivingOffset = -1
  #arrivingAt = 0
  #arrivedBytes = 0

  static dial(address: Address, dialled: ServerId, context: ConnectionContext, owner: ConnectionOwner): Connection {
    return new Connection(address, { dialled, link: 0, isChannel: false, asClient: null }, context, owner)
  }

  static dialChannel(
    address: Address,
    dialled: ServerId,
    context: ConnectionContext,
    owner: ConnectionOwner,
  ): Connection {
    return new Connection(address, { dialled, link: 0, isChannel: true, asClient: null }, context, owner)
  }

  static dialAsClient(
    address: Address,
    asClient: Omit<ClientHello, 'type'>,
    context: ConnectionContext,
    owner: ConnectionOwner,
  ): Connection {
    return new Connection(address, { dialled: null, link: 0, isChannel: true, asClient }, context, owner)
  }

  /** With TLS, once hands of it are shaken. */
  static accept(from: Socket | Trust, link: LinkId, context: ConnectionContext, owner: ConnectionOwner): Connection {
    return new Connection(from, { dialled: null, link, isChannel: false, asClient: null }, context, owner)
  }

  private constructor(
    from: Address | Socket | Trust,
    side: {
      readonly dialled: ServerId | null
      readonly link: LinkId
      readonly isChannel: boolean
      readonly asClient: Omit<ClientHello, 'type'> | null
    },
    context: ConnectionContext,
    owner: ConnectionOwner,
  ) {
    this.#context = context
    this.#owner = owner
    this.#dialled = side.dialled
    this.link = side.link
    this.#isChannel = side.isChannel
    this.#asClient = side.asClient
    this.#isOfClient = side.asClient !== null
    const { settings, clock } = context
    const onread = { buffer: () => this.#space(), callback: (count: number) => this.#filled(count) }
    if (!('host' in from)) {
      this.#trust = from instanceof Trust ? from : null
      const socket = from instanceof Trust ? from.socket : from
      this.#remote = { host: socket.remoteAddress ?? 'unknown', port: socket.remotePort ?? 0 }
      this.#socket = (this.#trust === null ? settings.sockets.takeOver(socket, onread) : null) ?? socket
      if (this.#socket === socket) this.#socket.on('data', (chunk: Buffer) => this.#copy(chunk)).resume()
      this.#cancelTimer = this.#handshakeTimer()
    } else {
      this.#remote = from
      const material = settings.credentials?.material
      this.#trust = material === undefined ? null : Trust.dial(material, { address: from, id: side.dialled }, onread)
      this.#isSecuring = this.#trust !== null
      this.#socket = this.#trust?.socket ?? settings.sockets.dial(from, onread)
      this.#socket.on('connect', () => this.#connected())
      this.#socket.on('secureConnect', () => this.#secured())
      this.#cancelTimer = clock.setTimer(settings.dialTimeoutMs, () =>
        this.end(`not connected within ${settings.dialTimeoutMs} ms`),
      )
    }
    this.#socket.setNoDelay(true)
    this.#socket.setKeepAlive(true, KEEP_ALIVE_MS)
    this.#socket.on('error', (error) => this.#failed(error))
    this.#socket.on('end', () => this.#end('closed by the other side', null, 'gone'))
    this.#socket.on('close', () => {
      this.end('closed by the other side')
      this.#cancelTimer()
      this.#owner.closed(this)
    })
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  get isChannel(): boolean {
    return this.#isChannel
  }

  get isOfClient(): boolean {
    return this.#isOfClient
  }

  get isAnswered(): boolean {
    return this.#isAnswered
  }

  /** Bytes that have come and bytes of whole frames: what is between them is a frame on its way. */
  get arrived(): { readonly bytes: number; readonly frameBytes: number } {
    const { offset, available } = this.#reader
    return { bytes: offset + available, frameBytes: offset }
  }

  /** Bytes that wait here and in the socket. */
  get unsent(): number {
    return this.#writer.bytes + this.#socket.writableLength
  }

  /** The address of the other end, as far as the socket knew it at the start. */
  get remoteHost(): string {
    return this.#remote.host
  }

  get remote(): string {
    return formatAddress(this.#remote)
  }

  /**
   * Queues a message; dropped when the connection is not open, or the peer does not know such. May end the connection.
   * True when it is the first since the last flush. Hot path: once per batch.
   */
  send(message: Request | Response): boolean {
    if (!this.#isOpen || !isUnderstood(message, this.#writer.features)) return false
    const isFirst = this.#writer.bytes === 0
    this.#writer.append(message)
    this.#context.stats.framesSent++
    return this.#boundQueue() && isFirst
  }

  /** Hands over what is queued in one write. May end the connection. Hot path: once per turn. */
  flush(): void {
    if (!this.#isOpen || this.#writer.bytes === 0) return
    if (this.#dialled !== null && this.#isSilent()) return
    const { stats } = this.#context
    stats.writes++
    stats.bytesSent += this.#writer.bytes
    this.#traffic.sent += this.#writer.bytes
    this.#writer.flushTo(this.#socket)
  }

  /** Hands over one frame of a channel, which is open. May end the connection. */
  sendFrame(pieces: readonly Uint8Array[]): void {
    assert(this.#isOpen && this.#isChannel, `a frame for a channel that is none`)
    const { stats } = this.#context
    stats.framesSent++
    stats.writes++
    for (const { byteLength } of pieces) {
      stats.bytesSent += byteLength
      this.#traffic.sent += byteLength
    }
    writeTogether(this.#socket, pieces)
    this.#boundQueue()
  }

  /** Ends the connection; the peer is told why when there is a refusal. Does nothing the second time. */
  end(reason: string, refusal: Refusal | null = null): void {
    this.#end(reason, refusal === null ? null : encodeRefusal(refusal))
  }

  /** Ends the connection because of what the peer is no more; not that of `stays`, nor one whose peer is not known. */
  expel(refusal: Refusal, stays: Identity | null): void {
    if (stays !== null && (this.peer === null || isSameBoot(this.peer, stays))) return
    this.end(refusal.reason, refusal)
  }

  /**
   * Ends the connection because this side needs it no more. A peer that understands is told so; otherwise nothing
   * lingers.
   */
  leave(reason: string): void {
    if (this.#isOpen && this.#writer.features.has('goodbye')) {
      this.#isLeaving = true
      this.#end(reason, encodeGoodbye(reason))
      return
    }
    this.end(reason)
    if (!this.#isLeaving) this.#socket.destroy()
  }

  /** Ended, and the socket stays until the last words have arrived. */
  get isLingering(): boolean {
    return this.#isEnded && !this.#socket.destroyed
  }

  /** No more waiting for the last words. Invariant: it has ended. */
  hangUp(): void {
    this.#socket.destroy()
  }

  #end(reason: string, lastWords: Uint8Array | null, end: ConnectionEnd = 'unclear'): void {
    if (this.#isEnded) return
    const wasOpen = this.#isOpen
    this.#isEnded = true
    this.#isOpen = false
    this.#cancelTimer()
    this.#writer.clear()
    if (lastWords === null || this.#socket.connecting || this.#isSecuring) {
      this.#socket.destroy()
    } else {
      // The other side's bytes are still read, into nothing: a reset for unread bytes could overtake the last words.
      if (!this.#magicSent) this.#socket.write(MAGIC)
      this.#socket.end(lastWords)
      this.#cancelTimer = this.#context.clock.setTimer(FAREWELL_MS, () => this.#socket.destroy())
    }
    this.#owner.ended(this, reason, wasOpen, end)
  }

  /** False: too much waits, and the connection has ended. */
  #boundQueue(): boolean {
    const waiting = this.unsent
    const { writeQueueBytesMax } = this.#context.settings
    if (waiting <= writeQueueBytesMax) return true
    this.end(`${waiting} bytes wait to be written, over ${writeQueueBytesMax}`)
    return false
  }

  #isSilent(): boolean {
    const now = this.#context.clock.now()
    if (this.#waitingSince < 0) this.#waitingSince = now
    if (now - this.#waitingSince <= this.#context.settings.silenceMaxMs) return false
    this.end(`no answer to anything for ${this.#context.settings.silenceMaxMs} ms`)
    return true
  }

  #connected(): void {
    if (this.#isEnded) return
    this.#cancelTimer()
    this.#cancelTimer = this.#handshakeTimer()
    if (this.#trust === null) this.#introduce()
  }

  /** Hands of TLS are shaken with whom this side has dialled; nothing was said. */
  #secured(): void {
    if (this.#isEnded) return
    this.#isSecuring = false
    if (this.judge()) this.#introduce()
  }

  /** Once hands of TLS are shaken, before anything was said or read: false ends the connection. */
  judge(): boolean {
    const trust = this.#trust
    const flaw = trust?.flaw() ?? null
    if (flaw !== null) this.refuse(unauthenticated(flaw))
    else if (trust?.isMadeWith(this.#context.settings.credentials?.material) === false) {
      this.end('certificates or tokens were reloaded meanwhile')
    }
    return !this.#isEnded
  }

  /** Ends the connection if it would not be made with that material. */
  judgeAgain(material: Material): void {
    if (this.#isEnded || this.#isSecuring) return
    const { clock } = this.#context
    const flaw = this.#trust?.flawUnder(material, this.peer?.serverId ?? null, clock.wallNow()) ?? null
    if (flaw !== null) this.refuse(unauthenticated(flaw))
  }

  #introduce(): void {
    if (this.#asClient !== null) this.#begin(encodeClientHello(this.#asClient))
    else if (this.#dialled !== null) this.#sayHello(this.#dialled)
  }

  #failed(error: NodeJS.ErrnoException): void {
    if (this.#isEnded) return
    const { code, message } = error
    const flaw = this.#isOpen || this.#trust === null ? null : handshakeFlaw(error)
    if (flaw !== null) this.#owner.refused(this, 'self', unauthenticated(flaw))
    this.#end(flaw ?? code ?? message, null, code !== undefined && ENDED_THERE.has(code) ? 'gone' : 'unclear')
  }

  #handshakeTimer(): CancelTimer {
    const { handshakeTimeoutMs } = this.#context.settings
    const reason = `no handshake within ${handshakeTimeoutMs} ms`
    return this.#context.clock.setTimer(handshakeTimeoutMs, () =>
      this.end(reason, { code: 'HANDSHAKE_TIMEOUT', reason }),
    )
  }

  #sayHello(targetId: ServerId): void {
    const { address } = this.#context
    const introduction = this.#owner.introduce(targetId)
    const hello = encodeHello({
      ...introduction,
      protocol: PROTOCOL,
      features: FEATURES,
      requires: this.#isChannel ? CHANNEL_REQUIRES : [],
      ...(this.#isChannel && { channel: true }),
      targetId,
      address,
    })
    this.#begin(hello)
  }

  #begin(hello: Uint8Array): void {
    this.#magicSent = true
    const proof = this.link === 0 ? (this.#trust?.proof() ?? null) : null
    this.#socket.write(Buffer.concat(proof === null ? [MAGIC, hello] : [MAGIC, encodeProof(proof), hello]))
  }

  #space(): Uint8Array {
    return this.#isEnded ? discarded : this.#reader.space()
  }

  #filled(count: number): boolean {
    if (this.#isEnded) return true
    this.#context.stats.reads++
    this.#context.stats.bytesReceived += count
    this.#traffic.received += count
    this.#waitingSince = -1
    this.#reader.filled(count)
    this.#drain()
    return true
  }

  #copy(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length && !this.#isEnded) {
      const count = chunk.copy(this.#reader.space(), 0, at)
      at += count
      this.#filled(count)
    }
  }

  /** Takes every whole frame out of the reader. Hot path: once per read. */
  #drain(): void {
    if (!this.#magicRead && !this.#readMagic()) return
    while (!this.#isEnded) {
      const length = this.#reader.frameLength()
      if (length === 0) {
        const flaw = this.#reader.earlyFlaw()
        if (flaw !== null) this.#cut(flaw)
        else if (this.#mayHaveRequests && this.#reader.available > 0) this.#noteArrival()
        return
      }
      if (length < 0) {
        this.#cut(`its length is out of bounds (${this.#reader.frameBytesMax} bytes)`)
        return
      }
      this.#context.stats.framesReceived++
      this.#takeFrame(length)
      if (!this.#isEnded) this.#reader.consume(length)
    }
  }

  get #mayHaveRequests(): boolean {
    return this.#isOpen && this.#dialled === null && !this.#isChannel
  }

  /** Hot path: once per read that ends within a frame. */
  #noteArrival(): void {
    const { offset, available } = this.#reader
    const now = this.#context.clock.now()
    const isNew = this.#arrivingOffset !== offset
    if (!isNew && now - this.#arrivingAt < ARRIVING_EVERY_MS) return
    if (!isNew && available - this.#arrivedBytes < ARRIVING_BYTES_MIN) return
    this.#arrivingOffset = offset
    this.#arrivingAt = now
    this.#arrivedBytes = available
    if (!isNew) this.#owner.arriving?.(this)
  }

  #readMagic(): boolean {
    const { slab, start, available } = this.#reader
    const length = Math.min(available, MAGIC.length)
    if (slab.compare(MAGIC, 0, length, start, start + length) !== 0) {
      const speaksTls = this.#trust === null && TLS_RECORDS.has(slab[start] ?? 0)
      this.#cut(speaksTls ? NO_TLS : 'this is not the protocol of Balsa')
      return false
    }
    if (length < MAGIC.length) return false
    this.#reader.consume(MAGIC.length)
    this.#magicRead = true
    return true
  }

  #takeFrame(length: number): void {
    const { memory, start } = this.#reader
    const frame = decodeFrame(memory, start, start + length)
    if (this.#trust?.isToProve === true) {
      const flaw = this.#trust.flawOfFirst(frame)
      if (flaw !== null) return this.refuse(unauthenticated(flaw))
      if (frame.type === 'proof') return
    }
    switch (frame.type) {
      case 'Malformed':
        return this.#cut(frame.what)
      case 'refusal':
        this.#owner.refused(this, 'peer', frame)
        return this.end(refusedByPeer(frame))
      case 'goodbye':
        return this.#end(closedByPeer(frame.reason), null, 'goodbye')
      case 'foreignHello':
        if (this.#isOfClient) return this.#cut('a hello out of place')
        return this.refuse(foreignRefusal(this.#context.self.serverId, frame))
      case 'hello':
        return this.#isUnknown ? this.#takeHello(frame) : this.#cut('a second hello')
      case 'clientHello':
        return this.#takeClientHello(frame)
      case 'clientWelcome':
        if (this.#asClient === null || this.#isOpen) return this.#cut('a welcome of a client out of place')
        return this.#takeClientWelcome(frame)
      case 'question':
        return this.#takeQuestion(frame.data)
      case 'answer':
        return this.#cut('an answer to no question')
      case 'proof':
        return this.#cut('a proof of a token out of place')
      case 'welcome':
        if (!this.#isWelcomeInPlace) return this.#cut('a welcome out of place')
        this.#welcomed = true
        return this.#maybeOpen()
      case 'channelFrame':
      case 'ping':
        if (!this.#isOpen || !this.#isChannel) return this.#cut(`a ${frame.type} outside of an open channel`)
        return this.#owner.receivedFrame(this, frame)
      default:
        return this.#takeMessage(frame)
    }
  }

  #takeQuestion(question: Uint8Array): void {
    if (this.#dialled !== null || !this.#isUnknown) return this.#cut('a question out of place')
    const answer = this.#owner.asked?.(question.slice()) ?? null
    if (answer === null) return this.end(NO_ANSWER.reason, NO_ANSWER)
    this.#isAnswered = true
    this.#end('a question was answered', encodeAnswer(answer))
  }

  /** The other side has not said who it is. */
  get #isUnknown(): boolean {
    return this.peer === null && !this.#isOfClient
  }

  #takeClientHello(hello: ClientHello): void {
    if (this.#dialled !== null || !this.#isUnknown) return this.#cut('a hello of a client out of place')
    const { serverId, clusterId } = this.#context.self
    this.#isOfClient = true
    this.#isChannel = true
    const taken = this.#owner.client?.(hello) ?? takesNoClients(serverId)
    if (typeof taken !== 'function') return this.refuse(taken)
    this.#begin(encodeClientWelcome({ protocol: PROTOCOL, features: FEATURES, clusterId, serverId }))
    this.#openToClient(hello.features)
    taken(this)
  }

  #takeClientWelcome(welcome: ClientWelcome): void {
    const flaw = this.#trust?.flawOfId(welcome.serverId) ?? null
    if (flaw !== null) return this.refuse(unauthenticated(flaw))
    this.#openToClient(welcome.features)
    this.#owner.welcomed?.(this, welcome)
  }

  #openToClient(features: readonly string[]): void {
    this.#writer.features = commonFeatures(features)
    this.#isOpen = true
    this.#cancelTimer()
    this.#reader.frameBytesMax = CHANNEL_WIRE_BYTES_MAX
  }

  /** The dialling side says it only on a channel, and when it has heard that of the other side. */
  get #isWelcomeInPlace(): boolean {
    if (this.peer === null || this.#welcomed) return false
    return this.#dialled !== null || (this.#isChannel && this.#admitted)
  }

  #takeMessage(message: Request | Response): void {
    if (!this.#isOpen) return this.#cut(`a ${message.type} before hands are shaken`)
    if (this.#isChannel) return this.#cut(`a ${message.type} on a channel`)
    switch (message.type) {
      case 'AppendEntries':
        if (message.blocks.length > 0) this.#reader.lend()
        return this.#takeRequest(message)
      case 'RequestVote':
      case 'PreVote':
      case 'TimeoutNow':
        return this.#takeRequest(message)
      case 'AppendEntriesResult':
      case 'RequestVoteResult':
      case 'PreVoteResult':
        if (this.#dialled === null) return this.#cut(`a ${message.type} on the connection for requests`)
        this.#owner.received(this, message)
    }
  }

  #takeRequest(message: Request): void {
    if (this.#dialled !== null) return this.#cut(`a ${message.type} on the connection for answers`)
    this.#owner.received(this, message)
  }

  #takeHello(hello: Hello): void {
    this.claimedId = hello.serverId
    const isChannel = hello.channel === true
    if (this.#dialled !== null && isChannel !== this.#isChannel)
      return this.#cut('a hello of another kind of connection')
    this.#isChannel = isChannel
    const refusal = identityRefusal(this.#context.self, hello, hello.targetId, this.#dialled)
    if (refusal !== null) return this.refuse(refusal)
    const flaw = this.#trust?.flawOfId(hello.serverId) ?? null
    if (flaw !== null) return this.refuse(unauthenticated(flaw))
    this.peer = hello
    this.#writer.features = commonFeatures(hello.features)
    const admitted = this.#owner.admit(introductionOf(hello), this)
    if (this.#dialled === null) this.#sayHello(hello.serverId)
    admitted.then(
      () => this.#becomeAdmitted(),
      (error: unknown) => {
        if (!(error instanceof RaftError)) throw error
        this.end(error.message, refusalOf(error))
      },
    )
  }

  #becomeAdmitted(): void {
    if (this.#isEnded) return
    this.#admitted = true
    if (this.#dialled === null) {
      this.#welcomed = !this.#isChannel
      this.#socket.write(encodeWelcome())
    }
    this.#maybeOpen()
  }

  #maybeOpen(): void {
    if (!this.#admitted || !this.#welcomed || this.peer === null) return
    if (this.#isChannel && this.#dialled !== null) this.#socket.write(encodeWelcome())
    this.#isOpen = true
    this.#traffic = this.#context.trafficOf(this.peer.serverId)
    this.#cancelTimer()
    this.#reader.frameBytesMax = this.#isChannel ? CHANNEL_WIRE_BYTES_MAX : FRAME_BYTES_MAX
    this.#owner.opened(this, this.peer)
  }

  /** Ends the connection because of what the peer is or sent; both sides say why. */
  refuse(refusal: Refusal, reason = refusal.reason): void {
    if (this.#isEnded) return
    this.#owner.refused(this, 'self', refusal)
    this.end(reason, refusal)
  }

  /** The peer sent what cannot be understood. */
  #cut(what: string): void {
    // Not where: what is wrong again is then the same reason again.
    const refusal = { code: 'MALFORMED', reason: `malformed frame: ${what}` }
    this.refuse(refusal, `malformed frame at byte ${this.#reader.offset}: ${what}`)
  }
}

/** Where the bytes go that come after the end; shared by all connections and read by none. */
const discarded = Buffer.allocUnsafeSlow(16 * 1024)
