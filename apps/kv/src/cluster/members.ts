/**
 * Who is in the cluster, as its clients see it: for each server id the address its peers dial and the address its
 * clients dial. The list is the same on every server, so that each of them can name the leader's Redis address.
 */

import { createHash } from 'node:crypto'

export interface HostPort {
  readonly host: string
  readonly port: number
}

export interface Member {
  readonly id: string
  readonly peer: HostPort
  readonly redis: HostPort
  /** 40 hex digits: what Redis calls a node id. The same on every server, whoever is asked. */
  readonly nodeId: string
}

export function makeMember(id: string, peer: HostPort, redis: HostPort): Member {
  return { id, peer, redis, nodeId: createHash('sha1').update(`balsa-kv ${id}`).digest('hex') }
}

export const formatAddress = ({ host, port }: HostPort): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

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
