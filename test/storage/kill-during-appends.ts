/**
 * Kills a process during appends, round after round, and looks at what is left: the same for every store on a real
 * disk.
 */

import * as assert from 'uvu/assert'

import { verifyBlock } from '#balsa/format/block.js'
import type { LogStore, StoredState } from '#balsa/storage/index.js'
import { logIndex } from '#balsa/types.js'

import type { Child } from './lmdb-harness.js'

const ROUNDS = 4

export interface KilledStore {
  /** A child of lmdb-child/cli.ts over the store. */
  readonly child: (args: readonly string[]) => Child
  readonly withStore: <T>(dir: string, look: (store: LogStore, state: StoredState) => Promise<T>) => Promise<T>
  /** What the child does. */
  readonly mode?: 'append' | 'compact'
  /** The first index that is to be found in a log that ends there. */
  readonly firstOf?: (lastIndex: number) => number
}

export async function killDuringAppends(dir: string, killed: KilledStore): Promise<void> {
  const { child: start, withStore, mode = 'append', firstOf = () => 1 } = killed
  let last = 0
  for (let round = 1; round <= ROUNDS; round += 1) {
    const child = start([mode, dir, '0', String(2 ** round)])
    await child.line('some appends', (line) => (line.durable ?? 0) >= last + 40)
    child.process.kill('SIGKILL')
    assert.is(await child.end(), 'SIGKILL')
    const { durable } = child
    last = await withStore(dir, async (store, state) => {
      assert.ok(state.lastIndex >= durable, `${state.lastIndex} is below ${durable}, which was reported durable`)
      assert.is(state.hardState.commitIndex, state.lastIndex, 'a ticket is there in part')
      assert.is(state.bootCounter, 2 * round)
      assert.is(state.firstIndex, firstOf(state.lastIndex), 'a compaction is there in part')
      for (let next: number = state.firstIndex; next <= state.lastIndex;) {
        for (const block of await store.read(logIndex(next), logIndex(state.lastIndex + 1), 10_000)) {
          assert.is(block.first, next)
          assert.ok(verifyBlock(block.data))
          next = block.last + 1
        }
      }
      return state.lastIndex
    })
  }
}
