/** All observers of a world as one: each call goes to those that listen to it, in their order. */

import type { Request, Response } from '../../core/messages.js'
import type { RaftCore } from '../../core/raft-core.js'
import type { Input, Ready } from '../../core/ready.js'
import type { LogIndex, ServerId, StoreOperation } from '../../types.js'
import type { AppliedCommand, Observer, Operation, Returned, ServerView } from './observer.js'

type Listening<Name extends keyof Observer> = Observer & { readonly [Key in Name]-?: NonNullable<Observer[Key]> }

// Hot path: once per event. Written out, so that every call has a fixed name and a short list.
export class Observers implements Required<Observer> {
  readonly #booted: readonly Listening<'booted'>[]
  readonly #stepped: readonly Listening<'stepped'>[]
  readonly #decided: readonly Listening<'decided'>[]
  readonly #turned: readonly Listening<'turned'>[]
  readonly #crashed: readonly Listening<'crashed'>[]
  readonly #wiped: readonly Listening<'wiped'>[]
  readonly #sent: readonly Listening<'sent'>[]
  readonly #delivered: readonly Listening<'delivered'>[]
  readonly #submitted: readonly Listening<'submitted'>[]
  readonly #durable: readonly Listening<'durable'>[]
  readonly #applied: readonly Listening<'applied'>[]
  readonly #invoked: readonly Listening<'invoked'>[]
  readonly #returned: readonly Listening<'returned'>[]
  readonly #fault: readonly Listening<'fault'>[]
  readonly #healed: readonly Listening<'healed'>[]

  constructor(all: readonly Observer[]) {
    this.#booted = listening(all, 'booted')
    this.#stepped = listening(all, 'stepped')
    this.#decided = listening(all, 'decided')
    this.#turned = listening(all, 'turned')
    this.#crashed = listening(all, 'crashed')
    this.#wiped = listening(all, 'wiped')
    this.#sent = listening(all, 'sent')
    this.#delivered = listening(all, 'delivered')
    this.#submitted = listening(all, 'submitted')
    this.#durable = listening(all, 'durable')
    this.#applied = listening(all, 'applied')
    this.#invoked = listening(all, 'invoked')
    this.#returned = listening(all, 'returned')
    this.#fault = listening(all, 'fault')
    this.#healed = listening(all, 'healed')
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

  wiped(server: ServerView): void {
    for (const observer of this.#wiped) observer.wiped(server)
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

  invoked(operation: Operation): void {
    for (const observer of this.#invoked) observer.invoked(operation)
  }

  returned(operation: Operation, returned: Returned): void {
    for (const observer of this.#returned) observer.returned(operation, returned)
  }

  fault(kind: string, detail: string): void {
    for (const observer of this.#fault) observer.fault(kind, detail)
  }

  healed(core: readonly ServerId[]): void {
    for (const observer of this.#healed) observer.healed(core)
  }
}

function listening<Name extends keyof Observer>(all: readonly Observer[], name: Name): readonly Listening<Name>[] {
  return all.filter((observer): observer is Listening<Name> => observer[name] !== undefined)
}
