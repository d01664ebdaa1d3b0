/**
 * One connection, dialled or accepted: shakes hands, then turns bytes into messages and messages into bytes, or into
 * frames of a channel, and ends exactly once, with a reason. Who the peer may be, and what becomes of what it sends, is
 * the owner's business.
 *
 * The dialling side says hello, the accepting side says hello once it has read that; each then asks its own `admit`.
 * The accepting side says welcome when its has resolved; the connection opens on the dialling side with the welcome and
 * its own `admit`, so that no request is on its way before both sides want it. On a channel, where both sides may send,
 * the dialling side then says welcome too, and the accepting side opens with that.
 */

import type { ServerDuplexStream } from '@grpc/grpc-js'
import { RaftError } from 'balsa-raft'
import {
  type CancelTimer,
  CHANNEL_REQUIRES,
  CHANNEL_WIRE_BYTES_MAX,
  type ChannelFrame,
  type Clock,
  closedByPeer,
  commonFeatures,
  type ConnectionEnd,
  decodeFrame,
  encodeAnswer,
  encodeGoodbye,
  encodeHello,
  encodeRefusal,
  encodeWelcome,
  FEATURES,
  foreignRefusal,
  FRAME_BYTES_MAX,
  type FrameMemory,
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
} from 'balsa-raft/transport'
import { FrameReader } from './frame-reader.js'
import { FrameWriter } from './frame-writer.js'
import { Line, type LineUser } from './line.js'
import type { GrpcSettings } from './options.js'

/** While a frame comes in, this is told so often. */
const ARRIVING_EVERY_MS = 20

/** Bytes with one peer. */
export interface Counted {
  sent: number
  received: number
}

export interface ConnectionContext {
  readonly self: Identity
  readonly clock: Clock
  readonly settings: GrpcSettings
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
  receivedFrame(connection: Connection, frame: ChannelFrame | Ping): void
  /** Part of a long request has come since this was last told. Of an accepted connection. */
  arriving?(connection: Connection): void
  /** Somebody asks in the place of a hello, on an accepted connection; null: there is no answer. */
  asked?(question: Uint8Array): Uint8Array | null
  /** Right before `ended`, when one side refuses the other and it was not `admit` that did. */
  refused(connection: Connection, by: 'self' | 'peer', refusal: Refusal): void
  /** `wasOpen`: whether `opened` was called before. */
  ended(connection: Connection, reason: string, wasOpen: boolean, end: ConnectionEnd): void
  /** Nothing of it is left; the last call. */
  closed(connection: Connection): void
}

export class Connection implements LineUser {
  /** Whom the peer says it is; null before its hello was read and found fitting. */
  peer: Hello | null = null
  /** The same of any hello of this cluster's servers or another's: for `refused`. */
  claimedId: ServerId | null = null
  /** 0 on a dialled connection. */
  readonly link: LinkId
  readonly #line: Line
  readonly #context: ConnectionContext
  readonly #owner: ConnectionOwner
  /** Whom this side dialled; null on an accepted connection. */
  readonly #dialled: ServerId | null
  /** On an accepted connection known with the hello of the peer. */
  #isChannel: boolean
  /** Of the handshake until it is open, then of all connections with this peer. */
  #traffic: Counted = { sent: 0, received: 0 }
  readonly #reader = new FrameReader(HEAD_BYTES_MAX)
  readonly #writer = new FrameWriter()
  #admitted = false
  #welcomed = false
  #isOpen = false
  #isEnded = false
  /** It was a question, and the answer has ended it. */
  #isAnswered = false
  #cancelTimer: CancelTimer
  /** When the oldest request was handed over that nothing has come back after; -1 when none is waiting. */
  #waitingSince = -1
  #arrivingAt = -Infinity
  /** All that has come, in bytes. */
  #bytes = 0

  /** Throws what gRPC says of an address that it cannot read. */
  static dial(
    address: string,
    dialled: ServerId,
    kind: 'session' | 'channel',
    context: ConnectionContext,
    owner: ConnectionOwner,
  ): Connection {
    const { settings, clock } = context
    const make = (user: LineUser): Line => Line.dial(address, settings, clock, user)
    return new Connection(make, { dialled, link: 0, isChannel: kind === 'channel' }, context, owner)
  }

  static accept(
    stream: ServerDuplexStream<Buffer, Buffer>,
    link: LinkId,
    context: ConnectionContext,
    owner: ConnectionOwner,
  ): Connection {
    const { settings, clock } = context
    const make = (user: LineUser): Line => Line.accept(stream, settings, clock, user)
    return new Connection(make, { dialled: null, link, isChannel: false }, context, owner)
  }

  private constructor(
    make: (user: LineUser) => Line,
    side: { readonly dialled: ServerId | null; readonly link: LinkId; readonly isChannel: boolean },
    context: ConnectionContext,
    owner: ConnectionOwner,
  ) {
    this.#context = context
    this.#owner = owner
    this.#dialled = side.dialled
    this.link = side.link
    this.#isChannel = side.isChannel
    this.#line = make(this)
    const { dialTimeoutMs } = context.settings
    this.#cancelTimer =
      side.dialled === null
        ? this.#handshakeTimer()
        : context.clock.setTimer(dialTimeoutMs, () => this.end(`not connected within ${dialTimeoutMs} ms`))
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  get isChannel(): boolean {
    return this.#isChannel
  }

  get isAnswered(): boolean {
    return this.#isAnswered
  }

  /** Bytes that have come, and bytes of whole frames: what is between them is a frame on its way. */
  get arrived(): { readonly bytes: number; readonly frameBytes: number } {
    return { bytes: this.#bytes, frameBytes: this.#reader.frameBytes }
  }

  /** Bytes that wait here and with gRPC. */
  get unsent(): number {
    return this.#writer.bytes + this.#line.unsent
  }

  get remote(): string {
    return this.#line.remote
  }

  /** The same without the port. */
  get remoteHost(): string {
    return this.remote.replace(/:\d+$/, '')
  }

  /** Ended, and still there until the last words have arrived. */
  get isLingering(): boolean {
    return this.#isEnded && !this.#line.isClosed
  }

  /**
   * Queues a message; dropped when the connection is not open, or the peer does not know such. May end the connection.
   * True when it is the first since the last flush. Hot path: once per batch.
   */
  send(message: Request | Response): boolean {
    if (!this.#isOpen || !isUnderstood(message, this.#writer.features)) return false
    const isFirst = this.#writer.bytes === 0
    this.#writer.append(message)
    return this.#boundQueue() && isFirst
  }

  /** Hands over what is queued. May end the connection. Hot path: once per turn. */
  flush(): void {
    if (!this.#isOpen || this.#writer.bytes === 0) return
    if (this.#dialled !== null && this.#isSilent()) return
    this.#traffic.sent += this.#writer.bytes
    this.#line.write(this.#writer.take())
  }

  /** Hands over one frame of a channel, which is open. May end the connection. */
  sendFrame(pieces: readonly Uint8Array[]): void {
    if (!this.#isOpen) return
    for (const { byteLength } of pieces) this.#traffic.sent += byteLength
    this.#line.write(pieces)
    this.#boundQueue()
  }

  /** Ends the connection; the peer is told why when there is a refusal. Does nothing the second time. */
  end(reason: string, refusal: Refusal | null = null): void {
    this.#end(reason, refusal === null ? null : encodeRefusal(refusal))
  }

  /** Ends the connection because of what the peer is or sent; both sides say why. */
  refuse(refusal: Refusal, reason = refusal.reason): void {
    if (this.#isEnded) return
    this.#owner.refused(this, 'self', refusal)
    this.end(reason, refusal)
  }

  /** Ends the connection because of what the peer is no more; not that of `stays`, nor one whose peer is not known. */
  expel(refusal: Refusal, stays: Identity | null): void {
    if (stays !== null && (this.peer === null || isSameBoot(this.peer, stays))) return
    this.end(refusal.reason, refusal)
  }

  /** Ends the connection because this side needs it no more. A peer that understands is told so. */
  leave(reason: string): void {
    const isTold = this.#isOpen && this.#writer.features.has('goodbye')
    this.#end(reason, isTold ? encodeGoodbye(reason) : null)
  }

  /** No more waiting for the last words. Invariant: it has ended. */
  hangUp(): void {
    this.#line.hangUp()
  }

  connected(): void {
    if (this.#dialled === null) return
    this.#cancelTimer()
    this.#cancelTimer = this.#handshakeTimer()
    this.#sayHello(this.#dialled)
  }

  /** Hot path: once per message of gRPC. */
  received(bytes: Uint8Array | null): void {
    if (bytes === null) return this.#cut('a gRPC message that is no Bytes of balsa.transport.v1')
    this.#traffic.received += bytes.byteLength
    this.#bytes += bytes.byteLength
    this.#waitingSince = -1
    const flaw = this.#reader.read(bytes, (memory, start, end) => {
      this.#takeFrame(memory, start, end)
      return !this.#isEnded
    })
    if (this.#isEnded) return
    if (flaw !== null) this.#cut(flaw)
    else if (this.#reader.pendingBytes > 0) this.#noteArrival()
  }

  broken(reason: string, end: ConnectionEnd): void {
    this.#end(reason, null, end)
  }

  closed(): void {
    this.end('closed by the other side')
    this.#owner.closed(this)
  }

  #end(reason: string, lastWords: Uint8Array | null, end: ConnectionEnd = 'unclear'): void {
    if (this.#isEnded) return
    const wasOpen = this.#isOpen
    this.#isEnded = true
    this.#isOpen = false
    this.#cancelTimer()
    this.#writer.take()
    this.#line.end(lastWords)
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

  #handshakeTimer(): CancelTimer {
    const { handshakeTimeoutMs } = this.#context.settings
    const reason = `no handshake within ${handshakeTimeoutMs} ms`
    return this.#context.clock.setTimer(handshakeTimeoutMs, () =>
      this.end(reason, { code: 'HANDSHAKE_TIMEOUT', reason }),
    )
  }

  #sayHello(targetId: ServerId): void {
    const hello = encodeHello({
      ...this.#owner.introduce(targetId),
      protocol: PROTOCOL,
      features: FEATURES,
      requires: this.#isChannel ? CHANNEL_REQUIRES : [],
      ...(this.#isChannel && { channel: true }),
      targetId,
      address: this.#context.settings.address,
    })
    this.#line.write([hello])
  }

  #noteArrival(): void {
    if (!this.#isOpen || this.#dialled !== null || this.#isChannel) return
    const now = this.#context.clock.now()
    if (now - this.#arrivingAt < ARRIVING_EVERY_MS) return
    this.#arrivingAt = now
    this.#owner.arriving?.(this)
  }

  #takeFrame(memory: FrameMemory, start: number, end: number): void {
    const frame = decodeFrame(memory, start, end)
    switch (frame.type) {
      case 'Malformed':
        return this.#cut(frame.what)
      case 'refusal':
        this.#owner.refused(this, 'peer', frame)
        return this.end(refusedByPeer(frame))
      case 'goodbye':
        return this.#end(closedByPeer(frame.reason), null, 'goodbye')
      case 'foreignHello':
        return this.refuse(foreignRefusal(this.#context.self.serverId, frame))
      case 'hello':
        return this.peer === null ? this.#takeHello(frame) : this.#cut('a second hello')
      case 'clientHello':
        // Clients of balsa-raft/client speak TCP.
        return this.refuse(takesNoClients(this.#context.self.serverId))
      case 'clientWelcome':
        return this.#cut('a welcome of a client out of place')
      case 'question':
        return this.#takeQuestion(frame.data)
      case 'answer':
        return this.#cut('an answer to no question')
      case 'proof':
        // Of a token; who may dial here is for the credentials of gRPC to say.
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
    if (this.#dialled !== null || this.peer !== null) return this.#cut('a question out of place')
    const answer = this.#owner.asked?.(question.slice()) ?? null
    if (answer === null) return this.end(NO_ANSWER.reason, NO_ANSWER)
    this.#isAnswered = true
    this.#end('a question was answered', encodeAnswer(answer))
  }

  /** The dialling side says it only on a channel, and when it has heard that of the other side. */
  get #isWelcomeInPlace(): boolean {
    if (this.peer === null || this.#welcomed) return false
    return this.#dialled !== null || (this.#isChannel && this.#admitted)
  }

  #takeMessage(message: Request | Response): void {
    if (!this.#isOpen) return this.#cut(`a ${message.type} before hands are shaken`)
    if (this.#isChannel) return this.#cut(`a ${message.type} on a channel`)
    const isAnswer = message.type.endsWith('Result')
    if (isAnswer && this.#dialled === null) return this.#cut(`a ${message.type} on the connection for requests`)
    if (!isAnswer && this.#dialled !== null) return this.#cut(`a ${message.type} on the connection for answers`)
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
      this.#line.write([encodeWelcome()])
    }
    this.#maybeOpen()
  }

  #maybeOpen(): void {
    if (!this.#admitted || !this.#welcomed || this.peer === null) return
    if (this.#isChannel && this.#dialled !== null) this.#line.write([encodeWelcome()])
    this.#isOpen = true
    this.#traffic = this.#context.trafficOf(this.peer.serverId)
    this.#cancelTimer()
    if (this.#dialled === null) this.#line.widen()
    this.#reader.frameBytesMax = this.#isChannel ? CHANNEL_WIRE_BYTES_MAX : FRAME_BYTES_MAX
    this.#owner.opened(this, this.peer)
  }

  /** The peer sent what cannot be understood. */
  #cut(what: string): void {
    // Not where: what is wrong again is then the same reason again.
    const refusal = { code: 'MALFORMED', reason: `malformed frame: ${what}` }
    this.refuse(refusal, `malformed frame at byte ${this.#reader.frameBytes}: ${what}`)
  }
}
