/**
 * Clients that write all the time, one command after the other, and go where they are sent: what they were refused is
 * counted by kind, and when a write was acknowledged is known.
 */

import { connect } from 'node:net'
import type { Socket } from 'node:net'

/** After a refusal, and when nobody listens. */
const BACKOFF_MS = 2

export class KvWriters {
  readonly #ports: readonly number[]
  readonly #errors = new Map<string, number>()
  #acknowledgedAt = performance.now()
  #longestGapMs = 0
  #isOver = false
  readonly #over: Promise<unknown>

  constructor(ports: readonly number[], count: number) {
    this.#ports = ports
    this.#over = Promise.all(Array.from({ length: count }, (_, at) => this.#write(`k${at}`, at % ports.length)))
  }

  /** From now on gaps and errors are counted anew. */
  restart(): void {
    this.#errors.clear()
    this.#longestGapMs = 0
    this.#acknowledgedAt = performance.now()
  }

  /** The longest time without an acknowledged write, one that still lasts included. */
  get longestGapMs(): number {
    return Math.max(this.#longestGapMs, performance.now() - this.#acknowledgedAt)
  }

  /** By their first word; `in doubt`: the connection ended before the answer came. */
  get errors(): ReadonlyMap<string, number> {
    return this.#errors
  }

  async close(): Promise<void> {
    this.#isOver = true
    await this.#over
  }

  async #write(key: string, first: number): Promise<void> {
    let at = first
    let connection: Connection | null = null
    while (!this.#isOver) {
      connection ??= await Connection.open(this.#ports[at] ?? 0)
      const answer: string = (await connection?.ask(`SET ${key} v`)) ?? (connection === null ? 'refused' : 'in doubt')
      if (answer === '+OK') {
        this.#acknowledged()
        continue
      }
      const [kind = answer] = answer.startsWith('-') ? answer.slice(1).split(' ') : [answer]
      this.#errors.set(kind, (this.#errors.get(kind) ?? 0) + 1)
      connection?.close()
      connection = null
      const movedTo = this.#ports.indexOf(Number(/^-MOVED \d+ .*:(\d+)$/.exec(answer)?.[1]))
      at = movedTo === -1 ? (at + 1) % this.#ports.length : movedTo
      if (movedTo === -1) await new Promise((resolve) => setTimeout(resolve, BACKOFF_MS))
    }
    connection?.close()
  }

  #acknowledged(): void {
    const now = performance.now()
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#acknowledgedAt)
    this.#acknowledgedAt = now
  }
}

/** One inline command at a time; the first line of each answer. */
class Connection {
  readonly #socket: Socket
  #onAnswer: (line: string | null) => void = () => undefined
  #isClosed = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1').setNoDelay(true)
    socket.on('data', (text: string) => this.#onAnswer(text.split('\r\n')[0] ?? null))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.#isClosed = true
      this.#onAnswer(null)
    })
  }

  /** Null: nobody listens. */
  static open(port: number): Promise<Connection | null> {
    return new Promise((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.once('error', () => resolve(null))
      socket.once('connect', () => resolve(new Connection(socket)))
    })
  }

  /** Null: the connection ended first. */
  ask(line: string): Promise<string | null> {
    if (this.#isClosed) return Promise.resolve(null)
    return new Promise((resolve) => {
      this.#onAnswer = resolve
      this.#socket.write(`${line}\r\n`)
    })
  }

  close(): void {
    this.#socket.destroy()
  }
}
