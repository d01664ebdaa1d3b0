/** What a folder says of the server whose it is, without opening it. */

import { isOurs, RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import { optionsError } from '../../option-checks.js'
import type { StoredState, StoreFactory } from '../../storage/log-store.js'
import type { ConfigurationStatus, LogIndex, ServerId, Term } from '../../types.js'
import { describe } from '../status.js'
import { clusterIdOf, recoveriesOf } from './cluster-id.js'
import { folderIdOf } from './folder.js'
import { makeStore } from './stores.js'

/** What the log in a folder says of its server (`Raft.hasState`). */
export interface FolderState {
  /** Null in a folder that an early version made, and that was not opened since. */
  readonly id: ServerId | null
  readonly clusterId: string
  /** The recoveries of the cluster that it knows of, the oldest first: for option `recoveries`. */
  readonly recoveries: readonly string[]
  /** The name of the store that made it: `lmdb`, `file`. */
  readonly format: string
  /** The oldest entry that is kept. */
  readonly firstIndex: LogIndex
  /** The newest entry and its term. Of what servers have left, the greatest term, then the greatest index, is most. */
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
  readonly term: Term
  /** What is known to be committed, at the least. */
  readonly commitIndex: LogIndex
  /** The snapshot on which the log stands; null while there is none. */
  readonly snapshotIndex: LogIndex | null
  /** The newest in the log, committed or not. */
  readonly configuration: ConfigurationStatus
  readonly configurationIndex: LogIndex
}

/** Null where no server was made a member. Throws what an open of that store would throw. */
export async function folderState(dir: string, storage: StoreFactory): Promise<FolderState | null> {
  const stored = await inspectFolder(dir, storage)
  const clusterId = stored === null ? null : clusterIdOf(stored)
  if (stored === null || clusterId === null) return null
  const { firstIndex, lastIndex, hardState, snapshot } = stored
  const { configuration, index } = newestConfiguration(dir, stored)
  return {
    id: folderIdOf(stored),
    clusterId,
    recoveries: recoveriesOf(stored),
    format: storage.name,
    firstIndex,
    lastIndex,
    lastTerm: lastTermOf(stored),
    term: hardState.term,
    commitIndex: hardState.commitIndex,
    snapshotIndex: snapshot?.index ?? null,
    configuration: describe(configuration),
    configurationIndex: index,
  }
}

/** What the store would report if it were opened; null where none was made. */
export async function inspectFolder(dir: string, storage: StoreFactory): Promise<StoredState | null> {
  const store = makeStore(storage, dir)
  if (store.inspect === undefined) {
    throw optionsError(`option storage: the store ${storage.name} has no function inspect, and cannot be looked at`)
  }
  try {
    return await store.inspect()
  } catch (error) {
    if (isOurs(error)) throw error
    throw new RaftError('ERR_RAFT_DIR_UNUSABLE', `the store in ${dir} cannot be looked at: ${textOf(error)}`, {
      cause: error,
    })
  }
}

/** In force by the log: the last one in it, or that of the snapshot on which it stands. */
export function newestConfiguration(dir: string, stored: StoredState): StoredState['configurations'][number] {
  const { configurations, snapshot } = stored
  const newest = configurations.at(-1)
  if (newest !== undefined) return newest
  if (snapshot !== null) return { index: snapshot.configurationIndex, configuration: snapshot.configuration }
  throw new RaftError('ERR_RAFT_STORE_CORRUPT', `the log in ${dir} has no configuration: it was made by no server`)
}

export function lastTermOf({ termRuns, prevTerm }: StoredState): Term {
  return termRuns.at(-1)?.term ?? prevTerm
}
