/**
 * One question to whoever listens at an address: dials, asks in the place of a hello, takes one answer, hangs up. Not a
 * `Connection`: it may be asked before this side is anybody, and nobody introduces himself.
 */

import {
  ANSWER_WIRE_BYTES_MAX,
  type CancelTimer,
  type Clock,
  decodeFrame,
  encodeQuestion,
  type FrameMemory,
  HEAD_BYTES_MAX,
  QUESTION_BYTES_MAX,
  refusedByPeer,
} from 'balsa-raft/transport'
import { FrameReader } from './frame-reader.js'
import { Line, type LineUser } from './line.js'
import type { GrpcSettings } from './options.js'

export class Asking implements LineUser {
  /** Rejects with an Error that says why there is none. */
  readonly answer: Promise<Uint8Array>
  /** Nothing of it is left. */
  readonly gone: Promise<void>
  readonly #question: Uint8Array
  readonly #settings: GrpcSettings
  readonly #clock: Clock
  readonly #reader = new FrameReader(Math.max(ANSWER_WIRE_BYTES_MAX, HEAD_BYTES_MAX))
  readonly #line: Line
  #isEnded = false
  #cancelTimer: CancelTimer
  /** Both settle `answer`, once. */
  #answered: (answer: Uint8Array) => void = () => {}
  #failed: (reason: string) => void = () => {}
  #isGone: () => void = () => {}

  /** Throws what gRPC says of an address that it cannot read. */
  constructor(address: string, question: Uint8Array, settings: GrpcSettings, clock: Clock) {
    this.#question = question
    this.#settings = settings
    this.#clock = clock
    this.#line = Line.dial(address, settings, clock, this)
    this.answer = new Promise((resolve, reject) => {
      this.#answered = resolve
      this.#failed = (reason) => reject(new Error(reason))
    })
    this.gone = new Promise((resolve) => (this.#isGone = resolve))
    const { dialTimeoutMs } = settings
    this.#cancelTimer = clock.setTimer(dialTimeoutMs, () => this.end(`not connected within ${dialTimeoutMs} ms`))
  }

  /** Does nothing once there is an answer, or none. */
  end(reason: string): void {
    if (this.#hangUp()) this.#failed(reason)
  }

  connected(): void {
    const { handshakeTimeoutMs } = this.#settings
    this.#cancelTimer()
    this.#cancelTimer = this.#clock.setTimer(handshakeTimeoutMs, () =>
      this.end(`no answer within ${handshakeTimeoutMs} ms`),
    )
    if (this.#question.byteLength <= QUESTION_BYTES_MAX) this.#line.write([encodeQuestion(this.#question)])
    else this.end(`a question of over ${QUESTION_BYTES_MAX} bytes`)
  }

  received(bytes: Uint8Array | null): void {
    if (bytes === null) return this.end('what came is no message of this service')
    const flaw = this.#reader.read(bytes, (memory, start, end) => {
      this.#take(memory, start, end)
      return false
    })
    if (flaw !== null) this.end(`what came is damaged: ${flaw}`)
  }

  broken(reason: string): void {
    this.end(reason)
  }

  closed(): void {
    this.end('closed by the other side')
    this.#isGone()
  }

  /** False: it has ended before. */
  #hangUp(): boolean {
    if (this.#isEnded) return false
    this.#isEnded = true
    this.#cancelTimer()
    this.#line.end(null)
    return true
  }

  #take(memory: FrameMemory, start: number, end: number): void {
    const frame = decodeFrame(memory, start, end)
    switch (frame.type) {
      case 'answer':
        if (this.#hangUp()) this.#answered(frame.data.slice())
        return
      case 'refusal':
        return this.end(refusedByPeer(frame))
      case 'Malformed':
        return this.end(`what came is no answer: ${frame.what}`)
      default:
        return this.end(`a ${frame.type} in the place of an answer`)
    }
  }
}
