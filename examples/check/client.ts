/**
 * A client of a service: asks any server, and sends the same request to the next one when no answer comes, or 503,
 * or 504.
 * What changes something is sent in a session. That is all that a client of these services has to do.
 */

import { setTimeout as pause } from 'node:timers/promises'

/** So long one server has time; the services answer within two seconds. */
const TRY_MS = 4000
/** A request that has no answer by then has failed, and so has the check. */
const REQUEST_MS_MAX = 15_000
const PAUSE_MS = 20

export interface Reply {
  readonly status: number
  readonly body: unknown
  /** When the first try was sent, and when the answer was there: milliseconds of the clock of this process. */
  readonly askedAt: number
  readonly answeredAt: number
}

interface Token {
  readonly id: number
  readonly sequence: number
}

export class Client {
  readonly #urls: readonly string[]
  /** The server that is asked. */
  #at: number
  #session: Token | null = null

  constructor(urls: readonly string[], first: number) {
    this.#urls = urls
    this.#at = first
  }

  /** Asks what may be asked more than once. */
  async ask(method: string, path: string): Promise<Reply> {
    const askedAt = performance.now()
    while (performance.now() - askedAt < REQUEST_MS_MAX) {
      const url = this.#urls[this.#at % this.#urls.length]
      const answer = await fetch(url + path, { method, signal: AbortSignal.timeout(TRY_MS) }).then(read, () => null)
      if (answer !== null && answer.status < 503) return { ...answer, askedAt, answeredAt: performance.now() }
      this.#at += 1
      await pause(PAUSE_MS)
    }
    throw new Error(`failed: ${method} ${path} had no answer from any server for ${REQUEST_MS_MAX} ms`)
  }

  /** Sends what is to be done once: one command at a time. */
  async send(method: string, path: string, parameters: Readonly<Record<string, string | number>> = {}): Promise<Reply> {
    this.#session ??= (await this.ask('POST', '/sessions')).body as Token
    const session = this.#session
    this.#session = { ...session, sequence: session.sequence + 1 }
    const query = new URLSearchParams({ session: JSON.stringify(session) })
    for (const [name, value] of Object.entries(parameters)) query.set(name, String(value))
    return this.ask(method, `${path}?${query.toString()}`)
  }
}

async function read(response: Response): Promise<{ status: number; body: unknown } | null> {
  const text = await response.text().catch(() => null)
  return text === null ? null : { status: response.status, body: JSON.parse(text) }
}
