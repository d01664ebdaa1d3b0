/**
 * A snapshot that was exported becomes the beginning of a cluster: in an empty folder, whose server alone votes, as
 * after a recovery. So servers of the same list that begin empty are of another cluster, and no quorum of it.
 *
 * What must hold: all of the snapshot has come, and was checked to its last byte, before one ticket makes the folder a
 * member's. Whatever fails before leaves a folder that is as empty as it was.
 */

import { RaftError } from '../../errors.js'
import { entryBlock } from '../../format/block.js'
import { decodeConfiguration, encodeConfiguration } from '../../format/configuration.js'
import { MalformedBytes, UnknownFormat } from '../../format/malformed.js'
import { SnapshotReader } from '../../format/snapshot.js'
import { isBytes, kindOf, textOf } from '../../foreign-values.js'
import { optionsError } from '../../option-checks.js'
import type { ImportSettings, SnapshotBytes } from '../../options.js'
import { snapshotFault } from '../../snapshot/snapshot-fault.js'
import type { SnapshotSink } from '../../snapshot/snapshot-store.js'
import type { StoredState } from '../../storage/log-store.js'
import { isPosition, logIndex, POSITION_MAX, termOf } from '../../types.js'
import type { Configuration, LogIndex, Server, ServerId, SnapshotHeader } from '../../types.js'
import { drawNonce, OwnBoots } from '../own-boots.js'
import { snapshotIdOf } from '../snapshots.js'
import { clusterFacts, clusterIdAfter, clusterIdOf, clusterIds, recoveryAt, firstFact } from './cluster-id.js'
import { claimFolder } from './folder.js'
import { withStores } from './stores.js'
import type { Stores } from './stores.js'

/** As much as is checked in one go. */
const SLICE_BYTES = 64 * 1024
const GIVEN = 'that was given'

/** What a folder has become. */
export interface SeededFolder {
  readonly id: ServerId
  readonly clusterId: string
  /** Option `recoveries` of every other server, which begins empty. */
  readonly recoveries: readonly string[]
  /** The last entry that the snapshot covers. */
  readonly index: LogIndex
}

export function seedFolder(settings: ImportSettings, source: SnapshotBytes, draw = drawNonce): Promise<SeededFolder> {
  return withStores(settings, async (stores, stored) => {
    if (clusterIdOf(stored) !== null || stored.lastIndex > 0) throw notEmpty(stores.dir)
    const boots = new OwnBoots(stored, draw())
    await stores.openSnapshots()
    const receiving = new Receiving(stores, stored, settings, boots)
    return begin(stores, stored, settings, boots, await receiving.take(source))
  })
}

interface Taken {
  readonly header: SnapshotHeader
  readonly recovery: string
}

/** The bytes of a snapshot on their way into the store, under an id and a cluster of their own. */
class Receiving {
  readonly #stores: Stores
  readonly #stored: StoredState
  readonly #settings: ImportSettings
  readonly #boots: OwnBoots
  readonly #reader = new SnapshotReader()
  #sink: SnapshotSink | null = null
  #taken: Taken | null = null

  constructor(stores: Stores, stored: StoredState, settings: ImportSettings, boots: OwnBoots) {
    this.#stores = stores
    this.#stored = stored
    this.#settings = settings
    this.#boots = boots
  }

  async take(source: SnapshotBytes): Promise<Taken> {
    try {
      for await (const bytes of piecesOf(source)) {
        for (let at = 0; at < bytes.length; at += SLICE_BYTES) await this.#push(bytes.subarray(at, at + SLICE_BYTES))
      }
      this.#reader.finish()
      await this.#sink?.finish()
    } catch (error) {
      await this.#sink?.abort()
      throw isDamage(error) ? damaged(error) : snapshotFault(GIVEN, 'could not be taken', error)
    }
    if (this.#taken === null) throw new RaftError('ERR_RAFT_SNAPSHOT_CORRUPT', `The snapshot ${GIVEN} has no header`)
    return this.#taken
  }

  async #push(bytes: Uint8Array): Promise<void> {
    const chunks = this.#reader.push(bytes)
    const { header } = this.#reader
    if (this.#sink === null && header !== null) {
      this.#taken = takenAs(header, this.#stored, this.#settings, this.#boots)
      this.#sink = await this.#stores.snapshots.create(this.#taken.header)
    }
    for (const chunk of chunks) await this.#sink?.write(chunk)
  }
}

/** What the snapshot is from now on; its place in the log stays, so that no index goes back. */
function takenAs(
  given: SnapshotHeader,
  { incarnation }: StoredState,
  settings: ImportSettings,
  boots: OwnBoots,
): Taken {
  const { id: self, membership, anyCluster } = settings
  const { clusterName, configuration: first } = decodeConfiguration(membership.first)
  const ids = clusterIds(membership.first, membership.recoveries)
  if (!ids.includes(given.clusterId) && !anyCluster) throw foreign(given, ids.at(-1) ?? '')
  if (!isPosition(given.index, POSITION_MAX) || !isPosition(given.term, POSITION_MAX) || given.index === 0) {
    throw optionsError(
      `the snapshot ${GIVEN} is of entry ${given.index} of term ${given.term}, which is no place that a log comes to`,
    )
  }
  const recovery = recoveryAt(logIndex(given.index + 1), drawNonce())
  const clusterId = clusterIdAfter(ids.at(-1) ?? '', recovery)
  const id = snapshotIdOf(boots.newest, given.index)
  const of = { id, clusterId, clusterName, incarnation }
  const configuration = configurationOf(self, first.voters)
  return { header: { ...given, ...of, configuration, configurationIndex: given.index }, recovery }
}

/** This server alone votes; the others wait to be fed. Whoever is given the snapshot must know its leader. */
function configurationOf(self: ServerId, servers: readonly Server[]): Configuration {
  return {
    voters: servers.filter(({ id }) => id === self),
    outgoing: null,
    nonvoters: servers.filter(({ id }) => id !== self).map((server) => ({ ...server, promote: true })),
  }
}

async function begin(
  stores: Stores,
  stored: StoredState,
  settings: ImportSettings,
  boots: OwnBoots,
  { header, recovery }: Taken,
): Promise<SeededFolder> {
  const { id: self, membership } = settings
  const { clusterId, incarnation: _, ...snapshot } = header
  const index = logIndex(header.index + 1)
  const term = termOf(header.term + 1)
  const recoveries = [...membership.recoveries, recovery]
  const payload = encodeConfiguration(snapshot)
  await stores.write(
    [
      { type: 'compact', first: index, prevTerm: header.term, snapshot, keepSuffix: false },
      { type: 'append', block: entryBlock('configuration', index, term, header.time, payload) },
      { type: 'hardState', hardState: { term, votedFor: self, commitIndex: header.index } },
      ...clusterFacts(clusterId, recoveries),
      ...firstFact(membership.first),
      ...claimFolder(settings, stored),
      ...boots.takeWrites(),
    ],
    'the first entry',
  )
  return { id: self, clusterId, recoveries, index: header.index }
}

/** What users give, as bytes or as an error that names it. */
async function* piecesOf(source: SnapshotBytes): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const piece of source as AsyncIterable<unknown>) {
      if (!isBytes(piece)) throw unreadable(`it gave ${kindOf(piece)}, and not a Uint8Array`)
      yield piece
    }
  } catch (cause) {
    if (cause instanceof RaftError) throw cause
    throw unreadable(`it threw: ${textOf(cause)}`, cause)
  }
}

function unreadable(how: string, cause?: unknown): RaftError {
  const message = `The source of the snapshot ${GIVEN} cannot be read: ${how}. Nothing was changed`
  return new RaftError('ERR_RAFT_SNAPSHOT_FAILED', message, { cause })
}

const isDamage = (error: unknown): error is MalformedBytes =>
  error instanceof MalformedBytes && !(error instanceof UnknownFormat)

function damaged(cause: MalformedBytes): RaftError {
  const message = `The snapshot ${GIVEN} is damaged: ${cause.message}. Nothing was changed: give an intact copy of it`
  return new RaftError('ERR_RAFT_SNAPSHOT_CORRUPT', message, { cause })
}

function foreign({ clusterId, clusterName }: SnapshotHeader, own: string): RaftError {
  return new RaftError(
    'ERR_RAFT_CLUSTER_MISMATCH',
    `the snapshot ${GIVEN} is of cluster ${clusterId} (${clusterName}), and the options describe ${own}. Give the name and the list of that cluster, and its recoveries, or take it all the same with the option anyCluster: true`,
  )
}

function notEmpty(dir: string): RaftError {
  return optionsError(
    `the folder ${dir} is that of a server already (Raft.hasState tells which): a snapshot is imported into an empty one. Keep it aside, and give another`,
  )
}
