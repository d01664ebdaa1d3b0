/**
 * One number for everything that was observed in a run: equal for equal seeds, in every process and on every machine.
 */

import type { Request, Response } from '../../core/messages.js'
import type { EntryRange } from '../../errors.js'
import type { LogIndex, ServerId } from '../../types.js'
import type { AppliedCommand, ServerView } from '../observer.js'
import { mixed } from './doubles/sim-machine.js'
import type { Operation, Returned, WorldObserver } from './world-observer.js'

export class RunHash implements WorldObserver {
  #hash = 0

  get value(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0')
  }

  booted(server: ServerView): void {
    this.#add(1, server.ordinal, server.boot)
  }

  crashed(server: ServerView): void {
    this.#add(2, server.ordinal, server.boot)
  }

  turned(server: ServerView, core: NonNullable<ServerView['core']>): void {
    this.#add(3, server.ordinal, core.term)
    this.#add(core.log.lastIndex, core.log.commitIndex, core.log.durableIndex)
  }

  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    this.#add(4, server.ordinal, to.charCodeAt(1))
    this.#add(
      message.type.length,
      'term' in message ? message.term : message.proposedTerm,
      'round' in message ? message.round : 0,
    )
  }

  delivered(from: ServerId, server: ServerView, message: Request | Response): void {
    this.#add(5, server.ordinal, from.charCodeAt(1) + message.type.length)
  }

  submitted(server: ServerView, ticket: number): void {
    this.#add(6, server.ordinal, ticket)
  }

  durable(server: ServerView, ticket: number): void {
    this.#add(7, server.ordinal, ticket)
  }

  applied(server: ServerView, _commands: readonly AppliedCommand[], last: LogIndex, hash: number): void {
    this.#add(8, server.ordinal, last)
    this.#add(hash, 0, 0)
  }

  invoked(operation: Operation): void {
    this.#add(9, operation.id, operation.key)
  }

  returned(operation: Operation, { status, index, value }: Returned): void {
    this.#add(10, operation.id, status.length)
    this.#add(index, value, 0)
  }

  repaired(server: ServerView, { first, last }: EntryRange): void {
    this.#add(13, server.ordinal, first)
    this.#add(last, 0, 0)
  }

  fault(kind: string, detail: string): void {
    this.#add(11, kind.length, detail.length)
  }

  recovered(server: ServerView): void {
    this.#add(12, server.ordinal, server.epoch)
  }

  #add(a: number, b: number, c: number): void {
    this.#hash = mixed(mixed(mixed(this.#hash, a), b), c)
  }
}
