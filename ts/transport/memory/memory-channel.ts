/**
 * One end of a channel of a `MemoryNetwork`. Its connection shakes hands and ends as one for messages does; what is
 * here begins when that is done. Frames are copied, as a system does; what was lent is overwritten, as it is there.
 */

import { assert } from '../../errors.js'
import { type Channel, channelFrameFlaw, type ChannelHandlers } from '../index.js'

/** What an end asks of the transport that it is on. */
export interface ChannelWay {
  readonly queueBytesMax: number
  carry(bytes: number, deliver: () => void): void
  /** What has become of a frame on its way; null: it ended the channel. */
  arrived(frame: Uint8Array): Uint8Array | null
  /** Ends this end, which then hears `ended`, and tells the other one. */
  end(reason: string): void
}

export class MemoryChannel implements Channel {
  /** The end on the other side; null until it is there. */
  other: MemoryChannel | null = null
  readonly #way: ChannelWay
  /** Null before hands are shaken, and after its end. */
  #handlers: ChannelHandlers | null = null
  #isClosed = false
  #queuedBytes = 0

  constructor(way: ChannelWay) {
    this.#way = way
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** From now on what comes is for these. Nothing when it has been closed meanwhile. */
  open(handlers: ChannelHandlers): void {
    if (!this.#isClosed) this.#handlers = handlers
  }

  send(frame: Uint8Array): void {
    const flaw = channelFrameFlaw(frame)
    assert(flaw === null, flaw ?? '')
    if (this.#isClosed) return
    const sent = new Uint8Array(frame)
    const bytes = sent.byteLength
    this.#queuedBytes += bytes
    const { queueBytesMax } = this.#way
    if (this.#queuedBytes > queueBytesMax) {
      this.#way.end(overBound(this.#queuedBytes, queueBytesMax))
      return
    }
    this.#way.carry(bytes, () => {
      if (!this.#isClosed) this.#queuedBytes -= bytes
      const arrived = this.#way.arrived(new Uint8Array(sent))
      if (arrived !== null) this.other?.take(arrived)
    })
  }

  close(reason: string): void {
    this.#handlers = null
    this.#way.end(reason)
  }

  /** A frame has arrived here. */
  take(frame: Uint8Array): void {
    this.#handlers?.onFrame(frame)
    frame.fill(OVERWRITTEN)
  }

  /** Its connection has ended here. */
  ended(reason: string): void {
    const handlers = this.#handlers
    this.#handlers = null
    this.#isClosed = true
    this.#queuedBytes = 0
    handlers?.onClosed(reason)
  }
}

const OVERWRITTEN = 0xdb

export const overBound = (bytes: number, bound: number): string => `${bytes} bytes wait to be written, over ${bound}`
