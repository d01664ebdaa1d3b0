/**
 * Directories of each format version that was ever written, as a process that was killed left them. Each later version
 * opens them, in every mode that it has for them, and finds what they held.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { fileStore, nativeStore } from '#balsa/storage/index.js'
import type { StoreFactory } from '#balsa/storage/index.js'

import { inDirectory, withStore } from './lmdb-harness.js'
import { tell, unpack } from './directories/stored.js'
import type { DirectoryFile } from './directories/stored.js'

const test = suite('directories of every version')

// From build/test/storage back to the source tree.
const kept = fileURLToPath(new URL('../../../test/storage/directories', import.meta.url))
const names = readdirSync(kept).filter((name) => name.endsWith('.json'))

const native = [nativeStore({ mode: 'lmdb' }), nativeStore({ mode: 'journal' })]

function openersOf(engine: string): readonly StoreFactory[] {
  return engine === 'file' ? [fileStore()] : native
}

for (const name of names) {
  const { bootCounter, incarnation, state, files } = JSON.parse(readFileSync(join(kept, name), 'utf8')) as DirectoryFile
  const [engine = '', version = ''] = name.split(/[-.]/)
  for (const opener of openersOf(engine)) {
    test(`${engine} ${version} is opened by ${opener.name}, again, and by each of its modes in turn`, async () => {
      await inDirectory(async (dir) => {
        unpack(files, dir)
        assert.is(await readFile(join(dir, 'FORMAT'), 'utf8'), `balsa-store ${version} ${engine}\n`)
        const inspected = await opener.create(dir).inspect?.()
        assert.is(inspected?.bootCounter, bootCounter)
        let boots = bootCounter
        for (const next of [opener, opener, ...openersOf(engine), opener]) {
          boots += 1
          await withStore(
            dir,
            async (store, opened) => {
              assert.is(opened.bootCounter, boots)
              assert.is(opened.incarnation, incarnation)
              assert.equal(await tell(store, opened), state)
            },
            next,
          )
        }
      })
    })
  }
}

test('of the journal the last entries are in no other file', async () => {
  await inDirectory(async (dir) => {
    const { files } = JSON.parse(readFileSync(join(kept, 'journal-1.json'), 'utf8')) as DirectoryFile
    unpack(files, dir)
    for (const name of Object.keys(files).filter((each) => each.startsWith('journal-'))) {
      const { length } = readFileSync(join(dir, name))
      writeFileSync(join(dir, name), new Uint8Array(length))
    }
    await withStore(dir, async (_, { lastIndex }) => assert.is(lastIndex, 8), native[1])
  })
})

test('there is one of each format that this version writes', async () => {
  for (const { name, create } of [...native, fileStore()]) {
    await inDirectory(async (dir) => {
      await withStore(dir, async () => {}, { name, create })
      const [, version = '', engine = ''] = (await readFile(join(dir, 'FORMAT'), 'utf8')).trim().split(' ')
      assert.ok(names.includes(`${engine}-${version}.json`), `${engine} ${version}`)
    })
  }
})

test.run()
