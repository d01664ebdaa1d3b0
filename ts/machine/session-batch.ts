/**
 * The commands of sessions in one batch, between the log and the state machine: those that were applied before do not
 * reach it. Built while the batch is collected; once the machine has answered, each entry has its result.
 */

import { RaftError } from '../errors.js'
import type { SessionHeader } from '../format/session.js'
import type { LogIndex } from '../types.js'
import type { Session, SessionRefusal, Sessions } from './sessions.js'
import type { GuardedResultCodec } from './user-code.js'

/** What stands for the result of an entry of a session whose command did not reach the machine, and has no answer. */
export class NoAnswer {
  readonly session: number
  readonly sequence: number
  /** `applied`: before, and its answer is not kept. Null: it has no command, it opened or closed a session. */
  readonly reason: SessionRefusal | 'applied' | null

  constructor(session: number, sequence: number, reason: SessionRefusal | 'applied' | null) {
    this.session = session
    this.sequence = sequence
    this.reason = reason
  }
}

/** An entry of a session. */
interface Place {
  /** Among the commands of the batch. */
  readonly at: number
  readonly index: LogIndex
  /** Null: `result` says what came of it. */
  readonly session: Session | null
  readonly sequence: number
  /** Its command is applied with this batch. */
  readonly isApplied: boolean
  readonly result: unknown
}

export class SessionBatch {
  readonly #sessions: Sessions
  readonly #codec: GuardedResultCodec<unknown>
  /** By ascending index. */
  readonly #places: Place[] = []

  constructor(sessions: Sessions, codec: GuardedResultCodec<unknown>) {
    this.#sessions = sessions
    this.#codec = codec
  }

  /** Whether the entry has a command for the machine. `at` is its place among the commands of the batch. */
  // Hot path: once per command of a session.
  admit(header: SessionHeader, at: number, index: LogIndex, time: number): boolean {
    const { session: id, sequence } = header
    if (id === 0 || sequence === 0) {
      passThrough(this.#sessions, header, index, time)
      this.#place(at, index, null, 0, false, new NoAnswer(id, sequence, null))
      return false
    }
    const admission = this.#sessions.admit(header, index, time)
    const session = this.#sessions.find(id)
    if (admission === 'apply' || admission === 'repeated') {
      this.#place(at, index, session, sequence, admission === 'apply', undefined)
    } else this.#place(at, index, null, sequence, false, new NoAnswer(id, sequence, admission))
    return admission === 'apply'
  }

  /** Whether its answer is made on every server, since it is kept there. */
  isApplied(index: LogIndex): boolean {
    let from = 0
    let to = this.#places.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if ((this.#places[middle]?.index ?? 0) < index) from = middle + 1
      else to = middle
    }
    const place = this.#places[from]
    return place !== undefined && place.index === index && place.isApplied
  }

  /** From the machine's results for what reached it to one result for each of `count` commands. */
  settle(results: readonly unknown[], count: number): readonly unknown[] {
    const settled = new Array<unknown>(count)
    let taken = 0
    let at = 0
    for (const place of this.#places) {
      for (; at < place.at; at += 1, taken += 1) settled[at] = results[taken]
      if (place.isApplied) {
        settled[at] = results[taken]
        this.#keep(place, results[taken])
        taken += 1
      } else settled[at] = place.session === null ? place.result : this.#answerOf(place.session, place.sequence)
      at += 1
    }
    for (; at < count; at += 1, taken += 1) settled[at] = results[taken]
    return settled
  }

  #place(at: number, index: LogIndex, session: Session | null, sequence: number, isApplied: boolean, result: unknown) {
    this.#places.push({ at, index, session, sequence, isApplied, result })
  }

  #keep({ session, sequence }: Place, result: unknown): void {
    if (session === null) return
    this.#sessions.answered(session, sequence, encoded(this.#codec, result))
  }

  #answerOf(session: Session, sequence: number): unknown {
    const answer = session.answers.get(sequence) ?? null
    if (answer === null) return new NoAnswer(session.id, sequence, 'applied')
    try {
      // The decoder may write to what it is given.
      return this.#codec.decode(answer.slice())
    } catch (error) {
      if (error instanceof RaftError) return new NoAnswer(session.id, sequence, 'applied')
      throw error
    }
  }
}

/**
 * An entry whose command the machine has already, by itself: what it came to is not known here any more. Also of
 * entries that open and close a session.
 */
export function passThrough(sessions: Sessions, header: SessionHeader, index: LogIndex, time: number): void {
  const { session: id, sequence, third } = header
  if (id === 0) sessions.open(index, time, third)
  else if (sequence === 0) sessions.close(id)
  else sessions.admit(header, index, time)
}

/** Null for what the codec cannot turn: the command is applied all the same. */
function encoded(codec: GuardedResultCodec<unknown>, result: unknown): Uint8Array | null {
  try {
    return codec.encode(result)
  } catch (error) {
    if (error instanceof RaftError) return null
    throw error
  }
}
