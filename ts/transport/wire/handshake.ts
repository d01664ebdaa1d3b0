/**
 * What two servers say besides messages: hello, welcome and refusal before anything else, refusal and goodbye at the
 * end. The fields of these frames are one MessagePack map, so that later versions can add keys; unknown keys are
 * skipped. Every protocol version reads them, or two servers that share no version could not tell each other so.
 */

import { Packr } from 'msgpackr'
import { assert } from '../../errors.js'
import { type Boot, type Introduction, isPosition, logIndex, type ServerId, termOf } from '../../types.js'
import type { Refusal } from '../refusal.js'
import { areFeatureNames, CHANNEL_REQUIRES, FEATURES, unknownFeatures } from './features.js'
import {
  CHECKSUM_BYTES,
  finishHead,
  FRAME_BYTES_MIN,
  FRAME_HEADER_BYTES,
  type FrameMemory,
  frameMemory,
  frameTypeAt,
  FrameType,
  HEAD_BYTES_MAX,
  headLengthAt,
  type Malformed,
  malformed,
} from './frame.js'

/** The versions of the protocol that this code speaks, both inclusive. */
export const PROTOCOL: ProtocolRange = { min: 1, max: 1 }

/** The versions of the protocol that a server speaks, both included. */
export interface ProtocolRange {
  readonly min: number
  readonly max: number
}

/** The first frame of a connection, from whoever dialled: who it is, whom it means, what it can. */
export interface Hello extends Introduction {
  readonly type: 'hello'
  readonly protocol: ProtocolRange
  /** Whom the sender means to talk to. */
  readonly targetId: ServerId
  /** Where the sender says that it is dialled; for logs only. */
  readonly address: string
  /** What the sender has; names that are not known here are no flaw. */
  readonly features: readonly string[]
  /** Of those, what the other side must have too. */
  readonly requires: readonly string[]
  /** The connection is a channel, and not one for messages; then CHANNEL_REQUIRES are among what it requires. */
  readonly channel?: true
}

/**
 * Sent by a peer that this code cannot talk to: its other keys may mean something else there, and were not looked at.
 */
export interface ForeignHello {
  readonly type: 'foreignHello'
  readonly protocol: ProtocolRange
  /** What it requires and this version does not have; empty when the protocol versions do not overlap. */
  readonly unknown: readonly string[]
}

/** The sender's `admit` has resolved: it now takes requests, or on a channel frames. */
export interface Welcome {
  readonly type: 'welcome'
}

/** The last frame of a connection that is not taken: why not. */
export interface RefusalFrame extends Refusal {
  readonly type: 'refusal'
}

/** The sender ends the connection, and nothing is wrong. Only to a peer with the feature `goodbye`. */
export interface Goodbye {
  readonly type: 'goodbye'
  readonly reason: string
}

const REASON_LENGTH_MAX = 1000

/** Boots in one hello; with names of the greatest length they still fit into a head. */
const BOOTS_MAX = 64

/**
 * Maps, so that a key such as `__proto__` is only a key. No records: nothing that one peer sends shapes what another's
 * means. A number of 64 bits is a number: other writers of MessagePack use that form.
 */
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: false,
  int64AsType: 'number',
  variableMapSize: true,
})

/** The first frame of who has dialled. */
export function encodeHello(hello: Omit<Hello, 'type'>): Uint8Array {
  const { protocol, requires, features, clusterId, serverId, incarnation, bootCounter, targetId, address } = hello
  const { bootNonce, knownBoot, boots, term, lastIndex, hasJoined, targetWasAdded, channel } = hello
  return encodeMap(FrameType.hello, {
    protocolMin: protocol.min,
    protocolMax: protocol.max,
    requires,
    features,
    clusterId,
    serverId,
    incarnation,
    bootCounter,
    targetId,
    address,
    bootNonce,
    knownBoot,
    boots: boots.map((boot) => [boot.bootCounter, boot.bootNonce]),
    term,
    lastIndex,
    ...(hasJoined === true && { hasJoined }),
    ...(targetWasAdded === true && { targetWasAdded }),
    ...(channel === true && { channel }),
  })
}

/** What a hello says of its sender, without what is only of the connection. */
export function introductionOf(hello: Hello): Introduction {
  const { clusterId, serverId, incarnation, bootCounter, bootNonce, boots, knownBoot, term, lastIndex } = hello
  const { hasJoined, targetWasAdded } = hello
  return {
    ...{ clusterId, serverId, incarnation, bootCounter, bootNonce, boots, knownBoot, term, lastIndex },
    ...(hasJoined === true && { hasJoined }),
    ...(targetWasAdded === true && { targetWasAdded }),
  }
}

/** The frame that takes a connection. */
export function encodeWelcome(): Uint8Array {
  return encodeMap(FrameType.welcome, {})
}

/** The frame that refuses a connection. What is too long is cut. */
export function encodeRefusal(refusal: Refusal): Uint8Array {
  return encodeMap(FrameType.refusal, {
    code: refusal.code.slice(0, 64),
    reason: refusal.reason.slice(0, REASON_LENGTH_MAX),
  })
}

/** The last frame of a sender that closes. */
export function encodeGoodbye(reason: string): Uint8Array {
  return encodeMap(FrameType.goodbye, { reason: reason.slice(0, REASON_LENGTH_MAX) })
}

export function encodeMap(type: number, map: Readonly<Record<string, unknown>>): Uint8Array {
  const body = packr.pack(map)
  const length = FRAME_BYTES_MIN + body.byteLength
  assert(length <= HEAD_BYTES_MAX, `a frame of type ${type} has ${length} bytes, over ${HEAD_BYTES_MAX}`)
  const memory = frameMemory(new Uint8Array(length))
  memory.bytes.set(body, FRAME_HEADER_BYTES)
  finishHead(memory, 0, length - CHECKSUM_BYTES, type, 0)
  return memory.bytes
}

/** Why this server does not talk to the sender of that hello; the reason goes into both logs. */
export function foreignRefusal(self: ServerId, { protocol, unknown }: ForeignHello): Refusal {
  const versions =
    `the peer speaks protocol versions ${protocol.min} .. ${protocol.max}, server ${self} ${PROTOCOL.min} .. ` +
    `${PROTOCOL.max}`
  if (unknown.length === 0) return { code: 'PROTOCOL', reason: `${versions}; upgrade the older one` }
  const reason =
    `the peer requires ${unknown.join(', ')}, which server ${self} does not have (${versions}; server ${self} has ` +
    `${FEATURES.join(', ')}); upgrade server ${self}`
  return { code: 'UNKNOWN_FEATURE', reason }
}

/** Reads the frame at [start, end), which is no message. Invariant: its outline has no flaw. Total. */
export function decodeHandshake(
  memory: FrameMemory,
  start: number,
  end: number,
): Hello | ForeignHello | Welcome | RefusalFrame | Goodbye | Malformed {
  const type = frameTypeAt(memory, start)
  const headEnd = start + headLengthAt(memory, start)
  if (headEnd !== end) return malformed(`a frame of type ${type} with ${end - headEnd} bytes behind its head`)
  if (type < FrameType.hello || type > FrameType.goodbye) return malformed(`frame type ${type} is not known`)
  const map = readMap(memory.bytes.subarray(start + FRAME_HEADER_BYTES, end - CHECKSUM_BYTES))
  if (map === null) return malformed(`the body of a frame of type ${type} is not a MessagePack map`)
  switch (type) {
    case FrameType.hello:
      return helloOf(map)
    case FrameType.welcome:
      return { type: 'welcome' }
    case FrameType.refusal: {
      const code = map.get('code')
      const reason = map.get('reason')
      if (typeof code !== 'string' || typeof reason !== 'string') return malformed('a refusal without code and reason')
      return { type: 'refusal', code, reason }
    }
    case FrameType.goodbye: {
      const reason = map.get('reason')
      return typeof reason === 'string' ? { type: 'goodbye', reason } : malformed('a goodbye without reason')
    }
    default:
      return malformed(`frame type ${type} is not known`)
  }
}

function helloOf(map: ReadonlyMap<unknown, unknown>): Hello | ForeignHello | Malformed {
  const min = map.get('protocolMin')
  const max = map.get('protocolMax')
  if (!isPosition(min) || !isPosition(max) || min > max) return malformed('hello: no protocol range')
  const protocol = { min, max }
  if (max < PROTOCOL.min || min > PROTOCOL.max) return { type: 'foreignHello', protocol, unknown: [] }
  const requires = map.get('requires')
  if (!areFeatureNames(requires)) return malformed('hello: requires is not a list of up to 64 names of features')
  const unknown = unknownFeatures(requires)
  if (unknown.length > 0) return { type: 'foreignHello', protocol, unknown }
  const features = map.get('features')
  const clusterId = hexField(map, 'clusterId')
  const serverId = idField(map, 'serverId')
  const incarnation = hexField(map, 'incarnation')
  const bootCounter = map.get('bootCounter')
  const bootNonce = hexField(map, 'bootNonce')
  const knownBoot = map.get('knownBoot')
  const boots = bootsField(map)
  const term = map.get('term')
  const lastIndex = map.get('lastIndex')
  const targetId = idField(map, 'targetId')
  const address = idField(map, 'address')
  const hasJoined = map.get('hasJoined') ?? false
  const targetWasAdded = map.get('targetWasAdded') ?? false
  const channel = map.get('channel') ?? false
  if (!areFeatureNames(features)) return malformed('hello: features is not a list of up to 64 names of features')
  if (!requires.every((name) => features.includes(name))) return malformed('hello: it requires what it does not offer')
  if (clusterId === null) return malformed('hello: clusterId is not 32 hex digits')
  if (serverId === null) return malformed('hello: serverId is not 1 to 255 bytes of UTF-8')
  if (incarnation === null) return malformed('hello: incarnation is not 32 hex digits')
  if (!isPosition(bootCounter)) return malformed('hello: bootCounter is not a whole number in 0 .. 2^53 - 1')
  if (bootNonce === null) return malformed(`hello: bootNonce is not 32 hex digits; upgrade ${serverId} if it says none`)
  if (!isPosition(knownBoot)) return malformed('hello: knownBoot is not a whole number in 0 .. 2^53 - 1')
  if (boots === null) return malformed(`hello: boots is not a list of up to ${BOOTS_MAX} pairs of counter and nonce`)
  if (!isPosition(term)) return malformed('hello: term is not a whole number in 0 .. 2^53 - 1')
  if (!isPosition(lastIndex)) return malformed('hello: lastIndex is not a whole number in 0 .. 2^53 - 1')
  if (targetId === null) return malformed('hello: targetId is not 1 to 255 bytes of UTF-8')
  if (address === null) return malformed('hello: address is not 1 to 255 bytes of UTF-8')
  if (typeof hasJoined !== 'boolean') return malformed('hello: hasJoined is not a boolean')
  if (typeof targetWasAdded !== 'boolean') return malformed('hello: targetWasAdded is not a boolean')
  if (typeof channel !== 'boolean') return malformed('hello: channel is not a boolean')
  if (channel && !CHANNEL_REQUIRES.every((name) => requires.includes(name))) {
    return malformed(`hello: a channel that does not require ${CHANNEL_REQUIRES.join(' and ')}`)
  }
  return {
    type: 'hello',
    protocol,
    clusterId,
    serverId,
    incarnation,
    bootCounter,
    bootNonce,
    boots,
    knownBoot,
    term: termOf(term),
    lastIndex: logIndex(lastIndex),
    targetId,
    address,
    features,
    requires,
    ...(hasJoined && { hasJoined }),
    ...(targetWasAdded && { targetWasAdded }),
    ...(channel && { channel }),
  }
}

export function hexField(map: ReadonlyMap<unknown, unknown>, key: string): string | null {
  const value = map.get(key)
  return isHex(value) ? value : null
}

const isHex = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value)

/** Null when it is not a list of boots. */
function bootsField(map: ReadonlyMap<unknown, unknown>): readonly Boot[] | null {
  const value = map.get('boots')
  if (!Array.isArray(value) || value.length > BOOTS_MAX) return null
  const boots: Boot[] = []
  for (const pair of value as readonly unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return null
    const [bootCounter, bootNonce] = pair as readonly unknown[]
    if (!isPosition(bootCounter) || !isHex(bootNonce)) return null
    boots.push({ bootCounter, bootNonce })
  }
  return boots
}

export function idField(map: ReadonlyMap<unknown, unknown>, key: string): string | null {
  const value = map.get(key)
  if (typeof value !== 'string') return null
  const length = Buffer.byteLength(value)
  return length >= 1 && length <= 255 ? value : null
}

/** Null when the bytes are not exactly one MessagePack map. */
export function readMap(bytes: Uint8Array): ReadonlyMap<unknown, unknown> | null {
  try {
    const value: unknown = packr.unpack(bytes)
    return value instanceof Map ? value : null
  } catch {
    // Whatever it throws is about these bytes: they are all that it was given.
    return null
  }
}
