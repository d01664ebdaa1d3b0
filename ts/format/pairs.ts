/**
 * Pairs of text as the value of an extension: UTF-8 of a JSON array of [key, value] pairs, ascending by key, so that
 * they have one encoding.
 */

import type { Extension } from '../types.js'

type Pair = readonly [key: string, value: string]
type Extensions = readonly Extension[] | undefined

/** What the extension of that name says; null when there is none, or a later version has written it otherwise. */
export function pairsIn(extensions: Extensions, name: string): readonly Pair[] | null {
  const value = extensions?.find((extension) => extension.name === name)?.value
  if (value === undefined) return null
  try {
    const pairs: unknown = JSON.parse(new TextDecoder().decode(value))
    return Array.isArray(pairs) && pairs.every(isPair) ? pairs : null
  } catch {
    return null
  }
}

/** What to spread into whoever has these extensions: they with those pairs under that name; nothing leaves nothing. */
export function withPairs(
  extensions: Extensions,
  name: string,
  pairs: readonly Pair[],
): { readonly extensions?: readonly Extension[] } {
  const others = (extensions ?? []).filter((extension) => extension.name !== name)
  const all = pairs.length === 0 ? others : [...others, extensionOf(name, pairs)]
  return all.length === 0 ? {} : { extensions: all }
}

function extensionOf(name: string, pairs: readonly Pair[]): Extension {
  const sorted = pairs.toSorted(([a], [b]) => (a < b ? -1 : 1))
  return { name, isRequired: false, value: new TextEncoder().encode(JSON.stringify(sorted)) }
}

function isPair(pair: unknown): pair is Pair {
  return Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === 'string')
}
