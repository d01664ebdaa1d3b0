/**
 * One stream of gRPC as a line of bytes in both directions: what waits is counted in bytes and bounded by its user,
 * goes out as few messages, and ends with last words where there are any.
 *
 * One message is with gRPC at a time, which says when the other side has room (flow control); what is written meanwhile
 * waits here, and goes out together.
 */

import { Client, type ClientDuplexStream, type ServerDuplexStream, type StatusObject, status } from '@grpc/grpc-js'
import type { CancelTimer, Clock, ConnectionEnd } from 'balsa-raft/transport'
import type { GrpcSettings } from './options.js'
import { decodeBytes, encodeBytes, raftService, wireBytesOf } from './service.js'
import { widenWindow } from './wide-window.js'

/** How long a line that ends with words for the other side may stay, so that they arrive. */
const FAREWELL_MS = 1000

/** What a line tells its user; nothing but `closed` once it has ended, whoever has ended it. */
export interface LineUser {
  /** The other side has taken the call: of a line that was dialled. */
  connected(): void
  /** A view of memory that nobody writes again. Null: what has come is no message of the service. */
  received(bytes: Uint8Array | null): void
  /** The other side has ended it, or it has broken. */
  broken(reason: string, end: ConnectionEnd): void
  /** Nothing of it is left; the last call. */
  closed(): void
}

/** What differs between a call that this side has made and one that it was made. */
interface Call {
  readonly stream: ClientDuplexStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>
  /** Ends it at once, whatever waits. */
  abort(): void
  /** It is over. */
  release(): void
}

export class Line {
  /** Who is at the other end, as far as gRPC knows. */
  readonly remote: string
  readonly #call: Call
  readonly #clock: Clock
  readonly #user: LineUser
  readonly #messageBytesMax: number
  /** What waits for the message that is with gRPC. Invariant: `#waitingBytes` are in it. */
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  /** Of the message that is with gRPC. */
  #writingBytes = 0
  /** The other side has taken the call. */
  #isConnected = false
  #isEnded = false
  /** No more is written; what waits still goes out, and then the stream ends. */
  #isLeaving = false
  #isClosed = false
  #cancelFarewell: CancelTimer = () => {}

  /** Dials. */
  static dial(address: string, settings: GrpcSettings, clock: Clock, user: LineUser): Line {
    const client = new Client(address, settings.credentials, settings.channelOptions)
    const { path, requestSerialize, responseDeserialize } = raftService.Connect
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    const call = { stream, abort: () => stream.cancel(), release: () => client.close() }
    const line = new Line(call, address, settings, clock, user)
    stream.on('metadata', () => {
      line.#isConnected = true
      if (!line.#isEnded) user.connected()
    })
    stream.on('status', (ended: StatusObject) => {
      line.#broken(reasonOf(ended, settings), endOf(ended))
      line.#close()
    })
    return line
  }

  /** Takes a call. */
  static accept(
    stream: ServerDuplexStream<Buffer, Buffer>,
    settings: GrpcSettings,
    clock: Clock,
    user: LineUser,
  ): Line {
    const abort = (): void => {
      stream.emit('error', { code: status.CANCELLED, details: 'ended by the server' })
    }
    const line = new Line({ stream, abort, release: () => {} }, stream.getPeer(), settings, clock, user)
    // Before anything else is said: the other side knows that it is connected.
    stream.sendMetadata(settings.noMetadata)
    line.#isConnected = true
    stream.on('end', () => line.#broken(CLOSED, 'gone'))
    stream.on('cancelled', () => {
      line.#broken(CLOSED, 'gone')
      line.#close()
    })
    stream.on('close', () => line.#close())
    return line
  }

  private constructor(call: Call, remote: string, settings: GrpcSettings, clock: Clock, user: LineUser) {
    this.#call = call
    this.#clock = clock
    this.#user = user
    this.remote = remote
    this.#messageBytesMax = settings.messageBytesMax
    call.stream.on('data', (message: Buffer) => {
      if (!this.#isEnded) user.received(decodeBytes(message))
    })
    // Followed by a status on one side, by the end on the other.
    call.stream.on('error', () => {})
  }

  /** Bytes that wait here and with gRPC. */
  get unsent(): number {
    return this.#waitingBytes + this.#writingBytes
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The other side may send more at a time. Of a call that was made to this side. */
  widen(): void {
    widenWindow(this.#call.stream)
  }

  /** Hands over these pieces as they are; nothing once it has ended. Hot path: once per flush. */
  write(pieces: readonly Uint8Array[]): void {
    if (this.#isEnded) return
    this.#queue(pieces)
    this.#pump()
  }

  /** Ends the line at once, or, with last words, when what waits and they have gone out. Its user is told nothing. */
  end(lastWords: Uint8Array | null): void {
    if (this.#isEnded) return
    this.#isEnded = true
    if (lastWords === null || !this.#isConnected) return this.hangUp()
    this.#queue([lastWords])
    this.#isLeaving = true
    this.#cancelFarewell = this.#clock.setTimer(FAREWELL_MS, () => this.hangUp())
    this.#pump()
  }

  /** No more waiting for the last words. Invariant: it has ended. */
  hangUp(): void {
    this.#isLeaving = false
    this.#waiting = []
    this.#waitingBytes = 0
    this.#call.abort()
    // gRPC tells of the end of a call later, and of one that the other side does not read perhaps never.
    queueMicrotask(() => this.#close())
  }

  #queue(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) {
      this.#waiting.push(piece)
      this.#waitingBytes += piece.byteLength
    }
  }

  #pump(): void {
    if (this.#writingBytes > 0) return
    if (this.#waitingBytes === 0) {
      if (!this.#isLeaving) return
      this.#isLeaving = false
      this.#call.stream.end()
      return
    }
    const bytes = Math.min(this.#waitingBytes, this.#messageBytesMax)
    const message = encodeBytes(this.#cut(bytes), bytes)
    this.#waitingBytes -= bytes
    this.#writingBytes = bytes
    this.#call.stream.write(message, () => {
      this.#writingBytes = 0
      this.#pump()
    })
  }

  /** The first `bytes` of what waits. Invariant: no more than that waits. */
  #cut(bytes: number): readonly Uint8Array[] {
    if (bytes === this.#waitingBytes) {
      const all = this.#waiting
      this.#waiting = []
      return all
    }
    let left = bytes
    let whole = 0
    for (const { byteLength } of this.#waiting) {
      if (byteLength > left) break
      left -= byteLength
      whole += 1
    }
    const pieces = this.#waiting.splice(0, whole)
    const [next] = this.#waiting
    if (left > 0 && next !== undefined) {
      pieces.push(next.subarray(0, left))
      this.#waiting[0] = next.subarray(left)
    }
    return pieces
  }

  #broken(reason: string, end: ConnectionEnd): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#user.broken(reason, end)
    // Its own half is still open: of a call that was made to this side.
    this.#call.stream.end()
  }

  #close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#isEnded = true
    this.#cancelFarewell()
    this.#call.release()
    this.#user.closed()
  }
}

/** Why a call that was made to this side is over: gRPC does not tell these apart. */
const CLOSED = 'closed by the other side, or by gRPC: a call that was cancelled, a deadline, a message over a limit'

/** How gRPC tells of a connection that was lost: reset, or closed by the system of the other side. */
const LOST = /Connection dropped|ECONNRESET|EPIPE/

const endOf = ({ code, details }: StatusObject): ConnectionEnd =>
  code === status.OK || (code === status.UNAVAILABLE && LOST.test(details)) ? 'gone' : 'unclear'

const REMEDIES: Readonly<Record<number, (settings: GrpcSettings) => string>> = {
  [status.UNIMPLEMENTED]: () =>
    'its gRPC server carries no server of Balsa now: open one on it (grpcTransport), or correct the address',
  [status.RESOURCE_EXHAUSTED]: ({ messageBytesMax }) =>
    `messages to it have up to ${wireBytesOf(messageBytesMax)} bytes: let its gRPC server take them ` +
    `('grpc.max_receive_message_length'), or lower messageBytesMax here`,
  [status.UNAUTHENTICATED]: () => 'give the option credentials what its gRPC server asks for',
  [status.PERMISSION_DENIED]: () => 'let its gRPC server accept the credentials of this one',
  [status.DEADLINE_EXCEEDED]: ({ path }) =>
    `a connection lasts for as long as it is needed: set no deadline on ${path}`,
}

function reasonOf({ code, details }: StatusObject, settings: GrpcSettings): string {
  if (code === status.OK) return 'closed by the other side'
  const remedy = REMEDIES[code]?.(settings)
  const said = `${status[code] ?? code}: ${plain(details)}`
  return remedy === undefined ? said : `${said}; ${remedy}`
}

/** The other side has written it. */
const DETAILS_LENGTH_MAX = 500

/** Without what differs each time, so that the same trouble is the same text. */
function plain(details: string): string {
  const [first = ''] = details.split('\n')
  const same = first.replace(/ \(\d{4}-\d\d-\d\dT[^)]*\)/g, '').replace(/\. Resolution note: *$/, '')
  return same.slice(0, DETAILS_LENGTH_MAX)
}
