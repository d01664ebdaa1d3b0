/**
 * Brings what clients write to whoever leads, in its order: to the library of this server where that leads, and, where
 * this server forwards, by it to the leader.
 *
 * Invariants, of what is forwarded:
 * - What is known not to be applied is proposed again, for `LEADER_WAIT_MS` from when it came here, and only while
 *   nothing behind it was applied or may have been. So the order of each client holds, and nothing is applied twice.
 * - After a refusal nothing is proposed before all that is under way has its outcome; nor to another server than that
 *   at which something is under way.
 * - What may have been applied is never proposed again: its client is told that nobody knows.
 */

import { RaftError } from 'balsa-raft'
import type { DataSet } from '../data-set/data-set.js'
import { FORWARD_RETRY_MS, LEADER_WAIT_MS } from '../limits.js'
import type { KvClock } from './clock.js'
import type { KvRaft } from './kv-raft.js'
import type { Leadership } from './leadership.js'
import type { TurnBatch } from './turn-batch.js'

/** One entry that is proposed by itself. */
interface Single {
  readonly batch: TurnBatch
  /** Which of the batch. */
  readonly at: number
  /** When it is not proposed again. */
  readonly until: number
}

interface Refused extends Single {
  /** Its place among all that was proposed. */
  readonly place: number
  readonly error: unknown
}

export class Proposals {
  readonly #raft: Pick<KvRaft, 'applyAll' | 'propose'>
  readonly #data: Pick<DataSet, 'index'>
  readonly #leadership: Leadership
  readonly #clock: Pick<KvClock, 'now' | 'setTimer'>
  readonly #onSettled: (batch: TurnBatch) => void
  /** Refused before, and not proposed again yet; these go before `#fresh`. */
  #again: Single[] = []
  #fresh: TurnBatch[] = []
  #refused: Refused[] = []
  /** Proposals without an outcome: batches that this server applies, and entries that another does. */
  #underWay = 0
  /** Where those are; the id of a server. */
  #destination: string | null = null
  #places = 0
  /** The last place of those that were applied, or may have been. */
  #takenPlace = 0
  #cancelRetry: (() => void) | null = null
  #isClosed = false
  /** How often the library was asked to take a whole turn. */
  applyAllCalls = 0

  /** `onSettled`: all of a batch is told. */
  constructor(
    raft: Pick<KvRaft, 'applyAll' | 'propose'>,
    data: Pick<DataSet, 'index'>,
    leadership: Leadership,
    clock: Pick<KvClock, 'now' | 'setTimer'>,
    onSettled: (batch: TurnBatch) => void,
  ) {
    this.#raft = raft
    this.#data = data
    this.#leadership = leadership
    this.#clock = clock
    this.#onSettled = onSettled
  }

  /** Entries that wait to be proposed, and whether a time for that is set. */
  get rooms(): Readonly<Record<'entriesToPropose' | 'proposalRetries', number>> {
    const fresh = this.#fresh.reduce((sum, batch) => sum + batch.length, 0)
    return {
      entriesToPropose: this.#again.length + this.#refused.length + fresh,
      proposalRetries: Number(this.#cancelRetry !== null),
    }
  }

  add(batch: TurnBatch): void {
    batch.propose()
    this.#fresh.push(batch)
    this.send()
  }

  /** Proposes what waits, if it may. To be called when the leadership has changed, too. */
  send(): void {
    if (this.#again.length === 0 && this.#fresh.length === 0) return
    if (this.#refused.length > 0 || this.#cancelRetry !== null) return
    const { forwards, isChanging, leader, self } = this.#leadership
    if (forwards && isChanging) return
    const destination = forwards ? leader : self
    if (destination === null) return this.#failWaiting(new RaftError('ERR_RAFT_NO_LEADER', 'no leader is known here'))
    if (this.#underWay > 0 && destination.id !== this.#destination) return
    this.#destination = destination.id
    const again = this.#again
    const fresh = this.#fresh
    this.#again = []
    this.#fresh = []
    for (const single of again) this.#propose(single)
    for (const batch of fresh) {
      if (destination === self) this.#applyAll(batch)
      else for (const single of singlesOf(batch, this.#until)) this.#propose(single)
    }
  }

  /** Nothing is proposed any more. */
  close(): void {
    this.#isClosed = true
    this.#cancelRetry?.()
    this.#cancelRetry = null
    this.#failWaiting(new RaftError('ERR_RAFT_CLOSED', 'the server is closing'))
  }

  get #until(): number {
    return this.#clock.now() + LEADER_WAIT_MS
  }

  // Hot path: once per batch.
  #applyAll(batch: TurnBatch): void {
    const place = (this.#places += 1)
    const until = this.#until
    this.#underWay += 1
    this.applyAllCalls += 1
    this.#raft.applyAll(batch.entries).then(
      (replies) => {
        this.#underWay -= 1
        this.#takenPlace = Math.max(this.#takenPlace, place)
        batch.applied(replies, this.#data.index)
        this.#onSettled(batch)
        this.#review()
      },
      (error: unknown) => {
        this.#underWay -= 1
        if (this.#mayTryAgain(error, until)) {
          for (const single of singlesOf(batch, until)) this.#refused.push({ ...single, place, error })
        } else {
          if (isMaybeApplied(error)) this.#takenPlace = Math.max(this.#takenPlace, place)
          batch.failed(error)
          this.#onSettled(batch)
        }
        this.#review()
      },
    )
  }

  // Hot path: once per forwarded command.
  #propose(single: Single): void {
    const { batch, at, until } = single
    const place = (this.#places += 1)
    this.#underWay += 1
    this.#raft.propose(batch.entries[at] as Uint8Array, ONCE).then(
      ({ index, result }) => {
        this.#underWay -= 1
        this.#takenPlace = Math.max(this.#takenPlace, place)
        batch.appliedOne(at, result, index)
        this.#told(batch)
      },
      (error: unknown) => {
        this.#underWay -= 1
        if (this.#mayTryAgain(error, until)) this.#refused.push({ ...single, place, error })
        else {
          if (isMaybeApplied(error)) this.#takenPlace = Math.max(this.#takenPlace, place)
          batch.failedOne(at, error)
        }
        this.#told(batch)
      },
    )
  }

  #told(batch: TurnBatch): void {
    if (batch.state === 'settled') this.#onSettled(batch)
    this.#review()
  }

  #mayTryAgain(error: unknown, until: number): boolean {
    if (!this.#leadership.forwards || this.#isClosed || !(error instanceof RaftError)) return false
    return error.outcome === 'not-applied' && error.retryable && this.#clock.now() < until
  }

  /** Once nothing is under way: what was refused waits for its next time, unless something behind it was taken. */
  #review(): void {
    if (this.#underWay > 0) return
    if (this.#refused.length > 0) {
      const refused = this.#refused.toSorted((one, other) => one.place - other.place || one.at - other.at)
      this.#refused = []
      for (const { batch, at, until, place, error } of refused) {
        if (place > this.#takenPlace && !this.#isClosed) this.#again.push({ batch, at, until })
        else this.#fail(batch, at, error)
      }
      if (this.#again.length > 0) this.#retryLater()
    }
    this.send()
  }

  #retryLater(): void {
    this.#cancelRetry ??= this.#clock.setTimer(FORWARD_RETRY_MS, () => {
      this.#cancelRetry = null
      this.send()
    })
  }

  #failWaiting(error: RaftError): void {
    const again = this.#again
    const fresh = this.#fresh
    this.#again = []
    this.#fresh = []
    for (const { batch, at } of again) this.#fail(batch, at, error)
    for (const batch of fresh) {
      batch.failed(error)
      this.#onSettled(batch)
    }
  }

  #fail(batch: TurnBatch, at: number, error: unknown): void {
    batch.failedOne(at, error)
    if (batch.state === 'settled') this.#onSettled(batch)
  }
}

/** Tried again in its order, or not at all: the library, which sees one command, would overtake those before it. */
const ONCE = { retry: false } as const

function singlesOf(batch: TurnBatch, until: number): readonly Single[] {
  return batch.entries.map((_, at) => ({ batch, at, until }))
}

function isMaybeApplied(error: unknown): boolean {
  return !(error instanceof RaftError) || error.outcome !== 'not-applied'
}
