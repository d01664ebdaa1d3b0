/**
 * Puts the traces of real processes into one order that could have been: each server's events stay in their order, and
 * a message is received after it was sent. Equal messages cannot be told apart, so the first sending serves for all:
 * the network may repeat. What the rules ask for holds in every such order or in none, but for what a read must see,
 * which is then asked of its own server alone.
 */

import { serverOf } from './trace-format.js'
import type { ServerEvent } from './trace-format.js'

export function inOneOrder(events: readonly ServerEvent[]): readonly ServerEvent[] {
  const queues = new Map<string, ServerEvent[]>()
  const everSent = new Set<string>()
  for (const event of events) {
    const id = serverOf(event)
    const queue = queues.get(id) ?? []
    queue.push(event)
    queues.set(id, queue)
    if (event.event === 'send') everSent.add(keyOf(event))
  }
  return merge([...queues.values()], everSent)
}

function merge(queues: readonly (readonly ServerEvent[])[], everSent: ReadonlySet<string>): readonly ServerEvent[] {
  const positions = queues.map(() => 0)
  const sent = new Set<string>()
  const merged: ServerEvent[] = []
  /** Takes one event of one server, if it may come now. */
  const take = (at: number, mayCome: (event: ServerEvent) => boolean): boolean => {
    const event = queues[at]?.[positions[at] ?? 0]
    if (event === undefined || !mayCome(event)) return false
    if (event.event === 'send') sent.add(keyOf(event))
    positions[at] = (positions[at] ?? 0) + 1
    merged.push(event)
    return true
  }
  const takeAll = (at: number): boolean => {
    let taken = 0
    while (take(at, (event) => event.event !== 'receive' || sent.has(keyOf(event)))) taken += 1
    return taken > 0
  }
  const takeOne = (mayCome: (event: ServerEvent) => boolean): boolean => queues.some((_, at) => take(at, mayCome))
  for (;;) {
    if (queues.map((_, at) => takeAll(at)).some(Boolean)) continue
    // What nobody sent is let through, for the referee to blame; of what else waits, something went back in time.
    if (takeOne((event) => event.event === 'receive' && !everSent.has(keyOf(event)))) continue
    if (!takeOne(() => true)) return merged
  }
}

function keyOf(event: Extract<ServerEvent, { readonly event: 'send' | 'receive' }>): string {
  return `${event.from}>${event.to} ${JSON.stringify(event.message)}`
}
