/**
 * The contract of what users bring: a deterministic machine that commands change and queries read. One that can be
 * written out (`snapshot`) and read back (`restore`) lets the log be compacted; without them the log is kept whole, and
 * replayed at each start.
 */

import type { ConfigurationStatus, LogIndex, SnapshotMeta, Term } from '../types.js'

/** One committed command. */
export interface Entry<Command> {
  readonly index: LogIndex
  readonly term: Term
  /**
   * When its leader made it, in milliseconds since 1970: never goes back along the log, and passes as real time does to
   * within a twentieth, whatever is done to the date of a machine (docs/architecture.md, Time).
   */
  readonly time: number
  readonly command: Command
}

/**
 * Of the batch, which every server cuts as it comes, and otherwise again when it replays: nothing that a machine
 * answers or holds may depend on it, nor on how many entries come together. The clock of a deterministic machine is the
 * time of each entry.
 */
export interface ApplyContext {
  /**
   * Whether a caller of this server waits for the answer to that entry of the batch: never on another server than the
   * one that proposed it, nor in a replay, nor once the caller has given up. A machine need not make answers that
   * nobody gets, and may answer such an entry with anything; what it holds afterwards must not depend on this.
   */
  readonly isAwaited: (index: LogIndex) => boolean
  /**
   * Whether the batch was committed before this process knew how far the cluster had come: what it replays from its own
   * log, and what it missed while it did not run. All of a batch or none of it; false for ever from the first false on,
   * and once `ready` has resolved. Nobody waits for an answer to what is replayed. It differs from server to server and
   * from start to start: what a machine holds must not depend on it. It is for what is done beside the state, such as
   * telling others; and that may happen twice or never, as a process may end right after a batch, before it has told.
   */
  readonly replaying: boolean
  /** The index up to which the machine is current once this batch is applied; covers entries that are not commands. */
  readonly appliedIndex: LogIndex
}

/**
 * The bytes of a snapshot, in pieces of whatever size. It is asked for the next piece only when the one before is
 * written, and is told to end (`return`) when the rest is not wanted.
 */
export type SnapshotSource = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** What is replicated: `apply` alone is required (docs/state-machines.md). */
export interface StateMachine<Command, Result, Query = never, Answer = never> {
  /**
   * Applies a batch in index order and answers with one result per entry, or with a promise of that, of whatever
   * library; it is called again only after that has settled. A throw or a rejection halts this server: nothing is
   * skipped, nothing after it is applied (ERR_RAFT_APPLY_FAILED, with what was thrown as its cause). Batch and commands
   * are this server's alone: it may write to them.
   */
  apply(batch: readonly Entry<Command>[], context: ApplyContext): readonly Result[] | Promise<readonly Result[]>
  /**
   * Refuses a command by a throw, before anything of it is appended: whoever proposed it gets ERR_RAFT_INVALID, with
   * what was thrown as its cause, and nothing has happened. Asked where the command is given, on the leader or, of
   * `submit`, on any server, and then once more by the leader; never of what is in the log. It may look at the state,
   * and decides nothing about it: commands that are proposed and not applied may come between. Synchronous. What it
   * answers is ignored, but a promise and false are refused: they could be meant as a refusal.
   */
  validate?(command: Command): void
  /**
   * A configuration of the cluster is committed: called with each, from the first one on, in its place among the
   * commands, so that what a machine makes of it is the same everywhere. Those before a snapshot are not told again:
   * the one in force there is in the `meta` of `restore`. Nothing is applied until it has settled. A throw or a
   * rejection halts this server (ERR_RAFT_APPLY_FAILED).
   */
  configured?(configuration: ConfigurationStatus, index: LogIndex): void | Promise<void>
  /** What it throws or rejects with, `read` rejects with, as it is; the server goes on. */
  query?(query: Query): Answer | Promise<Answer>
  /**
   * Captures the state as it is now, between two batches, within milliseconds: nothing is applied until it has
   * answered. The bytes are made later, from what was captured, while `apply` goes on. A throw or a rejection, also of
   * the source, ends the attempt and is told; the server goes on, and its log is kept.
   */
  snapshot?(): SnapshotSource | Promise<SnapshotSource>
  /**
   * Replaces the whole state by that of a snapshot, from the bytes that `snapshot` of this or of another server gave,
   * in other pieces. Called before anything is applied, or between two batches; nothing else is called until it has
   * settled. A throw or a rejection halts this server (ERR_RAFT_APPLY_FAILED): a state that is half of each is never
   * used. Required where there is `snapshot`.
   */
  restore?(source: AsyncIterable<Uint8Array>, meta: SnapshotMeta): void | Promise<void>
  /**
   * 1 .. 64 bytes that say which state it holds, the same for the same state on every server. Asked right before
   * `snapshot`, which carries it, and right after `restore`: a difference halts this server (ERR_RAFT_APPLY_FAILED), as
   * what it holds is not what was written out. A throw or a rejection is one of `snapshot`, or of `restore`.
   */
  hash?(): Uint8Array | Promise<Uint8Array>
  /**
   * Of a machine that is durable by itself: the last entry whose effect outlives a loss of power, 0 for none. Asked
   * once, at the start; nothing up to there is restored or applied again.
   */
  appliedIndex?(): number | Promise<number>
}

/** What `read` is given: nothing (void) where the query function has no parameter; never where there is none. */
export type Asked<Query, Answer> = [Query] extends [never] ? ([Answer] extends [never] ? never : void) : Query

/**
 * Returns the machine. Its types are inferred from its functions, and from the codec where one is given: then the
 * parameter of `apply` needs none. A `query` without a parameter is asked by `raft.read()`. A literal that stands in
 * the options of `Raft.open` is typed without this, a class by what it says it implements.
 */
export function defineStateMachine<Command, Result, Answer>(
  machine: StateMachine<Command, Result, void, Answer> & { query(): Answer | Promise<Answer> },
): StateMachine<Command, Result, void, Answer>
export function defineStateMachine<Command, Result, Query = never, Answer = never>(
  machine: StateMachine<Command, Result, Query, Answer>,
): StateMachine<Command, Result, Query, Answer>
export function defineStateMachine<Command, Result, Answer>(
  codec: Codec<Command>,
  machine: StateMachine<Command, Result, void, Answer> & { query(): Answer | Promise<Answer> },
): StateMachine<Command, Result, void, Answer>
export function defineStateMachine<Command, Result, Query = never, Answer = never>(
  codec: Codec<Command>,
  machine: StateMachine<Command, Result, Query, Answer>,
): StateMachine<Command, Result, Query, Answer>
export function defineStateMachine(...given: readonly unknown[]): unknown {
  return given.at(-1)
}

/** Turns commands into the bytes that are replicated, and back. `decode(encode(c))` must equal `c`. */
export interface Codec<Command> {
  /**
   * Synchronous. The answer is copied before it is called again: it may use its memory for the next command. A throw,
   * or an answer that is no Uint8Array, becomes ERR_RAFT_ENCODE on that command alone.
   */
  encode(command: Command): Uint8Array
  /**
   * Synchronous. `bytes` is a view of a copy, made for this server alone: it may be written to, and be kept, at the
   * price of what was copied with it, at most 64 KiB. A throw halts this server (ERR_RAFT_APPLY_FAILED).
   */
  decode(bytes: Uint8Array): Command
}
