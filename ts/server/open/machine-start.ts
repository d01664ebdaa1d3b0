/**
 * Where the state machine and the sessions beside it begin. A machine that is durable by itself has more than a
 * snapshot says; the sessions are not in it. So the log is gone through once more from the last snapshot on, past the
 * machine, and what the commands of sessions came to there is not known any more: only that they were applied.
 */

import { RaftError } from '../../errors.js'
import { RecordCursor } from '../../format/block.js'
import type { Session } from '../../machine/sessions.js'
import type { GuardedMachine } from '../../machine/user-code.js'
import { neverEmpty } from '../../storage/lost-data.js'
import type { FoundSnapshots, SnapshotStore } from '../../snapshot/snapshot-store.js'
import type { LogStore, StoredState } from '../../storage/log-store.js'
import { logIndex } from '../../types.js'
import type { LogIndex, SnapshotMeta } from '../../types.js'
import { readSessions } from '../stored-sessions.js'
import type { Stores } from './stores.js'

export interface MachineStart {
  /** What the machine has by itself: it is given nothing up to here. 0: it begins empty. */
  readonly machineIndex: LogIndex
  /** The sessions are those of this entry: from here on the log is gone through. Invariant: <= machineIndex. */
  readonly appliedIndex: LogIndex
  readonly sessions: readonly Session[]
}

/** Read in one go. */
const READ_BYTES_MAX = 1024 * 1024

const EMPTY: MachineStart = { machineIndex: logIndex(0), appliedIndex: logIndex(0), sessions: [] }

/** Throws when what the machine has and the log do not belong together. */
export async function machineStartOf(
  stateMachine: GuardedMachine<unknown, unknown, unknown, unknown>,
  stored: StoredState,
  { store, snapshots }: Stores,
  found: FoundSnapshots,
): Promise<MachineStart> {
  const { snapshot, lastIndex } = stored
  if (snapshot !== null && !stateMachine.canSnapshot) {
    const what = `the log stands on a snapshot at ${snapshot.index}, and option stateMachine has no functions snapshot and restore: give it both, as it had`
    throw new RaftError('ERR_RAFT_OPTIONS', what)
  }
  const applied = await stateMachine.appliedIndex()
  if (applied > lastIndex) {
    throw new RaftError(
      'ERR_RAFT_OPTIONS',
      `the state machine says that it has applied ${applied}, and the log ends at ${lastIndex}: its data is of another server, or the log has lost entries. ${neverEmpty}`,
    )
  }
  if (applied === 0) return EMPTY
  const machineIndex = logIndex(applied)
  if (snapshot === null) return { ...EMPTY, machineIndex }
  if (applied >= snapshot.index) return { machineIndex, ...(await sessionsOf(snapshot, stored, snapshots, found)) }
  // It has less than the log stands on: the sessions of there are those of here, unless they came to be between.
  const isApart = applied < stored.firstIndex - 1 || (await hasSessions(store, applied + 1, snapshot.index))
  if (isApart) return EMPTY
  const { appliedIndex, sessions } = await sessionsOf(snapshot, stored, snapshots, found)
  return appliedIndex === snapshot.index ? { machineIndex, appliedIndex: machineIndex, sessions } : EMPTY
}

/** Whether an entry of first .. last is of a session, as far as they can be read. */
async function hasSessions(store: LogStore, first: number, last: LogIndex): Promise<boolean> {
  const cursor = new RecordCursor()
  try {
    for (let next = first; next <= last;) {
      const blocks = await store.read(logIndex(next), logIndex(last + 1), READ_BYTES_MAX)
      for (const block of blocks) {
        cursor.reset(block)
        while (cursor.next()) if (cursor.hasSession) return true
      }
      next = (blocks.at(-1)?.last ?? last) + 1
    }
    return false
  } catch (error) {
    if (error instanceof RaftError) return true
    throw error
  }
}

/** From the snapshot on which the log stands; where it is damaged, from an older one from which the log goes on. */
async function sessionsOf(
  wanted: SnapshotMeta,
  { firstIndex }: StoredState,
  store: SnapshotStore,
  { whole, flawed }: FoundSnapshots,
): Promise<Omit<MachineStart, 'machineIndex'>> {
  let damage = flawed.find(({ id }) => id === wanted.id)?.flaw ?? null
  for (const { header } of whole) {
    const { id, index, sessionBytes } = header
    if (id !== wanted.id && (index >= wanted.index || index < firstIndex - 1)) continue
    if (sessionBytes === undefined) return { appliedIndex: index, sessions: [] }
    try {
      const { sessions, rest } = await readSessions(store, id, sessionBytes)
      await rest.return()
      return { appliedIndex: index, sessions }
    } catch (error) {
      if (!(error instanceof RaftError) || error.code !== 'ERR_RAFT_SNAPSHOT_CORRUPT') throw error
      damage = error
    }
  }
  const what = `no snapshot has the sessions from which the log goes on: ${damage?.message ?? 'there is none'}`
  throw new RaftError('ERR_RAFT_SNAPSHOT_CORRUPT', `${what}. The others go on without this server. ${neverEmpty}`)
}
