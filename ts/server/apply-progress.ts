/**
 * Says how far the state machine has come when it is far behind what is committed: after a start without a snapshot it
 * may be for minutes, and who waits for it must see that it goes on.
 */

import type { Logger, LogIndex } from '../types.js'

/** Told after this, then after twice as long each time, and when it should be over. */
const TELL_MS = 1000
const TELL_MS_MAX = 10_000

interface Progress {
  readonly appliedIndex: LogIndex
  /** In the log or above it. */
  readonly knownCommitIndex: LogIndex
}

export class ApplyProgress {
  readonly #logger: Logger
  #lookAt: number
  #lookedAt: number
  /** What was applied then. */
  #appliedIndex: LogIndex
  #waitMs = TELL_MS
  /** Of what is being told; null: nothing is. */
  #began: { readonly at: number; readonly appliedIndex: LogIndex } | null = null

  constructor(logger: Logger, appliedIndex: LogIndex, now: number) {
    this.#logger = logger
    this.#appliedIndex = appliedIndex
    this.#lookedAt = now
    this.#lookAt = now + TELL_MS
  }

  /** Hot path: once per turn. */
  look({ appliedIndex, knownCommitIndex }: Progress, now: number): void {
    if (now >= this.#lookAt) this.#look(appliedIndex, knownCommitIndex, now)
  }

  /** Far behind: by more than a second at the rate of now. */
  #look(appliedIndex: LogIndex, commitIndex: LogIndex, now: number): void {
    const perSecond = ((appliedIndex - this.#appliedIndex) * 1000) / (now - this.#lookedAt)
    const left = commitIndex - appliedIndex
    if (left > perSecond) this.#tell(appliedIndex, commitIndex, perSecond)
    else if (this.#began !== null) this.#end(appliedIndex, now)
    const waitMs = this.#began === null ? TELL_MS : Math.min(this.#waitMs, (left * 1000) / perSecond)
    this.#lookAt = now + waitMs
    this.#lookedAt = now
    this.#appliedIndex = appliedIndex
  }

  #tell(appliedIndex: LogIndex, commitIndex: LogIndex, perSecond: number): void {
    this.#began ??= { at: this.#lookedAt, appliedIndex: this.#appliedIndex }
    const secondsLeft = perSecond === 0 ? null : Math.ceil((commitIndex - appliedIndex) / perSecond)
    this.#logger.info('apply.going-on', { appliedIndex, commitIndex, perSecond: Math.round(perSecond), secondsLeft })
    this.#waitMs = Math.min(this.#waitMs * 2, TELL_MS_MAX)
  }

  #end(appliedIndex: LogIndex, now: number): void {
    const { at, appliedIndex: from } = this.#began ?? { at: now, appliedIndex }
    this.#logger.info('apply.caught-up', { entries: appliedIndex - from, seconds: Math.round((now - at) / 1000) })
    this.#began = null
    this.#waitMs = TELL_MS
  }
}
