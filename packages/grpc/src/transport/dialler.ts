/**
 * Keeps one peer dialled: one connection at a time, after each that ended or failed another, with backoff. Tells the
 * handlers of each session that came up, and of its end.
 */

import {
  BOOT_UNPROVEN,
  type CancelTimer,
  type ConnectionEnd,
  type Hello,
  type Identity,
  type Introduction,
  isOfThePeer,
  type Logger,
  type QuietLog,
  type Refusal,
  type Request,
  type Response,
  type Server,
  type ServerId,
  type Session,
  type TransportHandlers,
} from 'balsa-raft/transport'
import { messageOf } from '../options.js'
import { Connection, type ConnectionContext, type ConnectionOwner } from './connection.js'

export interface DiallerContext extends ConnectionContext {
  readonly handlers: TransportHandlers
  readonly logger: Logger
  readonly quiet: QuietLog
  /** Grows over all peers, so that a peer which was removed and comes back does not meet its old numbers. */
  nextSession(): Session
  /** The connection exists until its `closed`. */
  track(connection: Connection): void
  untrack(connection: Connection): void
}

export class Dialler implements ConnectionOwner {
  readonly peer: Server
  readonly #context: DiallerContext
  #connection: Connection | null = null
  #session: Session = 0
  #backoffMs: number
  #upSince = 0
  #cancelRedial: CancelTimer = () => {}
  #isStopped = false
  /** The peer has asked for a boot since the last session, and was dialled again at once to be shown it. */
  #hasShownBoot = false
  /** The connection of now has ended with that wish. */
  #isAskedForBoot = false

  constructor(peer: Server, context: DiallerContext) {
    this.peer = peer
    this.#context = context
    this.#backoffMs = context.settings.backoffMinMs
  }

  /** The connection of that session, or null when it is over. Hot path: once per batch. */
  connectionOf(session: Session): Connection | null {
    const connection = this.#connection
    return session === this.#session && connection !== null && connection.isOpen ? connection : null
  }

  /** Dials unless that is done already. Also called when the peer shows itself by dialling this server. */
  dial(): void {
    if (this.#isStopped || this.#connection !== null) return
    this.#cancelRedial()
    this.#session = this.#context.nextSession()
    try {
      this.#connection = Connection.dial(this.peer.address, this.peer.id, 'session', this.#context, this)
    } catch (error) {
      return this.#failed(messageOf(error))
    }
    this.#context.track(this.#connection)
  }

  stop(reason: string): void {
    this.#isStopped = true
    this.#cancelRedial()
    this.#connection?.leave(reason)
  }

  /** Ends the connection of now because of what the peer is, unless it is `stays`. */
  expel(refusal: Refusal, stays: Identity | null): void {
    this.#connection?.expel(refusal, stays)
  }

  introduce(peer: ServerId): Introduction {
    return this.#context.handlers.introduce(peer)
  }

  admit(peer: Introduction): Promise<void> {
    return this.#context.handlers.admit(peer)
  }

  opened(_connection: Connection, hello: Hello): void {
    const { handlers, clock, logger, quiet } = this.#context
    this.#upSince = clock.now()
    this.#hasShownBoot = false
    quiet.forget('transport.dial-failed', this.peer.id)
    logger.info('transport.peer-up', { ...this.#fields(), session: this.#session, advertised: hello.address })
    handlers.onPeerUp(this.peer.id, this.#session)
  }

  received(_connection: Connection, message: Request | Response): void {
    // A connection that was dialled lets nothing pass but answers.
    this.#context.handlers.onResponse(this.peer.id, this.#session, message as Response)
  }

  receivedFrame(): never {
    throw new Error(`a frame of a channel passed the session with ${this.peer.id}`)
  }

  refused(_connection: Connection, by: 'self' | 'peer', { code, reason }: Refusal): void {
    if (by === 'peer' && code === BOOT_UNPROVEN && !this.#hasShownBoot) {
      // Nothing is wrong: the next dial shows it.
      this.#isAskedForBoot = true
      return
    }
    const refusal = { code, reason, by, dialledBy: 'self' } as const
    if (isOfThePeer(refusal)) this.#context.handlers.onRefused?.(this.peer.id, refusal)
  }

  ended(_connection: Connection, reason: string, wasOpen: boolean, end: ConnectionEnd): void {
    const { handlers, clock, logger, settings } = this.#context
    this.#connection = null
    if (wasOpen) {
      // Only a session that lasted shows that all is well: one that ends at once must not be dialled in a tight loop.
      if (clock.now() - this.#upSince >= settings.backoffMaxMs) this.#backoffMs = settings.backoffMinMs
      logger.info('transport.peer-down', { ...this.#fields(), session: this.#session, reason })
      handlers.onPeerDown(this.peer.id, this.#session, reason, end)
      this.#redialLater()
    } else if (this.#isAskedForBoot) {
      this.#isAskedForBoot = false
      this.#hasShownBoot = true
      this.dial()
    } else {
      this.#failed(reason)
    }
  }

  closed(connection: Connection): void {
    this.#context.untrack(connection)
  }

  #failed(reason: string): void {
    if (this.#isStopped) return
    this.#context.quiet.warn('transport.dial-failed', this.peer.id, reason, this.#fields())
    this.#context.handlers.onDialFailed?.(this.peer.id, reason)
    this.#redialLater()
  }

  /** Exponential, with up to half of it taken off at random: peers of a server that died do not all dial at once. */
  #redialLater(): void {
    if (this.#isStopped || this.#connection !== null) return
    const { clock, settings } = this.#context
    const delayMs = this.#backoffMs * (1 - settings.random() / 2)
    this.#backoffMs = Math.min(this.#backoffMs * 2, settings.backoffMaxMs)
    this.#cancelRedial()
    this.#cancelRedial = clock.setTimer(delayMs, () => this.dial())
  }

  #fields(): { readonly peer: ServerId; readonly address: string } {
    return { peer: this.peer.id, address: this.peer.address }
  }
}
