/** Everything that is going to happen in a world, in one order: by time, and at the same time by who was first. */

import { assert } from '../../errors.js'

export interface Happening {
  happen(): void
}

export class QueuedEvent {
  readonly at: number
  readonly sequence: number
  /** Null once it has happened or was cancelled. */
  happening: Happening | null

  constructor(at: number, sequence: number, happening: Happening) {
    this.at = at
    this.sequence = sequence
    this.happening = happening
  }

  cancel(): void {
    this.happening = null
  }
}

class Call implements Happening {
  readonly #run: () => void

  constructor(run: () => void) {
    this.#run = run
  }

  happen(): void {
    this.#run()
  }
}

/** Events that may wait; a world that comes here produces them faster than it consumes them. */
const EVENTS_MAX = 1_000_000

export class EventQueue {
  /** Simulated milliseconds since the world began. */
  now = 0
  /** A binary heap: the parent of i is at (i - 1) >> 1. */
  readonly #heap: QueuedEvent[] = []
  #sequence = 0

  get length(): number {
    return this.#heap.length
  }

  add(at: number, happening: Happening): QueuedEvent {
    assert(this.#heap.length < EVENTS_MAX, () => `${EVENTS_MAX} events wait in one world`)
    assert(at >= this.now, () => `an event at ${at}, now is ${this.now}`)
    const event = new QueuedEvent(at, ++this.#sequence, happening)
    this.#rise(event)
    return event
  }

  call(at: number, run: () => void): QueuedEvent {
    return this.add(at, new Call(run))
  }

  after(delayMs: number, run: () => void): QueuedEvent {
    return this.add(this.now + delayMs, new Call(run))
  }

  /** Hot path: once per event. Moves the time to the next event and returns it; null when nothing waits. */
  next(): Happening | null {
    for (;;) {
      const event = this.#pop()
      if (event === undefined) return null
      const { happening } = event
      if (happening === null) continue
      event.happening = null
      this.now = event.at
      return happening
    }
  }

  #rise(event: QueuedEvent): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parentAt = (at - 1) >> 1
      const parent = heap[parentAt]
      if (parent === undefined || isBefore(parent, event)) break
      heap[at] = parent
      at = parentAt
    }
    heap[at] = event
  }

  #pop(): QueuedEvent | undefined {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return top
    const size = heap.length
    let at = 0
    for (;;) {
      let childAt = at * 2 + 1
      if (childAt >= size) break
      let child = heap[childAt]
      const right = heap[childAt + 1]
      if (child !== undefined && right !== undefined && isBefore(right, child)) {
        childAt += 1
        child = right
      }
      if (child === undefined || isBefore(last, child)) break
      heap[at] = child
      at = childAt
    }
    heap[at] = last
    return top
  }
}

function isBefore(a: QueuedEvent, b: QueuedEvent): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence)
}
