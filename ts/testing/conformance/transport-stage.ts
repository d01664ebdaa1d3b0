/** What the cases of the transport conformance suite play on. */

import type { Transport } from '../../transport/transport.js'
import type { CancelTimer, Clock, ServerId } from '../../types.js'
import { until } from './case.js'
import { heartbeat, Site } from './site.js'
import type { identityOf } from './site.js'

/** Made for one case, closed after it. */
export interface TransportWorld {
  readonly clock: Clock
  /** A transport for that server; a second one for the same server comes in the place of the first. */
  transport(id: ServerId): Transport
  /** That server has started and is bound there. */
  bound(id: ServerId, address: string): void
  /** Where `from` dials `to`, whether `to` listens or not. */
  address(from: ServerId, to: ServerId): Promise<string>
  /** Rejects when something of the world is still open: every transport has been closed before. */
  close(): Promise<void>
}

export type Body = (stage: Stage) => Promise<void>
export type Add = (name: string, body: Body, needs?: 'cut' | 'stall') => void

/** A clock that knows how often somebody has waited by it. */
export class WatchedClock implements Clock {
  /** Timers with a delay that were set, and those of them that have fired. */
  asked = 0
  waits = 0
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  wallNow(): number {
    return this.#clock.wallNow()
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    if (delayMs > 0) this.asked += 1
    return this.#clock.setTimer(delayMs, () => {
      if (delayMs > 0) this.waits += 1
      callback()
    })
  }

  defer(callback: () => void): void {
    this.#clock.defer(callback)
  }
}

interface StageParts {
  readonly world: TransportWorld
  readonly writeQueueBytesMax: number
  readonly waitMs: number
  readonly cut: (from: ServerId, to: ServerId) => void
  readonly stall: (from: ServerId, to: ServerId) => void
}

/** What a case plays on: sites in a world. */
export class Stage {
  readonly #parts: StageParts
  readonly #sites: Site[] = []

  constructor(parts: StageParts) {
    this.#parts = parts
  }

  get writeQueueBytesMax(): number {
    return this.#parts.writeQueueBytesMax
  }

  get clock(): Clock {
    return this.#parts.world.clock
  }

  async site(
    id: ServerId,
    identity: Parameters<typeof identityOf>[1] = {},
    clock: Clock = this.#parts.world.clock,
  ): Promise<Site> {
    const { world, waitMs } = this.#parts
    const site = new Site(id, world.transport(id), waitMs)
    this.#sites.push(site)
    world.bound(id, await site.start(clock, identity))
    return site
  }

  /** Not started. */
  transport(id: ServerId): Transport {
    return this.#parts.world.transport(id)
  }

  address(from: ServerId, to: ServerId): Promise<string> {
    return this.#parts.world.address(from, to)
  }

  async dial(from: Site, ...to: readonly ServerId[]): Promise<void> {
    const peers = to.map(async (id) => ({ id, address: await this.address(from.id, id) }))
    from.transport.setPeers(await Promise.all(peers))
  }

  cut(from: ServerId, to: ServerId): void {
    this.#parts.cut(from, to)
  }

  stall(from: ServerId, to: ServerId): void {
    this.#parts.stall(from, to)
  }

  until(what: string, holds: () => boolean): Promise<void> {
    return until(what, this.#parts.waitMs, holds)
  }

  /** `a` with a session to `b`. */
  async pair(): Promise<{ readonly a: Site; readonly b: Site; readonly session: number }> {
    const a = await this.site('a')
    const b = await this.site('b')
    await this.dial(a, 'b')
    return { a, b, session: await a.up('b') }
  }

  /** When this resolves, whatever was already on its way between two servers has had the time to arrive. */
  async someWhile(): Promise<void> {
    const left = await this.site('left')
    const right = await this.site('right')
    await this.dial(left, 'right')
    const session = await left.up('right')
    for (let round = 1; round <= 20; round++) {
      left.ask('right', session, heartbeat(round))
      await this.until(`round ${round} has come`, () => right.requests.length === round)
    }
    await Promise.all([left.transport.close(), right.transport.close()])
  }

  async close(): Promise<void> {
    for (const site of this.#sites) await site.transport.close()
    await this.#parts.world.close()
  }
}
