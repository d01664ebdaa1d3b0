/**
 * Between the clients and the library: gathers what all clients want in one turn of the event loop, into one append and one ReadIndex round.
 *
 * What makes reads linearizable:
 * - A read waits for `readIndex`, called after the read arrived: the data set then holds everything that was committed before the read (6.4).
 *   If a write of its own client is still under way, it waits for that too, which keeps their order.
 * - A read that arrives in the same turn as such a write, before that is proposed, waits for the write alone. A quorum accepts the write from this
 *   leader after the read arrived, so no later leader can have acknowledged anything before that. For a write proposed in an earlier turn this does not
 *   hold: it may have been committed long ago, and be applied only now, by a leader that was deposed in between.
 * In both cases it may see writes that were applied still later; they are concurrent with it.
 */

import { strict } from 'node:assert'
import { RaftError } from 'balsa-raft'
import type { DataSet } from '../data-set/data-set.js'
import {
  BATCH_BYTES_MAX,
  BATCH_ENTRIES_MAX,
  IN_FLIGHT_BYTES_MAX,
  IN_FLIGHT_ENTRIES_MAX,
  TIME_ENTRY_INTERVAL_MS,
} from '../limits.js'
import { timeEntry } from '../replication/entry-codec.js'
import type { Reply } from '../resp/reply.js'
import type { KvRaft } from './kv-raft.js'
import type { Leadership } from './leadership.js'

/** A command on its way, as seen from here. */
export interface Proposal {
  applied(reply: Reply): void
  failed(error: unknown): void
}

export interface Read {
  /** The keys it looks at; null: all of them. */
  readonly keys: readonly string[] | null
  execute(): void
  failed(error: unknown): void
}

/** Entries that go to the library in one call. */
export interface Batch {
  readonly entries: Uint8Array[]
  readonly owners: Proposal[]
  /** What waits for this batch to be applied, and for nothing else. */
  readonly readers: Read[]
  bytes: number
  state: 'gathering' | 'proposed' | 'settled'
}

interface GatheredRead {
  readonly read: Read
  readonly behind: Batch | null
}

export interface ReplicatorContext {
  readonly raft: KvRaft
  readonly data: DataSet
  readonly leadership: Leadership
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** There is room again for clients that had to wait. */
  readonly onRoom: () => void
}

export class Replicator {
  readonly #context: ReplicatorContext
  #batch: Batch = newBatch()
  #reads: GatheredRead[] = []
  #entriesInFlight = 0
  #bytesInFlight = 0
  /** Reads of keys that are due by this server's clock but not yet dead. */
  #dueReads: Read[] = []
  #timer: NodeJS.Timeout | null = null
  #timerAt = Number.POSITIVE_INFINITY
  #timeEntryAt = Number.NEGATIVE_INFINITY
  #timeEntryInFlight = false
  #closed = false
  /** How often the library was called: what a turn may cost is counted in tests. */
  readonly calls = { applyAll: 0, readIndex: 0 }

  constructor(context: ReplicatorContext) {
    this.#context = context
  }

  get hasRoom(): boolean {
    return (
      this.#entriesInFlight + this.#batch.entries.length < IN_FLIGHT_ENTRIES_MAX &&
      this.#bytesInFlight + this.#batch.bytes < IN_FLIGHT_BYTES_MAX
    )
  }

  /** Adds an entry to the turn; the answer says for which batch a read behind it has to wait. */
  write(entry: Uint8Array, owner: Proposal): Batch {
    if (this.#batch.entries.length >= BATCH_ENTRIES_MAX || this.#batch.bytes + entry.length > BATCH_BYTES_MAX) {
      this.#submit()
    }
    this.#batch.entries.push(entry)
    this.#batch.owners.push(owner)
    this.#batch.bytes += entry.length
    return this.#batch
  }

  /** `behind` holds the latest write of the same client. */
  read(read: Read, behind: Batch | null): void {
    if (behind?.state === 'gathering') behind.readers.push(read)
    else this.#reads.push({ read, behind })
  }

  /** Hands over what the turn has gathered. */
  endTurn(): void {
    if (this.#batch.entries.length > 0) this.#submit()
    if (this.#reads.length > 0) {
      const reads = this.#reads
      this.#reads = []
      void this.#confirm(reads)
    }
  }

  /** To be called when deadlines or the leadership may have changed. */
  watchDeadlines(): void {
    const next = this.#context.data.nextDeadline
    if (this.#closed || this.#timeEntryInFlight) return
    if (!this.#context.leadership.isLeader) {
      if (this.#dueReads.length > 0) this.#failDueReads(new RaftError('ERR_RAFT_NOT_LEADER', 'leads no more'))
      return
    }
    if (next === Number.POSITIVE_INFINITY && this.#dueReads.length === 0) return
    const wanted = this.#dueReads.length > 0 ? 0 : next
    const at = Math.max(wanted, this.#timeEntryAt + TIME_ENTRY_INTERVAL_MS)
    if (at >= this.#timerAt) return
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timerAt = at
    const delay = Math.min(Math.max(0, at - this.#context.now()), TIMER_MAX_MS)
    this.#timer = setTimeout(() => this.#onTimer(), delay)
  }

  close(): void {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#failDueReads(new RaftError('ERR_RAFT_CLOSED', 'the server is closing'))
  }

  #submit(): void {
    const batch = this.#batch
    batch.state = 'proposed'
    this.#batch = newBatch()
    this.#entriesInFlight += batch.entries.length
    this.#bytesInFlight += batch.bytes
    void this.#replicate(batch)
  }

  // Hot path: once per batch.
  async #replicate(batch: Batch): Promise<void> {
    let failed: unknown = null
    try {
      this.calls.applyAll += 1
      const replies = await this.#context.raft.applyAll(batch.entries)
      strict.equal(replies.length, batch.owners.length, 'applyAll must answer every entry')
      for (const [at, owner] of batch.owners.entries()) owner.applied(replies[at] as Reply)
    } catch (error) {
      failed = error
      for (const owner of batch.owners) owner.failed(error)
    }
    batch.state = 'settled'
    this.#entriesInFlight -= batch.entries.length
    this.#bytesInFlight -= batch.bytes
    // A connection may hold on to its latest batch for long.
    batch.entries.length = 0
    batch.owners.length = 0
    if (failed === null) this.#execute(batch.readers)
    else if (batch.readers.length > 0) void this.#confirm(batch.readers.map((read) => ({ read, behind: null })))
    this.watchDeadlines()
    this.#context.onRoom()
  }

  async #confirm(reads: readonly GatheredRead[]): Promise<void> {
    try {
      this.calls.readIndex += 1
      await this.#context.raft.readIndex()
    } catch (error) {
      for (const { read } of reads) read.failed(error)
      return
    }
    const confirmed: Read[] = []
    for (const { read, behind } of reads) {
      if (behind?.state === 'proposed') behind.readers.push(read)
      else confirmed.push(read)
    }
    this.#execute(confirmed)
  }

  #execute(reads: readonly Read[]): void {
    const { data } = this.#context
    const now = reads.length === 0 || data.nextDeadline === Number.POSITIVE_INFINITY ? 0 : this.#context.now()
    for (const read of reads) {
      if (data.nextDeadline <= now && this.#isDue(read, now)) this.#dueReads.push(read)
      else read.execute()
    }
    if (this.#dueReads.length > 0) this.watchDeadlines()
  }

  #isDue(read: Read, now: number): boolean {
    return read.keys === null || read.keys.some((key) => this.#context.data.isDue(key, now))
  }

  #onTimer(): void {
    this.#timer = null
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = this.#context.now()
    if (this.#context.data.nextDeadline > now && this.#dueReads.length === 0) {
      this.watchDeadlines()
      return
    }
    this.#timeEntryAt = now
    this.#timeEntryInFlight = true
    this.write(timeEntry, {
      applied: () => this.#timeMoved(null),
      failed: (error) => this.#timeMoved(error),
    })
    this.#submit()
  }

  #timeMoved(error: unknown): void {
    this.#timeEntryInFlight = false
    if (error !== null) {
      this.#failDueReads(error)
      return
    }
    const reads = this.#dueReads
    this.#dueReads = []
    const now = this.#context.now()
    for (const read of reads) {
      // Of all keys some may be due at any moment, so a read of all waits once.
      if (read.keys !== null && this.#isDue(read, now)) this.#dueReads.push(read)
      else read.execute()
    }
  }

  #failDueReads(error: unknown): void {
    const reads = this.#dueReads
    this.#dueReads = []
    for (const read of reads) read.failed(error)
  }
}

/** The longest delay a timer of Node.js takes is 2^31 - 1 ms; a deadline further away is looked at again. */
const TIMER_MAX_MS = 2 ** 31 - 1

function newBatch(): Batch {
  return { entries: [], owners: [], readers: [], bytes: 0, state: 'gathering' }
}
