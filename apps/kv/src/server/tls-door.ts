/**
 * What stands before the clients' port where it speaks TLS: a connection becomes a client's when its handshake is done
 * and its certificate, where one is asked for, is believed. Whoever is turned away is told so in one line, as far as a
 * line can reach it.
 *
 * Bounds. A handshake takes `HANDSHAKE_MS_MAX`; of `HANDSHAKES_MAX`, or when no place is left, the oldest gives way. A
 * connection of which nothing has come costs no TLS yet; of those of which something has, few begin in a turn, since
 * each costs a signature, and a thousand at once would cost the leader its heartbeats.
 */

import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { TlsState } from '../commands/local-command.js'
import { HANDSHAKE_MS_MAX, HANDSHAKES_MAX, HANDSHAKES_PER_TURN } from '../limits.js'
import type { Log } from '../log.js'
import type { ClientTls } from '../security/tls-files.js'
import type { KvClock } from './clock.js'

export interface TlsDoorOptions {
  readonly tls: ClientTls
  readonly clock: Pick<KvClock, 'now' | 'setTimer' | 'defer'>
  readonly log: Log
  readonly handshakesMax?: number
  /** A client has come in. */
  readonly onSocket: (socket: TLSSocket) => void
  /** Whether there is room for one more connection beside so many handshakes. */
  readonly hasRoom: (pending: number) => boolean
}

export class TlsDoor implements TlsState {
  readonly #options: TlsDoorOptions
  readonly #server: Server
  #tls: ClientTls
  /** The oldest first, and what ends the watch over each. */
  readonly #pending = new Map<Socket, () => void>()
  readonly #most: number
  /** Their first bytes are there; the oldest first. */
  #toBegin: Socket[] = []
  #isAsked = false
  #failed = 0
  /** Until when no line is logged of a handshake that failed, and how many were not. */
  #quietUntil = 0
  #unsaid = 0

  constructor(options: TlsDoorOptions) {
    this.#options = options
    this.#tls = options.tls
    this.#most = options.handshakesMax ?? HANDSHAKES_MAX
    this.#server = createServer({ ...options.tls.options, ...ASKING, handshakeTimeout: 2 * HANDSHAKE_MS_MAX })
    this.#server.on('secureConnection', (socket) => this.#secured(socket))
    this.#server.on('tlsClientError', (error, socket) => this.#failedAt(socket, error))
  }

  get pending(): number {
    return this.#pending.size
  }

  get failed(): number {
    return this.#failed
  }

  get certificateUntil(): number {
    return this.#tls.certificateUntil
  }

  /** For connections from now on; those that are here stay. */
  replace(tls: ClientTls): void {
    this.#server.setSecureContext(tls.options)
    this.#tls = tls
  }

  /** A connection has come, of which nothing was read. */
  take(raw: Socket): void {
    if (this.#pending.size >= this.#most || !this.#options.hasRoom(this.#pending.size)) this.#giveWay()
    const cancel = this.#options.clock.setTimer(HANDSHAKE_MS_MAX, () => {
      this.#turnAway(raw, `no TLS handshake within ${HANDSHAKE_MS_MAX} ms`)
    })
    this.#pending.set(raw, cancel)
    raw.on('error', ignore)
    raw.once('close', () => this.#done(raw))
    const goAway = (): void => void raw.destroy()
    const look = (): void => {
      const first = raw.read() as Buffer | null
      if (first === null) return
      raw.off('readable', look)
      raw.off('end', goAway)
      if (first[0] !== TLS_HANDSHAKE) return this.#speaksPlain(raw)
      raw.unshift(first)
      this.#toBegin.push(raw)
      this.#askTurn()
    }
    raw.on('readable', look)
    raw.on('end', goAway)
  }

  #askTurn(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.#options.clock.defer(this.#beginSome)
  }

  /** Not all at once: whoever else has work in this turn has it before the next ones. */
  readonly #beginSome = (): void => {
    this.#isAsked = false
    for (const raw of this.#toBegin.splice(0, HANDSHAKES_PER_TURN)) {
      if (raw.destroyed) continue
      // Whoever goes away during the handshake is gone; a client may close its side and be answered, as without TLS.
      raw.allowHalfOpen = false
      this.#server.emit('connection', raw)
    }
    if (this.#toBegin.length > 0) this.#askTurn()
  }

  close(): void {
    this.#toBegin = []
    for (const [raw, cancel] of [...this.#pending]) {
      cancel()
      raw.destroy()
    }
    this.#pending.clear()
  }

  #giveWay(): void {
    const [oldest] = this.#pending.keys()
    if (oldest !== undefined) this.#turnAway(oldest, 'too many TLS handshakes are under way, and it is the oldest')
  }

  #speaksPlain(raw: Socket): void {
    this.#dismiss(raw, PLAIN_REFUSED)
    this.#fail(raw, 'it speaks plain, and this port takes TLS alone (redis-cli --tls --cacert <file>)')
  }

  /** Says so, and reads on into nothing: a reset for bytes that lie unread could overtake the last words. */
  #dismiss(socket: Socket, words: string): void {
    const cancel = this.#options.clock.setTimer(DISMISS_MS_MAX, () => void socket.destroy())
    socket.once('close', cancel)
    socket.resume()
    socket.end(words)
  }

  #turnAway(raw: Socket, reason: string): void {
    this.#fail(raw, reason)
    raw.destroy()
  }

  #secured(socket: TLSSocket): void {
    const raw = this.#rawOf(socket)
    if (raw !== null) this.#done(raw)
    socket.allowHalfOpen = true
    const flaw = this.#flawOf(socket)
    if (flaw === null) return this.#options.onSocket(socket)
    socket.on('error', ignore)
    this.#dismiss(socket, `-ERR this server does not take this client: ${flaw}\r\n`)
    this.#tell(addressOf(socket), flaw)
  }

  /** Why the client's certificate does not let it in; null: it does. */
  #flawOf(socket: TLSSocket): string | null {
    const { authClients } = this.#tls
    if (authClients === 'no') return null
    if (socket.isSessionReused()) return 'it takes up a session again, which shows no certificate'
    const hasCertificate = Object.keys(socket.getPeerCertificate()).length > 0
    if (!hasCertificate) return authClients === 'yes' ? NO_CERTIFICATE : null
    return socket.authorized ? null : `its certificate is not believed (${String(socket.authorizationError)})`
  }

  #failedAt(socket: TLSSocket, error: NodeJS.ErrnoException): void {
    socket.on('error', ignore)
    const raw = this.#rawOf(socket)
    const reason = handshakeReason(error)
    if (raw === null) this.#tell(addressOf(socket), reason)
    else if (this.#pending.has(raw)) this.#fail(raw, reason)
    socket.destroy()
    raw?.destroy()
  }

  /** The connection under a TLS one; null: it is not known any more. */
  #rawOf(socket: TLSSocket): Socket | null {
    const { _parent: raw } = socket as TLSSocket & { readonly _parent?: Socket }
    return raw ?? null
  }

  #fail(raw: Socket, reason: string): void {
    this.#done(raw)
    this.#tell(addressOf(raw), reason)
  }

  #done(raw: Socket): void {
    this.#pending.get(raw)?.()
    this.#pending.delete(raw)
  }

  /** One line for many that come together: whoever likes to fill a disk may come as often as it wants. */
  #tell(address: string, reason: string): void {
    this.#failed += 1
    const now = this.#options.clock.now()
    if (now < this.#quietUntil) {
      this.#unsaid += 1
      return
    }
    this.#quietUntil = now + QUIET_MS
    this.#options.log.warn('tls.refused', { address, reason, unsaidBefore: this.#unsaid })
    this.#unsaid = 0
  }
}

/**
 * The certificate of a client is judged when the handshake is done, so that the client can be told. A session that is
 * taken up again brings none: then there are no tickets.
 */
const ASKING = { rejectUnauthorized: false }
/** How long whoever was turned away may take to read why. */
const DISMISS_MS_MAX = 1000
/** How long no further line is logged. */
const QUIET_MS = 1000
const NO_CERTIFICATE = 'it shows no certificate (redis-cli --cert <file> --key <file>)'
const TLS_HANDSHAKE = 0x16
const PLAIN_REFUSED =
  '-ERR this port takes TLS alone: connect with TLS (redis-cli --tls --cacert <file>; ioredis: the option tls)\r\n'

const addressOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}:${remotePort}`

function ignore(): void {}

/** What OpenSSL says, for a person. */
function handshakeReason({ code, message }: NodeJS.ErrnoException): string {
  const known: Readonly<Record<string, string>> = {
    ECONNRESET: 'it went away during the TLS handshake; it may not believe the certificate of this server',
    ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it does not believe the CA of this server: give it the file of that CA',
    ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'it does not believe the certificate of this server',
    ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'it says that the certificate of this server has expired',
    ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks a version of TLS below the least that is taken here',
  }
  return known[code ?? ''] ?? `the TLS handshake failed: ${code ?? message}`
}
