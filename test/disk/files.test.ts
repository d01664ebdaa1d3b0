/** The real filesystem under the stores: what a model of a disk takes for granted. */

import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
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

/** What Yarn's Plug and Play does: its handles throw where Node's flush. Says what happens, in which order. */
const PLUG_AND_PLAY = `
const fs = require('node:fs')
const { fdatasync, fsync } = fs
process.versions.pnp = '3'
fs.fsync = (fd, done) => fsync(fd, (error) => (console.log('directory'), done(error)))
fs.fdatasync = (fd, done) => setImmediate(() => fdatasync(fd, (error) => (console.log('flushed'), done(error))))
const { open } = fs.promises
fs.promises.open = async (...args) => {
  const handle = await open(...args)
  const { close } = handle
  handle.sync = handle.datasync = () => { throw new Error('Method not implemented.') }
  handle.close = () => (console.log('closed'), close())
  return handle
}
require('node:module').syncBuiltinESMExports()
`

test('where handles cannot flush it is done by number, and no file is closed while it is flushed', async ({ dir }) => {
  await writeFile(join(dir, 'pnp.cjs'), PLUG_AND_PLAY)
  const script = `
    const { nodeFiles } = await import('${pathToFileURL(join(process.cwd(), 'dist/disk/files.js')).href}')
    const file = await nodeFiles.createFile('${join(dir, 'a')}')
    const flushed = file.datasync()
    await file.close()
    await flushed
    await nodeFiles.syncDirectory('${dir}')
  `
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--require', join(dir, 'pnp.cjs'), '--input-type=module', '-e', script],
    { encoding: 'utf8' },
  )
  assert.is(stdout, 'flushed\nclosed\ndirectory\nclosed\n', stderr)
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
