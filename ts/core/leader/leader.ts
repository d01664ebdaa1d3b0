/**
 * A leader: each of its duties stands in a file of its own, and here is when each has its turn.
 *
 * - `replication`: brings one peer's log in line; one for each peer
 * - `commitment`: what a quorum holds is committed
 * - `quorum-watch`: whether it may lead on
 * - `read-index`: proves to readers that it still leads
 * - `transfer`: hands over to another voter
 * - `membership`: who belongs to the cluster
 * - `lease`: reads without asking anybody
 *
 * Invariants: it never truncates. Until an entry of its own term is committed, nothing is known of what older terms
 * committed (8).
 */

import { logIndex } from '../../types.js'
import type { Block, LogIndex, Server, ServerId } from '../../types.js'
import type { AppendEntries, Response } from '../messages.js'
import type { Admission, ChangeRequest, Fetch } from '../ready.js'
import { RoleBehaviour } from '../role.js'
import type { CoreContext } from '../role.js'
import { advanceCommit } from './commitment.js'
import { Lease } from './lease.js'
import { Membership } from './membership.js'
import type { Progress } from './progress.js'
import { QuorumWatch } from './quorum-watch.js'
import { ReadRounds } from './read-index.js'
import type { Replication } from './replication.js'
import { Transfer } from './transfer.js'

/**
 * Election timeouts for which a leader that has stepped down leaves it to the others: they wait for two at most, and
 * have one for the election.
 */
const STEP_DOWN_TIMEOUTS = 3

export class Leader extends RoleBehaviour {
  readonly role = 'leader'
  /** What is known of each peer: all duties look at it, `Replication` moves it, `Membership` says who is there. */
  readonly #peers = new Map<ServerId, Progress>()
  readonly #replications = new Map<ServerId, Replication>()
  readonly #quorum: QuorumWatch
  readonly #reads: ReadRounds
  readonly #lease: Lease
  readonly #membership: Membership
  readonly #transfer: Transfer
  /** The no-op that began this leadership. */
  readonly #firstOfTerm: LogIndex
  #heartbeatAt: number
  /** Set by `tick`, carried out by `flush`. */
  #heartbeatDue = false
  /** When this server leads no longer, as its removal is committed; null while it is not. */
  #yieldBy: number | null = null

  constructor(core: CoreContext) {
    super(core)
    this.#heartbeatAt = core.now
    this.#firstOfTerm = logIndex(core.log.lastIndex + 1)
    this.#quorum = new QuorumWatch(core, this.#peers)
    this.#reads = new ReadRounds(core, this.#peers)
    this.#lease = new Lease(core, this.#reads, this.#peers)
    this.#transfer = new Transfer(core, this.#peers)
    this.#membership = new Membership(core, this.#quorum, this.#reads, this.#transfer, this.#peers, this.#replications)
  }

  /**
   * Called once, when the role has changed. The no-op asks for no credit: its own vote is durable, tickets are FIFO,
   * and since the vote this server has accepted no entry, so the store's queue holds none.
   */
  start(): void {
    this.core.setLeader(this.core.id)
    this.core.intake.accept(this.core.maker.noop(this.#firstOfTerm, this.core.hardState.term))
    this.#membership.advance()
  }

  override get peers(): ReadonlyMap<ServerId, Readonly<Progress>> {
    return this.#peers
  }

  // Hot path: once per turn.
  override get heldByPeers(): LogIndex {
    const { lastIndex, tailFirst } = this.core.log
    let held = lastIndex
    for (const { matchIndex, nextIndex } of this.#peers.values()) {
      if (matchIndex < held && nextIndex >= tailFirst) held = matchIndex
    }
    return held
  }

  override get leaving(): readonly Server[] {
    return this.#membership.leaving
  }

  override get hearsLeader(): boolean {
    return true
  }

  override get leaderContactAt(): number {
    return this.#quorum.contactAt
  }

  override get readsWaiting(): number {
    return this.#reads.count
  }

  override get awaitsMachine(): boolean {
    return this.#transfer.awaitsMachine || this.#yieldBy !== null
  }

  override get transfersUnderWay(): number {
    return Number(this.#transfer.isUnderWay)
  }

  override grace(until: number): void {
    this.#quorum.grace(until)
  }

  nextDeadline(): number {
    const handoverAt = Math.min(this.#transfer.nextDeadline(), this.#yieldBy ?? Infinity)
    return Math.min(this.#heartbeatAt, this.#quorum.nextDeadline(), handoverAt)
  }

  tick(): void {
    const { now, settings, hardState } = this.core
    this.#transfer.tick()
    const isHeartbeat = now >= this.#heartbeatAt
    const reason = this.#quorum.reasonToYield() ?? (isHeartbeat ? this.#quorum.stallOfQuorum() : null)
    if (reason !== null) {
      this.core.becomeFollower(hardState.term, null, reason)
    } else if (isHeartbeat) {
      this.#heartbeatAt = now + settings.heartbeatMs
      this.#heartbeatDue = true
      this.#reads.nextRound()
      for (const replication of this.#replications.values()) replication.retry()
    }
  }

  override onPeerUp(peer: ServerId, session: number): void {
    this.#membership.connected(peer)
    if (this.core.electorate.sessionOf(this.core.configuration, peer) === null) return
    this.#replications.get(peer)?.connected(session)
  }

  override onPeerDown(peer: ServerId): void {
    this.#replications.get(peer)?.disconnected()
  }

  override onPeerGone(peer: ServerId): void {
    this.#transfer.gone(peer)
  }

  override transfer(id: number, to: ServerId | null): void {
    this.#transfer.begin(id, to)
  }

  override stepDown(reason: string): void {
    const { now, settings, hardState } = this.core
    const follower = this.core.becomeFollower(hardState.term, null, reason)
    follower.grace(now + STEP_DOWN_TIMEOUTS * settings.electionTimeoutMs)
  }

  override onPersisted(): void {
    this.#advanceCommit()
  }

  override admit(waitingBytes: number): Admission {
    const isHeld = this.#membership.isOutgoing || this.#transfer.holdsBack
    return isHeld ? { status: 'wait' } : this.core.intake.admit(waitingBytes)
  }

  override configure(id: number, request: ChangeRequest): void {
    this.#membership.configure(id, request)
  }

  override readIndex(id: number): void {
    const isCommittedInTerm = this.core.log.commitIndex >= this.#firstOfTerm
    this.#reads.ask(id, isCommittedInTerm ? this.core.log.commitIndex : null)
  }

  /** What a successor was asked for, or may soon be, ends the lease before that (scenario R7). */
  override holdsLease(bootNow: number): boolean {
    if (this.core.log.commitIndex < this.#firstOfTerm) return false
    return !this.#transfer.mayElectAnother && this.#lease.holds(bootNow)
  }

  override mayReadByLease(bootNow: number): boolean {
    const { commitIndex, appliedIndex } = this.core.log
    return appliedIndex >= commitIndex && this.holdsLease(bootNow)
  }

  onResponse(from: ServerId, session: number, message: Response): void {
    const replication = this.#replications.get(from)
    if (message.type !== 'AppendEntriesResult' || message.term < this.core.hardState.term) return
    if (replication === undefined || !replication.isCurrent(session)) return
    // What this server sent when it led an earlier term was refused in this one: of what is sent now it says nothing.
    if (message.round === 0) return
    if (replication.handleResult(message)) this.#advanceCommit()
    this.#membership.advance()
    this.#quorum.heard()
    this.#reads.confirm()
  }

  handleAppendEntries(from: ServerId, link: number, message: AppendEntries): void {
    this.refuseLeader(from, link, message.term, this.core.id)
  }

  /** Hot path: once per batch. Everything accepted in this turn leaves in one message per peer. */
  override flush(): void {
    if (this.#reads.beginRound()) {
      for (const replication of this.#replications.values()) replication.sendHeartbeat()
      this.#reads.confirm()
    }
    for (const replication of this.#replications.values()) {
      replication.sendAppends()
      if (this.#heartbeatDue) replication.sendHeartbeatIfQuiet()
    }
    this.#heartbeatDue = false
    this.#transfer.maybeAsk()
    this.#membership.flush()
    this.#maybeYield()
  }

  override fetched(fetch: Fetch, blocks: readonly Block[]): void {
    this.#replications.get(fetch.peer)?.fetched(fetch, blocks)
  }

  override fetchFailed(fetch: Fetch): void {
    this.#replications.get(fetch.peer)?.fetchFailed(fetch)
  }

  override snapshotSent(peer: ServerId, index: LogIndex): void {
    this.#replications.get(peer)?.snapshotSent(index)
  }

  override snapshotFailed(peer: ServerId, isGone: boolean): void {
    this.#replications.get(peer)?.snapshotFailed(isGone)
  }

  override get snapshotsSent(): number {
    let count = 0
    for (const { mode } of this.#peers.values()) count += Number(mode === 'snapshot')
    return count
  }

  override neededFrom(least: LogIndex): LogIndex {
    let first = super.neededFrom(least)
    for (const replication of this.#replications.values()) {
      const needed = replication.neededFrom(least)
      if (needed !== null && needed < first) first = needed
    }
    return first
  }

  /** Proposals and reads that this leadership leaves behind get their outcome at once, whatever is committed later. */
  override end(reason: string): void {
    const { log, outbox, hardState, now } = this.core
    const isLate = this.#transfer.isEarly || (this.#yieldBy !== null && now >= this.#yieldBy)
    const isOwing = isLate && log.appliedIndex !== log.lastIndex
    this.#reads.abandon()
    this.#transfer.end()
    outbox.lost(log.commitIndex)
    const why = isOwing ? `${reason}; what it had accepted was not applied within half an election timeout` : reason
    outbox.event({ type: 'steppedDown', term: hardState.term, reason: why })
  }

  #advanceCommit(): void {
    if (!advanceCommit(this.core, this.#peers)) return
    this.#reads.positionKnown(this.core.log.commitIndex)
    this.#membership.advance()
  }

  /**
   * Whoever is no voter any more leads no longer than it takes to commit that, and to apply what it has accepted: its
   * callers are to have their answers. A disk or a state machine that cannot has as long for it as in a transfer. Its
   * last word is that the removal is committed (M11), and the first of all to another voter that it is to lead: once
   * that one hears of the removal it hears this server no more.
   */
  #maybeYield(): void {
    const reason = this.#membership.reasonToYield
    if (reason === null) return
    const { log, now, settings } = this.core
    this.#yieldBy ??= now + settings.electionTimeoutMs / 2
    if (log.appliedIndex !== log.lastIndex && now < this.#yieldBy) return
    this.#transfer.askSuccessor()
    this.#membership.tellRemoval()
    for (const replication of this.#replications.values()) replication.sendHeartbeat()
    this.core.becomeFollower(this.core.hardState.term, null, reason)
  }
}
