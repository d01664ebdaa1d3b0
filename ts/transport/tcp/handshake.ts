/**
 * What two servers say before anything else: the frames hello, welcome and refusal. Their bodies are MessagePack maps, so
 * that later versions can add keys; unknown keys are skipped. Every protocol version reads these three frames, or two
 * servers that share no version could not tell each other so.
 */

import { Packr } from 'msgpackr'
import { type Identity, isPosition, type ServerId } from '../../types.js'
import type { Refusal } from '../refusal.js'
import type { Malformed } from './codec.js'
import { FRAME_HEADER_BYTES, frameHeaderFlaw, FrameType, writeFrameHeader } from './frame.js'

/** The versions of the protocol that this code speaks, both inclusive. */
export const PROTOCOL: ProtocolRange = { min: 1, max: 1 }

export interface ProtocolRange {
  readonly min: number
  readonly max: number
}

export interface Hello extends Identity {
  readonly type: 'hello'
  readonly protocol: ProtocolRange
  /** Whom the sender means to talk to. */
  readonly targetId: ServerId
  /** Where the sender says that it is dialled; for logs only. */
  readonly address: string
  readonly features: readonly string[]
}

/** The sender's `admit` has resolved: it now takes requests. */
export interface Welcome {
  readonly type: 'welcome'
}

export interface RefusalFrame extends Refusal {
  readonly type: 'refusal'
}

/** Sent by a peer of a version that this code does not speak; its other fields may mean something else there. */
export interface ForeignHello {
  readonly type: 'foreignHello'
  readonly protocol: ProtocolRange
}

const REFUSAL_REASON_LENGTH_MAX = 1000

/** Maps, so that a key such as `__proto__` is only a key. No records: nothing that one peer sends shapes what another's means. */
const packr = new Packr({ useRecords: false, mapsAsObjects: false })

export function encodeHello(hello: Omit<Hello, 'type'>): Buffer {
  const { protocol, clusterId, serverId, incarnation, bootCounter, targetId, address, features } = hello
  return encodeMap(FrameType.hello, {
    protocolMin: protocol.min,
    protocolMax: protocol.max,
    clusterId,
    serverId,
    incarnation,
    bootCounter,
    targetId,
    address,
    features,
  })
}

export function encodeWelcome(): Buffer {
  return encodeMap(FrameType.welcome, {})
}

export function encodeRefusal(refusal: Refusal): Buffer {
  return encodeMap(FrameType.refusal, {
    code: refusal.code.slice(0, 64),
    reason: refusal.reason.slice(0, REFUSAL_REASON_LENGTH_MAX),
  })
}

function encodeMap(type: number, map: Readonly<Record<string, unknown>>): Buffer {
  const body = packr.pack(map)
  const length = FRAME_HEADER_BYTES + body.byteLength
  const frame = Buffer.allocUnsafeSlow(length)
  body.copy(frame, writeFrameHeader(frame, 0, { type, length }))
  return frame
}

/** Total, like `decodeMessage`, and with the same invariant on [start, end). */
export function decodeHandshake(
  bytes: Buffer,
  start: number,
  end: number,
): Hello | ForeignHello | Welcome | RefusalFrame | Malformed {
  const headerFlaw = frameHeaderFlaw(bytes, start)
  if (headerFlaw !== null) return malformed(headerFlaw)
  const type = bytes[start + 4]
  const map = readMap(bytes.subarray(start + FRAME_HEADER_BYTES, end))
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
    default:
      return malformed(`frame type ${type} is not one of the handshake`)
  }
}

function helloOf(map: ReadonlyMap<unknown, unknown>): Hello | ForeignHello | Malformed {
  const min = map.get('protocolMin')
  const max = map.get('protocolMax')
  if (!isPosition(min) || !isPosition(max) || min > max) return malformed('hello: no protocol range')
  const protocol = { min, max }
  if (max < PROTOCOL.min || min > PROTOCOL.max) return { type: 'foreignHello', protocol }
  const clusterId = hexField(map, 'clusterId')
  const serverId = idField(map, 'serverId')
  const incarnation = hexField(map, 'incarnation')
  const bootCounter = map.get('bootCounter')
  const targetId = idField(map, 'targetId')
  const address = idField(map, 'address')
  const features = map.get('features')
  if (clusterId === null) return malformed('hello: clusterId is not 32 hex digits')
  if (serverId === null) return malformed('hello: serverId is not 1 to 255 bytes of UTF-8')
  if (incarnation === null) return malformed('hello: incarnation is not 32 hex digits')
  if (!isPosition(bootCounter)) return malformed('hello: bootCounter is not a whole number in 0 .. 2^53 - 1')
  if (targetId === null) return malformed('hello: targetId is not 1 to 255 bytes of UTF-8')
  if (address === null) return malformed('hello: address is not 1 to 255 bytes of UTF-8')
  if (!isStrings(features)) return malformed('hello: features is not an array of strings')
  return { type: 'hello', protocol, clusterId, serverId, incarnation, bootCounter, targetId, address, features }
}

function hexField(map: ReadonlyMap<unknown, unknown>, key: string): string | null {
  const value = map.get(key)
  return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value) ? value : null
}

function idField(map: ReadonlyMap<unknown, unknown>, key: string): string | null {
  const value = map.get(key)
  if (typeof value !== 'string') return null
  const length = Buffer.byteLength(value)
  return length >= 1 && length <= 255 ? value : null
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

const malformed = (what: string): Malformed => ({ type: 'Malformed', what })

/** Null when the bytes are not exactly one MessagePack map. */
function readMap(bytes: Buffer): ReadonlyMap<unknown, unknown> | null {
  try {
    const value: unknown = packr.unpack(bytes)
    return value instanceof Map ? value : null
  } catch {
    // Whatever it throws is about these bytes: they are all that it was given.
    return null
  }
}
