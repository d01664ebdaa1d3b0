/**
 * One question to whoever listens at an address: dials, asks in the place of a hello, takes one answer, hangs up. Not a
 * `Connection`: it may be asked before this side is anybody, and nobody introduces himself.
 */

import type { Socket } from 'node:net'
import {
  ANSWER_WIRE_BYTES_MAX,
  type CancelTimer,
  type Clock,
  decodeFrame,
  encodeProof,
  encodeQuestion,
  encodeRefusal,
  HEAD_BYTES_MAX,
  QUESTION_BYTES_MAX,
  refusedByPeer,
  unauthenticated,
} from '../index.js'
import type { Address } from './address.js'
import { FAREWELL_MS, MAGIC } from './connection.js'
import { FrameReader } from './frame-reader.js'
import { handshakeFlaw, NO_TLS } from './material.js'
import type { TcpSettings } from './options.js'
import { Trust } from './trust.js'

/** What a server says that knows no questions. */
const OLDER = 'MALFORMED'

/** With what a record begins in which TLS says what is wrong. */
const TLS_ALERT = 0x15

export class Asking {
  /** Rejects with an Error that says why there is none. */
  readonly answer: Promise<Uint8Array>
  /** The socket is gone. */
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #question: Uint8Array
  readonly #clock: Clock
  readonly #reader = new FrameReader(Math.max(ANSWER_WIRE_BYTES_MAX, HEAD_BYTES_MAX))
  #magicRead = false
  #isEnded = false
  #cancelTimer: CancelTimer
  /** Both settle `answer`, once. */
  #answered: (answer: Uint8Array) => void = () => {}
  #failed: (reason: string) => void = () => {}

  constructor(address: Address, question: Uint8Array, settings: TcpSettings, clock: Clock) {
    const { dialTimeoutMs, handshakeTimeoutMs, sockets, credentials } = settings
    this.#question = question
    this.#clock = clock
    this.answer = new Promise((resolve, reject) => {
      this.#answered = resolve
      this.#failed = (reason) => reject(new Error(reason))
    })
    const onread = { buffer: () => this.#reader.space(), callback: (count: number) => this.#filled(count) }
    const trust = credentials === null ? null : Trust.dial(credentials.material, { address, id: null }, onread)
    this.#socket = trust?.socket ?? sockets.dial(address, onread)
    this.#cancelTimer = clock.setTimer(dialTimeoutMs, () => this.end(`not connected within ${dialTimeoutMs} ms`))
    this.#socket.on('connect', () => {
      if (this.#isEnded) return
      this.#cancelTimer()
      this.#cancelTimer = clock.setTimer(handshakeTimeoutMs, () =>
        this.end(`no answer within ${handshakeTimeoutMs} ms`),
      )
      if (trust === null) this.#ask(null)
    })
    if (trust !== null) this.#socket.on('secureConnect', () => this.#secured(trust))
    this.#socket.on('error', (error: NodeJS.ErrnoException) => {
      const { code, message } = error
      this.end((trust === null ? null : handshakeFlaw(error)) ?? code ?? message)
    })
    this.#socket.on('end', () => this.end('closed by the other side'))
    this.closed = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.end('closed by the other side')
        this.#cancelTimer()
        resolve()
      })
    })
  }

  /** Does nothing once there is an answer, or none. */
  end(reason: string): void {
    if (this.#hangUp()) this.#failed(reason)
  }

  /** Hands of TLS are shaken, and nothing was said. */
  #secured(trust: Trust): void {
    if (this.#isEnded) return
    const flaw = trust.flaw()
    if (flaw === null) return this.#ask(trust.proof())
    this.#isEnded = true
    this.#cancelTimer()
    this.#socket.end(Buffer.concat([MAGIC, encodeRefusal(unauthenticated(flaw))]))
    this.#cancelTimer = this.#clock.setTimer(FAREWELL_MS, () => this.#socket.destroy())
    this.#failed(flaw)
  }

  #ask(proof: Uint8Array | null): void {
    const { byteLength } = this.#question
    if (byteLength > QUESTION_BYTES_MAX) return this.end(`a question of over ${QUESTION_BYTES_MAX} bytes`)
    const pieces = [MAGIC, ...(proof === null ? [] : [encodeProof(proof)]), encodeQuestion(this.#question)]
    this.#socket.write(Buffer.concat(pieces))
  }

  /** False: it has ended before. */
  #hangUp(): boolean {
    if (this.#isEnded) return false
    this.#isEnded = true
    this.#cancelTimer()
    this.#socket.destroy()
    return true
  }

  #filled(count: number): boolean {
    if (this.#isEnded) return false
    this.#reader.filled(count)
    if (!this.#magicRead && !this.#readMagic()) return true
    const length = this.#reader.frameLength()
    const flaw = length === 0 ? this.#reader.earlyFlaw() : null
    if (flaw !== null) this.end(`what came is damaged: ${flaw}`)
    else if (length < 0) this.end('what came is too long')
    else if (length > 0) this.#take(length)
    return true
  }

  #readMagic(): boolean {
    const { slab, start, available } = this.#reader
    const length = Math.min(available, MAGIC.length)
    if (slab.compare(MAGIC, 0, length, start, start + length) !== 0) {
      this.end(slab[start] === TLS_ALERT ? NO_TLS : 'this is not the protocol of Balsa')
    } else if (length === MAGIC.length) {
      this.#reader.consume(length)
      this.#magicRead = true
    }
    return this.#magicRead
  }

  #take(length: number): void {
    const { memory, start } = this.#reader
    const frame = decodeFrame(memory, start, start + length)
    switch (frame.type) {
      case 'answer':
        if (this.#hangUp()) this.#answered(frame.data.slice())
        return
      case 'refusal': {
        const remedy = frame.code === OLDER ? '. It is of a version that answers no questions: upgrade it' : ''
        return this.end(refusedByPeer(frame) + remedy)
      }
      case 'Malformed':
        return this.end(`what came is no answer: ${frame.what}`)
      default:
        return this.end(`a ${frame.type} in the place of an answer`)
    }
  }
}
