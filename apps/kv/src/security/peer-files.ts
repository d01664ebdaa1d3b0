/** What peers show one another, from files of PEM and of a token: read at the start, and again when asked for. */

import type { TcpOptions } from 'balsa-raft/transport/tcp'
import { readSmallFile, SecurityError } from './small-file.js'

export interface PeerFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly caFile: string
  /** As `DNS:{id}.kv.internal`: what the certificate of a server must have; null: any of the CA will do. */
  readonly san: string | null
  /** Null: certificates alone. */
  readonly tokenFile: string | null
}

/** What the transport takes; it checks what was read. */
export function peerSecurity(files: PeerFiles | null): Pick<TcpOptions, 'tls' | 'token'> {
  if (files === null) return {}
  const { certFile, keyFile, caFile, san, tokenFile } = files
  const tls = () => ({
    cert: readSmallFile('--peer-tls-cert-file', certFile),
    key: readSmallFile('--peer-tls-key-file', keyFile),
    ca: readSmallFile('--peer-tls-ca-cert-file', caFile),
    ...(san === null ? {} : { san }),
  })
  return tokenFile === null ? { tls } : { tls, token: () => readTokens(tokenFile) }
}

/** One a line: the first is shown, each is accepted, so that one can replace another. */
function readTokens(file: string): readonly string[] {
  const text = Buffer.from(readSmallFile('--peer-token-file', file), 'latin1').toString('utf8')
  const tokens = text.split(/\r?\n/).filter((line) => line !== '')
  if (tokens.length > 0) return tokens
  throw new SecurityError(`--peer-token-file ${file} is empty: make a token with openssl rand -base64 32`)
}
