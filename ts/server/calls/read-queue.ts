/**
 * Linearizable reads on their way (thesis 6.4): all that begin in one turn share one request to the core, and wait
 * first for the leader's confirmation, then for the state machine to reach the index that it gave.
 */

import type { RaftError } from '../../errors.js'
import type { LogIndex } from '../../types.js'
import { overloaded } from '../refusals.js'
import type { PendingCall } from './pending-call.js'

/** Reads waiting in one server; above that `readIndex` answers OVERLOADED. */
const READS_MAX = 65_536

type Read = PendingCall<LogIndex>

export class ReadQueue {
  /** Reads of this turn, which no request stands for yet. */
  #fresh: Read[] = []
  /** The newest request; ids are never used again. */
  #lastId = 0
  /** By request: the reads that wait for its confirmation. */
  readonly #asked = new Map<number, readonly Read[]>()
  /** Ascending by index: confirmations come in order. */
  #confirmed: { readonly index: LogIndex; readonly reads: readonly Read[] }[] = []
  /** Reads in all three of them, less those that ended by themselves. */
  #count = 0

  /** Reads that have no outcome yet. */
  get count(): number {
    return this.#count
  }

  /** Returns the refusal when there is no room. */
  add(read: Read): RaftError | null {
    if (this.#count >= READS_MAX) return overloaded(`${this.#count} reads wait, which is the bound`)
    this.#fresh.push(read)
    this.#count += 1
    return null
  }

  /** The request to put to the core for everything that came since the last; null when nothing did. */
  nextRequest(): number | null {
    if (this.#fresh.length === 0) return null
    this.#lastId += 1
    this.#asked.set(this.#lastId, this.#fresh)
    this.#fresh = []
    return this.#lastId
  }

  confirmed(id: number, index: LogIndex): void {
    const reads = this.#asked.get(id) ?? []
    this.#asked.delete(id)
    this.#confirmed.push({ index, reads })
  }

  failed(id: number, error: RaftError): void {
    const reads = this.#asked.get(id) ?? []
    this.#asked.delete(id)
    this.#reject(reads, error)
  }

  /** The state machine has reached this index. */
  applied(appliedIndex: LogIndex): void {
    let ready = 0
    for (const { index, reads } of this.#confirmed) {
      if (index > appliedIndex) break
      for (const read of reads) read.resolve(index)
      this.#count -= reads.length
      ready += 1
    }
    if (ready > 0) this.#confirmed = this.#confirmed.slice(ready)
  }

  failAll(error: RaftError): void {
    const waiting = [this.#fresh, ...this.#asked.values(), ...this.#confirmed.map(({ reads }) => reads)]
    this.#fresh = []
    this.#asked.clear()
    this.#confirmed = []
    for (const reads of waiting) this.#reject(reads, error)
  }

  #reject(reads: readonly Read[], error: RaftError): void {
    for (const read of reads) read.reject(error)
    this.#count -= reads.length
  }
}
