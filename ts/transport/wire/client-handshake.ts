/**
 * What a client says in the place of a hello, and what a server says that takes it (docs/wire-format.md, Clients). A
 * client is no server: it says nothing of itself that anybody could believe, and what follows is frames of a channel.
 */

import { isPosition } from '../../types.js'
import type { ServerId } from '../../types.js'
import { areFeatureNames, unknownFeatures } from './features.js'
import {
  CHECKSUM_BYTES,
  FRAME_HEADER_BYTES,
  type FrameMemory,
  frameTypeAt,
  FrameType,
  headLengthAt,
  type Malformed,
  malformed,
} from './frame.js'
import { encodeMap, type ForeignHello, hexField, idField, PROTOCOL, type ProtocolRange, readMap } from './handshake.js'

/** The first frame of a connection, from a client that has dialled. */
export interface ClientHello {
  readonly type: 'clientHello'
  readonly protocol: ProtocolRange
  readonly features: readonly string[]
  readonly requires: readonly string[]
  /** The name of the cluster that it means. */
  readonly cluster: string
  /** The cluster that it has talked to before; null when none. */
  readonly clusterId: string | null
}

/** The answer to it: from here on frames of a channel travel, in both directions. */
export interface ClientWelcome {
  readonly type: 'clientWelcome'
  readonly protocol: ProtocolRange
  readonly features: readonly string[]
  readonly clusterId: string
  readonly serverId: ServerId
}

/** The first frame of a client. */
export function encodeClientHello(hello: Omit<ClientHello, 'type'>): Uint8Array {
  const { protocol, features, requires, cluster, clusterId } = hello
  return encodeMap(FrameType.clientHello, {
    ...{ protocolMin: protocol.min, protocolMax: protocol.max, requires, features, cluster },
    ...(clusterId !== null && { clusterId }),
  })
}

/** The frame that takes a client. */
export function encodeClientWelcome(welcome: Omit<ClientWelcome, 'type'>): Uint8Array {
  const { protocol, features, clusterId, serverId } = welcome
  return encodeMap(FrameType.clientWelcome, {
    ...{ protocolMin: protocol.min, protocolMax: protocol.max, features, clusterId, serverId },
  })
}

export const isOfClients = (type: number): boolean => type === FrameType.clientHello || type === FrameType.clientWelcome

/** Reads the frame at [start, end), one of the two. Invariant: its outline has no flaw. Total. */
export function decodeClientHandshake(
  memory: FrameMemory,
  start: number,
  end: number,
): ClientHello | ClientWelcome | ForeignHello | Malformed {
  const isHello = frameTypeAt(memory, start) === FrameType.clientHello
  const what = isHello ? 'hello of a client' : 'welcome of a client'
  if (start + headLengthAt(memory, start) !== end) return malformed(`${what}: bytes behind its head`)
  const map = readMap(memory.bytes.subarray(start + FRAME_HEADER_BYTES, end - CHECKSUM_BYTES))
  if (map === null) return malformed(`${what}: it is not a MessagePack map`)
  const [min, max, features] = [map.get('protocolMin'), map.get('protocolMax'), map.get('features')]
  if (!isPosition(min) || !isPosition(max) || min > max) return malformed(`${what}: no protocol range`)
  const protocol = { min, max }
  if (max < PROTOCOL.min || min > PROTOCOL.max) return { type: 'foreignHello', protocol, unknown: [] }
  if (!areFeatureNames(features)) return malformed(`${what}: features is not a list of up to 64 names of features`)
  const clusterId = hexField(map, 'clusterId')
  if (!isHello) {
    const serverId = idField(map, 'serverId')
    if (clusterId === null || serverId === null) return malformed(`${what}: no clusterId, or no serverId`)
    return { type: 'clientWelcome', protocol, features, clusterId, serverId }
  }
  const requires = map.get('requires')
  if (!areFeatureNames(requires)) return malformed(`${what}: requires is not a list of up to 64 names of features`)
  const unknown = unknownFeatures(requires)
  if (unknown.length > 0) return { type: 'foreignHello', protocol, unknown }
  const cluster = idField(map, 'cluster')
  if (cluster === null) return malformed(`${what}: cluster is not 1 to 255 bytes of UTF-8`)
  if (clusterId === null && map.has('clusterId')) return malformed(`${what}: clusterId is not 32 hex digits`)
  return { type: 'clientHello', protocol, features, requires, cluster, clusterId }
}
