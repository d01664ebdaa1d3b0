/**
 * The sessions of a log (thesis 6.3): which commands of each were applied, and what they were answered with, so that
 * one that comes twice is applied once. A part of the replicated state beside the state machine.
 *
 * Invariants: which command is applied, and which session is there, follow from the entries alone (their headers,
 * indexes and times), so that every server decides alike. Answers decide nothing: how many of them are kept may differ
 * from server to server. Everything here is bounded, and the bounds are part of the format: another number on another
 * server would be another state.
 */

import { assert } from '../errors.js'
import type { SessionHeader } from '../format/session.js'

/** Another one that is opened takes the place of the one that was quiet for longest. */
export const SESSIONS_MAX = 2048
/** Commands of one session, from the lowest one whose answer is waited for. */
export const SESSION_WINDOW = 512
/** Answers that one session keeps; the oldest go first. */
export const SESSION_ANSWER_BYTES_MAX = 1024 * 1024
/** Answers that all of them keep; those of sessions that were quiet for longest go first. */
export const ANSWER_BYTES_MAX = 16 * 1024 * 1024

/** Why a command of a session is not applied. */
export type SessionRefusal =
  /** The session is not there: it was closed, it has expired, others took its place, or it never was. */
  | 'lost'
  /** The client has said that it needs no answer to it any more. */
  | 'past'
  /** It is further ahead than a session may be. */
  | 'ahead'

/** What is to be done with a command: nothing if it is refused, or was applied before (`repeated`). */
export type Admission = 'apply' | 'repeated' | SessionRefusal

export class Session {
  readonly id: number
  /** So many milliseconds of entry time without an entry of it end it. */
  readonly expiresAfterMs: number
  /** Of its last entry. Invariant: no two sessions have the same index. */
  lastIndex: number
  lastTime: number
  /** Every command below is forgotten. Never falls. */
  unanswered: number
  /**
   * Every command from `unanswered` on that was applied, in that order; null: its answer is not kept, or not there
   * yet.
   */
  readonly answers = new Map<number, Uint8Array | null>()
  /** Of `answers`. */
  answerBytes = 0

  constructor(id: number, expiresAfterMs: number, time: number) {
    this.id = id
    this.expiresAfterMs = expiresAfterMs
    this.lastIndex = id
    this.lastTime = time
    this.unanswered = 1
  }

  isExpired(time: number): boolean {
    return time - this.lastTime > this.expiresAfterMs
  }
}

export class Sessions {
  readonly #sessions = new Map<number, Session>()
  #answerBytes = 0

  constructor(sessions: Iterable<Session> = []) {
    this.replace(sessions)
  }

  get count(): number {
    return this.#sessions.size
  }

  get answerBytes(): number {
    return this.#answerBytes
  }

  values(): IterableIterator<Session> {
    return this.#sessions.values()
  }

  /** The session that a command is of; null where it is not there. */
  find(id: number): Session | null {
    return this.#sessions.get(id) ?? null
  }

  open(index: number, time: number, expiresAfterMs: number): void {
    for (const session of this.#sessions.values()) if (session.isExpired(time)) this.#end(session)
    if (this.#sessions.size >= SESSIONS_MAX) this.#end(quietest(this.#sessions.values()))
    this.#sessions.set(index, new Session(index, expiresAfterMs, time))
  }

  close(id: number): void {
    const session = this.find(id)
    if (session !== null) this.#end(session)
  }

  /** What is to be done with the command of an entry. From `apply` on it counts as applied. */
  // Hot path: once per command of a session.
  admit({ session: id, sequence, third: unanswered }: SessionHeader, index: number, time: number): Admission {
    const session = this.#sessions.get(id)
    if (session === undefined) return 'lost'
    if (session.isExpired(time)) {
      this.#end(session)
      return 'lost'
    }
    session.lastIndex = index
    session.lastTime = time
    this.#forgetBelow(session, Math.min(unanswered, sequence))
    if (sequence < session.unanswered) return 'past'
    if (sequence >= session.unanswered + SESSION_WINDOW) return 'ahead'
    if (session.answers.has(sequence)) return 'repeated'
    session.answers.set(sequence, null)
    return 'apply'
  }

  /** What an admitted command came to, unless nobody needs it any more; null where it cannot be kept. */
  // Hot path: once per command of a session.
  answered(session: Session, sequence: number, answer: Uint8Array | null): void {
    if (answer === null || answer.length > SESSION_ANSWER_BYTES_MAX) return
    if (this.#sessions.get(session.id) !== session || !session.answers.has(sequence)) return
    session.answers.set(sequence, answer)
    session.answerBytes += answer.length
    this.#answerBytes += answer.length
    if (session.answerBytes > SESSION_ANSWER_BYTES_MAX) this.#dropAnswers(session, SESSION_ANSWER_BYTES_MAX)
    while (this.#answerBytes > ANSWER_BYTES_MAX) this.#dropAnswers(quietest(this.#withAnswers()), 0)
  }

  /** Puts these in the place of all that are there. */
  replace(sessions: Iterable<Session>): void {
    this.#sessions.clear()
    this.#answerBytes = 0
    for (const session of sessions) {
      this.#sessions.set(session.id, session)
      this.#answerBytes += session.answerBytes
    }
  }

  #forgetBelow(session: Session, unanswered: number): void {
    const end = Math.min(unanswered, session.unanswered + SESSION_WINDOW)
    for (let sequence = session.unanswered; sequence < end; sequence += 1) {
      this.#count(session, -(session.answers.get(sequence)?.length ?? 0))
      session.answers.delete(sequence)
    }
    session.unanswered = Math.max(session.unanswered, unanswered)
  }

  /** The oldest ones, down to so many bytes; that the commands were applied stays known. */
  #dropAnswers(session: Session, bytesMax: number): void {
    for (const [sequence, answer] of session.answers) {
      if (session.answerBytes <= bytesMax) return
      this.#count(session, -(answer?.length ?? 0))
      session.answers.set(sequence, null)
    }
  }

  #end(session: Session): void {
    this.#answerBytes -= session.answerBytes
    this.#sessions.delete(session.id)
  }

  #count(session: Session, bytes: number): void {
    session.answerBytes += bytes
    this.#answerBytes += bytes
  }

  *#withAnswers(): Generator<Session> {
    for (const session of this.#sessions.values()) if (session.answerBytes > 0) yield session
  }
}

/** The one whose last entry is the oldest. */
function quietest(sessions: Iterable<Session>): Session {
  let found: Session | null = null
  for (const session of sessions) if (found === null || session.lastIndex < found.lastIndex) found = session
  assert(found !== null, 'no session to choose from')
  return found
}
