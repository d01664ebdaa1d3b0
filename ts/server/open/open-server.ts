/**
 * From settings to a running server: open the store, make sure which cluster it belongs to, build the group over what
 * was stored, start the transport, begin to turn.
 *
 * Invariants: nothing is said to a peer before everything that is read here is durable. An open that fails leaves
 * nothing open, and touches nothing that it has not opened.
 */

import { encodeBootstrap } from '../../format/configuration.js'
import type { StoredState } from '../../storage/log-store.js'
import type { JoinStatus } from '../../types.js'
import { drawNonce, OwnBoots } from '../own-boots.js'
import type { Server } from '../server.js'
import { bootstrap, checkName } from './bootstrap.js'
import type { Membership } from './bootstrap.js'
import { clusterIdOf, firstOf } from './cluster-id.js'
import { isCopy } from './folder.js'
import { makeGroup } from './group.js'
import type { GroupSettings } from './group.js'
import { Host } from './host.js'
import { learnCluster, waitsToBeAdded } from './joining.js'
import { machineStartOf } from './machine-start.js'
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
    const lastTime = await host.lastTime(found)
    const boots = new OwnBoots(found, bootNonce)
    const membership = await membershipOf(settings, host, found)
    const stored = await bootstrap(host, found, membership, settings, boots)
    if (isCopy(found)) {
      host.logger.warn('folder.copied', { dir: host.dir, reason: 'taken, since acceptCopiedFolder is set' })
    }
    const snapshots = await host.openSnapshots()
    const machine = await machineStartOf(settings.stateMachine, stored, host, snapshots)
    const group = makeGroup(settings, host, {
      stored,
      first: membership.first ?? firstOf(stored),
      lastTime,
      boots,
      machine,
      snapshots,
      join: membership.waits,
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

/** What is known of the cluster: by the options, as the members tell it, or by the folder alone. */
async function membershipOf(
  settings: GroupSettings,
  host: Host,
  found: StoredState,
): Promise<Membership & { readonly waits: JoinStatus | null }> {
  const { id, cluster, join, joinAs, recoveries, joinTimeoutMs: timeoutMs, signal, onJoin } = settings
  if (typeof join === 'boolean') {
    const first = encodeBootstrap(cluster, settings.bootstrap)
    return { first, recoveries, join, waits: join ? waitsToBeAdded : null }
  }
  if (clusterIdOf(found) === null) {
    const joining = { id, cluster, joinAs, addresses: join, timeoutMs, signal, onJoin }
    return { ...(await learnCluster(host, found.incarnation, joining)), join: true }
  }
  checkName(host.dir, found, cluster)
  return { first: null, recoveries: [], join: true, waits: waitsToBeAdded }
}
