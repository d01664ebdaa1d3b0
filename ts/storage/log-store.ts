/**
 * The contract of what must survive a crash. Every implementation passes `logStoreConformance` of `balsa-raft/testing`.
 *
 * What must hold:
 * - A ticket is atomic and tickets are FIFO: when `poll` reports ticket n durable, so are all before it, whole.
 * - `submit` copies what it needs before it returns, and never fails for lack of room up to the published credit.
 * - There is no third outcome: a ticket becomes durable, or the store is poisoned, for good, until it is opened again.
 * - `open` reports only state that is durable at that moment, and marks the boot: bootCounter grew by one.
 * - Every entry that leaves the store has been checked against its CRC; a bad one is ERR_RAFT_STORE_CORRUPT with its
 *   index, and with the entries of the damaged block (`RaftError.damaged`) where those are known.
 */

import type {
  Block,
  Configuration,
  HardState,
  LogIndex,
  Recipe,
  SnapshotMeta,
  StoreOperation,
  Term,
  TermRun,
} from '../types.js'
import type { RaftError } from '../errors.js'
import type { SnapshotStoreFactory } from '../snapshot/snapshot-store.js'

/**
 * What one read gives out, whatever is asked for; one larger entry comes alone. So no read holds a disk, or memory, for
 * long.
 */
export const READ_BYTES_MAX = 1024 * 1024

/** Grows by one with each submit of one open store; the first is 1. */
export type Ticket = number

/** What the store held when it was opened. */
export interface StoredState {
  /** The index of the first entry kept; 1 for a new store. */
  readonly firstIndex: LogIndex
  /** The term of the entry before it; 0 where it is 1. */
  readonly prevTerm: Term
  /** On what the log stands; null while it was never compacted. Invariant: snapshot.index >= firstIndex - 1. */
  readonly snapshot: SnapshotMeta | null
  /** firstIndex - 1 when the log is empty. */
  readonly lastIndex: LogIndex
  readonly hardState: HardState
  /** Ascending by first; covers firstIndex..lastIndex exactly. */
  readonly termRuns: readonly TermRun[]
  /** Configuration entries in the log, ascending. */
  readonly configurations: readonly { readonly index: LogIndex; readonly configuration: Configuration }[]
  readonly incarnation: string
  readonly bootCounter: number
  readonly facts: ReadonlyMap<string, Uint8Array>
  /** Where `dir` lies says whether a flush means anything: 'none' on tmpfs or in memory. */
  readonly durability: 'device' | 'none'
  /** What the operator should know about the filesystem, in one sentence. */
  readonly warning: string | null
  /**
   * By what the filesystem tells these files from a copy of them (fingerprint.ts); null where it tells nothing, as in
   * memory.
   */
  readonly fingerprint: string | null
}

/** What `poll` found. */
export interface StoreProgress {
  /** The highest ticket that is durable; 0 before the first. */
  readonly durable: Ticket
  /** Bytes that may be submitted right now without exceeding the store's queue. */
  readonly credit: number
  /** Not null: the store is poisoned; tickets above `durable` have an unknown outcome. */
  readonly fault: RaftError | null
  /** The disk is full and the writer retries the oldest ticket. */
  readonly stalled: boolean
  /**
   * Not null: the store has come near a bound of its own. What that is and what helps is what a proposal is refused
   * with. What other servers had accepted before still fits, and so do a leader's first entry, votes and hard states.
   */
  readonly full: RaftError | null
}

/** What a store has done since it was opened, and how full it is (`status.store`). */
export interface StoreStats {
  readonly firstIndex: number
  readonly lastIndex: number
  /** Group commits since open, and the device flushes that they caused (counted where they are asked for). */
  readonly groupCommits: number
  readonly flushes: number
  readonly wakes: number
  readonly bytesWritten: number
  /** What the log takes now, in bytes of its file or of memory. */
  readonly usedBytes: number
  /** The bound of `usedBytes`; null where the store has none of its own. */
  readonly capacityBytes: number | null
  /** Bytes of tickets that are durable in a journal, and not in its home yet; absent where there is no journal. */
  readonly behindBytes?: number
}

/** Where the log and the hard state of one server lie; called by that server alone, within its turns. */
export interface LogStore {
  /**
   * Reads what is there; `onWake` is called, at most once per group commit and never inside a call, when `poll` has
   * news.
   */
  open(onWake: () => void): Promise<StoredState>
  /**
   * Instead of `open`: what `open` would report, with the same checks and errors, and nothing is changed: no boot is
   * marked, and the directory is free again when this has settled. Null where no store was made. Absent in a store that
   * cannot tell.
   */
  inspect?(): Promise<StoredState | null>
  /**
   * Completes a block whose header and records stand in `arena` at `offset` (block.ts, `BlockWriter`): CRCs, offset
   * table, block CRC. Returns the length of the sealed block. One synchronous call per batch.
   */
  seal(arena: Uint8Array, offset: number): number
  /** Whether a sealed block that came from outside is intact: every CRC, contiguous indexes, one term. */
  verify(block: Uint8Array): boolean
  /** Queues one ticket. At most one call per turn. Throws ERR_RAFT_STORE_POISONED / ERR_RAFT_CLOSED. */
  submit(operations: readonly StoreOperation[]): Ticket
  /** Cheap; called at the start of each turn. The result is the store's own object, valid until the next poll. */
  poll(): StoreProgress
  /**
   * Entries lo .. hi-1 as whole sealed blocks clipped to that range, at most `maxBytes` and READ_BYTES_MAX but at least
   * one entry. Only durable entries may be asked for, or such as were: no block at all says that entry lo is no longer
   * kept, and nothing else does (scenario C14). What was given out is the caller's: nothing changes it. Never blocks
   * the event loop on a page fault.
   */
  read(lo: LogIndex, hi: LogIndex, maxBytes: number): Promise<readonly Block[]>
  /**
   * Puts these blocks in the place of the damaged one of the entries first .. last, as a read has told them; resolves
   * when that is durable. Nothing else of the log changes. The blocks are intact, cover first .. last exactly, and have
   * the terms that the log has there. False: nothing was changed, for no damaged block holds exactly these entries, or
   * the log has others there by now. Rejects with ERR_RAFT_STORE_FULL where there is no room for it: it may be tried
   * again. Another failure poisons the store. Absent in a store that repairs nothing.
   */
  repair?(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Promise<boolean>
  /** What it has used and written so far. */
  stats(): StoreStats
  /**
   * Waits until everything submitted is durable, then releases the directory. Idempotent. `poll` still tells a fault
   * afterwards.
   */
  close(): Promise<void>
}

/** Makes a store over one directory; the stores that users pass in options are these. */
export interface StoreFactory {
  readonly name: string
  /** Where snapshots lie that belong to its logs, unless another place is given. Absent: files beside the log. */
  readonly snapshots?: SnapshotStoreFactory
  /** How another one like it is made, for a server that runs in a worker thread (docs/threads.md). */
  readonly recipe?: Recipe
  /** The store of this folder, which nothing opens yet. */
  create(dir: string): LogStore
}
