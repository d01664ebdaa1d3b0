/**
 * A `TransportWorld` of real sockets on loopback. Every directed dial goes through a proxy of its own, which can reset
 * its connections and stop carrying.
 */

import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Transport } from '#balsa/transport/transport.js'
import type { TransportWorld } from '#balsa/testing/index.js'
import { MachineClock } from './machine-clock.js'

export class TcpWorld implements TransportWorld {
  readonly clock = new MachineClock()
  readonly #make: (listen: string) => Transport
  readonly #bound = new Map<string, string>()
  readonly #proxies = new Map<string, Proxy>()

  /** `make` is called with the address on which the transport shall listen. */
  constructor(make: (listen: string) => Transport) {
    this.#make = make
  }

  transport(id: string): Transport {
    return this.#make(this.#bound.get(id) ?? '127.0.0.1:0')
  }

  bound(id: string, address: string): void {
    this.#bound.set(id, address)
  }

  async address(from: string, to: string): Promise<string> {
    const key = `${from} > ${to}`
    const proxy = this.#proxies.get(key) ?? (await Proxy.start(() => this.#bound.get(to)))
    this.#proxies.set(key, proxy)
    return proxy.address
  }

  cut(from: string, to: string): void {
    this.#proxies.get(`${from} > ${to}`)?.cut()
  }

  stall(from: string, to: string): void {
    this.#proxies.get(`${from} > ${to}`)?.stall()
  }

  async close(): Promise<void> {
    for (const proxy of this.#proxies.values()) await proxy.close()
    if (this.clock.pending.size > 0) throw new Error(`${this.clock.pending.size} timers are left`)
  }
}

class Proxy {
  readonly #server: Server
  readonly #target: () => string | undefined
  readonly #sockets = new Set<Socket>()

  static async start(target: () => string | undefined): Promise<Proxy> {
    const proxy = new Proxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  private constructor(target: () => string | undefined) {
    this.#target = target
    this.#server = createServer((socket) => this.#carry(socket))
  }

  get address(): string {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  stall(): void {
    for (const socket of this.#sockets) socket.unpipe().pause()
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #carry(near: Socket): void {
    const target = this.#target()
    if (target === undefined) {
      near.destroy()
      return
    }
    const far = connect({ host: '127.0.0.1', port: Number(target.split(':')[1]) })
    near.pipe(far)
    far.pipe(near)
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
  }
}
