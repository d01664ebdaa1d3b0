/** A state machine of numbers whose snapshot has so many bytes for each: many pieces from few entries. */

import { defineStateMachine } from 'balsa-raft'
import type { RaftOptions } from 'balsa-raft'

export type WideMachine = RaftOptions<number, number, void, readonly number[]>['stateMachine']

/** `told` is called with the numbers after each batch; a restore goes on when `restoring` has resolved. */
export function wideMachine(
  bytesEach: number,
  told: (list: readonly number[]) => void = () => {},
  restoring: () => Promise<void> = async () => {},
): WideMachine {
  let list: number[] = []
  return defineStateMachine<number, number, readonly number[]>({
    apply: (batch) => {
      for (const { command } of batch) list.push(command)
      told(list)
      return batch.map(() => list.length)
    },
    query: () => list,
    snapshot: () => pieces([...list], bytesEach),
    restore: async (source) => {
      const restored: number[] = []
      let rest = Buffer.alloc(0)
      for await (const bytes of source) {
        await restoring()
        rest = Buffer.concat([rest, bytes])
        for (; rest.length >= bytesEach; rest = rest.subarray(bytesEach)) {
          const value = rest.readDoubleLE()
          if (!rest.subarray(8, bytesEach).every((byte) => byte === (value & 0xff))) throw new Error(`${value} is torn`)
          restored.push(value)
        }
      }
      if (rest.length > 0) throw new Error(`${rest.length} bytes are left`)
      list = restored
      told(list)
    },
  })
}

function* pieces(list: readonly number[], bytesEach: number): Generator<Uint8Array> {
  for (const value of list) {
    const bytes = Buffer.alloc(bytesEach, value & 0xff)
    bytes.writeDoubleLE(value)
    yield bytes
  }
}
