/**
 * Puts the traces of real processes into one order that could have been: each server's events stay in their order, and a
 * message is received after it was sent. What the rules ask for holds in every such order or in none, but for what a read
 * must see, which is then asked of its own server alone.
 */

import { serverOf } from './trace-format.js'
import type { ServerEvent } from './trace-format.js'

/** The k-th receipt of equal messages waits for the k-th sending of them, or for the last: none may be lost twice. */
export function inOneOrder(events: readonly ServerEvent[]): readonly ServerEvent[] {
  const queues = new Map<string, ServerEvent[]>()
  const sends = new Map<string, number>()
  for (const event of events) {
    const id = serverOf(event)
    const queue = queues.get(id) ?? []
    queue.push(event)
    queues.set(id, queue)
    if (event.event === 'send') sends.set(keyOf(event), (sends.get(keyOf(event)) ?? 0) + 1)
  }
  return new Merge([...queues.values()], sends).run()
}

class Merge {
  readonly #queues: readonly (readonly ServerEvent[])[]
  readonly #sends: ReadonlyMap<string, number>
  readonly #positions: number[]
  readonly #sent = new Map<string, number>()
  readonly #received = new Map<string, number>()
  readonly #merged: ServerEvent[] = []

  constructor(queues: readonly (readonly ServerEvent[])[], sends: ReadonlyMap<string, number>) {
    this.#queues = queues
    this.#sends = sends
    this.#positions = queues.map(() => 0)
  }

  run(): readonly ServerEvent[] {
    for (;;) {
      const moved = this.#queues.map((_, at) => this.#advance(at, 'none')).some(Boolean)
      if (moved) continue
      // What nobody sent is let through, for the referee to blame; of what else waits, a message went back in time.
      if (this.#queues.some((_, at) => this.#advance(at, 'never sent'))) continue
      if (!this.#queues.some((_, at) => this.#advance(at, 'any'))) return this.#merged
    }
  }

  /** Takes what can be taken of one server. */
  #advance(at: number, forced: 'none' | 'never sent' | 'any'): boolean {
    const queue = this.#queues[at] ?? []
    let taken = 0
    for (;;) {
      const event = queue[this.#positions[at] ?? 0]
      if (event === undefined) return taken > 0
      const isForced = taken === 0 && (forced === 'any' || (forced === 'never sent' && this.#wasNeverSent(event)))
      if (!isForced && !this.#mayCome(event)) return taken > 0
      this.#take(event)
      this.#positions[at] = (this.#positions[at] ?? 0) + 1
      taken += 1
    }
  }

  #mayCome(event: ServerEvent): boolean {
    if (event.event !== 'receive') return true
    const key = keyOf(event)
    const needed = Math.min((this.#received.get(key) ?? 0) + 1, this.#sends.get(key) ?? Infinity)
    return (this.#sent.get(key) ?? 0) >= needed
  }

  #wasNeverSent(event: ServerEvent): boolean {
    return event.event === 'receive' && !this.#sends.has(keyOf(event))
  }

  #take(event: ServerEvent): void {
    this.#merged.push(event)
    if (event.event !== 'send' && event.event !== 'receive') return
    const counts = event.event === 'send' ? this.#sent : this.#received
    counts.set(keyOf(event), (counts.get(keyOf(event)) ?? 0) + 1)
  }
}

function keyOf(event: Extract<ServerEvent, { readonly event: 'send' | 'receive' }>): string {
  return `${event.from}>${event.to} ${JSON.stringify(event.message)}`
}
