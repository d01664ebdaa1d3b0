/**
 * From settings to a running server: open the store, make sure which cluster it belongs to, build the group over what
 * was stored, start the transport, begin to turn.
 *
 * Invariant: nothing is said to a peer before everything that is read here is durable.
 */

import { lastEntryTime } from '../../format/block.js'
import { neverEmpty } from '../../storage/lost-data.js'
import type { LogStore, StoredState } from '../../storage/log-store.js'
import { RaftError } from '../../errors.js'
import { isPosition, logIndex, STORED_MAX } from '../../types.js'
import type { Server } from '../server.js'
import { bootstrap } from './bootstrap.js'
import { isCopy } from './folder.js'
import { makeGroup } from './group.js'
import type { GroupSettings } from './group.js'
import { Host } from './host.js'

export async function openServer(settings: GroupSettings): Promise<Server> {
  const { dir, storage, transport, clock, logger } = settings
  const host = new Host({ dir, store: storage.create(dir), transport, clock, logger })
  try {
    const found = await host.open()
    checkNumbers(dir, found)
    const lastTime = await lastTimeOf(host.store, found)
    const cluster = { clusterName: settings.cluster, servers: settings.bootstrap }
    const stored = await bootstrap(host, found, cluster, settings)
    if (isCopy(found)) logger.warn('copied folder', { dir, reason: 'taken, since acceptCopiedFolder is set' })
    const group = makeGroup(settings, host, stored, lastTime)
    host.onNews(() => group.mailbox.schedule())
    await transport.start(group.identity, group.inbound, clock, logger)
    transport.setPeers(group.peers)
    group.mailbox.schedule()
    return group.server
  } catch (error) {
    await host.close()
    throw error
  }
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

/** The time of the newest entry; 0 for an empty log. */
async function lastTimeOf(store: LogStore, { firstIndex, lastIndex }: StoredState): Promise<number> {
  if (lastIndex < firstIndex) return 0
  const [block] = await store.read(lastIndex, logIndex(lastIndex + 1), 1)
  return block === undefined ? 0 : lastEntryTime(block)
}
