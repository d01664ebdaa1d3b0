/**
 * Changes of the members on their way: one is put to the core at a time, the others wait for it in the order in which
 * they came. A change has its outcome when the configuration that it led to is committed, and no longer joint; one that
 * is to make a voter, when the voter is there.
 *
 * Invariant: once a leadership has ended no change waits: what it has come to is said, and whether whoever leads goes
 * on with it.
 */

import type { ChangeOutcome, ChangeRefusal } from '../../core/configuration-change.js'
import type { RaftCore } from '../../core/raft-core.js'
import type { ChangeRequest, Input } from '../../core/ready.js'
import { RaftError } from '../../errors.js'
import type { Outcome } from '../../errors.js'
import type { ConfigurationAt } from '../../core/raft-log.js'
import type { LogIndex, ServerId } from '../../types.js'
import { leadershipLost, notLeader, overloaded } from '../refusals.js'
import type { ErrorOf } from '../refusals.js'
import { PendingCall } from './pending-call.js'
import type { Room } from './pending-call.js'

export type { ChangeRequest }

/** Changes that wait in one server; above that they are refused. */
const CHANGES_MAX = 64

/** Every call of `Raft` that changes the members. */
export class ChangeCall extends PendingCall<ConfigurationAt> {
  readonly request: ChangeRequest
  /** Who is to be a voter in the end; null where the configuration itself is what was asked for. */
  readonly voter: ServerId | null
  /** The entry that it was appended as; null before. */
  index: LogIndex | null = null
  isCommitted = false

  constructor(request: ChangeRequest, voter: ServerId | null = null) {
    super()
    this.request = request
    this.voter = voter
  }

  /** Whoever gives up, or is given up, is told how far it has come. */
  override reject(error: unknown): void {
    const soFar = this.#soFar
    if (soFar === null || !(error instanceof RaftError)) return super.reject(error)
    const { code, message, outcome, retryable, leader, cause } = error
    super.reject(new RaftError(code, `${message}; ${soFar}`, { outcome, retryable, leader, cause }))
  }

  get #soFar(): string | null {
    if (this.index === null) return null
    if (!this.isCommitted) return `the change is entry ${this.index}, which may still be committed`
    if (this.voter === null)
      return `the configuration ${this.index} is committed, and whoever leads leaves it for the final one`
    return `server ${this.voter} is a nonvoter by the configuration ${this.index}, and whoever leads promotes it once it has caught up`
  }
}

export class ChangeQueue implements Room<ConfigurationAt> {
  /** The newest request to the core. */
  #lastId = 0
  /** Not appended yet, in the order in which they came. */
  readonly #waiting = new Set<ChangeCall>()
  /** In the log, and without an outcome. */
  readonly #appended = new Set<ChangeCall>()
  /** What was put to the core in this turn. */
  #asked: ChangeCall | null = null

  get count(): number {
    return this.#waiting.size + this.#appended.size
  }

  /** Returns the refusal when there is no room. */
  add(call: ChangeCall): RaftError | null {
    if (this.count >= CHANGES_MAX) return overloaded(`${this.count} changes of the members wait, which is the bound`)
    call.enter(this)
    this.#waiting.add(call)
    return null
  }

  /** Waits for what is in the log already as for a change of its own. */
  addAppended(call: ChangeCall, index: LogIndex): RaftError | null {
    const refusal = this.add(call)
    if (refusal !== null) return refusal
    this.#waiting.delete(call)
    this.#appended.add(call)
    call.index = index
    return null
  }

  withdraw(call: PendingCall<ConfigurationAt>): Outcome {
    const change = call as ChangeCall
    this.#waiting.delete(change)
    this.#appended.delete(change)
    if (change.index === null) return 'not-applied'
    return change.isCommitted ? 'applied' : 'unknown'
  }

  /** What to put to the core in this turn; null when nothing waits. `full`: why the store takes nothing new. */
  nextRequest(core: RaftCore, full: RaftError | null): Input | null {
    if (this.#waiting.size === 0) return null
    if (core.role !== 'leader') this.#failWaiting(() => notLeader(core.leader))
    if (full !== null) this.#failWaiting((outcome) => new RaftError(full.code, full.message, { outcome, cause: full }))
    const [call] = this.#waiting
    if (call === undefined) return null
    this.#asked = call
    this.#lastId += 1
    return { type: 'configure', id: this.#lastId, ...call.request }
  }

  answered(outcome: ChangeOutcome, core: RaftCore): void {
    const call = this.#asked
    this.#asked = null
    if (call === null || outcome.id !== this.#lastId || call.settled) return
    if (outcome.status === 'appended') {
      this.#waiting.delete(call)
      this.#appended.add(call)
      call.index = outcome.index
    } else if (outcome.refusal.kind === 'lags') {
      // The others need not wait for its server.
      this.#waiting.delete(call)
      this.#waiting.add(call)
    } else if (outcome.refusal.kind !== 'notYet') {
      this.#waiting.delete(call)
      call.reject(refusalOf(outcome.refusal, core))
    }
  }

  /** Looked at once per turn, before a leadership that ended in it is told of. */
  settle({ log }: RaftCore): void {
    if (this.#appended.size === 0) return
    const [committed] = log.configurationsInQuestion
    if (committed === undefined) return
    for (const call of this.#appended) this.#settleOne(call, committed)
  }

  /** What is in the log may be committed by whoever leads next. Those that are committed were settled before. */
  leadershipEnded(): void {
    for (const call of this.#takeAppended()) call.reject(leadershipLost(call.isCommitted ? 'applied' : 'unknown'))
  }

  failAll(errorOf: ErrorOf): void {
    this.#failWaiting(errorOf)
    for (const call of this.#takeAppended()) call.reject(errorOf(call.isCommitted ? 'applied' : 'unknown'))
  }

  #settleOne(call: ChangeCall, committed: ConfigurationAt): void {
    if (call.index === null || committed.index < call.index) return
    call.isCommitted = true
    const { voters, outgoing, nonvoters } = committed.configuration
    if (outgoing !== null) return
    const { voter } = call
    const isThere = voter === null || voters.some(({ id }) => id === voter)
    if (!isThere && nonvoters.some(({ id, promote }) => id === voter && promote)) return
    this.#appended.delete(call)
    if (isThere) call.resolve(committed)
    else call.reject(takenBack(voter, committed.index))
  }

  #failWaiting(errorOf: ErrorOf): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const call of waiting) call.reject(errorOf('not-applied'))
  }

  #takeAppended(): readonly ChangeCall[] {
    const appended = [...this.#appended]
    this.#appended.clear()
    return appended
  }
}

function refusalOf(refusal: Exclude<ChangeRefusal, { readonly kind: 'notYet' | 'lags' }>, core: RaftCore): RaftError {
  switch (refusal.kind) {
    case 'notLeader':
      return notLeader(core.leader)
    case 'flaw':
      return refused(refusal.reason)
    case 'otherIndex': {
      const { expected, index } = refusal
      return refused(
        `ifIndex is ${expected}, and the configuration in force is that of entry ${index}: look at configuration() and ask again`,
      )
    }
    case 'noQuorum': {
      const names = refusal.unheard.join(', ')
      const message = `too few voters would be heard to go on: ${names} did not answer within an election timeout. Bring them back, or remove them first (removeServer); with the option force it is done all the same, and nothing is committed until enough of them answer`
      return new RaftError('ERR_RAFT_CHANGE_REFUSED', message, { retryable: true })
    }
  }
}

function refused(reason: string): RaftError {
  return new RaftError('ERR_RAFT_CHANGE_REFUSED', reason)
}

function takenBack(voter: ServerId, index: LogIndex): RaftError {
  const message = `server ${voter} was not promoted: by the configuration ${index} it is to be no voter, since another call has removed or demoted it`
  return new RaftError('ERR_RAFT_CHANGE_REFUSED', message, { outcome: 'applied' })
}
