/** What a folder says of itself, in numbers. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { clusterIdOf } from '../server/open/cluster-id.js'
import { folderIdOf } from '../server/open/folder.js'
import type { LogIndex, ServerId, SnapshotMeta, Term } from '../types.js'
import { nothingThere, readable, storeIn } from './store-in.js'
import type { StoreEngine } from './store-in.js'

/** A file of a folder. */
export interface FolderFile {
  /** Below the folder, with forward slashes. */
  readonly name: string
  readonly bytes: number
}

/** What a folder holds (`stats`). */
export interface FolderStats {
  readonly dir: string
  readonly engine: StoreEngine
  /** Each engine counts its own. */
  readonly formatVersion: number
  /** Null where no server was made a member, or an early version made it. */
  readonly serverId: ServerId | null
  readonly clusterId: string | null
  readonly firstIndex: LogIndex
  /** firstIndex - 1 when the log is empty. */
  readonly lastIndex: LogIndex
  readonly entries: number
  readonly term: Term
  readonly votedFor: ServerId | null
  /** A lower bound: what is known here to be committed. */
  readonly commitIndex: LogIndex
  /** On what the log stands; null while it was never compacted. */
  readonly snapshot: Pick<SnapshotMeta, 'id' | 'index' | 'term' | 'time'> | null
  /** Grows by one at each start; this look is none. */
  readonly bootCounter: number
  /** By what peers know the store: 32 hex digits. */
  readonly incarnation: string
  /** Facts that the store keeps for the server: pins of peers, boots, and others. */
  readonly facts: number
  /** What the log takes, in bytes of its files; of the native store those that hold something. */
  readonly usedBytes: number
  /** The bound of `usedBytes`; null: it has none of its own. */
  readonly capacityBytes: number | null
  /** Null where there is none in front of the log. */
  readonly journal: {
    readonly segments: number
    /** Of their files. */
    readonly bytes: number
    /** Of tickets that are in the journal alone: the next start puts them into LMDB. 0 behind an orderly close. */
    readonly behindBytes: number
  } | null
  /** Every file of the folder, by name; the directory of snapshots included. */
  readonly files: readonly FolderFile[]
  /** `none`: it lies in memory. */
  readonly durability: 'device' | 'none'
  /** What the operator should know about the filesystem. */
  readonly warning: string | null
}

/** Nothing is changed. Rejects with what an open would reject with, damage included, and where there is no store. */
export async function stats(dir: string): Promise<FolderStats> {
  const found = await storeIn('stats', dir)
  const store = found.make()
  const stored = await store.look()
  if (stored === null) throw nothingThere(found.dir)
  try {
    const { firstIndex, lastIndex, hardState, snapshot, bootCounter, incarnation, durability, warning } = stored
    const { usedBytes, capacityBytes, behindBytes = 0 } = store.stats()
    const files = await filesIn(found.dir)
    const segments = files.filter(({ name }) => /^journal-\d+$/.test(name))
    const bytes = segments.reduce((sum, file) => sum + file.bytes, 0)
    return {
      ...{ dir: found.dir, engine: found.engine, formatVersion: found.formatVersion },
      ...{ serverId: folderIdOf(stored), clusterId: clusterIdOf(stored) },
      ...{ firstIndex, lastIndex, entries: lastIndex - firstIndex + 1, ...hardState },
      snapshot: snapshot === null ? null : coveredBy(snapshot),
      ...{ bootCounter, incarnation, facts: stored.facts.size, usedBytes, capacityBytes },
      journal: segments.length === 0 ? null : { segments: segments.length, bytes, behindBytes },
      ...{ files, durability, warning },
    }
  } finally {
    await store.close()
  }
}

function coveredBy({ id, index, term, time }: SnapshotMeta): FolderStats['snapshot'] {
  return { id, index, term, time }
}

async function filesIn(dir: string, below = ''): Promise<readonly FolderFile[]> {
  const files: FolderFile[] = []
  try {
    for (const entry of await readdir(join(dir, below), { withFileTypes: true })) {
      const name = below + entry.name
      if (entry.isDirectory()) files.push(...(await filesIn(dir, `${name}/`)))
      else if (entry.isFile()) files.push({ name, bytes: (await stat(join(dir, name))).size })
    }
  } catch (error) {
    throw readable(dir, error)
  }
  return files.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}
