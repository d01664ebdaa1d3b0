/** One process's transport in a world: the memory transport, watched, with the points at which a process may die. */

import type { Request, Response } from '../../../core/messages.js'
import type { Channel, ChannelHandlers } from '../../../transport/channel.js'
import type { Refusal } from '../../../transport/refusal.js'
import type { ClientOpening, LinkId, Session, Transport, TransportHandlers } from '../../../transport/transport.js'
import type { ClientHello } from '../../../transport/wire/client-handshake.js'
import type { Clock, Identity, Logger, Server, ServerId } from '../../../types.js'
import { assert, type RaftError } from '../../../errors.js'
import { hold } from '../../invariants/violation.js'

/** The process that talks through it. */
export interface TransportUser {
  readonly isAlive: boolean
  point(where: string): void
  /** A point with nothing to unwind: what is called goes on, and has no effect. */
  pointOutside(where: string): void
  sent(to: ServerId, message: Request | Response): void
  delivered(from: ServerId, message: Request | Response): void
  /** A frame leaves on that channel. */
  framed(channel: object, frame: Uint8Array): void
  /** A promise was made whose consequences the world must wait for. */
  promised(): void
}

export class SimTransport implements Transport {
  readonly #inner: Transport
  readonly #user: TransportUser
  readonly #peerOf = new Map<LinkId, ServerId>()
  /** By peer: the newest connection on which it was heard. */
  readonly #newest = new Map<ServerId, LinkId>()
  #handlers: TransportHandlers | null = null
  /** The server has rejected the request that it is being given: it is damaged, and reaches nobody. */
  #isRejected = false
  /** Messages that were handed over since the last flush. */
  unsent = 0

  constructor(inner: Transport, user: TransportUser) {
    this.#inner = inner
    this.#user = user
  }

  start(self: Identity, handlers: TransportHandlers, clock: Clock, logger: Logger): Promise<string> {
    this.#handlers = handlers
    return this.#inner.start(self, this.#watched(handlers), clock, logger)
  }

  /** A client outside has come to this process, over no connection of peers. */
  admitClient(hello: ClientHello): ClientOpening | Refusal | null {
    const opening = this.#handlers?.onClient?.(hello) ?? null
    if (typeof opening !== 'function') return opening
    return (channel) => this.#watchedChannel(opening(this.#mortal(channel)))
  }

  setPeers(peers: readonly Server[]): void {
    this.#inner.setPeers(peers)
  }

  send(to: ServerId, session: Session, message: Request): void {
    this.#user.point('send')
    this.#user.sent(to, message)
    this.unsent += 1
    this.#inner.send(to, session, message)
  }

  respond(link: LinkId, message: Response): void {
    this.#user.point('respond')
    this.#user.sent(this.#peerOf.get(link) ?? '?', message)
    this.unsent += 1
    this.#inner.respond(link, message)
  }

  flush(): void {
    this.unsent = 0
    this.#inner.flush()
    this.#user.point('flushed')
  }

  reject(link: LinkId, reason: string): void {
    this.#isRejected = true
    this.#inner.reject(link, reason)
  }

  expel(peer: ServerId, error: RaftError, stays?: Identity): void {
    this.#inner.expel?.(peer, error, stays)
  }

  async openChannel(to: ServerId, handlers: ChannelHandlers): Promise<Channel> {
    const opening = this.#inner.openChannel?.(to, this.#watchedChannel(handlers))
    assert(opening !== undefined, 'the network of a world has channels')
    return this.#mortal(await opening)
  }

  ask(address: string, question: Uint8Array, clock: Clock): Promise<Uint8Array> {
    const asking = this.#inner.ask?.(address, question, clock)
    assert(asking !== undefined, 'the network of a world carries questions')
    return asking
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  /** A dead process sends nothing on it. */
  #mortal(channel: Channel): Channel {
    const user = this.#user
    return {
      get queuedBytes() {
        return channel.queuedBytes
      },
      send: (frame) => {
        user.pointOutside('frame')
        if (!user.isAlive) return
        user.framed(channel, frame)
        channel.send(frame)
      },
      close: (reason) => {
        if (user.isAlive) channel.close(reason)
      },
    }
  }

  #watchedChannel(handlers: ChannelHandlers): ChannelHandlers {
    const user = this.#user
    return {
      onFrame: (frame) => {
        if (user.isAlive) handlers.onFrame(frame)
      },
      onClosed: (reason) => {
        user.promised()
        if (user.isAlive) handlers.onClosed(reason)
      },
    }
  }

  /** Invariant 30: a newer connection of a peer replaces the one before it. */
  #heard(from: ServerId, link: LinkId): void {
    this.#peerOf.set(link, from)
    const newest = this.#newest.get(from) ?? 0
    hold(link >= newest, 30, () => `${from} is heard on link ${link}, and has been on link ${newest}, which is newer`)
    this.#newest.set(from, link)
  }

  /** A dead process hears nothing. */
  #watched(handlers: TransportHandlers): TransportHandlers {
    const user = this.#user
    return {
      introduce: (peer) => handlers.introduce(peer),
      admit: (peer) => {
        user.promised()
        return handlers.admit(peer)
      },
      onRequest: (from, link, message) => {
        if (!user.isAlive) return
        this.#heard(from, link)
        this.#isRejected = false
        handlers.onRequest(from, link, message)
        if (!this.#isRejected) user.delivered(from, message)
      },
      onArriving: (from, link) => {
        if (!user.isAlive) return
        this.#heard(from, link)
        handlers.onArriving?.(from, link)
      },
      onResponse: (from, session, message) => {
        if (!user.isAlive) return
        user.delivered(from, message)
        handlers.onResponse(from, session, message)
      },
      onPeerUp: (peer, session) => {
        if (user.isAlive) handlers.onPeerUp(peer, session)
      },
      onPeerDown: (peer, session, reason, end) => {
        if (user.isAlive) handlers.onPeerDown(peer, session, reason, end)
      },
      onLinkDown: (from, link, end) => {
        if (user.isAlive) handlers.onLinkDown?.(from, link, end)
      },
      onRefused: (peer, refusal) => {
        if (user.isAlive) handlers.onRefused?.(peer, refusal)
      },
      onDialFailed: (peer, reason) => {
        if (user.isAlive) handlers.onDialFailed?.(peer, reason)
      },
      onQuestion: (question) => (user.isAlive ? (handlers.onQuestion?.(question) ?? null) : null),
      onChannel: (from, channel) => {
        const taken = user.isAlive ? handlers.onChannel?.(from, this.#mortal(channel)) : null
        return taken === null || taken === undefined ? null : this.#watchedChannel(taken)
      },
    }
  }
}
