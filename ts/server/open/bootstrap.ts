/**
 * Makes a new folder a member of its cluster: term 1 and the entry (1, term 1) that holds the first configuration, in
 * one ticket. A folder with state is only compared with what the options say of the cluster.
 */

import { assert, RaftError } from '../../errors.js'
import { entryBlock } from '../../format/block.js'
import { decodeConfiguration } from '../../format/configuration.js'
import { optionsError } from '../../option-checks.js'
import type { StoredState } from '../../storage/log-store.js'
import { logIndex, termOf } from '../../types.js'
import type { ServerId, StoreOperation } from '../../types.js'
import { joinedFact } from '../joined-fact.js'
import { drawNonce, OwnBoots } from '../own-boots.js'
import { clusterFacts, clusterIdOf, clusterIds, firstFact, firstOf, recoveriesOf } from './cluster-id.js'
import { claimFolder } from './folder.js'
import type { FolderOwner } from './folder.js'
import { withStores } from './stores.js'
import type { Stores, StoresParts } from './stores.js'

/** What a server knows of its cluster before it looks into its folder. */
export interface Membership {
  /**
   * The payload of the first entry: the same on every server, and two clusters with the same one are taken for one.
   * Null: the folder has joined by an address, and knows it.
   */
  readonly first: Uint8Array | null
  /** Of a server that comes new: those that it was told of. */
  readonly recoveries: readonly string[]
  /** Whether it waits to be added. */
  readonly join: boolean
}

/** What a folder has become by being opened for a cluster. */
export interface BootstrappedFolder {
  readonly id: ServerId
  readonly clusterId: string
  /** False: it was a member of that cluster before. */
  readonly isNew: boolean
}

/** The same for a folder that nobody runs from: opens it, makes it a member, and frees it again. */
export function bootstrapFolder(
  parts: StoresParts & FolderOwner,
  membership: Membership,
  draw = drawNonce,
): Promise<BootstrappedFolder> {
  return withStores(parts, async (stores, found) => {
    const stored = await bootstrap(stores, found, membership, parts, new OwnBoots(found, draw()))
    return { id: parts.id, clusterId: clusterIdOf(stored) ?? '', isNew: stored !== found }
  })
}

/** Of a folder that has joined by an address only the name of the cluster can be compared. */
export function checkName(dir: string, stored: StoredState, clusterName: string): void {
  const first = firstOf(stored)
  const name = first === null ? clusterName : decodeConfiguration(first).clusterName
  if (name === clusterName) return
  throw new RaftError(
    'ERR_RAFT_CLUSTER_MISMATCH',
    `the folder ${dir} belongs to the cluster '${name}', and option cluster is '${clusterName}': correct it, or start in an empty folder`,
  )
}

/**
 * Makes a new folder a member, or checks that one with state is a member of that cluster and of that server's own.
 * Resolves with what is durable then: also the nonce of this boot.
 */
export async function bootstrap(
  stores: Stores,
  stored: StoredState,
  { first, recoveries, join }: Membership,
  owner: FolderOwner,
  boots: OwnBoots,
): Promise<StoredState> {
  const known = clusterIdOf(stored)
  if (known !== null) {
    checkCluster(stores.dir, stored, known, first ?? firstOf(stored), recoveries)
    const learned = first === null || firstOf(stored) !== null ? [] : firstFact(first)
    const claim = [...learned, ...claimFolder(owner, stored), ...boots.takeWrites()]
    await stores.write(claim, 'whose folder it is')
    return stored
  }
  assert(first !== null, 'a new folder without a first entry')
  if (recoveries.length > 0 && !join) throw noFirstMembers(stores.dir)
  const { configuration } = decodeConfiguration(first)
  // No time: every server writes this entry by itself, and it is one entry, the same bytes everywhere (log matching,
  // 5.3).
  const block = entryBlock('configuration', logIndex(1), termOf(1), 0, first)
  const hardState = { term: termOf(1), votedFor: null, commitIndex: logIndex(0) }
  const facts = [
    ...clusterFacts(clusterIds(first, recoveries).at(-1) ?? '', recoveries),
    ...firstFact(first),
    ...(join ? [joinedFact()] : []),
  ]
  const claim = [...claimFolder(owner, stored), ...boots.takeWrites()]
  const entry = [{ type: 'append', block } as const, { type: 'hardState', hardState } as const]
  await stores.write([...entry, ...facts, ...claim], 'the first entry')
  return {
    ...stored,
    lastIndex: logIndex(1),
    hardState,
    termRuns: [{ first: logIndex(1), term: termOf(1) }],
    configurations: [{ index: logIndex(1), configuration }],
    facts: new Map(facts.flatMap(asFact)),
  }
}

const asFact = (step: StoreOperation): readonly (readonly [string, Uint8Array])[] =>
  step.type === 'put' ? [[step.key, step.value]] : []

/** The first members never change, and what was recovered stays so. */
function checkCluster(
  dir: string,
  stored: StoredState,
  known: string,
  first: Uint8Array | null,
  told: readonly string[],
): void {
  const recoveries = recoveriesOf(stored)
  const described = first === null ? known : (clusterIds(first, recoveries).at(-1) ?? '')
  if (known !== described) throw mismatch(dir, known, described, recoveries)
  if (told.every((recovery, at) => recovery === recoveries[at])) return
  throw leftBehind(dir, known)
}

function mismatch(dir: string, known: string, described: string, recoveries: readonly string[]): RaftError {
  const recovered =
    recoveries.length === 0
      ? ''
      : '. It was recovered, and the list stays that of its very first members all the same: whom it has now is in its log'
  return new RaftError(
    'ERR_RAFT_CLUSTER_MISMATCH',
    `the folder ${dir} belongs to cluster ${known}; the options cluster and bootstrap describe cluster ${described}. Start with the list it was made with, or in an empty folder${recovered}`,
  )
}

function leftBehind(dir: string, known: string): RaftError {
  return new RaftError(
    'ERR_RAFT_CLUSTER_RECOVERED',
    `the folder ${dir} is of cluster ${known}, as it was before it was recovered as option recoveries says: what is in it is no part of the cluster any more. Keep it aside, and start in an empty folder with join: true and the same option recoveries`,
  )
}

function noFirstMembers(dir: string): RaftError {
  return optionsError(
    `option recoveries is given, and the folder ${dir} is empty: a cluster that was recovered has no first members any more. Set join: true, and add this server at the leader; or give it the folder that was recovered`,
  )
}
