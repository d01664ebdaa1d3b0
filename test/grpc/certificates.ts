/** A certificate for servers that know each other. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { credentials, ServerCredentials } from '@grpc/grpc-js'
import type { ChannelCredentials } from '@grpc/grpc-js'
import { Authority } from '../../support/certificates.js'

/** What the certificate is for, wherever it is dialled. */
export const TLS_NAME = { 'grpc.ssl_target_name_override': 'kv.internal' } as const

/** Certificate, key and authority in that folder: one certificate stands for every server. */
export function makeCertificate(folder: string): void {
  const authority = new Authority()
  const { cert, key } = authority.issue({ names: ['DNS:kv.internal'] })
  authority.close()
  for (const [name, pem] of Object.entries({ 'ca.pem': authority.pem, 'certificate.pem': cert, 'key.pem': key })) {
    writeFileSync(join(folder, name), pem)
  }
}

/** Mutual TLS: each side shows that certificate, and asks for it. */
export function tlsCredentials(folder: string): {
  readonly server: ServerCredentials
  readonly channel: ChannelCredentials
} {
  const authority = readFileSync(join(folder, 'ca.pem'))
  const certificate = readFileSync(join(folder, 'certificate.pem'))
  const key = readFileSync(join(folder, 'key.pem'))
  return {
    server: ServerCredentials.createSsl(authority, [{ private_key: key, cert_chain: certificate }], true),
    channel: credentials.createSsl(authority, key, certificate),
  }
}
