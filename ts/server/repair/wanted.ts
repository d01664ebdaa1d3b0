/**
 * Entries whose bytes are damaged here, and what proves that others are the same: by the log matching property (5.3) an
 * entry of the same index and term is the same entry in every log of the cluster, committed or not. The terms stand
 * apart from the blocks, and are known although those are damaged.
 */

import type { RaftLog } from '../../core/raft-log.js'
import type { EntryRange } from '../../errors.js'
import { blockLengthAt, decodeBlock } from '../../format/block.js'
import { viewOf } from '../../format/little-endian.js'
import { MalformedBytes } from '../../format/malformed.js'
import { logIndex } from '../../types.js'
import type { Block, LogIndex, TermRun } from '../../types.js'

/** Of a log, what tells whose entries are the same. */
export type TermsOfLog = Pick<RaftLog, 'firstIndex' | 'durableIndex' | 'termRuns' | 'termAt' | 'firstConflict'>

export interface Wanted extends EntryRange {
  /** They cover first .. last, the first of them from `first` on. */
  readonly runs: readonly TermRun[]
}

/** What is still in the log of a damaged block; null when nothing is, or not all of it is durable there. */
export function wantedOf(log: TermsOfLog, { first: from, last }: EntryRange): Wanted | null {
  const first = logIndex(Math.max(from, log.firstIndex))
  if (first > last || last > log.durableIndex) return null
  const runs = log.termRuns
    .filter((run, at) => run.first <= last && (log.termRuns[at + 1]?.first ?? Infinity) > first)
    .map((run) => ({ first: logIndex(Math.max(run.first, first)), term: run.term }))
  return { first, last, runs }
}

/** Whether a log says the same of them. */
export function isSame(a: Wanted, b: Wanted): boolean {
  const [one, other] = [a, b].map(({ runs }) => runs.map(({ first, term }) => `${first}/${term}`).join(' '))
  return a.first === b.first && a.last === b.last && one === other
}

/** The term that an entry of them has. */
export function termOfWanted({ runs }: Wanted, index: LogIndex): number {
  return runs.findLast(({ first }) => first <= index)?.term ?? 0
}

/** Blocks that stand back to back; a text says why they are not what is wanted. */
export function blocksOf(wanted: Wanted, bytes: Uint8Array, verify: (block: Uint8Array) => boolean): Block[] | string {
  const blocks: Block[] = []
  const view = viewOf(bytes)
  let next: number = wanted.first
  try {
    for (let at = 0; at < bytes.length;) {
      const end = at + blockLengthAt(view, at)
      const data = bytes.subarray(at, end)
      if (end > bytes.length || !verify(data)) return `the block for ${next} is damaged`
      const block = decodeBlock(data)
      const flaw = flawOf(wanted, block, next)
      if (flaw !== null) return flaw
      blocks.push(block)
      next = block.last + 1
      at = end
    }
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error
    return `the block for ${next}: ${error.message}`
  }
  return next === wanted.last + 1 ? blocks : `it ends at ${next - 1}, before ${wanted.last}`
}

function flawOf(wanted: Wanted, { first, last, term }: Block, next: number): string | null {
  if (first !== next || last > wanted.last) return `a block ${first} .. ${last} stands where ${next} must follow`
  const [wantedFirst, wantedLast] = [termOfWanted(wanted, first), termOfWanted(wanted, last)]
  if (term === wantedFirst && term === wantedLast) return null
  return `entries ${first} .. ${last} are of term ${term} there, and of ${wantedFirst} .. ${wantedLast} here`
}
