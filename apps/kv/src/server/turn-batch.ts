/** The entries that all clients write in one turn: they go to the library in one call, and are settled together. */

import { strict } from 'node:assert'
import type { DataSet } from '../data-set/data-set.js'
import { BATCH_BYTES_MAX, BATCH_ENTRIES_MAX } from '../limits.js'
import type { Reply } from '../resp/reply.js'
import type { Consistency } from './client/read-mode.js'

/** Who wrote an entry. Told one of the two, once. */
export interface Proposal {
  /** Bytes that the data set may take more than the entry, once it is applied. */
  readonly growthMax: number
  /** `index`: the entry stands there in the log, or before. */
  applied(reply: Reply, index: number): void
  failed(error: unknown): void
}

/** A read of the data set. Told one of the two, once. */
export interface Read {
  /** Whose it is: reads of one owner are carried out in their order. */
  readonly owner: object
  /** The keys it looks at; null: all of them. */
  readonly keys: readonly string[] | null
  /** How much is to be done, as `WORK_BY_LOOK` counts it. */
  readonly work: number
  /** What the data set must hold. */
  readonly consistency: Consistency
  /**
   * The data set holds all that the read must see. `now`: entry time as it is now, not before the data set's own.
   */
  execute(data: DataSet, now: number): void
  failed(error: unknown): void
}

/**
 * Invariants: as many owners as entries; what is settled holds neither, since a client may hold on to its latest batch
 * for long.
 */
export class TurnBatch {
  #entries: Uint8Array[] = []
  #owners: Proposal[] = []
  #readers: Read[] = []
  #bytes = 0
  #growthMax = 0
  /** Owners that were not told. */
  #untold = 0
  #length = 0
  #isAppliedHere = false
  #state: 'gathering' | 'proposed' | 'settled' = 'gathering'

  /** Only goes on: gathering, proposed, settled. */
  get state(): 'gathering' | 'proposed' | 'settled' {
    return this.#state
  }

  /** All of it is applied to the data set of this server; what another server answered may not be yet. */
  get isAppliedHere(): boolean {
    return this.#isAppliedHere
  }

  /** None once it is settled. */
  get entries(): readonly Uint8Array[] {
    return this.#entries
  }

  get length(): number {
    return this.#length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Bytes that the data set may grow by. */
  get growthMax(): number {
    return this.#bytes + this.#growthMax
  }

  /** Reads that wait for it. */
  get readers(): number {
    return this.#readers.length
  }

  hasRoomFor(entry: Uint8Array): boolean {
    return this.#length < BATCH_ENTRIES_MAX && this.#bytes + entry.length <= BATCH_BYTES_MAX
  }

  add(entry: Uint8Array, owner: Proposal): void {
    this.#entries.push(entry)
    this.#owners.push(owner)
    this.#length += 1
    this.#bytes += entry.length
    this.#growthMax += owner.growthMax
  }

  /** The read waits for this batch to be settled, and for nothing else. */
  addReader(read: Read): void {
    this.#readers.push(read)
  }

  /** Nothing more is added but readers. */
  propose(): void {
    this.#state = 'proposed'
    this.#untold = this.#length
  }

  /** All are: the last one stands at `index` in the log, or before. */
  applied(replies: readonly Reply[], index: number): void {
    strict.equal(replies.length, this.#owners.length, 'applyAll must answer every entry')
    this.#isAppliedHere = true
    for (let at = 0; at < this.#owners.length; at += 1) this.#owners[at]?.applied(replies[at] as Reply, index)
    this.#settle()
  }

  failed(error: unknown): void {
    for (const owner of this.#owners) owner.failed(error)
    this.#settle()
  }

  appliedOne(at: number, reply: Reply, index: number): void {
    this.#owners[at]?.applied(reply, index)
    this.#toldOne()
  }

  failedOne(at: number, error: unknown): void {
    this.#owners[at]?.failed(error)
    this.#toldOne()
  }

  takeReaders(): readonly Read[] {
    const readers = this.#readers
    this.#readers = []
    return readers
  }

  #toldOne(): void {
    this.#untold -= 1
    if (this.#untold === 0) this.#settle()
  }

  #settle(): void {
    this.#state = 'settled'
    this.#entries = []
    this.#owners = []
  }
}
