/** migrate: nothing is lost on the way, nothing is half there, and no server ever runs from both folders. */

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { defineStateMachine, msgpackCodec, Raft } from 'balsa-raft'
import type { RaftErrorCode } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { SNAPSHOT_END_BYTES } from '#balsa/format/snapshot.js'
import { migrate, verify } from '#balsa/tools/index.js'
import type { StoreEngine } from '#balsa/tools/index.js'
import { migrateInSteps } from '#balsa/tools/migrate.js'
import type { MigrationStep } from '#balsa/tools/migrate.js'
import { append, blockOf } from '#balsa/testing/conformance/blocks.js'
import { freeAddresses } from '../../support/free-addresses.js'
import { failure, refusal } from '../support/failure.js'
import { testUnless } from '../support/skip.js'
import { mount, unableToMount, unmount } from '../support/small-disk.js'
import { inDirectory, withStore } from '../storage/lmdb-harness.js'
import { tell, unpack } from '../storage/directories/stored.js'
import { compacted, ENGINES, engineOf, fill, fingerprintOfAll, FIXTURES, storeOf, ticketsOf } from './folders.js'

const test = suite('tools: migrate')

const CHILD = fileURLToPath(new URL('migrate-child/cli.js', import.meta.url))
const STEPS: readonly MigrationStep[] = ['created', 'copied', 'closed', 'from is marked', 'finished']

for (const [name, { files, state, incarnation, bootCounter }] of FIXTURES) {
  for (const engine of ENGINES) {
    test(`a directory of the version ${name} goes to ${engine} with everything that it holds`, async () => {
      await inDirectory(async (dir) => {
        const [from, to] = foldersIn(dir)
        mkdirSync(from)
        unpack(files, from)
        const { isNew, firstIndex, lastIndex } = await migrate(from, to, { engine })
        assert.ok(isNew)
        assert.ok((await verify(to)).isIntact)
        const inspected = await storeOf(engine).create(to).inspect?.()
        assert.equal([inspected?.bootCounter, inspected?.incarnation], [bootCounter, incarnation])
        await withStore(
          to,
          async (store, opened) => {
            assert.equal(await tell(store, opened), state)
            assert.equal([opened.firstIndex, opened.lastIndex], [firstIndex, lastIndex])
            assert.is(opened.bootCounter, bootCounter + 1)
          },
          storeOf(engine),
        )
        await refusesOpen(from, engineOf(name), to)
      })
    })
  }
}

for (const [one, other, steps] of [
  ['file', 'journal', ['created', 'copied', 'from is marked']],
  ['lmdb', 'file', ['copied', 'closed', 'from is marked']],
  ['journal', 'lmdb', ['created', 'closed', 'finished']],
] as const) {
  for (const step of steps) {
    test(`killed when it is "${step}" (${one} to ${other}), at most one folder opens, the other one is told of, and once more ends it`, async () => {
      await inDirectory(async (dir) => {
        const [from, to] = foldersIn(dir)
        await fill(from, one, logTickets)
        const before = await told(from, one)
        const bytes = fingerprintOfAll(from)
        const { signal } = spawnSync(process.execPath, [CHILD, from, to, other, step], { stdio: 'inherit' })
        assert.is(signal, 'SIGKILL')
        if (step === 'finished') assert.equal(await told(to, other), before)
        else await refusesOpen(to, other, from)
        if (STEPS.indexOf(step) >= STEPS.indexOf('from is marked')) await refusesOpen(from, one, to)
        else assert.is(fingerprintOfAll(from), bytes, 'it was changed')
        await migrate(from, to, { engine: other })
        assert.equal(await told(to, other), before)
        await refusesOpen(from, one, to)
      })
    })
  }
}

test('done once more it changes nothing, also when its server has run since; not to another folder', async () => {
  await inDirectory(async (dir) => {
    const [from, to] = foldersIn(dir)
    await fill(from, 'lmdb', logTickets)
    await migrate(from, to, { engine: 'file' })
    await withStore(to, async () => {}, storeOf('file'))
    const before = fingerprintOfAll(to)
    const { isNew, engine } = await migrate(from, to, { engine: 'journal' })
    assert.equal([isNew, engine], [false, 'file'])
    assert.is(fingerprintOfAll(to), before)
    const { message } = await refusal(migrate(from, join(dir, 'third'), { engine: 'file' }), 'ERR_RAFT_DIR_UNUSABLE')
    assert.match(message, to)
    assert.not.ok(existsSync(join(dir, 'third')))
  })
})

test('a try that was cut off is begun anew with another engine, and not from another folder', async () => {
  await inDirectory(async (dir) => {
    const [from, to] = foldersIn(dir)
    const third = join(dir, 'third')
    await fill(from, 'lmdb', logTickets)
    await fill(third, 'lmdb', ticketsOf(5, 10))
    const before = await told(from, 'lmdb')
    const cutOff = migrateInSteps(from, to, { engine: 'journal' }, (step) => {
      if (step === 'copied') throw new Error('cut off')
    })
    await cutOff.then(
      () => assert.unreachable(),
      () => {},
    )
    const { message } = await refusal(migrate(third, to, { engine: 'file' }), 'ERR_RAFT_OPTIONS')
    assert.match(message, 'not empty')
    await migrate(from, to, { engine: 'file' })
    assert.equal(await told(to, 'file'), before)
    assert.equal(
      readdirSync(to).filter((name) => /mdb|journal/.test(name)),
      [],
    )
  })
})

test('a creation that was cut off before it had a FORMAT is begun anew with another engine', async () => {
  await inDirectory(async (dir) => {
    const [from, to] = foldersIn(dir)
    await fill(from, 'file', logTickets)
    mkdirSync(to)
    writeFileSync(join(to, 'FORMAT.new'), '')
    writeFileSync(join(to, 'data.mdb'), 'half')
    await migrate(from, to, { engine: 'file' })
    assert.ok((await verify(to)).isIntact)
  })
})

for (const engine of ENGINES) {
  testUnless(
    test,
    unableToMount(),
    `a disk that is full (${engine}) is told as that wherever it is met, the old folder stays as it was, and with room once more ends it`,
    async () => {
      await inDirectory(async (dir) => {
        const [from, disk] = foldersIn(dir)
        const to = join(disk, 'new')
        const old = engine === 'file' ? 'lmdb' : 'file'
        await fill(from, old, ticketsOf(40, 30_000))
        const before = await told(from, old)
        const bytes = fingerprintOfAll(from)
        mkdirSync(disk)
        mount('4k', disk)
        try {
          for (const [size, code, reason] of FULL_AT[engine]) {
            mount(size, disk, 'remount')
            const { message } = await refusal(migrate(from, to, { engine }), code)
            assert.match(message, to)
            assert.match(message, reason)
            if (existsSync(join(to, 'FORMAT'))) await refusesOpen(to, engine, from)
            assert.is(fingerprintOfAll(from), bytes)
          }
          mount('512m', disk, 'remount')
          await migrate(from, to, { engine })
          assert.ok((await verify(to)).isIntact)
          cpSync(to, join(dir, 'kept'), { recursive: true })
        } finally {
          unmount(disk)
        }
        assert.equal(await told(join(dir, 'kept'), engine), before)
      })
    },
  )
}

test('it refuses a folder that is not empty, itself, what lies in itself, and what is no folder, and changes nothing', async () => {
  await inDirectory(async (dir) => {
    const [from, to] = foldersIn(dir)
    await fill(from, 'lmdb', logTickets)
    const before = fingerprintOfAll(from)
    mkdirSync(to)
    writeFileSync(join(to, 'notes'), 'mine')
    symlinkSync(from, join(dir, 'link'))
    const engine = 'file'
    assert.match((await refusal(migrate(from, to, { engine }), 'ERR_RAFT_OPTIONS')).message, 'holds notes')
    for (const inside of [
      from,
      join(from, 'new'),
      join(from, 'snapshots', 'deep'),
      join(dir, 'link'),
      join(dir, 'link/x'),
    ]) {
      assert.match((await refusal(migrate(from, inside, { engine }), 'ERR_RAFT_OPTIONS')).message, 'lies in')
    }
    await refusal(migrate(from, join(to, 'notes'), { engine }), 'ERR_RAFT_OPTIONS')
    await refusal(migrate(join(dir, 'nowhere'), join(dir, 'new'), { engine }), 'ERR_RAFT_DIR_UNUSABLE')
    await refusal(migrate(from, join(dir, 'new'), { engine: 'tape' as StoreEngine }), 'ERR_RAFT_OPTIONS')
    await refusal(migrate(from, dir, { engine }), 'ERR_RAFT_OPTIONS')
    assert.is(fingerprintOfAll(from), before)
    assert.equal(readdirSync(to), ['notes'])
    await withStore(
      from,
      async () => refusal(migrate(from, join(dir, 'new'), { engine }), 'ERR_RAFT_DIR_LOCKED'),
      storeOf('lmdb'),
    )
  })
})

test('a path with blanks and other letters goes into the mark, and comes out of it', async () => {
  await inDirectory(async (dir) => {
    const [from, to] = [join(dir, 'old one'), join(dir, 'neuer Ordner %20 ü')]
    await fill(from, 'file', logTickets)
    await migrate(from, to, { engine: 'lmdb' })
    await refusesOpen(from, 'file', to)
    assert.is(readFileSync(join(from, 'FORMAT'), 'utf8').trim().split(/\s/).length, 3)
    assert.not.ok((await migrate(from, to, { engine: 'lmdb' })).isNew)
  })
})

for (const engine of ENGINES) {
  test(`a server goes on from the new folder (${engine}) with its snapshot and its commands, and not from the old one nor from a copy`, async () => {
    await inDirectory(async (dir) => {
      const [from, to] = foldersIn(dir)
      const old = engine === 'file' ? 'lmdb' : 'file'
      const [address = ''] = await freeAddresses(1)
      assert.is(await sumAfter(from, old, address, [1, 2], true), 3)
      assert.is(await sumAfter(from, old, address, [3]), 6)
      cpSync(from, join(dir, 'copy'), { recursive: true })
      await refusal(migrate(join(dir, 'copy'), join(dir, 'of a copy'), { engine }), 'ERR_RAFT_COPIED_FOLDER')
      await migrate(from, to, { engine })
      assert.is((await verify(to)).snapshots, 1)
      const error = await failure(sumAfter(from, old, address, []))
      assert.match(error.message, to)
      assert.is(await sumAfter(to, engine, address, [4]), 10)
      assert.is(await sumAfter(to, engine, address, []), 10)
      await findsItsSnapshot(to)
    })
  })
}

/** Where the store is made, as an open of an empty folder would say it; and in the middle of the log. */
const FULL_AT: Readonly<
  Record<StoreEngine, readonly (readonly [size: string, code: RaftErrorCode, reason: RegExp])[]>
> = {
  file: [
    ['16k', 'ERR_RAFT_STORE_FULL', /once more/],
    ['400k', 'ERR_RAFT_STORE_FULL', /once more/],
  ],
  lmdb: [
    ['16k', 'ERR_RAFT_DIR_UNUSABLE', /Check free space/],
    ['700k', 'ERR_RAFT_STORE_FULL', /once more/],
  ],
  journal: [
    ['16k', 'ERR_RAFT_DIR_UNUSABLE', /Check free space/],
    ['700k', 'ERR_RAFT_DIR_UNUSABLE', /Check free space/],
    ['32900k', 'ERR_RAFT_STORE_FULL', /once more/],
  ],
}

/** A log that begins before the end of its snapshot, with several terms, a vote and facts. */
const logTickets = [
  ...ticketsOf(40, 300),
  compacted(12, 1, { index: 25, term: 3 }),
  [append(blockOf(41, 4, [9, 0, 700]))],
]

function foldersIn(dir: string): readonly [from: string, to: string] {
  return [join(dir, 'from'), join(dir, 'to')]
}

/** Everything that an inspection and reads tell; no boot is counted. */
async function told(dir: string, engine: StoreEngine): Promise<unknown> {
  const inspected = await storeOf(engine).create(dir).inspect?.()
  const copy = `${dir}-copy`
  cpSync(dir, copy, { recursive: true })
  const state = await withStore(copy, tell, storeOf(engine))
  return { bootCounter: inspected?.bootCounter, incarnation: inspected?.incarnation, state }
}

/** In either mode, where there are two; and the error names the other folder. */
async function refusesOpen(dir: string, engine: StoreEngine, other: string): Promise<void> {
  const bytes = fingerprintOfAll(dir)
  const engines = engine === 'file' ? [engine] : (['lmdb', 'journal'] as const)
  for (const each of engines) {
    // One after the other: each would meet the lock of the other one.
    const opening = withStore(dir, async () => {}, storeOf(each))
    assert.match((await refusal(opening, 'ERR_RAFT_DIR_UNUSABLE')).message, other)
    assert.match((await refusal(verify(dir), 'ERR_RAFT_DIR_UNUSABLE')).message, other)
  }
  assert.is(fingerprintOfAll(dir), bytes)
}

/** Damaged in its end, and in the last byte of its data, which stands before that; and gone. */
async function findsItsSnapshot(dir: string): Promise<void> {
  const [name = ''] = readdirSync(join(dir, 'snapshots'))
  const file = join(dir, 'snapshots', name)
  const isTold = async (detail: RegExp): Promise<void> => {
    const found = await verify(dir)
    assert.equal([found.flaws.length, found.snapshots, found.flaws[0]?.file], [1, 0, file])
    assert.equal([found.flaws[0]?.loss, found.flaws[0]?.restorable], ['log', 'by-nobody'])
    assert.match(found.flaws[0]?.detail ?? '', detail)
  }
  const intact = readFileSync(file)
  for (const fromEnd of [5, SNAPSHOT_END_BYTES + 1]) {
    const bytes = Buffer.from(intact)
    bytes[bytes.length - fromEnd] = (bytes.at(-fromEnd) ?? 0) ^ 1
    writeFileSync(file, bytes)
    await isTold(/damaged/)
  }
  rmSync(file)
  await isTold(/missing/)
}

/** Opens a server by itself, has it apply these, and tells the sum. */
async function sumAfter(
  dir: string,
  engine: StoreEngine,
  address: string,
  commands: readonly number[],
  snapshots = false,
): Promise<number> {
  let total = 0
  const raft = await Raft.open<number, number, 'sum', number>({
    id: 's1',
    dir,
    bootstrap: [{ id: 's1', address }],
    storage: storeOf(engine),
    transport: tcp({ listen: address }),
    logger: false,
    codec: msgpackCodec(),
    stateMachine: defineStateMachine<number, number, 'sum', number>({
      apply: (batch) => batch.map(({ command }) => (total += command)),
      query: () => total,
      async *snapshot() {
        yield new TextEncoder().encode(String(total))
      },
      async restore(source) {
        const pieces: Uint8Array[] = []
        for await (const piece of source) pieces.push(piece.slice())
        total = Number(Buffer.concat(pieces).toString())
      },
    }),
  })
  try {
    await raft.ready()
    for (const command of commands) await raft.apply(command)
    if (snapshots) await raft.snapshot()
    return await raft.read('sum')
  } finally {
    await raft.close()
  }
}

test.run()
