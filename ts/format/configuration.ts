/**
 * The payload of a configuration entry: MessagePack of `[cluster name, voters, outgoing, nonvoters]`.
 * One configuration has exactly one encoding, in every process and for ever, because the cluster id is a hash of it:
 * servers are sorted by id (as JavaScript compares strings), every header is the shortest, no record or extension is used.
 */

import { Packr } from 'msgpackr/pack'

import { assert } from '../errors.js'
import type { Configuration, Nonvoter, Server } from '../types.js'
import { MalformedBytes } from './malformed.js'

/** What the payload says; the name of the cluster is part of what the cluster id is a hash of. */
export interface ConfigurationPayload {
  readonly clusterName: string
  readonly configuration: Configuration
}

const packr = new Packr({ useRecords: false })

/** UTF-8 cannot carry half a surrogate pair: two such ids would become one. */
const LONE_SURROGATE = /\p{Surrogate}/u

export function encodeConfiguration(payload: ConfigurationPayload): Uint8Array {
  const { clusterName, configuration } = payload
  const { voters, outgoing, nonvoters } = configuration
  assert(!LONE_SURROGATE.test(clusterName), `cluster name ${JSON.stringify(clusterName)} is not well-formed`)
  const packed = packr.encode([
    clusterName,
    sortById(voters).map(serverRow),
    outgoing === null ? null : sortById(outgoing).map(serverRow),
    sortById(nonvoters).map((nonvoter) => [...serverRow(nonvoter), nonvoter.promote]),
  ])
  return new Uint8Array(packed)
}

/** Total: throws MalformedBytes for whatever `encodeConfiguration` does not produce. */
export function decodeConfiguration(bytes: Uint8Array): ConfigurationPayload {
  const parts = asArray(unpack(bytes), 4, 'the payload')
  const payload: ConfigurationPayload = {
    clusterName: asString(parts[0], 'the cluster name'),
    configuration: {
      voters: asArray(parts[1], null, 'voters').map(asServer),
      outgoing: parts[2] === null ? null : asArray(parts[2], null, 'outgoing').map(asServer),
      nonvoters: asArray(parts[3], null, 'nonvoters').map(asNonvoter),
    },
  }
  const { voters, outgoing, nonvoters } = payload.configuration
  for (const servers of [voters, outgoing ?? [], nonvoters]) checkAscending(servers)
  // Catches every other form of the same value: longer headers, bytes behind the end, text that is not UTF-8.
  if (!sameBytes(encodeConfiguration(payload), bytes)) fail('it is not in the one canonical form')
  return payload
}

function sortById<T extends Server>(servers: readonly T[]): T[] {
  return servers.toSorted((a, b) => (a.id < b.id ? -1 : Number(a.id > b.id)))
}

function serverRow(server: Server): [string, string] {
  assert(!LONE_SURROGATE.test(server.id), `server id ${JSON.stringify(server.id)} is not well-formed`)
  assert(!LONE_SURROGATE.test(server.address), `address ${JSON.stringify(server.address)} is not well-formed`)
  return [server.id, server.address]
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.decode(bytes)
  } catch (cause) {
    throw new MalformedBytes('configuration', 'it is not MessagePack', cause)
  }
}

function asServer(value: unknown): Server {
  const row = asArray(value, 2, 'a server')
  return { id: asString(row[0], 'a server id'), address: asString(row[1], 'an address') }
}

function asNonvoter(value: unknown): Nonvoter {
  const row = asArray(value, 3, 'a nonvoter')
  const promote = row[2]
  if (typeof promote !== 'boolean') fail('promote is not a boolean')
  return { id: asString(row[0], 'a server id'), address: asString(row[1], 'an address'), promote }
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

function checkAscending(servers: readonly Server[]): void {
  for (const [at, server] of servers.entries()) {
    const before = servers[at - 1]
    if (before !== undefined && before.id >= server.id) fail(`server id ${server.id} is repeated or out of order`)
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}

function fail(reason: string): never {
  throw new MalformedBytes('configuration', reason)
}
