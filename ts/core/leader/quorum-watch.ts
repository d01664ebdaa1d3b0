/**
 * Whether a leader may go on: it must hear from a quorum within an election timeout (check-quorum, thesis 6.2; scenario
 * E9), and its own disk must make progress (scenario E13). A leader that cannot yields, so that another can be elected.
 */

import type { ServerId } from '../../types.js'
import { quorumValue } from '../configuration.js'
import type { CoreContext } from '../role.js'
import type { Progress } from './progress.js'

export class QuorumWatch {
  readonly #core: CoreContext
  readonly #peers: ReadonlyMap<ServerId, Progress>
  /** Older contact does not count: not before this leadership began, nor before the event loop came back. */
  #contactFloor: number

  constructor(core: CoreContext, peers: ReadonlyMap<ServerId, Progress>) {
    this.#core = core
    this.#peers = peers
    this.#contactFloor = core.now
  }

  /** The quorum has until `until` to be heard, at the least. */
  grace(until: number): void {
    this.#contactFloor = Math.max(this.#contactFloor, until - this.#core.settings.electionTimeoutMs)
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

  /** An election timeout after a quorum was last in contact. */
  #quorumLostAt(): number {
    const { configuration, id, now, settings } = this.#core
    const contactAt = quorumValue(configuration, (v) => (v === id ? now : (this.#peers.get(v)?.contactAt ?? 0)))
    return Math.max(contactAt, this.#contactFloor) + settings.electionTimeoutMs
  }

  /** Two election timeouts after the oldest ticket that is still not durable was submitted. */
  #stalledAt(): number {
    const submittedAt = this.#core.tickets.oldestSubmittedAt
    return submittedAt === null ? Infinity : submittedAt + 2 * this.#core.settings.electionTimeoutMs
  }
}
