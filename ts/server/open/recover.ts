/**
 * The way back from a lost quorum: the folder of one survivor becomes a cluster of its own, in which it alone votes.
 * Whoever took no part is of another cluster from then on, and is refused.
 *
 * What must hold: one ticket makes the folder what it becomes, so that a crash leaves it as it was or recovered. What
 * the log stands on is copied first, under the new cluster id, since peers take no snapshot of another cluster. No
 * other server gets a vote by it: one that is named comes empty, and is promoted when it has caught up.
 */

import { membersOf } from '../../core/configuration.js'
import { NOBODY } from '../../core/electorate.js'
import type { RaftError } from '../../errors.js'
import { entryBlock, RecordCursor } from '../../format/block.js'
import { decodeConfiguration, encodeConfiguration } from '../../format/configuration.js'
import { withIncarnations } from '../../format/incarnations.js'
import { RECOVERIES_MAX } from '../../format/recovery.js'
import { withMeta } from '../../format/server-meta.js'
import type { RecoveredServer, RecoverSettings } from '../../options.js'
import { optionsError } from '../../option-checks.js'
import type { StoredState } from '../../storage/log-store.js'
import { logIndex, termOf } from '../../types.js'
import type {
  Configuration,
  ConfigurationStatus,
  LogIndex,
  Server,
  ServerId,
  SnapshotMeta,
  StoreOperation,
  Term,
} from '../../types.js'
import { drawNonce, OwnBoots } from '../own-boots.js'
import { PIN_PREFIX } from '../peer-pins.js'
import { snapshotIdOf } from '../snapshots.js'
import { describe } from '../status.js'
import { clusterFacts, clusterIdAfter, clusterIdOf, recoveriesOf, recoveryAt } from './cluster-id.js'
import { claimFolder, folderIdOf } from './folder.js'
import { inspectFolder, lastTermOf, newestConfiguration } from './folder-state.js'
import { withStores } from './stores.js'
import type { Stores } from './stores.js'

/** What a recovery has made of a folder, and what it cannot know. */
export interface Recovery {
  readonly id: ServerId
  readonly clusterId: string
  readonly formerClusterId: string
  /** All of them, the oldest first: option `recoveries` of every server that comes new. */
  readonly recoveries: readonly string[]
  /** Where the log ended: what was confirmed behind it is lost. */
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
  /** What of it was known to be committed. What lies behind may never have been confirmed, and counts as that now. */
  readonly commitIndex: LogIndex
  readonly configuration: ConfigurationStatus
  readonly configurationIndex: LogIndex
  /** Members before who are refused with what they have. */
  readonly leftBehind: readonly ServerId[]
  /** False: the folder had been recovered with these servers already, and nothing was written. */
  readonly isNew: boolean
}

/** What a recovery starts from, and what it makes of that. */
interface Plan {
  readonly self: ServerId
  readonly clusterId: string
  readonly recoveries: readonly string[]
  readonly before: StoredState['configurations'][number]
  readonly after: Configuration
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
  readonly commitIndex: LogIndex
}

/** Without `mayLoseData` it throws ERR_RAFT_OPTIONS, which tells what would be done, and changes nothing. */
export async function recover(settings: RecoverSettings, draw = drawNonce): Promise<Recovery> {
  const { dir, storage, servers, mayLoseData } = settings
  const seen = await inspectFolder(dir, storage)
  if (seen === null) throw nothingThere(dir)
  const plan = planOf(dir, seen, servers)
  if (isDone(plan)) return answerOf(plan, plan.clusterId, plan.recoveries, plan.before.index, false)
  claimFolder({ ...settings, id: plan.self }, seen)
  if (!mayLoseData) throw unconfirmed(dir, plan)
  return withStores(settings, async (stores, stored) => {
    const boots = new OwnBoots(stored, draw())
    return write(stores, stored, planOf(dir, stored, servers), settings, boots, draw())
  })
}

function planOf(dir: string, stored: StoredState, servers: readonly RecoveredServer[]): Plan {
  const self = folderIdOf(stored)
  const clusterId = clusterIdOf(stored)
  const recoveries = recoveriesOf(stored)
  if (clusterId === null || stored.lastIndex <= 1) throw nothingThere(dir)
  if (self === null) throw unnamed(dir)
  const before = newestConfiguration(dir, stored)
  return {
    ...{ self, clusterId, recoveries, before },
    after: withIncarnations(
      configurationOf(self, servers, before.configuration),
      new Map(servers.map(({ id }) => [id, id === self ? stored.incarnation : NOBODY])),
    ),
    lastIndex: stored.lastIndex,
    lastTerm: lastTermOf(stored),
    commitIndex: stored.hardState.commitIndex,
  }
}

/** This server alone votes; the others wait to be fed. What else was said of members and of all stays said. */
function configurationOf(self: ServerId, servers: readonly RecoveredServer[], before: Configuration): Configuration {
  if (!servers.some(({ id }) => id === self)) {
    const names = servers.map(({ id }) => id).join(', ')
    throw optionsError(`the folder is that of server ${self}, and the servers are ${names}: name ${self} too, it leads`)
  }
  const described = servers.map(({ id, address, meta }): Server => {
    const known = membersOf(before).find((server) => server.id === id)
    const moved = { id, address, ...(known?.extensions === undefined ? {} : { extensions: known.extensions }) }
    return meta === undefined ? moved : withMeta(moved, meta)
  })
  return {
    voters: described.filter(({ id }) => id === self),
    outgoing: null,
    nonvoters: described.filter(({ id }) => id !== self).map((server) => ({ ...server, promote: true })),
    ...(before.extensions === undefined ? {} : { extensions: before.extensions }),
  }
}

/** The same call came before, and nothing since. */
function isDone({ recoveries, before, after, lastIndex }: Plan): boolean {
  if (recoveries.length === 0 || before.index !== lastIndex) return false
  const bytesOf = (configuration: Configuration): string =>
    Buffer.from(encodeConfiguration({ clusterName: '', configuration })).toString('hex')
  return bytesOf(before.configuration) === bytesOf(after)
}

async function write(
  stores: Stores,
  stored: StoredState,
  plan: Plan,
  settings: RecoverSettings,
  boots: OwnBoots,
  drawn: string,
): Promise<Recovery> {
  if (plan.recoveries.length >= RECOVERIES_MAX) throw tooMany(stores.dir)
  const claim = claimFolder({ ...settings, id: plan.self }, stored)
  const index = logIndex(plan.lastIndex + 1)
  const term = termOf(Math.max(stored.hardState.term, plan.lastTerm) + 1)
  const recovery = recoveryAt(index, drawn)
  const recoveries = [...plan.recoveries, recovery]
  const clusterId = clusterIdAfter(plan.clusterId, recovery)
  const clusterName = await clusterNameOf(stores, stored)
  const payload = encodeConfiguration({ clusterName, configuration: plan.after })
  const time = await stores.lastTime(stored)
  const steps: readonly StoreOperation[] = [
    ...(await standOnCopy(stores, stored, clusterId, plan.after, boots)),
    { type: 'append', block: entryBlock('configuration', index, term, time, payload) },
    { type: 'hardState', hardState: { term, votedFor: plan.self, commitIndex: stored.hardState.commitIndex } },
    ...clusterFacts(clusterId, recoveries),
    // An id may come with another store now.
    ...[...stored.facts.keys()].filter((key) => key.startsWith(PIN_PREFIX)).map(forget),
    ...claim,
    ...boots.takeWrites(),
  ]
  await stores.write(steps, 'the recovery')
  return answerOf(plan, clusterId, recoveries, index, true)
}

const forget = (key: string): StoreOperation => ({ type: 'delete', key })

/** As each configuration says it. */
async function clusterNameOf(stores: Stores, { configurations, snapshot }: StoredState): Promise<string> {
  const newest = configurations.at(-1)
  const block = newest === undefined ? null : await stores.blockOf(newest.index)
  if (block === null) return snapshot?.clusterName ?? ''
  const cursor = new RecordCursor()
  cursor.reset(block)
  cursor.next()
  return decodeConfiguration(cursor.payload).clusterName
}

/**
 * Puts the log on a copy of its snapshot that is of the new cluster, and tells its members: whoever is given it must
 * know its leader. All of it is read, and so checked.
 */
async function standOnCopy(
  stores: Stores,
  { snapshot, firstIndex, prevTerm, incarnation }: StoredState,
  clusterId: string,
  configuration: Configuration,
  boots: OwnBoots,
): Promise<readonly StoreOperation[]> {
  if (snapshot === null) return []
  const { whole, flawed } = await stores.openSnapshots()
  // Its head says where the sessions end: a copy without that would take them for a part of the state.
  const flaw = flawed.find(({ id: other }) => other === snapshot.id)?.flaw
  if (flaw !== undefined) throw flaw
  const sessionBytes = whole.find(({ header }) => header.id === snapshot.id)?.header.sessionBytes
  const id = snapshotIdOf(boots.newest, snapshot.index)
  const copy: SnapshotMeta = { ...snapshot, id, configuration, configurationIndex: snapshot.index }
  stores.logger.info('snapshot.copied', { index: snapshot.index, id })
  const header = { ...copy, clusterId, incarnation, ...(sessionBytes === undefined ? {} : { sessionBytes }) }
  const sink = await stores.snapshots.create(header)
  try {
    for await (const piece of stores.snapshots.read(snapshot.id)) await sink.write(piece)
    await sink.finish()
  } catch (error) {
    await sink.abort()
    throw error
  }
  return [{ type: 'compact', first: firstIndex, prevTerm, snapshot: copy, keepSuffix: true }]
}

function answerOf(
  plan: Plan,
  clusterId: string,
  recoveries: readonly string[],
  configurationIndex: LogIndex,
  isNew: boolean,
): Recovery {
  const { self, lastIndex, lastTerm, commitIndex, after } = plan
  return {
    ...{ id: self, clusterId, formerClusterId: plan.clusterId, recoveries, lastIndex, lastTerm, commitIndex },
    configuration: describe(after),
    configurationIndex,
    leftBehind: othersOf(plan),
    isNew,
  }
}

const othersOf = ({ self, before }: Plan): readonly ServerId[] =>
  membersOf(before.configuration)
    .map(({ id }) => id)
    .filter((id) => id !== self)

function unconfirmed(dir: string, plan: Plan): RaftError {
  const { self, lastIndex, lastTerm, commitIndex, before } = plan
  const others = othersOf(plan).join(', ')
  const doubtful =
    commitIndex < lastIndex
      ? ` Entries ${commitIndex + 1} .. ${lastIndex} may never have been confirmed, and count as confirmed from then on.`
      : ''
  return optionsError(
    `Raft.recover has changed nothing, since data may be lost by it. It makes server ${self} the only voter of a new cluster, from the folder ${dir}: its log ends with entry ${lastIndex} of term ${lastTerm}, and whatever was confirmed behind that is lost.${doubtful} The other members by entry ${before.index} (${others === '' ? 'none' : others}) are refused from then on with what they have; they must never run together again. Where the folders of several have survived, take the one whose log ends in the greatest term, and of those the longest (Raft.hasState). To do it, set the option mayLoseData: true (balsa-kv recover: --yes-data-may-be-lost)`,
  )
}

function nothingThere(dir: string): RaftError {
  return optionsError(
    `there is nothing to recover in the folder ${dir}: no log of a server that has taken part in a cluster. Give the folder of a survivor and the storage that made it; to begin anew, start servers in empty folders`,
  )
}

function unnamed(dir: string): RaftError {
  return optionsError(
    `the folder ${dir} does not say whose it is: an early version made it. Start its server once with Raft.open, close it, and recover it then`,
  )
}

function tooMany(dir: string): RaftError {
  return optionsError(
    `the cluster in the folder ${dir} was recovered ${RECOVERIES_MAX} times, and cannot be once more: export a snapshot of it, and begin a new cluster`,
  )
}
