/**
 * How a connection reads, as READONLY and READWRITE have said it:
 *
 * - `leader`: linearizable, by the leader, or here where this server forwards.
 * - `replica`: as cluster clients mean READONLY: a follower answers with what it has, once it holds what was
 *   acknowledged before its leader began; the leader as for `leader`.
 * - all others: by the server that is asked, whoever leads, with what docs/any-server.md says of that consistency.
 *
 * Whatever it is, a connection reads what it wrote.
 */

import type { QueryOptions } from 'balsa-raft'

export type Consistency = NonNullable<QueryOptions['consistency']>
export type ReadMode = 'leader' | 'replica' | Consistency

/** Whether a read has then seen all that was acknowledged, to anybody, before it came. */
export function isCurrent(consistency: Consistency): boolean {
  return consistency === 'linearizable' || consistency === 'lease'
}

/**
 * What a read must have seen. `replica` asks for nothing more when it is its turn. `missingIndex`: the connection wrote
 * up to there, and this server is not so far; 0: it is.
 */
export function consistencyOf(mode: ReadMode, missingIndex: number): Consistency {
  if (mode === 'leader' || mode === 'linearizable') return 'linearizable'
  if (mode === 'lease') return mode
  if (missingIndex === 0) return mode === 'replica' ? 'stale' : mode
  if (typeof mode === 'string') return { minIndex: missingIndex }
  return 'minIndex' in mode ? { minIndex: Math.max(mode.minIndex, missingIndex) } : 'linearizable'
}
