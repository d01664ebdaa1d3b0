/**
 * Which cluster a folder belongs to. A new one gets term 1 and the entry (1, term 1) that holds the first
 * configuration, in one ticket; the cluster id is a hash of that entry's payload, so servers that were started with
 * different lists never talk.
 */

import { createHash } from 'node:crypto'

import { assert, RaftError } from '../../errors.js'
import { entryBlock } from '../../format/block.js'
import { decodeConfiguration, encodeBootstrap } from '../../format/configuration.js'
import type { StoredState } from '../../storage/log-store.js'
import { logIndex, termOf } from '../../types.js'
import type { Server, StoreOperation } from '../../types.js'
import type { OwnBoots } from '../own-boots.js'
import { claimFolder } from './folder.js'
import type { FolderOwner } from './folder.js'
import type { Host } from './host.js'

const CLUSTER_ID_FACT = 'clusterId'
/** The payload of the first entry, which may be compacted: for those who ask which cluster it is. */
const FIRST_FACT = 'first'
/** A list of servers that is longer is not told to anybody. */
const FIRST_BYTES_MAX = 4096

/** What the options say of the cluster. */
export interface Bootstrap {
  /** Two clusters with the same name and servers are taken for one: their bootstrap entries are equal. */
  readonly clusterName: string
  /** The same list in the same order on every server. */
  readonly servers: readonly Server[]
}

/** The cluster that a folder with this state belongs to. */
export function clusterIdOf({ facts }: StoredState): string {
  return new TextDecoder().decode(facts.get(CLUSTER_ID_FACT))
}

export function clusterIdOfPayload(payload: Uint8Array): string {
  return createHash('sha256').update(payload).digest('hex').slice(0, 32)
}

export function payloadOf({ clusterName, servers }: Bootstrap): Uint8Array {
  return encodeBootstrap(clusterName, servers)
}

/** What a folder knows of the first entry of its cluster; null when it does not. */
export function firstOf({ facts }: StoredState): Uint8Array | null {
  return facts.get(FIRST_FACT) ?? null
}

export function hasCluster({ facts }: StoredState): boolean {
  return facts.has(CLUSTER_ID_FACT)
}

/** The folder belongs to a cluster that it has joined by an address: only the name of it can be compared. */
export function checkName(dir: string, stored: StoredState, clusterName: string): void {
  const first = firstOf(stored)
  if (first === null || decodeConfiguration(first).clusterName === clusterName) return
  throw mismatch(dir, clusterIdOf(stored), `'${clusterName}'`)
}

/**
 * Makes a new folder a member, or checks that one with state is a member of that cluster and of that server's own.
 * Resolves with what is durable then: also the nonce of this boot.
 */
export async function bootstrap(
  host: Host,
  stored: StoredState,
  payload: Uint8Array | null,
  owner: FolderOwner,
  boots: OwnBoots,
): Promise<StoredState> {
  if (hasCluster(stored)) {
    const known = clusterIdOf(stored)
    const clusterId = payload === null ? known : clusterIdOfPayload(payload)
    if (known !== clusterId) throw mismatch(host.dir, known, clusterId)
    const first = firstOf(stored) === null && payload !== null ? putFirst(payload) : []
    const claim = [...first, ...claimFolder(owner, stored), ...boots.takeWrites()]
    await host.untilDurable(host.store.submit(claim), 'whose folder it is')
    return stored
  }
  assert(payload !== null, 'a new folder without a first entry')
  const clusterId = clusterIdOfPayload(payload)
  const { configuration } = decodeConfiguration(payload)
  // No time: every server writes this entry by itself, and it is one entry, the same bytes everywhere (log matching,
  // 5.3).
  const block = entryBlock('configuration', logIndex(1), termOf(1), 0, payload)
  const hardState = { term: termOf(1), votedFor: null, commitIndex: logIndex(0) }
  const fact = new TextEncoder().encode(clusterId)
  const ticket = host.store.submit([
    { type: 'append', block },
    { type: 'hardState', hardState },
    { type: 'put', key: CLUSTER_ID_FACT, value: fact },
    ...putFirst(payload),
    ...claimFolder(owner, stored),
    ...boots.takeWrites(),
  ])
  await host.untilDurable(ticket, 'the first entry')
  return {
    ...stored,
    lastIndex: logIndex(1),
    hardState,
    termRuns: [{ first: logIndex(1), term: termOf(1) }],
    configurations: [{ index: logIndex(1), configuration }],
    facts: new Map([[CLUSTER_ID_FACT, fact]]),
  }
}

function putFirst(payload: Uint8Array): readonly StoreOperation[] {
  return payload.byteLength > FIRST_BYTES_MAX ? [] : [{ type: 'put', key: FIRST_FACT, value: payload }]
}

function mismatch(dir: string, known: string, described: string): RaftError {
  return new RaftError(
    'ERR_RAFT_CLUSTER_MISMATCH',
    `the folder ${dir} belongs to cluster ${known}; the options cluster and bootstrap describe cluster ${described}. Start with the list it was made with, or in an empty folder`,
  )
}
