/** Balsa's own stores: blocks are packed and sealed as the leader does, then one ticket per batch. */

import { BlockWriter } from '#balsa/format/block.js'
import { nativeStore } from 'balsa-raft/storage'
import type { StoreFactory } from 'balsa-raft/storage'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, StoreOperation } from '#balsa/types.js'
import type { BatchStore, BatchStoreMaker } from './batch-store.js'

const TERM = termOf(1)

export const native: readonly BatchStoreMaker[] = (['lmdb', 'journal'] as const).map((mode) => ({
  name: `balsa ${mode}`,
  open: (dir) => openStore(nativeStore({ mode }), dir),
}))

export async function openStore(factory: StoreFactory, dir: string): Promise<BatchStore> {
  const store = factory.create(dir)
  let wake: () => void = () => {}
  const stored = await store.open(() => wake())
  const writer = new BlockWriter()
  const seal = (arena: Uint8Array, offset: number): number => store.seal(arena, offset)
  let last = stored.lastIndex
  return {
    async append(count, payload) {
      const operations: StoreOperation[] = packBlocks(writer, last + 1, count, payload, seal).map((block) => ({
        type: 'append',
        block,
      }))
      const ticket = store.submit(operations)
      for (let progress = store.poll(); progress.durable < ticket; progress = store.poll()) {
        if (progress.fault !== null) throw progress.fault
        await new Promise<void>((resolve) => (wake = resolve))
      }
      last = logIndex(last + count)
    },
    flushes: () => store.stats().flushes,
    close: () => store.close(),
  }
}

export function packBlocks(
  writer: BlockWriter,
  first: number,
  count: number,
  payload: Uint8Array,
  seal: (arena: Uint8Array, offset: number) => number,
): readonly Block[] {
  const blocks: Block[] = []
  const milliseconds = Date.now()
  writer.begin(logIndex(first), TERM)
  for (let at = 0; at < count; at += 1) {
    if (writer.add('command', milliseconds, payload)) continue
    blocks.push(writer.finish(seal))
    writer.begin(logIndex(first + at), TERM)
    writer.add('command', milliseconds, payload)
  }
  blocks.push(writer.finish(seal))
  return blocks
}
