/**
 * The disk of one simulated machine: when it gets to its work, and what goes wrong there. What survives is in `memory`.
 * One group commit is under way at a time; its tickets become durable one by one, and between any two the process may
 * die.
 */

import { assert } from '../../../errors.js'
import { verifyBlock } from '../../../format/block.js'
import { MemorySnapshotDisk } from '../../../snapshot/memory-snapshot-store.js'
import { MemoryDisk } from '../../../storage/memory/memory-log-store.js'
import type { Block, LogIndex } from '../../../types.js'
import type { EventQueue, Happening } from '../event-queue.js'
import type { SeededRandom } from '../random.js'

export interface DiskPlan {
  readonly writeMs: number
  readonly readMs: number
  /** Bytes of blocks that may be pending. */
  readonly capacityBytes: number
}

/** Who must hear of it when something became durable. */
export interface DiskUser {
  wrote(): void
  /** Promises of the process may be settled now. */
  promised(): void
}

/** What survives of a disk. */
interface Kept {
  readonly log: MemoryDisk
  readonly snapshots: MemorySnapshotDisk
}

/** The same again flips it back. */
interface FlippedBit {
  readonly memory: MemoryDisk
  readonly index: LogIndex
  readonly bit: number
}

export class SimDisk implements Happening {
  memory: MemoryDisk
  snapshots: MemorySnapshotDisk
  /** As it was once; null until it is kept. */
  #copy: Kept | null = null
  /** What it was before it was last exchanged; null until it is. */
  #former: Kept | null = null
  /** Counts the processes: what one that is gone has asked of the disk is not carried out. */
  #life = 0
  /** How much slower than planned it is just now. */
  slowness = 1
  /** Room that it admits to, at most. */
  creditMax = Infinity
  readonly #queue: EventQueue
  readonly #plan: DiskPlan
  readonly #random: SeededRandom
  readonly #user: DiskUser
  #isCommitQueued = false
  #hangsUntil = 0
  /** When the last write or read that has begun is through. */
  #busyUntil = 0
  #isFull = false
  /** Reads from now on that meet a flipped bit, of the log and of snapshots. */
  #rottenReads = 0
  #rottenFileReads = 0
  /** Of this disk, and of what it was or may become again. */
  #flipped: FlippedBit[] = []

  constructor(queue: EventQueue, plan: DiskPlan, random: SeededRandom, user: DiskUser) {
    this.#queue = queue
    this.#plan = plan
    this.#random = random
    this.#user = user
    this.memory = this.#fresh()
    this.snapshots = new MemorySnapshotDisk(this.#pace)
  }

  /** Something was submitted, or there is room again. */
  wake(): void {
    if (this.#isCommitQueued || this.memory.pendingTickets === 0) return
    this.#isCommitQueued = true
    const due = this.#queue.now + this.#random.exponential(this.#plan.writeMs * this.slowness)
    this.#queue.add(this.#busy(Math.max(due, this.#hangsUntil)), this)
  }

  /** A group commit is through. */
  happen(): void {
    this.#isCommitQueued = false
    if (this.#hangsUntil > this.#queue.now) {
      this.wake()
      return
    }
    let left = this.#random.chance(0.8) ? this.memory.pendingTickets : 1
    while (left > 0 && this.memory.completeOne()) {
      left -= 1
      this.#user.wrote()
    }
    if (!this.#isFull) this.wake()
  }

  /** Nothing is written for that long. */
  hang(ms: number): void {
    this.#hangsUntil = Math.max(this.#hangsUntil, this.#queue.now + ms)
  }

  fill(): void {
    this.#isFull = true
    this.memory.stall()
    this.snapshots.fill()
  }

  get isFull(): boolean {
    return this.#isFull
  }

  /** Undoes what is undone by itself: hanging, slowness, no room. */
  mend(): void {
    this.#hangsUntil = 0
    this.slowness = 1
    this.creditMax = Infinity
    // Whatever was still to fail does not.
    this.memory.failTicket(Number.MAX_SAFE_INTEGER, 'kept')
    this.#isFull = false
    this.#rottenReads = 0
    this.#rottenFileReads = 0
    this.#unrot()
    this.snapshots.heal()
    this.memory.resume()
    this.wake()
  }

  rot(reads: number): void {
    this.#rottenReads = reads
  }

  rotFiles(reads: number): void {
    this.#rottenFileReads = reads
  }

  /**
   * Bits of blocks flip for good, and nobody notices before he reads them. Not in the last block, without which no open
   * goes on, nor in what may still be truncated: a truncation through a damaged block is not this disk's to carry out.
   * Returns where; empty where there is no such block.
   */
  rotAtRest(blocks: number, random: SeededRandom): readonly LogIndex[] {
    const { durable } = this.memory
    const { commitIndex } = durable.hardState
    const settled = durable.blocks.slice(0, -1).filter(({ last, data }) => last <= commitIndex && verifyBlock(data))
    const met = random.shuffled(settled).slice(0, blocks)
    for (const { first } of met) this.#flip({ memory: this.memory, index: first, bit: random.word() })
    return met.map(({ first }) => first)
  }

  /** Bits that have flipped flip back, where nobody has replaced their blocks. */
  #unrot(): void {
    const mine = this.#flipped.filter(({ memory }) => memory === this.memory)
    this.#flipped = this.#flipped.filter(({ memory }) => memory !== this.memory)
    const { memory } = this
    const isDamaged = (index: LogIndex): boolean => {
      const block = memory.durable.blocks.find(({ first, last }) => first <= index && index <= last)
      return block !== undefined && !verifyBlock(block.data)
    }
    for (const { index, bit } of mine) {
      if (!isDamaged(index)) continue
      memory.flipBit(index, bit)
      // It was another bit: this one was of a block that was replaced.
      if (isDamaged(index)) memory.flipBit(index, bit)
    }
  }

  #flip(flipped: FlippedBit): void {
    flipped.memory.flipBit(flipped.index, flipped.bit)
    this.#flipped.push(flipped)
  }

  /** With every bit that has flipped. */
  #copyOf(memory: MemoryDisk): MemoryDisk {
    const copy = memory.copy()
    const flipped = this.#flipped.filter((bit) => bit.memory === memory)
    this.#flipped.push(...flipped.map((bit) => ({ ...bit, memory: copy })))
    return copy
  }

  /** The machine loses its power. Names that were not flushed are gone, or, by luck, durable without their bytes. */
  losePower(): void {
    this.snapshots.crash(this.#random.chance(0.5))
    this.crash()
  }

  /** The process is gone, and files are as it has left them. */
  crash(): void {
    this.#life += 1
    this.memory.crash()
    this.snapshots.kill()
  }

  /** Whoever opens it next finds a new, empty disk. */
  wipe(): void {
    this.#become({ log: this.#fresh(), snapshots: new MemorySnapshotDisk(this.#pace) })
  }

  /** Whoever opens it next finds another disk: the one that it was before, if it may be that, or a new, empty one. */
  exchange(mayBeFormer: boolean): 'former' | 'new' {
    const { memory: log, snapshots } = this
    const former = this.#random.chance(0.3) && mayBeFormer ? this.#former : null
    this.#become(former ?? { log: this.#fresh(), snapshots: new MemorySnapshotDisk(this.#pace) })
    this.#former = { log, snapshots }
    return former === null ? 'new' : 'former'
  }

  /** What is durable now may come back. */
  keepCopy(): void {
    this.#copy = { log: this.#copyOf(this.memory), snapshots: this.snapshots.copy(this.#pace) }
  }

  /** The last boot that the copy knows; null while there is none. */
  get copiedBoot(): number | null {
    return this.#copy?.log.bootCounter ?? null
  }

  /** Whoever opens this one next finds what was copied of the other. Invariant: something was. */
  becomeCopyOf(other: SimDisk): void {
    this.#copy = other.#copy
    this.rollBack()
  }

  /** Whoever opens it next finds what was copied. Invariant: something was. */
  rollBack(): void {
    assert(this.#copy !== null, 'a disk without a copy is rolled back')
    const { log, snapshots } = this.#copy
    this.#become({ log: this.#copyOf(log), snapshots: snapshots.copy(this.#pace) })
  }

  #become({ log, snapshots }: Kept): void {
    this.crash()
    this.memory = log
    this.snapshots = snapshots
    if (!this.#isFull) return
    this.memory.stall()
    this.snapshots.fill()
  }

  /** What was read of a file of snapshots; a rotten read meets a flipped bit. */
  rotRead(bytes: Uint8Array): void {
    if (this.#rottenFileReads === 0 || bytes.length === 0) return
    this.#rottenFileReads -= 1
    const bit = this.#random.int(0, bytes.length * 8)
    bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
  }

  /** A read; a rotten one meets a flipped bit, which the store must notice. */
  read(run: () => Promise<readonly Block[]>, at: LogIndex): Promise<readonly Block[]> {
    if (this.#rottenReads === 0) return run()
    this.#rottenReads -= 1
    const bit = this.#random.word()
    const { memory } = this
    memory.flipBit(at, bit)
    const found = run()
    memory.flipBit(at, bit)
    return found
  }

  afterRead(run: () => void): void {
    const due = this.#queue.now + this.#random.exponential(this.#plan.readMs * this.slowness)
    this.#queue.call(this.#busy(due), run)
  }

  /** As a write. */
  afterRepair(run: () => void): void {
    const due = this.#queue.now + this.#random.exponential(this.#plan.writeMs * this.slowness)
    this.#queue.call(this.#busy(Math.max(due, this.#hangsUntil)), run)
  }

  /** How long what it has begun still takes: a disk that was slow finishes that no sooner. */
  get backlogMs(): number {
    return Math.max(0, this.#busyUntil - this.#queue.now)
  }

  /** Of what is done with files of snapshots: beside the log, and as fast as a read. */
  readonly #pace = {
    completion: (done: () => void): void => {
      const life = this.#life
      const due = this.#queue.now + this.#random.exponential(this.#plan.readMs * this.slowness)
      this.#queue.call(Math.max(due, this.#hangsUntil), () => {
        if (life !== this.#life) return
        this.#user.promised()
        done()
      })
    },
  }

  #busy(until: number): number {
    this.#busyUntil = Math.max(this.#busyUntil, until)
    return until
  }

  #fresh(): MemoryDisk {
    const incarnation = [0, 1, 2, 3].map(() => this.#random.word().toString(16).padStart(8, '0')).join('')
    const { capacityBytes } = this.#plan
    return new MemoryDisk({ completion: 'manual', capacityBytes, drawIncarnation: () => incarnation })
  }
}
