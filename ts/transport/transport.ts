/**
 * The contract between a server and whatever carries its messages. Every implementation passes `transportConformance`
 * of `balsa-raft/testing`.
 *
 * Each server dials each peer and sends its requests on the connection it dialled; answers come back on the same one.
 * What must hold:
 * - Requests arrive in the order in which they were sent on a session, or the session ends. Never twice, never
 *   changed.
 * - A peer is up only after both sides have shaken hands and `admit` has resolved; nothing is delivered before.
 * - `send` and `respond` only queue; `flush` hands over everything queued with one write per connection.
 * - A queue over its bound ends that session. Garbage from a peer ends that connection with a reason; nothing else.
 * - A dial that the other side refuses with BOOT_UNPROVEN is made again at once, and only once until a session comes
 *   up: by then this server knows what it was to show.
 * - A connection that ends because one side needs it no more tells the other side why, if the other side can be told.
 * - After `close` resolves, no handler is called again and no timer or socket is left; sessions that were up have gone
 *   down.
 *
 * - A channel ends with what it was dialled with alone: sessions do not end with it, nor it with them. What waits on
 *   one does not hold up messages.
 *
 * `setPeers`, `send`, `respond`, `flush`, `reject`, `expel` and `close` may end a session, and then call `onPeerDown`
 * before they return. `setPeers` also ends the channels that were dialled to peers which are none any more, or have
 * another address; `expel` and `close` those of both directions; `onClosed` is called before they return.
 */

import type { RaftError } from '../errors.js'
import type { Request, Response } from '../core/messages.js'
import type { Clock, Identity, Introduction, Logger, Recipe, Server, ServerId } from '../types.js'
import type { Channel, ChannelHandlers } from './channel.js'
import type { ConnectionRefusal, Refusal } from './refusal.js'
import type { ClientHello } from './wire/client-handshake.js'

/** Counts the dials to one peer; a later session has a higher number. */
export type Session = number

/** Names the inbound connection a request came on, so that its answer finds the way back. Never reused. */
export type LinkId = number

/**
 * What the end of a connection says of the process at the other side.
 *
 * - `gone`: the connection was ended there without a word (reset, or closed by its system), as when a process dies.
 * - `goodbye`: the other side has said that it closes.
 * - `unclear`: nothing. This side has ended it, or the way is lost, or one side refuses the other.
 */
export type ConnectionEnd = 'gone' | 'goodbye' | 'unclear'

/** A question of who belongs to no cluster yet: fits, as a hello, into the head of a frame. */
export const QUESTION_BYTES_MAX = 3072

/** The answer to it: a first entry that fits into a fact, 64 recoveries and some names, as text. */
export const ANSWER_BYTES_MAX = 16 * 1024

/** Takes the channel of a client that is let in, on which frames may be sent at once. */
export type ClientOpening = (channel: Channel) => ChannelHandlers

/** What a transport tells its server; given to `start`. */
export interface TransportHandlers {
  /** What this server says of itself to that peer in the handshake. Asked anew for each connection: it changes. */
  introduce(peer: ServerId): Introduction
  /**
   * Called with what a peer says of itself in the handshake, on dialled and on accepted connections; on an accepted one
   * before this server is asked to introduce itself there, so that it can show what the peer wants to see. Resolves
   * when the peer may be talked to (and what must be durable about it is); rejects with a RaftError, which ends the
   * connection with its message as the reason.
   */
  admit(peer: Introduction): Promise<void>
  /** Blocks in `message` are views of memory that nobody writes again. */
  onRequest(from: ServerId, link: LinkId, message: Request): void
  /**
   * Part of a long request has arrived, and the rest is on its way: told now and then while it comes, so that a slow
   * link is not taken for a dead peer. A transport that cannot tell does not call it.
   */
  onArriving?(from: ServerId, link: LinkId): void
  /** An answer of a peer, over a session that is up. */
  onResponse(from: ServerId, session: Session, message: Response): void
  /** A dialled connection is ready for requests. */
  onPeerUp(peer: ServerId, session: Session): void
  /**
   * That session is over; nothing sent on it will be answered any more. Follows each onPeerUp exactly once, before the
   * next. A transport that cannot tell `end` leaves it out, as `unclear`.
   */
  onPeerDown(peer: ServerId, session: Session, reason: string, end?: ConnectionEnd): void
  /**
   * A connection that this server has accepted, and on which requests could come, is over. With how sessions end this
   * tells that a process is gone, so that nobody waits for it; a transport that cannot tell does not call it.
   */
  onLinkDown?(from: ServerId, link: LinkId, end: ConnectionEnd): void
  /**
   * One side refuses the other, and its connection ends (`isOfThePeer`). Not told of what the server has said itself:
   * `admit` that rejects, and `expel`. `peer` is whom this server dialled; on a connection that it accepted, who the
   * other side says that it is, which nobody may have checked. One who dialled this server by mistake is not told of
   * here, as that is refused there.
   */
  onRefused?(peer: ServerId, refusal: ConnectionRefusal): void
  /** A dial has come to nothing; another one follows. */
  onDialFailed?(peer: ServerId, reason: string): void
  /**
   * A peer that was admitted has opened a channel, on which frames may be sent at once. Null, or no such handler: it is
   * closed at once.
   */
  onChannel?(from: ServerId, channel: Channel): ChannelHandlers | null
  /**
   * A client asks to be served: a process that is no server, has no name, and is believed nothing. Why it is refused,
   * or who takes the channel on which it is served; null, or no such handler: this server takes no clients.
   */
  onClient?(client: ClientHello): ClientOpening | Refusal | null
  /**
   * Somebody who may belong to no cluster asks; at most QUESTION_BYTES_MAX. What is answered goes back, at most
   * ANSWER_BYTES_MAX, and the connection ends. Null, or no such handler: there is no answer.
   */
  onQuestion?(question: Uint8Array): Uint8Array | null
}

/** Bytes with one peer since it became one, over all connections; handshakes do not count. */
export interface Traffic {
  readonly sent: number
  readonly received: number
}

/**
 * Carries messages between servers. It may lose a connection, never a message within one, and keeps their order
 * (docs/transports.md).
 */
export interface Transport {
  /**
   * How another one like it is made, for a server whose transport is to run in a worker thread (docs/threads.md): then
   * this one is never started. Without it such a server is refused.
   */
  readonly recipe?: Recipe | undefined
  /**
   * What is wrong with an address at which a peer is to be dialled, with the remedy; null when nothing is. Without it
   * every text is taken.
   */
  addressFlaw?(address: string): string | null
  /**
   * Starts to accept. Resolves with the address to which it is bound; rejects with ERR_RAFT_LISTEN naming it, and then
   * has nothing open and may be started again. One that runs, or was closed, rejects with ERR_RAFT_OPTIONS.
   */
  start(self: Identity, handlers: TransportHandlers, clock: Clock, logger: Logger): Promise<string>
  /** Dials these peers, and keeps dialling with backoff; ends the sessions of all others. Does not include oneself. */
  setPeers(peers: readonly Server[]): void
  /** Queues a request. Dropped silently when that session is no longer the current one of that peer. */
  send(to: ServerId, session: Session, message: Request): void
  /** Queues an answer. Dropped silently when the link is gone. */
  respond(link: LinkId, message: Response): void
  /** Hands everything queued since the last flush to the connections: one write each. */
  flush(): void
  /** Ends one inbound connection because of what it sent; the reason is logged. Does nothing when the link is gone. */
  reject(link: LinkId, reason: string): void
  /**
   * Ends every connection with that peer, whoever dialled it: it is no longer what it was admitted as, and is told so
   * as when `admit` rejects. With `stays`: but for those on which it is that boot, or has not said who it is. Dialling
   * goes on. A transport without this leaves such a peer connected, where it counts for nothing, or as the newest boot.
   */
  expel?(peer: ServerId, error: RaftError, stays?: Identity): void
  /**
   * Dials a peer of `setPeers` for a channel, whatever other connections there are; resolves when both sides have
   * shaken hands and admitted each other, as for a session. Rejects with an Error that says why not, also when `close`,
   * `expel` or `setPeers` ends it, and within the bounds of a dial. At most CHANNELS_MAX with one peer, in each
   * direction: over that it rejects, and of those that a peer has dialled the oldest ends. No session comes up or goes
   * down with it, and `onRefused` and `onDialFailed` are not told of it. What the other side sends at once may come,
   * and so may its end, before whoever waits for the promise goes on. A transport without this gives nobody a snapshot.
   */
  openChannel?(to: ServerId, handlers: ChannelHandlers): Promise<Channel>
  /**
   * Puts a question to whoever listens at an address, on a connection of its own, before `start` as after it. Resolves
   * with the answer, which nobody has checked; rejects with an Error that says why there is none, within the bounds of
   * a dial, and when this transport closes. A transport without this joins no cluster by an address.
   */
  ask?(address: string, question: Uint8Array, clock: Clock): Promise<Uint8Array>
  /** By peer of `setPeers`; one that is none any more is forgotten. A transport without this counts no bytes. */
  traffic?(): ReadonlyMap<ServerId, Traffic>
  /** Also of a transport that was not started; a second call does nothing more. */
  close(): Promise<void>
}
