/**
 * By what servers know that they are of one cluster. Its first id is a hash of the bootstrap entry; each recovery from
 * a lost quorum makes another id of the one before. So whoever was left behind by a recovery is of another cluster from
 * then on, and whoever comes new can work the id out from the first members and the recoveries.
 */

import { createHash } from 'node:crypto'

import { VALUE_BYTES_MAX } from '../../format/operations.js'
import type { StoredState } from '../../storage/log-store.js'
import type { LogIndex, StoreOperation } from '../../types.js'

const CLUSTER_ID_FACT = 'clusterId'
const RECOVERIES_FACT = 'recoveries'
/** The payload of the first entry, which may be compacted: for those who ask which cluster it is. */
const FIRST_FACT = 'first'

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

/** What it knows of the first entry of its cluster; null when it does not. */
export function firstOf({ facts }: StoredState): Uint8Array | null {
  return facts.get(FIRST_FACT) ?? null
}

/** What makes a folder know the first entry; a list of servers that fits into no fact is not told to anybody. */
export function firstFact(first: Uint8Array): readonly StoreOperation[] {
  return first.byteLength > VALUE_BYTES_MAX ? [] : [{ type: 'put', key: FIRST_FACT, value: first }]
}

/** What makes a folder know its cluster. */
export function clusterFacts(clusterId: string, recoveries: readonly string[]): readonly StoreOperation[] {
  const encoder = new TextEncoder()
  const known = { type: 'put', key: CLUSTER_ID_FACT, value: encoder.encode(clusterId) } as const
  if (recoveries.length === 0) return [known]
  return [known, { type: 'put', key: RECOVERIES_FACT, value: encoder.encode(recoveries.join(' ')) }]
}

/** Every id that the cluster with that first entry has had, the oldest first. */
export function clusterIds(first: Uint8Array, recoveries: readonly string[]): readonly string[] {
  const ids = [hashOf(first)]
  for (const recovery of recoveries) ids.push(clusterIdAfter(ids.at(-1) ?? '', recovery))
  return ids
}

/** What a recovery makes of the id of a cluster. */
export function clusterIdAfter(clusterId: string, recovery: string): string {
  return hashOf(new TextEncoder().encode(`balsa recovery ${clusterId} ${recovery}`))
}

/** A recovery that writes its configuration at that entry, by what was drawn for it: 32 hex digits. */
export function recoveryAt(index: LogIndex, drawn: string): string {
  return `${index}-${drawn}`
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32)
}
