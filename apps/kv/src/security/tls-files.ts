/**
 * The certificate of this server, its key, and the CA of clients, from files of PEM. What is read is tried out at once,
 * so that a mistake is known before anything is replaced.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { constants } from 'node:crypto'
import { readSmallFile, SecurityError } from './small-file.js'

/** `yes`: clients must show a certificate of the CA; `optional`: those that show one must. */
export type AuthClients = 'yes' | 'no' | 'optional'

export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
  /** Null: no client is asked for a certificate. */
  readonly caFile: string | null
  readonly authClients: AuthClients
}

/** As the clients' port uses them. */
export interface ClientTls {
  readonly options: SecureContextOptions & { readonly requestCert: boolean }
  readonly authClients: AuthClients
  /** Milliseconds since 1970. */
  readonly certificateUntil: number
}

export const TLS_VERSION_MIN = 'TLSv1.3'

/** `now`: milliseconds since 1970. Throws SecurityError: a file that cannot be used is named. */
export function readClientTls({ certFile, keyFile, caFile, authClients }: TlsFiles, now: number): ClientTls {
  const cert = readSmallFile('--tls-cert-file', certFile)
  const key = readSmallFile('--tls-key-file', keyFile)
  const ca = caFile === null ? null : readSmallFile('--tls-ca-cert-file', caFile)
  const own = certificateOf('--tls-cert-file', certFile, cert)
  tried(`--tls-key-file ${keyFile} is no private key without a passphrase`, () => createPrivateKey(key))
  if (!own.checkPrivateKey(createPrivateKey(key))) {
    throw new SecurityError(`--tls-key-file ${keyFile} is not the key of the certificate in ${certFile}`)
  }
  if (caFile !== null && ca !== null) certificateOf('--tls-ca-cert-file', caFile, ca)
  const certificateUntil = Date.parse(own.validTo)
  if (certificateUntil <= now) {
    throw new SecurityError(`--tls-cert-file ${certFile}: the certificate has expired, on ${own.validTo}`)
  }
  const asks = authClients !== 'no'
  const options = {
    cert,
    key,
    ...(ca === null ? {} : { ca }),
    requestCert: asks,
    minVersion: TLS_VERSION_MIN,
    // A session that is taken up again shows no certificate, and would outlive a CA that is replaced.
    ...(asks ? { secureOptions: constants.SSL_OP_NO_TICKET } : {}),
  } as const
  tried(`--tls-cert-file ${certFile} cannot be used`, () => createSecureContext(options))
  return { options, authClients, certificateUntil }
}

function certificateOf(option: string, file: string, pem: string): X509Certificate {
  return tried(`${option} ${file} holds no certificate in PEM`, () => new X509Certificate(pem))
}

/** What OpenSSL says of a key names no part of it. */
function tried<Result>(what: string, attempt: () => Result): Result {
  try {
    return attempt()
  } catch (error) {
    throw new SecurityError(`${what}: ${(error as Error).message}`)
  }
}
