/**
 * The errors a caller sees. Each one says what became of the command: a retry is safe only on `not-applied`
 * (or inside a session). An error about the world is a RaftError; a broken invariant of our own is an AssertionFailure
 * and is never caught.
 */

import type { LogIndex, ServerId, ServerMeta, SessionToken } from './types.js'

/** What became of the command: it never will be applied, it may or may not be, or it was. */
export type Outcome = 'not-applied' | 'unknown' | 'applied'

/** What went wrong: docs/errors.md has a row for each, with its outcomes and what to do. A code keeps its meaning. */
export type RaftErrorCode =
  | 'ERR_RAFT_NOT_LEADER'
  | 'ERR_RAFT_NO_LEADER'
  | 'ERR_RAFT_OVERLOADED'
  | 'ERR_RAFT_TOO_LARGE'
  | 'ERR_RAFT_ENCODE'
  | 'ERR_RAFT_INVALID'
  | 'ERR_RAFT_LEADERSHIP_LOST'
  | 'ERR_RAFT_TRANSFER_IN_PROGRESS'
  | 'ERR_RAFT_TRANSFER_FAILED'
  | 'ERR_RAFT_TIMEOUT'
  | 'ERR_RAFT_ABORTED'
  | 'ERR_RAFT_CLOSED'
  | 'ERR_RAFT_APPLY_FAILED'
  | 'ERR_RAFT_STORE_CORRUPT'
  | 'ERR_RAFT_STORE_FULL'
  | 'ERR_RAFT_STORE_POISONED'
  | 'ERR_RAFT_STORE_FORMAT'
  | 'ERR_RAFT_SNAPSHOT_CORRUPT'
  | 'ERR_RAFT_SNAPSHOT_FAILED'
  | 'ERR_RAFT_NATIVE_UNAVAILABLE'
  | 'ERR_RAFT_DIR_LOCKED'
  | 'ERR_RAFT_DIR_UNUSABLE'
  | 'ERR_RAFT_CLUSTER_MISMATCH'
  | 'ERR_RAFT_CLUSTER_RECOVERED'
  | 'ERR_RAFT_WRONG_FOLDER'
  | 'ERR_RAFT_COPIED_FOLDER'
  | 'ERR_RAFT_PEER_REPLACED'
  | 'ERR_RAFT_BOOT_UNPROVEN'
  | 'ERR_RAFT_LISTEN'
  | 'ERR_RAFT_UNREACHABLE'
  | 'ERR_RAFT_CLIENT_REFUSED'
  | 'ERR_RAFT_UNAUTHENTICATED'
  | 'ERR_RAFT_QUERY_FAILED'
  | 'ERR_RAFT_CHANGE_REFUSED'
  | 'ERR_RAFT_REMOVED'
  | 'ERR_RAFT_SESSION_LOST'
  | 'ERR_RAFT_SESSION_SEQUENCE'
  | 'ERR_RAFT_ANSWER_LOST'
  | 'ERR_RAFT_THREAD_LOST'
  | 'ERR_RAFT_OPTIONS'

/** Where to send the command instead. */
export interface LeaderHint {
  readonly id: ServerId
  readonly address: string
  /** What the configuration says of it; absent when nothing. */
  readonly meta?: ServerMeta
}

/** Entries of the log, the last one included. */
export interface EntryRange {
  readonly first: LogIndex
  readonly last: LogIndex
}

export interface RaftErrorDetails {
  readonly outcome?: Outcome
  readonly retryable?: boolean
  readonly leader?: LeaderHint | null
  readonly damaged?: EntryRange | null
  readonly session?: SessionToken | null
  readonly cause?: unknown
}

/** An error about the world. `message` names the thing, the bound or index, and the remedy. */
export class RaftError extends Error {
  override readonly name = 'RaftError'
  readonly code: RaftErrorCode
  readonly outcome: Outcome
  /** Whether the same call may succeed later without anyone's help. Says nothing about safety: `outcome` does. */
  readonly retryable: boolean
  /** The leader as this server knows it; null when it knows none. */
  readonly leader: LeaderHint | null
  /**
   * Of ERR_RAFT_STORE_CORRUPT: the entries that a damaged block held, where the rest of the log still says which they
   * were, so that another server can be asked for them; null otherwise.
   */
  readonly damaged: EntryRange | null
  /**
   * Of a command of a session whose outcome is `unknown`, or whose answer may still be had: as what it is sent again,
   * by a session that is resumed with this (`Raft.resumeSession`); null otherwise.
   */
  readonly session: SessionToken | null

  constructor(code: RaftErrorCode, message: string, details: RaftErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.outcome = details.outcome ?? 'not-applied'
    this.retryable = details.retryable ?? false
    this.leader = details.leader ?? null
    this.damaged = details.damaged ?? null
    this.session = details.session ?? null
  }
}

/** Where the request itself is why it failed, or asking again does not help. */
const HTTP_STATUSES: Partial<Record<RaftErrorCode, number>> = {
  ...{ ERR_RAFT_INVALID: 400, ERR_RAFT_OPTIONS: 400, ERR_RAFT_ENCODE: 400, ERR_RAFT_TOO_LARGE: 413 },
  ...{ ERR_RAFT_CHANGE_REFUSED: 409, ERR_RAFT_SESSION_LOST: 410, ERR_RAFT_SESSION_SEQUENCE: 410 },
  ...{ ERR_RAFT_ANSWER_LOST: 500, ERR_RAFT_QUERY_FAILED: 500 },
}

/**
 * The status with which a service over HTTP tells that a call has failed (docs/errors.md, "As HTTP"): 503, nothing was
 * done, and the same may be sent again; 504, it may be done, so only in a session; 4xx, another request is needed; 500
 * for what is no error of the library, and for what is done and has no answer.
 */
export function httpStatusOf(error: unknown): number {
  if (!(error instanceof RaftError)) return 500
  const { code, outcome } = error
  // Of a result: the command was sound.
  const isOfResult = outcome === 'applied' && (code === 'ERR_RAFT_ENCODE' || code === 'ERR_RAFT_TOO_LARGE')
  return isOfResult ? 500 : (HTTP_STATUSES[code] ?? (outcome === 'not-applied' ? 503 : 504))
}

/** A broken invariant: a defect in Balsa itself. Never caught, never turned into a RaftError. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure'
}

/** Whether an error is the library's own already: such a one goes on as it is, others are given a code and words. */
export function isOurs(error: unknown): error is RaftError | AssertionFailure {
  return error instanceof RaftError || error instanceof AssertionFailure
}

/**
 * Asserts one fact about ourselves; the message holds the numbers. On a hot path it is a function: to write numbers
 * costs more than the fact.
 */
export function assert(condition: boolean, message: string | (() => string)): asserts condition {
  if (!condition) throw new AssertionFailure(typeof message === 'string' ? message : message())
}
