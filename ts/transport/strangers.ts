/**
 * Accepted connections that have not shaken hands, by age and by address: who makes room for the next one is found at a
 * constant cost.
 */

/** One of them, by whatever it is while it waits. */
export interface Stranger {
  /** By whose address it is counted. */
  readonly remoteHost: string
  /** It has to make room. */
  end(reason: string): void
}

/** Each set holds the oldest first. */
interface Ages {
  /** Those that have not said whose they are. */
  readonly silent: Set<Stranger>
  /** Those that have, and are not admitted yet. */
  readonly named: Set<Stranger>
}

const newAges = (): Ages => ({ silent: new Set(), named: new Set() })

/** Those that have not shaken hands: a transport adds each, and ends `firstToGo` when there are too many. */
export class Strangers {
  readonly #all = newAges()
  /** By address; none of one without connections. */
  readonly #ofHost = new Map<string, Ages>()

  /** All of them. */
  get count(): number {
    return countOf(this.#all)
  }

  /** Those of one address. */
  countOf(host: string): number {
    const ages = this.#ofHost.get(host)
    return ages === undefined ? 0 : countOf(ages)
  }

  /** The newest from now on. */
  add(stranger: Stranger): void {
    const ofHost = this.#ofHost.get(stranger.remoteHost) ?? newAges()
    this.#ofHost.set(stranger.remoteHost, ofHost)
    for (const { silent } of [this.#all, ofHost]) silent.add(stranger)
  }

  /** It has said whose it is. */
  named(stranger: Stranger): void {
    for (const ages of [this.#all, this.#ofHost.get(stranger.remoteHost)]) {
      if (ages?.silent.delete(stranger) === true) ages.named.add(stranger)
    }
  }

  /** It has been admitted, or has ended. */
  delete(stranger: Stranger): void {
    const host = stranger.remoteHost
    const ofHost = this.#ofHost.get(host)
    for (const ages of [this.#all, ofHost]) {
      ages?.silent.delete(stranger)
      ages?.named.delete(stranger)
    }
    if (ofHost !== undefined && countOf(ofHost) === 0) this.#ofHost.delete(host)
  }

  /** The oldest that has not said whose it is; when all have, the oldest of them. Of one address, or of all. */
  firstToGo(host: string | null = null): Stranger | undefined {
    const ages = host === null ? this.#all : this.#ofHost.get(host)
    const [silent] = ages?.silent ?? []
    const [named] = ages?.named ?? []
    return silent ?? named
  }
}

const countOf = ({ silent, named }: Ages): number => silent.size + named.size
