/**
 * Whether options are an object, and whether each of their names is known: one that is misspelled would else be taken
 * silently. Every refusal names the taker, the thing and the remedy.
 */

import { RaftError } from './errors.js'

/**
 * Throws ERR_RAFT_OPTIONS unless `options` is an object without names but these. `taker` is what takes them, such as
 * `Raft.open`.
 */
export function checkOptionNames(taker: string, options: unknown, known: readonly string[]): void {
  const takes = known.length === 0 ? `${taker} takes no options` : `${taker} takes an object of options`
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw optionsError(`${takes}, and was given ${shown(options)}`)
  }
  // Not `Object.keys`, which makes a list: this is on the way of every read.
  for (const name in options) {
    if (known.includes(name)) continue
    const remedy = known.length === 0 ? takes : `${meant(name, known)} It takes ${known.join(', ')}`
    throw optionsError(`${taker}: option ${shortened(name)} is unknown: ${remedy}`)
  }
}

/** A value as a message shows it: none makes the message fail. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'function') return 'a function'
  return typeof value === 'object' && value !== null ? 'an object' : String(value)
}

export function optionsError(message: string, cause?: unknown): RaftError {
  return new RaftError('ERR_RAFT_OPTIONS', message, { cause })
}

/** Of a name no more is looked at, nor shown. */
const NAME_CHARACTERS_MAX = 64

/** A name that was given, as a message shows it. */
export function shortened(name: string): string {
  return name.length > NAME_CHARACTERS_MAX ? `${name.slice(0, NAME_CHARACTERS_MAX)}...` : name
}

/** The question that names the known word nearest to the one that was given. */
export function meant(given: string, known: readonly string[]): string {
  const compared = given.slice(0, NAME_CHARACTERS_MAX).toLowerCase()
  const distances = known.map((word) => distance(compared, word.toLowerCase()))
  return `did you mean ${known[distances.indexOf(Math.min(...distances))]}?`
}

/** How many letters must be added, removed or replaced to make one word of the other (Levenshtein). */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (let taken = 1; taken <= from.length; taken += 1) {
    const next = [taken]
    for (let at = 1; at <= to.length; at += 1) {
      const replaced = (row[at - 1] ?? 0) + (from[taken - 1] === to[at - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[at] ?? 0) + 1, (next[at - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}

/** Whether a value has these functions. */
export function has(value: unknown, ...names: readonly string[]): boolean {
  return names.every((name) => typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function')
}

export function checkNumber(name: string, value: unknown, min: number, max: number): void {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    fail(name, `is ${shown(value)}; must be a number of ${min} .. ${max}`)
  }
}

/** Refuses an option by its name. */
export function fail(name: string, reason: string): never {
  throw optionsError(`option ${name} ${reason}`)
}
