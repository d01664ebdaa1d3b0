/**
 * Says what is new and counts what is not: a peer that is down for a day leaves a few lines in the log, not thousands,
 * and so do two reasons that alternate.
 */

import type { Logger } from '../types.js'

/** Subjects remembered; beyond, the one that was said longest ago is forgotten and may be said again. */
const SUBJECTS_MAX = 256
/** The same of the reasons of one subject. */
const REASONS_MAX = 8
/** A reason that was met this often is said again, and at each tenfold of it. */
const REMINDER = 100

/** A log for what is met again and again: each reason is written when it is new, then ever more rarely. */
export class QuietLog {
  readonly #logger: Logger
  /** By subject, how often each reason was met. */
  readonly #met = new Map<string, Map<string, number>>()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /**
   * Warns unless `reason` was said about `subject` already; `times` tells how often it was met. Returns whether it is
   * news.
   */
  warn(event: string, subject: string, reason: string, fields: Readonly<Record<string, unknown>>): boolean {
    return this.#say('warn', event, subject, { ...fields, reason })
  }

  /** The same of what should never be. */
  error(event: string, subject: string, reason: string, fields: Readonly<Record<string, unknown>>): void {
    this.#say('error', event, subject, { ...fields, reason })
  }

  /** All is well with that subject: whatever comes next about it is news. */
  forget(event: string, subject: string): void {
    this.#met.delete(`${event} ${subject}`)
  }

  #say(
    level: 'warn' | 'error',
    event: string,
    subject: string,
    fields: Readonly<Record<string, unknown>> & { readonly reason: string },
  ): boolean {
    const key = `${event} ${subject}`
    const reasons = this.#met.get(key) ?? new Map<string, number>()
    const times = (reasons.get(fields.reason) ?? 0) + 1
    remember(this.#met, key, reasons, SUBJECTS_MAX)
    remember(reasons, fields.reason, times, REASONS_MAX)
    if (times === 1) this.#logger[level](event, fields)
    else this.#logger[isReminder(times) ? level : 'debug'](event, { ...fields, times })
    return times === 1
  }
}

/** As the newest; the oldest goes when there are more than `max`. */
function remember<Value>(map: Map<string, Value>, key: string, value: Value, max: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size <= max) return
  const oldest = map.keys().next()
  if (oldest.done !== true) map.delete(oldest.value)
}

function isReminder(times: number): boolean {
  let at = REMINDER
  while (at < times) at *= 10
  return at === times
}
