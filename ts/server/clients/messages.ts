/**
 * What a client and the server that serves it say to each other (docs/wire-format.md, Clients): commands and answers as
 * servers do among each other, queries, and the server's news. Pure. What comes from outside is total: malformed bytes
 * are null, never an error.
 *
 * Commands and queries are numbered together, and `answers` has those of both.
 */

import type { LeaderHint } from '../../errors.js'
import { FRAME_HEAD_BYTES, newFrame } from '../../format/channel-frame.js'
import { readU64, viewOf, writeU64 } from '../../format/little-endian.js'
import { isPosition } from '../../types.js'
import type { Consistency } from '../forward/any-server.js'
import { BATCH_COUNT_MAX, decodeForward, encodeForward, framesOf, hintOf, objectOf } from '../forward/messages.js'
import type { ForwardMessage } from '../forward/messages.js'

export type ClientMessage =
  | Extract<ForwardMessage, { readonly type: 'commands' | 'answers' }>
  /** Client: in this order; the first is called `firstId`, the next one by the next number. */
  | { readonly type: 'queries'; readonly firstId: number; readonly asked: readonly ClientQuery[] }
  /** Server: who leads and where the members are dialled, as it knows; when a client comes, and when it changes. */
  | { readonly type: 'news'; readonly leader: LeaderHint | null; readonly addresses: readonly string[] }

export interface ClientQuery {
  readonly bytes: Uint8Array
  readonly consistency: Consistency
  /** So long the client waits for the answer; null for as long as a server tries. */
  readonly timeoutMs: number | null
}

const QUERIES = 48
const NEWS = 49

const QUERIES_HEAD_BYTES = 16
/** Of one query: bytes, kind of consistency, its number, timeout. */
const QUERY_BYTES = 24
/** So many addresses of members are told. */
const ADDRESSES_MAX = 64

/** What they are called on the wire. */
const KINDS: Readonly<Record<Extract<Consistency, string>, number>> = { linearizable: 0, stale: 1, lease: 4 }
const MAX_STALENESS = 2
const MIN_INDEX = 3

/** The frames of a message, in their order. Hot path: once per turn. */
export function encodeClientMessage(message: ClientMessage): readonly Uint8Array[] {
  switch (message.type) {
    case 'queries':
      return framesOf(encodeQueries(message.firstId, message.asked))
    case 'news': {
      const { leader, addresses } = message
      const text = new TextEncoder().encode(JSON.stringify({ leader, addresses: addresses.slice(0, ADDRESSES_MAX) }))
      const bytes = newFrame(NEWS, text.length)
      bytes.set(text, FRAME_HEAD_BYTES)
      return framesOf(bytes)
    }
    default:
      return encodeForward(message)
  }
}

export function decodeClientMessage(word: number, body: Uint8Array): ClientMessage | null {
  if (word === QUERIES) return decodeQueries(body)
  if (word === NEWS) return decodeNews(body)
  const message = decodeForward(word, body)
  return message?.type === 'commands' || message?.type === 'answers' ? message : null
}

function encodeQueries(firstId: number, queries: readonly ClientQuery[]): Uint8Array {
  const table = queries.length * QUERY_BYTES
  let length = QUERIES_HEAD_BYTES + table
  for (const { bytes } of queries) length += bytes.length
  const frame = newFrame(QUERIES, length)
  const view = viewOf(frame)
  writeU64(view, FRAME_HEAD_BYTES, firstId)
  view.setUint32(FRAME_HEAD_BYTES + 8, queries.length, true)
  let row = FRAME_HEAD_BYTES + QUERIES_HEAD_BYTES
  let at = row + table
  for (const { bytes, consistency, timeoutMs } of queries) {
    const [kind, value] = numbersOf(consistency)
    view.setUint32(row, bytes.length, true)
    view.setUint32(row + 4, kind, true)
    view.setFloat64(row + 8, value, true)
    view.setFloat64(row + 16, timeoutMs ?? 0, true)
    frame.set(bytes, at)
    row += QUERY_BYTES
    at += bytes.length
  }
  return frame
}

function decodeQueries(body: Uint8Array): ClientMessage | null {
  if (body.length < QUERIES_HEAD_BYTES) return null
  const view = viewOf(body)
  const firstId = readU64(view, 0)
  const count = view.getUint32(8, true)
  let at = QUERIES_HEAD_BYTES + count * QUERY_BYTES
  if (count < 1 || count > BATCH_COUNT_MAX || at > body.length || !isPosition(firstId + count)) return null
  const queries: ClientQuery[] = []
  for (let row = QUERIES_HEAD_BYTES; row < QUERIES_HEAD_BYTES + count * QUERY_BYTES; row += QUERY_BYTES) {
    const end = at + view.getUint32(row, true)
    const consistency = consistencyOf(view.getUint32(row + 4, true), view.getFloat64(row + 8, true))
    const timeoutMs = view.getFloat64(row + 16, true)
    if (end > body.length || consistency === null || !(timeoutMs >= 0 && timeoutMs < 2 ** 31)) return null
    queries.push({ bytes: body.subarray(at, end), consistency, timeoutMs: timeoutMs === 0 ? null : timeoutMs })
    at = end
  }
  return at === body.length ? { type: 'queries', firstId, asked: queries } : null
}

function numbersOf(consistency: Consistency): readonly [kind: number, value: number] {
  if (typeof consistency === 'string') return [KINDS[consistency], 0]
  return 'minIndex' in consistency ? [MIN_INDEX, consistency.minIndex] : [MAX_STALENESS, consistency.maxStalenessMs]
}

function consistencyOf(kind: number, value: number): Consistency | null {
  if (kind === MIN_INDEX) return isPosition(value) ? { minIndex: value } : null
  if (kind === MAX_STALENESS) return value >= 0 && value < 2 ** 31 ? { maxStalenessMs: value } : null
  const [name] = Object.entries(KINDS).find(([, known]) => known === kind) ?? []
  return (name as Extract<Consistency, string> | undefined) ?? null
}

function decodeNews(body: Uint8Array): ClientMessage | null {
  const { leader, addresses } = objectOf(new TextDecoder().decode(body))
  if (!Array.isArray(addresses) || addresses.length > ADDRESSES_MAX) return null
  const texts = addresses.filter((address: unknown): address is string => typeof address === 'string')
  return { type: 'news', leader: hintOf(leader), addresses: texts }
}
