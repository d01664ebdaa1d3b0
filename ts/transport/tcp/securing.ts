/**
 * An accepted socket on its way to TLS: looks at what comes first, so that one who does not speak TLS is told so in the
 * clear, then shakes hands. Nothing that was sent is believed, nor read further than that.
 *
 * It has the time that a handshake may take, and the place of a connection that has not shaken hands: however many
 * strangers hold it open, they are bounded in number and in time.
 */

import type { Socket } from 'node:net'
import { type CancelTimer, encodeRefusal, type Stranger, unauthenticated } from '../index.js'
import { type Address, formatAddress } from './address.js'
import { type ConnectionContext, FAREWELL_MS, MAGIC } from './connection.js'
import { handshakeFlaw, NO_TLS } from './material.js'
import { Trust } from './trust.js'
import type { Turnstile } from './turnstile.js'

/** The type of the record that TLS begins with. */
const HANDSHAKE = 0x16

export interface SecuringOwner {
  /** Hands are shaken; whether the other side is to be believed, nobody has asked. */
  secured(trust: Trust): void
  /** They are not, and why. Not called after `secured`. */
  ended(reason: string): void
  /** It has no socket any more. The last call, also after `secured`. */
  closed(): void
}

export class Securing implements Stranger {
  readonly #raw: Socket
  readonly #context: ConnectionContext
  readonly #turnstile: Turnstile
  readonly #owner: SecuringOwner
  readonly #remote: Address
  #isOver = false
  #isClosed = false
  #cancelTimer: CancelTimer
  #leaveTurnstile: () => void = () => {}

  /** The handshake begins behind the turnstile. */
  constructor(raw: Socket, turnstile: Turnstile, context: ConnectionContext, owner: SecuringOwner) {
    this.#raw = raw
    this.#context = context
    this.#turnstile = turnstile
    this.#owner = owner
    this.#remote = { host: raw.remoteAddress ?? 'unknown', port: raw.remotePort ?? 0 }
    const { handshakeTimeoutMs } = context.settings
    this.#cancelTimer = context.clock.setTimer(handshakeTimeoutMs, () =>
      this.end(`no handshake of TLS within ${handshakeTimeoutMs} ms`),
    )
    raw.on('error', ({ code, message }: NodeJS.ErrnoException) => this.end(code ?? message))
    raw.on('end', () => this.end(ENDED))
    raw.on('close', () => {
      this.end(ENDED)
      this.#close()
    })
    raw.once('data', (chunk: Buffer) => this.#begin(chunk))
    raw.resume()
  }

  get remoteHost(): string {
    return this.#remote.host
  }

  get remote(): string {
    return formatAddress(this.#remote)
  }

  /** Does nothing once hands are shaken, or it has ended. */
  end(reason: string, lastWords: Uint8Array | null = null): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#cancelTimer()
    this.#leaveTurnstile()
    if (lastWords === null) {
      this.#raw.destroy()
    } else {
      this.#raw.resume()
      this.#raw.end(lastWords)
      this.#cancelTimer = this.#context.clock.setTimer(FAREWELL_MS, () => this.#raw.destroy())
    }
    this.#owner.ended(reason)
  }

  #begin(chunk: Buffer): void {
    if (this.#isOver) return
    if (chunk[0] !== HANDSHAKE) {
      const isOurs = chunk[0] === MAGIC[0]
      const words = isOurs ? Buffer.concat([MAGIC, encodeRefusal(unauthenticated(NO_TLS))]) : null
      return this.end(isOurs ? NO_TLS : 'what came is not TLS', words)
    }
    this.#raw.pause()
    this.#raw.unshift(chunk)
    this.#leaveTurnstile = this.#turnstile.pass(() => this.#shakeHands(), this.#context.clock)
  }

  #shakeHands(): void {
    const material = this.#context.settings.credentials?.material
    if (this.#isOver || this.#raw.destroyed || material === undefined) return
    material.accept(this.#raw, {
      done: (socket) => this.#done(new Trust(socket, material, null)),
      failed: (error) => this.end(handshakeFlaw(error) ?? error.code ?? ENDED),
    })
  }

  #done(trust: Trust): void {
    if (this.#isOver) {
      trust.socket.destroy()
      return
    }
    this.#isOver = true
    this.#owner.secured(trust)
    this.#close()
  }

  #close(): void {
    this.#cancelTimer()
    if (this.#isClosed) return
    this.#isClosed = true
    this.#owner.closed()
  }
}

const ENDED = 'closed by the other side'
