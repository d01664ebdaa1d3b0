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

/** Bytes as Redis takes them: `100mb` is 100 * 1024 * 1024, `100m` 100 million. `remedy`: how to get more. */
export function byteCount(
  name: string,
  text: string,
  { min, max, remedy }: { readonly min: number; readonly max: number; readonly remedy: string },
): number {
  const [, digits = '', unit = ''] = /^([0-9]{1,15})([a-z]{0,2})$/.exec(text.toLowerCase()) ?? []
  const value = digits === '' ? Number.NaN : Number(digits) * (units[unit] ?? Number.NaN)
  if (value >= min && value <= max) return value
  throw new UsageError(`${name} is ${text}; it must be ${min} .. ${max} bytes, as 512mb or 1gb, ${remedy}`)
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1000,
  kb: 1024,
  m: 1000 ** 2,
  mb: 1024 ** 2,
  g: 1000 ** 3,
  gb: 1024 ** 3,
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
