/**
 * The gRPC service of the transport (proto/balsa/transport/v1/transport.proto): one method, whose streams carry bytes.
 * What the bytes are is Balsa's own wire format, cut into messages wherever that is best; so no message has to be as
 * long as a frame, and the frames of one turn are one message.
 */

import type { MethodDefinition } from '@grpc/grpc-js'

/** `Bytes { bytes data = 1 }`: the tag of its only field. */
const DATA_TAG = 0x0a

/** The tag, and the longest length that is written. */
const HEADER_BYTES_MAX = 5

/** Bytes of one gRPC message in each direction: below what every gRPC server takes by default (4 MiB). */
export const MESSAGE_BYTES_MAX = 2 * 2 ** 20

/** What a server must take at least: a message with all that is around its bytes. */
export const wireBytesOf = (messageBytesMax: number): number => messageBytesMax + HEADER_BYTES_MAX

/** The one method: a stream of bytes in each direction, for as long as a connection lasts. */
const CONNECT: MethodDefinition<Buffer, Buffer> = {
  path: '/balsa.transport.v1.Raft/Connect',
  requestStream: true,
  responseStream: true,
  // A message that is none is refused by this transport, which can say why: gRPC would only end the stream.
  requestSerialize: asItIs,
  requestDeserialize: asItIs,
  responseSerialize: asItIs,
  responseDeserialize: asItIs,
}

/** What a `Server` of gRPC is given. */
export const raftService = { Connect: CONNECT } as const

/** One message with all these pieces, which together have `bytes`. Hot path: once per flush and connection. */
export function encodeBytes(pieces: readonly Uint8Array[], bytes: number): Buffer {
  const header = headerLength(bytes)
  const message = Buffer.allocUnsafeSlow(header + bytes)
  message[0] = DATA_TAG
  let rest = bytes
  let at = 1
  for (; rest > 0x7f; at += 1) {
    message[at] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  message[at] = rest
  at = header
  for (const piece of pieces) {
    message.set(piece, at)
    at += piece.byteLength
  }
  return message
}

/**
 * The bytes of a message, a view of it; null when it is no message of that kind, whole and with nothing besides. Hot
 * path: once per message.
 */
export function decodeBytes(message: Uint8Array): Uint8Array | null {
  if (message.byteLength === 0) return message
  if (message[0] !== DATA_TAG) return null
  let length = 0
  for (let at = 1; at < HEADER_BYTES_MAX; at += 1) {
    const byte = message[at]
    if (byte === undefined) return null
    length += (byte & 0x7f) * 2 ** (7 * (at - 1))
    if (byte > 0x7f) continue
    return message.byteLength - at - 1 === length ? message.subarray(at + 1) : null
  }
  return null
}

function headerLength(bytes: number): number {
  let length = 2
  for (let rest = bytes >>> 7; rest > 0; rest >>>= 7) length += 1
  return length
}

function asItIs(message: Buffer): Buffer {
  return message
}
