/**
 * A session as its client holds it (thesis 6.3): commands that may be sent more than once, and are applied once.
 * Numbers them, and says which answers are not needed any more; they travel as all that is submitted.
 *
 * Invariants: a sequence is given to another command only when the one before was never appended. What the log is told
 * to forget has been answered, or given up.
 */

import { checkCallOptions } from '../call-options.js'
import { RaftError } from '../errors.js'
import { viewOf } from '../format/little-endian.js'
import { SESSION_HEADER_BYTES, writeSessionHeader } from '../format/session.js'
import { SESSION_WINDOW } from '../machine/sessions.js'
import type { GuardedCodec } from '../machine/user-code.js'
import { logIndex } from '../types.js'
import type { LogIndex, SessionToken } from '../types.js'
import type { WaitOptions } from './calls/pending-call.js'
import type { AnyServer } from './forward/any-server.js'
import type { Proposed } from './forward/asking.js'
import { overloaded, sentBefore, sessionLost } from './refusals.js'

/** What `openSession` takes. */
export interface SessionOptions extends WaitOptions {
  /**
   * So many milliseconds of entry time without an entry of it end the session, whatever the clocks of machines say: 1
   * second .. 30 days, default 1 hour.
   */
  readonly expiresAfterMs?: number
}

/** What a session is used through. */
export interface SessionDoor<Command> {
  readonly any: Pick<AnyServer, 'checkRoom' | 'propose'>
  readonly codec: GuardedCodec<Command>
}

/** Where a header is written before it is put before its command. */
const HEADER = new Uint8Array(SESSION_HEADER_BYTES)
const HEADER_VIEW = viewOf(HEADER)

/** The command is applied, and nobody can tell its answer. */
const ANSWER_GONE: ReadonlySet<string> = new Set(['ERR_RAFT_ANSWER_LOST', 'ERR_RAFT_ENCODE', 'ERR_RAFT_TOO_LARGE'])

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
    this.id = logIndex(id)
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
   * As `Raft.submit`, on every server, but applied once however often it is sent: so it is tried again whatever became
   * of it before. An error whose outcome is not `not-applied` has `session`, unless its answer can be had no more: with
   * that the same command is sent again, on any server (`Raft.resumeSession`). 512 at a time.
   */
  async apply(command: Command, options?: WaitOptions): Promise<Result> {
    checkCallOptions('apply', options)
    this.#checkOpen()
    const { any, codec } = this.#door
    any.checkRoom(0)
    const bytes = codec.encodeBehind(SESSION_HEADER_BYTES, command)
    const sequence = this.#take()
    try {
      const { result } = await this.#send(bytes, sequence, options)
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
    if (this.#over !== null) throw sessionLost(this.id, this.#over)
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

  // Hot path: once per command of a session.
  #send(bytes: Uint8Array, sequence: number, options: WaitOptions | undefined): Promise<Proposed<unknown>> {
    this.#settle()
    writeSessionHeader(HEADER_VIEW, 0, this.id, sequence, this.#unanswered)
    bytes.set(HEADER)
    return this.#door.any.propose({ kind: 'session', bytes, retry: 'session' }, options)
  }

  /** What is to be told of it, and what becomes of its sequence. */
  #ended(sequence: number, failure: unknown): unknown {
    if (!(failure instanceof RaftError)) return failure
    if (failure.code === 'ERR_RAFT_SESSION_LOST') this.#over = 'is not there any more'
    const error = sentBefore(failure, sequence === this.#resumed ? 'unknown' : 'not-applied')
    const { code, message, outcome, leader, cause } = error
    if (outcome === 'not-applied') {
      this.#free.push(sequence)
      return error
    }
    if (outcome === 'applied' && ANSWER_GONE.has(code)) {
      this.#pending.delete(sequence)
      return error
    }
    this.#inDoubt.add(sequence)
    return new RaftError(code, message, { outcome, leader, cause, session: { id: this.id, sequence } })
  }
}

/** Resolves with the session that the log has opened. */
export async function openSession<Command, Result>(
  door: SessionDoor<Command>,
  expiresAfterMs: number,
  options: WaitOptions | undefined,
): Promise<Session<Command, Result>> {
  const bytes = new Uint8Array(SESSION_HEADER_BYTES)
  writeSessionHeader(viewOf(bytes), 0, 0, 0, expiresAfterMs)
  const { index: id } = await door.any.propose({ kind: 'session', bytes, retry: 'idempotent' }, options)
  return new Session(door, { id, sequence: 1 }, false)
}
