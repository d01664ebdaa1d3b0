/**
 * By what servers know that they are of one cluster. Its first id is a hash of the bootstrap entry; each recovery from
 * a lost quorum makes another id of the one before. So whoever was left behind by a recovery is of another cluster from
 * then on, and whoever comes new can work the id out from the first members and the recoveries.
 *
 * What must hold: no configuration before the entry that the last recovery wrote makes anybody a voter. Its voters may
 * all be servers that came back with nothing.
 */

import { createHash, randomBytes } from 'node:crypto'

import { encodeBootstrap } from '../../format/configuration.js'
import { recoveryIndex } from '../../format/recovery.js'
import type { StoredState } from '../../storage/log-store.js'
import type { LogIndex, Server, StoreOperation } from '../../types.js'

const CLUSTER_ID_FACT = 'clusterId'
const RECOVERIES_FACT = 'recoveries'

/** What the options say of the cluster. */
export interface Bootstrap {
  /** Two clusters with the same name and servers are taken for one: their bootstrap entries are equal. */
  readonly clusterName: string
  /** The same list in any order on every server. */
  readonly servers: readonly Server[]
}

/** The cluster that a folder with this state belongs to; null when it belongs to none. */
export function clusterIdOf({ facts }: StoredState): string | null {
  const value = facts.get(CLUSTER_ID_FACT)
  return value === undefined ? null : new TextDecoder().decode(value)
}

/** The recoveries that a folder with this state knows of, the oldest first. */
export function recoveriesOf({ facts }: StoredState): readonly string[] {
  const text = new TextDecoder().decode(facts.get(RECOVERIES_FACT))
  return text === '' ? [] : text.split(' ')
}

/** What makes a folder know its cluster. */
export function clusterFacts(clusterId: string, recoveries: readonly string[]): readonly StoreOperation[] {
  const encoder = new TextEncoder()
  const known = { type: 'put', key: CLUSTER_ID_FACT, value: encoder.encode(clusterId) } as const
  if (recoveries.length === 0) return [known]
  return [known, { type: 'put', key: RECOVERIES_FACT, value: encoder.encode(recoveries.join(' ')) }]
}

/** Every id that the cluster has had, the oldest first. */
export function clusterIds({ clusterName, servers }: Bootstrap, recoveries: readonly string[]): readonly string[] {
  const ids = [hashOf(encodeBootstrap(clusterName, servers))]
  for (const recovery of recoveries) ids.push(clusterIdAfter(ids.at(-1) ?? '', recovery))
  return ids
}

/** What a recovery makes of the id of a cluster. */
export function clusterIdAfter(clusterId: string, recovery: string): string {
  return hashOf(new TextEncoder().encode(`balsa recovery ${clusterId} ${recovery}`))
}

/** A recovery that writes its configuration at that entry. */
export function drawRecovery(index: LogIndex): string {
  return `${index}-${randomBytes(16).toString('hex')}`
}

/** The first entry whose configuration says who votes; 0 of a cluster that was never recovered. */
export function votersFrom(recoveries: readonly string[]): LogIndex {
  return recoveryIndex(recoveries.at(-1))
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32)
}
