/**
 * Puts the traces of real processes into one order that could have been: each server's events stay in their order, a
 * message is received after it was sent, and a snapshot is installed after it was made. Equal messages cannot be told
 * apart, so the first sending serves for all: the network may repeat. What the rules ask for holds in every such order
 * or in none, but for what a read must see, which is then asked of its own server alone.
 */

import { serverOf } from './trace-format.js'
import type { ServerEvent } from './trace-format.js'

export function inOneOrder(events: readonly ServerEvent[]): readonly ServerEvent[] {
  const queues = new Map<string, ServerEvent[]>()
  const everThere = new Set<string>()
  for (const event of events) {
    const id = serverOf(event)
    const queue = queues.get(id) ?? []
    queue.push(event)
    queues.set(id, queue)
    for (const key of broughtBy(event)) everThere.add(key)
  }
  return merge([...queues.values()], everThere)
}

function merge(queues: readonly (readonly ServerEvent[])[], everThere: ReadonlySet<string>): readonly ServerEvent[] {
  const positions = queues.map(() => 0)
  const there = new Set<string>()
  const merged: ServerEvent[] = []
  /** Takes one event of one server, if it may come now. */
  const take = (at: number, mayCome: (event: ServerEvent) => boolean): boolean => {
    const event = queues[at]?.[positions[at] ?? 0]
    if (event === undefined || !mayCome(event)) return false
    for (const key of broughtBy(event)) there.add(key)
    positions[at] = (positions[at] ?? 0) + 1
    merged.push(event)
    return true
  }
  const takeAll = (at: number): boolean => {
    let taken = 0
    while (take(at, (event) => neededBy(event).every((key) => there.has(key)))) taken += 1
    return taken > 0
  }
  const takeOne = (mayCome: (event: ServerEvent) => boolean): boolean => queues.some((_, at) => take(at, mayCome))
  for (;;) {
    if (queues.map((_, at) => takeAll(at)).some(Boolean)) continue
    // What nobody sent or made is let through, for the referee to blame; of what else waits, something went back in
    // time.
    if (takeOne((event) => neededBy(event).some((key) => !everThere.has(key)))) continue
    if (!takeOne(() => true)) return merged
  }
}

/** What others may take in from then on. */
function broughtBy(event: ServerEvent): readonly string[] {
  if (event.event === 'send') return [keyOf(event)]
  if (event.event === 'boot') return event.snapshot === null ? [] : [event.snapshot.id]
  if (event.event !== 'write') return []
  return event.steps.flatMap((step) => (step.step === 'compact' ? [step.snapshot.id] : []))
}

function neededBy(event: ServerEvent): readonly string[] {
  if (event.event === 'receive') return [keyOf(event)]
  if (event.event !== 'write') return []
  return event.steps.flatMap((step) => (step.step === 'install' ? [step.snapshot.id] : []))
}

function keyOf(event: Extract<ServerEvent, { readonly event: 'send' | 'receive' }>): string {
  return `${event.from}>${event.to} ${JSON.stringify(event.message)}`
}
