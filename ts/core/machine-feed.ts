/**
 * What the state machine is handed: committed and durable entries in order, a range at a time, or a snapshot in the
 * place of those that are no longer kept.
 *
 * Invariant: one thing is out at a time, a range or a snapshot (scenario N9); while a snapshot is due, no range is.
 */

import { assert } from '../errors.js'
import { logIndex } from '../types.js'
import type { LogIndex } from '../types.js'
import type { RaftLog } from './raft-log.js'
import type { ApplyRange, Restore } from './ready.js'
import type { Tickets } from './tickets.js'

/** One range. */
const RANGE_BYTES_MAX = 4 * 1024 * 1024

export class MachineFeed {
  readonly #log: RaftLog
  readonly #tickets: Tickets
  /** The end of the range that is out; null when none is. */
  #applying: LogIndex | null = null
  #isRestoring = false

  constructor(log: RaftLog, tickets: Tickets) {
    this.#log = log
    this.#tickets = tickets
  }

  get isApplying(): boolean {
    return this.#applying !== null
  }

  get isRestoring(): boolean {
    return this.#isRestoring
  }

  /**
   * Only once the log stands on it durably (scenario N3): its own entries may be durable up to there before, and do not
   * count.
   */
  nextRestore(): Restore | null {
    const { restoreDue, firstIndex } = this.#log
    if (restoreDue === null || this.#isRestoring || this.#applying !== null) return null
    if (!this.#tickets.snapshotIsDurable) return null
    this.#isRestoring = true
    return { snapshot: restoreDue, firstIndex }
  }

  restored(index: LogIndex): void {
    assert(this.#isRestoring, () => `core: restored to ${index}, and nothing was to be restored`)
    this.#isRestoring = false
    this.#log.restoredTo(index)
  }

  /** Hot path: once per turn. */
  nextRange(): ApplyRange | null {
    const log = this.#log
    if (log.restoreDue !== null || this.#isRestoring) return null
    const first = logIndex(log.appliedIndex + 1)
    const end = logIndex(Math.min(log.commitIndex, log.durableIndex))
    if (this.#applying !== null || first > end) return null
    if (first < log.tailFirst) {
      this.#applying = logIndex(Math.min(end, log.tailFirst - 1))
      return { first, last: this.#applying, blocks: null }
    }
    const blocks = log.blocks(first, end, RANGE_BYTES_MAX)
    this.#applying = logIndex(Math.min(end, blocks.at(-1)?.last ?? end))
    return { first, last: this.#applying, blocks }
  }

  applied(index: LogIndex): void {
    const end = this.#applying
    assert(end !== null && index <= end, () => `core: applied ${index} of a range to ${end}`)
    this.#log.appliedTo(index)
    this.#applying = null
  }
}
