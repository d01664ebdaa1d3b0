/**
 * What two servers say before anything else: the frames hello, welcome and refusal. Their bodies are MessagePack maps, so
 * that later versions can add keys; unknown keys are skipped. Every protocol version reads these three frames, or two
 * servers that share no version could not tell each other so.
 *
 * Bodies are read by a strict reader of our own: a general MessagePack decoder allocates what an array header claims,
 * up to 2^32 slots, before it finds that the bytes are not there, and here they come from whoever can reach the port.
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

const packr = new Packr({ useRecords: false })

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
  if (map === null) return malformed(`the body of a frame of type ${type} is not a plain MessagePack map`)
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

function helloOf(map: ReadonlyMap<string, unknown>): Hello | ForeignHello | Malformed {
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

function hexField(map: ReadonlyMap<string, unknown>, key: string): string | null {
  const value = map.get(key)
  return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value) ? value : null
}

function idField(map: ReadonlyMap<string, unknown>, key: string): string | null {
  const value = map.get(key)
  if (typeof value !== 'string') return null
  const length = Buffer.byteLength(value)
  return length >= 1 && length <= 255 ? value : null
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

const malformed = (what: string): Malformed => ({ type: 'Malformed', what })

/** Values nest no deeper in any hello, welcome or refusal, today's or a later one. */
const DEPTH_MAX = 4

/** Null when the bytes are not exactly one map of the plain kinds: string, number, boolean, nil, array and map. */
function readMap(bytes: Buffer): ReadonlyMap<string, unknown> | null {
  const reader = new PlainReader(bytes)
  const value = reader.value(DEPTH_MAX)
  return !reader.failed && reader.at === bytes.length && value instanceof Map ? value : null
}

/** Reads the plain part of MessagePack. Allocates in proportion to the bytes that are there, whatever headers claim. */
class PlainReader {
  at = 0
  failed = false
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  value(depth: number): unknown {
    const tag = this.#unsigned(1)
    if (tag <= 0x7f) return tag
    if (tag <= 0x8f) return this.#map(tag & 0x0f, depth)
    if (tag <= 0x9f) return this.#array(tag & 0x0f, depth)
    if (tag <= 0xbf) return this.#string(tag & 0x1f)
    switch (tag) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xcb:
        return this.#take(8) < 0 ? null : this.#bytes.readDoubleBE(this.at - 8)
      case 0xcc:
        return this.#unsigned(1)
      case 0xcd:
        return this.#unsigned(2)
      case 0xce:
        return this.#unsigned(4)
      case 0xcf:
        return this.#unsigned(4) * 0x1_0000_0000 + this.#unsigned(4)
      case 0xd9:
        return this.#string(this.#unsigned(1))
      case 0xda:
        return this.#string(this.#unsigned(2))
      case 0xdc:
        return this.#array(this.#unsigned(2), depth)
      case 0xde:
        return this.#map(this.#unsigned(2), depth)
      default:
        this.failed = true
        return null
    }
  }

  #map(count: number, depth: number): ReadonlyMap<string, unknown> {
    const map = new Map<string, unknown>()
    if (depth === 0) this.failed = true
    for (let i = 0; i < count && !this.failed; i++) {
      const key = this.value(0)
      if (typeof key !== 'string' || map.has(key)) this.failed = true
      else map.set(key, this.value(depth - 1))
    }
    return map
  }

  #array(count: number, depth: number): readonly unknown[] {
    const array: unknown[] = []
    if (depth === 0) this.failed = true
    for (let i = 0; i < count && !this.failed; i++) array.push(this.value(depth - 1))
    return array
  }

  #string(length: number): string {
    const from = this.#take(length)
    return from < 0 ? '' : this.#bytes.toString('utf8', from, from + length)
  }

  #unsigned(size: 1 | 2 | 4): number {
    const from = this.#take(size)
    return from < 0 ? 0 : this.#bytes.readUIntBE(from, size)
  }

  /** Where the next `length` bytes begin, or -1 when they are not there. */
  #take(length: number): number {
    if (this.failed || length > this.#bytes.length - this.at) {
      this.failed = true
      return -1
    }
    this.at += length
    return this.at - length
  }
}
