/** verify: it finds what an open refuses, and more of it; it says what is lost; it changes nothing and never dies. */

import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { verify } from '#balsa/tools/index.js'
import type { StoreEngine, Verification } from '#balsa/tools/index.js'
import { append, blockOf } from '#balsa/testing/conformance/blocks.js'
import { refusal } from '../support/failure.js'
import { below, randomFrom } from '../support/seed.js'
import { inDirectory, withStore } from '../storage/lmdb-harness.js'
import { tell, unpack } from '../storage/directories/stored.js'
import { memberBlock } from './member.js'
import { compacted, ENGINES, engineOf, fill, fingerprintOfAll, FIXTURES, storeOf, ticketsOf } from './folders.js'

const test = suite('tools: verify')

for (const [name, { files, state }] of FIXTURES) {
  test(`a directory of the version ${name} is intact, and stays as it is`, async () => {
    await inDirectory(async (dir) => {
      unpack(files, dir)
      const before = fingerprintOfAll(dir)
      const { isIntact, engine, formatVersion, flaws, firstIndex, lastIndex, bytes } = await verify(dir)
      assert.equal(flaws, [])
      assert.ok(isIntact)
      assert.is(`${engine}-${formatVersion}`, name)
      const told = state as { firstIndex: number; lastIndex: number }
      assert.equal([firstIndex, lastIndex], [told.firstIndex, told.lastIndex])
      assert.ok(bytes > 0)
      assert.is(fingerprintOfAll(dir), before)
    })
  })

  test(`of a directory of the version ${name} with a damaged byte it finds what an open or a read refuses`, async () => {
    await inDirectory(async (dir) => {
      const random = randomFrom(FIXTURES.size + name.length)
      unpack(files, dir)
      const sound = await tellOf(dir, engineOf(name))
      let different = 0
      for (let round = 0; round < 12; round += 1) {
        emptied(dir)
        unpack(files, dir)
        const how = damageSomething(dir, random)
        const before = fingerprintOfAll(dir)
        const found = await verify(dir)
        assert.is(fingerprintOfAll(dir), before, how)
        const opened = await tellOf(dir, engineOf(name)).catch((error: Error) => error)
        if (opened instanceof Error) assert.not.ok(found.isIntact, `${how}: ${opened.message}`)
        // The rest is what no open can know of (storage-format.md, "Limits of the proof").
        else if (found.isIntact) different += JSON.stringify(opened) === JSON.stringify(sound) ? 0 : 1
      }
      assert.ok(different < 6, `${different} times nothing was found, and something was missing`)
    })
  })
}

for (const engine of ENGINES) {
  test(`${engine}: of several damaged entries each is told, with what a quorum has and with nothing else`, async () => {
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(40, 3000))
      for (const index of [5, 6, 20, 33]) flipPayload(dir, index)
      const before = fingerprintOfAll(dir)
      const found = await verify(dir)
      assert.not.ok(found.isIntact)
      const ranges = found.flaws.map(({ first, last }) => [first, last])
      // What was in a batch of the file store beside the entry is not known.
      if (engine === 'file')
        assert.equal(ranges, [
          [5, 6],
          [5, 6],
          [20, 20],
          [33, 33],
        ])
      else {
        assert.equal(ranges, [
          [5, 5],
          [6, 6],
          [20, 20],
          [33, 33],
        ])
        assert.ok(found.flaws.every(({ restorable, loss }) => restorable === 'by-quorum' && loss === 'log'))
        assert.equal([found.firstIndex, found.lastIndex], [1, 40])
      }
      assert.is(fingerprintOfAll(dir), before)
    })
  })
}

for (const engine of ['lmdb', 'journal'] as const) {
  test(`${engine}: what no majority has without this server is restorable by nobody, and so is a damaged vote`, async () => {
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(8, 3000, 2))
      flipPayload(dir, 5)
      assert.equal(restorables(await verify(dir)), ['by-nobody'])
    })
    // While the configuration changes, both halves must do without it.
    await inDirectory(async (dir) => {
      await fill(dir, engine, [...ticketsOf(8, 3000), [append(memberBlock(9, 3, 2))]])
      flipPayload(dir, 5)
      assert.equal(restorables(await verify(dir)), ['by-nobody'])
    })
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(8, 3000))
      flipText(dir, 'data.mdb', 'someone 3 nonce 1')
      const found = await verify(dir)
      assert.equal(restorables(found), ['by-nobody'])
      assert.is(found.flaws[0]?.loss, 'state')
    })
  })

  test(`${engine}: behind a damaged page the others are still read, and the entries on it are named`, async () => {
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(400, 100))
      const data = readFileSync(join(dir, 'data.mdb'))
      const [one, other] = leafPagesWithBlocks(data)
      assert.ok(one !== undefined && other !== undefined)
      data[one * 4096 + 12] = 0xff
      data[other * 4096 + 12] = 0xff
      writeFileSync(join(dir, 'data.mdb'), data)
      const { flaws, firstIndex, lastIndex } = await verify(dir)
      const lost = flaws.filter(({ first }) => first !== null)
      assert.is(lost.length, 2, JSON.stringify(flaws))
      assert.ok(
        lost.every(({ first, last, loss }) => loss === 'log' && first !== null && last !== null && first <= last),
      )
      assert.equal([firstIndex, lastIndex], [1, 400])
    })
  })
}

test('journal: of a process that was killed a missing and a short segment are told, both', async () => {
  await inDirectory(async (dir) => {
    unpack(FIXTURES.get('journal-1')?.files ?? {}, dir)
    const segments = readdirSync(dir).filter((name) => name.startsWith('journal-'))
    rmSync(join(dir, segments[0] ?? ''))
    truncateSync(join(dir, segments[1] ?? ''), 5000)
    const { flaws } = await verify(dir)
    assert.equal(
      flaws.map(({ file }) => file),
      segments.map((name) => join(dir, name)),
    )
    assert.ok(flaws.every(({ loss, restorable }) => loss === 'state' && restorable === 'by-nobody'))
  })
})

test('what is beyond the bound of the list is counted', async () => {
  await inDirectory(async (dir) => {
    await fill(dir, 'lmdb', ticketsOf(300, 3000))
    for (let index = 2; index <= 300; index += 1) flipPayload(dir, index)
    const { flaws, leftOff } = await verify(dir)
    assert.equal([flaws.length, leftOff], [256, 43])
  })
})

for (const engine of ENGINES) {
  test(`${engine}: a folder that is open is refused, and the refusal names who holds it`, async () => {
    await inDirectory(async (dir) => {
      await fill(dir, engine, ticketsOf(3, 10))
      await withStore(
        dir,
        async () => {
          const { message } = await refusal(verify(dir), 'ERR_RAFT_DIR_LOCKED')
          assert.match(message, `process ${process.pid}`)
        },
        storeOf(engine),
      )
      assert.ok((await verify(dir)).isIntact)
    })
  })

  test(`${engine}: a compacted log that begins before the end of its snapshot is intact`, async () => {
    await inDirectory(async (dir) => {
      const tail = [compacted(12, 1, { index: 25, term: 3 }), [append(blockOf(41, 4, [9]))]]
      await fill(dir, engine, [...ticketsOf(40, 300), ...tail])
      const { flaws, firstIndex, lastIndex } = await verify(dir)
      assert.equal(flaws, [])
      assert.equal([firstIndex, lastIndex], [12, 41])
    })
  })
}

test('what is no folder of a store is refused by name', async () => {
  await inDirectory(async (dir) => {
    await refusal(verify(join(dir, 'nowhere')), 'ERR_RAFT_DIR_UNUSABLE')
    await refusal(verify(''), 'ERR_RAFT_OPTIONS')
    assert.match((await refusal(verify(dir), 'ERR_RAFT_DIR_UNUSABLE')).message, 'holds no store')
    writeFileSync(join(dir, 'file'), 'x')
    assert.match((await refusal(verify(join(dir, 'file')), 'ERR_RAFT_DIR_UNUSABLE')).message, 'no directory')
    assert.match((await refusal(verify(dir), 'ERR_RAFT_DIR_UNUSABLE')).message, 'holds file')
    writeFileSync(join(dir, 'FORMAT'), 'balsa-store 1 tape\n')
    assert.match((await refusal(verify(dir), 'ERR_RAFT_STORE_FORMAT')).message, 'engine tape')
    for (const engine of ENGINES) {
      writeFileSync(join(dir, 'FORMAT'), `balsa-store 9 ${engine}\n`)
      assert.match((await refusal(verify(dir), 'ERR_RAFT_STORE_FORMAT')).message, 'version 9')
    }
  })
})

function restorables({ flaws }: Verification): readonly string[] {
  return flaws.map(({ restorable }) => restorable)
}

/** Everything that an open and reads tell; the folder is opened for it. */
async function tellOf(dir: string, engine: StoreEngine): Promise<unknown> {
  return withStore(dir, tell, storeOf(engine))
}

function emptied(dir: string): void {
  for (const name of readdirSync(dir)) rmSync(join(dir, name))
}

/** One bit, or a few hundred bytes; of a file where something is. */
function damageSomething(dir: string, random: () => number): string {
  const names = readdirSync(dir).filter((name) => !['LOCK', 'lock.mdb', 'FORMAT'].includes(name))
  const name = names[below(random, names.length)] ?? ''
  const bytes = readFileSync(join(dir, name))
  const used = bytes.findLastIndex((byte) => byte !== 0) + 1
  const at = below(random, used)
  const how = below(random, 4)
  if (how === 0) bytes.fill(0, at, Math.min(at + 300, bytes.length))
  else bytes[at] = (bytes[at] ?? 0) ^ (1 << below(random, 8))
  writeFileSync(join(dir, name), bytes)
  return `${name} ${how === 0 ? 'zeroed' : 'flipped'} at ${at}`
}

/** One bit of the payload of an entry of at least 100 bytes, wherever it lies. */
function flipPayload(dir: string, index: number): void {
  const term = 1 + Math.floor((index - 2) / 10)
  const { data } = blockOf(index, term, [3000])
  for (const name of readdirSync(dir)) {
    if (!/^(?:data\.mdb|segment-\d+)$/.test(name)) continue
    const bytes = readFileSync(join(dir, name))
    const at = bytes.indexOf(data)
    if (at === -1) continue
    bytes[at + 100] = (bytes[at + 100] ?? 0) ^ 4
    writeFileSync(join(dir, name), bytes)
  }
}

/** In every place where the text stands. */
function flipText(dir: string, name: string, text: string): void {
  const bytes = readFileSync(join(dir, name))
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text)) bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(join(dir, name), bytes)
}

/** Pages of the newest tree with blocks on them, and nothing else: those that a branch names. */
function leafPagesWithBlocks(data: Buffer): readonly number[] {
  const newest = data.readBigUInt64LE(144) > data.readBigUInt64LE(4096 + 144) ? 0 : 4096
  const root = Number(data.readBigUInt64LE(newest + 88 + 40)) * 4096
  const count = (data.readUInt16LE(root + 12) - 16) / 2
  const children = Array.from({ length: count }, (_, n) => {
    const node = root + data.readUInt16LE(root + 16 + 2 * n)
    return data.readUInt16LE(node) + data.readUInt16LE(node + 2) * 65_536
  })
  return children.slice(1, -1)
}

test.run()
