/**
 * How the answer of an entry travels from the leader to the server whose client wrote it: one letter says what it is,
 * the rest is as below. Numbers are little-endian. A value of n bytes takes n + 1.
 *
 * - `b` a string, `s` a status, `e` an error: its bytes.
 * - `i` an integer: its digits.
 * - `n` null, `N` the null of an EXEC that lost its race: nothing.
 * - `a` an array: for each element u32 length and its bytes, encoded like this.
 */

import type { Codec } from 'balsa-raft'
import { parseInteger } from '../data-set/integer.js'
import { failure, nullArray, status, type Reply } from '../resp/reply.js'
import { latin1, writeLatin1 } from '../resp/latin1.js'

export const replyCodec: Codec<Reply> = { encode: encodeReply, decode: decodeReply }

// Hot path: once per forwarded command.
function encodeReply(reply: Reply): Uint8Array {
  if (reply === null) return letter('n')
  if (typeof reply === 'string') return text('b', reply)
  if (typeof reply === 'number' || typeof reply === 'bigint') return text('i', String(reply))
  if (!('type' in reply)) return list(reply)
  switch (reply.type) {
    case 'status':
      return text('s', reply.text)
    case 'error':
      return text('e', reply.text)
    case 'nullArray':
      return letter('N')
    case 'map':
    case 'set':
    case 'verbatim':
    case 'encoded':
      throw new Error(`no entry is answered with what is called ${reply.type}`)
  }
}

const letter = (kind: string): Uint8Array => text(kind, '')

function text(kind: string, content: string): Uint8Array {
  const bytes = new Uint8Array(1 + content.length)
  writeLatin1(bytes, writeLatin1(bytes, 0, kind), content)
  return bytes
}

function list(replies: readonly Reply[]): Uint8Array {
  const parts = replies.map(encodeReply)
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 1))
  const view = new DataView(bytes.buffer)
  let at = writeLatin1(bytes, 0, 'a')
  for (const part of parts) {
    view.setUint32(at, part.length, true)
    bytes.set(part, at + 4)
    at += 4 + part.length
  }
  return bytes
}

/** Throws where the bytes are no answer. */
function decodeReply(bytes: Uint8Array): Reply {
  const content = (): string => latin1(bytes, 1, bytes.length)
  switch (latin1(bytes, 0, Math.min(1, bytes.length))) {
    case 'b':
      return content()
    case 'i':
      return integerOf(content())
    case 's':
      return status(content())
    case 'e':
      return failure(content())
    case 'n':
      return null
    case 'N':
      return nullArray
    case 'a':
      return decodeList(bytes)
    default:
      throw new Error('these bytes are no answer of this version')
  }
}

function integerOf(digits: string): Reply {
  const value = parseInteger(digits)
  if (value === null) throw new Error('an answer is no integer of 64 bits')
  return value
}

function decodeList(bytes: Uint8Array): Reply {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const replies: Reply[] = []
  for (let at = 1; at < bytes.length;) {
    const end = at + 4 > bytes.length ? Infinity : at + 4 + view.getUint32(at, true)
    if (end > bytes.length) throw new Error('an answer ends in the middle of its list')
    replies.push(decodeReply(bytes.subarray(at + 4, end)))
    at = end
  }
  return replies
}
