/**
 * What is called on this server and only the leader can do, from the call to its outcome: commands wait for the turn,
 * in which all of them leave in one message; reads of a turn share one question, and wait first for the leader's word
 * and then for the state machine of this server.
 *
 * Invariants: each call ends once, however its leader ends. A command that was sent and not answered is `unknown`, and
 * nothing here sends one a second time. How many wait is bounded by whoever puts them here (`AnyServer`).
 */

import type { RaftCore } from '../../core/raft-core.js'
import type { Outcome, RaftError } from '../../errors.js'
import type { GuardedResultCodec } from '../../machine/user-code.js'
import type { Transport } from '../../transport/transport.js'
import type { Clock, LogIndex, ServerId } from '../../types.js'
import type { PendingCall, Room } from '../calls/pending-call.js'
import { ReadQueue } from '../calls/read-queue.js'
import { WaitingList } from '../calls/waiting-list.js'
import { leaderNotReached, notLeader, noWay } from '../refusals.js'
import type { ErrorOf } from '../refusals.js'
import type { Mailbox } from '../turn/mailbox.js'
import { Asking } from './asking.js'
import type { ForwardedCommand, Proposed } from './asking.js'

/** A channel on which nothing is asked any more is kept for so long. */
const IDLE_MS_MAX = 10_000

export interface ForwardsParts {
  readonly core: RaftCore
  readonly transport: Transport
  readonly resultCodec: GuardedResultCodec<unknown>
  readonly mailbox: Mailbox
  readonly clock: Clock
  /** For so long, after another server leads, the one before may say what became of what it was asked. */
  readonly patienceMs: number
}

/** A leader that is asked, or was. */
interface Way {
  readonly asking: Asking
  /** When it ends unless it is needed by then. */
  endsAt: number
}

export class Forwards implements Room<Proposed<unknown>> {
  readonly #core: RaftCore
  readonly #transport: Transport
  readonly #resultCodec: GuardedResultCodec<unknown>
  readonly #mailbox: Mailbox
  readonly #patienceMs: number
  /** Not sent yet, in the order in which they came. */
  readonly #waiting = new WaitingList<ForwardedCommand>()
  #waitingCount = 0
  readonly #reads = new ReadQueue()
  /** Those that the leader may answer by its lease: they wait behind none of the others. */
  readonly #leaseReads = new ReadQueue()
  readonly #ways = new Map<ServerId, Way>()

  constructor(parts: ForwardsParts) {
    this.#core = parts.core
    this.#transport = parts.transport
    this.#resultCodec = parts.resultCodec
    this.#mailbox = parts.mailbox
    this.#patienceMs = parts.patienceMs
  }

  /** Calls that have no outcome yet. */
  get count(): number {
    let count = this.#waitingCount + this.#reads.count + this.#leaseReads.count
    for (const { asking } of this.#ways.values()) count += asking.count
    return count
  }

  addCommand(call: ForwardedCommand): void {
    call.enter(this)
    this.#waiting.push(call)
    this.#waitingCount += 1
    this.#mailbox.schedule()
  }

  /** As that of the queue: the question that is not asked yet; of those that no lease answers. */
  get freshReads(): object {
    return this.#reads.fresh
  }

  /**
   * `byLease`: the leader may answer by its lease. Where there are none it is not asked for that: it may be of a
   * version that does not know them. Returns the refusal when there is no room.
   */
  addRead(call: PendingCall<LogIndex>, byLease: boolean): RaftError | null {
    const hasLeases = this.#core.configuration.leaseMs !== undefined
    const refusal = (byLease && hasLeases ? this.#leaseReads : this.#reads).add(call)
    if (refusal === null) this.#mailbox.schedule()
    return refusal
  }

  withdraw(call: ForwardedCommand): Outcome {
    if (this.#waiting.remove(call)) {
      this.#waitingCount -= 1
      return 'not-applied'
    }
    for (const { asking } of this.#ways.values()) if (asking.forget(call)) break
    return 'unknown'
  }

  /** Hot path: once per turn. What has come since the last leaves; ways that are not needed any more end. */
  turn(now: number): void {
    if (this.#ways.size > 0) this.#tidy(now)
    if (this.#waitingCount === 0 && !this.#reads.hasFresh && !this.#leaseReads.hasFresh) return
    const { leader } = this.#core
    // One that has come to lead since they came tries them here.
    if (leader === null || this.#core.role === 'leader') return this.#refuse(notLeader(null))
    if (this.#transport.openChannel === undefined) return this.#refuse(noWay(leader))
    const { asking } = this.#wayTo(leader.id, now)
    if (!asking.isOpen) return
    asking.send(this.#takeWaiting())
    asking.ask(this.#reads, null)
    asking.ask(this.#leaseReads, this.#core.log.commitIndex)
  }

  /** The state machine of this server has come so far. */
  applied(index: LogIndex): void {
    if (this.#reads.count > 0) this.#reads.applied(index)
    if (this.#leaseReads.count > 0) this.#leaseReads.applied(index)
  }

  /** Every call ends: this server does. */
  close(reason: string, errorOf: ErrorOf): void {
    for (const call of this.#takeWaiting()) call.reject(errorOf('not-applied'))
    for (const reads of [this.#reads, this.#leaseReads]) reads.failAll(errorOf('not-applied'))
    for (const { asking } of this.#ways.values()) asking.end(reason, errorOf('unknown'))
    this.#ways.clear()
  }

  #tidy(now: number): void {
    for (const [id, way] of this.#ways) {
      const { asking } = way
      const isLeader = this.#core.leader?.id === id
      if (!isLeader) asking.giveUpReads(notLeader(this.#core.leader))
      const keptMs = isLeader ? IDLE_MS_MAX : this.#patienceMs
      if (isLeader && !asking.isIdle) way.endsAt = Infinity
      else if (way.endsAt === Infinity || way.endsAt > now + keptMs) way.endsAt = now + keptMs
      if (way.endsAt > now && (isLeader || !asking.isIdle)) continue
      this.#ways.delete(id)
      asking.end(isLeader ? 'nothing is asked any more' : 'it leads no more')
    }
  }

  #wayTo(leader: ServerId, now: number): Way {
    const known = this.#ways.get(leader)
    if (known !== undefined) return known
    const asking: Asking = new Asking({
      leader,
      transport: this.#transport,
      resultCodec: this.#resultCodec,
      moved: () => this.#mailbox.schedule(),
      ended: (reason) => this.#ended(asking, reason),
    })
    const way = { asking, endsAt: now + IDLE_MS_MAX }
    this.#ways.set(leader, way)
    return way
  }

  /** What waited for that way is told: it may be tried again, and is not sent by itself. */
  #ended(asking: Asking, reason: string): void {
    if (this.#ways.get(asking.leader)?.asking !== asking) return
    this.#ways.delete(asking.leader)
    if (this.#core.leader?.id === asking.leader) this.#refuse(leaderNotReached(asking.leader, reason))
  }

  #refuse(error: RaftError): void {
    for (const call of this.#takeWaiting()) call.reject(error)
    for (const reads of [this.#reads, this.#leaseReads]) {
      const round = reads.nextRequest()
      if (round !== null) reads.failed(round, error)
    }
  }

  #takeWaiting(): readonly ForwardedCommand[] {
    const calls: ForwardedCommand[] = []
    for (let call = this.#waiting.first; call !== undefined; call = this.#waiting.first) {
      this.#waiting.remove(call)
      calls.push(call)
    }
    this.#waitingCount = 0
    return calls
  }
}
