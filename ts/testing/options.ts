/** Checks options of this room: what is out of range is refused with its name and bound. */

import { RaftError } from '../errors.js'

/** What Node's timers take; beyond it they fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** An option in milliseconds, or its default. */
export function deadlineOf(given: number | undefined, byDefault: number): number {
  return wholeNumber('deadlineMs', given ?? byDefault, 1, TIMER_MS_MAX)
}

/** Refuses anything but a whole number in lo .. hi, by the option's name. */
export function wholeNumber(option: string, value: number, lo: number, hi: number): number {
  if (Number.isInteger(value) && value >= lo && value <= hi) return value
  throw new RaftError('ERR_RAFT_OPTIONS', `option ${option} is ${value}: it must be a whole number in ${lo} .. ${hi}`)
}
