/**
 * Sockets without a network, which enforce what the real ones do. Nothing moves but by `step`: so many bytes leave, so
 * many arrive. Until bytes have left, only a reference to them is held, and it is compared with what was written; the
 * memory for the next read is asked for right after the last one; a socket that is gone takes and gives nothing.
 */

import { EventEmitter } from 'node:events'
import type { OnReadOpts, Server, Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { Sockets } from '#balsa/transport/tcp/sockets.js'

/** What the kernel takes over of what a socket writes before the other side reads. */
const KERNEL_BYTES = 64 * 1024

type Done = (error?: Error | null) => void

/** One write of which not all has left. */
interface Write {
  readonly pieces: { readonly bytes: Uint8Array; readonly asWritten: Buffer }[]
  readonly done: Done
  /** Bytes of it that have left. */
  left: number
  readonly length: number
}

/** One end of a connection. */
export class ScriptedSocket extends Duplex {
  readonly remoteAddress = '127.0.0.1'
  readonly remotePort: number
  connecting: boolean
  peer: ScriptedSocket | null = null
  /** How many bytes have left, and how many ever may. */
  sentBytes = 0
  sentBytesMax = Infinity
  /** All that has arrived from the other side, of a socket that nobody else reads. */
  received: Buffer = Buffer.alloc(0)
  /** Bytes that were changed after they were written and before they left, in words. */
  readonly flaws: string[]
  readonly #onread: OnReadOpts | null
  #space: Uint8Array | null = null
  #writes: Write[] = []
  #final: Done | null = null
  /** Left here and not yet arrived at the peer; null in it: nothing follows. */
  #inKernel: Buffer = Buffer.alloc(0)
  #hasFinished = false
  #hasReset = false
  #isAtEnd = false

  constructor(onread: OnReadOpts | null, port: number, isConnecting: boolean, flaws: string[]) {
    super({ allowHalfOpen: false, emitClose: true })
    this.remotePort = port
    this.connecting = isConnecting
    this.flaws = flaws
    this.#onread = onread
    this.#ask()
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  connected(): void {
    if (this.destroyed) return
    this.connecting = false
    this.emit('connect')
  }

  /** Bytes that have left and that the peer has not read. */
  get inKernel(): number {
    return this.#inKernel.length
  }

  get isIdle(): boolean {
    return this.#writes.length === 0 && this.#inKernel.length === 0
  }

  /** Up to `count` bytes leave; returns how many did. */
  leave(count: number): number {
    let left = 0
    while (!this.connecting && !this.destroyed) {
      const [write] = this.#writes
      if (write === undefined) break
      const room = Math.min(count - left, KERNEL_BYTES - this.#inKernel.length, this.sentBytesMax - this.sentBytes)
      if (room <= 0) return left
      left += this.#leaveOf(write, room)
      if (write.left < write.length) return left
      this.#writes.shift()
      write.done()
    }
    if (this.#final !== null && this.#writes.length === 0) {
      this.#final()
      this.#final = null
      this.#hasFinished = true
    }
    return left
  }

  /** Up to `count` bytes that have left arrive at the peer, in one read; returns how many did. */
  arrive(count: number): number {
    const { peer } = this
    if (peer === null) return 0
    if (this.#hasReset && this.#inKernel.length === 0) peer.fail('ECONNRESET')
    const bytes = this.#inKernel.subarray(0, peer.destroyed ? this.#inKernel.length : count)
    this.#inKernel = this.#inKernel.subarray(bytes.length)
    if (bytes.length > 0) peer.read_(bytes)
    if (this.#hasFinished && this.#inKernel.length === 0) peer.finish()
    return bytes.length
  }

  /** Those bytes arrive here. */
  read_(bytes: Buffer): void {
    if (this.destroyed || this.#isAtEnd) return
    if (this.#onread === null) {
      this.push(Buffer.from(bytes))
      return
    }
    for (let at = 0; at < bytes.length && !this.destroyed;) {
      const space = this.#space
      if (space === null || space.length === 0) throw new Error('a read without memory')
      const count = bytes.copy(space, 0, at)
      at += count
      // As Node does it: the memory of the next read is asked for at once, whatever became of the socket.
      this.#onread.callback(count, space)
      this.#ask()
    }
  }

  /** The peer has hung up in good order. */
  finish(): void {
    if (this.destroyed || this.#isAtEnd) return
    this.#isAtEnd = true
    this.push(null)
    this.read(0)
  }

  fail(code: string): void {
    if (!this.destroyed) this.destroy(Object.assign(new Error(code), { code }))
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _encoding: string, done: Done): void {
    this.#hold([chunk], done)
  }

  override _writev(chunks: { readonly chunk: Uint8Array }[], done: Done): void {
    this.#hold(
      chunks.map(({ chunk }) => chunk),
      done,
    )
  }

  override _final(done: Done): void {
    this.#final = done
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#writes = []
    this.connecting = false
    // Without an orderly end the peer finds a reset behind what has left.
    if (!this.#hasFinished) this.#hasReset = true
    done(error)
  }

  #ask(): void {
    const { buffer } = this.#onread ?? {}
    if (buffer !== undefined) this.#space = typeof buffer === 'function' ? buffer() : buffer
  }

  #hold(pieces: readonly Uint8Array[], done: Done): void {
    const held = pieces.map((bytes) => ({ bytes, asWritten: Buffer.from(bytes) }))
    const length = held.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
    this.#writes.push({ pieces: held, done, left: 0, length })
  }

  #leaveOf(write: Write, room: number): number {
    const start = write.left
    const end = Math.min(start + room, write.length)
    let at = 0
    for (const { bytes, asWritten } of write.pieces) {
      const [lo, hi] = [Math.max(start - at, 0), Math.min(end - at, asWritten.length)]
      if (lo < hi) {
        const leaving = Buffer.from(bytes.subarray(lo, hi))
        if (!leaving.equals(asWritten.subarray(lo, hi))) {
          this.flaws.push(`bytes ${lo} .. ${hi} of a piece of ${asWritten.length} were changed before they had left`)
        }
        this.#inKernel = Buffer.concat([this.#inKernel, leaving])
        this.sentBytes += leaving.length
      }
      at += asWritten.length
    }
    write.left = end
    return end - start
  }
}

class ScriptedServer extends EventEmitter {
  listening = false
  #port = 0
  readonly #network: ScriptedNetwork
  readonly #open = new Set<ScriptedSocket>()
  #onClosed: (() => void) | null = null

  constructor(network: ScriptedNetwork) {
    super()
    this.#network = network
  }

  listen({ port }: { readonly port: number }): void {
    this.#port = this.#network.bind(port, this)
    this.listening = true
    queueMicrotask(() => this.emit('listening'))
  }

  address(): { readonly address: string; readonly port: number } {
    return { address: '127.0.0.1', port: this.#port }
  }

  accept(socket: ScriptedSocket): void {
    this.#open.add(socket)
    socket.once('close', () => {
      this.#open.delete(socket)
      this.#maybeClosed()
    })
    this.emit('connection', socket)
  }

  /** As Node's: when the last of its connections has gone. */
  close(onClosed = (): void => {}): void {
    this.listening = false
    this.#network.unbind(this.#port)
    this.#onClosed = onClosed
    this.#maybeClosed()
  }

  #maybeClosed(): void {
    const onClosed = this.#onClosed
    if (onClosed === null || this.#open.size > 0) return
    this.#onClosed = null
    queueMicrotask(onClosed)
  }
}

/** How a connection may end: a reset, an orderly end by the other side, both, or a socket that is simply gone. */
export const CUTS = ['reset', 'end', 'end, then reset', 'gone'] as const
export type Cut = (typeof CUTS)[number]

/** A connection: who dialled, and who accepted. */
export interface Wire {
  readonly port: number
  readonly dialler: ScriptedSocket
  readonly acceptor: ScriptedSocket
}

export class ScriptedNetwork implements Sockets {
  wires: Wire[] = []
  /** What was changed while a socket still held it. */
  readonly flaws: string[] = []
  /** How many bytes of a connection to that port move at a time, at most; a test may draw it anew for each. */
  chunk: (port: number) => number = () => Infinity
  readonly #isInPlace: boolean
  readonly #servers = new Map<number, ScriptedServer>()
  /** Dials that nobody has answered yet. */
  #dials: (() => void)[] = []
  #lastPort = 7000

  constructor(isInPlace: boolean) {
    this.#isInPlace = isInPlace
  }

  server(onConnection: (socket: Socket) => void): Server {
    return new ScriptedServer(this).on('connection', onConnection) as unknown as Server
  }

  dial({ port }: { readonly port: number }, onread: OnReadOpts): Socket {
    const dialler = new ScriptedSocket(onread, port, true, this.flaws)
    this.#dials.push(() => this.#answer(dialler, port))
    return dialler as unknown as Socket
  }

  takeOver(accepted: Socket, onread: OnReadOpts): Socket | null {
    if (!this.#isInPlace) return null
    const plain = accepted as unknown as ScriptedSocket
    const socket = new ScriptedSocket(onread, plain.remotePort, false, this.flaws)
    const wire = this.wires.findIndex(({ acceptor }) => acceptor === plain)
    const { port, dialler } = this.wires[wire] ?? {}
    if (port === undefined || dialler === undefined) throw new Error('no such connection')
    this.wires[wire] = { port, dialler, acceptor: socket }
    dialler.peer = socket
    socket.peer = dialler
    plain.peer = null
    plain.destroy()
    return socket as unknown as Socket
  }

  /** A raw client of that port: its socket, for a test that plays the other side. */
  raw(port: number): ScriptedSocket {
    const socket = new ScriptedSocket(null, port, true, this.flaws)
    socket.on('error', () => {})
    socket.on('data', (bytes: Buffer) => (socket.received = Buffer.concat([socket.received, bytes])))
    this.#dials.push(() => this.#answer(socket, port))
    return socket
  }

  /** Both ends of a connection learn that it is over. */
  cut({ dialler, acceptor }: Wire, how: Cut): void {
    for (const end of [dialler, acceptor]) {
      if (how === 'end' || how === 'end, then reset') end.finish()
      if (how === 'reset' || how === 'end, then reset') end.fail('ECONNRESET')
      if (how === 'gone') end.destroy()
    }
  }

  bind(port: number, server: ScriptedServer): number {
    const bound = port === 0 ? ++this.#lastPort : port
    this.#servers.set(bound, server)
    return bound
  }

  unbind(port: number): void {
    this.#servers.delete(port)
  }

  /** Everything moves once, as far as `chunk` lets it; true when something did. */
  step(): boolean {
    const dials = this.#dials
    this.#dials = []
    for (const answer of dials) answer()
    let moved = dials.length
    for (const { port, dialler, acceptor } of [...this.wires]) {
      for (const end of [dialler, acceptor]) moved += end.leave(this.chunk(port)) + end.arrive(this.chunk(port))
    }
    this.wires = this.wires.filter(({ dialler, acceptor }) => !dialler.destroyed || !acceptor.destroyed)
    return moved > 0
  }

  async moveUntil(isOver: () => boolean): Promise<void> {
    while (!isOver()) await this.settleSome(1)
  }

  async settleSome(steps: number): Promise<void> {
    for (let n = 0; n < steps; n++) {
      this.step()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Steps until nothing moves any more. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 2;) {
      quiet = this.step() ? 0 : quiet + 1
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #answer(dialler: ScriptedSocket, port: number): void {
    if (dialler.destroyed) return
    const server = this.#servers.get(port)
    if (server === undefined) {
      dialler.fail('ECONNREFUSED')
      return
    }
    const acceptor = new ScriptedSocket(null, 40_000 + this.wires.length, false, this.flaws)
    dialler.peer = acceptor
    acceptor.peer = dialler
    this.wires.push({ port, dialler, acceptor })
    dialler.connected()
    server.accept(acceptor)
  }
}
