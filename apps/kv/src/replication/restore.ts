/**
 * Makes the data set what a snapshot says, in slices: between two the event loop goes on. Meanwhile, and for ever when
 * this fails, the data set is empty and says that it is being restored.
 */

import type { DataSet } from '../data-set/data-set.js'
import { Restoration } from '../data-set/restoration.js'
import { SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECE_STEPS } from '../limits.js'
import { nextTurn, type Pace } from './pace.js'
import { encodedBytes, SnapshotReader } from './snapshot-format.js'

/** `index`: the last entry that the snapshot covers. Rejects with what is wrong, in words. */
export async function restoreDataSet(
  data: DataSet,
  source: AsyncIterable<Uint8Array>,
  index: number,
  pace: Pace | null,
): Promise<void> {
  data.beginRestore()
  const reader = new SnapshotReader()
  let read = 0
  let restoration: Restoration | null = null
  let bytesInTurn = 0
  try {
    for await (const piece of source) {
      reader.push(piece)
      read += piece.length
      restoration ??= begin(reader, index)
      if (restoration === null) continue
      for (let item = reader.item(); item !== null; item = reader.item()) {
        restoration.add(item)
        bytesInTurn += encodedBytes(item)
        if (bytesInTurn < SNAPSHOT_PIECE_BYTES) continue
        await nextTurn(pace)
        bytesInTurn = 0
      }
    }
    if (restoration === null) throw new Error('it ends before it has begun')
    if (reader.left > 0) throw new Error('it ends amid a key')
    while (restoration.settle(SNAPSHOT_PIECE_STEPS)) await nextTurn(pace)
    data.restored(restoration)
  } catch (error) {
    const at = `at byte ${read - reader.left} of ${read} that were read`
    const flaw = error instanceof Error ? error.message : String(error)
    throw new Error(`the snapshot up to entry ${index} cannot be restored, ${at}: ${flaw}`, { cause: error })
  }
}

function begin(reader: SnapshotReader, index: number): Restoration | null {
  const facts = reader.head()
  if (facts === null) return null
  if (facts.index > index) throw new Error(`it holds entry ${facts.index}, after the last one that it covers`)
  return new Restoration(facts)
}
