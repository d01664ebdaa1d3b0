/** A client's socket without a network: the test says what comes, and when what was written has left. */

import type { ClientSocket, SocketListener } from 'balsa-kv/server/client/client-socket.js'

export class ScriptedSocket implements ClientSocket {
  readonly address = 'scripted:1'
  readonly localAddress = 'scripted:2'
  #listener: SocketListener | null = null
  #isGone = false
  /** What was written, one text per write. */
  readonly writes: string[] = []
  unsent = 0
  isPaused = false
  isHurried = false
  isEnded = false
  /** Why it was cut off; null: it was not. */
  cutOffReason: string | null = null

  open(listener: SocketListener): void {
    this.#listener = listener
  }

  write(out: string): void {
    this.writes.push(out)
    this.unsent += out.length
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  hurry(): void {
    this.isHurried = true
  }

  end(): void {
    this.isEnded = true
  }

  cutOff(reason: string): void {
    this.cutOffReason = reason
    this.#end(reason)
  }

  receive(text: string): void {
    const bytes = Buffer.from(text, 'latin1')
    this.#listener?.received(bytes)
    // They were the listener's only until now.
    bytes.fill('#')
  }

  /** All that was written has left. */
  drain(): void {
    this.unsent = 0
    this.#listener?.drained()
  }

  /** The client is gone. */
  close(): void {
    this.#end(null)
  }

  #end(reason: string | null): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#listener?.gone(reason)
  }
}
