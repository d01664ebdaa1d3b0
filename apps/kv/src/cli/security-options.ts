/** The options that say who may come in, and what can be read on the way: for clients and for peers. */

import type { PeerFiles } from '../security/peer-files.js'
import { Secret, secretFlaw } from '../security/small-file.js'
import type { UserSources } from '../security/security.js'
import type { AuthClients, TlsFiles } from '../security/tls-files.js'
import { UsageError } from './exit-codes.js'

export interface SecurityOptions {
  readonly users: UserSources
  /** Null: clients speak plain. */
  readonly tls: TlsFiles | null
  /** Null: peers speak plain, and whoever reaches the peer address may be one. */
  readonly peers: PeerFiles | null
}

/** Instead of `--password-file`; a command line would show it to every user of the machine. */
export const PASSWORD_VARIABLE = 'BALSA_KV_PASSWORD'

export const SECURITY_HELP = `  --tls-cert-file <file>, --tls-key-file <file>
                     clients speak TLS (1.3) with this certificate and its key, in PEM: redis-cli --tls --cacert <ca>, ioredis tls: {}
  --tls-ca-cert-file <file>  clients show a certificate of this CA
  --tls-auth-clients yes|no|optional
                     whether they must: yes where there is a --tls-ca-cert-file, else no
  --password-file <file>     clients say this password (AUTH), the one line of the file. Or the variable ${PASSWORD_VARIABLE}
  --aclfile <file>   users and what they may do, as lines of Redis: user alice on >password ~cached:* +@read
                     (docs/kv-security.md has the rules). SIGHUP reads all of these files again, and ACL LOAD the users
  --peer-tls-cert-file <file>, --peer-tls-key-file <file>, --peer-tls-ca-cert-file <file>
                     peers speak TLS, and each shows a certificate of that CA, for both sides of a connection: on all servers
  --peer-tls-san <name>      with {id} in it, as DNS:{id}.kv.internal: the certificate of server s1 must have DNS:s1.kv.internal
  --peer-token-file <file>   peers prove inside of TLS that they have this token, too: a line of 16 bytes or more
`

export const securitySpecs = {
  'tls-cert-file': { takesValue: true },
  'tls-key-file': { takesValue: true },
  'tls-ca-cert-file': { takesValue: true },
  'tls-auth-clients': { takesValue: true },
  'password-file': { takesValue: true },
  aclfile: { takesValue: true },
  'peer-tls-cert-file': { takesValue: true },
  'peer-tls-key-file': { takesValue: true },
  'peer-tls-ca-cert-file': { takesValue: true },
  'peer-tls-san': { takesValue: true },
  'peer-token-file': { takesValue: true },
} as const

/** What the names are in a configuration file. */
export const securityFileKeys: Readonly<Record<string, string>> = {
  tlsCertFile: 'tls-cert-file',
  tlsKeyFile: 'tls-key-file',
  tlsCaCertFile: 'tls-ca-cert-file',
  tlsAuthClients: 'tls-auth-clients',
  passwordFile: 'password-file',
  aclfile: 'aclfile',
  peerTlsCertFile: 'peer-tls-cert-file',
  peerTlsKeyFile: 'peer-tls-key-file',
  peerTlsCaCertFile: 'peer-tls-ca-cert-file',
  peerTlsSan: 'peer-tls-san',
  peerTokenFile: 'peer-token-file',
}

type Environment = Readonly<Record<string, string | undefined>>

/** Throws UsageError. */
export function readSecurityOptions(given: ReadonlyMap<string, string>, environment: Environment): SecurityOptions {
  const aclFile = fileGiven(given, 'aclfile')
  return {
    users: { aclFile, password: readPassword(given, environment) },
    tls: readTls(given),
    peers: readPeers(given),
  }
}

export function readPassword(given: ReadonlyMap<string, string>, environment: Environment): UserSources['password'] {
  const file = fileGiven(given, 'password-file')
  const secret = environment[PASSWORD_VARIABLE]
  if (secret === undefined) return file === null ? null : { file }
  if (file !== null) {
    throw new UsageError(`--password-file and ${PASSWORD_VARIABLE} both say the password: leave one of them out`)
  }
  const flaw = secretFlaw(Buffer.from(secret, 'utf8').toString('latin1'))
  if (flaw !== null) throw new UsageError(`${PASSWORD_VARIABLE} ${flaw}`)
  return new Secret(Buffer.from(secret, 'utf8').toString('latin1'))
}

/** Whether there are files that can be read again while the server runs. */
export function readsFiles({ users, tls, peers }: SecurityOptions): boolean {
  return readsUsers(users) || tls !== null || peers !== null
}

export function readsUsers({ aclFile, password }: UserSources): boolean {
  return aclFile !== null || (password !== null && 'file' in password)
}

function readTls(given: ReadonlyMap<string, string>): TlsFiles | null {
  const certFile = fileGiven(given, 'tls-cert-file')
  const keyFile = fileGiven(given, 'tls-key-file')
  const caFile = fileGiven(given, 'tls-ca-cert-file')
  const asked = given.get('tls-auth-clients')
  if (certFile === null || keyFile === null) {
    const missing = certFile === null ? '--tls-cert-file' : '--tls-key-file'
    if (certFile === null && keyFile === null && caFile === null && asked === undefined) return null
    throw new UsageError(`${missing} is missing: TLS needs a certificate and its key`)
  }
  const authClients = readAuthClients(asked ?? (caFile === null ? 'no' : 'yes'))
  if (authClients !== 'no' && caFile === null) {
    throw new UsageError(`--tls-auth-clients is ${authClients}, and there is no --tls-ca-cert-file to judge clients by`)
  }
  return { certFile, keyFile, caFile, authClients }
}

/** All of them or none: a server without one would be refused by every other, or refuse it. */
function readPeers(given: ReadonlyMap<string, string>): PeerFiles | null {
  const certFile = fileGiven(given, 'peer-tls-cert-file')
  const keyFile = fileGiven(given, 'peer-tls-key-file')
  const caFile = fileGiven(given, 'peer-tls-ca-cert-file')
  const tokenFile = fileGiven(given, 'peer-token-file')
  const san = given.get('peer-tls-san') ?? null
  if (certFile !== null && keyFile !== null && caFile !== null) return { certFile, keyFile, caFile, san, tokenFile }
  if ([certFile, keyFile, caFile, tokenFile, san].every((each) => each === null)) return null
  const missing = certFile === null ? 'cert' : keyFile === null ? 'key' : 'ca-cert'
  throw new UsageError(
    `--peer-tls-${missing}-file is missing: peers show certificates, so each needs one, its key and their CA; a token goes inside of TLS alone`,
  )
}

function readAuthClients(text: string): AuthClients {
  if (text === 'yes' || text === 'no' || text === 'optional') return text
  throw new UsageError(`--tls-auth-clients is ${text}; it must be yes, no or optional`)
}

function fileGiven(given: ReadonlyMap<string, string>, name: string): string | null {
  const file = given.get(name)
  if (file === '') throw new UsageError(`--${name} must name a file`)
  return file ?? null
}
