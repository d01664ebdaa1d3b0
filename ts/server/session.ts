/**
 * A session as its client holds it (thesis 6.3): commands that may be sent more than once, and are applied once.
 * Numbers them, sends them again where that can help, and says which answers are not needed any more.
 *
 * Invariants: a sequence is given to another command only when the one before was never appended. What the log is told
 * to forget has been answered, or given up. A call of it ends as the calls that it makes do.
 */

import { RaftError } from '../errors.js'
import type { Outcome } from '../errors.js'
import { SESSION_HEADER_BYTES } from '../format/session.js'
import { NoAnswer } from '../machine/session-batch.js'
import { SESSION_WINDOW } from '../machine/sessions.js'
import type { GuardedCodec } from '../machine/user-code.js'
import { checkCallOptions } from '../options.js'
import { logIndex } from '../types.js'
import type { LogIndex, SessionToken } from '../types.js'
import type { WaitOptions } from './calls/pending-call.js'
import { answerLost, overloaded, sessionLost, sessionSequence } from './refusals.js'
import type { RestOf, Server } from './server.js'

/** What a session is used through. */
export interface SessionDoor<Command> {
  readonly server: Server
  readonly codec: GuardedCodec<Command>
}

/** Ends of a leadership, and of its absence: the same may be sent again. */
const AGAIN: ReadonlySet<string> = new Set(['ERR_RAFT_LEADERSHIP_LOST', 'ERR_RAFT_NOT_LEADER', 'ERR_RAFT_NO_LEADER'])

/** From what says least to what says most of what became of a command that was sent more than once. */
const OUTCOMES: readonly Outcome[] = ['not-applied', 'unknown', 'applied']

/** In it a command that is sent again, on whichever server leads, is applied once (docs/sessions.md). */
export class Session<Command, Result> {
  /** The index of the entry that opened it. */
  readonly id: LogIndex
  readonly #door: SessionDoor<Command>
  /** What may have been sent before by whoever had the session; null for nothing. */
  readonly #resumed: number | null
  /** What has no answer: under way, given up and in doubt, or free to be used again. */
  readonly #pending = new Set<number>()
  readonly #inDoubt = new Set<number>()
  readonly #free: number[] = []
  /** The lowest of `#pending`, once `#settle` has looked; then never below what the log was told. */
  #unanswered: number
  #next: number
  /** Why nothing can be sent any more; null while it can. */
  #over: string | null = null

  constructor(door: SessionDoor<Command>, { id, sequence }: SessionToken, isResumed: boolean) {
    this.#door = door
    this.id = id
    this.#resumed = isResumed ? sequence : null
    this.#unanswered = sequence
    // Whoever had it before may have used what follows, up to the window.
    this.#next = isResumed ? sequence + SESSION_WINDOW : sequence
    if (!isResumed) return
    this.#pending.add(sequence)
    this.#free.push(sequence)
  }

  /**
   * With what the session is gone on with elsewhere, when nothing of it is under way: the next command is sent as this.
   * With one call under way it is that one.
   */
  get token(): SessionToken {
    this.#settle()
    return { id: this.id, sequence: this.#unanswered }
  }

  /**
   * As `Raft.apply`, but applied once however often it is sent. Sent again by itself where this server leads again: at
   * once, or with `timeoutMs` within that time. An error whose outcome is not `not-applied` has `session`: with that
   * the same command is sent again, on whichever server leads (`Raft.resumeSession`). 512 at a time.
   */
  async apply(command: Command, options?: WaitOptions): Promise<Result> {
    checkCallOptions('apply', options)
    this.#checkOpen()
    const payload = this.#door.codec.encodeBehind(SESSION_HEADER_BYTES, command)
    const sequence = this.#take()
    try {
      const result = await this.#send(payload, sequence, options)
      this.#pending.delete(sequence)
      return result as Result
    } catch (error) {
      throw this.#ended(sequence, error)
    }
  }

  /** The log forgets the session, behind everything that it was asked. Nothing can be sent in it any more. */
  async close(options?: WaitOptions): Promise<void> {
    checkCallOptions('close', options)
    this.#checkOpen()
    this.#over = 'was closed here'
    await this.#send(new Uint8Array(SESSION_HEADER_BYTES), 0, options)
  }

  #checkOpen(): void {
    if (this.#over !== null) throw sessionLost(this.id, this.#over, 'not-applied')
  }

  /** Throws ERR_RAFT_OVERLOADED when too many are under way. */
  #take(): number {
    const free = this.#free.pop()
    if (free !== undefined) return free
    this.#settle()
    while (this.#next >= this.#unanswered + SESSION_WINDOW) {
      if (!this.#inDoubt.delete(this.#unanswered)) throw overloaded(`${SESSION_WINDOW} commands of the session wait`)
      // Nobody has sent it again for so long: it is given up.
      this.#pending.delete(this.#unanswered)
      this.#settle()
    }
    const sequence = this.#next
    this.#next += 1
    this.#pending.add(sequence)
    return sequence
  }

  #settle(): void {
    while (this.#unanswered < this.#next && !this.#pending.has(this.#unanswered)) this.#unanswered += 1
  }

  /** Sends it until it is answered, or until nothing can be hoped for. */
  async #send(payload: Uint8Array, sequence: number, options: WaitOptions | undefined): Promise<unknown> {
    const rest = options === undefined ? null : this.#door.server.restOf(options)
    let outcome: Outcome = sequence === this.#resumed ? 'unknown' : 'not-applied'
    for (;;) {
      try {
        const [result] = await this.#propose(payload, sequence, rest?.wait())
        return this.#answerOf(result, sequence, outcome)
      } catch (error) {
        if (!(error instanceof RaftError)) throw error
        outcome = most(outcome, error.outcome)
        if (!AGAIN.has(error.code) || !(await this.#leadsAgain(rest, outcome))) throw withOutcome(error, outcome)
      }
    }
  }

  #propose(payload: Uint8Array, sequence: number, options: WaitOptions | undefined): Promise<readonly unknown[]> {
    this.#settle()
    const { server, codec } = this.#door
    return server.propose([codec.payloadOf(payload, this.id, sequence, this.#unanswered)], 'session', options)
  }

  /** Whether this server leads, as soon as it knows who does; with no deadline it does not wait for that. */
  async #leadsAgain(rest: RestOf | null, outcome: Outcome): Promise<boolean> {
    const { server } = this.#door
    const options = rest?.wait()
    if (rest?.isOver() === true) return false
    if (server.status.role !== 'leader' && options?.timeoutMs === undefined) return false
    try {
      if (server.status.role !== 'leader') await server.ready(options)
    } catch (error) {
      throw error instanceof RaftError ? withOutcome(error, outcome) : error
    }
    return server.status.role === 'leader' && rest?.isOver() !== true
  }

  #answerOf(result: unknown, sequence: number, outcome: Outcome): unknown {
    if (!(result instanceof NoAnswer)) return result
    const token = { id: this.id, sequence }
    switch (result.reason) {
      case 'lost':
        this.#over = 'is not there any more: it was closed or has expired, or others took its place'
        throw sessionLost(this.id, this.#over, outcome)
      case 'past':
        throw sessionSequence(
          token,
          'went back: its answer was said to be needed no more, so it may be applied',
          'unknown',
        )
      case 'ahead':
        throw sessionSequence(token, `is more than ${SESSION_WINDOW} ahead of what waits for an answer`, outcome)
      case 'applied':
        throw answerLost(token)
    }
  }

  /** What is to be told of it, and what becomes of its sequence. */
  #ended(sequence: number, error: unknown): unknown {
    if (!(error instanceof RaftError)) return error
    if (error.outcome === 'not-applied') {
      this.#free.push(sequence)
      return error
    }
    if (error.code === 'ERR_RAFT_ANSWER_LOST') {
      this.#pending.delete(sequence)
      return error
    }
    this.#inDoubt.add(sequence)
    const { code, message, outcome, leader, cause } = error
    return new RaftError(code, message, { outcome, leader, cause, session: { id: this.id, sequence } })
  }
}

/** Resolves with the session that the log has opened. */
export async function openSession<Command, Result>(
  door: SessionDoor<Command>,
  expiresAfterMs: number,
  options: WaitOptions | undefined,
): Promise<Session<Command, Result>> {
  const payload = door.codec.payloadOf(new Uint8Array(SESSION_HEADER_BYTES), 0, 0, expiresAfterMs)
  const [index] = await door.server.propose([payload], 'session', options)
  return new Session(door, { id: logIndex(Number(index)), sequence: 1 }, false)
}

function most(a: Outcome, b: Outcome): Outcome {
  return OUTCOMES.indexOf(a) < OUTCOMES.indexOf(b) ? b : a
}

function withOutcome(error: RaftError, outcome: Outcome): RaftError {
  if (error.outcome === outcome) return error
  const { code, message, leader } = error
  const earlier = outcome === 'unknown' ? 'may have been applied' : 'was applied'
  return new RaftError(code, `${message}; sent before, the command ${earlier}`, { outcome, leader, cause: error })
}
