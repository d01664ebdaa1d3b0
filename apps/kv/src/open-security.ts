/** What a server that is opened does about security: reads its files, tells of them, and reads them again. */

import type { TcpTransport } from 'balsa-raft/transport/tcp'
import { readsUsers, type SecurityOptions } from './cli/security-options.js'
import { formatAddress, type HostPort } from './cluster/members.js'
import { commandCatalog } from './commands/command-catalog.js'
import type { Log } from './log.js'
import { Security } from './security/security.js'
import { SecurityError } from './security/small-file.js'
import { readClientTls, TLS_VERSION_MIN, type ClientTls } from './security/tls-files.js'
import { machineClock } from './server/clock.js'
import type { KvServer } from './server/kv-server.js'

/** How the clients' port is secured. */
export interface ClientSecurity {
  readonly security: Security
  /** Null: it speaks plain. */
  readonly tls: ClientTls | null
}

/** Throws SecurityError. */
export function readClientSecurity({ users, tls }: SecurityOptions): ClientSecurity {
  return {
    security: new Security(users, commandCatalog, machineClock),
    tls: tls === null ? null : readClientTls(tls, Date.now()),
  }
}

/** What CONFIG GET tells of it: names of files, and never a password. */
export function securityFacts({ users, tls }: SecurityOptions, port: number): ReadonlyMap<string, string> {
  const facts = new Map([['aclfile', users.aclFile ?? '']])
  if (tls === null) return facts.set('tls-port', '0')
  facts.set('port', '0').set('tls-port', String(port)).set('tls-protocols', TLS_VERSION_MIN)
  facts.set('tls-cert-file', tls.certFile).set('tls-key-file', tls.keyFile)
  return facts.set('tls-ca-cert-file', tls.caFile ?? '').set('tls-auth-clients', tls.authClients)
}

/** Said once, where not only this machine reaches the clients' port. */
export function warnOfOpenDoors({ security, tls }: ClientSecurity, { host, port }: HostPort, log: Log): void {
  if (host === 'localhost' || host === '::1' || /^(?:::ffff:)?127\./.test(host)) return
  const asks = security.asksForPassword || tls?.authClients === 'yes'
  const open = asks ? [] : ['whoever reaches it may read and change everything (--password-file, --aclfile)']
  const readable = tls === null ? ['all of it, passwords too, can be read on the way (--tls-cert-file)'] : []
  if (open.length + readable.length === 0) return
  log.warn('clients.unprotected', { redis: formatAddress({ host, port }), message: [...open, ...readable].join('; ') })
}

/** Each part is taken whole, or what was there stays in force and the log says why. */
export function reloadSecurity(
  { users, tls, peers }: SecurityOptions,
  server: Pick<KvServer, 'loadUsers' | 'tls'>,
  transport: Pick<TcpTransport, 'reload'>,
  log: Log,
): void {
  const kept = (what: string, { message }: Error): void =>
    log.error('security.kept', { what, message: `${message}; what was there stays in force` })
  const attempt = (what: string, load: () => void): void => {
    try {
      load()
    } catch (error) {
      if (!(error instanceof SecurityError)) throw error
      kept(what, error)
    }
  }
  if (readsUsers(users)) attempt('users', () => server.loadUsers())
  if (tls !== null) {
    attempt('certificates', () => {
      server.tls?.replace(readClientTls(tls, Date.now()))
      log.info('certificates.loaded', { certFile: tls.certFile })
    })
  }
  if (peers === null) return
  transport.reload().then(
    () => log.info('peer-certificates.loaded', { certFile: peers.certFile }),
    (error: Error) => kept('certificates of peers', error),
  )
}
