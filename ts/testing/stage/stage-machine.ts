/** The state machine of one process on a stage: it remembers all entries that it was given, in their order. */

import type { ApplyRange } from '../../core/index.js'
import { assert } from '../../errors.js'
import { logIndex, termOf } from '../../types.js'
import type { AppliedCommand } from '../observer.js'
import { entriesOf } from './blocks.js'
import type { StageEntry } from './blocks.js'

export class StageMachine {
  applied: StageEntry[] = []
  /** Depends on everything that was applied, and on its order. */
  hash = 0

  /** Holds what a snapshot holds, and nothing else. */
  restore(applied: readonly StageEntry[]): void {
    this.applied = [...applied]
    this.hash = 0
    for (const { payload } of applied) this.hash = (Math.imul(this.hash, 31) + payload) | 0
  }

  /** Answers with what was in the range; `stored` reads from the disk what the range does not hold itself. */
  apply(
    { first, last, blocks }: ApplyRange,
    stored: (first: number, last: number) => readonly StageEntry[],
  ): readonly AppliedCommand[] {
    const { applied } = this
    assert(first === applied.length + 1, `state machine: ${first} is to be applied after ${applied.length}`)
    if (blocks !== null) assert(blocks[0]?.first === first, `state machine: blocks do not begin at ${first}`)
    const count = last - first + 1
    const entries = blocks?.flatMap(entriesOf).slice(0, count) ?? stored(first, last)
    assert(entries.length === count, `state machine: ${first} .. ${last} is to be applied, ${entries.length} are there`)
    return entries.map((entry, at) => {
      applied.push(entry)
      this.hash = (Math.imul(this.hash, 31) + entry.payload) | 0
      return { index: logIndex(first + at), term: termOf(entry.term), id: entry.payload }
    })
  }
}
