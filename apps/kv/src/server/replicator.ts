/**
 * Between the clients and the library: gathers what all clients want in one turn of the event loop, into one append and
 * one ReadIndex round.
 *
 * What makes reads linearizable:
 * - A read waits for `readIndex`, called after the read arrived: the data set then holds everything that was committed
 *   before the read (6.4).
 *   If a write of its own client is still under way, it waits for that too, which keeps their order.
 * - A read that arrives in the same turn as such a write, before that is proposed, waits for the write alone. A quorum
 *   accepts the write from this leader after the read arrived, so no later leader can have acknowledged anything before
 *   that. For a write proposed in an earlier turn this does not hold: it may have been committed long ago, and be
 *   applied only now, by a leader that was deposed in between.
 * In both cases it may see writes that were applied still later; they are concurrent with it.
 *
 * A server that does not lead asks the leader through `query`, for all linearizable reads of a turn at once, and waits
 * until it has applied that much (docs/any-server.md). A write that was forwarded is not applied here when its outcome
 * comes, so a read behind it always asks then. Reads by lease and of a lesser consistency are of the connections that
 * chose it, and are put to the library as what they are.
 */

import { IN_FLIGHT_BYTES_MAX, IN_FLIGHT_ENTRIES_MAX, LEADER_WAIT_MS } from '../limits.js'
import { timeEntry } from '../replication/entry-codec.js'
import type { DataSet } from '../data-set/data-set.js'
import { isCurrent, type Consistency } from './client/read-mode.js'
import type { KvClock } from './clock.js'
import type { ExpiryClock } from './expiry-clock.js'
import type { KvRaft } from './kv-raft.js'
import type { Leadership } from './leadership.js'
import { Proposals } from './proposals.js'
import { TurnBatch, type Proposal, type Read } from './turn-batch.js'
import type { Turns } from './turns.js'

/** A read behind a write that was proposed in an earlier turn. */
interface ReadBehind {
  readonly read: Read
  readonly batch: TurnBatch
}

export interface ReplicatorParts {
  readonly raft: Pick<KvRaft, 'applyAll' | 'propose' | 'query' | 'readIndex'>
  readonly data: Pick<DataSet, 'index'>
  readonly leadership: Leadership
  readonly clock: Pick<KvClock, 'now' | 'setTimer'>
  readonly expiry: ExpiryClock
  readonly turns: Turns
}

export class Replicator {
  readonly #raft: ReplicatorParts['raft']
  readonly #leadership: Leadership
  readonly #expiry: ExpiryClock
  readonly #turns: Turns
  readonly #proposals: Proposals
  /** Of this turn; what was proposed is held by those who wait for it. */
  #batch = new TurnBatch()
  #reads: Read[] = []
  #readsBehind: ReadBehind[] = []
  /** Of a consistency that a connection has chosen; the writes of their clients are answered. */
  #chosenReads: Read[] = []
  /** Proposed and not settled. */
  readonly #batchesInFlight = new Set<TurnBatch>()
  #entriesInFlight = 0
  #bytesInFlight = 0
  #growthInFlight = 0
  /** Whose confirmation is under way. */
  #readsInFlight = 0
  #readIndexCalls = 0
  #turn = 0

  constructor({ raft, data, leadership, clock, expiry, turns }: ReplicatorParts) {
    this.#raft = raft
    this.#leadership = leadership
    this.#expiry = expiry
    this.#turns = turns
    this.#proposals = new Proposals(raft, data, leadership, clock, (batch) => this.#settled(batch))
  }

  /** How often the library was called: what a turn may cost is counted in tests. */
  get calls(): Readonly<Record<'applyAll' | 'readIndex', number>> {
    return { applyAll: this.#proposals.applyAllCalls, readIndex: this.#readIndexCalls }
  }

  /** Of this turn; what is read in one turn with one consistency is one question. */
  get turn(): number {
    return this.#turn
  }

  /** False: clients have to wait, until `turns` says that room is back. */
  get hasRoom(): boolean {
    return (
      this.#entriesInFlight + this.#batch.length < IN_FLIGHT_ENTRIES_MAX &&
      this.#bytesInFlight + this.#batch.bytes < IN_FLIGHT_BYTES_MAX
    )
  }

  /** Bytes that the data set may grow by with the entries that have not been answered. */
  get growthMax(): number {
    return this.#growthInFlight + this.#batch.growthMax
  }

  /** What waits here. */
  get rooms(): Readonly<Record<string, number>> {
    let readsBehind = this.#batch.readers
    for (const batch of this.#batchesInFlight) readsBehind += batch.readers
    const reads = this.#reads.length + this.#readsBehind.length + this.#chosenReads.length
    return {
      batches: this.#batchesInFlight.size,
      readsBehind,
      entries: this.#entriesInFlight + this.#batch.length,
      entryBytes: this.#bytesInFlight + this.#batch.bytes,
      growth: this.growthMax,
      readsToConfirm: reads + this.#readsInFlight,
      ...this.#proposals.rooms,
      ...this.#expiry.rooms,
    }
  }

  /** Adds an entry to the turn; the answer says for which batch a read behind it has to wait. */
  write(entry: Uint8Array, owner: Proposal): TurnBatch {
    if (!this.#batch.hasRoomFor(entry)) this.#submit()
    this.#batch.add(entry, owner)
    return this.#batch
  }

  /** `behind` holds the latest write of the same client. */
  read(read: Read, behind: TurnBatch | null): void {
    if (read.consistency !== 'linearizable') this.#chosenReads.push(read)
    else if (behind === null || behind.state === 'settled') this.#reads.push(read)
    else if (behind.state === 'gathering') behind.addReader(read)
    else this.#readsBehind.push({ read, batch: behind })
  }

  /** Hands over what the turn has gathered. */
  endTurn(): void {
    this.#turn += 1
    if (this.#expiry.takeTimeEntry()) this.write(timeEntry, this.#expiry)
    if (this.#batch.length > 0) this.#submit()
    this.#askChosen(this.#chosenReads.splice(0))
    if (this.#reads.length === 0 && this.#readsBehind.length === 0) return
    const reads = this.#reads
    const readsBehind = this.#readsBehind
    this.#reads = []
    this.#readsBehind = []
    void this.#confirm(reads, readsBehind)
  }

  /** To be called when deadlines may have changed. */
  watchDeadlines(): void {
    this.#expiry.watch()
  }

  leadershipChanged(): void {
    this.#expiry.watch()
    this.#proposals.send()
  }

  close(): void {
    this.#proposals.close()
    this.#expiry.close()
  }

  #submit(): void {
    const batch = this.#batch
    this.#batch = new TurnBatch()
    this.#batchesInFlight.add(batch)
    this.#entriesInFlight += batch.length
    this.#bytesInFlight += batch.bytes
    this.#growthInFlight += batch.growthMax
    this.#proposals.add(batch)
  }

  // Hot path: once per batch.
  #settled(batch: TurnBatch): void {
    this.#batchesInFlight.delete(batch)
    this.#entriesInFlight -= batch.length
    this.#bytesInFlight -= batch.bytes
    this.#growthInFlight -= batch.growthMax
    const reads = batch.takeReaders()
    if (batch.isAppliedHere) this.#expiry.execute(reads)
    else if (reads.length > 0) void this.#confirm(reads, [])
    this.#expiry.watch()
    if (this.hasRoom) this.#turns.roomIsBack()
  }

  // Hot path: once per turn.
  async #confirm(reads: readonly Read[], readsBehind: readonly ReadBehind[]): Promise<void> {
    const count = reads.length + readsBehind.length
    this.#readsInFlight += count
    try {
      this.#readIndexCalls += 1
      await this.becomeCurrent()
      this.#readsInFlight -= count
    } catch (error) {
      this.#readsInFlight -= count
      for (const read of reads) read.failed(error)
      for (const { read } of readsBehind) read.failed(error)
      return
    }
    this.#expiry.execute(reads)
    const free: Read[] = []
    const early: Read[] = []
    for (const { read, batch } of readsBehind) {
      if (batch.state === 'proposed') batch.addReader(read)
      else (batch.isAppliedHere ? free : early).push(read)
    }
    this.#expiry.execute(free)
    // What was confirmed precedes their write, which another server has applied since.
    if (early.length > 0) void this.#confirm(early, [])
  }

  /** Resolves when the data set holds what was committed before this was asked. */
  becomeCurrent(): Promise<unknown> {
    if (this.#leadership.isLeader) return this.#raft.readIndex()
    return this.#raft.query(null, { timeoutMs: LEADER_WAIT_MS })
  }

  /** One question for all that want the same. */
  #askChosen(reads: readonly Read[]): void {
    if (reads.length === 0) return
    const groups = new Map<string, Read[]>()
    for (const read of reads) {
      const name = JSON.stringify(read.consistency)
      const group = groups.get(name)
      if (group === undefined) groups.set(name, [read])
      else group.push(read)
    }
    for (const group of groups.values()) void this.#query(group[0]?.consistency ?? 'linearizable', group)
  }

  async #query(consistency: Consistency, reads: readonly Read[]): Promise<void> {
    this.#readsInFlight += reads.length
    try {
      await this.#raft.query(null, { consistency, timeoutMs: LEADER_WAIT_MS })
      this.#readsInFlight -= reads.length
    } catch (error) {
      this.#readsInFlight -= reads.length
      for (const read of reads) read.failed(error)
      return
    }
    if (isCurrent(consistency)) this.#expiry.execute(reads)
    else this.#expiry.executeLesser(reads)
  }
}
