/**
 * One end of a channel, on a connection whose hands are shaken. It keeps nothing of what comes: a frame is lent to its
 * receiver at once, so that only one that has not come whole is held here.
 *
 * Each side says something every CHANNEL_PING_MS, whatever its user does, so that silence means a side that is gone.
 */

import {
  type CancelTimer,
  type Channel,
  type ChannelFrame,
  channelFrameFlaw,
  type ChannelHandlers,
  encodeChannelFrame,
  encodePing,
  type Ping,
} from 'balsa-raft/transport'
import type { Connection, ConnectionContext } from './connection.js'

/** The same on both sides: neither knows when the other one loses patience. */
const CHANNEL_PING_MS = 1000
/** `silenceMaxMs` below this is meant for sessions. */
const SILENCE_MS_MIN = 5 * CHANNEL_PING_MS
/** So much of a frame is a sign of life, while it comes: less, of a peer that only trickles, is none. */
const ARRIVING_BYTES_MIN = 1024

export class GrpcChannel implements Channel {
  readonly #connection: Connection
  readonly #context: ConnectionContext
  /** Null before `open`, and after its end. */
  #handlers: ChannelHandlers | null = null
  /** Why it has broken before anybody could be told. */
  #brokenBy: string | null = null
  #isClosed = false
  #cancelTick: CancelTimer = () => {}
  /** Since the last tick. */
  #hasSent = false
  /** Counted in ticks: a process that was held up has not listened meanwhile. */
  #silentMs = 0
  #heardBytes = 0
  #heardFrameBytes = 0

  /** Invariant: the connection is open, and a channel. */
  constructor(connection: Connection, context: ConnectionContext) {
    this.#connection = connection
    this.#context = context
    this.#note()
    this.#tickLater()
  }

  get queuedBytes(): number {
    return this.#isClosed ? 0 : this.#connection.unsent
  }

  /** What comes is for these; also the news that it has broken meanwhile. */
  open(handlers: ChannelHandlers): void {
    if (this.#brokenBy !== null) handlers.onClosed(this.#brokenBy)
    else if (!this.#isClosed) this.#handlers = handlers
  }

  send(frame: Uint8Array): void {
    const flaw = channelFrameFlaw(frame)
    if (flaw !== null) throw new Error(flaw)
    if (this.#isClosed) return
    this.#hasSent = true
    this.#connection.sendFrame(encodeChannelFrame(frame))
  }

  close(reason: string): void {
    if (this.#isClosed) return
    this.#handlers = null
    this.#isClosed = true
    this.#connection.leave(reason)
  }

  take(frame: ChannelFrame | Ping): void {
    if (frame.type !== 'channelFrame') return
    const { buffer, byteOffset, byteLength } = frame.data
    // No Buffer, whose `slice` is no copy.
    this.#handlers?.onFrame(new Uint8Array(buffer, byteOffset, byteLength))
  }

  /** Its connection has ended. */
  ended(reason: string): void {
    this.#cancelTick()
    if (this.#isClosed) return
    this.#isClosed = true
    this.#brokenBy = reason
    const handlers = this.#handlers
    this.#handlers = null
    handlers?.onClosed(reason)
  }

  #tickLater(): void {
    this.#cancelTick = this.#context.clock.setTimer(CHANNEL_PING_MS, () => this.#tick())
  }

  #tick(): void {
    const silenceMaxMs = Math.max(this.#context.settings.silenceMaxMs, SILENCE_MS_MIN)
    if (!this.#note()) this.#silentMs += CHANNEL_PING_MS
    if (this.#silentMs >= silenceMaxMs) return this.#connection.end(`nothing has come for ${silenceMaxMs} ms`)
    // What still waits says as much when it is read, and a peer that does not read is not sent more and more.
    if (!this.#hasSent && this.#connection.unsent === 0) this.#connection.sendFrame([encodePing()])
    this.#hasSent = false
    this.#tickLater()
  }

  /** Whether the other side has shown that it lives since this was last true. */
  #note(): boolean {
    const { bytes, frameBytes } = this.#connection.arrived
    const isAlive = frameBytes > this.#heardFrameBytes || bytes - this.#heardBytes >= ARRIVING_BYTES_MIN
    if (!isAlive) return false
    this.#silentMs = 0
    this.#heardBytes = bytes
    this.#heardFrameBytes = frameBytes
    return true
  }
}
