/**
 * A logger for what happens again and again: the same event about the same subject with the same words is a warning the
 * first time and a debug line after, so that a peer which is down for a day leaves one line in the log, not thousands.
 */

import type { Logger } from '../types.js'

/** Subjects remembered; beyond, the one that was said longest ago is forgotten and may be said again. */
const SUBJECTS_MAX = 256

export class QuietLog {
  readonly #logger: Logger
  readonly #said = new Map<string, string>()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Warns unless `reason` is what was last said about `subject`. */
  warn(event: string, subject: string, reason: string, fields: Readonly<Record<string, unknown>>): void {
    const key = `${event} ${subject}`
    const isNew = this.#said.get(key) !== reason
    this.#said.delete(key)
    this.#said.set(key, reason)
    if (this.#said.size > SUBJECTS_MAX) {
      const oldest = this.#said.keys().next()
      if (oldest.done !== true) this.#said.delete(oldest.value)
    }
    if (isNew) this.#logger.warn(event, { ...fields, reason })
    else this.#logger.debug(event, { ...fields, reason })
  }

  /** All is well with that subject: whatever comes next about it is news. */
  forget(event: string, subject: string): void {
    this.#said.delete(`${event} ${subject}`)
  }
}
