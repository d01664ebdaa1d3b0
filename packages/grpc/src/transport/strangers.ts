/**
 * Accepted connections that have not shaken hands, by age and by address: who makes room for the next one is found at a
 * constant cost.
 */

import type { Connection } from './connection.js'

/** Each set holds the oldest first. */
interface Ages {
  /** Those that have not said whose they are. */
  readonly silent: Set<Connection>
  /** Those that have, and are not admitted yet. */
  readonly named: Set<Connection>
}

const newAges = (): Ages => ({ silent: new Set(), named: new Set() })

export class Strangers {
  readonly #all = newAges()
  /** By address; none of one without connections. */
  readonly #ofHost = new Map<string, Ages>()

  get count(): number {
    return countOf(this.#all)
  }

  countOf(host: string): number {
    const ages = this.#ofHost.get(host)
    return ages === undefined ? 0 : countOf(ages)
  }

  add(connection: Connection): void {
    const ofHost = this.#ofHost.get(connection.remoteHost) ?? newAges()
    this.#ofHost.set(connection.remoteHost, ofHost)
    for (const { silent } of [this.#all, ofHost]) silent.add(connection)
  }

  /** It has said whose it is. */
  named(connection: Connection): void {
    for (const ages of [this.#all, this.#ofHost.get(connection.remoteHost)]) {
      if (ages?.silent.delete(connection) === true) ages.named.add(connection)
    }
  }

  delete(connection: Connection): void {
    const host = connection.remoteHost
    const ofHost = this.#ofHost.get(host)
    for (const ages of [this.#all, ofHost]) {
      ages?.silent.delete(connection)
      ages?.named.delete(connection)
    }
    if (ofHost !== undefined && countOf(ofHost) === 0) this.#ofHost.delete(host)
  }

  /** The oldest that has not said whose it is; when all have, the oldest of them. Of one address, or of all. */
  firstToGo(host: string | null = null): Connection | undefined {
    const ages = host === null ? this.#all : this.#ofHost.get(host)
    const [silent] = ages?.silent ?? []
    const [named] = ages?.named ?? []
    return silent ?? named
  }
}

const countOf = ({ silent, named }: Ages): number => silent.size + named.size
