/** Several observers as one: each call goes to those that listen to it, in their order. */

import type { Input, RaftCore, Ready, Request, Response } from '../core/index.js'
import type { LogIndex, ServerId, SnapshotMeta, StoreOperation } from '../types.js'
import type { AppliedCommand, Observer, ServerView } from './observer.js'

// Hot path: once per event. Written out, so that every call has a fixed name and a short list.
export class Observers implements Required<Observer> {
  readonly #booted: readonly Listening<Observer, 'booted'>[]
  readonly #stepped: readonly Listening<Observer, 'stepped'>[]
  readonly #decided: readonly Listening<Observer, 'decided'>[]
  readonly #turned: readonly Listening<Observer, 'turned'>[]
  readonly #crashed: readonly Listening<Observer, 'crashed'>[]
  readonly #forgot: readonly Listening<Observer, 'forgot'>[]
  readonly #renewed: readonly Listening<Observer, 'renewed'>[]
  readonly #cloned: readonly Listening<Observer, 'cloned'>[]
  readonly #sent: readonly Listening<Observer, 'sent'>[]
  readonly #delivered: readonly Listening<Observer, 'delivered'>[]
  readonly #submitted: readonly Listening<Observer, 'submitted'>[]
  readonly #durable: readonly Listening<Observer, 'durable'>[]
  readonly #applied: readonly Listening<Observer, 'applied'>[]
  readonly #restored: readonly Listening<Observer, 'restored'>[]

  constructor(all: readonly Observer[]) {
    this.#booted = listening(all, 'booted')
    this.#stepped = listening(all, 'stepped')
    this.#decided = listening(all, 'decided')
    this.#turned = listening(all, 'turned')
    this.#crashed = listening(all, 'crashed')
    this.#forgot = listening(all, 'forgot')
    this.#renewed = listening(all, 'renewed')
    this.#cloned = listening(all, 'cloned')
    this.#sent = listening(all, 'sent')
    this.#delivered = listening(all, 'delivered')
    this.#submitted = listening(all, 'submitted')
    this.#durable = listening(all, 'durable')
    this.#applied = listening(all, 'applied')
    this.#restored = listening(all, 'restored')
  }

  booted(server: ServerView): void {
    for (const observer of this.#booted) observer.booted(server)
  }

  stepped(server: ServerView, core: RaftCore, input: Input): void {
    for (const observer of this.#stepped) observer.stepped(server, core, input)
  }

  decided(server: ServerView, core: RaftCore, ready: Ready): void {
    for (const observer of this.#decided) observer.decided(server, core, ready)
  }

  turned(server: ServerView, core: RaftCore): void {
    for (const observer of this.#turned) observer.turned(server, core)
  }

  crashed(server: ServerView, how: string): void {
    for (const observer of this.#crashed) observer.crashed(server, how)
  }

  forgot(server: ServerView): void {
    for (const observer of this.#forgot) observer.forgot(server)
  }

  renewed(server: ServerView): void {
    for (const observer of this.#renewed) observer.renewed(server)
  }

  cloned(server: ServerView): void {
    for (const observer of this.#cloned) observer.cloned(server)
  }

  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    for (const observer of this.#sent) observer.sent(server, to, message)
  }

  delivered(from: ServerId, server: ServerView, message: Request | Response): void {
    for (const observer of this.#delivered) observer.delivered(from, server, message)
  }

  submitted(server: ServerView, ticket: number, operations: readonly StoreOperation[]): void {
    for (const observer of this.#submitted) observer.submitted(server, ticket, operations)
  }

  durable(server: ServerView, ticket: number): void {
    for (const observer of this.#durable) observer.durable(server, ticket)
  }

  applied(server: ServerView, commands: readonly AppliedCommand[], last: LogIndex, hash: number): void {
    for (const observer of this.#applied) observer.applied(server, commands, last, hash)
  }

  restored(server: ServerView, snapshot: SnapshotMeta, hash: number): void {
    for (const observer of this.#restored) observer.restored(server, snapshot, hash)
  }
}

/** An observer that has this method. */
export type Listening<Any, Name extends keyof Any> = Any & { readonly [Key in Name]-?: NonNullable<Any[Key]> }

export function listening<Any, Name extends keyof Any>(
  all: readonly Any[],
  name: Name,
): readonly Listening<Any, Name>[] {
  return all.filter((observer): observer is Listening<Any, Name> => observer[name] !== undefined)
}
