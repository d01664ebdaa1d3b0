/**
 * Snapshots on their way out of the cluster: the bytes of a file, for whoever reads them (`exportSnapshot`).
 *
 * Invariant: a snapshot that is read stays, but no longer for a reader that reads nothing. So many are read at a time,
 * each by one reader.
 */

import { RaftError } from '../errors.js'
import { SnapshotReader } from '../format/snapshot.js'
import { snapshotFault } from '../snapshot/snapshot-fault.js'
import type { SnapshotStore, StoredSnapshot } from '../snapshot/snapshot-store.js'
import type { CancelTimer, Clock } from '../types.js'
import { overloaded } from './refusals.js'

/** So many are exported at a time: each keeps one on the disk. */
const EXPORTS_MAX = 4
const EXPORT_PIECE_BYTES = 128 * 1024
/** Whoever reads nothing for so long is not waited for: the snapshot may go. */
const EXPORT_IDLE_MS = 60_000

export interface SnapshotExportParts {
  readonly store: SnapshotStore
  readonly clock: Clock
  /** Null: there is none of that id. */
  readonly find: (id: string) => StoredSnapshot | null
  /** What was read may go by now. */
  readonly released: () => void
}

export class SnapshotExports {
  readonly #store: SnapshotStore
  readonly #clock: Clock
  readonly #find: SnapshotExportParts['find']
  readonly #released: SnapshotExportParts['released']
  /** One for each reader. */
  readonly #leases = new Set<{ readonly id: string }>()

  constructor(parts: SnapshotExportParts) {
    this.#store = parts.store
    this.#clock = parts.clock
    this.#find = parts.find
    this.#released = parts.released
  }

  /** What is being read. */
  get ids(): readonly string[] {
    return [...this.#leases].map(({ id }) => id)
  }

  /** All of its file, checked as it is read. It stays while it is read. */
  async *bytesOf(id: string): AsyncGenerator<Uint8Array, void, undefined> {
    const stored = this.#find(id)
    if (stored === null) throw exportFailed('it was removed')
    if (this.#leases.size >= EXPORTS_MAX) throw overloaded(`${EXPORTS_MAX} snapshots are being exported`)
    const lease = { id }
    const letGo = (): void => {
      if (this.#leases.delete(lease)) this.#released()
    }
    let cancel: CancelTimer = () => {}
    this.#leases.add(lease)
    try {
      const reader = new SnapshotReader(stored.bytes, false)
      while (reader.taken < stored.bytes) {
        const memory = new Uint8Array(EXPORT_PIECE_BYTES)
        const piece = memory.subarray(0, await this.#store.readInto(id, reader.taken, memory))
        reader.push(piece)
        if (piece.length === 0) reader.finish()
        cancel = this.#clock.setTimer(EXPORT_IDLE_MS, letGo)
        yield piece
        cancel()
      }
    } catch (error) {
      throw snapshotFault(id, 'cannot be exported', error)
    } finally {
      cancel()
      letGo()
    }
  }
}

function exportFailed(why: string): RaftError {
  return new RaftError('ERR_RAFT_SNAPSHOT_FAILED', `the snapshot cannot be exported: ${why}. Export another one`)
}
