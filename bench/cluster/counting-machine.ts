/** The state machine of a measured server: it counts, and its snapshot has as many bytes as it is told. */

import type { StateMachine } from 'balsa-raft'

const PIECE = Buffer.alloc(64 * 1024, 0x5a)

/** Without bytes it has no snapshots. */
export function countingMachine(snapshotBytes: number): StateMachine<Uint8Array, number, null, number> {
  let count = 0
  const counter: StateMachine<Uint8Array, number, null, number> = {
    apply: (batch) => batch.map(() => (count += 1)),
    query: () => count,
  }
  if (snapshotBytes === 0) return counter
  return {
    ...counter,
    snapshot: () => pieces(count, snapshotBytes),
    restore: async (source) => {
      let read = 0
      for await (const piece of source) {
        if (read === 0) count = Buffer.from(piece).readDoubleLE()
        read += piece.byteLength
      }
      if (read !== snapshotBytes) throw new Error(`a snapshot of ${read} bytes, and not ${snapshotBytes}`)
    },
  }
}

function* pieces(count: number, bytes: number): Generator<Uint8Array> {
  const first = Buffer.alloc(8)
  first.writeDoubleLE(count)
  yield first
  for (let left = bytes - first.length; left > 0; left -= PIECE.length) yield PIECE.subarray(0, left)
}
