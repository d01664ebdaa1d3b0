/**
 * A client of the Redis protocol (version 2) that does nothing by itself: what it is told to send it sends once, it
 * never connects again, and it follows no redirection. So what it reports is what happened.
 */

import { connect } from 'node:net'
import type { Socket } from 'node:net'

export type RespReply = string | number | null | RespError | readonly RespReply[]

export class RespError {
  readonly message: string

  constructor(message: string) {
    this.message = message
  }
}

/** The connection ended before the answer came: the command may or may not have been carried out. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
}

interface Waiting {
  readonly count: number
  readonly replies: RespReply[]
  readonly resolve: (replies: readonly RespReply[]) => void
  readonly reject: (error: Error) => void
}

export class RespClient {
  readonly #socket: Socket
  readonly #waiting: Waiting[] = []
  #received = ''
  #closed = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => this.#onData(text))
    socket.on('error', () => undefined)
    socket.on('close', () => this.#onClose())
  }

  /** Rejects with the system's error when nobody listens. */
  static connect(port: number): Promise<RespClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new RespClient(socket))
      })
    })
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /**
   * Sends all groups of commands in one write; each promise has the answers of its group, or rejects with
   * ConnectionLost.
   */
  send(groups: readonly (readonly (readonly string[])[])[]): readonly Promise<readonly RespReply[]>[] {
    const answers = groups.map((group) => this.#expect(group.length))
    if (this.#closed) this.#onClose()
    else this.#socket.write(groups.flat().map(encodeCommand).join(''), 'latin1')
    return answers
  }

  async ask(...words: readonly string[]): Promise<RespReply> {
    const [answer] = this.send([[words]])
    return (await answer)?.[0] ?? null
  }

  close(): void {
    this.#socket.destroy()
  }

  #expect(count: number): Promise<readonly RespReply[]> {
    const answer = new Promise<readonly RespReply[]>((resolve, reject) => {
      this.#waiting.push({ count, replies: [], resolve, reject })
    })
    // Whoever has given up on an answer no longer waits for it.
    answer.catch(() => undefined)
    return answer
  }

  #onData(text: string): void {
    this.#received += text
    let at = 0
    for (let next = parseReply(this.#received, at); next !== null; next = parseReply(this.#received, at)) {
      at = next.end
      const [waiting] = this.#waiting
      if (waiting === undefined) throw new Error(`an answer to nothing: ${JSON.stringify(next.reply)}`)
      waiting.replies.push(next.reply)
      if (waiting.replies.length < waiting.count) continue
      this.#waiting.shift()
      waiting.resolve(waiting.replies)
    }
    this.#received = this.#received.slice(at)
  }

  #onClose(): void {
    this.#closed = true
    for (const { reject } of this.#waiting.splice(0)) reject(new ConnectionLost('the server closed the connection'))
  }
}

function encodeCommand(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
}

/** Null: not all of it has arrived. */
function parseReply(text: string, at: number): { readonly reply: RespReply; readonly end: number } | null {
  const lineEnd = text.indexOf('\r\n', at)
  if (lineEnd === -1) return null
  const line = text.slice(at + 1, lineEnd)
  const end = lineEnd + 2
  switch (text[at]) {
    case '+':
      return { reply: line, end }
    case '-':
      return { reply: new RespError(line), end }
    case ':':
      return { reply: Number(line), end }
    case '$': {
      const length = Number(line)
      if (length === -1) return { reply: null, end }
      return text.length < end + length + 2 ? null : { reply: text.slice(end, end + length), end: end + length + 2 }
    }
    case '*':
      return Number(line) === -1 ? { reply: null, end } : parseArray(text, Number(line), end)
    default:
      throw new Error(`not an answer of RESP2: ${JSON.stringify(text.slice(at, at + 50))}`)
  }
}

function parseArray(text: string, count: number, start: number): ReturnType<typeof parseReply> {
  const replies: RespReply[] = []
  let end = start
  for (let left = count; left > 0; left -= 1) {
    const next = parseReply(text, end)
    if (next === null) return null
    replies.push(next.reply)
    end = next.end
  }
  return { reply: replies, end }
}
