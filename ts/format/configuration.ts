/**
 * The payload of a configuration entry: MessagePack of `[1, cluster name, voters, outgoing, nonvoters, extensions]`;
 * the 1 is the version of this form. One configuration has exactly one encoding, in every process and for ever, because
 * the cluster id is a hash of one and because every server must store the same bytes: servers are sorted by id,
 * extensions by name (as JavaScript compares strings), every header is the shortest, no record or extension of
 * MessagePack is used.
 *
 * Extensions are what later versions will say of a server or of a configuration. Their values are bytes to everyone
 * else, so that a server which does not know one writes it into the next configuration exactly as it was.
 */

import { Packr } from 'msgpackr/pack'

import { assert } from '../errors.js'
import { isBytes } from '../foreign-values.js'
import type { Configuration, Extension, Nonvoter, Server } from '../types.js'
import { MalformedBytes, UnknownFormat } from './malformed.js'

/** What the payload says; the name of the cluster is part of what the cluster id is a hash of. */
export interface ConfigurationPayload {
  readonly clusterName: string
  readonly configuration: Configuration
}

const VERSION = 1
const PARTS = 6

/** Of a configuration: u32, little endian, the milliseconds of a lease. Required. */
const LEASE = 'read-lease'
/** Ten minutes: the longest election timeout. */
const LEASE_MS_MAX = 600_000

const EXTENSION_NAME = /^[a-z][a-z0-9-]{0,63}$/

const packr = new Packr({ useRecords: false })

/** UTF-8 cannot carry half a surrogate pair: two such ids would become one. */
const LONE_SURROGATE = /\p{Surrogate}/u

/**
 * The payload of the bootstrap entry (1, term 1), which every server writes by itself; the cluster id is a hash of it.
 * It holds ids and addresses alone, never an extension: what may change later, or differ from one server's options to
 * another's, is no part of a cluster's identity and comes with a later configuration.
 */
export function encodeBootstrap(clusterName: string, servers: readonly Server[]): Uint8Array {
  const voters = servers.map(({ id, address }) => ({ id, address }))
  return encodeConfiguration({ clusterName, configuration: { voters, outgoing: null, nonvoters: [] } })
}

export function encodeConfiguration(payload: ConfigurationPayload): Uint8Array {
  const { clusterName, configuration } = payload
  const { voters, outgoing, nonvoters } = configuration
  assert(!LONE_SURROGATE.test(clusterName), `cluster name ${JSON.stringify(clusterName)} is not well-formed`)
  const packed = packr.encode([
    VERSION,
    clusterName,
    sortById(voters).map(serverRow),
    outgoing === null ? null : sortById(outgoing).map(serverRow),
    sortById(nonvoters).map(nonvoterRow),
    extensionRows(withLease(configuration)),
  ])
  return new Uint8Array(packed)
}

/**
 * Total: throws MalformedBytes for whatever `encodeConfiguration` does not produce, and UnknownFormat for what a later
 * version wrote and must not be skipped.
 */
export function decodeConfiguration(bytes: Uint8Array): ConfigurationPayload {
  const parts = asArray(unpack(bytes), null, 'the payload')
  checkVersion(parts[0])
  asArray(parts, PARTS, 'the payload')
  const payload: ConfigurationPayload = {
    clusterName: asString(parts[1], 'the cluster name'),
    configuration: {
      voters: asArray(parts[2], null, 'voters').map(asServer),
      outgoing: parts[3] === null ? null : asArray(parts[3], null, 'outgoing').map(asServer),
      nonvoters: asArray(parts[4], null, 'nonvoters').map(asNonvoter),
      ...withoutLease(asExtensions(parts[5], 'the configuration')),
    },
  }
  const { voters, outgoing, nonvoters } = payload.configuration
  for (const servers of [voters, outgoing ?? [], nonvoters])
    checkAscending(
      'server id',
      servers.map(({ id }) => id),
    )
  // Catches every other form of the same value: longer headers, bytes behind the end, text that is not UTF-8.
  if (!sameBytes(encodeConfiguration(payload), bytes)) fail('it is not in the one canonical form')
  refuseRequired(payload.configuration)
  return payload
}

function sortById<T extends Server>(servers: readonly T[]): T[] {
  return servers.toSorted((a, b) => compare(a.id, b.id))
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

type ExtensionRow = readonly [string, boolean, Uint8Array]

function serverRow(server: Server): [string, string, readonly ExtensionRow[]] {
  return [...addressed(server), extensionRows(server.extensions)]
}

function nonvoterRow(nonvoter: Nonvoter): [string, string, boolean, readonly ExtensionRow[]] {
  return [...addressed(nonvoter), nonvoter.promote, extensionRows(nonvoter.extensions)]
}

function addressed(server: Server): [string, string] {
  assert(!LONE_SURROGATE.test(server.id), `server id ${JSON.stringify(server.id)} is not well-formed`)
  assert(!LONE_SURROGATE.test(server.address), `address ${JSON.stringify(server.address)} is not well-formed`)
  return [server.id, server.address]
}

function extensionRows(extensions: readonly Extension[] = []): readonly ExtensionRow[] {
  const sorted = extensions.toSorted((a, b) => compare(a.name, b.name))
  for (const [at, { name }] of sorted.entries()) {
    assert(EXTENSION_NAME.test(name), `${JSON.stringify(name)} is no name of an extension`)
    assert(sorted[at - 1]?.name !== name, `the extension ${name} is there twice`)
  }
  return sorted.map(({ name, isRequired, value }) => [name, isRequired, value])
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.decode(bytes)
  } catch (cause) {
    throw new MalformedBytes('configuration', 'it is not MessagePack', cause)
  }
}

function checkVersion(version: unknown): void {
  if (version === VERSION) return
  if (!Number.isSafeInteger(version) || (version as number) < 1) fail('it does not begin with a format version')
  const reason = `its format version is ${String(version)}, this server reads version ${VERSION}`
  throw new UnknownFormat('configuration', reason)
}

function asServer(value: unknown): Server {
  const row = asArray(value, 3, 'a server')
  const id = asString(row[0], 'a server id')
  return { id, address: asString(row[1], 'an address'), ...asExtensions(row[2], id) }
}

function asNonvoter(value: unknown): Nonvoter {
  const row = asArray(value, 4, 'a nonvoter')
  const promote = row[2]
  if (typeof promote !== 'boolean') fail('promote is not a boolean')
  const id = asString(row[0], 'a server id')
  return { id, address: asString(row[1], 'an address'), promote, ...asExtensions(row[3], id) }
}

function asExtensions(value: unknown, owner: string): { readonly extensions?: readonly Extension[] } {
  const rows = asArray(value, null, `the extensions of ${owner}`)
  if (rows.length === 0) return {}
  const extensions = rows.map(asExtension)
  checkAscending(
    'extension',
    extensions.map(({ name }) => name),
  )
  return { extensions }
}

function asExtension(value: unknown): Extension {
  const row = asArray(value, 3, 'an extension')
  const name = row[0]
  const isRequired = row[1]
  const bytes = row[2]
  if (typeof name !== 'string' || !EXTENSION_NAME.test(name)) fail('an extension has no name of a-z, 0-9 and -')
  if (typeof isRequired !== 'boolean') fail(`whether the extension ${name} is required is not a boolean`)
  if (!isBytes(bytes)) fail(`the value of the extension ${name} is not bytes`)
  // A copy: the payload is a view of a larger block, which must not be kept alive for this.
  return { name, isRequired, value: new Uint8Array(bytes) }
}

/** What is said of leases, beside the other extensions: who does not understand it must not take part. */
function withLease({ leaseMs, extensions = [] }: Configuration): readonly Extension[] {
  if (leaseMs === undefined) return extensions
  assert(isLease(leaseMs), `a lease of ${leaseMs} ms cannot be written`)
  const value = new Uint8Array(4)
  new DataView(value.buffer).setUint32(0, leaseMs, true)
  return [...extensions, { name: LEASE, isRequired: true, value }]
}

/** Of an optional one of that name, from whoever knows why, nothing is read, as of any. */
function withoutLease({ extensions = [] }: Pick<Configuration, 'extensions'>): Partial<Configuration> {
  const lease = extensions.find(({ name, isRequired }) => name === LEASE && isRequired)
  if (lease === undefined) return extensions.length === 0 ? {} : { extensions }
  const { byteLength, byteOffset, buffer } = lease.value
  const leaseMs = byteLength === 4 ? new DataView(buffer, byteOffset).getUint32(0, true) : 0
  if (!isLease(leaseMs)) fail(`the value of the extension ${LEASE} is no number of milliseconds`)
  const others = extensions.filter((each) => each !== lease)
  return { leaseMs, ...(others.length === 0 ? {} : { extensions: others }) }
}

const isLease = (leaseMs: number): boolean => Number.isInteger(leaseMs) && leaseMs > 0 && leaseMs <= LEASE_MS_MAX

/** Of others than these this version knows none: one that must be understood is refused, whatever it is. */
function refuseRequired(configuration: Configuration): void {
  const { voters, outgoing, nonvoters } = configuration
  for (const { extensions } of [configuration, ...voters, ...(outgoing ?? []), ...nonvoters]) {
    const required = extensions?.find(({ isRequired }) => isRequired)
    if (required === undefined) continue
    throw new UnknownFormat('configuration', `it requires the extension ${required.name}, which is not known here`)
  }
}

function asArray(value: unknown, length: number | null, name: string): readonly unknown[] {
  if (!Array.isArray(value)) fail(`${name} is not an array`)
  if (length !== null && value.length !== length) fail(`${name} has ${value.length} elements, not ${length}`)
  return value
}

function asString(value: unknown, name: string): string {
  if (typeof value !== 'string') fail(`${name} is not a string`)
  if (LONE_SURROGATE.test(value)) fail(`${name} is not well-formed UTF-8`)
  return value
}

function checkAscending(what: string, names: readonly string[]): void {
  for (const [at, name] of names.entries()) {
    const before = names[at - 1]
    if (before !== undefined && before >= name) fail(`${what} ${name} is repeated or out of order`)
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}

function fail(reason: string): never {
  throw new MalformedBytes('configuration', reason)
}
