/**
 * A follower: takes entries from the leader, and calls for an election when it has not heard from one for long enough.
 */

import { logIndex, termOf } from '../types.js'
import type { Block, LogIndex, ServerId } from '../types.js'
import type { AppendEntries, AppendEntriesResult, TimeoutNow } from './messages.js'
import { RoleBehaviour } from './role.js'
import type { CoreContext } from './role.js'

/**
 * What this server owes the leader of this term. Kept as one fact instead of one answer per message, so that answers
 * merge. Invariant: proven only grows, because a leader never replaces an entry of its own term.
 */
interface Acknowledgement {
  /** Where the leader's last message came on. */
  link: number
  /** The last entry known to equal the leader's. */
  proven: LogIndex
  /** The highest match that was sent on this link. */
  sent: number
  /** The highest round that the leader has sent. */
  round: number
  /** A message is to be answered now, with whatever is durable. */
  owed: boolean
}

interface AppendPlan {
  /** The first entry here that conflicts; null when none does. */
  readonly truncateFrom: LogIndex | null
  readonly append: readonly Block[]
}

export class Follower extends RoleBehaviour {
  readonly role = 'follower'
  /** The leader of this term, once it has been heard; it stays the same (5.2). */
  #leader: ServerId | null
  /** When that leader was last heard; -Infinity for never. */
  #leaderContactAt: number
  /** When this server asks for pre-votes, unless a leader or a vote puts it off. */
  #electionAt: number
  /** Its process is gone, and nothing of it was heard since: no reason to wait for it, nor to refuse a vote. */
  #isLeaderGone = false
  /** Null until the leader has sent something. */
  #acknowledgement: Acknowledgement | null = null

  constructor(core: CoreContext, leader: ServerId | null, electionAt: number) {
    super(core)
    this.#leader = leader
    this.#leaderContactAt = leader === null ? -Infinity : core.now
    this.#electionAt = electionAt
  }

  override get electionAt(): number {
    return this.#electionAt
  }

  /** Within the minimum election timeout. */
  override get hearsLeader(): boolean {
    if (this.#leader === null || this.#isLeaderGone) return false
    return this.core.now - this.#leaderContactAt < this.core.settings.electionTimeoutMs
  }

  override get leaderContactAt(): number {
    return this.#leaderContactAt
  }

  nextDeadline(): number {
    return this.mayCampaign ? this.#electionAt : Infinity
  }

  override grace(until: number): void {
    this.#electionAt = Math.max(this.#electionAt, until)
  }

  tick(): void {
    const { now, pledge } = this.core
    if (now < this.#electionAt || !this.mayCampaign) return
    if (pledge.isKept(now)) {
      this.#electionAt = pledge.until
      return
    }
    // A slow disk is not a dead leader (scenario E14): onPersisted starts the timer again.
    if (this.core.tickets.hasPendingAppends && !this.#isLeaderGone) this.#resetElectionTimer()
    else this.core.becomePreCandidate()
  }

  override onPersisted(): void {
    if (this.#leader !== null && !this.#isLeaderGone) this.#resetElectionTimer()
  }

  /** The leader is not waited for; who else hears it refuses its vote, and then it is waited for as ever. */
  override onPeerGone(peer: ServerId): void {
    if (peer !== this.#leader || this.#isLeaderGone) return
    this.#isLeaderGone = true
    if (!this.mayCampaign) return
    const { losses, pledge, now } = this.core
    const pledgedMs = Math.max(0, pledge.until - now)
    this.#electionAt = Math.min(this.#electionAt, losses.attemptAt(this.core, peer) + pledgedMs)
  }

  /** The leader wants this server to follow it (thesis 3.10). Late, or meant for another log: it leads on (T4). */
  override onTimeoutNow(from: ServerId, { lastIndex, lastTerm }: TimeoutNow): void {
    const { log } = this.core
    const isMeant = from === this.#leader && lastIndex === log.lastIndex && lastTerm === log.lastTerm
    if (isMeant && this.core.electorate.isVoterHere(this.core.configuration)) this.core.becomeCandidate(true)
  }

  override onVoteGranted(): void {
    this.#resetElectionTimer()
  }

  /** An answer to what an earlier role asked. */
  onResponse(): void {}

  handleAppendEntries(from: ServerId, link: number, message: AppendEntries): void {
    if (this.#leader !== null && this.#leader !== from) {
      this.refuseLeader(from, link, message.term, this.#leader)
      return
    }
    this.core.log.heardCommit(message.commitIndex)
    this.#leader = from
    this.core.setLeader(from)
    this.#heardLeader()
    const acknowledgement = this.#acknowledge(link, message.round)
    if (!this.core.log.agrees(message.prevIndex, message.prevTerm)) {
      this.#refuse(acknowledgement, 'conflict', message)
      return
    }
    const plan = this.#plan(message.blocks)
    if (plan.truncateFrom !== null && plan.truncateFrom <= this.core.log.settledIndex) {
      const reason = `its entry ${plan.truncateFrom} differs from ours, which no leader may replace`
      this.core.outbox.breach(from, link, reason)
      return
    }
    if (!this.core.intake.hasRoomFor(plan.append)) {
      this.#refuse(acknowledgement, 'busy', message)
      return
    }
    if (plan.truncateFrom !== null) this.core.tickets.truncateSuffix(plan.truncateFrom)
    for (const block of plan.append) this.core.intake.accept(block)
    const proven = message.blocks.at(-1)?.last ?? message.prevIndex
    acknowledgement.proven = logIndex(Math.max(acknowledgement.proven, proven))
    // Entries are answered when they are durable; a message without any at once.
    acknowledgement.owed ||= message.blocks.length === 0 || this.core.log.durableIndex >= proven
    // Not this log's own end: what follows the proven part may still be another leader's (scenario C3).
    this.core.log.commitTo(logIndex(Math.min(message.commitIndex, proven)))
  }

  /** One answer for everything since the last. */
  override flush(): void {
    const acknowledgement = this.#acknowledgement
    if (acknowledgement === null || !this.core.tickets.hardStateIsDurable) return
    const match = Math.min(acknowledgement.proven, this.core.log.durableIndex)
    if (!acknowledgement.owed && match <= acknowledgement.sent) return
    acknowledgement.owed = false
    acknowledgement.sent = match
    this.core.outbox.respond(acknowledgement.link, this.#result('matched', acknowledgement))
  }

  /**
   * Part of a long message of the leader has arrived: it lives, and is to know that this server does, though the link
   * is busy for longer than an election takes.
   */
  override onArriving(from: ServerId, link: number): void {
    const acknowledgement = this.#acknowledgement
    if (this.#leader !== from || acknowledgement === null) return
    this.#heardLeader()
    this.#acknowledge(link, acknowledgement.round).owed = true
  }

  #acknowledge(link: number, round: number): Acknowledgement {
    const current = this.#acknowledgement
    if (current === null) {
      this.#acknowledgement = { link, proven: logIndex(0), sent: 0, round, owed: false }
      return this.#acknowledgement
    }
    current.round = Math.max(current.round, round)
    if (current.link !== link) {
      current.link = link
      current.sent = 0
    }
    return current
  }

  /**
   * What to remove because it conflicts (5.3), and what to append. Entries that agree are left alone, whatever the
   * order in which messages arrive (scenario C10). Blocks that need no cut are passed on as they came.
   */
  #plan(blocks: readonly Block[]): AppendPlan {
    const { log, maker } = this.core
    let lastIndex = log.lastIndex
    let truncateFrom: LogIndex | null = null
    const append: Block[] = []
    for (const block of blocks) {
      const conflict: LogIndex | null =
        truncateFrom === null ? log.firstConflict(block.first, block.last, block.term) : null
      if (conflict !== null) {
        truncateFrom = conflict
        lastIndex = logIndex(conflict - 1)
      }
      if (block.last <= lastIndex) continue
      append.push(block.first > lastIndex ? block : maker.slice(block, logIndex(lastIndex + 1), block.last))
      lastIndex = block.last
    }
    return { truncateFrom, append }
  }

  #refuse(acknowledgement: Acknowledgement, status: 'conflict' | 'busy', message: AppendEntries): void {
    const { log, outbox, tickets, hardState } = this.core
    const hintIndex =
      status === 'conflict' ? log.lastIndexWithTermAtMost(message.prevTerm, message.prevIndex) : logIndex(0)
    const hintTerm = log.termAt(hintIndex) ?? termOf(0)
    const result: AppendEntriesResult = { ...this.#result(status, acknowledgement), hintIndex, hintTerm }
    outbox.hold(tickets.gate, hardState.term, { kind: 'response', link: acknowledgement.link, message: result })
  }

  #result(status: AppendEntriesResult['status'], { proven, round }: Acknowledgement): AppendEntriesResult {
    const { lastIndex, durableIndex } = this.core.log
    const result = {
      type: 'AppendEntriesResult',
      term: this.core.hardState.term,
      status,
      matchIndex: logIndex(status === 'conflict' ? 0 : Math.min(proven, durableIndex)),
      hintIndex: logIndex(0),
      hintTerm: termOf(0),
      round,
      lastIndex,
    } as const
    return status !== 'conflict' && proven > durableIndex ? { ...result, acceptedIndex: proven } : result
  }

  #heardLeader(): void {
    this.#leaderContactAt = this.core.now
    this.#isLeaderGone = false
    this.#resetElectionTimer()
  }

  #resetElectionTimer(): void {
    this.#electionAt = this.core.now + this.core.drawElectionTimeout()
  }
}
