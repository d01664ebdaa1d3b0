/**
 * Keeps a client connected to one server: dials endpoint after endpoint, pauses when all have failed, moves on where a
 * better one is known, and remembers why those that failed did.
 *
 * Invariants: at most one link is used and one dial under way; a link that is left is used for nothing new, and ends
 * once it is idle, or after LEAVING_MS_MAX.
 */

import { RaftError } from '../errors.js'
import type { RaftErrorCode } from '../errors.js'
import type { Channel } from '../transport/channel.js'
import { QuietLog } from '../transport/quiet-log.js'
import type { ClientDial, ClientDialling } from '../transport/tcp/client-dial.js'
import type { ClientHello, ClientWelcome } from '../transport/wire/client-handshake.js'
import { FEATURES } from '../transport/wire/features.js'
import { PROTOCOL } from '../transport/wire/handshake.js'
import type { CancelTimer, Clock, Logger } from '../types.js'
import { Link } from './link.js'
import type { Asked } from './link.js'

/** A server that knows no leader for so long is left for another one. */
export const LEADERLESS_MS_MAX = 2000
/** From one link that was left to the next: two servers may each take the other one for the leader. */
export const LEAVING_EVERY_MS = 100
/** Answers of a server that was left are waited for so long. */
export const LEAVING_MS_MAX = 10_000

/** Dials servers as a client, over TCP or, in a test, over whatever it likes. */
export interface ClientDialler {
  dial(address: string, hello: Omit<ClientHello, 'type'>, dialling: ClientDialling): ClientDial
  /** Ends what would not be connected now. */
  judge?(): void
}

export interface ConnectorParts {
  readonly endpoints: readonly string[]
  readonly cluster: string
  readonly prefersLeader: boolean
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  readonly dialler: ClientDialler
  readonly clock: Clock
  readonly random: () => number
  readonly logger: Logger
  /** Another link is used now, or none, or there is news on it: a turn is needed. */
  readonly moved: () => void
  /** All endpoints have failed. `isFinal`: each has refused this client, so that time alone does not help. */
  readonly failed: (error: RaftError, isFinal: boolean) => void
}

interface Failure {
  readonly reason: string
  /** Of one that will not talk to this client at all; null where that may pass. */
  readonly code: RaftErrorCode | null
}

export class Connector {
  readonly #parts: ConnectorParts
  readonly #clock: Clock
  readonly #quiet: QuietLog
  /** What is used now; null while nobody is connected. */
  #link: Link | null = null
  /** Left, and not idle. */
  readonly #leaving = new Map<Link, CancelTimer>()
  /** By address: how the last dial of it ended, if not well. */
  readonly #failures = new Map<string, Failure>()
  #clusterId: string | null = null
  /** Where the members were when the last link ended. */
  #told: readonly string[] = []
  /** The dial that is under way; null while none is. */
  #underWay: ClientDial | null = null
  /** Sockets that are there. */
  readonly #sockets = new Set<Promise<void>>()
  #at: number
  /** Dials that have failed since one was connected. */
  #failed = 0
  #cancelTimer: CancelTimer = () => {}
  /** Of the link of now: since when its server knows no leader, and which leader was not reached. */
  #leaderlessSince = Infinity
  #vain: string | null = null
  #isToRenew = false
  /** When a link was left last. */
  #leftAt = -Infinity
  #isClosed = false

  constructor(parts: ConnectorParts) {
    this.#parts = parts
    this.#clock = parts.clock
    this.#quiet = new QuietLog(parts.logger)
    this.#at = Math.floor(parts.random() * parts.endpoints.length)
  }

  get link(): Link | null {
    return this.#link
  }

  /** Links on which something may be answered. */
  get links(): readonly Link[] {
    return this.#link === null ? [...this.#leaving.keys()] : [this.#link, ...this.#leaving.keys()]
  }

  get failures(): ReadonlyMap<string, Failure> {
    return this.#failures
  }

  /** Why nobody is connected. */
  get unreachable(): RaftError {
    const each = [...this.#failures].map(([address, { reason }]) => `${address}: ${reason}`)
    const why = each.length === 0 ? 'none has answered yet' : each.join('; ')
    return new RaftError('ERR_RAFT_UNREACHABLE', `no server is connected: ${why}`, { retryable: true })
  }

  start(): void {
    this.#dialNext()
  }

  /** Hot path: once per turn. */
  turn(now: number): void {
    for (const link of this.#leaving.keys()) if (link.isIdle) this.#end(link)
    const link = this.#link
    if (link === null || this.#underWay !== null) return
    this.#leaderlessSince = link.leader === null ? Math.min(this.#leaderlessSince, now) : Infinity
    const target = this.#parts.prefersLeader ? (link.leader?.address ?? null) : null
    if (target !== null && target !== link.address && target !== this.#vain) {
      const waitMs = this.#leftAt + LEAVING_EVERY_MS - now
      return waitMs > 0 ? this.#later(waitMs) : this.#dial(target)
    }
    if (link.leader !== null) return
    if (now - this.#leaderlessSince >= LEADERLESS_MS_MAX && this.#addresses.length > 1) return this.#dialNext()
    this.#later(LEADERLESS_MS_MAX)
  }

  /** Goes on with another connection to the same server; what is under way on that of now is answered there. */
  renew(): void {
    // What is under way began before.
    this.#isToRenew = this.#underWay !== null
    if (this.#link !== null && this.#underWay === null) this.#dial(this.#link.address)
  }

  /** Whether it was to be done once the dial that was under way is over; it is begun. */
  #renewed(): boolean {
    const isDue = this.#isToRenew && this.#link !== null
    this.#isToRenew = false
    if (isDue) this.renew()
    return isDue
  }

  /** Resolves when no socket is left. What has no outcome ends with one of those errors. */
  async close(reason: string, errorOf: (kind: Asked['kind']) => RaftError): Promise<void> {
    this.#isClosed = true
    this.#cancelTimer()
    this.#underWay?.stop(reason)
    for (const link of this.links) link.close(reason, errorOf)
    for (const link of this.#leaving.keys()) this.#forget(link)
    this.#link = null
    await Promise.all(this.#sockets)
  }

  /** Those that were given, and then those that the last server has told. */
  get #addresses(): readonly string[] {
    const { endpoints } = this.#parts
    return [...new Set([...endpoints, ...(this.#link?.addresses ?? this.#told)])]
  }

  /** In turns, but that of now. */
  #dialNext(): void {
    const addresses = this.#addresses
    this.#at += 1
    if (addresses[this.#at % addresses.length] === this.#link?.address) this.#at += 1
    this.#dial(addresses[this.#at % addresses.length] as string)
  }

  #dial(address: string): void {
    if (this.#isClosed) return
    this.#cancelTimer()
    const { cluster, dialler } = this.#parts
    const hello = {
      protocol: PROTOCOL,
      features: FEATURES,
      requires: ['goodbye' as const],
      cluster,
      clusterId: this.#clusterId,
    }
    const dial = dialler.dial(address, hello, {
      opened: (channel, welcome) => this.#opened(address, channel, welcome),
      failed: (reason, refusal) => this.#dialFailed(address, reason, refusal),
    })
    this.#underWay = dial
    this.#sockets.add(dial.gone)
    void dial.gone.then(() => this.#sockets.delete(dial.gone))
  }

  #opened(address: string, channel: Channel, { serverId, clusterId }: ClientWelcome): Link {
    const { moved, logger } = this.#parts
    const ended = (reason: string): void => this.#ended(link, reason)
    const link: Link = new Link({ address, serverId, channel, moved, ended })
    this.#underWay = null
    this.#clusterId = clusterId
    this.#failed = 0
    this.#failures.clear()
    this.#leaderlessSince = Infinity
    this.#vain = null
    const before = this.#link
    this.#link = link
    if (before !== null) this.#leave(before)
    this.#quiet.forget('client.not-connected', address)
    logger.info('client.connected', { server: serverId, address })
    this.#renewed()
    moved()
    return link
  }

  #leave(link: Link): void {
    this.#leftAt = this.#clock.now()
    this.#leaving.set(
      link,
      this.#clock.setTimer(LEAVING_MS_MAX, () => this.#end(link)),
    )
  }

  #end(link: Link): void {
    if (this.#forget(link)) link.close('another server is asked')
  }

  /** Whether it was one that was left. */
  #forget(link: Link): boolean {
    this.#leaving.get(link)?.()
    return this.#leaving.delete(link)
  }

  #ended(link: Link, reason: string): void {
    this.#forget(link)
    this.#parts.moved()
    if (this.#link !== link) return
    this.#told = link.addresses
    this.#link = null
    this.#failures.set(link.address, { reason, code: null })
    this.#parts.logger.warn('client.disconnected', { server: link.serverId, address: link.address, reason })
    // Not all clients of a server that is gone at the same instant.
    if (this.#underWay === null) this.#later(this.#parts.random() * this.#parts.backoffMinMs)
  }

  #dialFailed(address: string, reason: string, refusal: { readonly by: string; readonly code: string } | null): void {
    const { backoffMinMs, backoffMaxMs, random, moved, failed } = this.#parts
    const failure = failureOf(reason, refusal)
    this.#underWay = null
    this.#failures.set(address, failure)
    this.#quiet.warn('client.not-connected', address, failure.reason, { address })
    if (this.#renewed()) return
    if (this.#link !== null) {
      if (address === this.#link.leader?.address) this.#vain = address
      this.#leaderlessSince = Infinity
      return moved()
    }
    this.#failed += 1
    const { length } = this.#addresses
    if (this.#failed % length !== 0) return this.#dialNext()
    const rounds = this.#failed / length
    failed(
      this.#failureOfAll(),
      [...this.#failures.values()].every(({ code }) => code !== null),
    )
    this.#later(Math.min(backoffMinMs * 2 ** (rounds - 1), backoffMaxMs) * (0.5 + random() / 2))
  }

  /** Of one code, if all have the same. */
  #failureOfAll(): RaftError {
    const codes = new Set([...this.#failures.values()].map(({ code }) => code))
    const [code = null] = codes
    if (codes.has(null) || code === null) return this.unreachable
    return new RaftError(codes.size === 1 ? code : 'ERR_RAFT_CLIENT_REFUSED', this.unreachable.message)
  }

  #later(delayMs: number): void {
    this.#cancelTimer()
    if (this.#isClosed) return
    this.#cancelTimer = this.#clock.setTimer(delayMs, () => {
      if (this.#link === null) this.#dialNext()
      else this.#parts.moved()
    })
  }
}

/** What a refusal means for who is refused: in words that say what helps. */
function failureOf(reason: string, refusal: { readonly by: string; readonly code: string } | null): Failure {
  switch (refusal?.code) {
    case 'ERR_RAFT_CLIENT_REFUSED':
    case 'ERR_RAFT_UNAUTHENTICATED':
    case 'ERR_RAFT_CLUSTER_MISMATCH':
      return { reason, code: refusal.code }
    case 'PROTOCOL':
    case 'UNKNOWN_FEATURE':
      return { reason, code: 'ERR_RAFT_CLIENT_REFUSED' }
    case 'MALFORMED': {
      const what =
        refusal.by === 'self' ? 'no server of Balsa listens there' : 'that server is of a version that takes no clients'
      return {
        reason: `${what} (${reason}): correct the endpoint, or upgrade the server`,
        code: 'ERR_RAFT_CLIENT_REFUSED',
      }
    }
    default:
      return { reason, code: null }
  }
}
