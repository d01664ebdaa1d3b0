/**
 * The clients of this server: processes that are no members, and whom nobody believes anything (docs/client.md). Lets
 * them in as far as there is room, tells them who leads, and ends the greatest where they take too much memory
 * together.
 */

import { membersOf } from '../../core/configuration.js'
import type { RaftCore } from '../../core/raft-core.js'
import type { GuardedQueryCodec } from '../../machine/query-codec.js'
import type { GuardedCodec, GuardedMachine, GuardedResultCodec } from '../../machine/user-code.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type { Refusal } from '../../transport/refusal.js'
import type { ClientOpening } from '../../transport/transport.js'
import type { ClientHello } from '../../transport/wire/client-handshake.js'
import type { Configuration, Identity, ServerId } from '../../types.js'
import type { AnyServer } from '../forward/any-server.js'
import { Customer } from '../forward/serving.js'
import type { Serving } from '../forward/serving.js'
import type { Mailbox } from '../turn/mailbox.js'
import { encodeClientMessage } from './messages.js'
import { judgeOfClients } from '../forward/judging.js'
import { Seat } from './seat.js'
import type { SeatParts } from './seat.js'

/** What is kept for all clients together: commands that came in part, and answers that they have not read. */
export const CLIENTS_BYTES_MAX = 64 * 1024 * 1024

export interface ClientsParts {
  readonly core: RaftCore
  readonly mailbox: Mailbox
  readonly identity: Identity
  /** The name of the cluster. */
  readonly clusterName: string
  /** So many at a time; 0 for none. */
  readonly clientsMax: number
  readonly serving: Serving
  readonly any: AnyServer
  readonly codec: GuardedCodec<unknown>
  readonly machine: GuardedMachine<unknown, unknown, unknown, unknown>
  readonly resultCodec: GuardedResultCodec<unknown>
  readonly queryCodec: GuardedQueryCodec<unknown>
  readonly answerCodec: GuardedQueryCodec<unknown>
}

export class Clients {
  readonly #core: RaftCore
  readonly #identity: Identity
  readonly #clusterName: string
  readonly #clientsMax: number
  readonly #resultCodec: GuardedResultCodec<unknown>
  readonly #seatParts: SeatParts
  readonly #seats = new Set<Seat>()
  /** What was last told: who leads, and among whom. */
  #told: { readonly leader: ServerId | null; readonly configuration: Configuration } | null = null
  #news: readonly Uint8Array[] = []

  constructor(parts: ClientsParts) {
    const { core, mailbox, serving, any, codec, machine, queryCodec, answerCodec } = parts
    this.#core = core
    this.#identity = parts.identity
    this.#clusterName = parts.clusterName
    this.#clientsMax = parts.clientsMax
    this.#resultCodec = parts.resultCodec
    const leads = (): boolean => core.role === 'leader'
    const judge = judgeOfClients(codec)
    this.#seatParts = { serving, any, judge, machine, queryCodec, answerCodec, leads, moved: () => mailbox.schedule() }
  }

  get count(): number {
    return this.#seats.size
  }

  /** What they have asked and has no answer yet. */
  get due(): number {
    let due = 0
    for (const seat of this.#seats) due += seat.due
    return due
  }

  /** Null: this server takes none. */
  admit({ cluster, clusterId }: ClientHello): ClientOpening | Refusal | null {
    const [self, clientsMax, clusterName] = [this.#identity, this.#clientsMax, this.#clusterName]
    if (clientsMax === 0) return null
    if (cluster !== clusterName) {
      return mismatch(`server ${self.serverId} is of cluster ${clusterName}, and the client means ${cluster}`)
    }
    const isOfIt = clusterId === null || clusterId === self.clusterId
    if (!isOfIt && self.formerClusterIds?.includes(clusterId) !== true) {
      const itsOwn = `server ${self.serverId} belongs to cluster ${self.clusterId}`
      return mismatch(`${itsOwn}, and the client has talked to cluster ${clusterId}, of the same name`)
    }
    if (this.#seats.size < clientsMax) return (channel) => this.#seat(channel)
    const reason = `server ${self.serverId} has ${clientsMax} clients, which is the bound (option clients)`
    return { code: 'ERR_RAFT_OVERLOADED', reason: `${reason}: ask another server, or come again` }
  }

  /** At the end of a turn. */
  turned(): void {
    if (this.#seats.size === 0) return
    const isNews = this.#look()
    let heldBytes = 0
    for (const seat of [...this.#seats]) {
      if (isNews) for (const frame of this.#news) seat.send(frame)
      seat.flush()
      heldBytes += seat.heldBytes
    }
    if (heldBytes > CLIENTS_BYTES_MAX) this.#endGreatest(heldBytes)
  }

  close(reason: string): void {
    for (const seat of this.#seats) {
      seat.flush()
      seat.close(reason)
    }
    this.#seats.clear()
  }

  #seat(channel: Channel): ChannelHandlers {
    const left = (gone: Seat): void => void this.#seats.delete(gone)
    const seat = new Seat(
      this.#seatParts,
      channel,
      new Customer(channel, this.#resultCodec, this.#seatParts.judge),
      left,
    )
    // First: those that are told now are told once.
    if (this.#look()) for (const other of this.#seats) for (const frame of this.#news) other.send(frame)
    this.#seats.add(seat)
    for (const frame of this.#news) seat.send(frame)
    return seat
  }

  /** Whether there is anything to be told that was not. */
  #look(): boolean {
    const { leaderId, configuration } = this.#core
    if (this.#told?.leader === leaderId && this.#told.configuration === configuration) return false
    this.#told = { leader: leaderId, configuration }
    const { leader } = this.#core
    const addresses = membersOf(configuration).map((member) => member.address)
    this.#news = encodeClientMessage({ type: 'news', leader, addresses })
    return true
  }

  #endGreatest(heldBytes: number): void {
    const held = [...this.#seats].map((seat) => ({ seat, bytes: seat.heldBytes }))
    held.sort((a, b) => b.bytes - a.bytes)
    let left = heldBytes
    for (const { seat, bytes } of held) {
      if (left <= CLIENTS_BYTES_MAX) return
      left -= bytes
      this.#seats.delete(seat)
      seat.close(`clients hold more than ${CLIENTS_BYTES_MAX} bytes of this server, and this one most of it`)
    }
  }
}

function mismatch(what: string): Refusal {
  return { code: 'ERR_RAFT_CLUSTER_MISMATCH', reason: `${what}: correct the endpoints, or the option cluster` }
}
