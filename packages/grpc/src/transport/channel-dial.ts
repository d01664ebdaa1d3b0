/** Dials one peer for one channel, and has it until it ends. */

import {
  BOOT_UNPROVEN,
  type Channel,
  type ChannelFrame,
  type ChannelHandlers,
  type Identity,
  type Introduction,
  type Ping,
  type Refusal,
  type Server,
  type ServerId,
} from 'balsa-raft/transport'
import { messageOf } from '../options.js'
import { Connection, type ConnectionOwner } from './connection.js'
import type { DiallerContext } from './dialler.js'
import { GrpcChannel } from './grpc-channel.js'

/** What becomes of the dial: one of the first two, once; `ended` once, before `failed` or the end of the channel. */
export interface ChannelOpening {
  opened(channel: Channel): void
  failed(reason: string): void
  ended(): void
}

export class ChannelDial implements ConnectionOwner {
  readonly peer: Server
  readonly #context: DiallerContext
  readonly #handlers: ChannelHandlers
  readonly #opening: ChannelOpening
  #connection: Connection | null = null
  #channel: GrpcChannel | null = null
  /** The peer has asked for a boot, and is dialled again at once to be shown it: once. */
  #hasShownBoot = false
  #isAskedForBoot = false

  constructor(peer: Server, handlers: ChannelHandlers, context: DiallerContext, opening: ChannelOpening) {
    this.peer = peer
    this.#handlers = handlers
    this.#context = context
    this.#opening = opening
  }

  dial(): void {
    const { id, address } = this.peer
    try {
      this.#connection = Connection.dial(address, id, 'channel', this.#context, this)
    } catch (error) {
      this.#opening.ended()
      return this.#opening.failed(messageOf(error))
    }
    this.#context.track(this.#connection)
  }

  stop(reason: string): void {
    this.#connection?.leave(reason)
  }

  expel(refusal: Refusal, stays: Identity | null): void {
    this.#connection?.expel(refusal, stays)
  }

  introduce(peer: ServerId): Introduction {
    return this.#context.handlers.introduce(peer)
  }

  admit(peer: Introduction): Promise<void> {
    return this.#context.handlers.admit(peer)
  }

  opened(connection: Connection): void {
    this.#channel = new GrpcChannel(connection, this.#context)
    this.#channel.open(this.#handlers)
    this.#context.logger.info('transport.channel-up', { peer: this.peer.id, address: this.peer.address })
    this.#opening.opened(this.#channel)
  }

  received(): never {
    throw new Error(`a message passed the channel to ${this.peer.id}`)
  }

  receivedFrame(_connection: Connection, frame: ChannelFrame | Ping): void {
    this.#channel?.take(frame)
  }

  refused(_connection: Connection, by: 'self' | 'peer', { code }: Refusal): void {
    if (by === 'peer' && code === BOOT_UNPROVEN && !this.#hasShownBoot) this.#isAskedForBoot = true
  }

  ended(_connection: Connection, reason: string): void {
    this.#connection = null
    if (this.#channel === null && this.#isAskedForBoot) {
      this.#isAskedForBoot = false
      this.#hasShownBoot = true
      return this.dial()
    }
    this.#opening.ended()
    if (this.#channel === null) return this.#opening.failed(reason)
    this.#context.logger.info('transport.channel-down', { peer: this.peer.id, address: this.peer.address, reason })
    this.#channel.ended(reason)
  }

  closed(connection: Connection): void {
    this.#context.untrack(connection)
  }
}
