/**
 * What operators say of a server besides its address: text to text, such as the address of a service beside it. It
 * travels in the configuration as the extension `meta` of the server: UTF-8 of a JSON array of [key, value] pairs,
 * ascending by key, so that it has one encoding.
 */

import type { Extension, Server, ServerMeta } from '../types.js'

export const META_KEYS_MAX = 16
/** Of all keys and values together, in UTF-8. */
export const META_BYTES_MAX = 1024

const NAME = 'meta'
/** What is said of a server; null when nothing is. Total: what a later version has written otherwise is nothing. */
export function metaOf({ extensions }: Server): ServerMeta | null {
  const value = extensions?.find(({ name }) => name === NAME)?.value
  if (value === undefined) return null
  try {
    const pairs: unknown = JSON.parse(new TextDecoder().decode(value))
    if (!Array.isArray(pairs) || !pairs.every(isPair)) return null
    return Object.freeze(Object.fromEntries(pairs))
  } catch {
    return null
  }
}

/** The same server with this said of it, and what other extensions say. */
export function withMeta({ id, address, extensions = [] }: Server, meta: ServerMeta): Server {
  const others = extensions.filter(({ name }) => name !== NAME)
  const all = Object.keys(meta).length === 0 ? others : [...others, extensionOf(meta)]
  return all.length === 0 ? { id, address } : { id, address, extensions: all }
}

/** Why that cannot be said of a server, in words; null when it can. */
export function metaFlaw(meta: unknown): string | null {
  if (typeof meta !== 'object' || meta === null || Array.isArray(meta)) return 'must be an object of text to text'
  const pairs = Object.entries(meta)
  if (pairs.length > META_KEYS_MAX) return `has ${pairs.length} keys; at most ${META_KEYS_MAX} are taken`
  const odd = pairs.find(([key, value]) => key === '' || typeof value !== 'string')
  if (odd !== undefined) return `must be text under each key, none of them empty, and is not under '${odd[0]}'`
  const bytes = new TextEncoder().encode(pairs.flat().join('')).length
  return bytes > META_BYTES_MAX ? `has ${bytes} bytes of keys and values; at most ${META_BYTES_MAX} are taken` : null
}

function extensionOf(meta: ServerMeta): Extension {
  const pairs = Object.entries(meta).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return { name: NAME, isRequired: false, value: new TextEncoder().encode(JSON.stringify(pairs)) }
}

function isPair(pair: unknown): pair is [string, string] {
  return Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === 'string')
}
