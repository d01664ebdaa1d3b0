/** What TLS and the token of a cluster take: their shapes, and the check of what is given or was read. */

import type { RaftError } from '../../errors.js'
import { checkOptionNames, optionsError, shown } from '../../option-checks.js'
import { patternFlaw, type Pem, pemText } from './certificates.js'

/** What connections are encrypted with, and who is believed; names that `node:tls` has mean the same here. */
export interface TlsOptions {
  /**
   * The certificate of this side, and behind it those that lead to the CA. A server dials and is dialled: if its
   * extended key usage is limited, it must have both serverAuth and clientAuth. Only a client may leave it out, where
   * servers ask for none.
   */
  readonly cert?: Pem
  /** The private key of `cert`. */
  readonly key?: Pem
  /** With which `key` is encrypted, if it is. */
  readonly passphrase?: string
  /** Whose certificates are believed: only these; what the system or Node.js believes does not count. */
  readonly ca: Pem
  /** Which of their certificates are believed no longer: one list for each CA. */
  readonly crl?: Pem
  /**
   * The certificate of server `{id}` must have this alternative name: `DNS:{id}.kv.internal` or
   * `URI:balsa://kv/{id}`. Both who is dialled and who dials must then be who they say. Without it the certificate of
   * who is dialled must have the host of the address that was dialled, and whoever has any certificate of `ca` may call
   * itself any server.
   */
  readonly san?: string
  /**
   * Whether a server asks those who dial it, peers and clients alike, for a certificate. Default true. False is for a
   * cluster with a token: who dials is then known by the token alone.
   */
  readonly requestCert?: boolean
  /** Whether a certificate that cannot be trusted ends the connection. Default true; false trusts anybody. */
  readonly rejectUnauthorized?: boolean
  /** Default 'TLSv1.3'. */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3'
}

/** The options, or a function that reads them: at the start, and again at each `reload`. */
export type TlsSource = TlsOptions | (() => TlsOptions | Promise<TlsOptions>)

/**
 * The secret that all servers and clients of a cluster share, 16 .. 1024 bytes: who dials proves that it has it, inside
 * the encrypted connection. Of several the first is shown, and each is accepted, so that one can replace another. Or a
 * function that reads them: at the start, and again at each `reload`.
 */
export type TokenSource = Token | (() => Token | Promise<Token>)

/** One token, or those that are accepted while one replaces another; the first is shown. */
export type Token = string | readonly string[]

/** Within this a function must have read what it was asked for. */
export const READ_MS_MAX = 10_000

const TLS_NAMES = Object.keys({
  ...{ cert: true, key: true, passphrase: true, ca: true, crl: true, san: true },
  ...{ requestCert: true, rejectUnauthorized: true, minVersion: true },
} satisfies Record<keyof TlsOptions, true>)

const TOKEN_BYTES = { min: 16, max: 1024 } as const
const TOKENS_MAX = 8

/**
 * Throws ERR_RAFT_OPTIONS on the first thing that is wrong with their shape. No message has a value of them in it.
 * `isServer`: whoever takes them is dialled, too.
 */
export function checkTls(taker: string, given: unknown, isServer: boolean): TlsOptions {
  checkOptionNames(`${taker}: tls`, given, TLS_NAMES)
  const tls = given as TlsOptions
  const flaw = (name: string, what: string): RaftError => optionsError(`${taker}: tls.${name} ${what}`)
  for (const name of ['cert', 'key', 'ca', 'crl'] as const) {
    if (tls[name] !== undefined && !isPem(tls[name])) throw flaw(name, 'must be PEM: a string, or its bytes')
  }
  if (tls.ca === undefined) throw flaw('ca', 'is missing: give the certificates, in PEM, of the CAs that are believed')
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    throw flaw(tls.key === undefined ? 'key' : 'cert', 'is missing: a certificate and its private key go together')
  }
  if (isServer && tls.cert === undefined) throw flaw('cert', 'is missing: a server needs cert and key')
  for (const name of ['requestCert', 'rejectUnauthorized'] as const) {
    if (tls[name] !== undefined && typeof tls[name] !== 'boolean') throw flaw(name, 'must be true or false')
  }
  const { passphrase, minVersion, san } = tls
  if (passphrase !== undefined && typeof passphrase !== 'string') throw flaw('passphrase', 'must be a string')
  if (minVersion !== undefined && minVersion !== 'TLSv1.2' && minVersion !== 'TLSv1.3') {
    throw flaw('minVersion', `is ${shown(minVersion)}; must be TLSv1.2 or TLSv1.3`)
  }
  if (san === undefined) return tls
  const wrong = patternFlaw(san)
  if (wrong !== null) throw flaw('san', `is ${shown(san)}; it ${wrong}`)
  if (tls.rejectUnauthorized === false) throw flaw('san', 'means nothing with rejectUnauthorized: false; leave one out')
  return tls
}

/** The same of what is given as a token; none of them is in a message. */
export function checkToken(taker: string, given: unknown): readonly string[] {
  const tokens: readonly unknown[] = Array.isArray(given) ? given : [given]
  const { min, max } = TOKEN_BYTES
  const areTokens = tokens.every((token) => {
    const bytes = typeof token === 'string' ? Buffer.byteLength(token) : 0
    return bytes >= min && bytes <= max
  })
  if (areTokens && tokens.length >= 1 && tokens.length <= TOKENS_MAX) return tokens as readonly string[]
  const remedy = 'make one with: openssl rand -base64 32'
  throw optionsError(
    `${taker}: token must be a string of ${min} .. ${max} bytes, or 1 .. ${TOKENS_MAX} of them; ${remedy}`,
  )
}

function isPem(value: unknown): value is Pem {
  const isBytes = ArrayBuffer.isView(value) && (value as Uint8Array)[Symbol.toStringTag] === 'Uint8Array'
  return (typeof value === 'string' || isBytes) && pemText(value as Pem).includes('-----BEGIN ')
}
