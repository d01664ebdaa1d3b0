/**
 * Carries out reads that need not wait for anything any more, in their order: as many as one turn has time for, the
 * rest in the turns after.
 */

import { RaftError } from 'balsa-raft'
import type { DataSet } from '../data-set/data-set.js'
import { READ_SLICE_MS, WORK_BY_LOOK } from '../limits.js'
import type { KvClock } from './clock.js'
import type { Read } from './turn-batch.js'

export class Reads {
  readonly #data: DataSet
  readonly #clock: Pick<KvClock, 'now' | 'defer'>
  /** In their order; the next turn goes on with them. */
  #left: readonly Read[] = []
  /** When this turn's slice ends; null: none was carried out in this turn. */
  #end: number | null = null
  /** Entry time as it was last given. */
  #now = 0

  constructor(data: DataSet, clock: Pick<KvClock, 'now' | 'defer'>) {
    this.#data = data
    this.#clock = clock
  }

  get count(): number {
    return this.#left.length
  }

  /** `now`: entry time; by it TTL counts. */
  execute(reads: readonly Read[], now: number): void {
    this.#now = Math.max(this.#now, now)
    if (this.#left.length > 0) this.#left = [...this.#left, ...reads]
    else this.#slice(reads)
  }

  /** Whoever still waits is told that it has failed. */
  close(error: Error): void {
    const reads = this.#left
    this.#left = []
    for (const read of reads) read.failed(error)
  }

  // Hot path: once per turn.
  #slice(reads: readonly Read[]): void {
    if (this.#data.isRestoring) {
      // It led when they came, and what they may see is gone.
      const error = new RaftError('ERR_RAFT_NOT_LEADER', 'leads no more, and reads a snapshot of the data set')
      for (const read of reads) read.failed(error)
      return
    }
    if (this.#end === null) {
      this.#end = this.#clock.now() + READ_SLICE_MS
      this.#clock.defer(this.#nextTurn)
    }
    const at = Math.max(this.#now, this.#data.time)
    let done = 0
    // A turn may come here many times: the first look is at once.
    let work = WORK_BY_LOOK
    for (const read of reads) {
      if (work >= WORK_BY_LOOK) {
        if (this.#clock.now() >= this.#end) break
        work = 0
      }
      work += read.work
      read.execute(this.#data, at)
      done += 1
    }
    if (done < reads.length) this.#left = reads.slice(done)
  }

  readonly #nextTurn = (): void => {
    const reads = this.#left
    this.#left = []
    this.#end = null
    if (reads.length > 0) this.#slice(reads)
  }
}
