/**
 * What connections are made with at one time: certificate, key, CAs and tokens, as they were read. It never changes;
 * what is read anew makes another one.
 *
 * Node.js is told not to reject anybody, and each end is judged here as soon as hands are shaken, before anything else
 * is read or written: so the side that is refused can be told why, inside the encrypted connection. Invariant: nobody
 * is believed whose TLS session was resumed. OpenSSL calls such a one authorized without looking at a certificate, and
 * any stranger can get something to resume; so none is given out either (SSL_OP_NO_TICKET).
 */

import { constants, createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { isIP, type OnReadOpts, type Socket } from 'node:net'
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  createServer,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
} from 'node:tls'
import { assert } from '../../errors.js'
import { optionsError } from '../../option-checks.js'
import type { ServerId } from '../index.js'
import type { Address } from './address.js'
import {
  certificatesIn,
  certificatesOf,
  dateFlaw,
  hasName,
  isIssuedBy,
  nameFor,
  namesOf,
  type Pem,
  pemText,
} from './certificates.js'
import { Secret } from './secret.js'
import type { TlsOptions } from './tls-options.js'

const PROTOCOLS = ['balsa']

/** What a handshake on an accepted socket comes to; one of the two is called, or the socket is gone. */
export interface Handshake {
  done(socket: TLSSocket): void
  failed(error: NodeJS.ErrnoException): void
}

/** Whom this side has dialled, and knows by its id or not yet. */
export interface Dialled {
  readonly address: Address
  readonly id: ServerId | null
}

export class Material {
  readonly #tls: Required<Pick<TlsOptions, 'requestCert' | 'rejectUnauthorized'>>
  readonly #san: string | null
  readonly #cas: readonly X509Certificate[]
  readonly #own: X509Certificate | null
  readonly #crl: string | null
  readonly #secrets: readonly Secret[]
  readonly #context: SecureContext
  readonly #server: Server | null
  /** On accepted sockets, by both addresses. */
  readonly #underWay = new Map<string, Handshake>()

  /** Of checked options. Throws ERR_RAFT_OPTIONS where something cannot be read or does not fit together. */
  constructor(taker: string, options: TlsOptions, tokens: readonly string[], wallNow: number) {
    const { requestCert = true, rejectUnauthorized = true, san, crl } = options
    this.#tls = { requestCert, rejectUnauthorized }
    this.#san = san ?? null
    this.#crl = crl === undefined ? null : pemText(crl)
    this.#secrets = tokens.map((token) => new Secret(token))
    this.#cas = readCertificates(taker, 'ca', options.ca)
    this.#own = options.cert === undefined ? null : (readCertificates(taker, 'cert', options.cert)[0] ?? null)
    if (options.key !== undefined) checkKey(taker, options.key, options.passphrase, this.#own)
    const flaw = this.#own === null || !rejectUnauthorized ? null : dateFlaw(this.#own, wallNow)
    if (flaw !== null) throw optionsError(`${taker}: tls.cert: ${flaw}: renew it, or correct the clock of this machine`)
    const context = contextOptions(options, this.#cas)
    try {
      this.#context = createSecureContext(context)
      this.#server = this.#own === null ? null : createServer({ ...context, ...acceptOptions(requestCert) })
    } catch (error) {
      throw optionsError(`${taker}: tls cannot be used: ${codeOf(error)}`)
    }
    this.#server?.on('secureConnection', (socket) => {
      // Of TLS 1.2: nobody becomes another one in the midst of a connection.
      socket.disableRenegotiation()
      this.#taken(socket, (handshake) => handshake.done(socket))
    })
    this.#server?.on('tlsClientError', (error, socket) => this.#taken(socket, (handshake) => handshake.failed(error)))
  }

  /** Whether nobody is let in who has not shown that he may. */
  get isClosedToStrangers(): boolean {
    return this.needsProof || this.#asksForCertificates
  }

  get needsProof(): boolean {
    return this.#secrets.length > 0
  }

  get #asksForCertificates(): boolean {
    return this.#tls.requestCert && this.#tls.rejectUnauthorized
  }

  /** When the own certificate expires, in words; null where there is none. */
  get expires(): string | null {
    return this.#own?.validTo ?? null
  }

  /** A socket on its way to that address. Judged by `flawOfDialled` at its `secureConnect`. */
  dial({ host, port }: Address, onread: OnReadOpts): TLSSocket {
    const socket = connect({
      ...{ host, port, onread, secureContext: this.#context, ALPNProtocols: PROTOCOLS },
      servername: isIP(host) === 0 ? host : '',
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    })
    socket.disableRenegotiation()
    return socket
  }

  /** Shakes hands on an accepted socket; what has been read of it was put back. Judged by `flawOfDialling`. */
  accept(socket: Socket, handshake: Handshake): void {
    assert(this.#server !== null, 'a side without a certificate accepts nobody')
    const key = keyOf(socket)
    this.#underWay.set(key, handshake)
    socket.once('close', () => {
      if (this.#underWay.get(key) === handshake) this.#underWay.delete(key)
    })
    this.#server.emit('connection', socket)
  }

  #taken(socket: TLSSocket, take: (handshake: Handshake) => void): void {
    const key = keyOf(socket)
    const handshake = this.#underWay.get(key)
    this.#underWay.delete(key)
    if (handshake === undefined) socket.destroy()
    else take(handshake)
  }

  /** Why whoever was dialled is not believed, or null. Invariant of these three: the handshake is over. */
  flawOfDialled(socket: TLSSocket, { address, id }: Dialled): string | null {
    if (!this.#tls.rejectUnauthorized) return null
    const whose = `the certificate of who listens at ${address.host}:${address.port}`
    const flaw = chainFlaw(socket, whose)
    if (flaw !== null) return flaw
    if (this.#san !== null) return this.#nameFlaw(socket, whose, id)
    const error = checkServerIdentity(address.host, socket.getPeerCertificate())
    if (error === undefined) return null
    const [own] = certificatesOf(socket)
    return (
      `${whose} is not for the host ${address.host}: it has ${own === undefined ? 'none' : namesOf(own)}. ` +
      'Issue it with that alternative name, dial a host that it has, or set tls.san on all sides'
    )
  }

  /** The same of whoever has dialled this side. */
  flawOfDialling(socket: TLSSocket): string | null {
    return this.#asksForCertificates ? chainFlaw(socket, 'the certificate of who dials') : null
  }

  /** Why the other side is not the server that it says it is, or null. */
  flawOfId(socket: TLSSocket, id: ServerId, isDialled: boolean): string | null {
    if (this.#san === null || !(isDialled || this.#asksForCertificates)) return null
    return this.#nameFlaw(socket, `the certificate of who calls itself ${id}`, id)
  }

  #nameFlaw(socket: TLSSocket, whose: string, id: ServerId | null): string | null {
    assert(this.#san !== null, 'no name is asked for')
    const name = id === null ? this.#san : nameFor(this.#san, id)
    if (name === null) return `the id ${id} cannot stand in a certificate: use letters, digits and . _ ~ : / @ + - only`
    const [own] = certificatesOf(socket)
    if (own !== undefined && hasName(own, name)) return null
    const has = own === undefined ? 'none' : namesOf(own)
    return `${whose} must have the alternative name ${name}, and has ${has}: issue it with that name, or correct tls.san`
  }

  /** The same of the own certificate, so that it is found here and not by all the others. */
  ownFlaw(id: ServerId): string | null {
    if (this.#san === null || this.#own === null) return null
    const name = nameFor(this.#san, id)
    if (name !== null && hasName(this.#own, name)) return null
    return `tls.cert has ${namesOf(this.#own)}, and as server ${id} must have ${name ?? 'an id that fits into a name'}`
  }

  /** What this side shows when it has dialled; null: there is no token. */
  proofFor(socket: TLSSocket): Uint8Array | null {
    return this.#secrets[0]?.proofFor(socket) ?? null
  }

  /** The token that is proven, or null. All are tried, so that the time tells nothing. */
  provenBy(proof: Uint8Array, socket: TLSSocket): Secret | null {
    const proven = this.#secrets.filter((secret) => secret.isProvenBy(proof, socket))
    return proven[0] ?? null
  }

  /** Why a connection that was made under `before` would not be made now, or null. */
  flawNow(socket: TLSSocket, side: Side, before: Material, wallNow: number): string | null {
    const { dialled, id, proven, isAsked } = side
    const hasProven = proven !== null && this.#has(proven)
    if (dialled === null && this.needsProof && !hasProven && !isAsked) return NO_TOKEN
    const asks = dialled === null ? this.#asksForCertificates : this.#tls.rejectUnauthorized
    if (!asks) return null
    const whose = `the certificate of ${dialled === null ? 'who dials' : `who listens at ${dialled.address.host}:${dialled.address.port}`}`
    const wasAsked = dialled === null ? before.#asksForCertificates : before.#tls.rejectUnauthorized
    if (!wasAsked || this.#crl !== before.#crl) return `${whose} is to be looked at again: dial again`
    if (!isIssuedBy(certificatesOf(socket), this.#cas, wallNow)) {
      return `${whose} is no longer believed: ${REMEDIES['UNABLE_TO_VERIFY_LEAF_SIGNATURE'] ?? ''}`
    }
    if (dialled !== null) return this.flawOfDialled(socket, dialled)
    return id === null ? null : this.flawOfId(socket, id, false)
  }

  #has(secret: Secret): boolean {
    return this.#secrets.some((other) => other.isSameAs(secret))
  }
}

/** What is known of the other side of a connection. */
export interface Side {
  /** Null: it has dialled. */
  readonly dialled: Dialled | null
  /** The server that it has said it is. */
  readonly id: ServerId | null
  /** The token that it has proven. */
  readonly proven: Secret | null
  /** It is still to prove one: by what is in force then. */
  readonly isAsked: boolean
}

export const NO_TOKEN =
  'who dials has not proven the token of this cluster: give both sides the same option token. While one token replaces ' +
  'another, all sides need both'

/** What is wrong with how a certificate came, or with who has issued it. */
function chainFlaw(socket: TLSSocket, whose: string): string | null {
  if (socket.isSessionReused()) return `${whose} was not shown: a resumed session is not taken. Dial without one`
  if (certificatesOf(socket).length === 0) return `${whose} is missing: give it the options cert and key of tls`
  if (socket.authorized) return null
  // It is a code, whatever its type says.
  const code = String(socket.authorizationError)
  return `${whose} is not believed (${code}): ${REMEDIES[code] ?? 'have it issued anew, by a CA that is in tls.ca of both sides'}`
}

const FOREIGN =
  'no CA in tls.ca of the side that refuses has issued it. Have it issued by one of them, or add its CA there'

/** By what OpenSSL says of a certificate. */
const REMEDIES: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has expired. Renew it and reload, or correct the clock of the side that refuses',
  CERT_NOT_YET_VALID: 'it is not good yet. Correct the clock of the side that refuses, or wait',
  CERT_REVOKED: 'it is in tls.crl of the side that refuses. Have another one issued',
  UNABLE_TO_GET_CRL: 'tls.crl of the side that refuses has no list of the CA that has issued it. Add it there',
  CRL_HAS_EXPIRED: 'the list of its CA in tls.crl of the side that refuses has expired. Renew that list and reload',
  INVALID_PURPOSE:
    'its extended key usage forbids it. Issue it with serverAuth and clientAuth, or without the extension',
  DEPTH_ZERO_SELF_SIGNED_CERT: FOREIGN,
  SELF_SIGNED_CERT_IN_CHAIN: FOREIGN,
  UNABLE_TO_GET_ISSUER_CERT: FOREIGN,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: FOREIGN,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: FOREIGN,
}

/** What a handshake that has failed says of the two sides; null where it says nothing but that the way was lost. */
export function handshakeFlaw(error: NodeJS.ErrnoException): string | null {
  const code = codeOf(error)
  if (/WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|RECORD_TOO_SMALL/.test(code)) return NO_TLS
  if (/UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|NO_PROTOCOLS_AVAILABLE/.test(code)) {
    return `the two sides have no version of TLS in common (${code}): compare tls.minVersion, and upgrade the older side`
  }
  if (/APPLICATION_PROTOCOL/.test(code))
    return `the other side speaks TLS, but not with servers of Balsa: correct the address`
  if (!/^(?:ERR_SSL_|ERR_TLS_|EPROTO)/.test(code)) return null
  return `the handshake of TLS has failed (${code}): compare the option tls of both sides`
}

export const NO_TLS =
  'one side speaks TLS, and the other does not: give both the option tls, or neither, and correct the address if it is wrong'

function contextOptions(options: TlsOptions, cas: readonly X509Certificate[]): SecureContextOptions {
  const { cert, key, passphrase, crl, minVersion = 'TLSv1.3' } = options
  return {
    ...{ minVersion, secureOptions: constants.SSL_OP_NO_TICKET, ca: cas.map((ca) => ca.toString()) },
    ...(cert !== undefined && key !== undefined && { cert: pemText(cert), key: pemText(key) }),
    ...(passphrase !== undefined && { passphrase }),
    ...(crl !== undefined && { crl: pemText(crl) }),
  }
}

const acceptOptions = (requestCert: boolean) =>
  ({ requestCert, rejectUnauthorized: false, ALPNProtocols: PROTOCOLS }) as const

function readCertificates(taker: string, name: string, pem: Pem): readonly X509Certificate[] {
  const wrong = `${taker}: tls.${name} has no certificate that can be read: it must be PEM, with BEGIN CERTIFICATE in it`
  let found: readonly X509Certificate[]
  try {
    found = certificatesIn(pem)
  } catch {
    throw optionsError(wrong)
  }
  if (found.length === 0) throw optionsError(wrong)
  return found
}

/** Nothing of what Node.js says goes on: it is about the key. */
function checkKey(taker: string, pem: Pem, passphrase: string | undefined, own: X509Certificate | null): void {
  let key: KeyObject
  try {
    key = createPrivateKey({ key: pemText(pem), format: 'pem', ...(passphrase !== undefined && { passphrase }) })
  } catch {
    const remedy = 'it must be the PEM of a private key, and if it is encrypted, tls.passphrase what opens it'
    throw optionsError(`${taker}: tls.key cannot be read: ${remedy}`)
  }
  if (own?.checkPrivateKey(key) === true) return
  throw optionsError(`${taker}: tls.key is not the key of tls.cert: give the two that were made together`)
}

/** Both ends: who accepts on several addresses may be dialled twice from one port. */
const keyOf = ({ remoteAddress, remotePort, localAddress }: Socket): string =>
  `${remoteAddress} ${remotePort} ${localAddress}`

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { readonly code?: unknown }
  return typeof code === 'string' ? code : 'no code'
}
