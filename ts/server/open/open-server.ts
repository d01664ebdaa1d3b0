/**
 * From settings to a running server: open the store, make sure which cluster it belongs to, build the group over what
 * was stored, start the transport, begin to turn.
 *
 * Invariants: nothing is said to a peer before everything that is read here is durable. An open that fails leaves
 * nothing open, and touches nothing that it has not opened.
 */

import { lastEntryTime } from '../../format/block.js'
import { neverEmpty } from '../../storage/lost-data.js'
import type { LogStore, StoredState } from '../../storage/log-store.js'
import { storeFault } from '../../storage/store-fault.js'
import { RaftError } from '../../errors.js'
import { isPosition, logIndex, STORED_MAX } from '../../types.js'
import type { LogIndex } from '../../types.js'
import { drawNonce, OwnBoots } from '../own-boots.js'
import type { Server } from '../server.js'
import { bootstrap, checkName, firstOf, hasCluster, payloadOf } from './bootstrap.js'
import { isCopy } from './folder.js'
import { makeGroup } from './group.js'
import type { GroupSettings } from './group.js'
import { Host } from './host.js'
import { learnCluster } from './joining.js'
import { claimTransport, releaseTransport } from './transport-claims.js'

/** `draw` makes the nonce of this boot. */
export async function openServer(settings: GroupSettings, draw = drawNonce): Promise<Server> {
  const { id, transport } = settings
  claimTransport(transport, id)
  try {
    const server = await openHost(settings, draw())
    void server.ended.then(() => releaseTransport(transport))
    return server
  } catch (error) {
    releaseTransport(transport)
    throw error
  }
}

async function openHost(settings: GroupSettings, bootNonce: string): Promise<Server> {
  const host = new Host(settings)
  try {
    const found = await host.open()
    checkNumbers(host.dir, found)
    const lastTime = await lastTimeOf(host.store, found)
    const boots = new OwnBoots(found, bootNonce)
    const first = await firstEntry(settings, host, found)
    const stored = await bootstrap(host, found, first, settings, boots)
    if (isCopy(found)) {
      host.logger.warn('copied folder', { dir: host.dir, reason: 'taken, since acceptCopiedFolder is set' })
    }
    const snapshots = await host.openSnapshots()
    const appliedIndex = await appliedIndexOf(settings, stored)
    const group = makeGroup(settings, host, {
      stored,
      first: first ?? firstOf(found),
      lastTime,
      boots,
      appliedIndex,
      snapshots,
    })
    host.onNews(() => group.mailbox.schedule())
    await host.listen(group.identity, group.inbound)
    host.transport.setPeers(group.peers)
    group.mailbox.schedule()
    return group.server
  } catch (error) {
    await host.giveUp()
    throw error
  }
}

/** The payload of it, by the options or as the members tell it; null where the folder belongs to a cluster already. */
async function firstEntry(settings: GroupSettings, host: Host, found: StoredState): Promise<Uint8Array | null> {
  const { id, cluster, join, joinTimeoutMs: timeoutMs, signal } = settings
  if (typeof join === 'boolean') return payloadOf({ clusterName: cluster, servers: settings.bootstrap })
  if (!hasCluster(found)) {
    return learnCluster(host, found.incarnation, { id, cluster, addresses: join, timeoutMs, signal })
  }
  checkName(host.dir, found, cluster)
  return null
}

/** Every number in the store must have room above it for what is counted from it. */
function checkNumbers(dir: string, { lastIndex, hardState, bootCounter }: StoredState): void {
  const numbers = { 'last index': lastIndex, term: hardState.term, 'commit index': hardState.commitIndex, bootCounter }
  for (const [name, value] of Object.entries(numbers)) {
    if (isPosition(value, STORED_MAX)) continue
    throw new RaftError(
      'ERR_RAFT_STORE_CORRUPT',
      `the folder ${dir} holds the ${name} ${value}, and ${STORED_MAX} is the largest that a server can go on from: no server counts so far, so it is damaged or forged. The others go on without this server while they are a majority. ${neverEmpty}`,
    )
  }
}

/** What the state machine has by itself. Throws when that and the log do not belong together. */
async function appliedIndexOf(
  { stateMachine }: GroupSettings,
  { snapshot, lastIndex }: StoredState,
): Promise<LogIndex> {
  if (snapshot !== null && !stateMachine.canSnapshot) {
    const what = `the log stands on a snapshot at ${snapshot.index}, and option stateMachine has no functions snapshot and restore: give it both, as it had`
    throw new RaftError('ERR_RAFT_OPTIONS', what)
  }
  const applied = await stateMachine.appliedIndex()
  if (applied <= lastIndex) return logIndex(applied)
  throw new RaftError(
    'ERR_RAFT_OPTIONS',
    `the state machine says that it has applied ${applied}, and the log ends at ${lastIndex}: its data is of another server, or the log has lost entries. ${neverEmpty}`,
  )
}

/** The time of the newest entry; of an empty log that of the snapshot on which it stands, or 0. */
async function lastTimeOf(store: LogStore, { firstIndex, lastIndex, snapshot }: StoredState): Promise<number> {
  if (lastIndex < firstIndex) return snapshot?.time ?? 0
  try {
    const [block] = await store.read(lastIndex, logIndex(lastIndex + 1), 1)
    return block === undefined ? 0 : lastEntryTime(block)
  } catch (error) {
    throw storeFault(`read the entry ${lastIndex}`, error)
  }
}
