/** The file store against the contract. Its own promises are in the other file-*.test.ts files. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { FileLogStore } from '#balsa/storage/file-log-store.js'
import { fileStore } from '#balsa/storage/index.js'

import { logStoreConformance } from '../conformance/log-store.js'
import { ModelDisk } from './model-disk.js'

const factory = fileStore()

logStoreConformance('the file store', {
  create: (dir) => factory.create(dir),
  makeDir: () => mkdtemp(join(tmpdir(), 'balsa-file-')),
  removeDir: (dir) => rm(dir, { recursive: true, force: true }),
  // The same store over a disk that can do both follows.
  failNextWrite: null,
  crash: null,
}).run()

const disk = new ModelDisk()
let made = 0

logStoreConformance('the file store over a model of a disk', {
  create: (dir) => new FileLogStore(dir, disk),
  async makeDir() {
    made += 1
    return `/model/${made}`
  },
  async removeDir() {},
  failNextWrite() {
    const from = disk.calls
    disk.fateOf = (_, number) => (number === from + 1 ? { error: 'EIO' } : 'done')
  },
  crash: () => disk.restart(() => false),
}).run()
