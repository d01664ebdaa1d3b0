/**
 * When an entry is committed: a quorum holds it durably, and it is of the leader's own term. An entry of an older term
 * is committed by what follows it, never by counting: it may still be replaced (5.4.2, figure 8).
 */

import { logIndex } from '../../types.js'
import type { LogIndex, ServerId } from '../../types.js'
import { quorumValue } from '../configuration.js'
import type { CoreContext } from '../role.js'
import type { Progress } from './progress.js'

/** Moves the commit index as far as a quorum has come. Returns whether it moved. */
export function advanceCommit(core: CoreContext, peers: ReadonlyMap<ServerId, Progress>): boolean {
  const { log, configuration, id, hardState } = core
  // The leader counts itself at its durable index, like a peer at its match (thesis 10.2.1).
  const index = logIndex(quorumValue(configuration, (v) => (v === id ? log.durableIndex : heldBy(peers.get(v)))))
  if (index <= log.commitIndex || log.termAt(index) !== hardState.term) return false
  log.commitTo(index)
  return true
}

/** What a peer has acknowledged, unless it has lost some of it since. */
export function heldBy(progress: Progress | undefined): LogIndex {
  return progress === undefined || progress.regressedOn !== null ? logIndex(0) : progress.matchIndex
}
