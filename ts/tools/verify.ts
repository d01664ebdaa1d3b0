/**
 * Every checksum of every file of a folder. An open of a damaged store ends at the first thing that it finds; this goes
 * on, and says of each whether other servers could give it back.
 */

import { join } from 'node:path'

import { RaftError } from '../errors.js'
import { SNAPSHOT_SUFFIX } from '../snapshot/partial-file.js'
import type { StoreFlaw, StoreSurvey } from '../storage/verification.js'
import type { Configuration, Server } from '../types.js'
import { SNAPSHOTS_DIR, snapshotsIn } from './snapshots-in.js'
import { nothingThere, storeIn } from './store-in.js'
import type { FoundStore, StoreEngine } from './store-in.js'

/**
 * Whether what is lost could be had from other servers. `not-needed`: nothing is lost. `by-quorum`: a majority can be
 * formed without this server, and has all that was committed: `raft.replace` (docs/membership.md). `by-nobody`: nobody
 * else has it, such as a vote, or no majority can be formed without this server. `unknown`: what says whose folder it
 * is, or who votes, is damaged too.
 */
export type Restorable = 'not-needed' | 'by-quorum' | 'by-nobody' | 'unknown'

/** What is wrong at one place of a folder, and who can mend it. */
export interface Flaw extends StoreFlaw {
  readonly restorable: Restorable
}

/** What `verify` found. */
export interface Verification {
  readonly dir: string
  readonly engine: StoreEngine
  readonly formatVersion: number
  /** Nothing is damaged, and an open would take what is there. */
  readonly isIntact: boolean
  /** In the order of the log; 256 of the store at most, and those of snapshots. */
  readonly flaws: readonly Flaw[]
  /** How many more there were. */
  readonly leftOff: number
  /** Null where what says it is damaged. */
  readonly firstIndex: number | null
  readonly lastIndex: number | null
  /** Bytes of the log that were found intact: rows, or batches. */
  readonly bytes: number
  /** How many are whole. Null: the folder has no directory of snapshots. */
  readonly snapshots: number | null
}

/**
 * Holds every file of the store in `dir` against its checksums, under the lock of the store, and changes nothing;
 * damaged pages are never mapped. Resolves whatever is damaged; rejects where there is no store, where it is locked
 * (ERR_RAFT_DIR_LOCKED names the holder), of another format, marked by a migration, or cannot be read.
 * Reads every byte once; in memory are the facts, one segment of the journal and one page or block.
 */
export async function verify(dir: string): Promise<Verification> {
  const store = await storeIn('verify', dir)
  const survey = await store.make().survey()
  if (survey === null) throw nothingThere(store.dir)
  const { firstIndex, lastIndex, bytes, leftOff } = survey
  const { flaws: ofSnapshots, whole } = await verifySnapshots(store, survey)
  const flaws = [...survey.flaws, ...ofSnapshots].map((flaw) => ({ ...flaw, restorable: restorable(flaw, survey) }))
  return {
    ...{ dir: store.dir, engine: store.engine, formatVersion: store.formatVersion },
    isIntact: flaws.length === 0,
    ...{ flaws, leftOff, firstIndex, lastIndex, bytes, snapshots: whole },
  }
}

/** Under the lock too, where the store can be opened; where it cannot, nobody else does. */
async function verifySnapshots(
  { dir, make }: FoundStore,
  { flaws, snapshotId }: StoreSurvey,
): Promise<{ flaws: readonly StoreFlaw[]; whole: number | null }> {
  const store = make()
  if (flaws.length === 0) await store.look()
  try {
    const snapshots = await snapshotsIn(dir)
    if (snapshots === null) return { flaws: [], whole: null }
    const { whole, flawed } = snapshots.found
    const found = flawed.map(({ id, flaw }) => snapshotFlaw(dir, id, flaw.message, snapshotId))
    for (const { header } of whole) {
      const error = await snapshots.store.verify(header.id).then(() => null, ours)
      if (error !== null) found.push(snapshotFlaw(dir, header.id, error.message, snapshotId))
    }
    const isThere = [...whole.map(({ header }) => header.id), ...flawed.map(({ id }) => id)].includes(snapshotId ?? '')
    if (snapshotId !== null && !isThere) {
      found.push(snapshotFlaw(dir, snapshotId, 'the snapshot on which the log stands is missing', snapshotId))
    }
    return {
      flaws: found,
      whole: whole.length + flawed.length - found.length + (isThere || snapshotId === null ? 0 : 1),
    }
  } finally {
    await store.close()
  }
}

function ours(error: unknown): RaftError {
  if (error instanceof RaftError) return error
  throw error
}

/** Of the entries that it covers nobody knows the first: they are gone from the log. */
function snapshotFlaw(dir: string, id: string, detail: string, needed: string | null): StoreFlaw {
  const file = join(dir, SNAPSHOTS_DIR, id + SNAPSHOT_SUFFIX)
  return { file, detail, loss: id === needed ? 'log' : 'nothing', first: null, last: null }
}

function restorable({ loss }: StoreFlaw, { configuration, serverId }: StoreSurvey): Restorable {
  if (loss === 'nothing') return 'not-needed'
  if (loss === 'state') return 'by-nobody'
  if (configuration === null || serverId === null) return 'unknown'
  return hasQuorumWithout(configuration, serverId) ? 'by-quorum' : 'by-nobody'
}

/** Of both halves, while the configuration changes (thesis, 4.3). */
function hasQuorumWithout({ voters, outgoing }: Configuration, id: string): boolean {
  const isQuorum = (all: readonly Server[]): boolean =>
    all.filter((server) => server.id !== id).length > Math.floor(all.length / 2)
  return isQuorum(voters) && (outgoing === null || isQuorum(outgoing))
}
