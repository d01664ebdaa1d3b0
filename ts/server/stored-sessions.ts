/** The sessions of a snapshot that lies in a store. */

import { MalformedBytes } from '../format/malformed.js'
import { partSessions } from '../machine/session-section.js'
import type { Parted } from '../machine/session-section.js'
import { snapshotFault } from '../snapshot/snapshot-fault.js'
import type { SnapshotStore } from '../snapshot/snapshot-store.js'

/** `bytes`: what its header says. Rejects with what the store rejects with, or with ERR_RAFT_SNAPSHOT_CORRUPT. */
export async function readSessions(store: SnapshotStore, id: string, bytes = 0): Promise<Parted> {
  try {
    return await partSessions(store.read(id), bytes)
  } catch (error) {
    throw error instanceof MalformedBytes ? snapshotFault(id, 'cannot be used', error) : error
  }
}
