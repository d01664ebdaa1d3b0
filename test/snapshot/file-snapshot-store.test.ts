/** The store of snapshots in files: what else lies in its directory, and what a disk may do beside losing power. */

import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { nodeFiles } from '#balsa/disk/files.js'
import type { DiskFile, Files } from '#balsa/disk/files.js'
import { FileSnapshotStore } from '#balsa/snapshot/file-snapshot-store.js'
import type { SnapshotStore, StoredSnapshot } from '#balsa/snapshot/snapshot-store.js'
import { fileSnapshotStore } from '#balsa/storage/index.js'
import { bytes } from '#balsa/testing/conformance/blocks.js'
import { headerOf, snapshotBytes } from '#balsa/testing/conformance/snapshots.js'

import { refusal } from '../support/failure.js'
import { ModelDisk } from '../storage/model-disk.js'

interface Folder {
  /** Of the server. */
  readonly dir: string
  readonly snapshots: string
}

const test = suite<Folder>('the file snapshot store: files and disks')

test.before.each(async (folder) => {
  const dir = await mkdtemp(join(tmpdir(), 'balsa-snapshots-'))
  Object.assign(folder, { dir, snapshots: join(dir, 'snapshots') })
})

test.after.each(({ dir }) => rm(dir, { recursive: true, force: true }))

test('files of other names are left alone, and are no snapshots', async ({ dir, snapshots }) => {
  await mkdir(snapshots)
  const { id } = headerOf(1)
  const strange = ['README', `${id}.snapshot.bak`, `${id}.SNAPSHOT`, 'part', `x${id}.part`, '.snapshot']
  for (const name of strange) await writeFile(join(snapshots, name), 'mine')
  const store = fileSnapshotStore().create(dir)
  assert.equal(await store.open(), { whole: [], flawed: [] })
  await make(store, 1)
  await store.remove([headerOf(1).id])
  await store.close()
  assert.equal((await readdir(snapshots)).toSorted(), strange.toSorted())
  for (const name of strange) assert.is(await readFile(join(snapshots, name), 'utf8'), 'mine')
})

test('N4 H1-24 what was cut off is removed by open', async ({ dir, snapshots }) => {
  await mkdir(snapshots)
  await writeFile(join(snapshots, `${headerOf(1).id}.part`), snapshotBytes(headerOf(1), [bytes(10)]))
  const store = fileSnapshotStore().create(dir)
  assert.equal(await store.open(), { whole: [], flawed: [] })
  await store.close()
  assert.equal(await readdir(snapshots), [])
})

test('N15 a snapshot that is cut off at any byte, or has grown, is told as damaged, and so is one of another id', async ({
  dir,
  snapshots,
}) => {
  await mkdir(snapshots)
  const { id } = headerOf(1)
  const path = join(snapshots, `${id}.snapshot`)
  const file = snapshotBytes(headerOf(1), [bytes(20), bytes(9)])
  const cuts = Array.from({ length: file.length }, (_, length) => file.subarray(0, length))
  const grown = [new Uint8Array([...file, 0]), new Uint8Array([...file, ...file])]
  for (const damaged of [...cuts, ...grown, snapshotBytes(headerOf(2), [bytes(20)])]) {
    await writeFile(path, damaged)
    const store = fileSnapshotStore().create(dir)
    const { whole, flawed } = await store.open()
    assert.is(whole.length, 0, `${damaged.length} bytes`)
    assert.equal(
      flawed.map((one) => [one.id, one.flaw.code]),
      [[id, 'ERR_RAFT_SNAPSHOT_CORRUPT']],
      `${damaged.length} bytes`,
    )
    const error = await refusal(store.verify(id), 'ERR_RAFT_SNAPSHOT_CORRUPT')
    assert.ok(error.message.includes(path), error.message)
    await store.close()
  }
})

test('an intact copy that is put back under its name is accepted', async ({ dir, snapshots }) => {
  const store = fileSnapshotStore().create(dir)
  await store.open()
  const { header } = await make(store, 1)
  const path = join(snapshots, `${header.id}.snapshot`)
  const copy = await readFile(path)
  await truncate(path, 100)
  await refusal(store.verify(header.id), 'ERR_RAFT_SNAPSHOT_CORRUPT')
  await writeFile(path, copy)
  await store.verify(header.id)
  await store.close()
})

test('what was received of a file that is gone, or shorter, is received anew', async ({ dir, snapshots }) => {
  const store = fileSnapshotStore().create(dir)
  await store.open()
  const file = snapshotBytes(headerOf(1), [bytes(500), bytes(500)])
  const path = join(snapshots, `${headerOf(1).id}.part`)
  for (const harm of [() => rm(path), () => truncate(path, 300)]) {
    const first = await store.receive(headerOf(1), file.length)
    await first.write(file.subarray(0, 700))
    await first.suspend()
    await harm()
    const second = await store.receive(headerOf(1), file.length)
    assert.is(second.received, 0)
    await second.abort()
  }
  await store.close()
})

test('two intakes of one snapshot that begin at once do not share it', async ({ dir }) => {
  const store = fileSnapshotStore().create(dir)
  await store.open()
  const file = snapshotBytes(headerOf(1), [bytes(500)])
  const begun = await store.receive(headerOf(1), file.length)
  await begun.write(file.subarray(0, 100))
  const [one, other] = await Promise.all([1, 2].map(() => store.receive(headerOf(1), file.length)))
  assert.ok(one !== undefined && other !== undefined)
  await refusal(one.write(file.subarray(100)), 'ERR_RAFT_SNAPSHOT_FAILED')
  assert.is(other.received, 100)
  await other.write(file.subarray(100))
  await other.finish()
  await store.verify(headerOf(1).id)
  await store.close()
})

test('a folder that cannot be used is named with the reason', async ({ dir, snapshots }) => {
  await writeFile(snapshots, 'a file')
  const store = fileSnapshotStore().create(dir)
  const error = await refusal(store.open(), 'ERR_RAFT_SNAPSHOT_FAILED')
  assert.ok(error.message.includes(snapshots) && /EEXIST|ENOTDIR/.test(error.message), error.message)
  await refusal(store.create(headerOf(1)), 'ERR_RAFT_CLOSED')
  await store.close()
})

test('a snapshot that cannot be read is told as such, and is in the way of no other', async ({ dir, snapshots }) => {
  const store = fileSnapshotStore().create(dir)
  await store.open()
  const { header } = await make(store, 1)
  await store.close()
  await mkdir(join(snapshots, `${headerOf(2).id}.snapshot`))
  const again = fileSnapshotStore().create(dir)
  const { whole, flawed } = await again.open()
  assert.equal([whole[0]?.header, flawed[0]?.id], [header, headerOf(2).id])
  assert.is(flawed[0]?.flaw.code, 'ERR_RAFT_SNAPSHOT_FAILED')
  await again.close()
})

test('a full disk is named as such, what was written gives its room back, and then it goes on', async () => {
  const disk = new ModelDisk()
  const store = await opened(disk)
  const old = await make(store, 1)
  for (const code of ['ENOSPC', 'EDQUOT']) {
    let writes = 0
    disk.fateOf = (call) => (call === 'write' && (writes += 1) > 2 ? { error: code } : 'done')
    const sink = await store.create(headerOf(2))
    const error = await refusal(writeMany(sink, 10), 'ERR_RAFT_SNAPSHOT_FAILED')
    assert.match(error.message, /disk is full: free space/)
    assert.match(error.message, code)
    assert.equal(await disk.list('/model/snapshots'), [`${old.header.id}.snapshot`])
    disk.fateOf = () => 'done'
    await store.verify(old.header.id)
  }
  await make(store, 2)
  await store.close()
})

test('a write that takes less than it was given is gone on with', async () => {
  const disk = new ModelDisk()
  const store = await opened(disk)
  let isShort = false
  disk.fateOf = (call) => {
    isShort = call === 'write' && !isShort
    return isShort ? { error: 'EINTR', afterBytes: 1000 } : 'done'
  }
  const { header } = await make(store, 1)
  await store.verify(header.id)
  await store.close()
})

test('abort and close in the middle of a write end it with their reason, and nothing is left', async () => {
  const disk = new ModelDisk()
  const store = await opened(disk)
  const sink = await store.create(headerOf(1))
  const writing = refusal(writeMany(sink, 50), 'ERR_RAFT_SNAPSHOT_FAILED')
  await sink.abort()
  assert.match((await writing).message, 'was aborted')
  const other = await store.create(headerOf(2))
  const closing = refusal(writeMany(other, 50), 'ERR_RAFT_CLOSED')
  await store.close()
  await closing
  assert.equal(await disk.list('/model/snapshots'), [])
})

test('what is written is flushed on the way, so that no flush is long', async ({ dir }) => {
  const gaps = [0]
  const watched = (file: DiskFile): DiskFile => ({
    write(data, position) {
      gaps[gaps.length - 1] = (gaps.at(-1) ?? 0) + data.length
      return file.write(data, position)
    },
    datasync() {
      gaps.push(0)
      return file.datasync()
    },
    read: (into, position) => file.read(into, position),
    truncate: (length) => file.truncate(length),
    size: () => file.size(),
    close: () => file.close(),
  })
  const files: Files = { ...nodeFiles, createFile: async (path) => watched(await nodeFiles.createFile(path)) }
  const store = new FileSnapshotStore(dir, files)
  await store.open()
  const sink = await store.create(headerOf(1))
  for (let n = 0; n < 20; n += 1) await sink.write(new Uint8Array(1024 * 1024))
  await sink.finish()
  assert.ok(gaps.length >= 4 && Math.max(...gaps) <= 9 * 1024 * 1024, String(gaps))
  await store.close()
})

test('D8 each open flushes the directory and its parent: an earlier one may have been killed before it did', async ({
  dir,
  snapshots,
}) => {
  const flushed: string[] = []
  const files: Files = {
    ...nodeFiles,
    syncDirectory(path) {
      flushed.push(path)
      return nodeFiles.syncDirectory(path)
    },
  }
  await mkdir(snapshots)
  const store = new FileSnapshotStore(dir, files)
  await store.open()
  assert.equal(flushed, [dir, snapshots])
  await store.close()
})

test('an id that is none never becomes a path', async () => {
  const store = await opened(new ModelDisk())
  for (const id of ['../../log', '', 'A'.repeat(32), `${headerOf(1).id}/x`]) {
    assert.match(
      String(await store.readInto(id, 0, new Uint8Array(1)).catch((error: unknown) => error)),
      'is not the id of a snapshot',
    )
  }
  await store.close()
})

async function opened(disk: ModelDisk): Promise<FileSnapshotStore> {
  const store = new FileSnapshotStore('/model', disk)
  await store.open()
  return store
}

async function make(store: SnapshotStore, n: number): Promise<StoredSnapshot> {
  const sink = await store.create(headerOf(n))
  await sink.write(bytes(100_000, n))
  return sink.finish()
}

async function writeMany(sink: { write(data: Uint8Array): Promise<void> }, times: number): Promise<void> {
  for (let n = 0; n < times; n += 1) await sink.write(bytes(70_000))
}

test.run()
