/** stats and dump: what is in a folder, without a change of it. */

import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { dump, stats } from '#balsa/tools/index.js'
import type { DumpedEntry, DumpRange } from '#balsa/tools/index.js'
import { hexOf } from '#balsa/testing/conformance/blocks.js'
import { refusal } from '../support/failure.js'
import { inDirectory, withStore } from '../storage/lmdb-harness.js'
import { unpack } from '../storage/directories/stored.js'
import { ENGINES, engineOf, fill, fingerprintOfAll, FIXTURES, storeOf, ticketsOf } from './folders.js'

const test = suite('tools: stats and dump')

interface Told {
  readonly firstIndex: number
  readonly lastIndex: number
  readonly hardState: { readonly term: number; readonly votedFor: string | null; readonly commitIndex: number }
  readonly snapshot: { readonly id: string; readonly index: number } | null
  readonly facts: object
  readonly entries: readonly { readonly index: number; readonly payload: string }[]
}

for (const [name, { files, state, bootCounter, incarnation }] of FIXTURES) {
  const told = state as Told
  test(`a directory of the version ${name} tells what it holds, and stays as it is`, async () => {
    await inDirectory(async (dir) => {
      unpack(files, dir)
      const before = fingerprintOfAll(dir)
      const found = await stats(dir)
      const { firstIndex, lastIndex, term, votedFor, commitIndex } = found
      assert.equal([firstIndex, lastIndex], [told.firstIndex, told.lastIndex])
      assert.equal({ term, votedFor, commitIndex }, told.hardState)
      assert.is(found.snapshot?.id, told.snapshot?.id)
      assert.is(found.entries, told.entries.length)
      assert.equal([found.bootCounter, found.incarnation], [bootCounter, incarnation])
      assert.is(`${found.engine}-${found.formatVersion}`, name)
      assert.is(found.facts, Object.keys(told.facts).length)
      for (const file of found.files) assert.is(file.bytes, statSync(join(dir, file.name)).size)
      const isJournal = engineOf(name) === 'journal'
      assert.is((found.journal?.segments ?? 0) > 0, isJournal)
      assert.is((found.journal?.behindBytes ?? 0) > 0, isJournal, 'what LMDB lacks')
      const entries = await all(dir)
      assert.equal(
        entries.map(({ index }) => index),
        told.entries.map(({ index }) => index),
      )
      assert.equal(
        entries.map(({ payload }) => hexOf(payload)),
        told.entries.map(({ payload }) => payload),
      )
      assert.is(fingerprintOfAll(dir), before)
    })
  })
}

for (const engine of ENGINES) {
  test(`${engine}: a range gives what the log has of it, each entry as it was written`, async () => {
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(30, 100))
      const indexes = async (range: DumpRange): Promise<readonly number[]> =>
        (await all(dir, range)).map(({ index }) => index)
      assert.equal(await indexes({ first: 5, last: 7 }), [5, 6, 7])
      assert.equal(await indexes({ first: 29, last: 99 }), [29, 30])
      assert.equal(await indexes({ first: 31 }), [])
      assert.is((await indexes({})).length, 30)
      const [entry] = await all(dir, { first: 12, last: 12 })
      assert.equal([entry?.term, entry?.kind, entry?.payload.length, entry?.bytes], [2, 'command', 100, 136])
    })
  })

  test(`${engine}: more than a MiB comes in order, and a loop that ends early frees the folder`, async () => {
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(30, 100_000))
      let seen = 0
      for await (const { index, payload } of dump(dir)) {
        seen += 1
        assert.is(index, seen)
        if (index > 1) assert.is(payload.length, 100_000)
      }
      assert.is(seen, 30)
      for await (const _ of dump(dir)) break
      await withStore(dir, async (_, { bootCounter }) => assert.is(bootCounter, 2), storeOf(engine))
    })
  })

  test(`${engine}: a folder that is open is refused, and what was begun keeps a server out`, async () => {
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(3, 10))
      const opened = async (): Promise<void> => withStore(dir, async () => {}, storeOf(engine))
      const entries = dump(dir)
      await entries.next()
      await refusal(opened(), 'ERR_RAFT_DIR_LOCKED')
      await refusal(stats(dir), 'ERR_RAFT_DIR_LOCKED')
      await entries.return()
      await opened()
    })
  })
}

test('a range that is none, and a folder that is none, are refused', async () => {
  await inDirectory(async (dir) => {
    await fill(join(dir, 'store'), 'file', ticketsOf(3, 10))
    const ranges = [{ first: 0 }, { first: 1.5 }, { last: -1 }, { first: 3, last: 2 }, { from: 1 }, { first: '1' }]
    for (const range of ranges) await refusal(all(join(dir, 'store'), range as DumpRange), 'ERR_RAFT_OPTIONS')
    writeFileSync(join(dir, 'file'), 'x')
    for (const name of ['nowhere', 'file']) {
      await refusal(all(join(dir, name)), 'ERR_RAFT_DIR_UNUSABLE')
      await refusal(stats(join(dir, name)), 'ERR_RAFT_DIR_UNUSABLE')
    }
  })
})

async function all(dir: string, range?: DumpRange): Promise<readonly DumpedEntry[]> {
  const entries: DumpedEntry[] = []
  for await (const entry of dump(dir, range)) entries.push(entry)
  return entries
}

test.run()
