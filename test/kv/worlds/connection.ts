/**
 * One connection between a client of a world and a server process: both of its ends, and the way between them. What is
 * sent arrives in order, late, and cut anywhere; what is written stays unsent until it has arrived.
 */

import type { ClientSocket, SocketListener } from 'balsa-kv/server/client/client-socket.js'
import type { EventQueue } from '#balsa/testing/simulator/event-queue.js'
import type { SeededRandom } from '#balsa/testing/simulator/random.js'

/** As node:net: a write that finds more than this unsent has to wait, and is told when all has left. */
const HIGH_WATER_BYTES = 16 * 1024

export interface ConnectionSite {
  readonly queue: EventQueue
  readonly random: SeededRandom
  /** One way, on average. */
  readonly delayMs: number
  readonly address: string
  readonly localAddress: string
  /** Runs something in the server's process: now, after a pause, or, when it is gone, never. */
  arrive(run: () => void): void
  /** By which the server judges deadlines now. */
  entryTime(): number
}

/** The client's end. */
export interface ConnectionUser {
  /** `entryTime`: of the server, when it wrote this. */
  received(text: string, entryTime: number): void
  /** Told once; nothing comes after it. */
  ended(): void
}

export class Connection implements ClientSocket {
  readonly address: string
  readonly localAddress: string
  readonly #site: ConnectionSite
  readonly #user: ConnectionUser
  #listener: SocketListener | null = null
  #unsent = 0
  #isFull = false
  #isPaused = false
  #isEnding = false
  /** Arrived while nobody read. */
  #kept: string[] = []
  #upAt = 0
  #downAt = 0
  #isServerGone = false
  #isClientGone = false
  /** Why the server cut it off; null: it did not. */
  cutOffReason: string | null = null

  constructor(site: ConnectionSite, user: ConnectionUser) {
    this.#site = site
    this.#user = user
    this.address = site.address
    this.localAddress = site.localAddress
  }

  get unsent(): number {
    return this.#unsent
  }

  open(listener: SocketListener): void {
    this.#listener = listener
  }

  // The server's end.

  write(out: string): void {
    if (this.#isServerGone) return
    const entryTime = this.#site.entryTime()
    this.#unsent += out.length
    if (this.#unsent > HIGH_WATER_BYTES) this.#isFull = true
    this.#down(() => {
      if (!this.#isClientGone) this.#user.received(out, entryTime)
      this.#site.arrive(() => this.#left(out.length))
    })
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#site.queue.after(0, () => this.#site.arrive(() => this.#handOver()))
  }

  /** The clients of a world read all the time. */
  hurry(): void {}

  end(): void {
    this.#isEnding = true
    if (this.#unsent === 0) this.#gone(null)
  }

  cutOff(reason: string): void {
    this.cutOffReason = reason
    this.#gone(reason)
  }

  /** The process is gone: what it wrote before still arrives. */
  die(): void {
    this.#listener = null
    this.#gone(null)
  }

  // The client's end.

  send(text: string): void {
    let from = 0
    while (from < text.length) {
      const to = this.#site.random.chance(0.7) ? text.length : this.#site.random.int(from + 1, text.length + 1)
      const chunk = text.slice(from, to)
      this.#up(() => this.#arrived(chunk))
      from = to
    }
  }

  /** The client goes away, whatever is under way. */
  leave(): void {
    this.#isClientGone = true
    this.#up(() => this.#gone(null))
  }

  #arrived(chunk: string): void {
    this.#kept.push(chunk)
    this.#handOver()
  }

  #handOver(): void {
    while (!this.#isPaused && !this.#isServerGone) {
      const chunk = this.#kept.shift()
      if (chunk === undefined) return
      const bytes = Buffer.from(chunk, 'latin1')
      this.#listener?.received(bytes)
      // They were the listener's only until now.
      bytes.fill('#')
    }
  }

  #left(bytes: number): void {
    if (this.#isServerGone) return
    this.#unsent -= bytes
    this.#listener?.left()
    if (this.#unsent > 0) return
    if (this.#isFull) {
      this.#isFull = false
      this.#listener?.drained()
    }
    if (this.#isEnding) this.#gone(null)
  }

  #gone(reason: string | null): void {
    if (this.#isServerGone) return
    this.#isServerGone = true
    this.#kept = []
    const listener = this.#listener
    this.#listener = null
    this.#down(() => {
      if (this.#isClientGone) return
      this.#isClientGone = true
      this.#user.ended()
    })
    listener?.gone(reason)
  }

  #up(run: () => void): void {
    this.#upAt = this.#next(this.#upAt)
    this.#site.queue.call(this.#upAt, () => this.#site.arrive(run))
  }

  #down(run: () => void): void {
    this.#downAt = this.#next(this.#downAt)
    this.#site.queue.call(this.#downAt, run)
  }

  #next(last: number): number {
    const { queue, random, delayMs } = this.#site
    return Math.max(last, queue.now + random.exponential(delayMs))
  }
}
