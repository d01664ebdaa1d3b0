/**
 * What a transport or a client is encrypted with and known by, from the options to the material of now, and to another
 * one when it is read anew. What cannot be used is never in force: the one before stays.
 */

import { assert, RaftError } from '../../errors.js'
import { optionsError } from '../../option-checks.js'
import type { Clock, ServerId } from '../index.js'
import { Material } from './material.js'
import { checkTls, checkToken, READ_MS_MAX, type TlsSource, type TokenSource } from './tls-options.js'

export class Credentials {
  readonly #taker: string
  readonly #isServer: boolean
  /** Private also to whoever prints it: plain options have secrets in them. */
  readonly #tls: TlsSource
  readonly #token: TokenSource | undefined
  #material: Material | null = null
  #loading: Promise<Material> | null = null
  /** The reload that waits for the one under way; it serves all that come meanwhile. */
  #waiting: Promise<void> | null = null
  #reloading: Promise<void> = Promise.resolve()
  /** Whose certificate it must be; null: nobody's in particular. */
  #self: ServerId | null = null

  /** Null without TLS. Throws ERR_RAFT_OPTIONS; what functions will read, nobody knows yet. */
  static of(
    taker: string,
    options: { readonly tls?: TlsSource | undefined; readonly token?: TokenSource | undefined },
    isServer: boolean,
  ): Credentials | null {
    const { tls, token } = options
    if (tls === undefined && token === undefined) return null
    if (tls === undefined) {
      throw optionsError(`${taker}: token needs the option tls: it is proven inside of an encrypted connection alone`)
    }
    if (typeof tls !== 'function') checkTls(taker, tls, isServer)
    if (token !== undefined && typeof token !== 'function') checkToken(taker, token)
    return new Credentials(taker, tls, token, isServer)
  }

  private constructor(taker: string, tls: TlsSource, token: TokenSource | undefined, isServer: boolean) {
    this.#taker = taker
    this.#tls = tls
    this.#token = token
    this.#isServer = isServer
  }

  /** Invariant: it has been loaded. */
  get material(): Material {
    assert(this.#material !== null, 'nothing was loaded')
    return this.#material
  }

  /** Reads once; after a failure, once more. Rejects with ERR_RAFT_OPTIONS. */
  async load(clock: Clock): Promise<void> {
    if (this.#material !== null) return
    this.#loading ??= this.#read(clock)
    try {
      this.#material ??= await this.#loading
    } finally {
      this.#loading = null
    }
  }

  /** From now on the certificate must be that server's. */
  bind(self: ServerId): void {
    const flaw = this.material.ownFlaw(self)
    if (flaw !== null) throw optionsError(`${this.#taker}: ${flaw}`)
    this.#self = self
  }

  /** Reads again. Rejects with ERR_RAFT_OPTIONS, and then what was in force stays. */
  reload(clock: Clock): Promise<void> {
    if (typeof this.#tls !== 'function' && typeof this.#token !== 'function') {
      const remedy = 'give functions that read them, and they are called again'
      return Promise.reject(optionsError(`${this.#taker}: nothing to reload: tls and token are values; ${remedy}`))
    }
    if (this.#waiting !== null) return this.#waiting
    const waiting = this.#reloading
      .catch(() => {})
      .then(async () => {
        this.#waiting = null
        const material = await this.#read(clock)
        const flaw = this.#self === null ? null : material.ownFlaw(this.#self)
        if (flaw !== null) throw optionsError(`${this.#taker}: ${flaw}`)
        this.#material = material
      })
    this.#waiting = waiting
    this.#reloading = waiting
    return waiting
  }

  async #read(clock: Clock): Promise<Material> {
    const [tls, token] = await Promise.all([
      valueOf(this.#taker, 'tls', this.#tls, clock),
      valueOf(this.#taker, 'token', this.#token, clock),
    ])
    const tokens = token === undefined ? [] : checkToken(this.#taker, token)
    const checked = checkTls(this.#taker, tls, this.#isServer)
    if (tokens.length > 0 && checked.rejectUnauthorized === false) {
      const remedy = 'leave tls.rejectUnauthorized out, or the token'
      throw optionsError(`${this.#taker}: token is for those who know whom they dial: ${remedy}`)
    }
    return new Material(this.#taker, checked, tokens, clock.wallNow())
  }
}

/** What a source is, or reads. */
async function valueOf<Value>(
  taker: string,
  name: string,
  source: Value | (() => Value | Promise<Value>),
  clock: Clock,
): Promise<Value> {
  if (typeof source !== 'function') return source
  let cancel = (): void => {}
  const late = new Promise<never>((_, reject) => {
    const error = optionsError(`${taker}: the function ${name} has read nothing within ${READ_MS_MAX} ms`)
    cancel = clock.setTimer(READ_MS_MAX, () => reject(error))
  })
  try {
    return await Promise.race([(async () => (source as () => Value | Promise<Value>)())(), late])
  } catch (error) {
    if (error instanceof RaftError) throw error
    const { message } = (error ?? {}) as { readonly message?: unknown }
    throw optionsError(`${taker}: the function ${name} has failed: ${String(message ?? error).slice(0, 300)}`, error)
  } finally {
    cancel()
  }
}
