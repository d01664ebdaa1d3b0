/**
 * The sessions at the beginning of the data of a snapshot: taken as they are between two batches, and given back before
 * the state machine is restored from the rest.
 */

import { decodeSessionTable, encodeSessionTable, sessionTableBytes } from '../format/session-table.js'
import type { SessionRecord } from '../format/session-table.js'
import { MalformedBytes } from '../format/malformed.js'
import { Session } from './sessions.js'
import type { Sessions } from './sessions.js'

/** What stands before the state of the machine. */
export interface SessionSection {
  /** 0 where there are no sessions. */
  readonly bytes: number
  pieces(): Generator<Uint8Array, void>
}

/** Answers are never written to: what is taken stays as it is. */
export function captureSessions(sessions: Sessions): SessionSection {
  const records: readonly SessionRecord[] = Array.from(sessions.values(), (session) => ({
    id: session.id,
    expiresAfterMs: session.expiresAfterMs,
    lastIndex: session.lastIndex,
    lastTime: session.lastTime,
    unanswered: session.unanswered,
    answers: [...session.answers],
  }))
  return { bytes: sessionTableBytes(records), pieces: () => encodeSessionTable(records) }
}

/** The data of a snapshot, parted. */
export interface Parted {
  readonly sessions: readonly Session[]
  /** What the state machine is restored from. */
  readonly rest: AsyncGenerator<Uint8Array, void>
}

/**
 * `bytes`: so much of it are sessions. Rejects with what the reading rejects with, or with MalformedBytes. Whoever does
 * not read the rest returns it.
 */
export async function partSessions(stored: AsyncIterable<Uint8Array>, bytes: number): Promise<Parted> {
  const pieces = stored[Symbol.asyncIterator]()
  const table = new Uint8Array(bytes)
  let filled = 0
  let surplus: Uint8Array | null = null
  try {
    while (filled < bytes) {
      const next = await pieces.next()
      if (next.done === true) break
      const taken = Math.min(next.value.length, bytes - filled)
      table.set(next.value.subarray(0, taken), filled)
      filled += taken
      if (taken < next.value.length) surplus = next.value.subarray(taken)
    }
    if (filled < bytes) throw new MalformedBytes('snapshot', `it has ${filled} bytes of data, and ${bytes} of sessions`)
    const sessions = decodeSessionTable(table).map(sessionOf)
    return { sessions, rest: restOf(surplus, pieces) }
  } catch (error) {
    await pieces.return?.()
    throw error
  }
}

async function* restOf(first: Uint8Array | null, pieces: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  try {
    if (first !== null) yield first
    for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) yield next.value
  } finally {
    await pieces.return?.()
  }
}

function sessionOf(record: SessionRecord): Session {
  const session = new Session(record.id, record.expiresAfterMs, record.lastTime)
  session.lastIndex = record.lastIndex
  session.unanswered = record.unanswered
  for (const [sequence, answer] of record.answers) {
    session.answers.set(sequence, answer)
    session.answerBytes += answer?.length ?? 0
  }
  return session
}
