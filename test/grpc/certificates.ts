/** A certificate for servers that know each other, made with openssl. */

import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { credentials, ServerCredentials } from '@grpc/grpc-js'
import type { ChannelCredentials } from '@grpc/grpc-js'

/** What the certificate is for, wherever it is dialled. */
export const TLS_NAME = { 'grpc.ssl_target_name_override': 'kv.internal' } as const

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0

/** One certificate, which is its own authority, and stands for every server. */
export function makeCertificate(folder: string): void {
  const words = ['-subj', '/CN=balsa test', '-addext', 'subjectAltName=DNS:kv.internal', '-days', '2', '-nodes']
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-keyout', join(folder, 'key.pem')]
  execFileSync('openssl', ['req', '-x509', ...key, '-out', join(folder, 'certificate.pem'), ...words], {
    stdio: 'ignore',
  })
}

/** Mutual TLS: each side shows that certificate, and asks for it. */
export function tlsCredentials(folder: string): {
  readonly server: ServerCredentials
  readonly channel: ChannelCredentials
} {
  const certificate = readFileSync(join(folder, 'certificate.pem'))
  const key = readFileSync(join(folder, 'key.pem'))
  return {
    server: ServerCredentials.createSsl(certificate, [{ private_key: key, cert_chain: certificate }], true),
    channel: credentials.createSsl(certificate, key, certificate),
  }
}
