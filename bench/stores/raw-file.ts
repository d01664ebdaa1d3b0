/**
 * The physical limit: the bytes of the same blocks, sealed beforehand, written over a file that is all there, and
 * flushed.
 */

import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { BlockWriter, sealBlock } from '#balsa/format/block.js'
import type { BatchStore, BatchStoreMaker } from './batch-store.js'
import { packBlocks } from './native.js'

/** Written round and round; larger than any batch. */
const FILE_BYTES = 64 * 2 ** 20
const CHUNK_BYTES = 2 ** 20

export const rawFile: BatchStoreMaker = { name: 'raw write + fdatasync', open }

async function open(dir: string): Promise<BatchStore> {
  const file = openSync(join(dir, 'raw'), 'w')
  const chunk = Buffer.alloc(CHUNK_BYTES, 0x62)
  for (let at = 0; at < FILE_BYTES; at += CHUNK_BYTES) writeSync(file, chunk, 0, CHUNK_BYTES, at)
  fdatasyncSync(file)
  const sealed = new Map<string, Uint8Array>()
  let position = 0
  let flushes = 0
  return {
    async append(count, payload) {
      const shape = `${count} of ${payload.length}`
      const bytes = sealed.get(shape) ?? blocksOf(count, payload)
      sealed.set(shape, bytes)
      if (position + bytes.length > FILE_BYTES) position = 0
      for (let done = 0; done < bytes.length;) {
        done += writeSync(file, bytes, done, bytes.length - done, position + done)
      }
      fdatasyncSync(file)
      position += bytes.length
      flushes += 1
    },
    flushes: () => flushes,
    async close() {
      closeSync(file)
    },
  }
}

function blocksOf(count: number, payload: Uint8Array): Uint8Array {
  return Buffer.concat(packBlocks(new BlockWriter(), 1, count, payload, sealBlock).map(({ data }) => data))
}
