/**
 * The snapshots of this server as Redis tells of them: when the last one became durable, how long it took, how many
 * there were. Whoever asks for one (SAVE, BGSAVE), and the library by itself, takes the same.
 */

import type { RaftError } from 'balsa-raft'
import type { KvClock } from './clock.js'
import type { KvRaft } from './kv-raft.js'

export class Saves {
  readonly #raft: KvRaft
  readonly #clock: Pick<KvClock, 'wallNow'>
  #lastAt: number
  #count = 0
  readonly #stop: () => void

  constructor(raft: KvRaft, clock: Pick<KvClock, 'wallNow'>) {
    this.#raft = raft
    this.#clock = clock
    // As in Redis: what is there at the start counts as saved.
    this.#lastAt = clock.wallNow()
    this.#stop = raft.on('snapshot', ({ what }) => {
      if (what === 'taken' || what === 'received') this.#saved()
      if (what === 'taken') this.#count += 1
    })
  }

  /** Milliseconds since 1970, by the date of the machine: when the last one was durable, or this server began. */
  get lastAt(): number {
    return this.#lastAt
  }

  /** How many this server has taken since it began. */
  get count(): number {
    return this.#count
  }

  get isTaking(): boolean {
    return this.#raft.status.snapshot.isTaking
  }

  /** Why the last attempt failed; null: it did not. */
  get failure(): RaftError | null {
    return this.#raft.status.snapshot.failure
  }

  /** Why none can be taken; null: one can. */
  get unavailable(): string | null {
    return this.#raft.snapshot === undefined ? 'the library has none' : this.#raft.status.snapshot.unavailable
  }

  /** Entries that were applied since the last one, and that a start would apply again. */
  get entriesSince(): number {
    const { appliedIndex, snapshot } = this.#raft.status
    return Math.max(0, appliedIndex - (snapshot.last?.index ?? 0))
  }

  /** Resolves once what is applied now is in a snapshot, whole and durable; `unavailable` is null. */
  async save(): Promise<void> {
    await this.#raft.snapshot?.()
    // There may have been one of the same index already.
    this.#saved()
  }

  stop(): void {
    this.#stop()
  }

  #saved(): void {
    this.#lastAt = this.#clock.wallNow()
  }
}
