/**
 * A follower: takes entries from the leader, and calls for an election when it has not heard from one for long enough.
 */

import { logIndex, termOf } from '../types.js'
import type { Block, LogIndex, ServerId } from '../types.js'
import { isVoter } from './configuration.js'
import type { AppendEntries, AppendEntriesResult, Response } from './messages.js'
import type { RoleBehaviour, RoleContext } from './role.js'

/** Bytes that are not yet applied, and so must stay in memory; a follower at this bound answers `busy`. */
export const UNAPPLIED_BYTES_MAX = 64 * 1024 * 1024

/**
 * What this server owes the leader of this term. Kept as one fact instead of one answer per message, so that answers merge.
 * Invariant: proven only grows, because a leader never replaces an entry of its own term.
 */
interface Acknowledgement {
  link: number
  /** The last entry known to equal the leader's. */
  proven: LogIndex
  /** The highest match that was sent on this link. */
  sent: number
  round: number
  /** A message is to be answered now, with whatever is durable. */
  owed: boolean
}

interface AppendPlan {
  readonly truncateFrom: LogIndex | null
  readonly append: readonly Block[]
}

export class Follower implements RoleBehaviour {
  readonly role = 'follower'
  readonly #core: RoleContext
  #leader: ServerId | null
  #leaderContactAt: number
  #electionAt: number
  #acknowledgement: Acknowledgement | null = null

  constructor(core: RoleContext, leader: ServerId | null, electionAt: number) {
    this.#core = core
    this.#leader = leader
    this.#leaderContactAt = leader === null ? -Infinity : core.now
    this.#electionAt = electionAt
  }

  get electionAt(): number {
    return this.#electionAt
  }

  /** Whether a live leader was heard within the minimum election timeout: then nobody gets a vote (9.6, 6). */
  get hearsLeader(): boolean {
    return this.#leader !== null && this.#core.now - this.#leaderContactAt < this.#core.settings.electionTimeoutMs
  }

  nextDeadline(): number {
    return this.#mayCampaign() ? this.#electionAt : Infinity
  }

  /** After the event loop was blocked: what is still on its way gets this long. */
  grace(until: number): void {
    this.#electionAt = Math.max(this.#electionAt, until)
  }

  resetElectionTimer(): void {
    this.#electionAt = this.#core.now + this.#core.drawElectionTimeout()
  }

  tick(): void {
    if (this.#core.now < this.#electionAt || !this.#mayCampaign()) return
    // A slow disk is not a dead leader (scenario E14): onPersisted starts the timer again.
    if (this.#core.tickets.hasPendingAppends) this.resetElectionTimer()
    else this.#core.becomePreCandidate()
  }

  onPersisted(): void {
    if (this.#leader !== null) this.resetElectionTimer()
  }

  onResponse(_from: ServerId, _session: number, message: Response): void {
    // An answer to what an earlier role asked: only a higher term in it matters, unless it may not be adopted (9.6).
    const { term } = this.#core.tickets
    if (message.type !== 'PreVoteResult' && message.term > term) {
      this.#core.becomeFollower(message.term, null, `a ${message.type} carried term ${message.term}`)
    }
  }

  onPeerUp(): void {}

  onPeerDown(): void {}

  /** Invariant: message.term is the current term, and `from` is its only leader (5.2). */
  handleAppendEntries(from: ServerId, link: number, message: AppendEntries): void {
    this.#leader = from
    this.#core.setLeader(from)
    this.#leaderContactAt = this.#core.now
    this.resetElectionTimer()
    const acknowledgement = this.#acknowledge(link, message.round)
    if (this.#core.log.termAt(message.prevIndex) !== message.prevTerm) {
      this.#refuse(acknowledgement, 'conflict', message)
      return
    }
    const plan = this.#plan(message.blocks)
    if (plan.truncateFrom !== null && plan.truncateFrom <= this.#core.log.settledIndex) {
      const reason = `its entry ${plan.truncateFrom} differs from ours, which no leader may replace`
      this.#core.outbox.reject(link, reason)
      this.#core.outbox.event({ type: 'protocolFault', peer: from, reason })
      return
    }
    if (!this.#hasRoom(plan.append)) {
      this.#refuse(acknowledgement, 'busy', message)
      return
    }
    if (plan.truncateFrom !== null) this.#core.tickets.truncateSuffix(plan.truncateFrom)
    for (const block of this.#core.maker.keep(plan.append)) this.#core.accept(block)
    const proven = message.blocks.at(-1)?.last ?? message.prevIndex
    acknowledgement.proven = logIndex(Math.max(acknowledgement.proven, proven))
    // Entries are answered when they are durable; a message without any at once.
    acknowledgement.owed ||= message.blocks.length === 0 || this.#core.log.durableIndex >= proven
    // Not this log's own end: what follows the proven part may still be another leader's (scenario C3).
    this.#core.commitTo(logIndex(Math.min(message.commitIndex, proven)))
  }

  /** One answer for everything since the last. */
  flush(): void {
    const acknowledgement = this.#acknowledgement
    if (acknowledgement === null || !this.#core.tickets.hardStateIsDurable) return
    const match = Math.min(acknowledgement.proven, this.#core.log.durableIndex)
    if (!acknowledgement.owed && match <= acknowledgement.sent) return
    acknowledgement.owed = false
    acknowledgement.sent = match
    this.#core.outbox.respond(acknowledgement.link, this.#result('matched', acknowledgement))
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
   * What to remove because it conflicts (5.3), and what to append. Entries that agree are left alone, whatever the order in
   * which messages arrive (scenario C10). Blocks that need no cut are passed on as they came.
   */
  #plan(blocks: readonly Block[]): AppendPlan {
    const { log, maker } = this.#core
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

  #hasRoom(blocks: readonly Block[]): boolean {
    let bytes = 0
    for (const block of blocks) bytes += block.data.byteLength
    return bytes === 0 || (bytes <= this.#core.credit && this.#unappliedBytes() < UNAPPLIED_BYTES_MAX)
  }

  #unappliedBytes(): number {
    return this.#core.log.bytesAbove(this.#core.log.appliedIndex)
  }

  #refuse(acknowledgement: Acknowledgement, status: 'conflict' | 'busy', message: AppendEntries): void {
    const { log, outbox, tickets } = this.#core
    const hintIndex =
      status === 'conflict' ? log.lastIndexWithTermAtMost(message.prevTerm, message.prevIndex) : logIndex(0)
    const hintTerm = log.termAt(hintIndex) ?? termOf(0)
    const result: AppendEntriesResult = { ...this.#result(status, acknowledgement), hintIndex, hintTerm }
    outbox.hold(tickets.gate, tickets.term, { kind: 'response', link: acknowledgement.link, message: result })
  }

  #result(status: AppendEntriesResult['status'], { proven, round }: Acknowledgement): AppendEntriesResult {
    return {
      type: 'AppendEntriesResult',
      term: this.#core.tickets.term,
      status,
      matchIndex: logIndex(status === 'conflict' ? 0 : Math.min(proven, this.#core.log.durableIndex)),
      hintIndex: logIndex(0),
      hintTerm: termOf(0),
      round,
    }
  }

  #mayCampaign(): boolean {
    return isVoter(this.#core.configuration, this.#core.id)
  }
}
