/**
 * The leader's part in expiry. A key is dead only when the time of an applied entry has reached its deadline, so that
 * all servers agree; when a deadline has come and nobody writes, an entry that holds nothing but its time must go into
 * the log. Deadlines were set by the time of entries, and whether one has come is asked of what an entry made now would
 * carry, never of the date: that may be set, and jump.
 *
 * - A read of a key that is due but not dead yet waits for such an entry: a client that counts the seconds never sees a
 *   key for longer than it asked for. Reads of the same client behind it wait with it, or they would see less than it.
 * - A follower that reads for clients has the leader put that entry into the log, when a read waits for it, and then
 *   asks once more how far it must be.
 * - Time entries are at least `TIME_ENTRY_INTERVAL_MS` apart, one at a time, and there are none without a reason.
 */

import { RaftError } from 'balsa-raft'
import type { DataSet } from '../data-set/data-set.js'
import { LEADER_WAIT_MS, TIME_ENTRY_INTERVAL_MS } from '../limits.js'
import { timeEntry } from '../replication/entry-codec.js'
import type { KvClock } from './clock.js'
import type { KvRaft } from './kv-raft.js'
import type { Leadership } from './leadership.js'
import type { Reads } from './reads.js'
import type { Proposal, Read } from './turn-batch.js'
import type { Turns } from './turns.js'

/** The longest delay a timer of Node.js takes is 2^31 - 1 ms; a deadline further away is looked at again. */
const TIMER_MAX_MS = 2 ** 31 - 1

/** Owns the time entry that it asks for. */
export class ExpiryClock implements Proposal {
  readonly growthMax = 0
  readonly #raft: Pick<KvRaft, 'entryTime' | 'propose'>
  readonly #data: DataSet
  readonly #leadership: Leadership
  readonly #clock: Pick<KvClock, 'setTimer'>
  readonly #turns: Turns
  readonly #reads: Reads
  readonly #becomeCurrent: () => Promise<unknown>
  /** Reads of keys that are due but not yet dead, and those of the same owners behind them. */
  #dueReads: Read[] = []
  #cancelTimer: (() => void) | null = null
  /** When the timer fires; Infinity: none runs. */
  #timerAt = Number.POSITIVE_INFINITY
  /** When the last time entry was asked for. */
  #timeEntryAt = Number.NEGATIVE_INFINITY
  #timeEntry: 'none' | 'wanted' | 'inFlight' = 'none'
  #isClosed = false

  /** `becomeCurrent` resolves when the data set here holds what was committed before it was asked. */
  constructor(
    raft: Pick<KvRaft, 'entryTime' | 'propose'>,
    data: DataSet,
    leadership: Leadership,
    clock: Pick<KvClock, 'setTimer'>,
    turns: Turns,
    reads: Reads,
    becomeCurrent: () => Promise<unknown>,
  ) {
    this.#raft = raft
    this.#data = data
    this.#leadership = leadership
    this.#clock = clock
    this.#turns = turns
    this.#reads = reads
    this.#becomeCurrent = becomeCurrent
  }

  /** Reads that wait until a key is dead, and whether a time entry is on its way. */
  get rooms(): Readonly<Record<'dueReads' | 'timeEntries', number>> {
    return { dueReads: this.#dueReads.length, timeEntries: Number(this.#timeEntry !== 'none') }
  }

  /** Carries out reads, but for those that wait until a key is dead. */
  execute(reads: readonly Read[]): void {
    if (reads.length === 0) return
    const now = this.#now()
    if (this.#data.nextDeadline > now && this.#dueReads.length === 0) return this.#reads.execute(reads, now)
    this.#executeOrWait(reads, now, (read) => this.#isDue(read, now))
    if (this.#dueReads.length > 0) this.watch()
  }

  /** Carries out reads that need not be linearizable: what is due by this server's own time is not seen. */
  executeLesser(reads: readonly Read[]): void {
    this.#reads.execute(reads, this.#now())
  }

  /** To be called when deadlines or the leadership may have changed. */
  watch(): void {
    if (this.#isClosed || this.#timeEntry !== 'none') return
    if (!this.#leadership.isLeader && this.#dueReads.length === 0) return
    const wanted = this.#dueReads.length > 0 ? 0 : this.#data.nextDeadline
    if (wanted === Number.POSITIVE_INFINITY) return
    const now = this.#raft.entryTime
    // A follower may find that its time was ahead.
    const at = Math.max(wanted, Math.min(this.#timeEntryAt, now) + TIME_ENTRY_INTERVAL_MS)
    if (at >= this.#timerAt) return
    this.#cancelTimer?.()
    this.#timerAt = at
    const delay = Math.min(Math.max(0, at - now), TIMER_MAX_MS)
    this.#cancelTimer = this.#clock.setTimer(delay, () => this.#onTimer())
  }

  /** Whether a time entry is to be written in this turn, with this as its owner. */
  takeTimeEntry(): boolean {
    if (this.#timeEntry !== 'wanted' || this.#isClosed) return false
    this.#timeEntry = 'inFlight'
    return true
  }

  /** The time entry: keys that were due are dead. */
  applied(): void {
    this.#timeEntry = 'none'
    // Of all keys some may be due at any moment, so a read of all waits once.
    const now = this.#now()
    this.#executeOrWait(this.#takeDueReads(), now, (read) => read.keys !== null && this.#isDue(read, now))
    // By the clock of this server, which may be ahead of the one that made the entry.
    this.watch()
  }

  failed(error: unknown): void {
    this.#timeEntry = 'none'
    this.#failDueReads(error)
  }

  close(): void {
    this.#isClosed = true
    this.#cancelTimer?.()
    this.#failDueReads(new RaftError('ERR_RAFT_CLOSED', 'the server is closing'))
  }

  #onTimer(): void {
    this.#cancelTimer = null
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = this.#raft.entryTime
    const { isLeader } = this.#leadership
    if (this.#dueReads.length === 0 && (!isLeader || this.#data.nextDeadline > now)) {
      this.watch()
      return
    }
    this.#timeEntryAt = now
    if (!isLeader) return this.#proposeTime()
    this.#timeEntry = 'wanted'
    this.#turns.ask()
  }

  /** The reads wait here all the while, so that none of the same client overtakes them. */
  #proposeTime(): void {
    this.#timeEntry = 'inFlight'
    this.#raft
      .propose(timeEntry, { timeoutMs: LEADER_WAIT_MS })
      .then(this.#becomeCurrent)
      .then(
        () => this.applied(),
        (error: unknown) => this.failed(error),
      )
  }

  #executeOrWait(reads: readonly Read[], now: number, waits: (read: Read) => boolean): void {
    const ready: Read[] = []
    const waiting = new Set(this.#dueReads.map(({ owner }) => owner))
    for (const read of reads) {
      if (waiting.has(read.owner) || waits(read)) {
        waiting.add(read.owner)
        this.#dueReads.push(read)
      } else {
        ready.push(read)
      }
    }
    this.#reads.execute(ready, now)
  }

  /** Without deadlines no read depends on the time. */
  #now(): number {
    return this.#data.nextDeadline === Number.POSITIVE_INFINITY ? 0 : this.#raft.entryTime
  }

  #isDue(read: Read, now: number): boolean {
    return read.keys === null || read.keys.some((key) => this.#data.isDue(key, now))
  }

  #failDueReads(error: unknown): void {
    for (const read of this.#takeDueReads()) read.failed(error)
  }

  #takeDueReads(): readonly Read[] {
    const reads = this.#dueReads
    this.#dueReads = []
    return reads
  }
}
