/**
 * What certificates say: whose they are, who has issued them, and until when they are good. Who is believed, OpenSSL
 * decides in the handshake; here is only found out whether what was decided then would be decided again.
 */

import { X509Certificate } from 'node:crypto'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'

/** Certificates or a key in PEM, as text or as its bytes; several certificates stand one behind the other. */
export type Pem = string | Uint8Array

/** From a certificate to that of its CA, both included: longer than any that is in use. */
const CHAIN_LENGTH_MAX = 10

/** Where the id of a server stands in an alternative name. */
const PLACE = '{id}'

export function pemText(pem: Pem): string {
  return typeof pem === 'string' ? pem : Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength).toString('latin1')
}

/** Those in a PEM, in their order. Throws what Node.js throws when one of them cannot be read. */
export function certificatesIn(pem: Pem): readonly X509Certificate[] {
  const blocks = pemText(pem).match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
  return (blocks ?? []).map((block) => new X509Certificate(block))
}

/** What the other side has shown, its own certificate first; empty when it has shown none. */
export function certificatesOf(socket: TLSSocket): readonly X509Certificate[] {
  const shown: X509Certificate[] = []
  // Without a certificate it is an object without fields.
  let at: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true)
  while (at?.raw !== undefined && shown.length < CHAIN_LENGTH_MAX) {
    shown.push(new X509Certificate(at.raw))
    const { issuerCertificate }: Partial<DetailedPeerCertificate> = at
    if (issuerCertificate === at) break
    at = issuerCertificate
  }
  return shown
}

/** Whether the first of them is good at that time and was issued by one of those CAs, directly or by way of others. */
export function isIssuedBy(
  shown: readonly X509Certificate[],
  cas: readonly X509Certificate[],
  wallNow: number,
): boolean {
  const good = shown.filter((one) => dateFlaw(one, wallNow) === null)
  const believed = cas.filter((one) => dateFlaw(one, wallNow) === null)
  let [at] = shown
  for (let length = 0; at !== undefined && good.includes(at) && length < CHAIN_LENGTH_MAX; length += 1) {
    const one: X509Certificate = at
    if (believed.some((ca) => ca.fingerprint256 === one.fingerprint256 || hasIssued(ca, one))) return true
    at = good.find((issuer) => issuer !== one && hasIssued(issuer, one))
  }
  return false
}

function hasIssued(issuer: X509Certificate, one: X509Certificate): boolean {
  return issuer.ca && one.checkIssued(issuer) && one.verify(issuer.publicKey)
}

/** Why it is not good at that time, or null. */
export function dateFlaw(one: X509Certificate, wallNow: number): string | null {
  if (!(wallNow <= Date.parse(one.validTo))) return `it has expired, on ${one.validTo}`
  if (!(wallNow >= Date.parse(one.validFrom))) return `it is not good before ${one.validFrom}`
  return null
}

/** The alternative name that the certificate of that server must have; null when no certificate can have it. */
export function nameFor(san: string, id: string): string | null {
  return /^[\w.~:/@+-]+$/.test(id) ? san.replace(PLACE, () => id) : null
}

/** What is wrong with the pattern of a name, or null. */
export function patternFlaw(san: unknown): string | null {
  const isPattern = typeof san === 'string' && /^(?:DNS|URI):[\w.~:/@+{}-]{4,255}$/.test(san)
  if (isPattern && san.split(PLACE).length === 2 && !/[{}]/.test(san.replace(PLACE, ''))) return null
  return `must be DNS: or URI: and a name with ${PLACE} in it, such as DNS:${PLACE}.kv.internal or URI:balsa://kv/${PLACE}`
}

/** Whether a certificate has that name: of one server, or with `{id}` in it that of any. */
export function hasName(one: X509Certificate, name: string): boolean {
  const names = alternativeNames(one)
  const [before = '', after] = name.split(PLACE)
  if (after === undefined) return names.includes(name)
  const length = before.length + after.length
  return names.some((each) => each.length > length && each.startsWith(before) && each.endsWith(after))
}

/** As messages show them. */
export function namesOf(one: X509Certificate): string {
  const names = alternativeNames(one)
  if (names.length === 0) return 'no alternative name'
  const more = names.length > SHOWN_MAX ? ` and ${names.length - SHOWN_MAX} more` : ''
  const shown = names.slice(0, SHOWN_MAX).map((name) => name.slice(0, SHOWN_LENGTH_MAX))
  return shown.join(', ') + more
}

const SHOWN_MAX = 4
const SHOWN_LENGTH_MAX = 100

/**
 * Node.js puts a name in quotes that has a comma, a quote or a control character in it; such a one is kept with its
 * quotes, and so is no name that anybody looks for.
 */
function alternativeNames({ subjectAltName }: X509Certificate): readonly string[] {
  return subjectAltName?.match(/(?:[^",]|"(?:[^"\\]|\\.)*")+/g)?.map((name) => name.trimStart()) ?? []
}
