/**
 * What must hold of each configuration that a leader makes (11): the one before it is committed, and so is an entry of
 * its own term, by what that leader knows (thesis 4.1); and no quorum of the one is without a voter of every quorum of
 * the other. Both are counted by hand: nothing of this is shared with the core.
 */

import type { RaftCore } from '../../core/index.js'
import type { Configuration, LogIndex, Server } from '../../types.js'
import type { Observer, ServerView } from '../observer.js'
import { isQuorum } from './quorum.js'
import { hold } from './violation.js'

/** Above so many voters not every set of them is tried; no cluster of a test has as many. */
const VOTERS_TRIED_MAX = 12

interface Seen {
  readonly index: LogIndex
  readonly configuration: Configuration
}

export class ConfigurationInvariants implements Observer {
  readonly #seen: (Seen | undefined)[] = []

  booted(server: ServerView): void {
    this.#seen[server.ordinal] = undefined
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore): void {
    const before = this.#seen[server.ordinal]
    const { configuration } = core
    if (before?.configuration === configuration) return
    const index = core.log.configurationIndex
    this.#seen[server.ordinal] = { index, configuration }
    const isMade = before !== undefined && core.role === 'leader' && core.log.termAt(index) === core.term
    if (isMade) this.#made(server, core, before)
  }

  #made({ id }: ServerView, { term, log, configuration }: RaftCore, before: Seen): void {
    const { commitIndex, configurationIndex: index } = log
    hold(before.index <= Math.max(commitIndex, 1), 11, () => {
      return `${id} makes configuration ${index}, and ${before.index} is not committed, only ${commitIndex} is`
    })
    hold(log.termAt(commitIndex) === term, 11, () => {
      return `${id} makes configuration ${index} in term ${term}, and has committed nothing of it, only ${commitIndex}`
    })
    hold(doQuorumsMeet(before.configuration, configuration), 11, () => {
      return `${id} goes from configuration ${before.index} to ${index}: two quorums of them share nobody`
    })
  }
}

/** Whether no set of servers is a quorum of the one while all others are a quorum of the other. */
export function doQuorumsMeet(a: Configuration, b: Configuration): boolean {
  const ids = [...new Set([...votersOf(a), ...votersOf(b)].map(({ id }) => id))]
  if (ids.length > VOTERS_TRIED_MAX) return true
  for (let set = 0; set < 1 << ids.length; set += 1) {
    const isIn = (id: string): boolean => ((set >> ids.indexOf(id)) & 1) === 1
    if (isQuorum(a, isIn) && isQuorum(b, (id) => !isIn(id))) return false
  }
  return true
}

function votersOf({ voters, outgoing }: Configuration): readonly Server[] {
  return [...voters, ...(outgoing ?? [])]
}
