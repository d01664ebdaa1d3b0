/**
 * Writes an answer in RESP2 or RESP3, as a string of bytes (see reply.ts).
 *
 * Joining strings leaves the copying of values to the one write of the socket, where V8 flattens all answers of a turn
 * at once.
 */

import { ok, type Reply } from './reply.js'

const OK_BYTES = '+OK\r\n'

export type ProtocolVersion = 2 | 3

export function encodeReply(reply: Reply, version: ProtocolVersion): string {
  // What nearly every write is answered with.
  if (reply === ok) return OK_BYTES
  if (typeof reply === 'string') return `$${reply.length}\r\n${reply}\r\n`
  if (typeof reply === 'number' || typeof reply === 'bigint') return `:${reply}\r\n`
  if (reply === null) return version === 2 ? '$-1\r\n' : '_\r\n'
  if (!('type' in reply)) return encodeAll(`*${reply.length}\r\n`, reply, version)
  switch (reply.type) {
    case 'status':
      return `+${reply.text}\r\n`
    case 'error':
      return `-${oneLine(reply.text)}\r\n`
    case 'nullArray':
      return version === 2 ? '*-1\r\n' : '_\r\n'
    case 'map':
      return encodePairs(reply.pairs, version)
    case 'set':
      return encodeAll(`${version === 2 ? '*' : '~'}${reply.members.length}\r\n`, reply.members, version)
    case 'encoded':
      return reply.chunks.join('')
    case 'verbatim':
      return version === 2
        ? `$${reply.text.length}\r\n${reply.text}\r\n`
        : `=${reply.text.length + 4}\r\ntxt:${reply.text}\r\n`
  }
}

/** The bytes that an answer will take, near enough to bound them before they are made. */
export function replyBytes(reply: Reply): number {
  if (typeof reply === 'string') return reply.length + 16
  if (typeof reply !== 'object' || reply === null) return 24
  if (!('type' in reply)) return reply.reduce<number>((sum, each) => sum + replyBytes(each), 16)
  switch (reply.type) {
    case 'status':
    case 'error':
    case 'verbatim':
      return reply.text.length + 24
    case 'nullArray':
      return 8
    case 'encoded':
      return reply.chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    case 'map':
      return reply.pairs.reduce((sum, [key, value]) => sum + replyBytes(key) + replyBytes(value), 16)
    case 'set':
      return reply.members.reduce<number>((sum, each) => sum + replyBytes(each), 16)
  }
}

function encodeAll(head: string, replies: readonly Reply[], version: ProtocolVersion): string {
  let out = head
  for (const reply of replies) out += encodeReply(reply, version)
  return out
}

function encodePairs(pairs: readonly (readonly [Reply, Reply])[], version: ProtocolVersion): string {
  let out = version === 2 ? `*${pairs.length * 2}\r\n` : `%${pairs.length}\r\n`
  for (const [key, value] of pairs) out += encodeReply(key, version) + encodeReply(value, version)
  return out
}

/** An error is one line of bytes, whatever a client or the operating system put into it. */
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this looks for
  return /[\r\n\u0100-\uffff]/.test(text) ? text.replace(/[\r\n]/g, ' ').replace(/[\u0100-\uffff]/g, '?') : text
}
