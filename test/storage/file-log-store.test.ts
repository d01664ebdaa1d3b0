/** The file store against the contract. Its own promises are in the other file-*.test.ts files. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'

import { FileLogStore } from '#balsa/storage/file/file-log-store.js'
import { SEGMENT_BYTES } from '#balsa/storage/file/segments.js'
import { fileStore } from '#balsa/storage/index.js'

import { logStoreConformance } from '#balsa/testing/index.js'
import { registerCases } from '../support/register-cases.js'
import { SMALL_SEGMENT } from './file-harness.js'
import { ModelDisk } from './model-disk.js'

const factory = fileStore()

const test = suite('the file store')

registerCases(
  test,
  logStoreConformance({
    create: (dir) => factory.create(dir),
    makeDir: () => mkdtemp(join(tmpdir(), 'balsa-file-')),
    removeDir: (dir) => rm(dir, { recursive: true, force: true }),
    // The same store over a disk that can do both follows.
    failNextWrite: null,
    crash: null,
  }),
)

for (const segmentBytes of [SEGMENT_BYTES, SMALL_SEGMENT, 1]) testOverModel(segmentBytes)

function testOverModel(segmentBytes: number): void {
  const disk = new ModelDisk()
  let made = 0
  const modelTest = suite(`the file store over a model of a disk, in segments of ${segmentBytes} bytes`)
  registerCases(
    modelTest,
    logStoreConformance({
      create: (dir) => new FileLogStore(dir, disk, segmentBytes),
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
    }),
  )
  modelTest.run()
}

test.run()
