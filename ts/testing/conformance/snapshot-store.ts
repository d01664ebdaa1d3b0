/**
 * What every SnapshotStore does (the contract of `balsa-raft/storage`), as cases that run over any of them. What a
 * store cannot offer is null, and the cases that need it say so.
 */

import { deepStrictEqual, ok, strictEqual } from 'node:assert'

import { RaftError } from '../../errors.js'
import type { RaftErrorCode } from '../../errors.js'
import { CHUNK_DATA_BYTES_MAX, CHUNK_HEAD_BYTES, encodeSnapshotHeader } from '../../format/snapshot.js'
import { crc32c } from '../../format/crc32c.js'
import { viewOf } from '../../format/little-endian.js'
import type { FoundSnapshots, SnapshotStore, StoredSnapshot } from '../../snapshot/snapshot-store.js'
import type { SnapshotHeader } from '../../types.js'
import { deadlineOf } from '../options.js'
import { bytes } from './blocks.js'
import { CASE_DEADLINE_MS, caseOf } from './case.js'
import type { ConformanceCase } from './case.js'
import { cut, headerOf, joined, snapshotBytes } from './snapshots.js'
import { checkOptionNames } from '../../option-checks.js'

/** What `snapshotStoreConformance` takes; a hook that is null skips the cases that need it. */
export interface SnapshotStoreConformanceOptions {
  /** A store object over `dir`; made again for the same `dir`, it finds what was kept. */
  readonly create: (dir: string) => SnapshotStore
  /** An empty directory for one case. */
  readonly makeDir: () => Promise<string>
  /** Removes a folder that `makeDir` made, and all in it. */
  readonly removeDir: (dir: string) => Promise<void>
  /** Changes one bit of the snapshot that lies in `dir` under that id, counted from its first byte. */
  readonly flipBit: ((dir: string, id: string, bit: number) => Promise<void>) | null
  /**
   * Lets the k-th call from now on (1: the next) that changes something on the disk of `dir` fail, until the function
   * is called that it answers with.
   */
  readonly failCall: ((dir: string, k: number) => () => void) | null
  /** Lets the k-th call from now on that changes something, and all after it, fail without effect, until `crash`. */
  readonly dieAt: ((dir: string, k: number) => void) | null
  /** Ends the use of `dir` as a loss of power would, without close; the disk works again. */
  readonly crash: ((dir: string) => void) | null
  /** How large a snapshot is that must not be held in memory; null for a store that holds all of them there. */
  readonly largeBytes: number | null
  /** For one case, and again for closing what it opened. Default 60,000. */
  readonly deadlineMs?: number
}

const OPTION_NAMES = Object.keys({
  create: true,
  makeDir: true,
  removeDir: true,
  flipBit: true,
  failCall: true,
  dieAt: true,
  crash: true,
  largeBytes: true,
  deadlineMs: true,
} satisfies Record<keyof SnapshotStoreConformanceOptions, true>)

/** The cases for one store; each opens directories of its own. */
export function snapshotStoreConformance(options: SnapshotStoreConformanceOptions): readonly ConformanceCase[] {
  checkOptionNames('snapshotStoreConformance', options, OPTION_NAMES)
  const deadlineMs = deadlineOf(options.deadlineMs, CASE_DEADLINE_MS)
  return behaviours.map(({ name, needs = [], run }) => {
    const lacking = needs.find((hook) => options[hook] === null)
    const missing = lacking === undefined ? null : `the store has no hook ${lacking}`
    return caseOf(name, missing, deadlineMs, {
      prepare: () => new Bench(options),
      ask: run,
      release: (bench) => bench.dispose(),
    })
  })
}

interface Behaviour {
  readonly name: string
  readonly needs?: readonly ('flipBit' | 'failCall' | 'dieAt' | 'crash' | 'largeBytes')[]
  readonly run: (bench: Bench) => Promise<void>
}

/** Pieces as a machine or a connection may cut: none, one byte, and more than a chunk. */
const ODD_LENGTHS: readonly number[] = [0, 1, 7, 70_000, 1, 0, 65_536, 3, 200_000]
/** Far more than any call here makes. */
const CALLS_MAX = 200

const making: readonly Behaviour[] = [
  {
    name: 'a new store is empty, and knows no snapshot',
    async run(bench) {
      const { store, found } = await bench.open()
      deepStrictEqual(found, { whole: [], flawed: [] })
      await rejects(readAll(store, headerOf(1).id), 'ERR_RAFT_SNAPSHOT_FAILED')
      await rejects(store.verify(headerOf(1).id), 'ERR_RAFT_SNAPSHOT_FAILED')
      await rejects(store.readInto(headerOf(1).id, 0, bytes(10)), 'ERR_RAFT_SNAPSHOT_FAILED')
    },
  },
  {
    name: 'N12 what was made is found again with its header, its length and its data, however the data was cut',
    async run(bench) {
      const data = bytes(500_000)
      const first = await bench.open()
      const made = await make(first.store, headerOf(1), cut(data, ODD_LENGTHS))
      deepStrictEqual(made.header, headerOf(1))
      await checkData(first.store, made, data)
      const second = await bench.reopen()
      deepStrictEqual(second.found, { whole: [made], flawed: [] })
      await checkData(second.store, made, data)
    },
  },
  {
    name: 'the same data makes the same bytes, however it was cut: whole chunks, and what is left',
    async run(bench) {
      const { store } = await bench.open()
      const data = bytes(200_000)
      const expected = snapshotBytes(headerOf(1), cut(data, [CHUNK_DATA_BYTES_MAX]))
      for (const lengths of [ODD_LENGTHS, [data.length], [999]]) {
        await make(store, headerOf(1), cut(data, lengths))
        deepStrictEqual(await fileOf(store, headerOf(1).id, 100_000), expected)
      }
    },
  },
  {
    name: 'a snapshot without data is one',
    async run(bench) {
      const first = await bench.open()
      const made = await make(first.store, headerOf(1), [])
      strictEqual((await readAll(first.store, made.header.id)).length, 0)
      const { store, found } = await bench.reopen()
      deepStrictEqual(found.whole, [made])
      await store.verify(made.header.id)
    },
  },
  {
    name: 'what was given to write may be used again once that has resolved',
    async run(bench) {
      const { store } = await bench.open()
      const sink = await store.create(headerOf(1))
      const piece = new Uint8Array(1000)
      for (let n = 0; n < 5; n += 1) await sink.write(piece.fill(n))
      piece.fill(99)
      await sink.finish()
      const expected = joined(Array.from({ length: 5 }, (_, n) => new Uint8Array(1000).fill(n)))
      deepStrictEqual(await readAll(store, headerOf(1).id), expected)
    },
  },
  {
    name: 'nothing is there before finish, nor after abort, nor after a reopen; abort may be called again',
    async run(bench) {
      const first = await bench.open()
      const sink = await first.store.create(headerOf(1))
      await sink.write(bytes(100_000))
      await rejects(readAll(first.store, headerOf(1).id), 'ERR_RAFT_SNAPSHOT_FAILED')
      await sink.abort()
      await sink.abort()
      await rejects(sink.write(bytes(1)), 'ERR_RAFT_SNAPSHOT_FAILED')
      await rejects(sink.finish(), 'ERR_RAFT_SNAPSHOT_FAILED')
      const second = await first.store.create(headerOf(2))
      await second.write(bytes(100_000))
      deepStrictEqual((await bench.reopen()).found, { whole: [], flawed: [] })
    },
  },
  {
    name: 'after finish abort does nothing, and nothing can be added',
    async run(bench) {
      const { store } = await bench.open()
      const sink = await store.create(headerOf(1))
      await sink.write(bytes(10))
      const made = await sink.finish()
      await sink.abort()
      await rejects(sink.write(bytes(1)), 'ERR_RAFT_SNAPSHOT_FAILED')
      await checkData(store, made, bytes(10))
    },
  },
  {
    name: 'H1-24 the newest comes first: by term, then by index, not by id nor by when it was made',
    async run(bench) {
      const { store } = await bench.open()
      for (const [n, index, term] of [
        [3, 40, 2],
        [1, 90, 1],
        [4, 5, 3],
        [2, 50, 2],
      ] as const) {
        await make(store, headerOf(n, index, term), [])
      }
      const { found } = await bench.reopen()
      deepStrictEqual(
        found.whole.map(({ header }) => [header.term, header.index]),
        [
          [3, 5],
          [2, 50],
          [2, 40],
          [1, 90],
        ],
      )
    },
  },
]

const receiving: readonly Behaviour[] = [
  {
    name: 'what one store sends, another receives: the same bytes, in pieces of any size',
    async run(bench) {
      const { store } = await bench.open()
      const file = snapshotBytes(headerOf(1), [bytes(1), bytes(65_536), bytes(40_000)])
      for (const lengths of [[1000, 1, 77_777], [file.length], [300]]) {
        const intake = await store.receive(headerOf(1), file.length)
        strictEqual(intake.received, 0)
        await writeAllOf(intake, file, lengths)
        deepStrictEqual(await intake.finish(), { header: headerOf(1), bytes: file.length })
        deepStrictEqual(await fileOf(store, headerOf(1).id, 4096), file)
      }
      const { found } = await bench.reopen()
      deepStrictEqual(found.whole, [{ header: headerOf(1), bytes: file.length }])
    },
  },
  {
    name: 'N4 N5 what was cut off goes on where it was, also in the middle of a chunk',
    async run(bench) {
      const { store } = await bench.open()
      const file = snapshotBytes(headerOf(1), [bytes(500), bytes(500), bytes(500)])
      for (let at = 0; at < file.length; at += 97) {
        const first = await store.receive(headerOf(1), file.length)
        strictEqual(first.received, 0)
        await first.write(file.subarray(0, at))
        await first.suspend()
        const second = await store.receive(headerOf(1), file.length)
        strictEqual(second.received, at)
        await second.write(file.subarray(at))
        await second.finish()
        deepStrictEqual(await fileOf(store, headerOf(1).id, 1 << 20), file)
      }
    },
  },
  {
    name: 'N4 a reopen forgets what was cut off, and receives it from the beginning',
    async run(bench) {
      const first = await bench.open()
      const file = snapshotBytes(headerOf(1), [bytes(5000)])
      const intake = await first.store.receive(headerOf(1), file.length)
      await intake.write(file.subarray(0, 4000))
      await intake.suspend()
      const { store, found } = await bench.reopen()
      deepStrictEqual(found, { whole: [], flawed: [] })
      strictEqual((await store.receive(headerOf(1), file.length)).received, 0)
    },
  },
  {
    name: 'N5 one that receives the same takes over: the earlier one adds nothing any more',
    async run(bench) {
      const { store } = await bench.open()
      const file = snapshotBytes(headerOf(1), [bytes(5000)])
      const first = await store.receive(headerOf(1), file.length)
      await first.write(file.subarray(0, 100))
      const second = await store.receive(headerOf(1), file.length)
      strictEqual(second.received, 100)
      await rejects(first.write(file.subarray(100, 200)), 'ERR_RAFT_SNAPSHOT_FAILED')
      await rejects(first.finish(), 'ERR_RAFT_SNAPSHOT_FAILED')
      await first.abort()
      await first.suspend()
      await second.write(file.subarray(100))
      await second.finish()
      await store.verify(headerOf(1).id)
    },
  },
  {
    name: 'only what was suspended last can go on; another length or header begins anew',
    async run(bench) {
      const { store } = await bench.open()
      const begin = async (n: number, length: number): Promise<number> => {
        const intake = await store.receive(headerOf(n), length)
        const { received } = intake
        await intake.write(snapshotBytes(headerOf(n), []).subarray(received, 60))
        await intake.suspend()
        return received
      }
      deepStrictEqual([await begin(1, 1000), await begin(1, 1000)], [0, 60])
      deepStrictEqual([await begin(1, 2000), await begin(2, 2000), await begin(1, 2000)], [0, 0, 0])
      const intake = await store.receive({ ...headerOf(1), time: 5 }, 2000)
      strictEqual(intake.received, 0)
      await intake.abort()
      const both = [await store.receive(headerOf(3), 1000), await store.receive(headerOf(4), 1000)]
      for (const [at, one] of both.entries()) await one.write(snapshotBytes(headerOf(3 + at), []).subarray(0, 50))
      for (const one of both) await one.suspend()
      deepStrictEqual([await begin(3, 1000), await begin(4, 1000)], [0, 0])
    },
  },
  {
    name: 'N15 a damaged chunk is told, and asked for again from its beginning',
    async run(bench) {
      const { store } = await bench.open()
      const file = snapshotBytes(headerOf(1), [bytes(50), bytes(60), bytes(70)])
      const starts = [0, ...chunkStarts(file)]
      const intake = await store.receive(headerOf(1), file.length)
      for (const [n, start] of starts.entries()) {
        strictEqual(intake.received, start)
        const end = starts[n + 1] ?? file.length
        for (let byte = start; byte < end; byte += 1) {
          const damaged = flipped(file, byte)
          const answer = await intake.write(damaged.subarray(start, end))
          // A length that grew is only known to be wrong when more has come.
          if (answer === 'ok') strictEqual(await intake.write(damaged.subarray(end)), 'damaged', `byte ${byte}`)
          strictEqual(intake.received, start, `byte ${byte}`)
        }
        strictEqual(await intake.write(file.subarray(start, end)), 'ok')
      }
      await intake.finish()
      deepStrictEqual(await fileOf(store, headerOf(1).id, 1 << 20), file)
    },
  },
  {
    name: 'a wrong length, an end that is missing and another snapshot than announced are refused, and leave nothing',
    async run(bench) {
      const first = await bench.open()
      const file = snapshotBytes(headerOf(1), [bytes(500)])
      for (const [length, sent, last] of [
        [file.length + 1, file, 'write'],
        [file.length - 1, file, 'write'],
        [file.length, file.subarray(0, -1), 'finish'],
        [file.length, file.subarray(0, 20), 'finish'],
        [file.length, new Uint8Array(0), 'finish'],
        [file.length, snapshotBytes(headerOf(2), [bytes(500)]), 'write'],
        [file.length, snapshotBytes({ ...headerOf(1), clusterId: 'd2'.repeat(16) }, [bytes(500)]), 'write'],
      ] as const) {
        const intake = await first.store.receive(headerOf(1), length)
        strictEqual(intake.received, 0)
        const written = intake.write(sent)
        if (last === 'write') await rejects(written, 'ERR_RAFT_SNAPSHOT_CORRUPT')
        else await written.then(() => rejects(intake.finish(), 'ERR_RAFT_SNAPSHOT_CORRUPT'))
        await rejects(intake.write(sent), 'ERR_RAFT_SNAPSHOT_CORRUPT')
      }
      deepStrictEqual((await bench.reopen()).found, { whole: [], flawed: [] })
    },
  },
  {
    name: 'what a later version wrote is refused as such, not as damage',
    async run(bench) {
      const { store } = await bench.open()
      const intake = await store.receive(headerOf(1), 5000)
      const error = await rejects(intake.write(ofLaterVersion(headerOf(1))), 'ERR_RAFT_STORE_FORMAT')
      ok(error.message.includes('upgrade'), error.message)
    },
  },
]

const reading: readonly Behaviour[] = [
  {
    name: 'H1-26 each reader reads for itself, and one that stops early disturbs nobody',
    async run(bench) {
      const { store } = await bench.open()
      const data = bytes(300_000)
      const { header } = await make(store, headerOf(1), [data])
      const one = store.read(header.id)[Symbol.asyncIterator]()
      const first = await one.next()
      for await (const chunk of store.read(header.id)) {
        ok(chunk.length > 0)
        break
      }
      const other = await readAll(store, header.id)
      const rest = await readAll({ read: () => ({ [Symbol.asyncIterator]: () => one }) }, header.id)
      deepStrictEqual(other, data)
      deepStrictEqual(joined([first.done === true ? new Uint8Array(0) : first.value, rest]), data)
    },
  },
  {
    name: 'readInto gives any stretch of the file, and nothing behind its end',
    async run(bench) {
      const { store } = await bench.open()
      const file = snapshotBytes(headerOf(1), [bytes(65_536), bytes(100)])
      await (await filled(store, headerOf(1), file)).finish()
      for (const [offset, most] of [
        [0, 10],
        [5, 1],
        [60_000, 10_000],
        [file.length - 5, 100],
        [file.length, 100],
        [file.length + 100, 1],
      ] as const) {
        const into = new Uint8Array(most + 2).fill(7)
        const count = await store.readInto(headerOf(1).id, offset, into.subarray(1, most + 1))
        const wanted = new Uint8Array(most + 2).fill(7)
        wanted.set(file.subarray(offset, offset + most), 1)
        deepStrictEqual(Buffer.from(into.subarray(0, count + 1)), Buffer.from(wanted.subarray(0, count + 1)))
        strictEqual(count, Math.max(0, Math.min(most, file.length - offset)), `${most} at ${offset}`)
        strictEqual(into.at(-1), 7, 'it fills no more than it was given')
      }
    },
  },
  {
    name: 'remove removes what it names; who reads one reads on, and what is being made goes on',
    async run(bench) {
      const { store } = await bench.open()
      const data = bytes(400_000)
      for (const n of [1, 2, 3]) await make(store, headerOf(n), [data])
      const sink = await store.create(headerOf(4))
      await sink.write(data)
      const reader = store.read(headerOf(1).id)[Symbol.asyncIterator]()
      await reader.next()
      await store.remove([headerOf(1).id, headerOf(3).id, headerOf(9).id])
      strictEqual((await readAll({ read: () => ({ [Symbol.asyncIterator]: () => reader }) }, '')).length, 334_464)
      for (const n of [1, 3]) await rejects(store.readInto(headerOf(n).id, 0, bytes(1)), 'ERR_RAFT_SNAPSHOT_FAILED')
      await sink.finish()
      const { found } = await bench.reopen()
      deepStrictEqual(
        found.whole.map(({ header }) => header.id),
        [headerOf(4).id, headerOf(2).id],
      )
    },
  },
  {
    name: 'what becomes whole while a removal is under way stays, also under a name that was removed',
    async run(bench) {
      const { store } = await bench.open()
      await make(store, headerOf(1), [])
      const ready = await store.create(headerOf(2))
      const removed = store.remove([headerOf(1).id])
      const again = make(store, headerOf(1), [bytes(10)])
      await Promise.all([removed, again, ready.finish()])
      const { found } = await bench.reopen()
      deepStrictEqual(
        found.whole.map(({ header }) => header.id),
        [headerOf(2).id, headerOf(1).id],
      )
    },
  },
  {
    name: 'remove gives up what a suspended intake of one that it names has received',
    async run(bench) {
      const { store } = await bench.open()
      for (const [removed, received] of [
        [[headerOf(2).id], 50],
        [[headerOf(1).id], 0],
      ] as const) {
        const intake = await store.receive(headerOf(1), 1000)
        await intake.write(snapshotBytes(headerOf(1), []).subarray(intake.received, 50))
        await intake.suspend()
        await store.remove(removed)
        const next = await store.receive(headerOf(1), 1000)
        strictEqual(next.received, received)
        await next.suspend()
      }
    },
  },
  {
    name: 'after close every call is refused, what was being made is gone, and a reader ends with an error',
    async run(bench) {
      const { store } = await bench.open()
      const { header } = await make(store, headerOf(1), [bytes(400_000)])
      const sink = await store.create(headerOf(2))
      const intake = await store.receive(headerOf(3), 1000)
      const reader = store.read(header.id)[Symbol.asyncIterator]()
      await reader.next()
      await store.close()
      await store.close()
      for (const call of [
        () => store.create(headerOf(4)),
        () => store.receive(headerOf(4), 1000),
        () => readAll(store, header.id),
        () => readAll({ read: () => ({ [Symbol.asyncIterator]: () => reader }) }, ''),
        () => store.readInto(header.id, 0, bytes(1)),
        () => store.verify(header.id),
        () => store.remove([]),
        () => sink.write(bytes(1)),
        () => sink.finish(),
        () => intake.write(bytes(1)),
      ]) {
        await rejects(call(), 'ERR_RAFT_CLOSED')
      }
      await sink.abort()
      await intake.suspend()
      const { found } = await bench.open()
      deepStrictEqual(
        found.whole.map((one) => one.header.id),
        [header.id],
      )
    },
  },
]

const failing: readonly Behaviour[] = [
  {
    name: 'N15 H1-27 a bit that flips anywhere is found: by open where it is in header or end, else by verify and read',
    needs: ['flipBit'],
    async run(bench) {
      const first = await bench.open()
      const data = [bytes(11, 1), bytes(12, 2), bytes(13, 3)]
      const file = snapshotBytes(headerOf(1), data)
      await (await filled(first.store, headerOf(1), file)).finish()
      const { id } = headerOf(1)
      const chunksAt = chunkStarts(file)[0] ?? 0
      for (let byte = 0; byte < file.length; byte += 1) {
        const bit = 8 * byte + (byte % 8)
        await bench.flipBit(id, bit)
        const { store, found } = await bench.reopen()
        const isInData = byte >= chunksAt && byte < file.length - 28
        deepStrictEqual([found.whole.length, found.flawed.length], isInData ? [1, 0] : [0, 1], `byte ${byte}`)
        if (!isInData) strictEqual(found.flawed[0]?.flaw.code, 'ERR_RAFT_SNAPSHOT_CORRUPT')
        const error = await rejects(store.verify(id), 'ERR_RAFT_SNAPSHOT_CORRUPT')
        ok(/byte|beginning/.test(error.message) && error.message.includes(id), error.message)
        await rejects(readPrefix(store, id, joined(data)), 'ERR_RAFT_SNAPSHOT_CORRUPT')
        await bench.flipBit(id, bit)
      }
      await first.store.close()
      await (await bench.open()).store.verify(id)
    },
  },
  {
    name: 'a flawed snapshot stays until it is removed, or until it is received again',
    needs: ['flipBit'],
    async run(bench) {
      const first = await bench.open()
      const { header } = await make(first.store, headerOf(1), [])
      await bench.flipBit(header.id, 0)
      const second = await bench.reopen()
      await second.store.remove([headerOf(2).id])
      const third = await bench.reopen()
      deepStrictEqual(
        third.found.flawed.map(({ id }) => id),
        [header.id],
      )
      const file = snapshotBytes(header, [])
      await (await filled(third.store, header, file)).finish()
      const fourth = await bench.reopen()
      deepStrictEqual(fourth.found, { whole: [{ header, bytes: file.length }], flawed: [] })
      await bench.flipBit(header.id, 0)
      const fifth = await bench.reopen()
      strictEqual(fifth.found.flawed.length, 1)
      await fifth.store.remove([header.id])
      deepStrictEqual((await bench.reopen()).found, { whole: [], flawed: [] })
    },
  },
  {
    name: 'a call of the disk that fails rejects with its reason, and leaves nothing but what was there',
    needs: ['failCall'],
    async run(bench) {
      const first = await bench.open()
      const old = await make(first.store, headerOf(1), [bytes(10)])
      for (const work of [makeSecond, receiveSecond]) {
        let failures = 0
        for (let k = 1; k <= CALLS_MAX && failures === k - 1; k += 1) {
          const { store } = await bench.reopen()
          const heal = bench.failCall(k)
          const error = await errorOf(work(store))
          heal()
          if (error === null) break
          failures += 1
          strictEqual(codeOf(error), 'ERR_RAFT_SNAPSHOT_FAILED', `${work.name}, call ${k}`)
          const { whole, flawed } = (await bench.reopen()).found
          const others = whole.filter(({ header }) => header.id !== old.header.id)
          ok(flawed.length === 0 && whole.length - others.length === 1, `${work.name}, call ${k}`)
          for (const { header } of others) await bench.current().store.verify(header.id)
          await bench.current().store.remove(others.map(({ header }) => header.id))
        }
        ok(failures >= 4, `${failures} calls of ${work.name} change something`)
        await bench.current().store.remove([headerOf(2).id])
      }
    },
  },
  {
    name: 'N13 D8 H1-24 after a loss of power at any call there is the old or the new, whole; and the new once it was told',
    needs: ['dieAt', 'crash'],
    async run(bench) {
      for (const work of [makeSecond, receiveSecond]) {
        let isTold = false
        for (let k = 1; k <= CALLS_MAX && !isTold; k += 1) {
          const { store } = await bench.openOther()
          const old = await make(store, headerOf(1), [bytes(10)])
          bench.dieAt(k)
          isTold = (await errorOf(work(store))) === null
          bench.crash()
          const next = await bench.open()
          deepStrictEqual(next.found.flawed, [])
          const ids = next.found.whole.map(({ header }) => header.id)
          ok(ids.at(-1) === old.header.id && ids.length <= 2, `${work.name}, call ${k}: ${ids.join()}`)
          if (isTold) strictEqual(ids[0], headerOf(2).id, `${work.name} was told, ${k - 1} calls`)
          for (const id of ids) await next.store.verify(id)
          const again = await make(next.store, headerOf(3), [bytes(10)])
          await checkData(next.store, again, bytes(10))
        }
        ok(isTold, `${work.name} never came to its end`)
      }
    },
  },
  {
    name: 'a large snapshot is made, sent, received, verified and read without being held in memory',
    needs: ['largeBytes'],
    async run(bench) {
      const { store, largeBytes } = { ...(await bench.open()), largeBytes: bench.largeBytes }
      const memory = new MemoryWatch()
      const piece = bytes(1 << 20)
      const sink = await store.create(headerOf(1))
      for (let written = 0; written < largeBytes; written += piece.length) {
        await sink.write(piece)
        memory.look()
      }
      const made = await sink.finish()
      const intake = await store.receive({ ...headerOf(1), id: headerOf(2).id }, made.bytes)
      await intake.abort()
      await store.verify(made.header.id)
      memory.look()
      let read = 0
      for await (const chunk of store.read(made.header.id)) {
        read += chunk.length
        memory.look()
      }
      ok(read >= largeBytes, `${read} bytes were read`)
      const other = await bench.openOther()
      const copy = await other.store.receive(headerOf(1), made.bytes)
      const into = new Uint8Array(1 << 20)
      while (copy.received < made.bytes) {
        await copy.write(into.subarray(0, await store.readInto(made.header.id, copy.received, into)))
        memory.look()
      }
      await copy.finish()
      await store.close()
      ok(memory.grown < largeBytes / 2, `memory grew by ${memory.grown} bytes for a snapshot of ${largeBytes}`)
    },
  },
]

const behaviours: readonly Behaviour[] = [...making, ...receiving, ...reading, ...failing]

interface Opened {
  readonly store: SnapshotStore
  readonly found: FoundSnapshots
}

class Bench {
  readonly #options: SnapshotStoreConformanceOptions
  readonly #dirs: string[] = []
  readonly #stores: SnapshotStore[] = []
  #opened: Opened | null = null

  constructor(options: SnapshotStoreConformanceOptions) {
    this.#options = options
  }

  get largeBytes(): number {
    return this.#options.largeBytes ?? 0
  }

  /** Another store object over the directory of before. */
  async open(): Promise<Opened> {
    if (this.#dirs.length === 0) this.#dirs.push(await this.#options.makeDir())
    const store = this.#options.create(this.#dir())
    this.#stores.push(store)
    this.#opened = { store, found: await store.open() }
    return this.#opened
  }

  /** In a directory of its own, which is the one of all that follows. */
  async openOther(): Promise<Opened> {
    this.#dirs.push(await this.#options.makeDir())
    return this.open()
  }

  current(): Opened {
    if (this.#opened === null) throw new Error('nothing is open')
    return this.#opened
  }

  async reopen(): Promise<Opened> {
    await this.current().store.close()
    return this.open()
  }

  async flipBit(id: string, bit: number): Promise<void> {
    await this.#options.flipBit?.(this.#dir(), id, bit)
  }

  failCall(k: number): () => void {
    return this.#options.failCall?.(this.#dir(), k) ?? (() => {})
  }

  dieAt(k: number): void {
    this.#options.dieAt?.(this.#dir(), k)
  }

  crash(): void {
    this.#options.crash?.(this.#dir())
  }

  async dispose(): Promise<void> {
    for (const store of this.#stores) await store.close()
    for (const dir of this.#dirs) await this.#options.removeDir(dir)
  }

  #dir(): string {
    return this.#dirs.at(-1) ?? ''
  }
}

/** How much memory outside of the heap has grown, at most. */
class MemoryWatch {
  readonly #before = process.memoryUsage().arrayBuffers
  grown = 0

  look(): void {
    this.grown = Math.max(this.grown, process.memoryUsage().arrayBuffers - this.#before)
  }
}

async function make(
  store: SnapshotStore,
  header: SnapshotHeader,
  pieces: readonly Uint8Array[],
): Promise<StoredSnapshot> {
  const sink = await store.create(header)
  for (const piece of pieces) await sink.write(piece)
  return sink.finish()
}

async function makeSecond(store: SnapshotStore): Promise<void> {
  await make(store, headerOf(2), [bytes(100_000)])
}

async function receiveSecond(store: SnapshotStore): Promise<void> {
  const file = snapshotBytes(headerOf(2), [bytes(1000), bytes(1000)])
  const first = await store.receive(headerOf(2), file.length)
  await first.write(file.subarray(0, 1500))
  await first.suspend()
  const second = await store.receive(headerOf(2), file.length)
  await second.write(file.subarray(second.received))
  await second.finish()
}

async function filled(store: SnapshotStore, header: SnapshotHeader, file: Uint8Array) {
  const intake = await store.receive(header, file.length)
  await writeAllOf(intake, file, [file.length])
  return intake
}

async function writeAllOf(
  intake: { write(piece: Uint8Array): Promise<string> },
  file: Uint8Array,
  lengths: readonly number[],
): Promise<void> {
  for (const piece of cut(file, lengths)) strictEqual(await intake.write(piece), 'ok')
}

async function readAll(store: Pick<SnapshotStore, 'read'>, id: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of store.read(id)) chunks.push(chunk)
  return joined(chunks)
}

/** Reads it as far as it goes; what came must be the beginning of `data`. */
async function readPrefix(store: SnapshotStore, id: string, data: Uint8Array): Promise<void> {
  let at = 0
  for await (const chunk of store.read(id)) {
    deepStrictEqual(Buffer.from(chunk), Buffer.from(data.subarray(at, at + chunk.length)))
    at += chunk.length
  }
}

/** All bytes of the file, as they are sent. */
async function fileOf(store: SnapshotStore, id: string, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for (let at = 0; ;) {
    const into = new Uint8Array(maxBytes)
    const part = into.subarray(0, await store.readInto(id, at, into))
    if (part.length === 0) return joined(parts)
    parts.push(part)
    at += part.length
  }
}

async function checkData(store: SnapshotStore, { header, bytes: length }: StoredSnapshot, data: Uint8Array) {
  deepStrictEqual(await readAll(store, header.id), data)
  await store.verify(header.id)
  strictEqual((await fileOf(store, header.id, 50_000)).length, length)
}

/** Where each chunk begins, and the end. */
function chunkStarts(file: Uint8Array): readonly number[] {
  const view = viewOf(file)
  const starts: number[] = []
  for (let at = view.getUint32(12, true); ;) {
    starts.push(at)
    const length = view.getUint32(at + 4, true)
    if (length === 0) return starts
    at += CHUNK_HEAD_BYTES + length
  }
}

function flipped(file: Uint8Array, byte: number): Uint8Array {
  const copy = file.slice()
  copy[byte] = (copy[byte] ?? 0) ^ (1 << (byte % 8))
  return copy
}

function ofLaterVersion(header: SnapshotHeader): Uint8Array {
  const encoded = encodeSnapshotHeader(header)
  const view = viewOf(encoded)
  view.setUint32(8, 2, true)
  view.setUint32(encoded.length - 4, crc32c(encoded, 0, encoded.length - 4), true)
  return encoded
}

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  )
}

function codeOf(error: unknown): RaftErrorCode | null {
  return error instanceof RaftError ? error.code : null
}

async function rejects(promise: Promise<unknown>, code: RaftErrorCode): Promise<RaftError> {
  const error = await errorOf(promise)
  if (error instanceof RaftError && error.code === code) return error
  throw new Error(`expected ${code}, got ${String(error)}`, { cause: error })
}
