/**
 * The channels of one transport: those that it has dialled, and those that peers have. Invariant: of each at most
 * CHANNELS_MAX with one peer are open.
 */

import {
  type Channel,
  type ChannelFrame,
  type ChannelHandlers,
  CHANNELS_MAX,
  type Identity,
  peerChanged,
  type Ping,
  type Refusal,
  type Server,
  type ServerId,
  takesNoChannels,
  tooManyChannels,
} from 'balsa-raft/transport'
import { ChannelDial } from './channel-dial.js'
import type { Connection } from './connection.js'
import type { DiallerContext } from './dialler.js'
import { GrpcChannel } from './grpc-channel.js'

export class Channels {
  readonly #dials = new Set<ChannelDial>()
  /** Accepted ones whose peer is known; null until hands are shaken. Those that are open stand in their order. */
  readonly #accepted = new Map<Connection, GrpcChannel | null>()

  get count(): number {
    return this.#dials.size + this.#accepted.size
  }

  /** Dials that peer. Rejects with an Error that says why not. */
  open(peer: Server, handlers: ChannelHandlers, context: DiallerContext): Promise<Channel> {
    return new Promise((resolve, reject) => {
      const failed = (reason: string): void => reject(noChannel(peer.id, reason))
      const open = [...this.#dials].filter((dial) => dial.peer.id === peer.id).length
      if (open >= CHANNELS_MAX) return failed(tooManyChannels(context.self.serverId, peer.id))
      const ended = (): void => {
        this.#dials.delete(dial)
      }
      const dial = new ChannelDial(peer, handlers, context, { opened: resolve, failed, ended })
      this.#dials.add(dial)
      dial.dial()
    })
  }

  setPeers(self: ServerId, wanted: ReadonlyMap<ServerId, Server>): void {
    for (const dial of [...this.#dials]) {
      const { id, address } = dial.peer
      const wantedAt = wanted.get(id)?.address
      if (wantedAt !== address) dial.stop(peerChanged(self, id, wantedAt))
    }
  }

  expel(peer: ServerId, refusal: Refusal, stays: Identity | null): void {
    for (const dial of [...this.#dials]) if (dial.peer.id === peer) dial.expel(refusal, stays)
    for (const connection of [...this.#accepted.keys()]) {
      if (connection.peer?.serverId === peer) connection.expel(refusal, stays)
    }
  }

  /** A peer that has dialled for a channel is asked about. */
  named(connection: Connection): void {
    this.#accepted.set(connection, null)
  }

  /** Hands are shaken with a peer that has dialled for a channel. */
  opened(connection: Connection, from: ServerId, context: DiallerContext): void {
    const { self, handlers, logger } = context
    const open = [...this.#accepted].filter(([one, its]) => its !== null && one.peer?.serverId === from)
    if (open.length >= CHANNELS_MAX) {
      const reason = tooManyChannels(from, self.serverId)
      open[0]?.[0].end(reason, { code: 'REPLACED', reason })
    }
    this.#accepted.delete(connection)
    const channel = new GrpcChannel(connection, context)
    this.#accepted.set(connection, channel)
    logger.info('transport.channel-up', { peer: from, link: connection.link, remote: connection.remote })
    const taken = handlers.onChannel?.(from, channel) ?? null
    if (taken === null) channel.close(takesNoChannels(self.serverId))
    else channel.open(taken)
  }

  receivedFrame(connection: Connection, frame: ChannelFrame | Ping): void {
    this.#accepted.get(connection)?.take(frame)
  }

  /** Of an accepted one. */
  ended(connection: Connection, reason: string): void {
    const channel = this.#accepted.get(connection)
    this.#accepted.delete(connection)
    channel?.ended(reason)
  }
}

export const noChannel = (to: ServerId, reason: string): Error => new Error(`no channel to ${to}: ${reason}`)
