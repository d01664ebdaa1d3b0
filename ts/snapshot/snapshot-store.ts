/**
 * The contract of where snapshots lie. Every implementation passes `snapshotStoreConformance` of `balsa-raft/testing`.
 *
 * What must hold:
 * - A snapshot appears whole or not at all: `finish` resolves only when its bytes, its name and the directory are
 *   durable (scenario N13). What was cut off before is gone after the next `open`.
 * - Every byte that leaves has been checked against its CRC; damage is ERR_RAFT_SNAPSHOT_CORRUPT with the snapshot and
 *   the place, and never an end of the data (scenario N15).
 * - No call blocks the event loop on a disk, and none holds more than one chunk in memory.
 */

import type { SnapshotMeta } from '../types.js'

/** What every snapshot says of itself: docs/snapshots.md. */
export interface SnapshotHeader extends SnapshotMeta {
  /** 32 hex digits. */
  readonly clusterId: string
  /** Of the store of the server that made it: 32 hex digits. */
  readonly incarnation: string
}

export interface StoredSnapshot {
  readonly header: SnapshotHeader
  /** All of it: header, chunks and end. */
  readonly bytes: number
}

/** A snapshot that is being made. Calls follow one another; each is awaited before the next. */
export interface SnapshotSink {
  /** Adds to the data; what was given may be used again once this has resolved. */
  write(data: Uint8Array): Promise<void>
  /** Makes it durable and gives it its name. */
  finish(): Promise<StoredSnapshot>
  /** Removes what was written. After `finish`, or a second time, it does nothing. */
  abort(): Promise<void>
}

/** A snapshot that comes from another server, as the bytes of its file, in order. */
export interface SnapshotIntake {
  /** Bytes that are here, checked; what comes next begins there. Not 0 where an earlier intake was cut off. */
  readonly received: number
  /**
   * The next bytes. Chunks that are whole are checked as they come: 'damaged' says that what came since `received` does
   * not match, and is forgotten.
   */
  write(bytes: Uint8Array): Promise<'ok' | 'damaged'>
  /** Makes it durable and gives it its name; rejects with ERR_RAFT_SNAPSHOT_CORRUPT when it is not whole. */
  finish(): Promise<StoredSnapshot>
  /** Closes it; what came stays, to be resumed by an intake of the same snapshot, until `open` or `keep`. */
  suspend(): Promise<void>
  abort(): Promise<void>
}

export interface SnapshotStore {
  /** What is whole, by its header and its end, the newest (term, then index) first; removes what was cut off. */
  open(): Promise<readonly StoredSnapshot[]>
  create(header: SnapshotHeader): Promise<SnapshotSink>
  receive(header: SnapshotHeader, bytes: number): Promise<SnapshotIntake>
  /** Its data, from the beginning, in the chunks in which it lies. Each call reads for itself. */
  read(id: string): AsyncIterable<Uint8Array>
  /** Up to `maxBytes` of the file itself from `offset` on, to be sent: unchecked, as the other side checks. */
  readBytes(id: string, offset: number, maxBytes: number): Promise<Uint8Array>
  /** Reads and checks all of it; rejects with ERR_RAFT_SNAPSHOT_CORRUPT. */
  verify(id: string): Promise<void>
  /** Removes every snapshot but these, and every intake but that of these; unknown ids are ignored. */
  keep(ids: ReadonlySet<string>): Promise<void>
  /** Nothing is read or written any more afterwards; what is being made is aborted. */
  close(): Promise<void>
}

/** Makes a store over one directory of snapshots; the stores that users pass in options are these. */
export interface SnapshotStoreFactory {
  readonly name: string
  create(dir: string): SnapshotStore
}
