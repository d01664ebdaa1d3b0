/**
 * Who is in the cluster, as its clients see it: for each server id the address its peers dial and the address its
 * clients dial. The configuration says both, the latter in `meta.redis`; until a leader has put it there
 * (server/published-addresses.ts), the list of the command line does.
 */

import { createHash } from 'node:crypto'
import type { Status } from 'balsa-raft'

export interface HostPort {
  readonly host: string
  readonly port: number
}

/** A server, as far as it is known here. */
export interface KnownMember {
  readonly id: string
  readonly peer: HostPort
  /** Null: nobody has said it yet. */
  readonly redis: HostPort | null
  /** 40 hex digits: what Redis calls a node id. The same on every server, whoever is asked. */
  readonly nodeId: string
}

/** A server that the command line names. */
export interface Member extends KnownMember {
  readonly redis: HostPort
}

export function makeMember<Redis extends HostPort | null>(
  id: string,
  peer: HostPort,
  redis: Redis,
): KnownMember & { readonly redis: Redis } {
  return { id, peer, redis, nodeId: createHash('sha1').update(`balsa-kv ${id}`).digest('hex') }
}

/** A server as the configuration describes it. */
export type Described = Status['configuration']['voters'][number]

/** The server at which clients are, and what the command line says of all of them. */
export interface Listed {
  readonly self: Member
  readonly members: readonly Member[]
}

/** Every member of a configuration, each once: voters, those that leave, nonvoters. */
export function describedMembers({ voters, outgoing, nonvoters }: Status['configuration']): readonly Described[] {
  const all: readonly Described[] = [...voters, ...(outgoing ?? []), ...nonvoters]
  return all.filter(({ id }, at) => all.findIndex((server) => server.id === id) === at)
}

/** `self` knows best where it listens; it is always the same object. */
export function knownMember({ id, address, meta }: Described, { self, members }: Listed): KnownMember {
  if (id === self.id) return self
  const peer = readAddress(address) ?? { host: address, port: 0 }
  return makeMember(id, peer, readAddress(meta?.['redis']) ?? members.find((member) => member.id === id)?.redis ?? null)
}

export const formatAddress = ({ host, port }: HostPort): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** Null: nobody has said it. */
export const formatIfKnown = (address: HostPort | null | undefined): string | null =>
  address === null || address === undefined ? null : formatAddress(address)

/** Null: it is not host:port, or [host]:port, with a port of 1 .. 65535. */
export function readAddress(text: string | undefined): HostPort | null {
  const match = /^(?:\[([^\s[\]/]+)\]|([^\s:[\]/]+)):([0-9]{1,5})$/.exec(text ?? '')
  if (match?.[1] !== undefined && !isIPv6(match[1])) return null
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  return host === undefined || port < 1 || port > 65_535 ? null : { host, port }
}

/** Also with the zone of a link. Asked of URL, as none of the rooms that are given their sockets knows node:net. */
function isIPv6(host: string): boolean {
  const [, address] = /^([^%]+)(?:%[\w.:-]+)?$/.exec(host) ?? []
  return address !== undefined && URL.canParse(`http://[${address}]/`)
}

/** In a redirection Redis writes an IPv6 address without brackets, and clients split at the last colon. */
export const redirectAddress = ({ host, port }: HostPort): string => `${host}:${port}`
