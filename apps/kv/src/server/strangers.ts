/**
 * Clients that have not said who they are. Each must within `STRANGER_MS_MAX`; and when every place for a client is
 * taken, the one that has waited longest gives way to whoever comes: those that cannot come in keep nobody out.
 */

import { STRANGER_MS_MAX } from '../limits.js'
import type { KvClock } from './clock.js'

export interface Stranger {
  readonly session: { readonly login: object | null }
  cutOff(reason: string): void
}

export class Strangers<Client extends Stranger> {
  readonly #clock: Pick<KvClock, 'now' | 'setTimer'>
  /** By age, with the time at which each must have come in. Those that have are still here until they are looked at. */
  readonly #deadlines = new Map<Client, number>()
  #cancel: (() => void) | null = null

  constructor(clock: Pick<KvClock, 'now' | 'setTimer'>) {
    this.#clock = clock
  }

  add(client: Client): void {
    if (client.session.login !== null) return
    this.#deadlines.set(client, this.#clock.now() + STRANGER_MS_MAX)
    this.#watch()
  }

  /** The client is gone. */
  delete(client: Client): void {
    if (this.#deadlines.delete(client) && this.#deadlines.size === 0) this.close()
  }

  /** The oldest gives way. False: there is none. */
  giveWay(): boolean {
    const oldest = this.#oldest()
    oldest?.cutOff('every place for a client is taken, and it has not said who it is')
    return oldest !== undefined
  }

  close(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  #oldest(): Client | undefined {
    for (const client of this.#deadlines.keys()) {
      if (client.session.login === null) return client
      this.#deadlines.delete(client)
    }
    return undefined
  }

  #watch(): void {
    if (this.#cancel !== null) return
    const now = this.#clock.now()
    for (let oldest = this.#oldest(); oldest !== undefined; oldest = this.#oldest()) {
      const leftMs = (this.#deadlines.get(oldest) ?? 0) - now
      if (leftMs > 0) {
        this.#cancel = this.#clock.setTimer(leftMs, () => {
          this.#cancel = null
          this.#watch()
        })
        return
      }
      this.#deadlines.delete(oldest)
      oldest.cutOff(`it has not said who it is (AUTH) within ${STRANGER_MS_MAX} ms`)
    }
  }
}
