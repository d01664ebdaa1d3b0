/** How this package refuses an option: by its name, its bound and what was given. */

import { RaftError } from 'balsa-raft'

export function optionsError(message: string): RaftError {
  return new RaftError('ERR_RAFT_OPTIONS', message)
}

/** Throws ERR_RAFT_OPTIONS for what are no options, and for an option that there is not. */
export function checkNames(call: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw optionsError(`${call} takes an object of options`)
  const stranger = Object.keys(options).find((name) => !known.includes(name))
  if (stranger === undefined) return
  throw optionsError(`${call}: there is no option ${stranger}; there are ${known.join(', ')}`)
}

export function numberIn(what: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= min && value <= max) return value
  const shown = typeof value === 'number' ? value : `of type ${typeof value}`
  throw optionsError(`${what} is ${shown}; it must be in ${min} .. ${max}`)
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
