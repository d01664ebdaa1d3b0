/**
 * The lease of a leader (thesis 6.4.1): until its end nobody else can have been elected, so what is committed here is
 * all that is. It counts from when a round was sent that a quorum of voters has answered, never from when an answer
 * came, and on a clock that counts through suspend: each of these voters got something of that round later, and from
 * then on keeps its pledge (`core/pledge`) for all of `leaseMs`.
 *
 * Invariant: an answer counts only of a voter that has the configuration in force here, durably: the pledge is of that.
 */

import type { ServerId } from '../../types.js'
import { quorumValue } from '../configuration.js'
import type { CoreContext } from '../role.js'
import { heldBy } from './commitment.js'
import type { Progress } from './progress.js'
import type { ReadRounds } from './read-index.js'

/**
 * The part of `leaseMs` that a leader reads by: the rest is for clocks that do not go equally fast. The slowest leader
 * and the fastest voter may be 5 % off, each.
 */
const LEASE_PART = 0.9

export class Lease {
  readonly #core: CoreContext
  readonly #rounds: ReadRounds
  readonly #peers: ReadonlyMap<ServerId, Progress>

  constructor(core: CoreContext, rounds: ReadRounds, peers: ReadonlyMap<ServerId, Progress>) {
    this.#core = core
    this.#rounds = rounds
    this.#peers = peers
  }

  // Hot path: twice per read.
  holds(bootNow: number): boolean {
    const { configuration, id } = this.#core
    const { leaseMs = 0 } = configuration
    if (leaseMs === 0) return false
    const round = quorumValue(configuration, (v) => (v === id ? this.#rounds.current : this.#pledgedIn(v)))
    const since = bootNow - this.#rounds.beganAt(round)
    // A clock that went back is no clock to count on.
    return since >= 0 && since < leaseMs * LEASE_PART
  }

  /** The last round that a voter has answered with this configuration in its log; 0 for none. */
  #pledgedIn(voter: ServerId): number {
    const peer = this.#peers.get(voter)
    return heldBy(peer) >= this.#core.log.configurationIndex ? (peer as Progress).ackedRound : 0
  }
}
