/**
 * One end of what two threads say to each other: asks with their answers, and news. Whatever is said in one turn leaves
 * in one message, in its order.
 *
 * Invariants: every ask is answered once, or ends with the line. Nothing is written into memory that was given away.
 */

import { RaftError } from '../../errors.js'
import type { Transferable } from 'node:worker_threads'
import type { ErrorWire, WireError } from './wire-error.js'

/** What one thread may say to the other: asks, each with its argument and its answer, and news. */
export interface Vocabulary {
  readonly asks: Readonly<Record<string, { readonly arg: unknown; readonly answer: unknown }>>
  readonly news: Readonly<Record<string, unknown>>
}

/** `id`: that of the ask, by which it may be called off. */
export type AskHandlers<Words extends Vocabulary> = {
  readonly [Name in keyof Words['asks']]: (
    arg: Words['asks'][Name]['arg'],
    id: number,
  ) => Words['asks'][Name]['answer'] | Promise<Words['asks'][Name]['answer']>
}

export type NewsHandlers<Words extends Vocabulary> = {
  readonly [Name in keyof Words['news']]: (news: Words['news'][Name]) => void
}

type Item =
  | readonly ['ask', id: number, name: string, arg: unknown]
  | readonly ['answer', id: number, value: unknown]
  | readonly ['failed', id: number, error: WireError]
  | readonly ['news', name: string, news: unknown]

/** What one message says. */
export type Said = readonly Item[]

/** What an end is put on. */
export interface Port {
  postMessage(message: unknown, transfer: readonly Transferable[]): void
}

const NOTHING: readonly Transferable[] = []

interface Waiting {
  readonly name: string
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
}

/** An ask that is on its way, and by which number it is called off. */
export interface Asked<Answer> {
  readonly id: number
  readonly answer: Promise<Answer>
}

export class Line<Out extends Vocabulary, In extends Vocabulary> {
  readonly #port: Port
  readonly #errors: ErrorWire
  readonly #defer: (callback: () => void) => void
  #asked: Partial<AskHandlers<In>> = {}
  #told: Partial<NewsHandlers<In>> = {}
  readonly #waiting = new Map<number, Waiting>()
  #items: Item[] = []
  #transfer: Transferable[] = []
  #isDue = false
  #lastId = 0
  /** Why nothing is said any more; null while it is. */
  #ended: ((name: string) => RaftError) | null = null
  /** Called before what was collected leaves: the last moment to add to it. */
  beforeLeaving: () => void = () => {}

  /** `defer` runs a callback at the end of the turn. */
  constructor(port: Port, errors: ErrorWire, defer: (callback: () => void) => void) {
    this.#port = port
    this.#errors = errors
    this.#defer = defer
  }

  /** Answers these asks and hears this news from now on, besides those before. */
  serve(asked: Partial<AskHandlers<In>>, told: Partial<NewsHandlers<In>>): void {
    this.#asked = { ...this.#asked, ...asked }
    this.#told = { ...this.#told, ...told }
  }

  /** Asks without an answer. */
  get count(): number {
    return this.#waiting.size
  }

  /** Never given out again. */
  newId(): number {
    this.#lastId += 1
    return this.#lastId
  }

  ask<Name extends keyof Out['asks'] & string>(
    name: Name,
    arg: Out['asks'][Name]['arg'],
    transfer: readonly Transferable[] = NOTHING,
  ): Asked<Out['asks'][Name]['answer']> {
    const id = this.newId()
    const answer = new Promise<Out['asks'][Name]['answer']>((resolve, reject) => {
      if (this.#ended !== null) reject(this.#ended(name))
      else this.#waiting.set(id, { name, resolve, reject })
    })
    this.#say(['ask', id, name, arg], transfer)
    return { id, answer }
  }

  tell<Name extends keyof Out['news'] & string>(
    name: Name,
    news: Out['news'][Name],
    transfer: readonly Transferable[] = NOTHING,
  ): void {
    this.#say(['news', name, news], transfer)
  }

  /** There is something to say that `beforeLeaving` adds. */
  due(): void {
    if (this.#isDue || this.#ended !== null) return
    this.#isDue = true
    this.#defer(() => {
      if (this.#isDue) this.flush()
    })
  }

  /** What was said so far leaves now. */
  flush(): void {
    if (this.#ended !== null) return
    // What is added now leaves as well.
    this.#isDue = true
    this.beforeLeaving()
    this.#isDue = false
    if (this.#items.length === 0) return
    const [items, transfer] = [this.#items, this.#transfer]
    this.#items = []
    this.#transfer = []
    this.#port.postMessage(items, transfer)
  }

  /** A message of the other end. */
  // Hot path: once per message.
  hear(items: Said): void {
    for (const item of items) {
      if (this.#ended !== null) return
      this.#hearOne(item)
    }
  }

  /** Nothing is said or heard any more: what waits ends with this. */
  end(errorOf: (name: string) => RaftError): void {
    if (this.#ended !== null) return
    this.#ended = errorOf
    this.#items = []
    this.#transfer = []
    for (const { name, reject } of this.#waiting.values()) reject(errorOf(name))
    this.#waiting.clear()
  }

  #hearOne(item: Item): void {
    switch (item[0]) {
      case 'ask':
        return this.#answer(item[1], item[2], item[3])
      case 'answer': {
        const waiting = this.#waiting.get(item[1])
        this.#waiting.delete(item[1])
        return waiting?.resolve(item[2] as never)
      }
      case 'failed': {
        const waiting = this.#waiting.get(item[1])
        this.#waiting.delete(item[1])
        return waiting?.reject(this.#errors.decode(item[2]))
      }
      case 'news':
        return (this.#told[item[1]] as (news: unknown) => void)(item[2])
    }
  }

  #answer(id: number, name: string, arg: unknown): void {
    const handler = this.#asked[name] as (arg: unknown, id: number) => unknown
    try {
      const answer = handler(arg, id)
      if (answer instanceof Promise) {
        answer.then(
          (value) => this.#say(['answer', id, value]),
          (error: unknown) => this.#failed(id, error),
        )
      } else this.#say(['answer', id, answer])
    } catch (error) {
      this.#failed(id, error)
    }
  }

  #failed(id: number, error: unknown): void {
    if (error instanceof RaftError) return this.#say(['failed', id, this.#errors.encode(error)])
    // A defect of ours is not told as an error about the world.
    queueMicrotask(() => {
      throw error
    })
  }

  #say(item: Item, transfer: readonly Transferable[] = NOTHING): void {
    if (this.#ended !== null) return
    this.#items.push(item)
    for (const given of transfer) this.#transfer.push(given)
    this.due()
  }
}

/** A copy in memory of its own, which may be given away: what is posted takes all of its memory along. */
export function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes)
}
