/**
 * What two servers agree on before they talk: each offers the features that it has, both use what both offer, and
 * nothing of a feature is sent to a peer that did not offer it. A name means the same for ever.
 */

/**
 * - `goodbye`: a connection that ends in good order says why, in a frame of its own.
 * - `log-end`: an AppendEntriesResult carries the last index of the log of whoever answers.
 * - `accepted`: it carries the last index that was accepted, where that is not durable yet.
 * - `transfer`: there is TimeoutNow, and a RequestVote says whether the leader has asked for the election.
 * - `channel`: a connection may be a channel, if its hello says so; such a hello requires CHANNEL_REQUIRES.
 */
export const FEATURES = ['goodbye', 'log-end', 'accepted', 'transfer', 'channel'] as const

/** The name of what one side of a connection may have, and the other not. */
export type Feature = (typeof FEATURES)[number]

/** What both sides of one connection have. */
export type FeatureSet = ReadonlySet<Feature>

/** Without these a connection would be taken for one of messages, or end without a word behind what was sent. */
export const CHANNEL_REQUIRES: readonly Feature[] = ['goodbye', 'channel']

/** Of a peer that has said nothing yet. */
export const NO_FEATURES: FeatureSet = new Set()

/** Of what a peer offers, what this version has too. */
export function commonFeatures(offered: readonly string[]): FeatureSet {
  return new Set(FEATURES.filter((name) => offered.includes(name)))
}

/** Of what a peer requires, what this version does not have. */
export function unknownFeatures(required: readonly string[]): readonly string[] {
  const known: readonly string[] = FEATURES
  return required.filter((name) => !known.includes(name))
}

/** In each list of a hello. */
const NAMES_MAX = 64

const NAME = /^[a-z][a-z0-9-]{0,63}$/

/** Whether a value of a hello is a list of names. */
export function areFeatureNames(value: unknown): value is readonly string[] {
  if (!Array.isArray(value) || value.length > NAMES_MAX) return false
  return value.every((name) => typeof name === 'string' && NAME.test(name))
}
