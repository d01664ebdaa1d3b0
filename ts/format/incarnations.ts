/**
 * Which store votes under the id of a member: the extension `incarnations` of a configuration, UTF-8 of a JSON array of
 * [id, incarnation] pairs, ascending by id, so that it has one encoding; the incarnation is empty for one that was
 * added and has no vote yet. A member that is not in it is one of the first (core/electorate.ts says what follows).
 */

import type { Configuration, Extension, ServerId } from '../types.js'

const NAME = 'incarnations'
const NONE: ReadonlyMap<ServerId, string> = new Map()

/** Read once for each configuration: elections ask for each voter, and a leader in every turn. */
const read = new WeakMap<Configuration, ReadonlyMap<ServerId, string>>()

/** By id. Total: what a later version has written otherwise names nobody. */
export function incarnationsOf(configuration: Configuration): ReadonlyMap<ServerId, string> {
  const value = configuration.extensions?.find(({ name }) => name === NAME)?.value
  if (value === undefined) return NONE
  const known = read.get(configuration)
  if (known !== undefined) return known
  const incarnations = decode(value)
  read.set(configuration, incarnations)
  return incarnations
}

/** The same configuration with these stores named, and what other extensions say. */
export function withIncarnations(
  configuration: Configuration,
  incarnations: ReadonlyMap<ServerId, string>,
): Configuration {
  const { extensions = [], ...members } = configuration
  const others = extensions.filter(({ name }) => name !== NAME)
  const all = incarnations.size === 0 ? others : [...others, extensionOf(incarnations)]
  return all.length === 0 ? members : { ...members, extensions: all }
}

function extensionOf(incarnations: ReadonlyMap<ServerId, string>): Extension {
  const pairs = [...incarnations].toSorted(([a], [b]) => (a < b ? -1 : 1))
  return { name: NAME, isRequired: false, value: new TextEncoder().encode(JSON.stringify(pairs)) }
}

function decode(value: Uint8Array): ReadonlyMap<ServerId, string> {
  try {
    const pairs: unknown = JSON.parse(new TextDecoder().decode(value))
    return Array.isArray(pairs) && pairs.every(isPair) ? new Map(pairs) : NONE
  } catch {
    return NONE
  }
}

function isPair(pair: unknown): pair is [ServerId, string] {
  return Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === 'string')
}
