/**
 * The store without the addon: the contract of log-store.ts in plain TypeScript, over files that only grow. A group
 * commit is one batch, written and flushed before the next one is begun; what is submitted meanwhile becomes the next
 * one. Made to be small and plainly right: opening reads the whole log, and checksums are computed on the event loop.
 *
 * What it does without, and why: rewriting, since whole segments are removed instead; a cache of the tail, since the
 * core keeps the tail and the system caches the files.
 */

import { resolve } from 'node:path'

import { assert, AssertionFailure, RaftError } from '../../errors.js'
import { messageOf } from '../../foreign-values.js'
import { sealBlock, verifyBlock } from '../../format/block.js'
import { decodeOperations, OperationPacker } from '../../format/operations.js'
import { checkOptionNames } from '../../option-checks.js'
import { logIndex } from '../../types.js'
import type { Block, LogIndex, StoreOperation } from '../../types.js'
import { nodeDisk } from './disk.js'
import type { Disk } from './disk.js'
import { LogHead } from './image.js'
import { giveBack, lookAtStore, openStore, verifyStore } from './open.js'
import type { LookedStore, OpenStore } from './open.js'
import { readBlocks } from './reader.js'
import { SEGMENT_BYTES } from './segments.js'
import type { LogStore, StoredState, StoreFactory, StoreProgress, StoreStats, Ticket } from '../log-store.js'
import type { StoreSeed, StoreSurvey } from '../verification.js'

/** The credit of an idle store, in bytes. */
const CREDIT_BYTES = 64 * 1024 * 1024
/** What the queue takes above the credit, for tickets without blocks. */
const RESERVE_BYTES = 4 * 1024 * 1024
/** What a queued ticket costs besides its bytes; it also bounds the number of small ones. */
const TICKET_OVERHEAD_BYTES = 64
/**
 * A batch takes tickets up to this, so that one flush serves many and none takes too long; one larger ticket goes
 * alone.
 */
const BATCH_BYTES = 1024 * 1024

/**
 * Stores in plain files, without the addon: for platforms where it does not load. Durable by one write and one
 * `fdatasync` per group commit. It cannot open the directory of `nativeStore()`, nor the reverse
 * (ERR_RAFT_STORE_FORMAT); begin in an empty one.
 *
 * Bounds: 64 MiB waiting to be written; in memory 20 bytes per block of the log, and the facts. Opening reads the whole
 * log. It lies in segments of 64 MiB, which are never rewritten: a compaction removes those of which it needs nothing
 * any more, so the folder holds what the log keeps and at most two segments besides. Without snapshots it grows for
 * ever. Linux: needs the program `flock` to keep out other containers.
 */
export function fileStore(options: Readonly<Record<string, never>> = {}): StoreFactory {
  checkOptionNames('fileStore', options, [])
  const recipe = { module: import.meta.url, make: 'fileStore', options: {} }
  return { name: 'file', recipe, create: (dir) => new FileLogStore(dir) }
}

interface QueuedTicket {
  readonly bytes: Uint8Array
  /** Their blocks and values are views of `bytes`. */
  readonly operations: readonly StoreOperation[]
}

export class FileLogStore implements LogStore {
  readonly #dir: string
  readonly #disk: Disk
  readonly #segmentBytes: number
  readonly #packer = new OperationPacker()
  readonly #seed: StoreSeed | null
  /** `looking`: it is only read. */
  #phase: 'new' | 'opening' | 'open' | 'looking' | 'closing' | 'closed' = 'new'
  #onWake: () => void = () => {}
  #opened: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | null = null
  #at: OpenStore | null = null
  #looked: LookedStore | null = null
  /** The durable head with everything queued: what the next ticket must fit. */
  #accepted = new LogHead()
  #queue: QueuedTicket[] = []
  /** Of tickets that are not durable, overhead included. Invariant: at most CREDIT_BYTES + RESERVE_BYTES. */
  #queuedBytes = 0
  #submitted: Ticket = 0
  #durable: Ticket = 0
  #fault: RaftError | null = null
  #stalled = false
  /** Not null while batches are written; one at a time. Rejects only for a defect, which then ends the process. */
  #writing: Promise<void> | null = null
  /** It has no bound of its own: it is never full while its disk is not. */
  readonly #progress = { durable: 0, credit: 0, fault: this.#fault, stalled: false, full: null }
  readonly #counts = { groupCommits: 0, wakes: 0, bytesWritten: 0 }

  /** `seed`: the store is made in place of another one, and must not be there. */
  constructor(dir: string, disk: Disk = nodeDisk, segmentBytes = SEGMENT_BYTES, seed: StoreSeed | null = null) {
    this.#seed = seed
    this.#dir = resolve(dir)
    this.#disk = disk
    this.#segmentBytes = segmentBytes
  }

  open(onWake: () => void): Promise<StoredState> {
    assert(this.#phase === 'new', `open of a store that is ${this.#phase}`)
    this.#phase = 'opening'
    this.#onWake = onWake
    const opening = this.#openOnce()
    this.#opened = opening.catch(() => {})
    return opening
  }

  async inspect(): Promise<StoredState | null> {
    const stored = await this.look()
    await this.close()
    return stored
  }

  /** Instead of `open`: `read`, `stats` and `close` are those of an open store, and nothing is changed. */
  async look(): Promise<StoredState | null> {
    assert(this.#phase === 'new', `a look at a store that is ${this.#phase}`)
    this.#phase = 'closed'
    const looked = await lookAtStore(this.#disk, this.#dir, this.#segmentBytes)
    if (looked === null) return null
    this.#looked = looked.at
    this.#phase = 'looking'
    return looked.stored
  }

  /** Instead of `open`: everything that is damaged. Null where no store was made. */
  async survey(): Promise<StoreSurvey | null> {
    assert(this.#phase === 'new', `a survey of a store that is ${this.#phase}`)
    this.#phase = 'closed'
    return verifyStore(this.#disk, this.#dir)
  }

  seal(arena: Uint8Array, offset: number): number {
    return sealBlock(arena, offset)
  }

  verify(block: Uint8Array): boolean {
    return verifyBlock(block)
  }

  // Hot path: once per batch.
  submit(operations: readonly StoreOperation[]): Ticket {
    if (this.#phase !== 'open') throw this.#closedError('submit')
    if (this.#fault !== null) throw this.#fault
    assert(operations.length > 0, 'a ticket without operations')
    const bytes = this.#packer.pack(operations).slice()
    const queued = { bytes, operations: decodeOperations(bytes) }
    this.#check(queued)
    this.#queue.push(queued)
    this.#queuedBytes += costOf(queued)
    this.#submitted += 1
    this.#writing ??= this.#writeQueue()
    return this.#submitted
  }

  // Hot path: once per turn.
  poll(): StoreProgress {
    this.#progress.durable = this.#durable
    this.#progress.credit = this.#phase === 'open' && this.#fault === null ? this.#credit() : 0
    this.#progress.fault = this.#fault
    this.#progress.stalled = this.#stalled
    return this.#progress
  }

  async read(lo: LogIndex, hi: LogIndex, maxBytes: number): Promise<readonly Block[]> {
    const at = this.#phase === 'open' ? this.#at : this.#looked
    if (at === null) throw this.#closedError('read')
    assert(lo >= 1 && lo < hi, `read of ${lo} .. ${hi - 1}`)
    assert(maxBytes >= 1, `read of at most ${maxBytes} bytes`)
    const { segments, image } = at
    const { firstIndex, lastIndex } = image.head
    const end = logIndex(Math.min(hi, lastIndex + 1))
    return firstIndex <= lo && lo < end ? readBlocks(segments, image.places, { lo, hi: end, maxBytes }) : []
  }

  stats(): StoreStats {
    const at = this.#at ?? this.#looked
    assert(at !== null, `stats of a store that is ${this.#phase}`)
    const { image, segments } = at
    const { firstIndex, lastIndex } = image.head
    const { flushes, usedBytes } = segments
    return { firstIndex, lastIndex, flushes, usedBytes, capacityBytes: null, ...this.#counts }
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeOnce()
    return this.#closed
  }

  async #openOnce(): Promise<StoredState> {
    try {
      const { at, stored } = await openStore(this.#disk, this.#dir, this.#segmentBytes, this.#seed)
      this.#at = at
      this.#accepted = at.image.head.copy()
      this.#phase = 'open'
      at.watch.start((error) => this.#poison(error))
      return stored
    } catch (error) {
      this.#phase = 'closed'
      throw error
    }
  }

  /**
   * What must hold of a ticket; what does not is a defect of the caller. The room first: what it refuses has moved
   * nothing.
   */
  // Hot path: once per batch.
  #check(queued: QueuedTicket): void {
    let blockBytes = 0
    for (const operation of queued.operations) {
      if (operation.type === 'append') blockBytes += operation.block.data.length
    }
    const room = blockBytes > 0 ? this.#credit() : CREDIT_BYTES + RESERVE_BYTES - this.#queuedBytes
    const asked = blockBytes > 0 ? blockBytes : costOf(queued)
    assert(asked <= room, `a ticket of ${asked} bytes, there is room for ${room}`)
    for (const operation of queued.operations) {
      if (operation.type === 'append') {
        const { first, data } = operation.block
        assert(verifyBlock(data), () => `the block from ${first} does not match its checksum`)
      }
      const violation = this.#accepted.step(operation)
      assert(violation === null, () => `submitted to ${this.#dir}: ${violation}`)
    }
  }

  #credit(): number {
    return Math.max(0, CREDIT_BYTES - this.#queuedBytes)
  }

  async #writeQueue(): Promise<void> {
    while (this.#queue.length > 0 && this.#fault === null) {
      const tickets = this.#takeTickets()
      try {
        await this.#commit(tickets)
      } catch (error) {
        if (error instanceof AssertionFailure) throw error
        this.#fault ??= this.#poisonedError(error)
      }
      this.#stalled = false
      this.#wake()
    }
    this.#writing = null
  }

  #takeTickets(): readonly QueuedTicket[] {
    let count = 0
    let bytes = 0
    for (const ticket of this.#queue) {
      if (count > 0 && bytes + ticket.bytes.length > BATCH_BYTES) break
      bytes += ticket.bytes.length
      count += 1
    }
    return this.#queue.splice(0, count)
  }

  // Hot path: once per batch.
  async #commit(tickets: readonly QueuedTicket[]): Promise<void> {
    assert(this.#at !== null, 'a commit of a store that is not open')
    const { segments, image } = this.#at
    const parts = tickets.map(({ bytes }) => bytes)
    const bodyBytes = parts.reduce((sum, { length }) => sum + length, 0)
    if (!segments.hasRoomFor(bodyBytes)) await this.#roll(this.#at)
    if (this.#fault !== null) return
    let position = await segments.append('tickets', parts, () => this.#waitForRoom())
    const { snapshot } = image.head
    // What went to a file that is gone by now is not durable.
    if (this.#fault !== null) return
    for (const ticket of tickets) {
      image.apply(ticket.operations, ticket.bytes, position)
      position += ticket.bytes.length
      this.#queuedBytes -= costOf(ticket)
      this.#counts.bytesWritten += ticket.bytes.length
    }
    this.#durable += tickets.length
    this.#counts.groupCommits += 1
    if (image.head.snapshot !== snapshot) segments.removeBefore(image.neededFrom)
  }

  async #roll({ segments, image, watch }: OpenStore): Promise<void> {
    await segments.roll(image.checkpoint(), () => this.#waitForRoom())
    await watch.follow(segments.lastPath)
  }

  /** Whether to try again: not when it closes, for then nobody would wait. */
  async #waitForRoom(): Promise<boolean> {
    if (!this.#stalled) {
      this.#stalled = true
      this.#wake()
    }
    if (this.#phase === 'open') await this.#disk.pause()
    return this.#phase === 'open' && this.#fault === null
  }

  #poison(error: RaftError): void {
    this.#fault ??= error
    this.#wake()
  }

  #wake(): void {
    this.#counts.wakes += 1
    this.#onWake()
  }

  async #closeOnce(): Promise<void> {
    await this.#opened
    if (this.#phase === 'new') this.#phase = 'closed'
    if (this.#looked !== null) {
      const { segments, lock } = this.#looked
      this.#looked = null
      this.#phase = 'closed'
      await giveBack(segments, lock)
    }
    if (this.#phase !== 'open' || this.#at === null) return
    this.#phase = 'closing'
    const { segments, lock, watch } = this.#at
    watch.end()
    await this.#writing
    try {
      // Behind the mark a damaged last batch of tickets is told from one that was cut off.
      if (this.#fault === null) await segments.append('close', [], async () => false)
    } catch (error) {
      if (error instanceof AssertionFailure) throw error
      this.#fault = this.#poisonedError(error)
    } finally {
      this.#phase = 'closed'
      await giveBack(segments, lock)
    }
  }

  #poisonedError(cause: unknown): RaftError {
    if (cause instanceof RaftError) return cause
    const message = `The store refuses to go on: ${this.#at?.segments.lastPath ?? this.#dir}: ${messageOf(cause)}. The outcome of what was not yet durable is unknown. Check the disk, then close and open the store again`
    return new RaftError('ERR_RAFT_STORE_POISONED', message, { outcome: 'unknown', cause })
  }

  #closedError(call: string): RaftError {
    const message = `${call} on the store in ${this.#dir}, which is not open; open it, or make another`
    return new RaftError('ERR_RAFT_CLOSED', message)
  }
}

function costOf({ bytes }: QueuedTicket): number {
  return bytes.length + TICKET_OVERHEAD_BYTES
}
