/**
 * A whole transport in one file, written as a stranger would: it imports the door and nothing else of Balsa. It is for
 * reading (docs/transports.md walks through it) and passes the conformance suite; what it lacks beside `tcp()` is
 * speed: it copies every byte that it reads and writes, and dials at one pace.
 */

import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { RaftError } from 'balsa-raft'
import {
  BOOT_UNPROVEN,
  closedByPeer,
  commonFeatures,
  decodeFrame,
  encodeGoodbye,
  encodeHello,
  encodeMessage,
  encodeRefusal,
  encodeWelcome,
  FEATURES,
  foreignRefusal,
  FRAME_BYTES_MAX,
  FRAME_BYTES_MIN,
  FRAME_HEADER_BYTES,
  frameLengthAt,
  frameMemory,
  HEAD_BYTES_MAX,
  headFlaw,
  identityRefusal,
  introductionOf,
  isUnderstood,
  NO_ANSWER,
  NO_FEATURES,
  peerChanged,
  PROTOCOL,
  refusalOf,
  refusedByPeer,
  serverCloses,
  takesNoClients,
} from 'balsa-raft/transport'
import type {
  CancelTimer,
  Clock,
  Frame,
  Hello,
  Identity,
  LinkId,
  Logger,
  Malformed,
  Request,
  Response,
  Server,
  ServerId,
  Session,
  Transport,
  TransportHandlers,
} from 'balsa-raft/transport'

const REDIAL_MS = 20
const HANDSHAKE_MS = 5000
const FAREWELL_MS = 1000

interface Started {
  readonly self: Identity
  readonly address: string
  readonly handlers: TransportHandlers
  readonly clock: Clock
  readonly logger: Logger
}

/** What becomes of a line; `ended` once, `closed` when its socket is gone. */
interface LineOwner {
  opened(line: Line, peer: Hello): void
  received(line: Line, message: Request | Response): void
  ended(line: Line, reason: string, wasOpen: boolean): void
  closed(line: Line): void
}

/** One connection, dialled or accepted: shakes hands, then carries frames both ways. */
class Line {
  /** 0 on a line that this side dialled. */
  readonly link: LinkId
  peer: Hello | null = null
  isOpen = false
  /** With which code the peer has refused this server; null while it has not. */
  refusedWith: string | null = null
  readonly #socket: Socket
  readonly #dialled: ServerId | null
  readonly #started: Started
  readonly #owner: LineOwner
  readonly #queueBytesMax: number
  #unread = Buffer.alloc(0)
  #queue: Uint8Array[] = []
  #queueBytes = 0
  #features = NO_FEATURES
  #isAdmitted = false
  #isWelcomed = false
  #isEnded = false
  #cancelTimer: CancelTimer

  constructor(
    socket: Socket,
    side: { readonly dialled: ServerId | null; readonly link: LinkId; readonly queueBytesMax: number },
    started: Started,
    owner: LineOwner,
  ) {
    this.#socket = socket
    this.#dialled = side.dialled
    this.link = side.link
    this.#queueBytesMax = side.queueBytesMax
    this.#started = started
    this.#owner = owner
    this.#cancelTimer = started.clock.setTimer(HANDSHAKE_MS, () => this.end(`no handshake within ${HANDSHAKE_MS} ms`))
    socket.on('connect', () => this.#sayHello(side.dialled ?? ''))
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', ({ message }) => this.end(message))
    socket.on('close', () => {
      this.end('closed by the other side')
      this.#cancelTimer()
      owner.closed(this)
    })
  }

  send(message: Request | Response): void {
    if (!this.isOpen || !isUnderstood(message, this.#features)) return
    const frame = encodeMessage(message, this.#features)
    this.#queue.push(frame)
    this.#queueBytes += frame.length
    const waiting = this.#queueBytes + this.#socket.writableLength
    if (waiting > this.#queueBytesMax) this.end(`${waiting} bytes wait to be written, over ${this.#queueBytesMax}`)
  }

  flush(): void {
    if (!this.isOpen || this.#queueBytes === 0) return
    this.#socket.write(Buffer.concat(this.#queue))
    this.#queue = []
    this.#queueBytes = 0
  }

  /** This side needs the line no more. */
  leave(reason: string): void {
    if (this.isOpen && this.#features.has('goodbye')) this.end(reason, encodeGoodbye(reason))
    else this.end(reason)
  }

  refuse(code: string, reason: string): void {
    this.end(reason, encodeRefusal({ code, reason }))
  }

  end(reason: string, lastWords: Uint8Array | null = null): void {
    if (this.#isEnded) return
    const wasOpen = this.isOpen
    this.#isEnded = true
    this.isOpen = false
    this.#cancelTimer()
    if (lastWords === null || this.#socket.connecting) {
      this.#socket.destroy()
    } else {
      this.#socket.end(lastWords)
      this.#cancelTimer = this.#started.clock.setTimer(FAREWELL_MS, () => this.#socket.destroy())
    }
    this.#owner.ended(this, reason, wasOpen)
  }

  #sayHello(targetId: ServerId): void {
    const { handlers, address } = this.#started
    const features = { protocol: PROTOCOL, features: FEATURES.filter((name) => name !== 'channel'), requires: [] }
    this.#socket.write(encodeHello({ ...handlers.introduce(targetId), ...features, targetId, address }))
  }

  /** Finds whole frames. Memory that was read is never written again, as the contract asks: blocks are views of it. */
  #read(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk])
    while (!this.#isEnded && this.#unread.length >= FRAME_HEADER_BYTES) {
      const memory = frameMemory(this.#unread)
      const length = frameLengthAt(memory, 0)
      const bound = this.isOpen ? FRAME_BYTES_MAX : HEAD_BYTES_MAX
      if (length < FRAME_BYTES_MIN || length > bound) return this.refuse('MALFORMED', `a frame of ${length} bytes`)
      const flaw = headFlaw(memory, 0, this.#unread.length)
      if (flaw !== null) return this.refuse('MALFORMED', flaw)
      if (this.#unread.length < length) return
      this.#unread = this.#unread.subarray(length)
      this.#take(decodeFrame(memory, 0, length))
    }
  }

  #take(frame: Frame | Malformed): void {
    switch (frame.type) {
      case 'Malformed':
        return this.refuse('MALFORMED', frame.what)
      case 'refusal':
        this.refusedWith = frame.code
        return this.end(refusedByPeer(frame))
      case 'goodbye':
        return this.end(closedByPeer(frame.reason))
      case 'foreignHello': {
        const { code, reason } = foreignRefusal(this.#started.self.serverId, frame)
        return this.refuse(code, reason)
      }
      case 'hello':
        return this.peer === null ? this.#meet(frame) : this.refuse('MALFORMED', 'a second hello')
      case 'welcome':
        if (this.#dialled === null || this.peer === null) return this.refuse('MALFORMED', 'a welcome out of place')
        this.#isWelcomed = true
        return this.#maybeOpen()
      case 'channelFrame':
      case 'ping':
        return this.refuse('MALFORMED', `a ${frame.type}, and there are no channels`)
      case 'clientHello': {
        const { code, reason } = takesNoClients(this.#started.self.serverId)
        return this.refuse(code, reason)
      }
      case 'clientWelcome':
        return this.refuse('MALFORMED', 'a welcome out of place')
      case 'proof':
        return this.refuse('MALFORMED', 'a proof of a token, and there are no tokens')
      case 'question':
      case 'answer':
        return this.refuse(NO_ANSWER.code, NO_ANSWER.reason)
      default:
        return this.#takeMessage(frame)
    }
  }

  #takeMessage(message: Request | Response): void {
    const isRequest = !message.type.endsWith('Result')
    if (this.isOpen && isRequest === (this.#dialled === null)) this.#owner.received(this, message)
    else this.refuse('MALFORMED', `a ${message.type} out of place`)
  }

  #meet(hello: Hello): void {
    const { self, handlers } = this.#started
    if (hello.channel === true) return this.refuse('UNKNOWN_FEATURE', 'there are no channels')
    const refusal = identityRefusal(self, hello, hello.targetId, this.#dialled)
    if (refusal !== null) return this.refuse(refusal.code, refusal.reason)
    this.peer = hello
    this.#features = commonFeatures(hello.features)
    const admitted = handlers.admit(introductionOf(hello))
    if (this.#dialled === null) this.#sayHello(hello.serverId)
    admitted.then(
      () => this.#admitted(),
      (error: unknown) => {
        if (!(error instanceof RaftError)) throw error
        const { code, reason } = refusalOf(error)
        this.refuse(code, reason)
      },
    )
  }

  #admitted(): void {
    if (this.#isEnded) return
    this.#isAdmitted = true
    if (this.#dialled === null) {
      this.#isWelcomed = true
      this.#socket.write(encodeWelcome())
    }
    this.#maybeOpen()
  }

  #maybeOpen(): void {
    if (!this.#isAdmitted || !this.#isWelcomed || this.peer === null) return
    this.isOpen = true
    this.#cancelTimer()
    this.#owner.opened(this, this.peer)
  }
}

interface Dialled {
  readonly peer: Server
  line: Line | null
  session: Session
  cancelRedial: CancelTimer
  /** It has asked for a boot since the last session, and was dialled again at once to be shown it. */
  hasShownBoot: boolean
}

export class TinyTransport implements Transport {
  readonly #listen: string
  readonly #queueBytesMax: number
  readonly #server = createServer((socket) => this.#accept(socket))
  readonly #lines = new Set<Line>()
  readonly #links = new Map<LinkId, Line>()
  readonly #dialled = new Map<ServerId, Dialled>()
  #started: Started | null = null
  #linkCount = 0
  #sessions = 0
  #isClosed = false
  #onLastClosed = (): void => {}

  constructor(listen: string, queueBytesMax: number) {
    this.#listen = listen
    this.#queueBytesMax = queueBytesMax
  }

  async start(self: Identity, handlers: TransportHandlers, clock: Clock, logger: Logger): Promise<string> {
    const { host, port } = hostAndPort(this.#listen)
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) => {
        const message = `cannot listen on ${this.#listen}: ${cause.message}; choose another port`
        reject(new RaftError('ERR_RAFT_LISTEN', message, { cause }))
      })
      this.#server.listen(port, host, resolve)
    })
    const bound = this.#server.address()
    const address = typeof bound === 'object' && bound !== null ? `${host}:${bound.port}` : this.#listen
    this.#started = { self, address, handlers, clock, logger }
    logger.info('transport.listening', { address })
    return address
  }

  setPeers(peers: readonly Server[]): void {
    const { self } = this.#running()
    const wanted = new Map(peers.map((peer) => [peer.id, peer]))
    for (const [id, dialled] of this.#dialled) {
      const address = wanted.get(id)?.address
      if (address !== dialled.peer.address) this.#stop(dialled, peerChanged(self.serverId, id, address))
    }
    for (const peer of peers) {
      if (this.#dialled.has(peer.id)) continue
      const dialled = { peer, line: null, session: 0, cancelRedial: (): void => {}, hasShownBoot: false }
      this.#dialled.set(peer.id, dialled)
      this.#dial(dialled)
    }
  }

  send(to: ServerId, session: Session, message: Request): void {
    const dialled = this.#dialled.get(to)
    if (dialled?.session === session) dialled.line?.send(message)
  }

  respond(link: LinkId, message: Response): void {
    this.#links.get(link)?.send(message)
  }

  flush(): void {
    for (const line of this.#lines) line.flush()
  }

  reject(link: LinkId, reason: string): void {
    this.#links.get(link)?.end(`rejected: ${reason}`, encodeRefusal({ code: 'REJECTED', reason }))
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#started === null) return
    const reason = serverCloses(this.#started.self.serverId)
    for (const dialled of this.#dialled.values()) this.#stop(dialled, reason)
    for (const line of this.#lines) line.leave(reason)
    await new Promise((resolve) => this.#server.close(resolve))
    if (this.#lines.size > 0) await new Promise<void>((resolve) => (this.#onLastClosed = resolve))
  }

  #dial(dialled: Dialled): void {
    const { handlers, clock, logger } = this.#running()
    const { peer } = dialled
    const session = ++this.#sessions
    const fields = { peer: peer.id, address: peer.address, session }
    const side = { dialled: peer.id, link: 0, queueBytesMax: this.#queueBytesMax }
    dialled.session = session
    dialled.line = this.#track(connect(hostAndPort(peer.address)), side, {
      opened: () => {
        dialled.hasShownBoot = false
        logger.info('transport.peer-up', fields)
        handlers.onPeerUp(peer.id, session)
      },
      received: (_, message) => handlers.onResponse(peer.id, session, message as Response),
      ended: ({ refusedWith }, reason, wasOpen) => {
        dialled.line = null
        logger.warn(wasOpen ? 'transport.peer-down' : 'transport.dial-failed', { ...fields, reason })
        if (wasOpen) handlers.onPeerDown(peer.id, session, reason)
        if (this.#dialled.get(peer.id) !== dialled || this.#isClosed) return
        const isAsked = refusedWith === BOOT_UNPROVEN && !dialled.hasShownBoot
        if (isAsked) dialled.hasShownBoot = true
        dialled.cancelRedial = clock.setTimer(isAsked ? 0 : REDIAL_MS, () => this.#dial(dialled))
      },
    })
  }

  #stop(dialled: Dialled, reason: string): void {
    this.#dialled.delete(dialled.peer.id)
    dialled.cancelRedial()
    dialled.line?.leave(reason)
  }

  #accept(socket: Socket): void {
    const { handlers, logger } = this.#running()
    const side = { dialled: null, link: ++this.#linkCount, queueBytesMax: this.#queueBytesMax }
    this.#track(socket, side, {
      opened: (line, { serverId }) => {
        for (const other of this.#links.values()) {
          if (other.peer?.serverId !== serverId) continue
          const isNewer = other.link > line.link
          ;(isNewer ? line : other).refuse('REPLACED', 'replaced by a newer connection of the same peer')
          if (isNewer) return
        }
        this.#links.set(line.link, line)
        logger.info('transport.link-up', { peer: serverId, link: line.link })
      },
      received: ({ link, peer }, message) => handlers.onRequest(peer?.serverId ?? '', link, message as Request),
      ended: ({ link, peer }, reason, wasOpen) => {
        this.#links.delete(link)
        const fields = { peer: peer?.serverId ?? null, link, reason }
        if (wasOpen) logger.info('transport.link-down', fields)
        else logger.warn('transport.link-refused', fields)
      },
    })
  }

  #track(
    socket: Socket,
    side: ConstructorParameters<typeof Line>[1],
    owner: Pick<LineOwner, 'opened' | 'received' | 'ended'>,
  ): Line {
    const closed = (line: Line): void => {
      this.#lines.delete(line)
      if (this.#lines.size === 0) this.#onLastClosed()
    }
    const line = new Line(socket, side, this.#running(), { ...owner, closed })
    this.#lines.add(line)
    return line
  }

  #running(): Started {
    if (this.#started === null) throw new Error('the transport was not started')
    return this.#started
  }
}

function hostAndPort(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(':')
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) }
}
