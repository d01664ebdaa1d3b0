/** The npm package lmdb: one write transaction per batch, flushed before it counts as done (`overlappingSync` off). */

import type { BatchStore, BatchStoreMaker } from './batch-store.js'

export const lmdb: BatchStoreMaker = { name: 'npm lmdb', open }

async function open(dir: string): Promise<BatchStore> {
  const library = await import('lmdb')
  const store = library.open<Uint8Array, number>({ path: dir, encoding: 'binary', overlappingSync: false })
  let last = 0
  return {
    async append(count, payload) {
      await store.transaction(() => {
        for (let left = count; left > 0; left -= 1) void store.put((last += 1), payload)
      })
    },
    flushes: () => null,
    close: () => store.close(),
  }
}
