/**
 * What a store throws, rejects with or tells as its fault, as an error of the library: a store of a user, or a disk
 * that fails in a way that nobody foresaw, may bring anything.
 */

import { AssertionFailure, RaftError } from '../errors.js'
import { textOf } from '../foreign-values.js'

/** `doing`: what the store failed to do. A broken invariant of our own is thrown on. */
export function storeFault(doing: string, cause: unknown): RaftError {
  if (cause instanceof AssertionFailure) throw cause
  if (cause instanceof RaftError) return cause
  const message = `the store failed to ${doing}: ${textOf(cause)}. The outcome of what was not yet durable is unknown. Check the disk, then start again`
  return new RaftError('ERR_RAFT_STORE_POISONED', message, { outcome: 'unknown', cause })
}
