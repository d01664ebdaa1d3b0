/**
 * Slows down whoever guesses passwords. Failures are counted by address; beyond `FAILURES_FREE` each further one makes
 * every AUTH from there wait before it is looked at, right or wrong, so that the time tells nothing. Nobody is ever
 * refused: whoever knows the password comes in, after `WAIT_MS_MAX` at most, and at once from any other address.
 *
 * What it bounds: one connection makes a guess in `WAIT_MS_MAX`, and so many in all (`FAILURES_BY_CONNECTION_MAX`).
 */

import type { KvClock } from '../server/clock.js'

/** People mistype. */
const FAILURES_FREE = 10
/** Each failure beyond those adds so much, */
const WAIT_STEP_MS = 100
/** up to this: a client whose address is somebody else's too comes in before it gives up. */
export const WAIT_MS_MAX = 1000
/** One failure is forgotten each so often, */
const FORGET_MS = 6000
/** and more than these are not counted, so that after three minutes all are. */
const FAILURES_COUNTED_MAX = 30
/** Addresses that are known at a time; the one that failed longest ago is forgotten. */
const ADDRESSES_MAX = 4096
/** Then a connection is closed. */
export const FAILURES_BY_CONNECTION_MAX = 10

interface Failures {
  count: number
  /** When the count was right, by the clock. */
  at: number
}

export class LoginGuard {
  readonly #clock: Pick<KvClock, 'now' | 'setTimer'>
  /** Whose last failure is the oldest comes first. */
  readonly #byAddress = new Map<string, Failures>()
  readonly #waiting = new Set<() => void>()
  #delayed = 0
  /** Told once when logins from somewhere begin to be slowed down. */
  onSlowed: (network: string) => void = () => undefined

  constructor(clock: Pick<KvClock, 'now' | 'setTimer'>) {
    this.#clock = clock
  }

  /** Logins that were made to wait, since the server began. */
  get delayed(): number {
    return this.#delayed
  }

  /** Logins that wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** `address`: `ip:port`. A password of a client there was wrong. */
  failed(address: string): void {
    const network = networkOf(address)
    const count = Math.min(FAILURES_COUNTED_MAX, this.#countOf(network) + 1)
    if (count === FAILURES_FREE) this.onSlowed(network)
    this.#byAddress.delete(network)
    this.#byAddress.set(network, { count, at: this.#clock.now() })
    if (this.#byAddress.size <= ADDRESSES_MAX) return
    const [oldest] = this.#byAddress.keys()
    if (oldest !== undefined) this.#byAddress.delete(oldest)
  }

  /** How long a login from there waits. */
  waitMs(address: string): number {
    const beyond = this.#countOf(networkOf(address)) - FAILURES_FREE
    return beyond < 0 ? 0 : Math.min(WAIT_MS_MAX, (beyond + 1) * WAIT_STEP_MS)
  }

  /** Calls back once a login from there has waited. */
  wait(address: string, callback: () => void): void {
    this.#delayed += 1
    const cancel = this.#clock.setTimer(this.waitMs(address), () => {
      this.#waiting.delete(cancel)
      callback()
    })
    this.#waiting.add(cancel)
  }

  close(): void {
    for (const cancel of this.#waiting) cancel()
    this.#waiting.clear()
  }

  #countOf(network: string): number {
    const known = this.#byAddress.get(network)
    if (known === undefined) return 0
    const count = known.count - Math.floor((this.#clock.now() - known.at) / FORGET_MS)
    if (count > 0) return count
    this.#byAddress.delete(network)
    return 0
  }
}

/** Whom failures are counted for: of IPv6, whoever has one address has 2^64. */
export function networkOf(address: string): string {
  const ip = address.slice(0, address.lastIndexOf(':')).replace(/^::ffff:(?=\d+\.)/, '')
  if (!ip.includes(':')) return ip
  const [head = '', tail] = ip.split('::')
  const groups = head === '' ? [] : head.split(':')
  const behind = tail === undefined || tail === '' ? [] : tail.split(':')
  const between = tail === undefined ? 0 : Math.max(0, 8 - groups.length - behind.length)
  return [...groups, ...Array.from({ length: between }, () => '0'), ...behind].slice(0, 4).join(':')
}
