/** Balsa's store without the addon, driven as the native one is: what a store in plain TypeScript costs. */

import { fileStore } from 'balsa-raft/storage'
import type { BatchStoreMaker } from './batch-store.js'
import { openStore } from './native.js'

export const file: BatchStoreMaker = {
  name: 'balsa file store (TypeScript)',
  open: (dir) => openStore(fileStore(), dir),
}
