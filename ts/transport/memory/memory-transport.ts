/**
 * One server's end of a `MemoryNetwork`. A connection goes the way of a TCP one: the dialling side introduces itself,
 * the accepting side does when it has heard that; each checks and admits the other. The accepting side says welcome
 * when it has; the dialling side is up with the welcome and its own admission.
 */

import { assert, RaftError } from '../../errors.js'
import {
  type CancelTimer,
  type Channel,
  type ChannelHandlers,
  CHANNELS_MAX,
  type Clock,
  closedByPeer,
  type ConnectionEnd,
  BOOT_UNPROVEN,
  type Identity,
  identityRefusal,
  type Introduction,
  isOfThePeer,
  isSameBoot,
  type LinkId,
  type Logger,
  messageFlaw,
  NO_ANSWER,
  notAPeer,
  notNew,
  peerChanged,
  QUESTION_BYTES_MAX,
  QuietLog,
  type Refusal,
  refusalOf,
  refusedByPeer,
  type Request,
  type Response,
  type Server,
  serverCloses,
  type ServerId,
  type Session,
  takesNoChannels,
  tooManyChannels,
  type Transport,
  type TransportHandlers,
} from '../index.js'
import { MemoryChannel, overBound } from './memory-channel.js'

/** After a dial that failed or a session that ended. Without jitter: a run must repeat. */
export const REDIAL_MS = 50

/** A dial of which nothing was heard for so long has failed: it may have been dropped. */
const DIAL_TIMEOUT_MS = 2000

/** What a message weighs in the write queue besides its blocks: about its header on a wire. */
const MESSAGE_BYTES = 64

interface Started {
  readonly self: Identity
  readonly handlers: TransportHandlers
  readonly logger: Logger
  readonly quiet: QuietLog
}

/** What becomes of a channel for which a peer is dialled: one of both, once. */
interface Opening {
  opened(channel: MemoryChannel): void
  failed(reason: string): void
}

interface Dialled {
  readonly peer: Server
  /** Null for messages: then it is dialled again and again. */
  readonly opening: Opening | null
  connection: MemoryConnection | null
  cancelTimer: CancelTimer
  /** It has asked for a boot since the last session, and was dialled again at once to be shown it. */
  hasShownBoot: boolean
}

/** How one end ends, as the other one learns of it. */
interface Ending {
  readonly reason: string
  readonly end: ConnectionEnd
}

/** What the other side learns of an end: that it is one, or that it is refused; null: it is not told, or knows. */
type LastWords = Ending | Refusal | null

const CLOSED_THERE: Ending = { reason: 'closed by the other side', end: 'gone' }

const goodbye = (reason: string): Ending => ({ reason: closedByPeer(reason), end: 'goodbye' })

/** What a transport asks of the network that it is on. */
export interface MemoryWire {
  /** What may be on its way in one direction of a connection. */
  readonly writeQueueBytesMax: number
  /** False: another transport listens at that address. */
  listen(transport: MemoryTransport): boolean
  unlisten(transport: MemoryTransport): void
  /** Who listens there; null for nobody. */
  listener(address: string): MemoryTransport | null
  isCut(from: string, to: string): boolean
  /** So many bytes. False: they are lost on the way. */
  carry(from: string, to: string, connection: MemoryConnection, bytes: number, deliver: () => void): boolean
  /** A message at the end of its way, as it has become there; null: it cannot be read, and its connection has ended. */
  arrived<Message extends Request | Response>(connection: MemoryConnection, message: Message): Message | null
  /** The same of a frame of a channel. */
  arrivedFrame(connection: MemoryConnection, frame: Uint8Array): Uint8Array | null
  forget(connection: MemoryConnection): void
  timer(delayMs: number, callback: () => void): CancelTimer
}

/**
 * Two ends and what is between them. Each end learns of the other's end through the network, in order with the
 * messages.
 */
export class MemoryConnection {
  readonly dialler: MemoryTransport
  readonly dialled: Dialled
  readonly peer: Server
  /** 0 of a channel. */
  readonly session: Session
  /** The ends of a channel; null on a connection for messages, and while nobody has accepted it. */
  channelAtDialler: MemoryChannel | null = null
  channelAtAcceptor: MemoryChannel | null = null
  acceptor: MemoryTransport | null = null
  link: LinkId = 0
  /** What each end has heard of the other; null until then. */
  introduced: Identity | null = null
  met: Identity | null = null
  isAdmittedAtDialler = false
  isWelcomed = false
  isUpAtDialler = false
  isUpAtAcceptor = false
  /** With which code the accepting end has refused the dialling one; null while it has not. */
  refusedWith: string | null = null
  isEndedAtDialler = false
  isEndedAtAcceptor = false
  /** Bytes on their way. */
  toAcceptor = 0
  toDialler = 0
  /** Whether something was dropped on the way; only a reset mends that. */
  hasLost = false

  constructor(dialler: MemoryTransport, dialled: Dialled, session: Session) {
    this.dialler = dialler
    this.dialled = dialled
    this.peer = dialled.peer
    this.session = session
  }

  get isChannel(): boolean {
    return this.dialled.opening !== null
  }

  /** Null until the acceptor has heard. */
  get from(): ServerId | null {
    return this.introduced?.serverId ?? null
  }

  isBetween(a: string, b: string): boolean {
    const from = this.dialler.address
    const to = this.peer.address
    return (from === a && to === b) || (from === b && to === a)
  }

  carryToAcceptor(network: MemoryWire, deliver: () => void, bytes = MESSAGE_BYTES): void {
    if (!network.carry(this.dialler.address, this.peer.address, this, bytes, deliver)) this.hasLost = true
  }

  carryToDialler(network: MemoryWire, deliver: () => void, bytes = MESSAGE_BYTES): void {
    if (!network.carry(this.peer.address, this.dialler.address, this, bytes, deliver)) this.hasLost = true
  }

  /** Ends both ends at once: what the network does to a connection, not what a peer does. */
  reset(reason: string, end: ConnectionEnd): void {
    this.dialler.endDialled(this, reason, null, end)
    this.acceptor?.endAccepted(this, reason, null, end)
  }
}

export class MemoryTransport implements Transport {
  readonly address: string
  readonly #network: MemoryWire
  readonly #dialled = new Map<ServerId, Dialled>()
  /** The channels that this side has dialled, the oldest first. */
  readonly #channels = new Set<Dialled>()
  readonly #accepted = new Set<MemoryConnection>()
  readonly #links = new Map<LinkId, MemoryConnection>()
  /** Of each question that is not answered: ends it, with the reason. */
  readonly #questions = new Set<(reason: string) => void>()
  #outbox: (() => void)[] = []
  #started: Started | null = null
  #isClosed = false
  #sessions = 0
  #linkCount = 0

  constructor(network: MemoryWire, address: string) {
    this.#network = network
    this.address = address
  }

  async start(self: Identity, handlers: TransportHandlers, _clock: Clock, logger: Logger): Promise<string> {
    if (this.#started !== null || this.#isClosed) throw notNew(this.#isClosed)
    if (!this.#network.listen(this)) {
      const remedy = 'close the transport that has it, or choose another address'
      throw new RaftError('ERR_RAFT_LISTEN', `cannot listen on ${this.address}: it is in use; ${remedy}`)
    }
    this.#started = { self, handlers, logger, quiet: new QuietLog(logger) }
    logger.info('transport.listening', { address: this.address })
    return this.address
  }

  setPeers(peers: readonly Server[]): void {
    assert(!this.#isClosed, 'setPeers after close')
    const { self } = this.#running()
    const wanted = new Map(peers.map((peer) => [peer.id, peer]))
    assert(!wanted.has(self.serverId), `server ${self.serverId} is not a peer of itself`)
    for (const dialled of [...this.#dialled.values(), ...this.#channels]) {
      const { id, address } = dialled.peer
      const wantedAt = wanted.get(id)?.address
      if (wantedAt !== address) this.#stop(dialled, peerChanged(self.serverId, id, wantedAt))
    }
    for (const peer of peers) {
      if (this.#dialled.has(peer.id)) continue
      const dialled = toBeDialled(peer, null)
      this.#dialled.set(peer.id, dialled)
      this.#dial(dialled)
    }
  }

  openChannel(to: ServerId, handlers: ChannelHandlers): Promise<Channel> {
    const { serverId } = this.#running().self
    const peer = this.#dialled.get(to)?.peer
    const open = [...this.#channels].filter((dialled) => dialled.peer.id === to).length
    return new Promise((resolve, reject) => {
      const failed = (reason: string): void => reject(new Error(`no channel to ${to}: ${reason}`))
      if (this.#isClosed) return failed(serverCloses(serverId))
      if (peer === undefined) return failed(notAPeer(serverId, to))
      if (open >= CHANNELS_MAX) return failed(tooManyChannels(serverId, to))
      const opened = (channel: MemoryChannel): void => {
        channel.open(handlers)
        resolve(channel)
      }
      const dialled = toBeDialled(peer, { opened, failed })
      this.#channels.add(dialled)
      this.#dial(dialled)
    })
  }

  ask(address: string, question: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(new Error('this transport is closed'))
      const network = this.#network
      const end = (outcome: Uint8Array | string): void => {
        for (const cancel of cancels) cancel()
        this.#questions.delete(end)
        if (typeof outcome === 'string') reject(new Error(outcome))
        else resolve(outcome)
      }
      this.#questions.add(end)
      const cancels = [network.timer(DIAL_TIMEOUT_MS, () => end(`not answered within ${DIAL_TIMEOUT_MS} ms`))]
      const dialled = (): void => {
        if (network.isCut(this.address, address)) return end('unreachable')
        const listener = network.listener(address)
        if (listener === null) return end('nobody listens there')
        const answer = listener.answer(question)
        cancels.push(network.timer(0, () => end(answer ?? refusedByPeer(NO_ANSWER))))
      }
      cancels.push(network.timer(0, dialled))
    })
  }

  send(to: ServerId, session: Session, message: Request): void {
    checked(message)
    const connection = this.#dialled.get(to)?.connection
    if (connection === null || connection === undefined) return
    if (connection.session !== session || !connection.isUpAtDialler) return
    const bytes = weight(message)
    connection.toAcceptor += bytes
    if (connection.toAcceptor > this.#network.writeQueueBytesMax) {
      this.endDialled(connection, overBound(connection.toAcceptor, this.#network.writeQueueBytesMax))
      return
    }
    this.#outbox.push(() => {
      if (connection.isEndedAtDialler) return
      const deliver = (): void => {
        connection.toAcceptor -= bytes
        connection.acceptor?.takeRequest(connection, message)
      }
      connection.carryToAcceptor(this.#network, deliver, bytes)
    })
  }

  respond(link: LinkId, message: Response): void {
    checked(message)
    const connection = this.#links.get(link)
    if (connection === undefined) return
    connection.toDialler += MESSAGE_BYTES
    if (connection.toDialler > this.#network.writeQueueBytesMax) {
      this.endAccepted(connection, overBound(connection.toDialler, this.#network.writeQueueBytesMax))
      return
    }
    this.#outbox.push(() => {
      if (connection.isEndedAtAcceptor) return
      connection.carryToDialler(this.#network, () => {
        connection.toDialler -= MESSAGE_BYTES
        connection.dialler.takeResponse(connection, message)
      })
    })
  }

  flush(): void {
    const outbox = this.#outbox
    this.#outbox = []
    for (const carry of outbox) carry()
  }

  reject(link: LinkId, reason: string): void {
    const connection = this.#links.get(link)
    if (connection === undefined) return
    const refusal = { code: 'REJECTED', reason }
    this.#tell(connection, 'self', 'peer', refusal)
    this.endAccepted(connection, `rejected: ${reason}`, refusal)
  }

  expel(peer: ServerId, error: RaftError, stays: Identity | null = null): void {
    const refusal = refusalOf(error)
    const isMeant = (who: Identity | null): boolean => stays === null || (who !== null && !isSameBoot(who, stays))
    for (const { peer: dialled, connection } of [...this.#dialled.values(), ...this.#channels]) {
      if (dialled.id !== peer || connection === null || !isMeant(connection.met)) continue
      this.endDialled(connection, refusal.reason, refusal)
    }
    for (const accepted of [...this.#accepted]) {
      const isIn = accepted.isUpAtAcceptor || accepted.isChannel
      if (isIn && accepted.from === peer && isMeant(accepted.introduced)) this.#refuseAccepted(accepted, refusal)
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    if (this.#started !== null) this.#leaveAll(serverCloses(this.#started.self.serverId))
    this.#isClosed = true
    for (const end of [...this.#questions]) end('this transport is closed')
    this.#outbox = []
    this.#network.unlisten(this)
  }

  /** Its process is gone, and the system ends what it had: nothing is said, and nothing told here. */
  die(): void {
    this.#isClosed = true
    this.#outbox = []
    this.#network.unlisten(this)
    for (const dialled of [...this.#dialled.values(), ...this.#channels]) {
      const { connection } = dialled
      dialled.cancelTimer()
      if (connection === null || connection.isEndedAtDialler) continue
      connection.isEndedAtDialler = true
      connection.isUpAtDialler = false
      connection.carryToAcceptor(this.#network, () => connection.acceptor?.leftByDialler(connection, CLOSED_THERE))
      this.#forgetIfOver(connection)
    }
    for (const connection of this.#accepted) {
      connection.isEndedAtAcceptor = true
      connection.isUpAtAcceptor = false
      connection.carryToDialler(this.#network, () => connection.dialler.leftByAcceptor(connection, CLOSED_THERE))
      this.#forgetIfOver(connection)
    }
  }

  // What follows is called by the network and by the other ends of connections.

  answer(question: Uint8Array): Uint8Array | null {
    if (question.byteLength > QUESTION_BYTES_MAX) return null
    return this.#running().handlers.onQuestion?.(question.slice()) ?? null
  }

  takeRequest(connection: MemoryConnection, message: Request): void {
    if (!connection.isUpAtAcceptor || connection.from === null) return
    const arrived = this.#network.arrived(connection, message)
    if (arrived !== null) this.#running().handlers.onRequest(connection.from, connection.link, arrived)
  }

  /** Part of a request has arrived here. */
  takePart(connection: MemoryConnection): void {
    if (!connection.isUpAtAcceptor || connection.from === null) return
    this.#running().handlers.onArriving?.(connection.from, connection.link)
  }

  takeResponse(connection: MemoryConnection, message: Response): void {
    if (!connection.isUpAtDialler) return
    const arrived = this.#network.arrived(connection, message)
    if (arrived !== null) this.#running().handlers.onResponse(connection.peer.id, connection.session, arrived)
  }

  /** The dialling side's introduction has arrived here. */
  accept(connection: MemoryConnection, peer: Introduction): void {
    const { self, handlers } = this.#running()
    connection.acceptor = this
    connection.link = ++this.#linkCount
    connection.introduced = peer
    this.#accepted.add(connection)
    if (connection.isChannel) this.#acceptChannel(connection)
    const refusal = identityRefusal(self, peer, connection.peer.id, null)
    if (refusal !== null) {
      // Who looks for another server is told so; nothing is held against it here.
      if (refusal.code !== 'WRONG_SERVER') this.#tell(connection, 'self', 'peer', refusal)
      this.#refuseAccepted(connection, refusal)
      return
    }
    const admitted = handlers.admit(peer)
    const introduction = handlers.introduce(peer.serverId)
    connection.carryToDialler(this.#network, () => connection.dialler.meet(connection, introduction))
    admitted.then(
      () => this.#becomeLink(connection),
      (error: unknown) => {
        if (!(error instanceof RaftError)) throw error
        this.#refuseAccepted(connection, refusalOf(error))
      },
    )
  }

  /** The accepting side has admitted this one. */
  welcomed(connection: MemoryConnection): void {
    connection.isWelcomed = true
    this.#maybeUp(connection)
  }

  /** The accepting side's introduction has arrived here. */
  meet(connection: MemoryConnection, peer: Introduction): void {
    if (connection.isEndedAtDialler) return
    connection.met = peer
    const { self, handlers } = this.#running()
    const refusal = identityRefusal(self, peer, self.serverId, connection.peer.id)
    if (refusal !== null) {
      this.#tell(connection, 'self', 'self', refusal)
      this.endDialled(connection, refusal.reason, refusal)
      return
    }
    handlers.admit(peer).then(
      () => {
        connection.isAdmittedAtDialler = true
        this.#maybeUp(connection)
      },
      (error: unknown) => {
        if (!(error instanceof RaftError)) throw error
        this.endDialled(connection, error.message, refusalOf(error))
      },
    )
  }

  /** The dialling side has admitted this one, too: hands are shaken for a channel. */
  welcomedForChannel(connection: MemoryConnection): void {
    const { channelAtAcceptor: channel, from } = connection
    if (connection.isEndedAtAcceptor || channel === null || from === null) return
    const { self, handlers, logger } = this.#running()
    const open = [...this.#accepted].filter((one) => one.isChannel && one.isUpAtAcceptor && one.from === from)
    const [oldest] = open
    if (oldest !== undefined && open.length >= CHANNELS_MAX) {
      this.#refuseAccepted(oldest, { code: 'REPLACED', reason: tooManyChannels(from, self.serverId) })
    }
    connection.isUpAtAcceptor = true
    logger.info('transport.channel-up', { peer: from, link: connection.link, remote: connection.dialler.address })
    const taken = handlers.onChannel?.(from, channel) ?? null
    if (taken === null) channel.close(takesNoChannels(self.serverId))
    else channel.open(taken)
  }

  /** Ends this end of a dialled connection; the other learns `toPeer`, unless null. Does nothing the second time. */
  endDialled(
    connection: MemoryConnection,
    reason: string,
    toPeer: LastWords = CLOSED_THERE,
    end: ConnectionEnd = 'unclear',
  ): void {
    if (connection.isEndedAtDialler) return
    const wasUp = connection.isUpAtDialler
    connection.isEndedAtDialler = true
    connection.isUpAtDialler = false
    if (toPeer !== null) {
      connection.carryToAcceptor(this.#network, () => connection.acceptor?.leftByDialler(connection, toPeer))
    }
    this.#forgetIfOver(connection)
    const { dialled } = connection
    const isCurrent = dialled.connection === connection
    const isAsked = isCurrent && this.#isAskedForBoot(connection)
    if (isCurrent) {
      dialled.connection = null
      dialled.cancelTimer()
      if (isAsked) dialled.hasShownBoot = true
      const delayMs = isAsked ? 0 : REDIAL_MS
      if (isAsked || !connection.isChannel) {
        dialled.cancelTimer = this.#network.timer(delayMs, () => this.#dial(dialled))
      }
    }
    if (!connection.isChannel) this.#sessionEnded(connection, wasUp, reason, end)
    else if (!isAsked) this.#channelEnded(connection, wasUp, reason)
  }

  /** As `endDialled`, for the accepting end. */
  endAccepted(
    connection: MemoryConnection,
    reason: string,
    toPeer: LastWords = CLOSED_THERE,
    end: ConnectionEnd = 'unclear',
  ): void {
    if (connection.isEndedAtAcceptor) return
    const { handlers, logger, quiet } = this.#running()
    const wasUp = connection.isUpAtAcceptor
    connection.isEndedAtAcceptor = true
    connection.isUpAtAcceptor = false
    if (toPeer !== null) {
      connection.carryToDialler(this.#network, () => connection.dialler.leftByAcceptor(connection, toPeer))
    }
    this.#forgetIfOver(connection)
    const { from, link } = connection
    this.#accepted.delete(connection)
    this.#links.delete(link)
    connection.channelAtAcceptor?.ended(reason)
    const fields = { peer: from, link, remote: connection.dialler.address }
    if (wasUp)
      logger.info(connection.isChannel ? 'transport.channel-down' : 'transport.link-down', { ...fields, reason })
    else quiet.warn('transport.link-refused', from ?? connection.dialler.address, reason, fields)
    if (wasUp && from !== null && !connection.isChannel) handlers.onLinkDown?.(from, link, end)
  }

  /** What the accepting end has said last has arrived here. */
  leftByAcceptor(connection: MemoryConnection, words: Ending | Refusal): void {
    if ('code' in words && !connection.isEndedAtDialler) {
      connection.refusedWith = words.code
      if (!this.#isAskedForBoot(connection)) this.#tell(connection, 'peer', 'self', words)
    }
    const { reason, end } = endingOf(words)
    this.endDialled(connection, reason, null, end)
  }

  /** The same of the dialling end. What one says that is not admitted is worth nothing. */
  leftByDialler(connection: MemoryConnection, words: Ending | Refusal): void {
    if ('code' in words && connection.isUpAtAcceptor) this.#tell(connection, 'peer', 'peer', words)
    const { reason, end } = endingOf(words)
    this.endAccepted(connection, reason, null, end)
  }

  /** Nothing is wrong yet: the next dial shows it. */
  #isAskedForBoot({ refusedWith, dialled }: MemoryConnection): boolean {
    return refusedWith === BOOT_UNPROVEN && !dialled.hasShownBoot
  }

  #tell(connection: MemoryConnection, by: 'self' | 'peer', dialledBy: 'self' | 'peer', refusal: Refusal): void {
    if (connection.isChannel) return
    const peer = dialledBy === 'self' ? connection.peer.id : connection.from
    if (peer === null || !isOfThePeer(refusal)) return
    this.#running().handlers.onRefused?.(peer, { ...refusal, by, dialledBy })
  }

  #dial(dialled: Dialled): void {
    if (this.#isClosed || dialled.connection !== null) return
    const { handlers } = this.#running()
    const { peer } = dialled
    const connection = new MemoryConnection(this, dialled, dialled.opening === null ? ++this.#sessions : 0)
    dialled.connection = connection
    if (connection.isChannel) this.#dialChannel(connection)
    dialled.cancelTimer()
    const isReachable = !this.#network.isCut(this.address, peer.address)
    dialled.cancelTimer = this.#network.timer(isReachable ? DIAL_TIMEOUT_MS : 0, () =>
      this.endDialled(connection, isReachable ? `not connected within ${DIAL_TIMEOUT_MS} ms` : 'unreachable'),
    )
    if (!isReachable) return
    const introduction = handlers.introduce(peer.id)
    connection.carryToAcceptor(this.#network, () => {
      const acceptor = this.#network.listener(peer.address)
      if (acceptor !== null) acceptor.accept(connection, introduction)
      else this.endDialled(connection, 'nobody listens there', null)
    })
  }

  #leaveAll(reason: string): void {
    for (const dialled of [...this.#dialled.values(), ...this.#channels]) this.#stop(dialled, reason)
    for (const connection of [...this.#accepted]) this.endAccepted(connection, reason, goodbye(reason))
  }

  /** Ends what was dialled there, for good. */
  #stop(dialled: Dialled, reason: string): void {
    const { connection, opening } = dialled
    dialled.cancelTimer()
    dialled.connection = null
    if (opening === null) this.#dialled.delete(dialled.peer.id)
    else this.#channels.delete(dialled)
    if (connection !== null) this.endDialled(connection, reason, goodbye(reason))
    else opening?.failed(reason)
  }

  #sessionEnded({ peer, session }: MemoryConnection, wasUp: boolean, reason: string, end: ConnectionEnd): void {
    const { handlers, logger, quiet } = this.#running()
    const fields = { peer: peer.id, address: peer.address }
    if (wasUp) {
      logger.info('transport.peer-down', { ...fields, session, reason })
      handlers.onPeerDown(peer.id, session, reason, end)
    } else {
      quiet.warn('transport.dial-failed', peer.id, reason, fields)
      handlers.onDialFailed?.(peer.id, reason)
    }
  }

  #channelEnded({ peer, dialled, channelAtDialler }: MemoryConnection, wasUp: boolean, reason: string): void {
    this.#channels.delete(dialled)
    channelAtDialler?.ended(reason)
    if (wasUp) {
      this.#running().logger.info('transport.channel-down', { peer: peer.id, address: peer.address, reason })
    } else {
      dialled.opening?.failed(reason)
    }
  }

  #dialChannel(connection: MemoryConnection): void {
    connection.channelAtDialler = new MemoryChannel({
      queueBytesMax: this.#network.writeQueueBytesMax,
      carry: (bytes, deliver) => connection.carryToAcceptor(this.#network, deliver, bytes),
      arrived: (frame) => this.#network.arrivedFrame(connection, frame),
      end: (reason) => this.endDialled(connection, reason, goodbye(reason)),
    })
  }

  /** Invariant: hands are not shaken yet. */
  #acceptChannel(connection: MemoryConnection): void {
    const channel = new MemoryChannel({
      queueBytesMax: this.#network.writeQueueBytesMax,
      carry: (bytes, deliver) => connection.carryToDialler(this.#network, deliver, bytes),
      arrived: (frame) => this.#network.arrivedFrame(connection, frame),
      end: (reason) => this.endAccepted(connection, reason, goodbye(reason)),
    })
    connection.channelAtAcceptor = channel
    channel.other = connection.channelAtDialler
    if (connection.channelAtDialler !== null) connection.channelAtDialler.other = channel
  }

  #becomeLink(connection: MemoryConnection): void {
    if (connection.isEndedAtAcceptor) return
    if (connection.isChannel) {
      connection.carryToDialler(this.#network, () => connection.dialler.welcomed(connection))
      return
    }
    const { logger, quiet } = this.#running()
    const { link, from } = connection
    assert(from !== null, `link ${link} is admitted without an identity`)
    for (const other of this.#links.values()) {
      if (other.from !== from) continue
      if (other.link > link) {
        this.#refuseAccepted(connection, { code: 'REPLACED', reason: 'you have a newer connection' })
        return
      }
      this.endAccepted(other, 'replaced by a newer connection of the same peer')
    }
    connection.isUpAtAcceptor = true
    this.#links.set(link, connection)
    quiet.forget('transport.link-refused', from)
    logger.info('transport.link-up', { peer: from, link, remote: connection.dialler.address })
    connection.carryToDialler(this.#network, () => connection.dialler.welcomed(connection))
  }

  #maybeUp(connection: MemoryConnection): void {
    const { dialled, peer, session, channelAtDialler } = connection
    if (connection.isEndedAtDialler || dialled.connection !== connection) return
    if (!connection.isWelcomed || !connection.isAdmittedAtDialler) return
    const { handlers, logger, quiet } = this.#running()
    dialled.cancelTimer()
    connection.isUpAtDialler = true
    dialled.hasShownBoot = false
    if (dialled.opening !== null && channelAtDialler !== null) {
      connection.carryToAcceptor(this.#network, () => connection.acceptor?.welcomedForChannel(connection))
      logger.info('transport.channel-up', { peer: peer.id, address: peer.address })
      dialled.opening.opened(channelAtDialler)
      return
    }
    quiet.forget('transport.dial-failed', peer.id)
    logger.info('transport.peer-up', { peer: peer.id, address: peer.address, session })
    handlers.onPeerUp(peer.id, session)
  }

  #refuseAccepted(connection: MemoryConnection, refusal: Refusal): void {
    this.endAccepted(connection, refusal.reason, refusal)
  }

  #forgetIfOver(connection: MemoryConnection): void {
    const isOverThere = connection.acceptor === null || connection.isEndedAtAcceptor
    if (connection.isEndedAtDialler && isOverThere) this.#network.forget(connection)
  }

  #running(): Started {
    assert(this.#started !== null, `the transport at ${this.address} was not started`)
    return this.#started
  }
}

const endingOf = (words: Ending | Refusal): Ending =>
  'code' in words ? { reason: refusedByPeer(words), end: 'unclear' } : words

function checked(message: Request | Response): void {
  const flaw = messageFlaw(message)
  assert(flaw === null, `a ${message.type} to be sent is malformed: ${flaw}`)
}

function weight(message: Request): number {
  let bytes = MESSAGE_BYTES
  if (message.type === 'AppendEntries') for (const block of message.blocks) bytes += block.data.byteLength
  return bytes
}

const toBeDialled = (peer: Server, opening: Opening | null): Dialled => ({
  peer,
  opening,
  connection: null,
  cancelTimer: () => {},
  hasShownBoot: false,
})
