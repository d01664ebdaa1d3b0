/** The snapshots of a folder, to be read and not to be changed. */

import { join } from 'node:path'

import { exists, nodeFiles } from '../disk/files.js'
import type { Files } from '../disk/files.js'
import { FileSnapshotStore } from '../snapshot/file-snapshot-store.js'
import type { FoundSnapshots } from '../snapshot/snapshot-store.js'

export const SNAPSHOTS_DIR = 'snapshots'

const nothing = async (): Promise<void> => {}

/** What an open of the snapshots makes, removes and flushes, it does not. */
const unchanged: Files = { ...nodeFiles, makeDirectory: nothing, remove: nothing, syncDirectory: nothing }

/** Null: the folder has no directory of snapshots; they lie elsewhere, or there are none. */
export async function snapshotsIn(dir: string): Promise<{ store: FileSnapshotStore; found: FoundSnapshots } | null> {
  if (!(await exists(join(dir, SNAPSHOTS_DIR)))) return null
  const store = new FileSnapshotStore(dir, unchanged)
  return { store, found: await store.open() }
}
