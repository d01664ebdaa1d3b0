/**
 * Linearizable reads on their way (thesis 6.4): all that begin in one turn share one request to the core, and wait
 * first for the leader's confirmation, then for the state machine to reach the index that it gave. Those of them that
 * nothing else can end share one call, too.
 */

import type { Outcome, RaftError } from '../../errors.js'
import type { LogIndex } from '../../types.js'
import { overloaded } from '../refusals.js'
import { PendingCall } from './pending-call.js'
import type { Room } from './pending-call.js'

/** Reads waiting in one server; above that `readIndex` answers OVERLOADED. */
const READS_MAX = 65_536

type Read = PendingCall<LogIndex>

export class ReadQueue {
  /** The newest request, given to a round when it begins; never used again. */
  #lastId = 0
  /** The reads that came since the last request. */
  #fresh = this.#nextRound()
  /**
   * By the id of their request, in the order of the requests. Confirmations come in that order, so their indexes
   * ascend. No round in it is without a read.
   */
  readonly #asked = new Map<number, Round>()
  /** The members of all rounds, the fresh one among them. */
  #count = 0

  /** Reads that have no outcome yet. */
  get count(): number {
    return this.#count
  }

  /** Requests whose reads wait, for the leader or for the state machine. */
  get rounds(): number {
    return this.#asked.size
  }

  /** Whether any came since the last request. */
  get hasFresh(): boolean {
    return this.#fresh.count > 0
  }

  /** The request that is not made yet: another one as soon as it is. Whoever joins it while it is this is in time. */
  get fresh(): object {
    return this.#fresh
  }

  /** Returns the refusal when there is no room. */
  add(read: Read): RaftError | null {
    if (this.#count >= READS_MAX) return overloaded(`${this.#count} reads wait, which is the bound`)
    this.#fresh.add(read)
    this.#count += 1
    return null
  }

  /**
   * A read without a deadline and a signal: its round ends it, so it is the same call for all of them. Null when there
   * is no room.
   */
  // Hot path: once per read.
  share(): Promise<LogIndex> | null {
    if (this.#count >= READS_MAX) return null
    this.#count += 1
    return this.#fresh.share()
  }

  /** The request to put to the core for everything that came since the last; null when nothing did. */
  nextRequest(): number | null {
    const round = this.#fresh
    if (round.count === 0) return null
    this.#asked.set(round.id, round)
    this.#fresh = this.#nextRound()
    return round.id
  }

  confirmed(id: number, index: LogIndex): void {
    const round = this.#asked.get(id)
    if (round !== undefined) round.index = index
  }

  failed(id: number, error: RaftError): void {
    for (const read of this.#take(this.#asked.get(id))) read.reject(error)
  }

  /** The state machine has reached this index. */
  applied(appliedIndex: LogIndex): void {
    for (const round of this.#asked.values()) {
      const { index } = round
      if (index === null || index > appliedIndex) break
      for (const read of this.#take(round)) read.resolve(index)
    }
  }

  /** Ends those that wait for the state machine alone; what becomes of the others the core tells. */
  failConfirmed(error: RaftError): void {
    for (const round of this.#asked.values()) {
      if (round.index === null) continue
      for (const read of this.#take(round)) read.reject(error)
    }
  }

  failAll(error: RaftError): void {
    const rounds = [...this.#asked.values(), this.#fresh]
    this.#fresh = this.#nextRound()
    for (const round of rounds) {
      for (const read of this.#take(round)) read.reject(error)
    }
  }

  #nextRound(): Round {
    this.#lastId += 1
    return new Round(this.#lastId, (round) => this.#left(round))
  }

  /** A read of that round has ended by itself. */
  #left(round: Round): void {
    this.#count -= 1
    if (round.count === 0) this.#asked.delete(round.id)
  }

  /** The reads of a round that is over: whoever asks for them settles them all. */
  #take(round: Round | undefined): readonly Read[] {
    if (round === undefined) return []
    this.#asked.delete(round.id)
    this.#count -= round.count
    return round.calls()
  }
}

/** The reads that share one request. */
class Round implements Room<LogIndex> {
  readonly id: number
  /** Those that have no outcome yet, until the round is over; without those that share. */
  readonly members = new Set<Read>()
  #shared: Read | null = null
  #sharing = 0
  /** Null until the leader has confirmed them. */
  index: LogIndex | null = null
  readonly #onLeft: (round: Round) => void

  constructor(id: number, onLeft: (round: Round) => void) {
    this.id = id
    this.#onLeft = onLeft
  }

  get count(): number {
    return this.members.size + this.#sharing
  }

  add(read: Read): void {
    read.enter(this)
    this.members.add(read)
  }

  share(): Promise<LogIndex> {
    this.#shared ??= new PendingCall()
    this.#sharing += 1
    return this.#shared.promise
  }

  calls(): readonly Read[] {
    return this.#shared === null ? [...this.members] : [this.#shared, ...this.members]
  }

  withdraw(read: Read): Outcome {
    this.members.delete(read)
    this.#onLeft(this)
    return 'not-applied'
  }
}
