/**
 * What the file store refuses to open: typed errors that name what was found and the remedy, and nothing that was there
 * is touched.
 */

import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure } from '#balsa/errors.js'
import { fileStore, nativeStore } from '#balsa/storage/index.js'
import type { StoreFactory } from '#balsa/storage/index.js'
import { logIndex } from '#balsa/types.js'

import { append, blockOf, hardState } from '#balsa/testing/conformance/blocks.js'
import { refusal } from '../support/failure.js'
import { compact, heldBy, withFile } from './file-harness.js'
import { inDirectory, withStore } from './lmdb-harness.js'
import { ModelDisk } from './model-disk.js'

const test = suite('file store: what it refuses')

test('the directory of the other store is refused by either, with the name of the one that wrote it, and stays as it is', async () => {
  for (const [writer, reader, names] of [
    [nativeStore({ mode: 'lmdb' }), fileStore(), ['lmdb', 'nativeStore()']],
    [nativeStore({ mode: 'journal' }), fileStore(), ['journal', 'nativeStore()']],
    [fileStore(), nativeStore(), ['file', 'fileStore()']],
  ] as const) {
    await inDirectory(async (dir) => {
      await openAndClose(writer, dir)
      const before = await contentsOf(dir)
      const error = await refusal(openAndClose(reader, dir), 'ERR_RAFT_STORE_FORMAT')
      for (const text of [dir, ...names]) assert.match(error.message, text)
      assert.equal(await contentsOf(dir), before)
      await openAndClose(writer, dir)
    })
  }
})

test('a directory that was begun by the other store and left is used, or refused by name', async () => {
  await inDirectory(async (dir) => {
    await writeFile(join(dir, 'FORMAT.new'), 'balsa-store 1 lmdb\n')
    await openAndClose(fileStore(), dir)
    assert.is(await readFile(join(dir, 'FORMAT'), 'utf8'), 'balsa-store 2 file\n')
  })
  await inDirectory(async (dir) => {
    await writeFile(join(dir, 'FORMAT.new'), 'balsa-store 1 lmdb\n')
    await writeFile(join(dir, 'data.mdb'), 'x')
    assert.match((await refusal(openAndClose(fileStore(), dir), 'ERR_RAFT_DIR_UNUSABLE')).message, 'data.mdb')
    assert.equal((await readdir(dir)).toSorted(), ['FORMAT.new', 'data.mdb'])
  })
})

test('a foreign directory, a foreign FORMAT and a newer version are refused, and nothing in them changes', async () => {
  for (const [name, text, code, said] of [
    ['notes.txt', 'not yours', 'ERR_RAFT_DIR_UNUSABLE', 'notes.txt'],
    ['log', 'of the application', 'ERR_RAFT_DIR_UNUSABLE', 'it holds log'],
    ['FORMAT', 'of a disk', 'ERR_RAFT_DIR_UNUSABLE', 'FORMAT'],
    ['FORMAT', 'balsa-store 7 file\n', 'ERR_RAFT_STORE_FORMAT', 'version 7'],
    ['FORMAT', 'balsa-store 1 file\n', 'ERR_RAFT_STORE_FORMAT', 'version 1, and this Balsa reads version 2 only'],
    ['FORMAT', 'balsa-store 1 stone\n', 'ERR_RAFT_STORE_FORMAT', 'stone'],
  ] as const) {
    await inDirectory(async (dir) => {
      await writeFile(join(dir, name), text)
      const error = await refusal(openAndClose(fileStore(), dir), code)
      assert.match(error.message, dir)
      assert.match(error.message, said)
      assert.equal(await contentsOf(dir), [[name, text]])
    })
  }
})

test('a store that lost its FORMAT is left alone, the error names the line that brings it back, and with it the store opens', async () => {
  for (const [factory, line] of [
    [fileStore(), 'balsa-store 2 file'],
    [nativeStore({ mode: 'lmdb' }), 'balsa-store 2 lmdb'],
    [nativeStore({ mode: 'journal' }), 'balsa-store 1 journal'],
  ] as const) {
    for (const lost of [null, '', '\n', 'balsa-st', '\0\0\0\0']) {
      await inDirectory(async (dir) => {
        await openAndClose(factory, dir)
        const format = join(dir, 'FORMAT')
        if (lost === null) await rm(format)
        else await writeFile(format, lost)
        const before = await contentsOf(dir)
        for (const either of [fileStore(), factory]) {
          const { message } = await refusal(openAndClose(either, dir), 'ERR_RAFT_DIR_UNUSABLE')
          assert.match(message, dir)
          assert.match(message, `write FORMAT again, the one line "${line}"`)
          assert.match(message, 'Do not start this server in an empty directory')
          assert.not.match(message, 'Choose an empty directory')
        }
        assert.equal(await contentsOf(dir), before)
        await writeFile(format, `${line}\n`)
        await withStore(dir, async (_, state) => assert.is(state.bootCounter, 2), factory)
      })
    }
  }
})

test('what an error advises never makes a server forget: no empty directory and no backup where data was', async () => {
  for (const [factory, dataFile] of [
    [fileStore(), 'log'],
    [fileStore(), 'segment-00000001'],
    [nativeStore({ mode: 'lmdb' }), 'data.mdb'],
    [nativeStore({ mode: 'journal' }), 'data.mdb'],
  ] as const) {
    await inDirectory(async (dir) => {
      await openAndClose(factory, dir)
      const bytes = await readFile(join(dir, dataFile))
      for (const left of [null, new Uint8Array(0), bytes.subarray(0, 40)]) {
        if (left === null) await rm(join(dir, dataFile))
        else await writeFile(join(dir, dataFile), left)
        const { message } = await refusal(openAndClose(factory, dir), 'ERR_RAFT_STORE_CORRUPT')
        assert.match(message, 'Do not start this server in an empty directory, nor from a backup')
        assert.not.match(message, /restore the|Restore the|join again|begin in an empty/)
      }
    })
  }
})

test('each open dates the file of the fingerprint anew, so that a tool that puts back what differs replaces it too', async () => {
  await inDirectory(async (dir) => {
    await openAndClose(fileStore(), dir)
    const path = join(dir, 'log')
    const bytes = await readFile(path)
    await utimes(path, 1000, 1000)
    await openAndClose(fileStore(), dir)
    assert.ok((await stat(path)).mtimeMs > 1_000_000)
    assert.equal(await readFile(path), bytes)
  })
})

test('a directory that is made is found again, and one that cannot be made is refused by name', async () => {
  await inDirectory(async (dir) => {
    const deep = join(dir, 'a', 'b')
    await openAndClose(fileStore(), deep)
    assert.equal((await readdir(deep)).toSorted(), ['FORMAT', 'LOCK', 'log', 'segment-00000001'])
    const error = await refusal(openAndClose(fileStore(), join(deep, 'log')), 'ERR_RAFT_DIR_UNUSABLE')
    assert.match(error.message, join(deep, 'log'))
    await mkdir(join(dir, 'lost+found'))
  })
})

test('where the directory lies decides what is said about it, and a remote one is refused', async () => {
  const disk = new ModelDisk()
  for (const [magic, durability, warning] of [
    [0xef53, 'device', /^$/],
    [0x0102_1994, 'none', /memory/],
    [0x794c_7630, 'device', /overlayfs/],
  ] as const) {
    disk.magic = magic
    await withFile(disk, async (_, state) => {
      assert.is(state.durability, durability)
      assert.match(state.warning ?? '', warning)
    })
  }
  disk.magic = 0x6969
  assert.match((await refusal(withFile(disk, heldBy), 'ERR_RAFT_DIR_UNUSABLE')).message, /NFS.*BALSA_ALLOW_REMOTE_FS=1/)
  process.env['BALSA_ALLOW_REMOTE_FS'] = '1'
  try {
    await withFile(disk, async (_, state) => assert.match(state.warning ?? '', 'remote'))
  } finally {
    delete process.env['BALSA_ALLOW_REMOTE_FS']
  }
})

test('a second store in the same process is refused, close during open waits for it, and a store that was never opened closes', async () => {
  await inDirectory(async (dir) => {
    await fileStore().create(dir).close()
    const store = fileStore().create(dir)
    const opening = store.open(() => {})
    await store.close()
    assert.is((await opening).bootCounter, 1)
    await openAndClose(fileStore(), dir)
  })
})

test('what breaks a rule of the log is an assertion failure at submit, and nothing of it is written', async () => {
  const disk = new ModelDisk()
  await withFile(disk, async (store, _, waker) => {
    store.submit([append(blockOf(1, 3, [1, 1])), { type: 'hardState', hardState: hardState(3, 'a', 0) }])
    await waker.next()
    const { calls } = disk
    const damaged = blockOf(3, 3, [40])
    damaged.data[60] = 0xee
    for (const operation of [
      append(blockOf(4, 3, [1])),
      append(blockOf(3, 2, [1])),
      append(damaged),
      { type: 'truncateSuffix', from: logIndex(3) },
      compact(4, 3, { index: 2, term: 3 }),
      compact(2, 3, { index: 3, term: 3 }),
      compact(2, 3, { index: 2, term: 2 }),
      compact(2, 2, { index: 2, term: 3 }),
      compact(2, 3, { index: 2, term: 3 }, false),
      compact(3, 2, { index: 2, term: 3 }, false),
      { type: 'hardState', hardState: hardState(2, 'a', 0) },
      { type: 'hardState', hardState: hardState(3, 'b', 0) },
    ] as const) {
      assert.throws(
        () => store.submit([operation]),
        (error: unknown) => error instanceof AssertionFailure,
      )
    }
    assert.throws(
      () => store.submit([]),
      (error: unknown) => error instanceof AssertionFailure,
    )
    assert.is(disk.calls, calls)
    assert.equal(await store.read(logIndex(3), logIndex(5), 100), [], 'what is not in the log gives nothing')
  })
})

function openAndClose(factory: StoreFactory, dir: string): Promise<void> {
  return withStore(dir, async () => {}, factory)
}

/** Names and bytes, apart from the text in LOCK and what LMDB keeps of its readers. */
async function contentsOf(dir: string): Promise<readonly (readonly string[])[]> {
  const names = (await readdir(dir)).filter((name) => name !== 'LOCK' && name !== 'lock.mdb')
  return Promise.all(names.toSorted().map(async (name) => [name, await readFile(join(dir, name), 'latin1')]))
}

test.run()
