/**
 * Where clients come in. When the system has no descriptor for another connection, libuv closes that one; when it
 * cannot do even that, it says so for as long as the client waits, in every turn. Then the listener pauses: the system
 * refuses clients at once, and whoever is here stays.
 */

import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { ACCEPT_PAUSE_MS, TCP_KEEPALIVE_MS } from '../limits.js'
import type { Log } from '../log.js'
import type { KvClock } from './clock.js'

export interface ClientListenerOptions {
  readonly host: string
  /** 0 = any free one. */
  readonly port: number
  /** Connections beyond this are closed as soon as they are accepted. */
  readonly connectionsMax: number
  readonly clock: Pick<KvClock, 'setTimer'>
  readonly log: Log
  readonly onSocket: (socket: Socket) => void
  /** A connection beyond `connectionsMax` was closed. */
  readonly onDrop?: () => void
  /** Default: that of node:net. */
  readonly createServer?: typeof createServer
}

export class ClientListener {
  readonly #options: ClientListenerOptions
  readonly #server: Server
  #port: number
  /** Ends the pause; null: there is none. */
  #cancelPause: (() => void) | null = null
  #isClosed = false

  constructor(options: ClientListenerOptions) {
    this.#options = options
    this.#port = options.port
    // A client may close its side as soon as it has sent its commands, and still get its answers.
    const keepAlive = { keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE_MS }
    this.#server = (options.createServer ?? createServer)(
      { allowHalfOpen: true, noDelay: true, ...keepAlive },
      options.onSocket,
    )
    this.#server.maxConnections = options.connectionsMax
    this.#server.on('drop', () => options.onDrop?.())
  }

  /** Resolves with the address that it listens at; rejects with the system's error. */
  listen(): Promise<AddressInfo> {
    const { host } = this.#options
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port: this.#port, backlog: 511 }, () => {
        this.#server.off('error', reject)
        this.#server.on('error', this.#onError)
        const address = this.#server.address() as AddressInfo
        this.#port = address.port
        resolve(address)
      })
    })
  }

  close(): void {
    this.#isClosed = true
    this.#cancelPause?.()
    this.#server.close()
  }

  readonly #onError = (error: Error): void => {
    if (this.#isClosed || this.#cancelPause !== null) return
    const fields = { message: error.message, pauseMs: ACCEPT_PAUSE_MS }
    this.#options.log.error('listen.paused', fields)
    this.#pause()
  }

  #pause(): void {
    this.#server.close()
    this.#server.off('error', this.#onError)
    this.#cancelPause = this.#options.clock.setTimer(ACCEPT_PAUSE_MS, () => {
      this.listen().then(
        () => {
          this.#cancelPause = null
          this.#options.log.info('listen.resumed')
        },
        () => {
          if (!this.#isClosed) this.#pause()
        },
      )
    })
  }
}
