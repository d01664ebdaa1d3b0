/**
 * Where the replay of this process ends: up to there everything was in the log, or committed by others, before this
 * process knew how far the cluster had come, so that nobody waits here for an answer to it. Known once, and for good.
 *
 * A server that leads before it has followed anybody knows all that was committed, and its own first entry comes behind
 * that (5.4.1). One that follows is told by a leader, and believes it once an entry of that leader's term is committed
 * (8): then `ready` waits for the same index.
 */

import type { RaftCore } from '../core/raft-core.js'
import { logIndex } from '../types.js'
import type { LogIndex } from '../types.js'
import { isCurrent } from './calls/ready-queue.js'

export class Replay {
  readonly #core: RaftCore
  /** Null: not known yet, and all that is applied belongs to it. */
  #end: LogIndex | null = null

  constructor(core: RaftCore) {
    this.#core = core
  }

  has(index: LogIndex): boolean {
    return this.#end === null || index <= this.#end
  }

  /** The end of the first part of first .. last that is all replay, or has none of it. */
  cut({ first, last }: { readonly first: LogIndex; readonly last: LogIndex }): LogIndex {
    const end = this.#end
    return end === null || end < first ? last : logIndex(Math.min(end, last))
  }

  /** Hot path: once per turn, before anything of it is applied, so that no leadership begins and ends unseen. */
  look(): void {
    if (this.#end !== null) return
    const { role, log } = this.#core
    if (role === 'leader') this.#end = log.termRuns.at(-1)?.first ?? null
    else if (isCurrent(this.#core)) this.#end = log.knownCommitIndex
  }
}
