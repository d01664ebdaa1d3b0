/**
 * The shell around the core: the only place that calls it. Sockets, the store's wake, timers and API calls do no more than
 * leave something here and ask for a turn; a turn drains all of it, lets the core decide once, and carries that out.
 *
 * One turn, in the check phase, when libuv has polled everything there is:
 *
 *   store.poll -> what arrived -> clock -> cut the next batch -> core.takeReady -> ReadyRunner
 *
 * Invariant: after `halt` or `close` nothing reaches the core, the store or a peer any more, and no call stays unsettled.
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { Input } from '../../core/ready.js'
import { RaftError } from '../../errors.js'
import type { Outcome } from '../../errors.js'
import { BlockWriter } from '../../format/block.js'
import type { LogStore } from '../../storage/log-store.js'
import type { Transport } from '../../transport/transport.js'
import { logIndex } from '../../types.js'
import type { CancelTimer, Clock, Logger } from '../../types.js'
import type { ApplyQueue } from '../calls/apply-queue.js'
import { Deadlines } from '../calls/deadlines.js'
import type { EntryClock } from '../entry-clock.js'
import type { Events } from '../../observe/events.js'
import type { PendingCall } from '../calls/pending-call.js'
import type { PeerPins } from '../peer-pins.js'
import type { ReadQueue } from '../calls/read-queue.js'
import { leadershipLost } from './ready-runner.js'
import type { ReadyRunner } from './ready-runner.js'

export interface EventLoopParts {
  readonly core: RaftCore
  readonly store: LogStore
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  readonly events: Events
  readonly proposals: ApplyQueue
  readonly reads: ReadQueue
  readonly pins: PeerPins
  readonly entryClock: EntryClock
  readonly runner: ReadyRunner
}

export class EventLoop {
  readonly deadlines = new Deadlines()
  /** Resolves when this server has halted or closed, with the error that halted it or null. */
  readonly ended: Promise<RaftError | null>
  readonly #parts: EventLoopParts
  readonly #writer = new BlockWriter()
  #inputs: Input[] = []
  #readyWaiters: PendingCall<void>[] = []
  #scheduled = false
  #timer: { readonly at: number; readonly cancel: CancelTimer } | null = null
  #stalled = false
  #fault: RaftError | null = null
  #closing: Promise<void> | null = null
  #end: (fault: RaftError | null) => void = () => {}

  constructor(parts: EventLoopParts) {
    this.#parts = parts
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  get fault(): RaftError | null {
    return this.#fault
  }

  /** Why no call can be taken any more; null while calls can be. */
  get refusal(): RaftError | null {
    if (this.#fault !== null) return this.#fault
    return this.#closing === null ? null : closedError('not-applied')
  }

  /** Leaves something for the next turn. */
  push(input: Input): void {
    this.#inputs.push(input)
    this.schedule()
  }

  /** Asks for a turn; however often, there is one. */
  schedule(): void {
    if (this.#scheduled || this.refusal !== null) return
    this.#scheduled = true
    this.#parts.clock.defer(this.#turn)
  }

  waitUntilReady(call: PendingCall<void>): void {
    this.#readyWaiters.push(call)
    this.schedule()
  }

  /** Ends this server because of an error that nothing can be built on: it falls silent. */
  halt(error: RaftError): void {
    if (this.refusal !== null) return
    this.#fault = error
    this.#parts.logger.error('halted', { code: error.code, error: error.message })
    this.#parts.core.step({ type: 'halt' })
    this.#parts.runner.runLast(this.#parts.core.takeReady())
    this.#settleAll((outcome) => new RaftError(error.code, error.message, { outcome, cause: error }))
    this.#stopTimer()
    this.#parts.events.emit('fault', { error })
    const silence = this.#parts.transport.close()
    void silence.catch(() => {}).then(() => this.#end(error))
  }

  /** Settles every call, leaves the peers, makes the commit index durable, and releases the folder. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { transport, runner, store } = this.#parts
    this.#stopTimer()
    this.#settleAll(closedError)
    await transport.close()
    if (this.#fault === null) runner.submitLast()
    await store.close()
    this.#end(this.#fault)
  }

  readonly #turn = (): void => {
    this.#scheduled = false
    if (this.refusal !== null) return
    const { core, clock, runner, reads } = this.#parts
    core.step({ type: 'turn', now: clock.now() })
    if (!this.#pollStore()) return
    const inputs = this.#inputs
    this.#inputs = []
    for (const input of inputs) core.step(input)
    const now = clock.now()
    core.step({ type: 'tick', now })
    this.deadlines.expire(now)
    this.#cutBatch()
    const read = reads.nextRequest()
    if (read !== null) core.step({ type: 'readIndex', id: read })
    const fault = runner.run(core.takeReady())
    if (fault !== null) {
      this.halt(fault)
      return
    }
    this.#settleReady()
    if (runner.hasMore) this.schedule()
    this.#armTimer()
  }

  /** False when the store has failed. */
  #pollStore(): boolean {
    const { core, store, runner, events } = this.#parts
    const progress = store.poll()
    const persisted = runner.durableTicket(progress.durable)
    if (persisted !== null) core.step({ type: 'persisted', ticket: persisted })
    core.step({ type: 'credit', bytes: progress.credit })
    if (progress.stalled !== this.#stalled) {
      this.#stalled = progress.stalled
      const reason = progress.stalled
        ? 'the disk is full: writes wait until there is room'
        : 'the disk takes writes again'
      this.#parts.logger.warn(progress.stalled ? 'stalled' : 'stall over', { reason })
      events.emit('stall', { stalled: progress.stalled, reason })
    }
    if (progress.fault === null) return true
    this.halt(progress.fault)
    return false
  }

  /** Everything that waits becomes one batch, if the core takes it now. */
  #cutBatch(): void {
    const { core, proposals, store, entryClock } = this.#parts
    if (proposals.waitingCount === 0) return
    const admission = core.admit(proposals.waitingBytes)
    if (admission.status === 'wait') return
    if (admission.status === 'refuse') {
      // Of a call that went in with several commands some may be in the log already, and even committed.
      proposals.failWaiting((outcome) => (outcome === 'unknown' ? leadershipLost(outcome) : this.notLeader()))
      return
    }
    const place = { ...admission, time: entryClock.next(core.log.lastBlock) }
    const blocks = proposals.seal(place, this.#writer, (arena, offset) => store.seal(arena, offset))
    for (const block of blocks) core.step({ type: 'propose', block })
  }

  /** The refusal of a server that does not lead, with the best hint that it has. */
  notLeader(): RaftError {
    const { leader } = this.#parts.core
    if (leader === null) {
      return new RaftError(
        'ERR_RAFT_NO_LEADER',
        'no leader is known: an election is under way or a quorum is missing',
        {
          retryable: true,
        },
      )
    }
    return new RaftError('ERR_RAFT_NOT_LEADER', `this server does not lead: ask ${leader.id} at ${leader.address}`, {
      leader,
      retryable: true,
    })
  }

  /** A leader is known, and what was committed when it became known, in its own term, is applied here. */
  #settleReady(): void {
    if (this.#readyWaiters.length === 0) return
    const { core } = this.#parts
    const { log } = core
    const current = core.leader !== null && log.termAt(log.commitIndex) === core.term
    if (!current || log.appliedIndex < core.knownCommitIndex) return
    const waiters = this.#readyWaiters
    this.#readyWaiters = []
    for (const waiter of waiters) waiter.resolve()
  }

  #settleAll(errorOf: (outcome: Outcome) => RaftError): void {
    const { core, proposals, reads, pins } = this.#parts
    proposals.failAccepted(core.log.commitIndex, errorOf)
    // What is committed is applied by the other servers, even where it was the entry that this one failed on.
    proposals.failAccepted(logIndex(0), (outcome) => errorOf(this.#fault?.outcome === 'applied' ? 'applied' : outcome))
    proposals.failWaiting(errorOf)
    reads.failAll(errorOf('not-applied'))
    pins.failAll(errorOf('not-applied'))
    for (const waiter of this.#readyWaiters) waiter.reject(errorOf('not-applied'))
    this.#readyWaiters = []
  }

  /** One timer, moved only when something earlier is due; a timer that fires early costs one empty turn. */
  #armTimer(): void {
    const at = Math.min(this.#parts.core.nextDeadline(), this.deadlines.nextAt)
    if (at === Infinity || (this.#timer !== null && this.#timer.at <= at)) return
    this.#stopTimer()
    const delayMs = Math.max(0, at - this.#parts.clock.now())
    const cancel = this.#parts.clock.setTimer(Math.ceil(delayMs), () => {
      this.#timer = null
      this.schedule()
    })
    this.#timer = { at, cancel }
  }

  #stopTimer(): void {
    this.#timer?.cancel()
    this.#timer = null
  }
}

function closedError(outcome: Outcome): RaftError {
  const what = outcome === 'unknown' ? 'the command may still be applied' : 'nothing was appended'
  return new RaftError('ERR_RAFT_CLOSED', `this server is closed; ${what}`, { outcome })
}
