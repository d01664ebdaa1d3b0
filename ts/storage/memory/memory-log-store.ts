/**
 * A store in memory, for tests and the simulator: the real semantics without a disk. A `MemoryDisk` is what survives; a
 * `MemoryLogStore` is one process that has it open. What is submitted becomes durable when the test says so, or when
 * the scheduler that was passed runs the commit; until then a crash loses it.
 *
 * Never a thing that pretends to be durable: `durability` is 'none'.
 */

import { assert, RaftError } from '../../errors.js'
import type { Outcome } from '../../errors.js'
import { decodeBlock, sealBlock, verifyBlock } from '../../format/block.js'
import { decodeConfiguration, encodeConfiguration } from '../../format/configuration.js'
import { memorySnapshotStore } from '../../snapshot/memory-snapshot-store.js'
import type { MemorySnapshotStoreFactory } from '../../snapshot/memory-snapshot-store.js'
import { checkOptionNames } from '../../option-checks.js'
import type { Block, LogIndex, StoreOperation } from '../../types.js'
import type { LogStore, StoredState, StoreFactory, StoreProgress, StoreStats, Ticket } from '../log-store.js'
import { MemoryImage } from './image.js'
import type { ReadonlyImage } from './image.js'

/** Bytes of blocks that may be pending, unless the disk says otherwise. */
const CAPACITY_BYTES = 16 * 1024 * 1024
/** Tickets that may be pending. A turn submits at most one, so only a disk that never completes comes near. */
const PENDING_TICKETS_MAX = 65_536

/**
 * The part of `logBytesMax` that is left when the store says that it is full, and the part that no block may take: the
 * same marks as in the native store, for what other servers had accepted, and for the first entries of leaders to come.
 */
const RESERVE_PART = 16
const LAST_RESERVE_PART = 32

/** Runs the commit later: never before it returns. */
export type ScheduleCommit = (commit: () => void) => void

const OPTION_NAMES = ['completion', 'capacityBytes', 'logBytesMax', 'drawIncarnation']

/** What a `MemoryDisk`, or a `memoryStore`, is made with. */
export interface MemoryDiskOptions {
  /**
   * When what was submitted becomes durable: 'manual' waits for `completeOne` or `completeAll`; a function is called
   * once for each group commit that is due. The default, `queueMicrotask`, commits as soon as the turn that submitted
   * is over; the simulator passes its own queue of events, a test with a clock `(commit) => clock.setTimer(5, commit)`.
   */
  readonly completion?: 'manual' | ScheduleCommit
  /** Bytes of blocks that may be pending: the credit of an idle store. */
  readonly capacityBytes?: number
  /** A bound for the bytes of all blocks, as the map of the native store is one. Default: none. */
  readonly logBytesMax?: number
  /** 32 hex digits, once for each disk. The default draws them at random; the simulator draws from its seed. */
  readonly drawIncarnation?: () => string
}

/** What became of a ticket whose write failed: only a reopen shows it. */
export type FailedTicketFate = 'lost' | 'kept'

interface PendingTicket {
  readonly ticket: Ticket
  readonly operations: readonly StoreOperation[]
  readonly blockBytes: number
}

/** What survives a crash of the process that uses it, and the hooks by which tests disturb it. */
export class MemoryDisk {
  readonly capacityBytes: number
  /** Null: no bound. */
  readonly logBytesMax: number | null
  readonly completion: 'manual' | ScheduleCommit
  readonly incarnation: string
  /** What is durable now, for checkers; the store that is open changes it. */
  readonly durable: ReadonlyImage
  #boots = 0
  #user: MemoryLogStore | null = null
  readonly #image: MemoryImage
  #full = false
  #failing: { ticketsLeft: number; readonly fate: FailedTicketFate } | null = null

  /** `image` is what it holds from the beginning. */
  constructor(options: MemoryDiskOptions = {}, image = new MemoryImage()) {
    checkOptionNames('MemoryDisk', options, OPTION_NAMES)
    this.#image = image
    this.capacityBytes = options.capacityBytes ?? CAPACITY_BYTES
    this.logBytesMax = options.logBytesMax ?? null
    this.completion = options.completion ?? queueMicrotask
    this.incarnation = (options.drawIncarnation ?? randomIncarnation)()
    this.durable = this.#image
  }

  /** Another disk that holds what is durable on this one, and knows its boots: a backup, or a snapshot of a volume. */
  copy(): MemoryDisk {
    const { capacityBytes, logBytesMax, completion, incarnation } = this
    const bound = logBytesMax === null ? {} : { logBytesMax }
    const options = { ...bound, capacityBytes, completion, drawIncarnation: () => incarnation }
    const copy = new MemoryDisk(options, this.#image.copy())
    copy.#boots = this.#boots
    return copy
  }

  /** Tickets of the open store that are not durable. */
  get pendingTickets(): number {
    return this.#user?.pendingTickets ?? 0
  }

  /** How often a store of it was opened. */
  get bootCounter(): number {
    return this.#boots
  }

  /** Makes the oldest pending ticket durable, as a group commit of its own; whether there was one, and room for it. */
  completeOne(): boolean {
    return (this.#user?.commit(1) ?? 0) > 0
  }

  /** Makes everything pending durable in one group commit; answers with the number of tickets. */
  completeAll(): number {
    return this.#user?.commit(Infinity) ?? 0
  }

  /**
   * The process dies: what is not durable is gone, the store that was open is dead and silent, and the disk can be
   * opened again. `completeOne()` before it is the crash between write and acknowledgement.
   */
  crash(): void {
    const user = this.#user
    this.#user = null
    user?.die()
  }

  /** The k-th completion from now on fails (1: the next one), and its store is poisoned. */
  failTicket(k: number, fate: FailedTicketFate): void {
    assert(Number.isSafeInteger(k) && k >= 1, `the ticket to fail is number ${k}, not 1 or more`)
    this.#failing = { ticketsLeft: k, fate }
  }

  /** The disk is full: nothing completes until `resume`. */
  stall(): void {
    this.#full = true
  }

  /** There is room again: what waits is tried once more. */
  resume(): void {
    this.#full = false
    this.#user?.retry()
  }

  /** Bit rot: changes one bit of the block that holds `index`. The next read finds out; the same again mends it. */
  flipBit(index: LogIndex, bit: number): void {
    const at = this.#image.blocks.findIndex((block) => block.first <= index && index <= block.last)
    const block = this.#image.blocks[at]
    assert(block !== undefined, `no durable block holds ${index}`)
    const data = new Uint8Array(block.data)
    const byte = (bit >>> 3) % data.length
    data[byte] = (data[byte] ?? 0) ^ (1 << (bit & 7))
    this.#image.blocks[at] = { ...block, data }
  }

  /** For MemoryLogStore: throws while another one has it open. */
  checkFree(): void {
    if (this.#user === null) return
    throw new RaftError('ERR_RAFT_DIR_LOCKED', 'the memory disk is open in another store; close that one first')
  }

  /** For MemoryLogStore: takes the disk, as the lock on a directory does. */
  attach(user: MemoryLogStore): MemoryImage {
    this.checkFree()
    this.#user = user
    this.#boots += 1
    return this.#image
  }

  /** For MemoryLogStore: gives the disk back. */
  detach(user: MemoryLogStore): void {
    if (this.#user === user) this.#user = null
  }

  /** For MemoryLogStore: what happens to the next ticket that is written. */
  nextWrite(): 'written' | 'full' | FailedTicketFate {
    if (this.#full) return 'full'
    if (this.#failing === null) return 'written'
    this.#failing.ticketsLeft -= 1
    if (this.#failing.ticketsLeft > 0) return 'written'
    const { fate } = this.#failing
    this.#failing = null
    return fate
  }
}

/** Disks by directory name: a store made again for the same directory finds what was kept. */
export interface MemoryStoreFactory extends StoreFactory {
  /** The disk of this folder, made when it is first asked for. */
  disk(dir: string): MemoryDisk
  /** A store on that disk. */
  create(dir: string): MemoryLogStore
  readonly snapshots: MemorySnapshotStoreFactory
  /** Whoever opens that folder next finds a new, empty disk with another incarnation, and no snapshots. */
  wipe(dir: string): void
}

/** A log in memory, for tests: over a disk of each folder that outlives its server. */
export function memoryStore(options: MemoryDiskOptions = {}): MemoryStoreFactory {
  checkOptionNames('memoryStore', options, OPTION_NAMES)
  const disks = new Map<string, MemoryDisk>()
  const disk = (dir: string): MemoryDisk => {
    const known = disks.get(dir) ?? new MemoryDisk(options)
    disks.set(dir, known)
    return known
  }
  const snapshots = memorySnapshotStore()
  const wipe = (dir: string): void => {
    disks.delete(dir)
    snapshots.wipe(dir)
  }
  return { name: 'memory', snapshots, disk, wipe, create: (dir) => new MemoryLogStore(disk(dir)) }
}

/** One process's use of a disk, from `open` to `close` or to the crash. */
export class MemoryLogStore implements LogStore {
  readonly #disk: MemoryDisk
  #phase: 'new' | 'open' | 'closing' | 'closed' = 'new'
  #onWake: () => void = () => {}
  #durable = new MemoryImage()
  /** The durable image with everything pending applied: what the next ticket must fit. */
  #accepted = new MemoryImage()
  readonly #pending: PendingTicket[] = []
  #pendingBytes = 0
  #lastTicket: Ticket = 0
  #durableTicket: Ticket = 0
  /** The highest index that was durable since open: what is above it was never to be read. */
  #lastEver = 0
  #fault: RaftError | null = null
  #stalled = false
  #isCommitDue = false
  #isInCall = false
  #closed: Promise<void> | null = null
  #onReleased: () => void = () => {}
  readonly #progress = { durable: 0, credit: 0, fault: this.#fault, stalled: false, full: this.#fault }
  readonly #counts = { groupCommits: 0, wakes: 0, bytesWritten: 0 }

  constructor(disk: MemoryDisk) {
    this.#disk = disk
  }

  get pendingTickets(): number {
    return this.#pending.length
  }

  async open(onWake: () => void): Promise<StoredState> {
    assert(this.#phase === 'new', `open of a store that is ${this.#phase}`)
    this.#durable = this.#disk.attach(this)
    this.#accepted = this.#durable.copy()
    this.#lastEver = this.#durable.lastIndex
    this.#onWake = onWake
    this.#phase = 'open'
    return storedState(this.#disk)
  }

  async inspect(): Promise<StoredState | null> {
    assert(this.#phase === 'new', `inspection of a store that is ${this.#phase}`)
    this.#phase = 'closed'
    this.#disk.checkFree()
    return this.#disk.bootCounter === 0 ? null : storedState(this.#disk)
  }

  seal(arena: Uint8Array, offset: number): number {
    return sealBlock(arena, offset)
  }

  verify(block: Uint8Array): boolean {
    return verifyBlock(block)
  }

  submit(operations: readonly StoreOperation[]): Ticket {
    if (this.#phase !== 'open') throw closedError('submit')
    if (this.#fault !== null) throw this.#fault
    assert(operations.length > 0, 'a ticket without operations')
    assert(this.#pending.length < PENDING_TICKETS_MAX, () => `${this.#pending.length} tickets are pending`)
    const copies = operations.map(copyOperation)
    const blockBytes = copies.reduce((sum, step) => sum + (step.type === 'append' ? step.block.data.byteLength : 0), 0)
    // A leader's first entry asks for no credit; the end of the log's bound is far behind the last of it.
    assert(
      blockBytes <= this.#queueRoom(),
      () => `a ticket with ${blockBytes} bytes of blocks, the queue has room for ${this.#queueRoom()}`,
    )
    for (const operation of copies) this.#accepted.apply(operation)
    this.#lastTicket += 1
    this.#pending.push({ ticket: this.#lastTicket, operations: copies, blockBytes })
    this.#pendingBytes += blockBytes
    this.#scheduleCommit()
    return this.#lastTicket
  }

  poll(): StoreProgress {
    this.#progress.durable = this.#durableTicket
    this.#progress.credit = this.#credit()
    this.#progress.fault = this.#fault
    this.#progress.stalled = this.#stalled
    this.#progress.full = this.#bytesBelow(RESERVE_PART) > 0 ? null : (this.#progress.full ?? logFullError())
    return this.#progress
  }

  async read(lo: LogIndex, hi: LogIndex, maxBytes: number): Promise<readonly Block[]> {
    if (this.#phase !== 'open') throw closedError('read')
    assert(1 <= lo && lo < hi && hi <= this.#lastEver + 1, `read ${lo} .. ${hi - 1} of 1 .. ${this.#lastEver}`)
    assert(maxBytes >= 1, `read of at most ${maxBytes} bytes`)
    return this.#durable.read(lo, hi, maxBytes)
  }

  async repair(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Promise<boolean> {
    if (this.#phase !== 'open') throw closedError('repair')
    if (this.#fault !== null) throw this.#fault
    const copies = blocks.map(({ data }) => decodeBlock(new Uint8Array(data)))
    let next: number = first
    for (const block of copies) {
      const isNext = block.first === next && verifyBlock(block.data)
      assert(isNext, `a block ${block.first} .. ${block.last} is to stand at ${next}`)
      next = block.last + 1
    }
    assert(next === last + 1, `blocks up to ${next - 1} are to replace ${first} .. ${last}`)
    const outcome = this.#disk.nextWrite()
    if (outcome === 'full') throw noRoomError()
    const isReplaced = outcome === 'lost' ? false : this.#durable.repair(first, last, copies)
    if (outcome !== 'written') throw this.#poison()
    // What is pending may have removed it already.
    this.#accepted.repair(first, last, copies)
    return isReplaced
  }

  stats(): StoreStats {
    const { firstIndex, lastIndex } = this.#durable
    const bounds = { usedBytes: this.#durable.blockBytes, capacityBytes: this.#disk.logBytesMax }
    return { firstIndex, lastIndex, flushes: 0, ...bounds, ...this.#counts }
  }

  close(): Promise<void> {
    if (this.#closed !== null) return this.#closed
    if (this.#phase === 'new') this.#phase = 'closed'
    if (this.#phase === 'open') this.#phase = 'closing'
    this.#closed = new Promise((resolve) => {
      this.#onReleased = resolve
    })
    this.#maybeRelease()
    return this.#closed
  }

  /** For MemoryDisk: one group commit of up to `most` tickets; answers with how many became durable. */
  commit(most: number): number {
    assert(!this.#isInCall, 'the scheduler of a memory disk ran the commit before it returned')
    if (this.#fault !== null || this.#phase === 'closed' || this.#pending.length === 0) return 0
    let done = 0
    let outcome = 'written'
    while (done < most && outcome === 'written') {
      const next = this.#pending[0]
      if (next === undefined) break
      outcome = this.#hasRoomFor(next) ? this.#disk.nextWrite() : 'beyond'
      if (outcome === 'written' || outcome === 'kept') this.#write(next)
      if (outcome === 'written') {
        this.#pending.shift()
        this.#pendingBytes -= next.blockBytes
        this.#durableTicket = next.ticket
        done += 1
      }
    }
    if (done > 0) this.#counts.groupCommits += 1
    if (outcome === 'lost' || outcome === 'kept') this.#fault = poisonedError(this.#durableTicket + 1)
    if (outcome === 'beyond') this.#fault = logFullError('unknown')
    const wasStalled = this.#stalled
    this.#stalled = outcome === 'full'
    if (done > 0 || this.#fault !== null || this.#stalled !== wasStalled) this.#wake()
    this.#maybeRelease()
    return done
  }

  /** For MemoryDisk: there is room again. */
  retry(): void {
    if (this.#stalled) this.#scheduleCommit()
  }

  /** For MemoryDisk: the process is gone; it is never woken again. */
  die(): void {
    this.#phase = 'closed'
    this.#onReleased()
  }

  /** Whether the log stays within its bound: who goes by the credit never meets it. */
  #hasRoomFor({ blockBytes }: PendingTicket): boolean {
    return this.#durable.blockBytes + blockBytes <= (this.#disk.logBytesMax ?? Infinity)
  }

  #credit(): number {
    if (this.#fault !== null) return 0
    return Math.max(0, Math.min(this.#queueRoom(), this.#bytesBelow(LAST_RESERVE_PART) - this.#pendingBytes))
  }

  #queueRoom(): number {
    return this.#disk.capacityBytes - this.#pendingBytes
  }

  /** How much the durable log may grow until only that part of its bound is left. */
  #bytesBelow(part: number): number {
    const { logBytesMax } = this.#disk
    return logBytesMax === null ? Infinity : logBytesMax - logBytesMax / part - this.#durable.blockBytes
  }

  #write(pending: PendingTicket): void {
    for (const operation of pending.operations) {
      this.#durable.apply(operation)
      this.#lastEver = Math.max(this.#lastEver, this.#durable.lastIndex)
    }
    this.#counts.bytesWritten += pending.blockBytes
  }

  #scheduleCommit(): void {
    const { completion } = this.#disk
    if (completion === 'manual' || this.#isCommitDue) return
    this.#isCommitDue = true
    this.#isInCall = true
    completion(() => {
      this.#isCommitDue = false
      this.commit(Infinity)
    })
    this.#isInCall = false
  }

  #wake(): void {
    this.#counts.wakes += 1
    this.#onWake()
  }

  #poison(): RaftError {
    this.#fault ??= poisonedError(this.#durableTicket + 1)
    this.#wake()
    return this.#fault
  }

  /** Closing ends when everything is durable, or never will be: a disk that is full now is not waited for. */
  #maybeRelease(): void {
    if (this.#phase === 'closed') this.#onReleased()
    if (this.#phase === 'closing' && this.#stalled) this.#fault ??= fullError()
    if (this.#phase !== 'closing' || (this.#pending.length > 0 && this.#fault === null)) return
    this.#phase = 'closed'
    this.#disk.detach(this)
    this.#onReleased()
  }
}

function storedState({ durable, incarnation, bootCounter }: MemoryDisk): StoredState {
  const { firstIndex, prevTerm, snapshot, lastIndex, hardState } = durable
  return {
    firstIndex,
    prevTerm,
    snapshot,
    lastIndex,
    hardState,
    termRuns: durable.termRuns(),
    configurations: durable.configurations(),
    incarnation,
    bootCounter,
    facts: new Map(durable.facts),
    durability: 'none',
    warning: null,
    fingerprint: null,
  }
}

/** Blocks, values and configurations live in memory that the caller may use again. */
function copyOperation(operation: StoreOperation): StoreOperation {
  if (operation.type === 'put') return { ...operation, value: new Uint8Array(operation.value) }
  if (operation.type === 'compact') {
    const payload = decodeConfiguration(encodeConfiguration(operation.snapshot))
    return { ...operation, snapshot: { ...operation.snapshot, ...payload } }
  }
  if (operation.type !== 'append') return operation
  const { first, last, term, data } = operation.block
  const block = decodeBlock(new Uint8Array(data))
  assert(
    block.first === first && block.last === last && block.term === term,
    () => `a block said to be ${first} .. ${last} of term ${term} holds ${block.first} .. ${block.last}`,
  )
  return { type: 'append', block }
}

function randomIncarnation(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function closedError(call: string): RaftError {
  return new RaftError('ERR_RAFT_CLOSED', `${call} on a memory store that is not open; open it, or make another`)
}

function fullError(): RaftError {
  const message = 'the disk is full and the store was closed: what had not been written is lost'
  return new RaftError('ERR_RAFT_STORE_FULL', message, { outcome: 'unknown' })
}

function noRoomError(): RaftError {
  return new RaftError('ERR_RAFT_STORE_FULL', 'the disk is full: no block is repaired')
}

function logFullError(outcome: Outcome = 'not-applied'): RaftError {
  const message =
    'the log of the memory disk has reached its bound, logBytesMax: nothing more is proposed. Give it a larger one'
  return new RaftError('ERR_RAFT_STORE_FULL', message, { outcome })
}

function poisonedError(ticket: Ticket): RaftError {
  const message = `the write of ticket ${ticket} failed; nothing more is written until the store is opened again`
  return new RaftError('ERR_RAFT_STORE_POISONED', message, { outcome: 'unknown' })
}
