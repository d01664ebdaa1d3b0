/**
 * Which cluster a folder belongs to. A new one gets term 1 and the entry (1, term 1) that holds the first
 * configuration, in one ticket; the cluster id is a hash of that entry's payload, so servers that were started with
 * different lists never talk.
 */

import { createHash } from 'node:crypto'

import { RaftError } from '../../errors.js'
import { entryBlock } from '../../format/block.js'
import { encodeBootstrap } from '../../format/configuration.js'
import type { StoredState } from '../../storage/log-store.js'
import { logIndex, termOf } from '../../types.js'
import type { Configuration, Server } from '../../types.js'
import type { OwnBoots } from '../own-boots.js'
import { claimFolder } from './folder.js'
import type { FolderOwner } from './folder.js'
import type { Host } from './host.js'

const CLUSTER_ID_FACT = 'clusterId'

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

/**
 * Makes a new folder a member, or checks that one with state is a member of that cluster and of that server's own.
 * Resolves with what is durable then: also the nonce of this boot.
 */
export async function bootstrap(
  host: Host,
  stored: StoredState,
  cluster: Bootstrap,
  owner: FolderOwner,
  boots: OwnBoots,
): Promise<StoredState> {
  const voters = cluster.servers.map(({ id, address }) => ({ id, address }))
  const configuration: Configuration = { voters, outgoing: null, nonvoters: [] }
  const payload = encodeBootstrap(cluster.clusterName, cluster.servers)
  const clusterId = createHash('sha256').update(payload).digest('hex').slice(0, 32)
  if (stored.facts.has(CLUSTER_ID_FACT)) {
    const known = clusterIdOf(stored)
    if (known !== clusterId) throw mismatch(host.dir, known, clusterId)
    const claim = [...claimFolder(owner, stored), ...boots.takeWrites()]
    await host.untilDurable(host.store.submit(claim), 'whose folder it is')
    return stored
  }
  // No time: every server writes this entry by itself, and it is one entry, the same bytes everywhere (log matching,
  // 5.3).
  const block = entryBlock('configuration', logIndex(1), termOf(1), 0, payload)
  const hardState = { term: termOf(1), votedFor: null, commitIndex: logIndex(0) }
  const fact = new TextEncoder().encode(clusterId)
  const ticket = host.store.submit([
    { type: 'append', block },
    { type: 'hardState', hardState },
    { type: 'put', key: CLUSTER_ID_FACT, value: fact },
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

function mismatch(dir: string, known: string, described: string): RaftError {
  return new RaftError(
    'ERR_RAFT_CLUSTER_MISMATCH',
    `the folder ${dir} belongs to cluster ${known}; the options cluster and bootstrap describe cluster ${described}. Start with the list it was made with, or in an empty folder`,
  )
}
