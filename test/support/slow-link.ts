/**
 * A link that carries so many bytes a second and no more, in each direction: a proxy before a server, to be dialled in
 * its place. All connections through it share it. It holds little itself, so what does not fit stands in the queue of
 * whoever sends, as on a real one.
 */

import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'

const TICK_MS = 5
/** Held for one connection and direction; the kernel's buffers come on top, as they do in life. */
const HELD_BYTES_MAX = 16 * 1024

interface Pipe {
  readonly from: Socket
  readonly to: Socket
  held: Buffer[]
  heldBytes: number
}

/** One direction. */
class Direction {
  readonly #pipes = new Set<Pipe>()
  readonly #bytesPerMs: number
  #allowance = 0
  carried = 0

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000
  }

  add(from: Socket, to: Socket): void {
    const pipe: Pipe = { from, to, held: [], heldBytes: 0 }
    this.#pipes.add(pipe)
    from.on('data', (chunk: Buffer) => {
      pipe.held.push(chunk)
      pipe.heldBytes += chunk.length
      if (pipe.heldBytes > HELD_BYTES_MAX) from.pause()
    })
    from.on('close', () => this.#pipes.delete(pipe))
  }

  /** Carries what `ms` allow, of each connection in turn. */
  tick(ms: number): void {
    this.#allowance = Math.min(this.#allowance + ms * this.#bytesPerMs, 4 * TICK_MS * this.#bytesPerMs)
    for (let moved = true; moved && this.#allowance >= 1;) {
      moved = false
      for (const pipe of this.#pipes) moved = this.#carry(pipe) || moved
    }
  }

  #carry(pipe: Pipe): boolean {
    const chunk = pipe.held.shift()
    if (chunk === undefined) return false
    const count = Math.min(chunk.length, Math.floor(this.#allowance))
    if (count > 0) pipe.to.write(chunk.subarray(0, count))
    if (count < chunk.length) pipe.held.unshift(chunk.subarray(count))
    pipe.heldBytes -= count
    this.carried += count
    this.#allowance -= count
    if (pipe.heldBytes <= HELD_BYTES_MAX) pipe.from.resume()
    return count > 0
  }
}

export class SlowLink {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #there: Direction
  readonly #back: Direction
  #last = performance.now()
  readonly #timer = setInterval(() => this.#tick(), TICK_MS)

  private constructor(bytesPerSecond: number, to: number) {
    this.#there = new Direction(bytesPerSecond)
    this.#back = new Direction(bytesPerSecond)
    this.#server = createServer((near) => {
      const far = connect({ port: to, host: '127.0.0.1' })
      for (const socket of [near, far]) {
        this.#sockets.add(socket)
        socket.setNoDelay(true)
        socket.on('error', () => {})
        socket.on('close', () => {
          this.#sockets.delete(socket)
          near.destroy()
          far.destroy()
        })
      }
      this.#there.add(near, far)
      this.#back.add(far, near)
    })
  }

  /** Before the server that listens on `to`, of this machine. */
  static async before(to: number, bytesPerSecond: number): Promise<SlowLink> {
    const link = new SlowLink(bytesPerSecond, to)
    await new Promise<void>((resolve) => link.#server.listen(0, '127.0.0.1', resolve))
    return link
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Bytes that have come through to the server. */
  get carried(): number {
    return this.#there.carried
  }

  /** Every connection through it breaks; others may follow. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    clearInterval(this.#timer)
    this.cut()
    this.#server.close()
  }

  #tick(): void {
    const now = performance.now()
    const ms = now - this.#last
    this.#last = now
    this.#there.tick(ms)
    this.#back.tick(ms)
  }
}
