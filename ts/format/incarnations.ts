/**
 * Which store votes under the id of a member: the extension `incarnations` of a configuration, pairs of id and
 * incarnation; the incarnation is empty for one that was added and has no vote yet. A member that is not in it is one
 * of the first (core/electorate.ts says what follows).
 */

import type { Configuration, ServerId } from '../types.js'
import { pairsIn, withPairs } from './pairs.js'

const NAME = 'incarnations'
const NONE: ReadonlyMap<ServerId, string> = new Map()

/** Read once for each configuration: elections ask for each voter, and a leader in every turn. */
const read = new WeakMap<Configuration, ReadonlyMap<ServerId, string>>()

/** By id. Total: what a later version has written otherwise names nobody. */
export function incarnationsOf(configuration: Configuration): ReadonlyMap<ServerId, string> {
  if (configuration.extensions === undefined) return NONE
  const known = read.get(configuration)
  if (known !== undefined) return known
  const incarnations = new Map(pairsIn(configuration.extensions, NAME))
  read.set(configuration, incarnations)
  return incarnations
}

/** The same configuration with these stores named, and what other extensions say. */
export function withIncarnations(
  configuration: Configuration,
  incarnations: ReadonlyMap<ServerId, string>,
): Configuration {
  const { extensions, ...members } = configuration
  return { ...members, ...withPairs(extensions, NAME, [...incarnations]) }
}
