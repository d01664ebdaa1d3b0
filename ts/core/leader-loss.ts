/**
 * When a follower calls for an election because the process of its leader is gone: soon, and not after an election
 * timeout. The voters take turns with time between them, or votes would be split now and then, which costs an election
 * timeout; whose log is behind is refused, and the next one has its turn.
 *
 * Invariant: where links flap and the leader lives on, attempts become rare: after each one of a term the next waits
 * twice as long. What an attempt may do is the business of pre-vote and stickiness, here is only when.
 */

import { ELECTION_PRIORITY_MAX } from '../types.js'
import type { Configuration, ServerId, Term } from '../types.js'
import { isVoter, membersOf } from './configuration.js'

/** The earliest attempt, as a part of the election timeout: by then the other voters have noticed as well. */
const WAIT_PART = 1 / 100
/** Among so much of it after that the turns of the voters lie; after as much again those of a lower priority. */
const TURNS_PART = 1 / 20
/** Of its turn, a voter begins within the first part: the rest is for its questions to reach the others. */
const BEGINS_WITHIN = 1 / 2
/** Election timeouts between two attempts of one term, at most. */
const PAUSE_TIMEOUTS_MAX = 64

/** Of the follower that has lost its leader. */
export interface LossContext {
  readonly id: ServerId
  readonly now: number
  readonly configuration: Configuration
  readonly hardState: { readonly term: Term }
  readonly settings: { readonly electionTimeoutMs: number; readonly electionPriority?: number }
  /** In [0, 1). */
  random(): number
}

export class LeaderLoss {
  /** The leadership that the rest speaks of. */
  #term: Term | null = null
  /** No attempt before that. */
  #notBefore = -Infinity
  /** Between the last attempt and the next. */
  #pauseMs = 0

  /**
   * When to call for an election now that this leader is gone; Infinity: not for that reason. Invariant: this server is
   * a voter.
   */
  attemptAt(follower: LossContext, leader: ServerId): number {
    const { hardState, now, configuration, id } = follower
    const { electionTimeoutMs, electionPriority = ELECTION_PRIORITY_MAX } = follower.settings
    if (hardState.term !== this.#term) {
      this.#term = hardState.term
      this.#notBefore = -Infinity
      this.#pauseMs = electionTimeoutMs
    }
    if (now < this.#notBefore) return Infinity
    const others = membersOf(configuration).filter((other) => other.id !== leader && isVoter(configuration, other.id))
    const turn = others.findIndex((other) => other.id === id)
    const rounds = ELECTION_PRIORITY_MAX - electionPriority
    const inRound = (turn + BEGINS_WITHIN * follower.random()) / others.length
    const at = now + electionTimeoutMs * (WAIT_PART + TURNS_PART * (rounds + inRound))
    this.#notBefore = at + this.#pauseMs
    this.#pauseMs = Math.min(2 * this.#pauseMs, PAUSE_TIMEOUTS_MAX * electionTimeoutMs)
    return at
  }
}
