/**
 * Facts of a server of another thread, looked at without a promise: that thread waits for nobody, so it answers within
 * a turn, and this one waits for so long.
 *
 * Invariant: a look never waits longer than LOOK_MS_MAX, and those after it not at all until it was answered; what was
 * seen last is the answer then, and once the other thread has ended.
 */

import { receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { FactName, FarFacts, WorkerData } from './words.js'
import type { ErrorWire } from './wire-error.js'

/** A thread that gets no processor for so long is not waited for. */
const LOOK_MS_MAX = 1000

/** What is asked. */
export interface Look {
  readonly look: number
  readonly name: FactName
}

interface Seen {
  readonly look: number
  readonly value: unknown
}

export class Glance {
  readonly #facts: MessagePort
  readonly #looks: Int32Array
  readonly #errors: ErrorWire
  readonly #ask: (look: Look) => void
  readonly #defer: (callback: () => void) => void
  #last = 0
  /** By name, as it was seen last. */
  readonly #seen: Partial<Record<FactName, unknown>> = {}
  /** What was seen in this turn, and is true until anything has come or gone. */
  readonly #fresh = new Set<FactName>()
  #isOver = false

  /** `ask` sends a look to the other thread, behind everything that was said before; `defer` ends a turn. */
  constructor(
    { facts, looks }: WorkerData,
    errors: ErrorWire,
    ask: (look: Look) => void,
    defer: (callback: () => void) => void,
  ) {
    this.#facts = facts
    this.#looks = looks
    this.#errors = errors
    this.#ask = ask
    this.#defer = defer
  }

  /** Undefined only where nothing was ever seen. */
  look(name: FactName): unknown {
    if (!this.#isOver && !this.#fresh.has(name)) this.#lookNow(name)
    return this.#seen[name]
  }

  /** Something has come from the other thread, or went there, or a turn is over. */
  stale(): void {
    this.#fresh.clear()
  }

  /** As they are once nothing changes them any more. */
  learn(facts: FarFacts): void {
    for (const [name, value] of Object.entries(facts)) this.#seen[name as FactName] = this.#errors.decodeIn(value)
  }

  /** The other thread has ended, or is about to. */
  end(): void {
    this.#isOver = true
    this.#facts.close()
  }

  #lookNow(name: FactName): void {
    // A thread that was waited for in vain is waited for again when it has answered.
    if (Atomics.load(this.#looks, 0) < this.#last) return
    this.#last += 1
    const look = this.#last
    this.#ask({ look, name })
    for (let seen = Atomics.load(this.#looks, 0); seen < look; seen = Atomics.load(this.#looks, 0)) {
      if (Atomics.wait(this.#looks, 0, seen, LOOK_MS_MAX) === 'timed-out') return
    }
    for (;;) {
      const received = receiveMessageOnPort(this.#facts)
      if (received === undefined) return
      // An earlier one may have come too late.
      if (received.message.look !== look) continue
      this.#seen[name] = this.#errors.decodeIn(received.message.value)
      if (this.#fresh.size === 0) this.#defer(() => this.stale())
      this.#fresh.add(name)
      return
    }
  }
}

/** The other end: answers a look, once what came before it was seen to. */
export function answerLook(facts: MessagePort, looks: Int32Array, seen: Seen): void {
  facts.postMessage(seen, [])
  Atomics.store(looks, 0, seen.look)
  Atomics.notify(looks, 0)
}
