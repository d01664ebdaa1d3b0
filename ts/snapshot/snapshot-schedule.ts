/**
 * When a snapshot is due, and how much of the log stays behind it. Counts what is applied; knows nothing of states or
 * disks.
 *
 * Invariant: a log that is compacted by this schedule stays bounded whatever the entries are: many small ones are
 * counted, large ones weighed, and few ones waited for (scenario N14).
 */

import { logIndex } from '../types.js'
import type { LogIndex } from '../types.js'

export interface SnapshotPolicy {
  /** Due after so many entries, or so many bytes of them, or so long after the last one if anything was applied. */
  readonly entries: number
  readonly bytes: number
  readonly intervalMs: number
  /** What stays of the log that a snapshot covers: at most so many entries, and so many bytes. */
  readonly trailingEntries: number
  readonly trailingBytes: number
}

/** How precisely the bytes of what stays are known. */
const MARKS = 16
/** After a failed attempt the next one waits this long, twice as long after each further one, up to the most. */
const RETRY_MS = 5000
const RETRY_MS_MAX = 300_000

/** Where in the log so many bytes had been applied. */
interface Mark {
  readonly index: LogIndex
  readonly bytes: number
}

/** Where a snapshot was begun, and when. */
interface Beginning extends Mark {
  readonly at: number
}

export class SnapshotSchedule {
  /** Null: never due by itself, unless one is missing. */
  readonly #policy: SnapshotPolicy | null
  /** Above 1, other on each server: servers that apply the same do not all take their snapshots at once. */
  readonly #stretch: number
  /** The last entry that was applied or restored, and the bytes of all that were applied by this process. */
  #appliedIndex: LogIndex
  #appliedBytes = 0
  /** The same at the last snapshot, and when that was begun; at the one that is being taken. */
  #taken: Beginning
  #begun: Beginning
  /** How large it was: a log that is shorter than its snapshot is not worth another one. */
  #snapshotBytes = 0
  #failures = 0
  #notBefore = -Infinity
  /** Ascending. */
  #marks: Mark[] = []

  /**
   * `appliedIndex` is what the state machine has of itself, `snapshotIndex` what the log stands on: either may be ahead
   * of the other (scenario H2-13). Counting begins at the snapshot, as a server may run for a short time only, again
   * and again. `draw` is in [0, 1).
   */
  constructor(
    policy: SnapshotPolicy | null,
    { appliedIndex, snapshotIndex }: { readonly appliedIndex: LogIndex; readonly snapshotIndex: LogIndex },
    now: number,
    draw: number,
  ) {
    this.#policy = policy
    this.#stretch = 1 + draw / 4
    this.#appliedIndex = appliedIndex
    this.#taken = { index: snapshotIndex, bytes: 0, at: now }
    this.#begun = this.#taken
  }

  // Hot path: once per range.
  applied(index: LogIndex, bytes: number): void {
    this.#appliedIndex = index
    this.#appliedBytes += bytes
    if (this.#policy === null) return
    const newest = this.#marks.at(-1)?.bytes ?? 0
    if (this.#appliedBytes - newest >= this.#policy.trailingBytes / MARKS) this.#mark()
  }

  /** The state machine holds a snapshot, and nothing behind it. */
  restored(index: LogIndex, snapshotBytes: number, now: number): void {
    this.#appliedIndex = index
    this.#marks = []
    this.begun(now)
    this.taken(snapshotBytes)
  }

  /**
   * Whether one is due that covers what is applied now; `isMissing`: there is none on which the log could stand. That
   * is mended whatever the policy.
   */
  isDue(now: number, isMissing = false): boolean {
    if (now < this.#notBefore) return false
    if (isMissing) return true
    if (this.#policy === null) return false
    if (this.#appliedIndex <= this.#taken.index) return false
    const { entries, bytes, intervalMs } = this.#policy
    const newBytes = this.#appliedBytes - this.#taken.bytes
    if (now - this.#taken.at >= intervalMs * this.#stretch) return true
    if (newBytes < this.#snapshotBytes / 2) return false
    return this.#appliedIndex - this.#taken.index >= entries * this.#stretch || newBytes >= bytes * this.#stretch
  }

  /** When to look again though nothing is applied until then; Infinity for never. */
  get nextAt(): number {
    if (this.#policy === null || this.#appliedIndex <= this.#taken.index) return Infinity
    return Math.max(this.#taken.at + this.#policy.intervalMs * this.#stretch, this.#notBefore)
  }

  /** One is begun that covers what is applied now: when it is taken, counting begins here. */
  begun(now: number): void {
    this.#begun = { index: this.#appliedIndex, bytes: this.#appliedBytes, at: now }
  }

  /** The one that was begun is there; how large it is. */
  taken(snapshotBytes: number): void {
    this.#taken = this.#begun
    this.#snapshotBytes = snapshotBytes
    this.#failures = 0
    this.#notBefore = -Infinity
  }

  failed(now: number): void {
    this.#notBefore = now + Math.min(RETRY_MS * 2 ** this.#failures, RETRY_MS_MAX)
    this.#failures += 1
  }

  /** The first entry that stays behind a snapshot at `index`, by the policy alone. */
  firstKept(index: LogIndex): LogIndex {
    const policy = this.#policy
    if (policy === null) return logIndex(index + 1)
    const byCount = index + 1 - policy.trailingEntries
    const end = this.#marks.findLast((mark) => mark.index <= index)?.bytes ?? 0
    // What was applied before this process began is counted, and not weighed.
    const begin = this.#marks.findLast((mark) => end - mark.bytes >= policy.trailingBytes)
    return logIndex(Math.max(byCount, (begin?.index ?? 0) + 1, 1))
  }

  /** Those that no answer of `firstKept` will ask for are forgotten. */
  #mark(): void {
    this.#marks.push({ index: this.#appliedIndex, bytes: this.#appliedBytes })
    const most = 4 * MARKS
    if (this.#marks.length > 2 * most) this.#marks = this.#marks.slice(-most)
  }
}
