/**
 * Whether a leader may go on: it must hear from a quorum within an election timeout (check-quorum, thesis 6.2; scenario
 * E9), and its own disk and those of a quorum must make progress (scenario E13). A leader that cannot yields, so that
 * another can be elected, or at least its callers are answered.
 */

import type { Configuration, ServerId } from '../../types.js'
import { isVoter, quorumValue } from '../configuration.js'
import type { CoreContext } from '../role.js'
import type { Progress } from './progress.js'

/**
 * Election timeouts for which a quorum may write nothing of what waits. More than a leader gives its own disk: that it
 * yields helps nobody but its callers, and a single message may take seconds over a slow link.
 */
const QUORUM_STALL_TIMEOUTS = 6

export class QuorumWatch {
  readonly #core: CoreContext
  readonly #peers: ReadonlyMap<ServerId, Progress>
  /** Older contact does not count: not before this leadership began, nor before the event loop came back. */
  #contactFloor: number
  /** When a quorum of `#contactOf` was last in contact; null: a peer was heard since that was looked at. */
  #contactAt: number | null = null
  #contactOf: Configuration | null = null
  /** The last heartbeat at which nothing waited to be committed. */
  #restedAt: number

  constructor(core: CoreContext, peers: ReadonlyMap<ServerId, Progress>) {
    this.#core = core
    this.#peers = peers
    this.#contactFloor = core.now
    this.#restedAt = core.now
  }

  /** The quorum has until `until` to be heard, at the least. */
  grace(until: number): void {
    this.#contactFloor = Math.max(this.#contactFloor, until - this.#core.settings.electionTimeoutMs)
  }

  /** Whether whoever lives has had the time to be heard: before that, silence says nothing of a peer. */
  get hasListened(): boolean {
    return this.#core.now >= this.#contactFloor + this.#core.settings.electionTimeoutMs
  }

  /** A peer was heard. */
  heard(): void {
    this.#contactAt = null
  }

  nextDeadline(): number {
    return Math.min(this.#quorumLostAt(), this.#stalledAt())
  }

  /** Why this leader must yield now; null while it may lead on. */
  reasonToYield(): string | null {
    const { now } = this.#core
    if (now >= this.#quorumLostAt()) return 'no quorum answered for an election timeout'
    if (now >= this.#stalledAt()) return 'its own disk made no progress for two election timeouts'
    return null
  }

  /**
   * Why a leader must yield whose quorum hears it and writes nothing of what waits: its callers would wait for ever.
   * Null while it may lead on. A voter moves when it has everything, or its match grows: a slow quorum, and one that
   * catches up, keep their leader. Asked once per heartbeat.
   */
  stallOfQuorum(): string | null {
    const { log, configuration, id, now, settings } = this.#core
    if (log.commitIndex === log.lastIndex) this.#restedAt = now
    const floor = Math.max(this.#restedAt, this.#contactFloor)
    const movedAt = (peer: Progress | undefined): number => {
      if (peer === undefined || peer.matchIndex === log.lastIndex) return now
      return Math.max(peer.advancedAt, floor)
    }
    const limit = now - QUORUM_STALL_TIMEOUTS * settings.electionTimeoutMs
    if (quorumValue(configuration, (v) => (v === id ? now : movedAt(this.#peers.get(v)))) > limit) return null
    const isStalled = (peer: Progress): boolean => isVoter(configuration, peer.peer) && movedAt(peer) <= limit
    const names = [...this.#peers.values()].filter(isStalled).map(({ peer }) => peer)
    const waiting = `${log.commitIndex + 1} .. ${log.lastIndex}`
    return `${names.join(', ')} wrote nothing of the entries ${waiting} for ${QUORUM_STALL_TIMEOUTS} election timeouts`
  }

  /** When a quorum was last in contact; Infinity for a leader that is one by itself. */
  get contactAt(): number {
    const { configuration, id } = this.#core
    // Asked some times per turn, and most turns hear nobody. This server is always in contact with itself.
    if (this.#contactAt === null || this.#contactOf !== configuration) {
      this.#contactOf = configuration
      this.#contactAt = quorumValue(configuration, (v) => (v === id ? Infinity : (this.#peers.get(v)?.contactAt ?? 0)))
    }
    return Math.max(this.#contactAt, this.#contactFloor)
  }

  /** An election timeout after a quorum was last in contact. */
  #quorumLostAt(): number {
    return this.contactAt + this.#core.settings.electionTimeoutMs
  }

  /** Two election timeouts after the oldest ticket that is still not durable was submitted. */
  #stalledAt(): number {
    const submittedAt = this.#core.tickets.oldestSubmittedAt
    return submittedAt === null ? Infinity : submittedAt + 2 * this.#core.settings.electionTimeoutMs
  }
}
