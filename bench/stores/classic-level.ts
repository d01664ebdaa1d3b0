/** The npm package classic-level (LevelDB): one batch write with `sync`. */

import type { BatchStore, BatchStoreMaker } from './batch-store.js'

export const classicLevel: BatchStoreMaker = { name: 'npm classic-level', open }

const KEY_BYTES = 8

async function open(dir: string): Promise<BatchStore> {
  const { ClassicLevel } = await import('classic-level')
  const store = new ClassicLevel<Uint8Array, Uint8Array>(dir, { keyEncoding: 'view', valueEncoding: 'view' })
  await store.open()
  let last = 0
  return {
    async append(count, payload) {
      const batch = store.batch()
      for (let left = count; left > 0; left -= 1) batch.put(keyOf((last += 1)), payload)
      await batch.write({ sync: true })
    },
    flushes: () => null,
    close: () => store.close(),
  }
}

function keyOf(index: number): Uint8Array {
  const key = Buffer.alloc(KEY_BYTES)
  key.writeBigUInt64BE(BigInt(index))
  return key
}
