/**
 * The snapshots of one server: has them taken when they are due, has the state machine restored from one, and lets go
 * of those that nobody needs any more. What comes of it is left in the mailbox; the core decides what it means for the
 * log.
 *
 * Invariants: one is taken at a time, and none while the state machine is restored. Nothing is applied between the
 * beginning of a capture and its end. A snapshot goes only when the log stands durably on a newer one.
 */

import type { RaftCore } from '../core/raft-core.js'
import type { Restore, SnapshotSend } from '../core/ready.js'
import { isOurs, RaftError } from '../errors.js'
import { isThenable, textOf } from '../foreign-values.js'
import type { Applier } from '../machine/applier.js'
import { captureSessions } from '../machine/session-section.js'
import type { SessionSection } from '../machine/session-section.js'
import { piecesOf, RestoredPieces, snapshotFailed } from '../machine/snapshot-pieces.js'
import type { Captured, GuardedMachine } from '../machine/user-code.js'
import type { Events } from '../observe/events.js'
import type { SnapshotSchedule } from '../snapshot/snapshot-schedule.js'
import { corruptError } from '../snapshot/snapshot-fault.js'
import { newestFirst } from '../snapshot/snapshot-store.js'
import type { FoundSnapshots, SnapshotStore, StoredSnapshot } from '../snapshot/snapshot-store.js'
import { neverEmpty } from '../storage/lost-data.js'
import { logIndex } from '../types.js'
import type { Boot, CancelTimer, Clock, Identity, Logger, LogIndex, SnapshotHeader, SnapshotMeta } from '../types.js'
import type { PendingCall } from './calls/pending-call.js'
import type { SnapshotQueue } from './calls/snapshot-queue.js'
import type { EntryClock } from './entry-clock.js'
import { SnapshotExports } from './snapshot-exports.js'
import type { SnapshotShelf, SnapshotTransfers, TransferProgress } from './snapshot-transfers.js'
import type { SnapshotInfo, SnapshotStatus } from './status.js'
import { readSessions } from './stored-sessions.js'
import type { Mailbox } from './turn/mailbox.js'

/** A machine that has not captured its state by then is not waited for: nothing is applied meanwhile. */
const CAPTURE_MS_MAX = 10_000
/** Nor one that gives no further piece: the log grows while a snapshot is taken, and no other one is begun. */
const PIECE_MS_MAX = 60_000
/** A leader keeps so many times what the policy says for peers that are heard and lag. */
const HELD_FACTOR = 4
/** Of an id; as many as 2^52 takes for the index. */
const ID_DIGITS = 32
const INDEX_DIGITS = 13

export interface SnapshotParts {
  readonly identity: Identity
  readonly clusterName: string
  readonly store: SnapshotStore
  /** What was in it when it was opened. */
  readonly found: FoundSnapshots
  /** How many are kept. */
  readonly retain: number
  readonly schedule: SnapshotSchedule
  readonly machine: GuardedMachine<unknown, unknown, unknown, unknown>
  readonly transfers: SnapshotTransfers
  readonly queue: SnapshotQueue
  /** What stands beside the state machine: the sessions, and how far it has come. */
  readonly applier: Applier<unknown>
  readonly entryClock: EntryClock
  readonly mailbox: Mailbox
  readonly clock: Clock
  readonly events: Events
  readonly logger: Logger
}

export class Snapshots implements SnapshotShelf {
  readonly #identity: Identity
  readonly #clusterName: string
  readonly #store: SnapshotStore
  #stored: readonly StoredSnapshot[]
  /** What may lie in the store besides: damaged ones, and what could not be removed. Until they are let go of. */
  #unshelved: readonly string[]
  /** Of what came last and was cut off: it may be gone on with. Null for nothing. */
  #interruptedId: string | null = null
  readonly #retain: number
  readonly #schedule: SnapshotSchedule
  readonly #machine: GuardedMachine<unknown, unknown, unknown, unknown>
  readonly #transfers: SnapshotTransfers
  readonly #exports: SnapshotExports
  readonly #queue: SnapshotQueue
  readonly #applier: Applier<unknown>
  readonly #entryClock: EntryClock
  readonly #mailbox: Mailbox
  readonly #clock: Clock
  readonly #events: Events
  readonly #logger: Logger
  /** Nothing is applied until this has settled; null while nothing is captured. */
  #capturing: Promise<unknown> | null = null
  /** Ends the wait for what the machine captures, or gives. */
  #giveUp: (why: RaftError) => void = () => {}
  #isTaking = false
  /** What is whole in the store, and the log does not stand on yet; null for nothing. */
  #taken: SnapshotHeader | null = null
  #isRestoring = false
  #failure: RaftError | null = null
  /** The id on which the log stood when snapshots were last let go of. */
  #keptFor: string | null = null
  #isClosed = false

  constructor(parts: SnapshotParts) {
    this.#identity = parts.identity
    this.#clusterName = parts.clusterName
    this.#store = parts.store
    this.#stored = parts.found.whole
    this.#unshelved = parts.found.flawed.map(({ id }) => id)
    this.#retain = parts.retain
    this.#schedule = parts.schedule
    this.#machine = parts.machine
    this.#transfers = parts.transfers
    this.#queue = parts.queue
    this.#applier = parts.applier
    this.#entryClock = parts.entryClock
    this.#mailbox = parts.mailbox
    this.#clock = parts.clock
    this.#events = parts.events
    this.#logger = parts.logger
    this.#transfers.serve(this)
    this.#exports = new SnapshotExports({
      ...{ store: this.#store, clock: this.#clock },
      find: (id) => this.find(id),
      released: () => this.released(),
    })
    for (const { id, flaw } of parts.found.flawed) {
      this.#logger.error('snapshot.damaged', { id, code: flaw.code, error: flaw.message })
    }
  }

  /** Whoever would apply waits for this first; null for nothing. */
  get capturing(): Promise<unknown> | null {
    return this.#capturing
  }

  /** The state machine is between two states: nobody may ask it. */
  get isRestoring(): boolean {
    return this.#isRestoring
  }

  get nextAt(): number {
    return this.#isTaking || this.#unavailable !== null ? Infinity : this.#schedule.nextAt
  }

  /** Those on their way to peers, or from one. */
  get transfers(): readonly TransferProgress[] {
    return this.#transfers.progress
  }

  get status(): SnapshotStatus {
    const [last = null] = this.#stored
    return {
      last: last === null ? null : infoOf(last),
      isTaking: this.#isTaking,
      isRestoring: this.#isRestoring,
      failure: this.#failure,
      unavailable: this.#unavailable,
    }
  }

  /** One that covers what is applied now. Returns the refusal. */
  ask(call: PendingCall<SnapshotInfo>, appliedIndex: LogIndex): RaftError | null {
    const unavailable = this.#unavailable
    return unavailable === null
      ? this.#queue.add(call, appliedIndex)
      : new RaftError('ERR_RAFT_OPTIONS', `no snapshot is taken: ${unavailable}`)
  }

  /** A peer that lacks what was compacted, also one that is added later, must be given a snapshot. */
  get #unavailable(): string | null {
    if (!this.#machine.canSnapshot) {
      return 'option stateMachine has no functions snapshot and restore; give it both. The log is kept whole'
    }
    if (this.#transfers.canSend) return null
    return 'option transport has no channels (openChannel), over which a peer is given one. The log is kept whole'
  }

  // Hot path: once per range.
  applied(index: LogIndex, bytes: number): void {
    this.#schedule.applied(index, bytes)
  }

  /** Once per turn, when everything else of it is done. `isBusy`: the state machine has a range. */
  turn(core: RaftCore, now: number, isBusy: boolean): void {
    if (this.#isClosed) return
    this.#transfers.turn()
    const { snapshot, restoreDue } = core.log
    if (snapshot !== null && core.tickets.snapshotIsDurable) this.#standsOn(snapshot)
    if (this.#isTaking || this.#isRestoring || isBusy || restoreDue !== null || this.#unavailable !== null) return
    // One that covers less than that on which the log stands would be of no use: that was damaged, and an older one was
    // restored.
    if (core.log.appliedIndex < (snapshot?.index ?? 0)) return
    // The machine is ahead of the log by itself: what it holds is no state of that index.
    if (core.log.appliedIndex < this.#applier.machineIndex) return
    if (this.#queue.count > 0) this.#takeForCallers(core, now)
    else if (this.#schedule.isDue(now, this.#isMissing(core))) this.#take(core, now)
  }

  /**
   * Whether the log stands on one that was found damaged: no peer can be given it, and only an older one leads to what
   * is applied here. Another one takes its place, also one that covers no more: until a peer has it, there may be no
   * quorum that commits more.
   */
  #isMissing({ log: { snapshot } }: RaftCore): boolean {
    return snapshot !== null && this.#taken === null && this.find(snapshot.id) === null
  }

  /**
   * The state machine is to become what that snapshot holds; where it is damaged, what an older one holds from which
   * the log goes on.
   */
  restore({ snapshot: wanted, firstIndex }: Restore): void {
    this.#isRestoring = true
    const older = this.#stored.filter(({ header }) => header.index < wanted.index && header.index >= firstIndex - 1)
    const candidates = [wanted, ...older.map(({ header }) => header)]
    this.#restoreFirst(candidates).then(
      (meta) => this.#restored(meta),
      (error: unknown) =>
        this.#mailbox.push({ type: 'failed', error: asRaftError('restore the state machine', error) }),
    )
  }

  /** A peer is to be given that snapshot. */
  send(send: SnapshotSend): void {
    this.#transfers.send(send)
  }

  find(id: string): StoredSnapshot | null {
    return this.#stored.find(({ header }) => header.id === id) ?? null
  }

  /** One has come from a peer, whole and durable; the core decides whether it says news. */
  received(stored: StoredSnapshot): void {
    this.#shelve(stored)
    const { index, term } = stored.header
    this.#events.emit('snapshot', { what: 'received', index, term, reason: null })
    this.#mailbox.push({ type: 'snapshotReceived', snapshot: metaOf(stored.header) })
  }

  /** What came of that one stays for as long as no other is cut off, and the log stands on what it stood on. */
  interrupted(id: string): void {
    if (this.#interruptedId !== null && this.#interruptedId !== id) this.#discard(this.#interruptedId)
    this.#interruptedId = id
  }

  /** All of its file, checked as it is read. It stays while it is read. */
  bytesOf(id: string): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#exports.bytesOf(id)
  }

  /** What was under way to a peer, or from one, may go by now. */
  released(): void {
    this.#keptFor = null
    this.#mailbox.schedule()
  }

  /** No peer is given anything any more, and nothing is taken of one. */
  halt(): void {
    this.#transfers.close('this server has halted')
  }

  /** Nothing more is read or written. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#giveUp(closing())
    this.#transfers.close('this server is closing')
    await this.#store.close()
  }

  async #restoreFirst(candidates: readonly SnapshotMeta[]): Promise<SnapshotMeta> {
    let damage: RaftError | null = null
    for (const meta of candidates) {
      try {
        await this.#restoreFrom(meta)
        return meta
      } catch (error) {
        if (!(error instanceof RaftError) || error.code !== 'ERR_RAFT_SNAPSHOT_CORRUPT') throw error
        damage = error
        // No peer is to be given it either; it goes when the log stands on another one.
        this.#stored = this.#stored.filter(({ header }) => header.id !== meta.id)
        this.#unshelved = [...this.#unshelved, meta.id]
        this.#logger.error('snapshot.damaged', { index: meta.index, id: meta.id, error: error.message })
      }
    }
    const what = `no snapshot from which the log goes on can be read: ${damage?.message ?? 'there is none'}`
    throw new RaftError('ERR_RAFT_SNAPSHOT_CORRUPT', `${what}. The others go on without this server. ${neverEmpty}`)
  }

  async #restoreFrom(meta: SnapshotMeta): Promise<void> {
    const begunAt = this.#clock.now()
    const stored = this.find(meta.id)
    // How much of the data are sessions only its header says.
    if (stored === null) throw corruptError(meta.id, 'its header could not be read when this server started')
    const { sessionBytes, stateHash } = stored.header
    const { sessions, rest } = await readSessions(this.#store, meta.id, sessionBytes)
    const pieces = new RestoredPieces(rest)
    try {
      await this.#machine.restore(pieces, meta)
    } finally {
      await rest.return()
    }
    // What a machine has left unread must be whole as well: it was made to be read.
    if (!pieces.isDrained) await this.#store.verify(meta.id)
    await this.#machine.checkRestored(stateHash, meta)
    this.#applier.restored(meta.index, meta.time, sessions)
    const ms = Math.round(this.#clock.now() - begunAt)
    this.#logger.info('snapshot.restored', { index: meta.index, id: meta.id, ms })
  }

  #restored(meta: SnapshotMeta): void {
    this.#isRestoring = false
    this.#entryClock.restored(meta.time)
    this.#schedule.restored(meta.index, this.find(meta.id)?.bytes ?? 0, this.#clock.now())
    this.#events.emit('snapshot', { what: 'restored', index: meta.index, term: meta.term, reason: null })
    this.#mailbox.push({ type: 'restored', index: meta.index })
  }

  #takeForCallers(core: RaftCore, now: number): void {
    if (this.#taken !== null) return
    if (core.log.appliedIndex === 0) this.#queue.failAll(snapshotFailed('nothing is applied yet'))
    else this.#take(core, now)
  }

  #take(core: RaftCore, now: number): void {
    const header = this.#headerOf(core)
    const sessions = captureSessions(this.#applier.sessions)
    this.#isTaking = true
    this.#logger.info('snapshot.begun', { index: header.index })
    this.#schedule.begun(now)
    this.#takeAs(sessions.bytes === 0 ? header : { ...header, sessionBytes: sessions.bytes }, sessions).then(
      (stored) => this.#whole(stored),
      (error: unknown) => this.#failed(header, asRaftError('take a snapshot', error)),
    )
  }

  #headerOf({ log }: RaftCore): SnapshotHeader {
    const { clusterId, incarnation } = this.#identity
    const index = log.appliedIndex
    const term = log.termAt(index)
    const { configuration, index: configurationIndex } = log.configurationAt(index)
    if (term === null) throw new RaftError('ERR_RAFT_SNAPSHOT_FAILED', `the term of entry ${index} is not known`)
    const id = snapshotIdOf(this.#identity, index)
    const { time } = this.#applier
    return {
      id,
      index,
      term,
      time,
      configuration,
      configurationIndex,
      clusterName: this.#clusterName,
      clusterId,
      incarnation,
    }
  }

  async #takeAs(header: SnapshotHeader, sessions: SessionSection): Promise<StoredSnapshot> {
    const { source, stateHash } = await this.#capture()
    const sink = await this.#store.create(stateHash === null ? header : { ...header, stateHash })
    const pieces = piecesOf(source)
    try {
      for (const piece of sessions.pieces()) await sink.write(piece)
      for (let next = await this.#nextOf(pieces); next.done !== true; next = await this.#nextOf(pieces)) {
        if (this.#isClosed) throw closing()
        await sink.write(next.value)
      }
      return await sink.finish()
    } catch (error) {
      // Not waited for: it may be what hangs.
      pieces.return().catch(ignore)
      await sink.abort()
      throw error
    }
  }

  /** Called in a turn in which the state machine is idle; until it has settled, nothing is applied. */
  async #capture(): Promise<Captured> {
    const answer = this.#machine.capture()
    if (!isThenable(answer)) return answer
    const capturing = this.#inTime(answer, CAPTURE_MS_MAX, 'has not captured its state')
    const isOver = (): void => {
      this.#capturing = null
    }
    this.#capturing = capturing.then(isOver, isOver)
    return capturing
  }

  #nextOf(pieces: AsyncGenerator<Uint8Array, void>): Promise<IteratorResult<Uint8Array, void>> {
    return this.#inTime(pieces.next(), PIECE_MS_MAX, 'has given no piece of its snapshot')
  }

  #inTime<Value>(answer: PromiseLike<Value>, msMax: number, complaint: string): Promise<Value> {
    let cancel: CancelTimer = () => {}
    const givenUp = new Promise<never>((_, reject) => {
      this.#giveUp = reject
      cancel = this.#clock.setTimer(msMax, () =>
        reject(snapshotFailed(`the state machine ${complaint} within ${msMax} ms`)),
      )
    })
    return Promise.race([answer, givenUp]).finally(cancel)
  }

  #whole(stored: StoredSnapshot): void {
    this.#isTaking = false
    this.#failure = null
    this.#schedule.taken(stored.bytes)
    this.#shelve(stored)
    const { header, bytes } = stored
    this.#logger.info('snapshot.taken', { index: header.index, id: header.id, bytes })
    this.#events.emit('snapshot', { what: 'taken', index: header.index, term: header.term, reason: null })
    this.#taken = header
    const first = this.#schedule.firstKept(header.index)
    const held = HELD_FACTOR * (header.index + 1 - first)
    const firstLeast = logIndex(Math.max(header.index + 1 - held, 1))
    this.#mailbox.push({ type: 'snapshotTaken', snapshot: metaOf(header), first, firstLeast })
  }

  #shelve(stored: StoredSnapshot): void {
    this.#stored = [stored, ...this.#stored].sort(newestFirst)
  }

  #failed({ id, index }: SnapshotHeader, error: RaftError): void {
    this.#isTaking = false
    this.#schedule.failed(this.#clock.now())
    if (this.#isClosed) return
    // It may have its name already, as when the directory could not be flushed.
    this.#discard(id)
    this.notTaken(index, error)
    this.#queue.failAll(error)
    this.#mailbox.schedule()
  }

  /** Tells why there is none, unless that is told. */
  notTaken(index: LogIndex, error: RaftError): void {
    if (error === this.#failure) return
    this.#failure = error
    this.#logger.error('snapshot.failed', { index, code: error.code, error: error.message })
    this.#events.emit('snapshot', { what: 'failed', index, term: null, reason: error.message })
  }

  /** Durably: a restart begins with it. */
  #standsOn(named: SnapshotMeta): void {
    if (this.#taken !== null && (this.#taken.id === named.id || this.#taken.index < named.index)) this.#taken = null
    const stored = this.#queue.count === 0 ? null : this.find(named.id)
    if (stored !== null) this.#queue.settle(infoOf(stored))
    if (named.id !== this.#keptFor) this.#letGo(named)
  }

  #letGo(named: SnapshotMeta): void {
    this.#keptFor = named.id
    const newest = this.#stored.slice(0, this.#retain).map(({ header }) => header.id)
    const kept = new Set([named.id, ...newest, ...this.#transfers.ids, ...this.#exports.ids])
    const known = [...this.#stored.map(({ header }) => header.id), ...this.#unshelved]
    if (this.#interruptedId !== null) known.push(this.#interruptedId)
    this.#stored = this.#stored.filter(({ header }) => kept.has(header.id))
    this.#unshelved = this.#unshelved.filter((id) => kept.has(id))
    this.#interruptedId = null
    this.#remove(known.filter((id) => !kept.has(id)))
  }

  /** Nothing is to stay of what failed, unless it stood there before: the log may name it, also one that is damaged. */
  #discard(id: string): void {
    if (this.find(id) === null && !this.#unshelved.includes(id)) this.#remove([id])
  }

  #remove(ids: readonly string[]): void {
    if (ids.length === 0 || this.#isClosed) return
    this.#store.remove(ids).catch((error: unknown) => {
      // With the next ones again.
      this.#unshelved = [...this.#unshelved, ...ids]
      this.#logger.error('snapshot.older-stay', { error: textOf(error) })
    })
  }
}

function ignore(): void {}

function closing(): RaftError {
  return snapshotFailed('this server is closing')
}

function infoOf({ header, bytes }: StoredSnapshot): SnapshotInfo {
  return { id: header.id, index: header.index, term: header.term, bytes }
}

function metaOf(header: SnapshotHeader): SnapshotMeta {
  const { id, index, term, time, configuration, configurationIndex, clusterName } = header
  return { id, index, term, time, configuration, configurationIndex, clusterName }
}

/** Names the boot and the place: no other process makes one of that name, and this one takes one at each place. */
export function snapshotIdOf({ bootNonce }: Boot, index: LogIndex): string {
  return bootNonce.slice(0, ID_DIGITS - INDEX_DIGITS) + index.toString(16).padStart(INDEX_DIGITS, '0')
}

function asRaftError(what: string, error: unknown): RaftError {
  if (error instanceof RaftError) return error
  // A defect of ours is not told as an error about the world.
  if (isOurs(error))
    queueMicrotask(() => {
      throw error
    })
  return snapshotFailed(`the attempt to ${what} failed: ${textOf(error)}`, error)
}
