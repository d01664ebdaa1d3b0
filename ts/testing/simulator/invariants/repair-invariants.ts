/**
 * Invariant 33: what stands in the place of a damaged block are the entries that were sealed there, and nothing else on
 * that disk has changed.
 */

import type { EntryRange } from '../../../errors.js'
import type { HardState, LogIndex, Block, SnapshotMeta } from '../../../types.js'
import type { Truth } from '../../invariants/truth.js'
import { hold } from '../../invariants/violation.js'
import type { ServerView } from '../../observer.js'

/** A disk right before a repair. */
export interface DiskBefore {
  readonly hardState: HardState
  readonly snapshot: SnapshotMeta | null
  readonly firstIndex: LogIndex
  readonly lastIndex: LogIndex
  readonly blocks: readonly Block[]
}

export function checkRepair(
  truth: Truth,
  { id, disk }: ServerView,
  { first, last }: EntryRange,
  was: DiskBefore,
): void {
  const is = disk.durable
  const where = `${id} repairs ${first} .. ${last}`
  const isSame =
    is.firstIndex === was.firstIndex &&
    is.lastIndex === was.lastIndex &&
    is.hardState === was.hardState &&
    is.snapshot === was.snapshot
  hold(isSame, 33, () => `${where}: its log is ${is.firstIndex} .. ${is.lastIndex} now, or its vote another`)
  const isIn = (block: Block): boolean => block.last >= first && block.first <= last
  const replaced = was.blocks.filter(isIn)
  const [damaged] = replaced
  hold(replaced.length === 1 && damaged?.last === last, 33, () => `${where}, which is not one block there`)
  const others = (blocks: readonly Block[]): readonly Block[] => blocks.filter((block) => !isIn(block))
  const [before, after] = [others(was.blocks), others(is.blocks)]
  const isKept = before.length === after.length && before.every((block, at) => block === after[at])
  hold(isKept, 33, () => `${where}: others of its blocks have changed`)
  let next: number = first
  for (const block of is.blocks.filter(isIn)) {
    const expected = next
    hold(block.first === expected, 33, () => `${where}: ${block.first} stands where ${expected} must follow`)
    hold(block.term === damaged?.term, 33, () => `${where}: term ${block.term} in the place of ${damaged?.term}`)
    hold(truth.isKnown(block), 33, () => `${where}: ${block.first} .. ${block.last} is not what was sealed there`)
    next = block.last + 1
  }
  hold(next === last + 1, 33, () => `${where}: it ends at ${next - 1}`)
}
