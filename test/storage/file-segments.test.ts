/**
 * The segments of a file store: one after the other, removed when nothing of them is needed; what is missing, foreign
 * or damaged among them is refused by name, what was left behind is cleared away.
 */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import {
  BATCH_HEADER_BYTES,
  decodeBatchHeader,
  encodeBatch,
  encodeSegment,
  SEGMENT_HEADER_BYTES,
} from '#balsa/format/file-batch.js'
import { decodeCheckpoint, encodeCheckpoint } from '#balsa/format/file-checkpoint.js'
import { OperationPacker } from '#balsa/format/operations.js'
import { nodeDisk } from '#balsa/storage/file/disk.js'
import { FileLogStore } from '#balsa/storage/file/file-log-store.js'
import { replayStore } from '#balsa/storage/file/replay.js'
import { segmentNumber } from '#balsa/storage/file/segments.js'
import { logIndex } from '#balsa/types.js'
import type { StoreOperation } from '#balsa/types.js'

import { append, blockOf, entriesOf, hardState } from '#balsa/testing/conformance/blocks.js'
import { refusal } from '../support/failure.js'
import { compact, DIR, heldBy, segmentPath, SMALL_SEGMENT, submitAll, Waker, withFile } from './file-harness.js'
import type { Tickets } from './file-harness.js'
import { inDirectory } from './lmdb-harness.js'
import { ModelDisk } from './model-disk.js'
import type { Call } from './model-disk.js'

const test = suite('file store: segments')

/** Two or three of these fill a segment. */
const ENTRY_BYTES = 100
const ENTRIES = 20

/** A ticket for each entry, all of term 1. */
function entries(from: number, to: number): Tickets {
  return Array.from({ length: to - from + 1 }, (_, n) => [append(blockOf(from + n, 1, [ENTRY_BYTES]))])
}

const inTerm1 = (first: number, index: number): readonly StoreOperation[] => [
  compact(first, first === 1 ? 0 : 1, { index, term: 1 }),
]

test('a log goes on from segment to segment; each reopen finds all of it, and goes on in the last', async () => {
  const disk = new ModelDisk()
  await fill(disk, entries(1, ENTRIES))
  const before = await segmentsOf(disk)
  assert.ok(before.length >= 5, `${before.length} segments`)
  assert.equal(
    before,
    before.map((_, n) => n + 1),
  )
  for (const number of before)
    assert.ok(disk.bytesOf(segmentPath(number)).length <= SMALL_SEGMENT + 4 * BATCH_HEADER_BYTES)
  await inSmall(disk, async (store, state) => {
    assert.is(state.lastIndex, ENTRIES)
    assert.equal(await segmentsOf(disk), before)
    const all = await store.read(logIndex(1), logIndex(ENTRIES + 1), 1 << 20)
    assert.is(entriesOf(all).length, ENTRIES, 'one read goes through all segments')
  })
})

test('a compaction removes the segments that hold nothing any more, at once and not before, and the last one never', async () => {
  const disk = new ModelDisk()
  await fill(disk, entries(1, ENTRIES))
  const all = await segmentsOf(disk)
  for (const first of [2, 9, ENTRIES, ENTRIES + 1]) {
    await inSmall(disk, async (store, _, waker) => {
      const { usedBytes } = store.stats()
      await submitAll(store, [inTerm1(first, ENTRIES)], waker)
      await store.close()
      const left = await segmentsOf(disk)
      if (first > ENTRIES / 4) assert.ok(store.stats().usedBytes < usedBytes)
      assert.is(store.stats().usedBytes, await bytesOn(disk))
      assert.is(left.at(-1), (await segmentsOf(disk)).at(-1))
    })
    const copy = disk.copy()
    await inSmall(copy, async (store, state) => {
      assert.is(state.firstIndex, first)
      const read = first > ENTRIES ? [] : await store.read(logIndex(first), logIndex(ENTRIES + 1), 1 << 20)
      assert.is(entriesOf(read).length, ENTRIES + 1 - first)
    })
  }
  assert.ok((await segmentsOf(disk)).length <= 2)
  assert.ok(!(await segmentsOf(disk)).some((number) => number < (all.at(-1) ?? 0)))
})

test('endless appending and compacting: the files reach a size and stay there, also across reopens', async () => {
  await inDirectory(async (dir) => {
    const segmentBytes = 8192
    const sizes: number[] = []
    let last = 0
    for (let life = 0; life < 6; life += 1) {
      const store = new FileLogStore(dir, nodeDisk, segmentBytes)
      const waker = new Waker()
      await store.open(() => waker.wake())
      const tickets: (readonly StoreOperation[])[] = []
      for (let round = 0; round < 40; round += 1) {
        const block = blockOf(last + 1, 1, [500, 500])
        last += 2
        const step = last <= 10 ? inTerm1(1, last) : inTerm1(last - 9, last)
        tickets.push([append(block), ...step, { type: 'put', key: `k${round % 4}`, value: new Uint8Array(round) }])
      }
      assert.is(await submitAll(store, tickets, waker), tickets.length)
      const { usedBytes } = store.stats()
      await store.close()
      const names = (await readdir(dir)).filter((name) => segmentNumber(name) !== null)
      const lengths = await Promise.all(names.map(async (name) => (await stat(join(dir, name))).size))
      sizes.push(lengths.reduce((sum, length) => sum + length, 0))
      assert.ok(usedBytes > 0)
    }
    // What is kept is shorter than a segment: it lies in two at most, and a third may hold tickets without entries.
    for (const size of sizes) assert.ok(size <= 4 * segmentBytes, `${sizes.join(', ')} bytes`)
    assert.ok(last * 500 > 25 * segmentBytes)
  })
})

test('what must be known without the segments that are gone is found at open: votes, facts, boots, the snapshot', async () => {
  const disk = new ModelDisk()
  const tickets: Tickets = [
    [
      { type: 'put', key: 'old', value: Uint8Array.of(7) },
      { type: 'put', key: 'gone', value: Uint8Array.of(8) },
    ],
    [{ type: 'hardState', hardState: hardState(4, 'somebody', 0) }],
    ...entries(1, 10),
    [append(blockOf(11, 3, [ENTRY_BYTES]))],
    [{ type: 'delete', key: 'gone' }],
    [compact(11, 1, { index: 11, term: 3 })],
  ]
  await fill(disk, tickets)
  const held = await inSmall(disk, heldBy)
  assert.not.ok((await segmentsOf(disk)).includes(1))
  for (let boot = 3; boot < 6; boot += 1) {
    await inSmall(disk, async (store, state) => {
      assert.is(state.bootCounter, boot)
      assert.equal(state.hardState, hardState(4, 'somebody', 0))
      assert.equal([...state.facts.keys()], ['old'])
      assert.equal([state.firstIndex, state.prevTerm, state.snapshot?.index], [11, 1, 11])
      assert.equal(state.termRuns, [{ first: 11, term: 3 }])
      assert.is(await heldBy(store, state), held)
    })
  }
})

test('a segment that is missing is named: in the middle, the newest, the oldest that is needed', async () => {
  const disk = new ModelDisk()
  await fill(disk, entries(1, ENTRIES))
  const numbers = await segmentsOf(disk)
  for (const lost of numbers) {
    const damaged = disk.copy()
    damaged.deleteFile(segmentPath(lost))
    const names = await listOf(damaged)
    const error = await refusal(inSmall(damaged, heldBy), 'ERR_RAFT_STORE_CORRUPT')
    assert.match(error.message, `${segmentPath(lost)} is missing`)
    assert.equal(await listOf(damaged), names)
  }
  for (const number of numbers) disk.deleteFile(segmentPath(number))
  await refusal(inSmall(disk, heldBy), 'ERR_RAFT_STORE_CORRUPT')
})

test('a segment whose mark was cut off with the process gets it at the next open: the one behind it is missed from then on', async () => {
  for (const afterBytes of [0, 20]) {
    const disk = new ModelDisk()
    await fill(disk, entries(1, 1))
    await inSmall(disk, async (store, _, waker) => {
      let isBegun = false
      let writes = 0
      disk.fateOf = (call) => {
        isBegun ||= call === 'rename'
        if (!isBegun || call !== 'write') return 'done'
        writes += 1
        return { error: 'EIO', afterBytes: writes === 1 ? afterBytes : 0 }
      }
      await submitAll(store, entries(2, 9), waker)
      assert.is(store.poll().fault?.code, 'ERR_RAFT_STORE_POISONED')
    })
    disk.fateOf = () => 'done'
    const numbers = await segmentsOf(disk)
    await inSmall(disk, async (store, state, waker) => {
      await submitAll(store, entries(state.lastIndex + 1, state.lastIndex + 1), waker)
    })
    assert.equal(await segmentsOf(disk), numbers)
    const newest = segmentPath(numbers.at(-1) ?? 0)
    disk.deleteFile(newest)
    const error = await refusal(inSmall(disk, heldBy), 'ERR_RAFT_STORE_CORRUPT')
    assert.match(error.message, `${newest} is missing`)
  }
})

test('a flipped bit in any segment but the last refuses the store with the file and a byte before it', async () => {
  const disk = new ModelDisk()
  await fill(disk, entries(1, 6))
  const numbers = await segmentsOf(disk)
  for (const number of numbers.slice(0, -1)) {
    const path = segmentPath(number)
    const bytes = disk.bytesOf(path)
    // Without the mark behind them the batches are still whole, and the next segment proves it.
    const markAt = bytes.length - BATCH_HEADER_BYTES
    for (let at = 0; at < bytes.length; at += 1) {
      const damaged = disk.copy()
      const flipped = bytes.slice()
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
      damaged.place(path, flipped)
      if (at >= markAt) {
        await inSmall(damaged, async (_, state) => assert.is(state.lastIndex, 6))
        continue
      }
      const { message } = await refusal(inSmall(damaged, heldBy), 'ERR_RAFT_STORE_CORRUPT')
      const found = /^(\S+) is damaged at byte (\d+), index \d+: /.exec(message)
      assert.is(found?.[1], path, message)
      assert.ok(Number(found?.[2]) <= at, message)
    }
  }
})

test('a segment that was cut short, of another store, under another number, or of another chain is refused', async () => {
  const disk = new ModelDisk()
  await fill(disk, entries(1, 8))
  const other = new ModelDisk()
  await fill(other, entries(1, 8))
  const way = disk.copy()
  await fill(disk, entries(9, ENTRIES))
  await fill(way, [[{ type: 'delete', key: 'none' }], ...entries(9, ENTRIES)])
  const numbers = await segmentsOf(disk)
  const newest = numbers.at(-1) ?? 0
  const forged: readonly (readonly [string, number, Uint8Array])[] = [
    ['cut', 2, disk.bytesOf(segmentPath(2)).subarray(0, -3 * BATCH_HEADER_BYTES)],
    ['cut to nothing', newest, new Uint8Array(0)],
    ['of another store', 2, other.bytesOf(segmentPath(2))],
    ['under another number', 3, disk.bytesOf(segmentPath(2))],
    ['of another chain', newest - 1, way.bytesOf(segmentPath(newest - 1))],
    ['of another chain, newest', newest, way.bytesOf(segmentPath(newest))],
    ['beyond', newest + 1, disk.bytesOf(segmentPath(newest))],
  ]
  for (const [how, number, bytes] of forged) {
    const damaged = disk.copy()
    damaged.place(segmentPath(number), bytes)
    const error = await refusal(inSmall(damaged, heldBy), 'ERR_RAFT_STORE_CORRUPT')
    assert.match(error.message, 'segment-', how)
    assert.equal(damaged.bytesOf(segmentPath(number)), bytes, how)
  }
  await inSmall(disk, async (_, state) => assert.is(state.lastIndex, ENTRIES))
})

test('an intact segment whose checkpoint says other than the segments before it, or is none, is refused', async () => {
  const disk = new ModelDisk()
  await fill(disk, [[{ type: 'put', key: 'k', value: Uint8Array.of(1) }], ...entries(1, 8), inTerm1(2, 3)])
  const { identity, last, file } = await replayStore(disk, DIR)
  await file.close()
  const bytes = disk.bytesOf(last.path)
  const link = decodeBatchHeader(identity, bytes, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES)
  if (link === null) throw new Error('no checkpoint')
  const bodyAt = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES
  const body = bytes.slice(bodyAt, bodyAt + link.bodyBytes)
  const said = decodeCheckpoint(body)
  const packed = (...operations: readonly StoreOperation[]): Uint8Array => {
    const ops = new OperationPacker().pack(operations)
    return Buffer.concat([body.subarray(0, 24 + 16 * said.termRuns.length), ops])
  }
  const forged: readonly Uint8Array[] = [
    encodeCheckpoint({ ...said, bootCounter: said.bootCounter + 1 }),
    encodeCheckpoint({ ...said, facts: new Map() }),
    encodeCheckpoint({ ...said, termRuns: [] }),
    encodeCheckpoint({ ...said, lastIndex: logIndex(said.lastIndex + 1) }),
    body.subarray(0, 16),
    packed({ type: 'put', key: 'k', value: Uint8Array.of(1) }),
    packed({ type: 'hardState', hardState: said.hardState }, { type: 'delete', key: 'k' }),
    Buffer.concat([new Uint8Array(16), Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0)]),
    Buffer.concat([body.subarray(0, 16), new Uint8Array(8).fill(255), body.subarray(24)]),
  ]
  for (const [n, checkpoint] of forged.entries()) {
    const damaged = disk.copy()
    damaged.place(last.path, encodeSegment(identity, last.number, link, checkpoint).bytes)
    const error = await refusal(inSmall(damaged, heldBy), 'ERR_RAFT_STORE_CORRUPT')
    assert.match(error.message, `${last.path} is damaged at byte ${SEGMENT_HEADER_BYTES}`, `forged ${n}`)
  }
  for (const kind of ['checkpoint', 'sealed', 'tickets'] as const) {
    const end = { ...link, position: SEGMENT_HEADER_BYTES }
    const { bytes: start, next } = encodeSegment(identity, last.number, link, body)
    const first = encodeBatch(identity, end, kind, [body])
    const again = encodeBatch(identity, next, kind, [body])
    const damaged = disk.copy()
    const header = start.subarray(0, SEGMENT_HEADER_BYTES)
    damaged.place(last.path, Buffer.concat(kind === 'tickets' ? [header, first.bytes] : [start, again.bytes]))
    await refusal(inSmall(damaged, heldBy), 'ERR_RAFT_STORE_CORRUPT')
  }
  await inSmall(disk, async (_, state) => assert.is(state.lastIndex, 8))
})

test('what a cut-off removal or creation left is cleared away, and nothing else is', async () => {
  const disk = new ModelDisk()
  await fill(disk, entries(1, ENTRIES))
  const old = disk.copy()
  await inSmall(disk, async (store, _, waker) => {
    await submitAll(store, [inTerm1(ENTRIES, ENTRIES)], waker)
  })
  const left = await segmentsOf(disk)
  const oldest = left[0] ?? 0
  // All that were removed, all but one, one far below: a removal that was not flushed leaves any of them.
  for (const kept of [
    (number: number) => number > 0,
    (number: number) => number !== 2,
    (number: number) => number === 1,
  ]) {
    const again = disk.copy()
    for (let number = 1; number < oldest; number += 1) {
      if (kept(number)) again.place(segmentPath(number), old.bytesOf(segmentPath(number)))
    }
    const next = `${segmentPath((left.at(-1) ?? 0) + 1)}.new`
    again.place(next, Uint8Array.of(1, 2, 3))
    again.place(`${DIR}/segment-1`, Uint8Array.of(4))
    await inSmall(again, async (_, state) => assert.equal([state.firstIndex, state.lastIndex], [ENTRIES, ENTRIES]))
    assert.equal(await segmentsOf(again), left)
    const names = await listOf(again)
    assert.not.ok(names.includes(next.slice(DIR.length + 1)))
    assert.ok(names.includes('segment-1'), 'the file of somebody else')
  }
})

test('D1 an error of any call on the way to a new segment or through a compaction loses nothing that was reported', async () => {
  const tickets: Tickets = [...entries(1, 6), inTerm1(6, 6), ...entries(7, 12), inTerm1(12, 12), ...entries(13, 14)]
  const seen = new Map<Call, number>()
  for (let nth = 1, met = true; met; nth += 1) {
    const disk = new ModelDisk()
    await inSmall(disk, async () => {})
    met = false
    const reported = await inSmall(disk, async (store, _, waker) => {
      const from = disk.calls
      let failed: Call | null = null
      disk.fateOf = (call, number) => {
        if (number !== from + nth) return 'done'
        failed = call
        return { error: 'EIO' }
      }
      const durable = await submitAll(store, tickets, waker)
      const { fault } = store.poll()
      // A file that is not removed costs room, nothing else; any other failure ends the writing.
      if (fault !== null) assert.is(fault.code, 'ERR_RAFT_STORE_POISONED')
      if (failed !== null) {
        met = true
        seen.set(failed, (seen.get(failed) ?? 0) + 1)
        if (failed === 'remove') assert.is(fault, null)
        else if (failed !== 'syncDirectory')
          assert.is(fault?.code, 'ERR_RAFT_STORE_POISONED', `${String(failed)} ${nth}`)
      }
      return durable
    })
    disk.restart(() => false)
    await inSmall(disk, async (store, state, waker) => {
      const appended = tickets.slice(0, reported).filter(([step]) => step?.type === 'append').length
      assert.ok(state.lastIndex >= appended, `call ${nth}: ${state.lastIndex} of ${appended}`)
      await submitAll(store, entries(state.lastIndex + 1, state.lastIndex + 6), waker)
      await heldBy(store, state)
    })
    const [oldest] = await segmentsOf(disk)
    if (reported === tickets.length) assert.ok((oldest ?? 0) > 1, 'what could not be removed is removed later')
  }
  for (const call of ['write', 'datasync', 'create', 'rename', 'remove', 'syncDirectory'] as const) {
    assert.ok((seen.get(call) ?? 0) > 0, `${call} never failed`)
  }
})

test('D5 a disk that is full when a segment begins stalls the store, and it goes on when there is room', async () => {
  for (const full of ['create', 'write', 'rename'] as const) {
    const disk = new ModelDisk()
    await inSmall(disk, async (store, _, waker) => {
      await submitAll(store, entries(1, 1), waker)
      let isFull = true
      let met = 0
      disk.fateOf = (call) => {
        if (call !== full || !isFull) return 'done'
        met += 1
        return { error: 'ENOSPC', afterBytes: met === 1 ? 33 : 0 }
      }
      const seen: boolean[] = []
      disk.onPause = async () => {
        seen.push(store.poll().stalled)
        isFull = disk.pauses < 3
      }
      for (let index = 2; index <= 8; index += 1) store.submit(entries(index, index)[0] ?? [])
      while (store.poll().durable < 8 && store.poll().fault === null) await waker.next()
      assert.is(store.poll().fault, null)
      assert.equal(seen, [true, true, true], full)
    })
    await inSmall(disk, async (_, state) => assert.is(state.lastIndex, 8))
  }
})

test('C14 a read of a segment that is removed meanwhile gives the right entries or none, and leaves the store as it is', async () => {
  for (const isOpened of [false, true]) {
    const disk = new ModelDisk()
    await fill(disk, entries(1, ENTRIES))
    const { openFile } = disk
    let isSlow = false
    let letGo: () => void = () => {}
    const gate = new Promise<void>((resolve) => (letGo = resolve))
    disk.openFile = async (path) => {
      if (!isSlow) return openFile.call(disk, path)
      if (!isOpened) await gate
      const file = await openFile.call(disk, path)
      if (file === null || !isOpened) return file
      return {
        ...file,
        async read(into, position) {
          await gate
          return file.read(into, position)
        },
      }
    }
    const store = new FileLogStore(DIR, disk, SMALL_SEGMENT)
    const waker = new Waker()
    await store.open(() => waker.wake())
    isSlow = true
    const read = store.read(logIndex(1), logIndex(2), 1000)
    await submitAll(store, [inTerm1(ENTRIES, ENTRIES)], waker)
    // The removal goes on beside it, in a few turns.
    for (let turn = 0; turn < 100 && (await segmentsOf(disk)).includes(1); turn += 1) await nextTurn()
    assert.not.ok((await segmentsOf(disk)).includes(1))
    letGo()
    assert.equal(entriesOf(await read), isOpened ? entriesOf([blockOf(1, 1, [ENTRY_BYTES])]) : [])
    assert.is(store.poll().fault, null)
    await store.close()
  }
})

test('a read under way in a segment that is sealed meanwhile ends well', async () => {
  const disk = new ModelDisk()
  const { openFile } = disk
  let letGo: () => void = () => {}
  const gate = new Promise<void>((resolve) => (letGo = resolve))
  let isSlow = false
  let closed = 0
  disk.openFile = async (path) => {
    const file = await openFile.call(disk, path)
    if (file === null) return null
    let isClosed = false
    return {
      ...file,
      async read(into, position) {
        if (isSlow) await gate
        assert.not(isClosed, 'a read of a file that was closed')
        return file.read(into, position)
      },
      async close() {
        isClosed = true
        closed += 1
      },
    }
  }
  const store = new FileLogStore(DIR, disk, SMALL_SEGMENT)
  const waker = new Waker()
  await store.open(() => waker.wake())
  store.submit(entries(1, 1)[0] ?? [])
  while (store.poll().durable < 1) await waker.next()
  const before = closed
  isSlow = true
  const read = store.read(logIndex(1), logIndex(2), 1000)
  for (let index = 2; index <= 12; index += 1) store.submit(entries(index, index)[0] ?? [])
  while (store.poll().durable < 12) await waker.next()
  assert.is(closed, before)
  letGo()
  assert.is(entriesOf(await read).length, 1)
  await store.close()
  assert.ok(closed > before)
})

test('a segment that is deleted under an open store is named by the read that needs it', async () => {
  const disk = new ModelDisk()
  await fill(disk, entries(1, ENTRIES))
  await inSmall(disk, async (store) => {
    disk.deleteFile(segmentPath(1))
    const error = await refusal(store.read(logIndex(1), logIndex(2), 1000), 'ERR_RAFT_STORE_CORRUPT')
    assert.match(error.message, `${segmentPath(1)} is missing`)
    assert.is(entriesOf(await store.read(logIndex(ENTRIES), logIndex(ENTRIES + 1), 1000)).length, 1)
    assert.is(store.poll().fault, null)
  })
})

test('the last segment is watched also when it was begun by the open store', async () => {
  const disk = new ModelDisk()
  const store = new FileLogStore(DIR, disk, SMALL_SEGMENT)
  const waker = new Waker()
  await store.open(() => waker.wake())
  assert.is(await submitAll(store, entries(1, 9), waker), 9)
  disk.letLook()
  await nextTurn()
  assert.is(store.poll().fault, null)
  disk.deleteFile(segmentPath((await segmentsOf(disk)).at(-1) ?? 0))
  disk.letLook()
  for (let turn = 0; turn < 100 && store.poll().fault === null; turn += 1) await nextTurn()
  assert.match(store.poll().fault?.message ?? '', 'deleted, moved or replaced')
  await store.close()
})

test('the fingerprint is of a file that stays, whatever is written and removed', async () => {
  const disk = new ModelDisk()
  const first = await inSmall(disk, async (_, state) => state.fingerprint)
  await fill(disk, entries(1, ENTRIES))
  await fill(disk, [inTerm1(ENTRIES, ENTRIES)])
  await inSmall(disk, async (_, state) => assert.is(state.fingerprint, first))
  await inSmall(disk.copy(), async (_, state) => assert.is.not(state.fingerprint, first))
})

function inSmall<T>(disk: ModelDisk, use: Parameters<typeof withFile<T>>[1]): Promise<T> {
  return withFile(disk, use, SMALL_SEGMENT)
}

async function fill(disk: ModelDisk, tickets: Tickets): Promise<void> {
  await inSmall(disk, async (store, _, waker) => {
    assert.is(await submitAll(store, tickets, waker), tickets.length)
  })
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function listOf(disk: ModelDisk): Promise<readonly string[]> {
  return (await disk.list(DIR)).toSorted()
}

async function segmentsOf(disk: ModelDisk): Promise<readonly number[]> {
  const numbers = (await listOf(disk)).map(segmentNumber).filter((number) => number !== null)
  return numbers.toSorted((a, b) => a - b)
}

async function bytesOn(disk: ModelDisk): Promise<number> {
  return (await segmentsOf(disk)).reduce((sum, number) => sum + disk.bytesOf(segmentPath(number)).length, 0)
}

test.run()
