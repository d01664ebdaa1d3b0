/**
 * One process's store in a world: the memory store, with what a disk does to it (`SimDisk`), and the points at which a
 * process may die. After its process is dead it answers nothing any more.
 */

import type { EntryRange } from '../../../errors.js'
import { MemoryLogStore } from '../../../storage/memory/memory-log-store.js'
import type { LogStore, StoredState, StoreProgress, StoreStats, Ticket } from '../../../storage/log-store.js'
import type { Block, LogIndex, StoreOperation } from '../../../types.js'
import type { DiskBefore } from '../invariants/repair-invariants.js'
import type { SimDisk } from './sim-disk.js'

/** The process that has the store open. */
export interface StoreUser {
  /** Runs something in the process, unless it is dead; later, while it is paused. */
  arrive(run: () => void): void
  /** A point at which it may die. */
  point(where: string): void
  /** Promises may have settled: what follows from them comes before the next event. */
  promised(): void
  repaired(range: EntryRange, before: DiskBefore): void
  submitted(ticket: Ticket, operations: readonly StoreOperation[]): void
}

export class SimStore implements LogStore {
  readonly #disk: SimDisk
  readonly #inner: MemoryLogStore
  readonly #user: StoreUser
  /** Under way. */
  reads = 0
  /** What `poll` gave out last: valid until the next one, as the contract says, and nonsense from then on. */
  #lent: { -readonly [Field in keyof StoreProgress]: StoreProgress[Field] } | null = null

  constructor(disk: SimDisk, user: StoreUser) {
    this.#disk = disk
    this.#inner = new MemoryLogStore(disk.memory)
    this.#user = user
  }

  open(onWake: () => void): Promise<StoredState> {
    return this.#inner.open(() => {
      // While it opens, the shell awaits the first write.
      this.#user.promised()
      this.#user.arrive(onWake)
    })
  }

  inspect(): Promise<StoredState | null> {
    return this.#inner.inspect()
  }

  seal(arena: Uint8Array, offset: number): number {
    return this.#inner.seal(arena, offset)
  }

  verify(block: Uint8Array): boolean {
    return this.#inner.verify(block)
  }

  submit(operations: readonly StoreOperation[]): Ticket {
    this.#user.point('submit')
    const ticket = this.#inner.submit(operations)
    this.#user.submitted(ticket, operations)
    this.#disk.wake()
    this.#user.point('submitted')
    return ticket
  }

  poll(): StoreProgress {
    if (this.#lent !== null) Object.assign(this.#lent, { durable: NaN, credit: NaN })
    const progress = this.#inner.poll()
    this.#lent = { ...progress, credit: Math.min(progress.credit, this.#disk.creditMax) }
    return this.#lent
  }

  get failed(): boolean {
    return this.#inner.poll().fault !== null
  }

  read(lo: LogIndex, hi: LogIndex, maxBytes: number): Promise<readonly Block[]> {
    const found = this.#disk.read(() => this.#inner.read(lo, hi, maxBytes), lo)
    found.catch(() => {})
    this.reads += 1
    return new Promise((resolve) => {
      this.#disk.afterRead(() => {
        this.reads -= 1
        this.#user.arrive(() => {
          this.#user.promised()
          resolve(found)
        })
      })
    })
  }

  /** It is written when the disk gets to it, and a process that dies before has changed nothing. */
  repair(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Promise<boolean> {
    this.reads += 1
    return new Promise((resolve, reject) => {
      this.#disk.afterRepair(() => {
        this.reads -= 1
        this.#user.arrive(() => {
          this.#user.promised()
          this.#user.point('repair')
          const before = imageOf(this.#disk)
          const repaired = this.#inner.repair(first, last, blocks)
          repaired
            .then((isReplaced) => {
              if (isReplaced) this.#user.repaired({ first, last }, before)
              resolve(isReplaced)
            })
            .catch(reject)
        })
      })
    })
  }

  stats(): StoreStats {
    return this.#inner.stats()
  }

  close(): Promise<void> {
    const closed = this.#inner.close()
    this.#disk.wake()
    return closed
  }
}

function imageOf({ memory: { durable } }: SimDisk): DiskBefore {
  const { hardState, snapshot, firstIndex, lastIndex, blocks } = durable
  return { hardState, snapshot, firstIndex, lastIndex, blocks: [...blocks] }
}
