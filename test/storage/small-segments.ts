/** A file store on the real disk that begins segments often, and compactions that let it remove them. */

import { nodeDisk } from '#balsa/storage/file/disk.js'
import { FileLogStore } from '#balsa/storage/file/file-log-store.js'
import type { StoreFactory } from '#balsa/storage/index.js'
import type { StoreOperation } from '#balsa/types.js'

import { compact } from './file-harness.js'

/** Entries that `compactToLast` keeps, at most. */
export const KEPT = 20
const SEGMENT_BYTES = 8192

export const smallSegments: StoreFactory = {
  name: 'file',
  create: (dir) => new FileLogStore(dir, nodeDisk, SEGMENT_BYTES),
}

/** Of a log of term 1 that ends at `index`, behind a snapshot of all of it. */
export function compactToLast(index: number): StoreOperation {
  const first = Math.max(1, index + 1 - KEPT)
  return compact(first, first === 1 ? 0 : 1, { index, term: 1 })
}
