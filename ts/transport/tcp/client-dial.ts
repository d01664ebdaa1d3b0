/**
 * A client's end of one connection: dials a server, introduces itself as a client, and has a channel until it ends.
 */

import { assert } from '../../errors.js'
import {
  type Channel,
  type ChannelFrame,
  type ChannelHandlers,
  type ClientHello,
  type ClientWelcome,
  type Clock,
  type Identity,
  type Ping,
  type Refusal,
} from '../index.js'
import { parseAddress } from './address.js'
import { Connection, type ConnectionContext, type ConnectionOwner } from './connection.js'
import type { Credentials } from './credentials.js'
import type { Material } from './material.js'
import { tcpSettings, type TcpOptions } from './options.js'
import { emptyStats } from './stats.js'
import { TcpChannel } from './tcp-channel.js'

export { Credentials } from './credentials.js'

/** What becomes of a dial: `opened` or `failed`, once, and never before it has been answered. */
export interface ClientDialling {
  /** What comes by the channel is for what this answers with. */
  opened(channel: Channel, welcome: ClientWelcome): ChannelHandlers
  /** `refusal`: why one side will not talk to the other; null when nobody has said anything. */
  failed(reason: string, refusal: { readonly by: 'self' | 'peer'; readonly code: string } | null): void
}

/** A dial that was begun. */
export interface ClientDial {
  /** Ends it, or the channel that has come of it. Does nothing the second time. */
  stop(reason: string): void
  /** The socket is gone. */
  readonly gone: Promise<void>
}

type Bounds = Required<Pick<TcpOptions, 'dialTimeoutMs' | 'handshakeTimeoutMs'>> & {
  /** Null: nothing is encrypted. Loaded before the first dial. */
  readonly credentials: Credentials | null
}

/** Dials servers as a client, within the bounds that `tcp` has for a dial. */
export class TcpClientDialler {
  readonly #context: ConnectionContext
  readonly #dials = new Set<Dial>()

  constructor(clock: Clock, { dialTimeoutMs, handshakeTimeoutMs, credentials }: Bounds) {
    this.#context = {
      ...{ self: NO_SERVER, address: '', clock, stats: emptyStats() },
      settings: { ...tcpSettings({ listen: '', dialTimeoutMs, handshakeTimeoutMs }), credentials },
      trafficOf: () => ({ sent: 0, received: 0 }),
    }
  }

  /** Invariant: the address has no flaw. */
  dial(address: string, hello: Omit<ClientHello, 'type'>, dialling: ClientDialling): ClientDial {
    const dial = new Dial(address, hello, dialling, this.#context)
    this.#dials.add(dial)
    void dial.gone.then(() => this.#dials.delete(dial))
    return dial
  }

  /** Ends the connections that would not be made with what has been loaded since. */
  judge(): void {
    const { credentials } = this.#context.settings
    if (credentials !== null) for (const dial of this.#dials) dial.judge(credentials.material)
  }
}

/** What is wrong with an address at which a server is to be dialled, or null. */
export function clientAddressFlaw(address: unknown): string | null {
  const parsed = typeof address === 'string' ? parseAddress(address) : null
  return parsed !== null && parsed.port > 0 ? null : 'it must be host:port, such as 10.0.0.1:7600 or [::1]:7600'
}

/** Of the context of a connection that is dialled as a client, which shows no identity and reads none. */
const NO_SERVER: Identity = { clusterId: '', serverId: '', incarnation: '', bootCounter: 0, bootNonce: '' }

class Dial implements ClientDial, ConnectionOwner {
  readonly gone: Promise<void>
  readonly #context: ConnectionContext
  readonly #dialling: ClientDialling
  readonly #connection: Connection
  #channel: TcpChannel | null = null
  #refusal: { readonly by: 'self' | 'peer'; readonly code: string } | null = null
  #isStopped = false
  #isGone: () => void = () => {}

  constructor(address: string, hello: Omit<ClientHello, 'type'>, dialling: ClientDialling, context: ConnectionContext) {
    const parsed = parseAddress(address)
    assert(parsed !== null, `a client dials ${address}`)
    this.#context = context
    this.#dialling = dialling
    this.gone = new Promise((resolve) => {
      this.#isGone = resolve
    })
    this.#connection = Connection.dialAsClient(parsed, hello, context, this)
  }

  stop(reason: string): void {
    this.#isStopped = true
    this.#connection.leave(reason)
  }

  judge(material: Material): void {
    this.#connection.judgeAgain(material)
  }

  welcomed(connection: Connection, welcome: ClientWelcome): void {
    const channel = new TcpChannel(connection, this.#context)
    this.#channel = channel
    channel.open(this.#dialling.opened(channel, welcome))
  }

  receivedFrame(_connection: Connection, frame: ChannelFrame | Ping): void {
    this.#channel?.take(frame)
  }

  refused(_connection: Connection, by: 'self' | 'peer', { code }: Refusal): void {
    this.#refusal = { by, code }
  }

  ended(_connection: Connection, reason: string): void {
    if (this.#channel !== null) this.#channel.ended(reason)
    else if (!this.#isStopped) this.#dialling.failed(reason, this.#refusal)
  }

  closed(): void {
    this.#isGone()
  }

  introduce(): never {
    assert(false, 'a client has no introduction')
  }

  admit(): never {
    assert(false, 'a client admits nobody')
  }

  opened(): void {
    assert(false, 'a client has no peer')
  }

  received(): void {
    assert(false, 'a message passed the connection of a client')
  }
}
