/** The snapshot stores against their contract: in memory, in files, and in files over a model of a disk. */

import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'

import { FileSnapshotStore } from '#balsa/snapshot/file-snapshot-store.js'
import { fileSnapshotStore, memorySnapshotStore } from '#balsa/storage/index.js'
import { snapshotStoreConformance } from '#balsa/testing/index.js'

import { ModelDisk } from '../storage/model-disk.js'
import { registerCases } from '../support/register-cases.js'

const memory = memorySnapshotStore()
let made = 0

const memoryTest = suite('the memory snapshot store')

registerCases(
  memoryTest,
  snapshotStoreConformance({
    create: (dir) => memory.create(dir),
    makeDir: async () => `memory-${(made += 1)}`,
    removeDir: async (dir) => memory.wipe(dir),
    flipBit: async (dir, id, bit) => memory.disk(dir).flipBit(id, bit),
    failCall(dir, k) {
      memory.disk(dir).failCall(k)
      return () => memory.disk(dir).heal()
    },
    dieAt: (dir, k) => memory.disk(dir).dieAt(k),
    crash: (dir) => memory.disk(dir).crash(),
    largeBytes: null,
  }),
)

const files = fileSnapshotStore()

const fileTest = suite('the file snapshot store')

registerCases(
  fileTest,
  snapshotStoreConformance({
    create: (dir) => files.create(dir),
    makeDir: () => mkdtemp(join(tmpdir(), 'balsa-snapshots-')),
    removeDir: (dir) => rm(dir, { recursive: true, force: true }),
    flipBit,
    // The same store over a disk that can do these follows.
    failCall: null,
    dieAt: null,
    crash: null,
    largeBytes: 100 * 1024 * 1024,
  }),
)

const disk = new ModelDisk()

const modelTest = suite('the file snapshot store over a model of a disk')

registerCases(
  modelTest,
  snapshotStoreConformance({
    create: (dir) => new FileSnapshotStore(dir, disk),
    makeDir: async () => `/model/${(made += 1)}`,
    removeDir: async () => {},
    async flipBit(dir, id, bit) {
      const path = join(dir, 'snapshots', `${id}.snapshot`)
      const bytes = disk.bytesOf(path)
      bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
      disk.place(path, bytes)
    },
    failCall(_dir, k) {
      const from = disk.calls
      disk.fateOf = (_, number) => (number === from + k ? { error: 'EIO' } : 'done')
      return () => {
        disk.fateOf = () => 'done'
      }
    },
    dieAt(_dir, k) {
      const from = disk.calls
      disk.fateOf = (_, number) => (number === from + k ? 'dead' : 'done')
    },
    crash: () => disk.restart(() => false),
    largeBytes: null,
  }),
)

async function flipBit(dir: string, id: string, bit: number): Promise<void> {
  const file = await open(join(dir, 'snapshots', `${id}.snapshot`), 'r+')
  try {
    const byte = new Uint8Array(1)
    await file.read(byte, 0, 1, bit >>> 3)
    await file.write(
      byte.map((value) => value ^ (1 << (bit & 7))),
      0,
      1,
      bit >>> 3,
    )
  } finally {
    await file.close()
  }
}

memoryTest.run()
fileTest.run()
modelTest.run()
