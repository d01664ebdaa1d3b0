/**
 * The sessions of a log as the first bytes of the data of a snapshot: docs/snapshots.md. Written in pieces, so that no
 * stretch of the event loop works on all of them.
 */

import { isPosition } from '../types.js'
import { readU64, viewOf, writeU64 } from './little-endian.js'
import { MalformedBytes } from './malformed.js'

/** One session. The answers by ascending place in the log; null: applied, and its answer is not kept. */
export interface SessionRecord {
  readonly id: number
  readonly expiresAfterMs: number
  readonly lastIndex: number
  readonly lastTime: number
  readonly unanswered: number
  readonly answers: readonly (readonly [sequence: number, answer: Uint8Array | null])[]
}

const RECORD_BYTES = 44
const ANSWER_HEAD_BYTES = 12
/** In the place of a length. */
const NOT_KEPT = 0xffffffff

/** Far above what the bounds of sessions allow; a length above it is damage. */
export const SESSION_TABLE_BYTES_MAX = 64 * 1024 * 1024

export function sessionTableBytes(sessions: readonly SessionRecord[]): number {
  return sessions.reduce((sum, session) => sum + recordBytes(session), 0)
}

/** One piece for each session. */
export function* encodeSessionTable(sessions: readonly SessionRecord[]): Generator<Uint8Array, void> {
  for (const session of sessions) yield encodeRecord(session)
}

function recordBytes({ answers }: SessionRecord): number {
  return answers.reduce((sum, [, answer]) => sum + ANSWER_HEAD_BYTES + (answer?.length ?? 0), RECORD_BYTES)
}

function encodeRecord(session: SessionRecord): Uint8Array {
  const { id, expiresAfterMs, lastIndex, lastTime, unanswered, answers } = session
  const bytes = new Uint8Array(recordBytes(session))
  const view = viewOf(bytes)
  ;[id, expiresAfterMs, lastIndex, lastTime, unanswered].forEach((number, n) => writeU64(view, 8 * n, number))
  view.setUint32(40, answers.length, true)
  let at = RECORD_BYTES
  for (const [sequence, answer] of answers) {
    writeU64(view, at, sequence)
    view.setUint32(at + 8, answer?.length ?? NOT_KEPT, true)
    if (answer !== null) bytes.set(answer, at + ANSWER_HEAD_BYTES)
    at += ANSWER_HEAD_BYTES + (answer?.length ?? 0)
  }
  return bytes
}

/** All of it; answers are in memory of their own. Throws MalformedBytes. */
export function decodeSessionTable(bytes: Uint8Array): readonly SessionRecord[] {
  const view = viewOf(bytes)
  const sessions: SessionRecord[] = []
  let at = 0
  const take = (length: number): number => {
    const start = at
    at += length
    if (at > bytes.length) fail(`its sessions end at byte ${bytes.length}, in the middle of one`)
    return start
  }
  while (at < bytes.length) {
    const start = take(RECORD_BYTES)
    const [id = 0, expiresAfterMs = 0, lastIndex = 0, lastTime = 0, unanswered = 0] = [0, 1, 2, 3, 4].map((n) =>
      readU64(view, start + 8 * n),
    )
    const answers: [number, Uint8Array | null][] = []
    for (let left = view.getUint32(start + 40, true); left > 0; left -= 1) {
      const head = take(ANSWER_HEAD_BYTES)
      const length = view.getUint32(head + 8, true)
      const from = length === NOT_KEPT ? at : take(length)
      answers.push([readU64(view, head), length === NOT_KEPT ? null : bytes.slice(from, from + length)])
    }
    if (!isPosition(id) || id === 0) fail(`it has a session of the number ${id}`)
    sessions.push({ id, expiresAfterMs, lastIndex, lastTime, unanswered, answers })
  }
  return sessions
}

function fail(reason: string): never {
  throw new MalformedBytes('snapshot', reason)
}
