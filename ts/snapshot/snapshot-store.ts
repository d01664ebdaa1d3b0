/**
 * The contract of where snapshots lie. Every implementation passes `snapshotStoreConformance` of `balsa-raft/testing`.
 *
 * What must hold:
 * - A snapshot appears whole or not at all: `finish` resolves only when its bytes, its name and the directory are
 *   durable (scenario N13). What was cut off before is gone after the next `open`.
 * - Every byte that leaves has been checked against its CRC; damage is ERR_RAFT_SNAPSHOT_CORRUPT with the snapshot and
 *   the place, and never an end of the data (scenario N15).
 * - A call that fails for want of room, or by its disk, rejects with ERR_RAFT_SNAPSHOT_FAILED; what a later version
 *   wrote is ERR_RAFT_STORE_FORMAT. After `close` every call rejects with ERR_RAFT_CLOSED.
 * - No call blocks the event loop on a disk, none computes checksums of more than one chunk in one go, and none holds
 *   more than one chunk in memory.
 */

import type { RaftError } from '../errors.js'
import type { Recipe, SnapshotHeader } from '../types.js'

/** A snapshot that is there. */
export interface StoredSnapshot {
  readonly header: SnapshotHeader
  /** All of it: header, chunks and end. */
  readonly bytes: number
}

/** The order in which they are told and kept: by term, then by index. */
export function newestFirst(a: StoredSnapshot, b: StoredSnapshot): number {
  return b.header.term - a.header.term || b.header.index - a.header.index
}

/**
 * One that is there and cannot be used: the log may name it, so it is told, and stays until `keep`. When it is received
 * again it is replaced.
 */
export interface FlawedSnapshot {
  readonly id: string
  /** ERR_RAFT_SNAPSHOT_CORRUPT, ERR_RAFT_STORE_FORMAT (a later version) or ERR_RAFT_SNAPSHOT_FAILED (unreadable). */
  readonly flaw: RaftError
}

/** What a store of snapshots finds when it is opened. */
export interface FoundSnapshots {
  /** Whole by their headers and their ends, the newest (term, then index) first. The data was not read: `verify`. */
  readonly whole: readonly StoredSnapshot[]
  readonly flawed: readonly FlawedSnapshot[]
}

/** A snapshot that is being made. Calls follow one another; each is awaited before the next, but for `abort`. */
export interface SnapshotSink {
  /** Adds to the data; what was given may be used again once this has resolved. After a rejection it is aborted. */
  write(data: Uint8Array): Promise<void>
  /** Makes it durable and gives it its name. After a rejection it is aborted. */
  finish(): Promise<StoredSnapshot>
  /** Removes what was written. After `finish`, or a second time, it does nothing. */
  abort(): Promise<void>
}

/**
 * A snapshot that comes from another server, as the bytes of its file, in order. Calls follow one another; each is
 * awaited before the next, but for `suspend` and `abort`. After a rejection it is aborted.
 */
export interface SnapshotIntake {
  /**
   * Where the next byte belongs. Not 0 where an earlier intake was cut off. Grows with each write, and falls back to
   * the end of the last whole chunk when one is damaged.
   */
  readonly received: number
  /**
   * The next bytes. Chunks are checked as they become whole: 'damaged' says that one does not match, and that
   * `received` has fallen back, for that chunk to be asked for again.
   */
  write(bytes: Uint8Array): Promise<'ok' | 'damaged'>
  /** Makes it durable and gives it its name; rejects with ERR_RAFT_SNAPSHOT_CORRUPT when it is not whole. */
  finish(): Promise<StoredSnapshot>
  /**
   * Closes it; what came stays, to be resumed by an intake of the same snapshot: until `open`, until `remove` names
   * it, until another intake is suspended or begins. So there is one at most.
   */
  suspend(): Promise<void>
  /** Removes what came. After `finish` or `suspend`, or a second time, it does nothing. */
  abort(): Promise<void>
}

/** Where the snapshots of one server lie; called by that server alone. */
export interface SnapshotStore {
  /** Once, before all else; when nobody else uses the directory. Removes what was cut off. */
  open(): Promise<FoundSnapshots>
  /** Begins a snapshot, which is there once its sink has finished. */
  create(header: SnapshotHeader): Promise<SnapshotSink>
  /**
   * `bytes` is what the sender says that all of it has. What comes must be that snapshot and have that length. One that
   * the same is being received by is suspended first, and this one goes on where it was.
   */
  receive(header: SnapshotHeader, bytes: number): Promise<SnapshotIntake>
  /**
   * Its data, from the beginning, in the chunks in which it lies, each in memory of its own. Each call reads for
   * itself, and reads on when the snapshot is removed meanwhile.
   */
  read(id: string): AsyncIterable<Uint8Array>
  /**
   * Fills `into` with what the file itself has from `offset` on, to be sent: unchecked, as the other side checks.
   * Answers with how many bytes there were; 0 at its end. Rejects with ERR_RAFT_SNAPSHOT_FAILED once the snapshot is
   * removed.
   */
  readInto(id: string, offset: number, into: Uint8Array): Promise<number>
  /** Reads and checks all of it; rejects with ERR_RAFT_SNAPSHOT_CORRUPT. */
  verify(id: string): Promise<void>
  /**
   * Removes these, flawed ones too, and what a suspended intake of one has received; unknown ids are ignored. They are
   * named by whoever lets them go, so that one which became whole meanwhile is never among them. What is being made or
   * received goes on; what begins after the call, under whatever id, is not touched by it.
   */
  remove(ids: readonly string[]): Promise<void>
  /** Nothing is read or written any more afterwards; what is being made or received is aborted. */
  close(): Promise<void>
}

/** Makes a store for the server whose folder is `dir`; the stores that users pass in options are these. */
export interface SnapshotStoreFactory {
  readonly name: string
  /** How another one like it is made, for a server that runs in a worker thread (docs/threads.md). */
  readonly recipe?: Recipe
  /** The store of this folder, which nothing opens yet. */
  create(dir: string): SnapshotStore
}
