/** Reads a command line of long options: `--name value`, `--name=value`, `--flag`. */

import { UsageError } from './exit-codes.js'

export interface OptionSpec {
  readonly takesValue: boolean
}

/** Throws UsageError on anything that is not in `specs`, twice there, or without its value. */
export function readArguments(
  words: readonly string[],
  specs: Readonly<Record<string, OptionSpec>>,
): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? ''
    const [, name = '', value] = /^--([a-z][a-z-]*)(?:=(.*))?$/s.exec(word === '-h' ? '--help' : word) ?? []
    const spec = Object.hasOwn(specs, name) ? specs[name] : undefined
    if (spec === undefined) throw new UsageError(`unknown option ${word}; --help lists those that there are`)
    if (found.has(name)) throw new UsageError(`--${name} is given twice`)
    if (!spec.takesValue) {
      if (value !== undefined) throw new UsageError(`--${name} takes no value`)
      found.set(name, '')
      continue
    }
    const given = value ?? words[at + 1]
    if (given === undefined || (value === undefined && given.startsWith('--'))) {
      throw new UsageError(`--${name} needs a value`)
    }
    if (value === undefined) at += 1
    found.set(name, given)
  }
  return found
}

export function wholeNumber(
  name: string,
  text: string,
  bounds: { readonly min: number; readonly max: number },
): number {
  const value = /^[0-9]{1,12}$/.test(text) ? Number(text) : Number.NaN
  if (value >= bounds.min && value <= bounds.max) return value
  throw new UsageError(`${name} is ${text}; it must be a whole number of ${bounds.min} .. ${bounds.max}`)
}
