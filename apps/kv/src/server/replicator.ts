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
 */

import { IN_FLIGHT_BYTES_MAX, IN_FLIGHT_ENTRIES_MAX } from '../limits.js'
import { timeEntry } from '../replication/entry-codec.js'
import type { ExpiryClock } from './expiry-clock.js'
import type { KvRaft } from './kv-raft.js'
import { TurnBatch, type Proposal, type Read } from './turn-batch.js'
import type { Turns } from './turns.js'

/** A read behind a write that was proposed in an earlier turn. */
interface ReadBehind {
  readonly read: Read
  readonly batch: TurnBatch
}

export class Replicator {
  readonly #raft: Pick<KvRaft, 'applyAll' | 'readIndex'>
  readonly #expiry: ExpiryClock
  readonly #turns: Turns
  /** Of this turn; what was proposed is held by those who wait for it. */
  #batch = new TurnBatch()
  #reads: Read[] = []
  #readsBehind: ReadBehind[] = []
  /** Proposed and not settled. */
  readonly #batchesInFlight = new Set<TurnBatch>()
  #entriesInFlight = 0
  #bytesInFlight = 0
  #growthInFlight = 0
  /** Whose confirmation is under way. */
  #readsInFlight = 0
  /** How often the library was called: what a turn may cost is counted in tests. */
  readonly calls = { applyAll: 0, readIndex: 0 }

  constructor(raft: Pick<KvRaft, 'applyAll' | 'readIndex'>, expiry: ExpiryClock, turns: Turns) {
    this.#raft = raft
    this.#expiry = expiry
    this.#turns = turns
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
    return {
      batches: this.#batchesInFlight.size,
      readsBehind,
      entries: this.#entriesInFlight + this.#batch.length,
      entryBytes: this.#bytesInFlight + this.#batch.bytes,
      growth: this.growthMax,
      readsToConfirm: this.#reads.length + this.#readsBehind.length + this.#readsInFlight,
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
    if (behind === null || behind.state === 'settled') this.#reads.push(read)
    else if (behind.state === 'gathering') behind.addReader(read)
    else this.#readsBehind.push({ read, batch: behind })
  }

  /** Hands over what the turn has gathered. */
  endTurn(): void {
    if (this.#expiry.takeTimeEntry()) this.write(timeEntry, this.#expiry)
    if (this.#batch.length > 0) this.#submit()
    if (this.#reads.length === 0 && this.#readsBehind.length === 0) return
    const reads = this.#reads
    const readsBehind = this.#readsBehind
    this.#reads = []
    this.#readsBehind = []
    void this.#confirm(reads, readsBehind)
  }

  /** To be called when deadlines or the leadership may have changed. */
  watchDeadlines(): void {
    this.#expiry.watch()
  }

  close(): void {
    this.#expiry.close()
  }

  #submit(): void {
    const batch = this.#batch
    this.#batch = new TurnBatch()
    void this.#replicate(batch)
  }

  // Hot path: once per batch.
  async #replicate(batch: TurnBatch): Promise<void> {
    const { length, bytes, growthMax } = batch
    this.#batchesInFlight.add(batch)
    this.#entriesInFlight += length
    this.#bytesInFlight += bytes
    this.#growthInFlight += growthMax
    let isApplied = false
    try {
      this.calls.applyAll += 1
      batch.applied(await this.#raft.applyAll(batch.propose()))
      isApplied = true
    } catch (error) {
      batch.failed(error)
    }
    this.#batchesInFlight.delete(batch)
    this.#entriesInFlight -= length
    this.#bytesInFlight -= bytes
    this.#growthInFlight -= growthMax
    const readers = batch.takeReaders()
    if (isApplied) this.#expiry.execute(readers)
    else if (readers.length > 0) void this.#confirm(readers, [])
    this.#expiry.watch()
    if (this.hasRoom) this.#turns.roomIsBack()
  }

  // Hot path: once per turn.
  async #confirm(reads: readonly Read[], readsBehind: readonly ReadBehind[]): Promise<void> {
    const count = reads.length + readsBehind.length
    this.#readsInFlight += count
    try {
      this.calls.readIndex += 1
      await this.#raft.readIndex()
      this.#readsInFlight -= count
    } catch (error) {
      this.#readsInFlight -= count
      for (const read of reads) read.failed(error)
      for (const { read } of readsBehind) read.failed(error)
      return
    }
    this.#expiry.execute(reads)
    const free: Read[] = []
    for (const { read, batch } of readsBehind) {
      if (batch.state === 'proposed') batch.addReader(read)
      else free.push(read)
    }
    this.#expiry.execute(free)
  }
}
