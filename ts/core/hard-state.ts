/**
 * Term and vote: what a server must not forget (figure 2, "persistent state"). They change here, and are written by the
 * next ticket as one record.
 *
 * Invariants: the term only grows; at most one vote is given in a term (5.2); the vote is cleared only because the term
 * grows (scenario E2).
 */

import { assert } from '../errors.js'
import type { ServerId, Term } from '../types.js'

export class TermAndVote {
  /** The latest term that this server has seen, durable or not. */
  #term: Term
  /** Who has this server's vote in that term; null while nobody has. */
  #votedFor: ServerId | null
  /** Changed since the last ticket was taken. */
  #isFresh = false

  constructor(term: Term, votedFor: ServerId | null) {
    this.#term = term
    this.#votedFor = votedFor
  }

  get term(): Term {
    return this.#term
  }

  get votedFor(): ServerId | null {
    return this.#votedFor
  }

  get isFresh(): boolean {
    return this.#isFresh
  }

  enterTerm(term: Term, votedFor: ServerId | null): void {
    assert(term > this.#term, `hard state: term ${term} does not follow term ${this.#term}`)
    this.#term = term
    this.#votedFor = votedFor
    this.#isFresh = true
  }

  vote(candidate: ServerId): void {
    if (this.#votedFor === candidate) return
    assert(this.#votedFor === null, `hard state: a second vote in term ${this.#term}`)
    this.#votedFor = candidate
    this.#isFresh = true
  }

  /** A ticket holds both as they are now. */
  taken(): void {
    this.#isFresh = false
  }
}
