/** The real filesystem under the stores: what a model of a disk takes for granted. */

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { nodeFiles, writeAll } from '#balsa/disk/files.js'

const test = suite<{ readonly dir: string }>('files of the system')

test.before.each(async (folder) => {
  Object.assign(folder, { dir: await mkdtemp(join(tmpdir(), 'balsa-files-')) })
})

test.after.each(({ dir }) => rm(dir, { recursive: true, force: true }))

test('D8 each directory that got a new entry is flushed when directories are made, and none when they are there', async ({
  dir,
}) => {
  const { syncDirectory } = nodeFiles
  const flushed: string[] = []
  nodeFiles.syncDirectory = async (path) => {
    flushed.push(path)
    await syncDirectory(path)
  }
  try {
    await nodeFiles.makeDirectory(join(dir, 'a', 'b'))
    assert.equal(flushed.toSorted(), [dir, join(dir, 'a')])
    await nodeFiles.makeDirectory(join(dir, 'a', 'b'))
    assert.is(flushed.length, 2)
  } finally {
    nodeFiles.syncDirectory = syncDirectory
  }
})

test('a file that is renamed over or removed is read on by whoever has it open', async ({ dir }) => {
  const [path, other] = [join(dir, 'a'), join(dir, 'b')]
  for (const name of [path, other]) {
    const file = await nodeFiles.createFile(name)
    await writeAll(file, new TextEncoder().encode(name), 0)
    await file.close()
  }
  const open = await nodeFiles.openFile(path)
  assert.ok(open !== null)
  try {
    for (const change of [() => nodeFiles.rename(other, path), () => nodeFiles.remove(path)]) {
      await change()
      const into = new Uint8Array(path.length)
      await open.read(into, 0)
      assert.is(new TextDecoder().decode(into), path)
    }
  } finally {
    await open.close()
  }
  assert.equal(await readdir(dir), [])
  assert.is(await nodeFiles.openFile(path), null)
  await nodeFiles.remove(path)
})

test.run()
