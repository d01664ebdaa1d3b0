/**
 * What operators say of a server besides its address: text to text, such as the address of a service beside it. It
 * travels in the configuration as the extension `meta` of the server, as pairs of text.
 */

import type { Server, ServerMeta } from '../types.js'
import { pairsIn, withPairs } from './pairs.js'

export const META_KEYS_MAX = 16
/** Of all keys and values together, in UTF-8. */
export const META_BYTES_MAX = 1024

const NAME = 'meta'
/** What is said of a server; null when nothing is. Total: what a later version has written otherwise is nothing. */
export function metaOf({ extensions }: Server): ServerMeta | null {
  const pairs = pairsIn(extensions, NAME)
  return pairs === null ? null : Object.freeze(Object.fromEntries(pairs))
}

/** The same server with this said of it, and what other extensions say. */
export function withMeta({ id, address, extensions }: Server, meta: ServerMeta): Server {
  return { id, address, ...withPairs(extensions, NAME, Object.entries(meta)) }
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
