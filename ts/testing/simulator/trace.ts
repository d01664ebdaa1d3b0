/**
 * Tells a run as JSON lines, one for each call of an observer, with the simulated time. Equal for equal seeds, byte for
 * byte.
 */

import type { Request, Response } from '../../core/messages.js'
import type { RaftCore } from '../../core/raft-core.js'
import type { EntryRange } from '../../errors.js'
import type { Block, LogIndex, ServerId, StoreOperation } from '../../types.js'
import type { AppliedCommand, DurableView, ServerView } from '../observer.js'
import type { Operation, Returned, WorldObserver } from './world-observer.js'

const CRC_BYTES = 4

export class Trace implements WorldObserver {
  readonly #write: (line: string) => void
  readonly #now: () => number

  constructor(now: () => number, write: (line: string) => void) {
    this.#now = now
    this.#write = write
  }

  booted(server: ServerView): void {
    const { hardState, lastIndex } = server.disk.durable
    this.#line('booted', { server: server.id, boot: server.boot, ...hardState, lastIndex })
  }

  turned(server: ServerView, core: RaftCore): void {
    const { term, role, votedFor, log } = core
    const { lastIndex, durableIndex, commitIndex, appliedIndex } = log
    this.#line('turned', {
      server: server.id,
      role,
      term,
      votedFor,
      lastIndex,
      durableIndex,
      commitIndex,
      appliedIndex,
    })
  }

  crashed(server: ServerView, how: string): void {
    this.#line('crashed', { server: server.id, boot: server.boot, how })
  }

  forgot(server: ServerView): void {
    this.#line('forgot', { server: server.id })
  }

  renewed(server: ServerView): void {
    this.#line('renewed', { server: server.id })
  }

  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    this.#line('sent', { from: server.id, to, message: plain(message) })
  }

  delivered(from: ServerId, server: ServerView, message: Request | Response): void {
    this.#line('delivered', { from, to: server.id, message: plain(message) })
  }

  submitted(server: ServerView, ticket: number, operations: readonly StoreOperation[]): void {
    this.#line('submitted', { server: server.id, ticket, operations: operations.map(plainOperation) })
  }

  durable(server: ServerView, ticket: number): void {
    this.#line('durable', { server: server.id, ticket })
  }

  applied(server: ServerView, commands: readonly AppliedCommand[], last: LogIndex, hash: number): void {
    this.#line('applied', { server: server.id, last, commands: commands.map(({ id }) => id), hash })
  }

  invoked(operation: Operation): void {
    const { signal, ...rest } = operation
    this.#line('invoked', { ...rest, signal: signal === null ? null : signal.aborted ? 'aborted' : 'armed' })
  }

  returned({ id, client, server }: Operation, returned: Returned): void {
    this.#line('returned', { id, client, server, ...returned })
  }

  repaired(server: ServerView, range: EntryRange): void {
    this.#line('repaired', { server: server.id, ...range })
  }

  fault(kind: string, detail: string): void {
    this.#line('fault', { kind, detail })
  }

  recovered(server: ServerView, { lastIndex, hardState }: DurableView): void {
    this.#line('recovered', { server: server.id, epoch: server.epoch, ...hardState, lastIndex })
  }

  healed(core: readonly ServerId[]): void {
    this.#line('healed', { core })
  }

  #line(event: string, fields: Readonly<Record<string, unknown>>): void {
    this.#write(JSON.stringify({ at: Math.round(this.#now() * 1000) / 1000, event, ...fields }))
  }
}

function plain(message: Request | Response): object {
  return message.type === 'AppendEntries' ? { ...message, blocks: message.blocks.map(plainBlock) } : message
}

function plainOperation(operation: StoreOperation): object {
  if (operation.type === 'append') return { type: 'append', block: plainBlock(operation.block) }
  return operation.type === 'put' ? { type: 'put', key: operation.key } : operation
}

/** A block by its place and its own checksum. */
function plainBlock({ first, last, term, data }: Block): object {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  return {
    first,
    last,
    term,
    crc: view
      .getUint32(data.byteLength - CRC_BYTES, true)
      .toString(16)
      .padStart(8, '0'),
  }
}
