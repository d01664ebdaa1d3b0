/**
 * The order of a turn. One turn runs in the check phase, when libuv has polled everything there is:
 *
 *   store.poll -> mailbox -> clock -> cut the next batch -> core.takeReady -> ReadyRunner -> its answers
 *
 * The only file that steps the core: whoever has something for it leaves it in the mailbox.
 *
 * Invariant: after `halt` or `close` nothing reaches the core, the store or a peer any more, and no call stays
 * unsettled.
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { Admission, Input, Ready } from '../../core/ready.js'
import { RaftError } from '../../errors.js'
import { BlockWriter } from '../../format/block.js'
import { resultAt } from '../../machine/applier.js'
import type { Applied } from '../../machine/applier.js'
import type { Events } from '../../observe/events.js'
import type { Meter } from '../../observe/meter.js'
import type { LogStore } from '../../storage/log-store.js'
import { storeFault } from '../../storage/store-fault.js'
import type { Transport } from '../../transport/transport.js'
import type { Clock, Logger } from '../../types.js'
import type { ApplyQueue } from '../calls/apply-queue.js'
import type { ChangeQueue } from '../calls/change-queue.js'
import type { Deadlines } from '../calls/deadlines.js'
import type { LeadershipQueue } from '../calls/leadership-queue.js'
import type { QueriesUnderWay } from '../calls/queries-under-way.js'
import type { ReadQueue } from '../calls/read-queue.js'
import type { ReadyQueue } from '../calls/ready-queue.js'
import type { SnapshotQueue } from '../calls/snapshot-queue.js'
import type { ApplyProgress } from '../apply-progress.js'
import type { Currency } from '../currency.js'
import type { EntryClock } from '../entry-clock.js'
import type { Forwarding } from '../forward/forwarding.js'
import type { Life } from '../life.js'
import type { PeerPins } from '../peer-pins.js'
import type { Repairs } from '../repair/repairs.js'
import { closeSnapshots, closeStore, closeTransport } from '../closing.js'
import { closed, halted, leadershipLost, notLeader, overloaded, transferFailed } from '../refusals.js'
import type { ErrorOf } from '../refusals.js'
import type { Snapshots } from '../snapshots.js'
import type { Mail, Mailbox } from './mailbox.js'
import type { ReadyRunner } from './ready-runner.js'
import { TurnTimer } from './turn-timer.js'
import type { WritesUnderWay } from './writes-under-way.js'

const DISK_IS_FULL = 'the disk is full: writes wait until there is room'

export interface EventLoopParts {
  readonly dir: string
  readonly core: RaftCore
  readonly store: LogStore
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  readonly events: Events
  readonly life: Life
  readonly mailbox: Mailbox
  readonly proposals: ApplyQueue
  readonly reads: ReadQueue
  readonly readies: ReadyQueue
  readonly changes: ChangeQueue
  readonly queries: QueriesUnderWay
  readonly leadership: LeadershipQueue
  readonly deadlines: Deadlines
  readonly pins: PeerPins
  readonly entryClock: EntryClock
  readonly applyProgress: ApplyProgress
  readonly currency: Currency
  readonly meter: Meter
  readonly writes: WritesUnderWay
  readonly runner: ReadyRunner
  readonly snapshots: Snapshots
  readonly snapshotCalls: SnapshotQueue
  readonly repairs: Repairs
  readonly forwarding: Forwarding
}

export class EventLoop {
  /** The folder, for what is said of it. */
  readonly #dir: string
  readonly #core: RaftCore
  readonly #store: LogStore
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #events: Events
  readonly #life: Life
  readonly #mailbox: Mailbox
  readonly #proposals: ApplyQueue
  readonly #reads: ReadQueue
  readonly #readies: ReadyQueue
  readonly #changes: ChangeQueue
  readonly #queries: QueriesUnderWay
  readonly #leadership: LeadershipQueue
  readonly #deadlines: Deadlines
  readonly #pins: PeerPins
  readonly #entryClock: EntryClock
  readonly #applyProgress: ApplyProgress
  readonly #currency: Currency
  readonly #meter: Meter
  readonly #writes: WritesUnderWay
  readonly #runner: ReadyRunner
  readonly #snapshots: Snapshots
  readonly #snapshotCalls: SnapshotQueue
  readonly #repairs: Repairs
  readonly #forwarding: Forwarding
  readonly #timer: TurnTimer
  /** Packs what waits into blocks; holds nothing from one batch to the next. */
  readonly #writer = new BlockWriter()
  /**
   * Why the store takes nothing, or nothing new; null while it does. Told once when it begins and once when it ends.
   */
  #stall: string | null = null
  /** What a proposal is refused with while the store is full. */
  #full: RaftError | null = null
  /** The state machine has a range and will answer in a later turn. */
  #isApplying = false
  /** What `close` answers with, however often it is called; null before the first time. */
  #closing: Promise<void> | null = null

  constructor(parts: EventLoopParts) {
    this.#dir = parts.dir
    this.#core = parts.core
    this.#store = parts.store
    this.#transport = parts.transport
    this.#clock = parts.clock
    this.#logger = parts.logger
    this.#events = parts.events
    this.#life = parts.life
    this.#mailbox = parts.mailbox
    this.#proposals = parts.proposals
    this.#reads = parts.reads
    this.#readies = parts.readies
    this.#changes = parts.changes
    this.#queries = parts.queries
    this.#leadership = parts.leadership
    this.#deadlines = parts.deadlines
    this.#pins = parts.pins
    this.#entryClock = parts.entryClock
    this.#applyProgress = parts.applyProgress
    this.#currency = parts.currency
    this.#meter = parts.meter
    this.#writes = parts.writes
    this.#runner = parts.runner
    this.#snapshots = parts.snapshots
    this.#snapshotCalls = parts.snapshotCalls
    this.#repairs = parts.repairs
    this.#forwarding = parts.forwarding
    this.#timer = new TurnTimer(parts.clock, parts.mailbox)
    this.#mailbox.serve(() => this.#turn())
  }

  /**
   * Settles every call, leaves the peers, makes the commit index durable, and releases the folder; whatever fails on
   * the way, the rest is done. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Whether the state machine has a range and has not answered. */
  get isApplying(): boolean {
    return this.#isApplying
  }

  /** Hot path: once per turn. */
  #turn(): void {
    const begin = this.#clock.now()
    this.#meter.turn(begin)
    this.#core.step(this.#turnAt(begin))
    const storeFault = this.#pollStore()
    if (storeFault !== null) return this.#halt(storeFault)
    for (const mail of this.#mailbox.drain()) {
      if (mail.type === 'failed') return this.#halt(mail.error)
      this.#take(mail)
      // A listener may have closed this server.
      if (!this.#life.isRunning) return
    }
    // Only now may a deadline expire: a blocked event loop must not start an election while heartbeats lie unread
    // (scenario E15).
    const now = this.#clock.now()
    this.#meter.turn(now)
    this.#core.step({ type: 'tick', now })
    this.#deadlines.expire(now)
    this.#entryClock.look(this.#core.log.lastBlock, this.#core.role === 'leader', now)
    const isHeldBack = !this.#cutBatch()
    const { appliedIndex } = this.#core.log
    this.#forwarding.turn(now)
    const read = this.#reads.nextRequest()
    if (read !== null) this.#core.step({ type: 'readIndex', id: read })
    const change = this.#changes.nextRequest(this.#core, this.#full)
    if (change !== null) this.#core.step(change)
    const fault = this.#carryOut(this.#core.takeReady())
    if (fault !== null) return this.#halt(fault)
    // A listener may have closed this server.
    if (!this.#life.isRunning) return
    this.#readies.settle(this.#core)
    this.#forwarding.turned()
    this.#snapshots.turn(this.#core, now, this.#isApplying)
    this.#applyProgress.look(this.#core.log, now)
    this.#meter.committed(this.#core.log.commitIndex)
    this.#currency.look(this.#core, now)
    this.#leadership.turned()
    // What was applied may have made room for the batch that was held back before, or be what a handover waits for.
    const hasApplied = this.#core.log.appliedIndex > appliedIndex
    const mayCut = hasApplied && isHeldBack && this.#admission().status === 'accept'
    const mayGoOn = hasApplied && this.#core.awaitsMachine
    if (mayCut || mayGoOn || this.#mayApplyMore()) this.#mailbox.schedule()
    this.#timer.arm(Math.min(this.#core.nextDeadline(), this.#deadlines.nextAt, this.#snapshots.nextAt))
  }

  /** Whoever counts a lease is told the time for that as well, before anything of this turn is sent. */
  #turnAt(now: number): Input {
    const bootNow = this.#core.countsLease ? this.#clock.bootNow?.() : undefined
    return bootNow === undefined ? { type: 'turn', now } : { type: 'turn', now, bootNow }
  }

  /** Returns the error of a store that has failed. */
  #pollStore(): RaftError | null {
    const { durable, credit, stalled, full, fault } = this.#store.poll()
    const persisted = this.#writes.durable(durable)
    if (persisted !== null) this.#core.step({ type: 'persisted', ticket: persisted })
    this.#core.step({ type: 'credit', bytes: credit })
    this.#full = full
    const stall = stalled ? DISK_IS_FULL : (full?.message ?? null)
    if (stall !== this.#stall) this.#stallChanged(stall)
    return fault === null ? null : storeFault('go on', fault)
  }

  #stallChanged(stall: string | null): void {
    this.#stall = stall
    const reason = stall ?? 'the disk takes writes again'
    this.#logger.warn(stall === null ? 'raft.stall-over' : 'raft.stalled', { reason })
    this.#events.emit('stall', { stalled: stall !== null, reason })
  }

  #take(mail: Exclude<Mail, { readonly type: 'failed' }>): void {
    if (mail.type === 'answered') this.#answered(mail.applied)
    else this.#core.step(mail)
  }

  /** Everything that waits becomes one batch, if it is taken now. False: it is held back. */
  #cutBatch(): boolean {
    const proposals = this.#proposals
    if (proposals.waitingCount === 0) return true
    const admission = this.#admission()
    if (admission.status === 'refuse') {
      const { leader } = this.#core
      // Of a call that went in with several commands some may be in the log already, and even committed.
      proposals.failWaiting((outcome) => (outcome === 'unknown' ? leadershipLost(outcome) : notLeader(leader)))
      return true
    }
    const full = this.#full
    if (full !== null) {
      // Waiting may be of no use: the bound stays until a compaction gives room, or the store is opened with a larger.
      proposals.failWaiting((outcome) => new RaftError(full.code, full.message, { outcome, cause: full }))
      return true
    }
    if (admission.status === 'wait') return false
    const { first, term, bytesMax } = admission
    const place = { first, term, bytesMax, time: this.#entryClock.next(this.#core.log.lastBlock) }
    const blocks = proposals.seal(place, this.#writer, (arena, offset) => this.#store.seal(arena, offset))
    for (const block of blocks) {
      this.#meter.proposed(block.first, block.last)
      this.#core.step({ type: 'propose', block })
    }
    return true
  }

  /** Bytes are the core's to bound, callers are not. */
  #admission(): Admission {
    const admission = this.#core.admit(this.#proposals.waitingBytes)
    return admission.status === 'accept' && this.#proposals.holdsMost ? { status: 'wait' } : admission
  }

  /** Returns the error that must halt this server. */
  #carryOut(ready: Ready): RaftError | null {
    if (ready.lostAbove !== null) this.#proposals.failAccepted(ready.lostAbove, leadershipLost)
    const answer = this.#runner.run(ready)
    if (answer instanceof RaftError) return answer
    this.#settleReads(ready)
    this.#settleTransfers(ready)
    this.#settleChanges(ready)
    if (answer !== null) this.#answered(answer)
    else if (ready.apply !== null) this.#isApplying = true
    if (ready.lostAbove !== null) this.#endLeadership()
    return null
  }

  /**
   * What the ended leadership has committed, and the state machine has not answered by now, is not waited for: with a
   * disk or a state machine that hangs it would be for ever (scenario A3).
   */
  #endLeadership(): void {
    this.#meter.leadershipEnded()
    this.#proposals.failCommitted(leadershipLost)
    this.#reads.failConfirmed(notLeader(this.#core.leader))
  }

  #settleChanges({ changes, lostAbove }: Ready): void {
    for (const outcome of changes) this.#changes.answered(outcome, this.#core)
    this.#changes.settle(this.#core)
    if (lostAbove !== null) this.#changes.leadershipEnded()
  }

  #settleReads({ reads }: Ready): void {
    if (reads.length === 0) return
    for (const read of reads) {
      if (read.status === 'confirmed') this.#reads.confirmed(read.id, read.index)
      else if (read.status === 'notLeader') this.#reads.failed(read.id, notLeader(this.#core.leader))
      else this.#reads.failed(read.id, overloaded('too many reads wait for confirmation'))
    }
    this.#reads.applied(this.#core.log.appliedIndex)
  }

  #settleTransfers({ transfers }: Ready): void {
    for (const outcome of transfers) {
      this.#leadership.ended(outcome, (failed) => transferFailed(failed, this.#core.leader))
    }
  }

  /** The state machine has applied a range: whoever waited for an entry of it, or to read behind it, is answered. */
  #answered(applied: Applied): void {
    this.#isApplying = false
    this.#meter.applied(applied.last)
    this.#core.step({ type: 'applied', index: applied.last })
    this.#snapshots.applied(applied.last, applied.bytes)
    this.#proposals.complete(applied.last, resultAt(applied))
    this.#reads.applied(applied.last)
    if (this.#events.hears('applied')) this.#tellApplied(applied)
  }

  #tellApplied({ first, last, replaying, entries, answers }: Applied): void {
    this.#events.emit('applied', { first, last, replaying, entries, results: answers })
  }

  /** Whether the core has more to hand out without any new input. */
  #mayApplyMore(): boolean {
    const { appliedIndex, commitIndex, durableIndex, restoreDue } = this.#core.log
    return (
      restoreDue === null &&
      !this.#snapshots.isRestoring &&
      !this.#isApplying &&
      appliedIndex < Math.min(commitIndex, durableIndex)
    )
  }

  /** Ends this server because of an error that nothing can be built on: it falls silent. */
  #halt(error: RaftError): void {
    this.#life.halt(error)
    this.#stopTurning()
    this.#logger.error('raft.halted', { code: error.code, error: error.message })
    this.#core.step({ type: 'halt' })
    const ready = this.#core.takeReady()
    this.#runner.report(ready)
    this.#settleReads(ready)
    this.#settleTransfers(ready)
    this.#settleAll(halted(error))
    this.#snapshots.halt()
    this.#repairs.close('this server has halted')
    this.#forwarding.close('this server has halted', halted(error))
    this.#events.emit('fault', { error })
    void closeTransport(this.#transport, this.#clock, this.#logger).finally(() => this.#life.end())
  }

  async #close(): Promise<void> {
    this.#life.close()
    this.#stopTurning()
    this.#settleAll(closed)
    this.#repairs.close('this server is closing')
    this.#forwarding.close('this server is closing', closed)
    try {
      await closeTransport(this.#transport, this.#clock, this.#logger)
      await closeSnapshots(this.#snapshots, this.#clock, this.#logger)
    } finally {
      await this.#releaseStore()
    }
  }

  async #releaseStore(): Promise<void> {
    let trouble: RaftError | null = null
    try {
      if (this.#life.fault === null) this.#failed(this.#submitLast())
      await closeStore(this.#store, this.#dir, this.#clock)
      if (this.#life.fault === null) this.#failed(this.#store.poll().fault)
    } catch (error) {
      if (error instanceof RaftError) trouble = error
      throw error
    } finally {
      this.#life.end(trouble)
    }
  }

  #submitLast(): RaftError | null {
    const { term, votedFor, log } = this.#core
    return this.#writes.submitLast({ term, votedFor, commitIndex: log.commitIndex })
  }

  /**
   * The store has failed while this server closes: all calls have ended by now, so it changes nothing but what is told.
   */
  #failed(fault: RaftError | null): void {
    if (fault === null) return
    this.#life.halt(fault)
    this.#logger.error('store.failed-at-close', { code: fault.code, error: fault.message })
  }

  #stopTurning(): void {
    this.#timer.stop()
    this.#mailbox.close()
  }

  #settleAll(errorOf: ErrorOf): void {
    this.#proposals.failAccepted(this.#core.log.commitIndex, errorOf)
    // What is committed is applied by the other servers, even where it was the entry that this one failed on.
    this.#proposals.failCommitted(errorOf)
    this.#proposals.failWaiting(errorOf)
    this.#reads.failAll(errorOf('not-applied'))
    this.#pins.failAll(errorOf('not-applied'))
    this.#readies.failAll(errorOf('not-applied'))
    this.#snapshotCalls.failAll(errorOf('not-applied'))
    this.#changes.failAll(errorOf)
    this.#queries.failAll(errorOf('not-applied'))
    this.#leadership.failAll(errorOf('unknown'))
  }
}
