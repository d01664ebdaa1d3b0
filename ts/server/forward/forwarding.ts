/**
 * The rooms of what is called on one server and done by another, put together: `any` takes the calls that every server
 * takes, `forwards` asks the leader, `serving` is asked where this server leads, `clients` are asked by who is no
 * server, and two queues hold who waits.
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { LeaderHint } from '../../errors.js'
import type { GuardedQueryCodec } from '../../machine/query-codec.js'
import type { GuardedCodec, GuardedMachine, GuardedResultCodec } from '../../machine/user-code.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type { Refusal } from '../../transport/refusal.js'
import type { ClientOpening, Transport } from '../../transport/transport.js'
import type { ClientHello } from '../../transport/wire/client-handshake.js'
import type { Clock, Identity } from '../../types.js'
import type { ApplyQueue } from '../calls/apply-queue.js'
import { IndexQueue } from '../calls/index-queue.js'
import type { ReadQueue } from '../calls/read-queue.js'
import { Waiters } from '../calls/waiters.js'
import { Clients } from '../clients/clients.js'
import type { Life } from '../life.js'
import type { ErrorOf } from '../refusals.js'
import type { Mailbox } from '../turn/mailbox.js'
import { AnyServer } from './any-server.js'
import type { Local } from './any-server.js'
import { Forwards } from './forwards.js'
import { Serving } from './serving.js'

export interface ForwardingParts {
  readonly core: RaftCore
  readonly transport: Transport
  readonly codec: GuardedCodec<unknown>
  readonly resultCodec: GuardedResultCodec<unknown>
  readonly clock: Clock
  readonly life: Life
  readonly mailbox: Mailbox
  readonly proposals: ApplyQueue
  readonly reads: ReadQueue
  readonly electionTimeoutMs: number
  readonly random: () => number
  readonly local: () => Local
  readonly identity: Identity
  /** What is there for clients alone. */
  readonly clients: {
    readonly clusterName: string
    readonly clientsMax: number
    readonly machine: GuardedMachine<unknown, unknown, unknown, unknown>
    readonly queryCodec: GuardedQueryCodec<unknown>
    readonly answerCodec: GuardedQueryCodec<unknown>
  }
}

/** A leader that cannot be heard finds out, and steps down, within so many election timeouts. */
const PATIENCE_TIMEOUTS = 2

export class Forwarding {
  readonly any: AnyServer
  readonly #core: RaftCore
  readonly #forwards: Forwards
  readonly #serving: Serving
  readonly #clients: Clients
  readonly #leaders = new Waiters<LeaderHint>('a leader')
  readonly #indexes = new IndexQueue()

  constructor(parts: ForwardingParts) {
    this.#core = parts.core
    this.#forwards = new Forwards({ ...parts, patienceMs: parts.electionTimeoutMs * PATIENCE_TIMEOUTS })
    this.#serving = new Serving(parts)
    const rooms = { forwards: this.#forwards, leaders: this.#leaders, indexes: this.#indexes }
    this.any = new AnyServer({ ...parts, ...rooms })
    this.#clients = new Clients({ ...parts, ...parts.clients, serving: this.#serving, any: this.any })
  }

  get counts() {
    return {
      submitted: this.any.count,
      asked: this.any.asked,
      forwarded: this.#forwards.count,
      served: this.#serving.count,
      clientCalls: this.#clients.due,
      leaderWaits: this.#leaders.count,
      indexWaits: this.#indexes.count,
    }
  }

  /** A peer has opened a channel, and its first word was one of forwarding. */
  onChannel(channel: Channel): ChannelHandlers {
    return this.#serving.onChannel(channel)
  }

  /** A client asks to be let in; null: there is no room for clients at all. */
  onClient(client: ClientHello): ClientOpening | Refusal | null {
    return this.#clients.admit(client)
  }

  /** Before this server decides anything in a turn. */
  turn(now: number): void {
    this.#forwards.turn(now)
  }

  /** At the end of a turn. */
  turned(): void {
    const { appliedIndex } = this.#core.log
    this.#forwards.applied(appliedIndex)
    this.#indexes.applied(appliedIndex)
    const leader = this.#leaders.count === 0 ? null : this.#core.leader
    if (leader !== null) this.#leaders.settle(leader.id, leader)
    this.#serving.flush()
    this.#clients.turned()
  }

  /** Every call ends: this server does. Those of peers have ended by now. */
  close(reason: string, errorOf: ErrorOf): void {
    this.#serving.close(reason)
    this.#clients.close(reason)
    this.#forwards.close(reason, errorOf)
    this.#leaders.failAll(errorOf('not-applied'))
    this.#indexes.failAll(errorOf('not-applied'))
  }
}
