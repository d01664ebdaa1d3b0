/**
 * One client of this server, from its first word to its end: what it asks is checked here, since it may be anybody, and
 * then done by whoever can: commands by this server where it leads, else by the leader, queries by this server.
 *
 * Invariants: what has come is answered once, unless the client has gone. A command reaches a log only when this server
 * could decode it. What a client may have unanswered is bounded; beyond that it is refused.
 */

import { RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import type { GuardedQueryCodec } from '../../machine/query-codec.js'
import type { GuardedMachine } from '../../machine/user-code.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type { AnyServer } from '../forward/any-server.js'
import { PartReader } from '../forward/messages.js'
import { asHeardAfar } from '../forward/serving.js'
import { refuseAll } from '../forward/judging.js'
import type { Judge } from '../forward/judging.js'
import type { Customer, Serving } from '../forward/serving.js'
import { overloaded } from '../refusals.js'
import { decodeClientMessage } from './messages.js'
import type { ClientMessage, ClientQuery } from './messages.js'

/** Queries of one client that have no answer yet; above that its queries are refused. */
export const QUERIES_SERVED_MAX = 1024

export interface SeatParts {
  readonly serving: Serving
  readonly any: AnyServer
  readonly judge: Judge
  readonly machine: GuardedMachine<unknown, unknown, unknown, unknown>
  readonly queryCodec: GuardedQueryCodec<unknown>
  readonly answerCodec: GuardedQueryCodec<unknown>
  readonly leads: () => boolean
  /** Asks for a turn, at whose end the answers leave. */
  readonly moved: () => void
}

type Commands = Extract<ClientMessage, { readonly type: 'commands' }>

export class Seat implements ChannelHandlers {
  readonly #parts: SeatParts
  readonly #channel: Channel
  readonly #customer: Customer
  readonly #reader = new PartReader(decodeClientMessage)
  readonly #left: (seat: Seat) => void
  #queriesDue = 0

  /** `left` is called once, when the client has gone by itself. */
  constructor(parts: SeatParts, channel: Channel, customer: Customer, left: (seat: Seat) => void) {
    this.#parts = parts
    this.#channel = channel
    this.#customer = customer
    this.#left = left
  }

  /** Commands and queries without an answer. */
  get due(): number {
    return this.#customer.commandsDue + this.#queriesDue
  }

  /** Bytes that are kept for it: what has come in part, and what it has not read. */
  get heldBytes(): number {
    return this.#reader.bytes + this.#channel.queuedBytes
  }

  onFrame(frame: Uint8Array): void {
    const message = this.#reader.read(frame)
    if (message === 'more') return
    if (message?.type === 'commands') this.#take(message)
    else if (message?.type === 'queries') this.#queries(message.firstId, message.asked)
    else return this.#refuse()
    this.#parts.moved()
  }

  onClosed(): void {
    this.#customer.isGone = true
    this.#left(this)
  }

  /** Everything that was answered since leaves. */
  flush(): void {
    this.#customer.flush()
  }

  send(frame: Uint8Array): void {
    this.#channel.send(frame)
  }

  close(reason: string): void {
    this.#customer.isGone = true
    this.#channel.close(reason)
  }

  #refuse(): void {
    this.close('what it asks makes no sense, or came damaged')
    this.#left(this)
  }

  // Hot path: once per message.
  #take(message: Commands): void {
    const { serving } = this.#parts
    const customer = this.#customer
    if (this.#parts.leads()) return serving.take(customer, message)
    const refusal = customer.refusal(message.commands.length)
    if (refusal !== null) return refuseAll(customer, message, refusal)
    serving.judging.judge(customer, message, ({ kind, firstId, commands }, refusals) => {
      for (const [at, command] of commands.entries()) {
        const error = refusals?.[at] ?? null
        if (error === null) void this.#relay(firstId + at, kind, command)
        else customer.failed(firstId + at, error)
      }
    })
  }

  /** To the leader, once: whether it is tried again, the client says. */
  async #relay(id: number, kind: Commands['kind'], command: Uint8Array): Promise<void> {
    const customer = this.#customer
    customer.commandsDue += 1
    try {
      const bytes = Uint8Array.prototype.slice.call(command)
      const { index, term, result } = await this.#parts.any.propose({ kind, bytes, retry: false }, undefined)
      customer.applied(id, index, term, result)
    } catch (error) {
      if (!(error instanceof RaftError)) throw error
      customer.failed(id, asHeardAfar(error, error.outcome))
    }
    customer.commandsDue -= 1
    this.#parts.moved()
  }

  #queries(firstId: number, queries: readonly ClientQuery[]): void {
    for (const [at, query] of queries.entries()) {
      const refusal = this.#queriesDue < QUERIES_SERVED_MAX ? this.#customer.refusal(0) : tooManyQueries()
      if (refusal === null) void this.#query(firstId + at, query)
      else this.#customer.failed(firstId + at, refusal)
    }
  }

  async #query(id: number, query: ClientQuery): Promise<void> {
    this.#queriesDue += 1
    try {
      this.#customer.answered(id, await this.#answerTo(query))
    } catch (error) {
      const told = error instanceof RaftError ? asHeardAfar(error, 'not-applied') : queryFailed(error)
      this.#customer.failed(id, told)
    }
    this.#queriesDue -= 1
    this.#parts.moved()
  }

  async #answerTo({ bytes, consistency, timeoutMs }: ClientQuery): Promise<Uint8Array> {
    const { machine, any, queryCodec, answerCodec } = this.#parts
    if (!machine.hasQuery) {
      throw new RaftError('ERR_RAFT_OPTIONS', 'the state machine of the servers has no query function')
    }
    const query = queryCodec.decode(Uint8Array.prototype.slice.call(bytes))
    const wait = timeoutMs === null ? {} : { timeoutMs }
    return answerCodec.encode(await any.query(() => machine.query(query), { consistency, ...wait }))
  }
}

function tooManyQueries(): RaftError {
  return overloaded(`${QUERIES_SERVED_MAX} queries of this client have no answer yet, which is the bound`)
}

/** What a query throws cannot travel as it is. */
function queryFailed(thrown: unknown): RaftError {
  return new RaftError('ERR_RAFT_QUERY_FAILED', `the state machine's query failed: ${textOf(thrown)}`)
}
