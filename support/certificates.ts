/**
 * Certificates for tests and measurements, made when they are needed by the command `openssl` (docs/security.md has the
 * same commands for people): none lies in the tree, and none expires there.
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A certificate and its key, in PEM. */
export interface Issued {
  readonly cert: string
  readonly key: string
}

export interface Issuing {
  /** Alternative names, such as `DNS:s1.test`. */
  readonly names: readonly string[]
  /** Less than 0: it has expired. Default 2. */
  readonly days?: number
  /** Default: any. */
  readonly extendedKeyUsage?: string
}

/** Why none can be made on this machine, or null. */
export const noCertificates: string | null =
  spawnSync('openssl', ['version']).status === 0 ? null : 'there is no command openssl to make certificates with'

export class Authority {
  readonly pem: string
  readonly #folder: string

  constructor(name = 'test authority') {
    this.#folder = mkdtempSync(join(tmpdir(), 'balsa-ca-'))
    const made = openssl([
      ...['req', '-x509', ...NEW_KEY, '-subj', `/CN=${name}`, '-days', '2'],
      ...['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ])
    this.pem = block(made, 'CERTIFICATE')
    writeFileSync(this.#at('ca.pem'), this.pem)
    writeFileSync(this.#at('ca.key'), block(made, 'PRIVATE KEY'))
  }

  issue({ names, days = 2, extendedKeyUsage }: Issuing): Issued {
    const extensions = ['basicConstraints=CA:FALSE']
    if (names.length > 0) extensions.push(`subjectAltName=${names.join(',')}`)
    if (extendedKeyUsage !== undefined) extensions.push(`extendedKeyUsage=${extendedKeyUsage}`)
    const wished = openssl([
      ...['req', '-new', ...NEW_KEY, '-subj', '/CN=a server'],
      ...extensions.flatMap((each) => ['-addext', each]),
    ])
    const by = ['-CA', this.#at('ca.pem'), '-CAkey', this.#at('ca.key'), '-days', String(days)]
    const cert = openssl(['x509', '-req', '-copy_extensions', 'copyall', ...by], block(wished, 'CERTIFICATE REQUEST'))
    return { cert: block(cert, 'CERTIFICATE'), key: block(wished, 'PRIVATE KEY') }
  }

  /** What it has issued stays. */
  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #at(name: string): string {
    return join(this.#folder, name)
  }
}

/** A new key, unencrypted, on the standard output. */
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', '-'] as const

function block(made: string, type: string): string {
  const [found] = new RegExp(`-----BEGIN ${type}-----[^-]+-----END ${type}-----\\n`).exec(made) ?? []
  if (found === undefined) throw new Error(`openssl has made no ${type}`)
  return found
}

function openssl(given: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync('openssl', given, { encoding: 'utf8', input })
  if (status !== 0) throw new Error(`openssl ${given[0] ?? ''} failed: ${stderr}`)
  return stdout
}
