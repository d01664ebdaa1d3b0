/**
 * A client's bytes: what has come in is handed on as it comes, and what goes out is one write per call. The only file
 * that knows the sockets of node:net; whoever has other bytes, such as a test, brings another `ClientSocket`.
 *
 * A client that has unread answers and takes none of them for `UNREAD_ANSWERS_MS` is cut off; an idle one may stay for
 * ever.
 */

import { Socket } from 'node:net'
import { READ_AHEAD_MS, UNREAD_ANSWERS_MS } from '../../limits.js'

export interface ClientSocket {
  /** Of the client, `ip:port`. */
  readonly address: string
  /** Of this server, `ip:port`, as the client reached it. */
  readonly localAddress: string
  /** Bytes that were written and have not left. */
  readonly unsent: number
  /** Hands on to `listener` all that comes, but nothing before this returns. To be called once. */
  open(listener: SocketListener): void
  /** One write. `out` is a string of bytes (see resp/reply.ts). */
  write(out: string): void
  /** Nothing more is read until `resume`. Both may be said again. */
  pause(): void
  resume(): void
  /**
   * The client has been read as far ahead of its answers as it may be: now it must take some of them soon, for it may
   * be one that reads nothing before it has sent all. May be said again.
   */
  hurry(): void
  /** Ends the connection once all that was written has left. */
  end(): void
  /** Ends the connection at once; the listener is told that it is gone, with this reason, before this returns. */
  cutOff(reason: string): void
}

export interface SocketListener {
  /** The bytes are the listener's until it returns and no longer, and must not be written into. */
  received(chunk: Buffer): void
  /** `unsent` was so much that a write had to wait, and is 0 again. */
  drained(): void
  /** What had to wait has left: `unsent` is less than a write has left it. */
  left(): void
  /** The client has said that it will send no more. */
  ended(): void
  /** The connection is over; told once, and nothing after it. `reason` null: in the usual way. */
  gone(reason: string | null): void
}

export class TcpClientSocket implements ClientSocket {
  readonly address: string
  readonly localAddress: string
  readonly #socket: Socket
  readonly #isReadInPlace: boolean
  #listener: SocketListener | null = null
  #isPaused = false
  #isHurried = false
  /** What was written waits to leave, and the listener is told when it has. */
  #isAwaited = false

  /** `accepted` is not to be used any more. `takeOver`: tests bring one that does not. */
  constructor(accepted: Socket, takeOver: typeof readInPlace = readInPlace) {
    this.address = `${accepted.remoteAddress}:${accepted.remotePort}`
    this.localAddress = `${accepted.localAddress}:${accepted.localPort}`
    const inPlace = takeOver(accepted, this.#received)
    this.#isReadInPlace = inPlace !== null
    const socket = inPlace ?? accepted
    this.#socket = socket
    socket.on('error', () => this.#gone(null))
    socket.on('close', () => this.#gone(null))
  }

  get unsent(): number {
    return this.#socket.writableLength
  }

  open(listener: SocketListener): void {
    this.#listener = listener
    if (!this.#isReadInPlace) this.#socket.on('data', this.#received)
    this.#socket.on('drain', () => {
      this.#isHurried = false
      this.#socket.setTimeout(0)
      this.#listener?.drained()
    })
    this.#socket.on('end', () => this.#listener?.ended())
    this.#socket.on('timeout', () => this.cutOff(this.#isHurried ? READS_TOO_LATE : READS_NOTHING))
  }

  readonly #received = (bytes: Buffer): void => this.#listener?.received(bytes)

  write(out: string): void {
    if (this.#isReadInPlace || this.#isAwaited) {
      this.#socket.write(out, 'latin1')
      // Nearly everything has left by now. Asked for each time, the callback would cost as much as the write.
      if (this.#socket.writableLength > 0) this.#awaitLeft()
    } else {
      // Under TLS nothing has left when a write returns, and a second one costs more than the callback.
      this.#isAwaited = true
      this.#socket.write(out, 'latin1', this.#onLeft)
    }
    // Only while answers wait to be read, so that idle clients may stay.
    if (this.#socket.writableNeedDrain && !this.#isHurried) this.#socket.setTimeout(UNREAD_ANSWERS_MS)
  }

  #awaitLeft(): void {
    if (this.#isAwaited) return
    this.#isAwaited = true
    this.#socket.write('', 'latin1', this.#onLeft)
  }

  readonly #onLeft = (): void => {
    this.#isAwaited = false
    if (this.#listener === null) return
    this.#listener.left()
    if (this.#socket.writableLength > 0 && !this.#socket.destroyed) this.#awaitLeft()
  }

  hurry(): void {
    if (this.#isHurried) return
    this.#isHurried = true
    this.#socket.setTimeout(READ_AHEAD_MS)
  }

  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
  }

  end(): void {
    this.#socket.destroySoon()
  }

  cutOff(reason: string): void {
    this.#socket.destroy()
    this.#gone(reason)
  }

  #gone(reason: string | null): void {
    const listener = this.#listener
    this.#listener = null
    listener?.gone(reason)
  }
}

/** What one read has brought, until its listener returns; as much as libuv asks for at once. */
const shared = Buffer.allocUnsafeSlow(64 * 1024)

/** For connections whose handle is not the system's own, as under TLS. */
export const readAsStream = (): null => null

/**
 * A socket in the place of `accepted` that reads into memory which all clients share, and hands what comes to
 * `received`; null: there is none, and `accepted` is as it was. Invariant: nothing was read yet.
 *
 * By itself node:net makes 64 KiB for each read, and takes what comes through a stream. `onread` spares both, but a
 * server cannot be told it for what it accepts; so the handle goes to a second socket, made with `onread`, as the
 * library does it for its peers (ts/transport/tcp/take-over.ts). Both the field `_handle` and the option `handle` are
 * private to Node, so there is a way without. Measured (Node 20, 64 connections that each send 300 bytes and are
 * answered): 6 us of user time for each without, 2 with.
 */
export function readInPlace(accepted: Socket, received: (bytes: Buffer) => void): Socket | null {
  const inside = accepted as Socket & { _handle?: { readonly useUserBuffer?: unknown } | null }
  const handle = inside._handle
  // Other runtimes have a field of that name, and something else in it.
  if (typeof handle?.useUserBuffer !== 'function') return null
  inside._handle = null
  const callback = (count: number): boolean => {
    received(shared.subarray(0, count))
    return true
  }
  const { allowHalfOpen } = accepted
  const options = { handle, allowHalfOpen, readable: true, writable: true, onread: { buffer: shared, callback } }
  const socket = new Socket(options)
  // Until then it counts among the connections of its server, which bounds them.
  socket.once('close', () => accepted.destroy())
  return socket
}

const READS_NOTHING = `its answers were not read for ${UNREAD_ANSWERS_MS} ms`
const READS_TOO_LATE = `it has sent more commands ahead than are kept for a client, and took none of its answers for ${READ_AHEAD_MS} ms: read while sending`
