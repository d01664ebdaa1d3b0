/**
 * The contract of what users bring: a deterministic machine that commands change and queries read. Snapshots
 * (`snapshot`, `restore`, `appliedIndex`, `hash`) join with the feature; until then the log is kept whole and replayed
 * at start.
 */

import type { LogIndex, Term } from '../types.js'

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
  /** The index up to which the machine is current once this batch is applied; covers entries that are not commands. */
  readonly appliedIndex: LogIndex
}

export interface StateMachine<Command, Result, Query = never, Answer = never> {
  /**
   * Applies a batch in index order and answers with one result per entry, or with a promise of that, of whatever
   * library; it is called again only after that has settled. A throw or a rejection halts this server: nothing is
   * skipped, nothing after it is applied (ERR_RAFT_APPLY_FAILED, with what was thrown as its cause). Batch and commands
   * are this server's alone: it may write to them.
   */
  apply(batch: readonly Entry<Command>[], context: ApplyContext): readonly Result[] | Promise<readonly Result[]>
  /** What it throws or rejects with, `read` rejects with, as it is; the server goes on. */
  query?(query: Query): Answer | Promise<Answer>
}

/**
 * Returns its argument; an object literal passed through it has its parameter types inferred. A `query` without a
 * parameter is asked by `raft.read()`.
 */
export function defineStateMachine<Command, Result, Answer>(
  machine: StateMachine<Command, Result, void, Answer> & { query(): Answer | Promise<Answer> },
): StateMachine<Command, Result, void, Answer>
export function defineStateMachine<Command, Result, Query = never, Answer = never>(
  machine: StateMachine<Command, Result, Query, Answer>,
): StateMachine<Command, Result, Query, Answer>
export function defineStateMachine(machine: unknown): unknown {
  return machine
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
