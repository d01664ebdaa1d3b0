/** One server is asked, once, for entries whose block is damaged here: over a channel of its own. */

import { textOf } from '../../foreign-values.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type { Transport } from '../../transport/transport.js'
import type { Block, CancelTimer, Clock, ServerId } from '../../types.js'
import { decodeRepair, encodeRepair, REPAIR_BYTES_MAX } from './messages.js'
import { blocksOf } from './wanted.js'
import type { Wanted } from './wanted.js'

/** Whoever says nothing for so long is given up: longer than a dial and a slow disk take. */
const SILENCE_MS_MAX = 10_000

export type Answer =
  | { readonly type: 'given'; readonly blocks: readonly Block[] }
  /** `again`: it may be asked once more, and say other than this. */
  | { readonly type: 'refused'; readonly again: boolean; readonly reason: string }
  /** It was not reached, or its channel broke. `wasOpen`: it was reached, and has ended it. */
  | { readonly type: 'silent'; readonly wasOpen: boolean; readonly reason: string }

export interface AskingParts {
  readonly clusterId: string
  readonly peer: ServerId
  readonly wanted: Wanted
  readonly transport: Transport
  readonly clock: Clock
  readonly verify: (block: Uint8Array) => boolean
  /** Called once. */
  readonly answered: (answer: Answer) => void
}

export class Asking {
  readonly #parts: AskingParts
  readonly #received: Uint8Array[] = []
  #bytes = 0
  #channel: Channel | null = null
  #cancelTimer: CancelTimer
  #isOver = false

  constructor(parts: AskingParts) {
    this.#parts = parts
    this.#cancelTimer = this.#silenceTimer()
    const handlers: ChannelHandlers = {
      onFrame: (frame) => this.#onFrame(frame),
      onClosed: (reason) => this.#silent(reason, true),
    }
    const failed = (error: unknown): void => this.#silent(textOf(error), false)
    this.#open(handlers).then((channel) => this.#opened(channel), failed)
  }

  /** Nobody waits for the answer any more. */
  end(reason: string): void {
    if (!this.#isOver) this.#over(reason)
  }

  async #open(handlers: ChannelHandlers): Promise<Channel> {
    const parts = this.#parts
    const channel = await parts.transport.openChannel?.(parts.peer, handlers)
    if (channel === undefined) throw new Error('the transport opened no channel')
    return channel
  }

  #opened(channel: Channel): void {
    if (this.#isOver) return channel.close('it is not asked any more')
    this.#channel = channel
    const { clusterId, wanted } = this.#parts
    channel.send(encodeRepair({ type: 'lack', clusterId, ...wanted }))
    this.#wait()
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#isOver) return
    const message = decodeRepair(frame)
    if (message === null || message.type === 'lack') return this.#silent('its answer makes no sense', true)
    if (message.type === 'damaged') return this.#silent('its answer came damaged', true)
    if (message.type === 'refused') {
      const { again, reason } = message
      return this.#answer({ type: 'refused', again, reason })
    }
    if (message.type === 'whole') return this.#whole(message.bytes)
    this.#bytes += message.data.length
    if (this.#bytes > REPAIR_BYTES_MAX) return this.#unfit(`it gives more than ${REPAIR_BYTES_MAX} bytes`)
    this.#received.push(message.data.slice())
    this.#wait()
  }

  #whole(bytes: number): void {
    if (bytes !== this.#bytes) return this.#silent(`${this.#bytes} of ${bytes} bytes have come`, true)
    const { wanted, verify } = this.#parts
    const blocks = blocksOf(wanted, Buffer.concat(this.#received), verify)
    if (typeof blocks === 'string') return this.#unfit(blocks)
    this.#answer({ type: 'given', blocks })
  }

  #unfit(reason: string): void {
    this.#answer({ type: 'refused', again: false, reason: `what it gave is refused: ${reason}` })
  }

  #silent(reason: string, wasOpen: boolean): void {
    this.#answer({ type: 'silent', wasOpen, reason })
  }

  #answer(answer: Answer): void {
    if (this.#isOver) return
    this.#over(answer.type === 'given' ? 'thanks' : answer.reason)
    this.#parts.answered(answer)
  }

  #over(reason: string): void {
    this.#isOver = true
    this.#cancelTimer()
    this.#channel?.close(reason)
  }

  #wait(): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#silenceTimer()
  }

  #silenceTimer(): CancelTimer {
    return this.#parts.clock.setTimer(SILENCE_MS_MAX, () => {
      this.#silent(`it said nothing for ${SILENCE_MS_MAX} ms`, this.#channel !== null)
    })
  }
}
