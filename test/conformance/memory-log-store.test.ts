/** The memory store against the contract, and its own promises: manual completion, crashes, faults, bounds. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure, RaftError } from '#balsa/errors.js'
import { MemoryDisk, MemoryLogStore, memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { MemoryDiskOptions } from '#balsa/storage/memory/memory-log-store.js'
import { logIndex, termOf } from '#balsa/types.js'

import { append, blockOf, entriesOf, hardState } from '#balsa/testing/conformance/blocks.js'
import { logStoreConformance } from '#balsa/testing/index.js'
import type { StoreOperation } from '#balsa/types.js'

import { registerCases } from '../support/register-cases.js'

const factory = memoryStore()
let dirs = 0

const test = suite('the memory store')

registerCases(
  test,
  logStoreConformance({
    create: (dir) => factory.create(dir),
    makeDir: async () => `memory-${(dirs += 1)}`,
    removeDir: async () => {},
    failNextWrite: (dir) => factory.disk(dir).failTicket(1, 'lost'),
    crash: (dir) => factory.disk(dir).crash(),
  }),
)

test('manual completion makes tickets durable one by one, and wakes once for each group commit', async () => {
  const { disk, store, wakes } = await openManual()
  for (let first = 1; first <= 4; first += 1) store.submit([append(blockOf(first, 1, [8]))])
  assert.is(disk.pendingTickets, 4)
  assert.is(store.poll().durable, 0)
  assert.ok(disk.completeOne())
  assert.is(store.poll().durable, 1)
  assert.is(disk.durable.lastIndex, 1)
  assert.is(disk.completeAll(), 3)
  assert.is(store.poll().durable, 4)
  assert.not.ok(disk.completeOne())
  assert.is(wakes(), 2)
  assert.is(store.stats().groupCommits, 2)
  await store.close()
})

test('a crash drops what was not durable, keeps what was, and silences the dead store', async () => {
  const { disk, store, wakes } = await openManual()
  store.submit([append(blockOf(1, 1, [8])), { type: 'hardState', hardState: hardState(1, 'a', 0) }])
  store.submit([append(blockOf(2, 1, [8])), { type: 'hardState', hardState: hardState(2, 'b', 0) }])
  disk.completeOne()
  disk.crash()
  assert.is(disk.completeAll(), 0)
  assert.throws(() => store.submit([append(blockOf(2, 1, [8]))]), isClosed)
  await store.close()
  const again = new MemoryLogStore(disk)
  const state = await again.open(() => {})
  assert.is(state.lastIndex, 1)
  assert.equal(state.hardState, hardState(1, 'a', 0))
  assert.is(state.bootCounter, 2)
  assert.is(wakes(), 1)
  await again.close()
})

test('a commit that was scheduled before the crash does nothing after it', async () => {
  const due: (() => void)[] = []
  const { disk, store } = await openWith({ completion: (commit) => due.push(commit) })
  store.submit([append(blockOf(1, 1, [8]))])
  disk.crash()
  const again = new MemoryLogStore(disk)
  await again.open(() => {})
  for (const commit of due) commit()
  assert.is(disk.durable.lastIndex, 0)
  await again.close()
})

for (const fate of ['lost', 'kept'] as const) {
  test(`the k-th ticket fails: those before it are durable, its own entries are ${fate}`, async () => {
    const { disk, store, wakes } = await openManual()
    disk.failTicket(3, fate)
    for (let first = 1; first <= 4; first += 1) store.submit([append(blockOf(first, 1, [8]))])
    assert.is(disk.completeAll(), 2)
    assert.is(wakes(), 1)
    const progress = store.poll()
    assert.is(progress.durable, 2)
    assert.is(progress.credit, 0)
    assert.is(progress.fault?.code, 'ERR_RAFT_STORE_POISONED')
    assert.is(progress.fault?.outcome, 'unknown')
    assert.is(disk.completeAll(), 0)
    await store.close()
    const again = new MemoryLogStore(disk)
    assert.is((await again.open(() => {})).lastIndex, fate === 'kept' ? 3 : 2)
    await again.close()
  })
}

test('a full disk stalls the oldest ticket and says so once; room brings everything in order', async () => {
  const due: (() => void)[] = []
  const { disk, store, wakes } = await openWith({ completion: (commit) => due.push(commit) })
  const runDue = (): void => due.splice(0).forEach((commit) => commit())
  disk.stall()
  store.submit([append(blockOf(1, 1, [8]))])
  runDue()
  store.submit([append(blockOf(2, 1, [8]))])
  runDue()
  assert.is(store.poll().stalled, true)
  assert.is(store.poll().durable, 0)
  assert.is(wakes(), 1)
  disk.resume()
  runDue()
  assert.is(store.poll().stalled, false)
  assert.is(store.poll().durable, 2)
  await store.close()
})

test('credit is the capacity less the blocks that are pending, and a ticket over it is a defect of the caller', async () => {
  const block = blockOf(1, 1, [1000])
  const size = block.data.byteLength
  const { disk, store } = await openManual({ capacityBytes: 2 * size })
  assert.is(store.poll().credit, 2 * size)
  store.submit([append(block)])
  assert.is(store.poll().credit, size)
  assert.throws(() => store.submit([append(blockOf(2, 1, [1000, 1000]))]), isDefect)
  store.submit([append(blockOf(2, 1, [1000]))])
  assert.is(store.poll().credit, 0)
  store.submit([{ type: 'hardState', hardState: hardState(1, null, 0) }])
  disk.completeAll()
  assert.is(store.poll().credit, 2 * size)
  await store.close()
})

test('close waits for the manual completion of what is pending', async () => {
  const { disk, store } = await openManual()
  store.submit([append(blockOf(1, 1, [8]))])
  let isClosedNow = false
  const closed = store.close().then(() => {
    isClosedNow = true
  })
  await Promise.resolve()
  assert.is(isClosedNow, false)
  disk.completeAll()
  await closed
  assert.is(disk.durable.lastIndex, 1)
})

const defects: readonly (readonly [string, readonly StoreOperation[]])[] = [
  ['a gap behind the last entry', [append(blockOf(4, 1, [8]))]],
  ['an entry that is there already', [append(blockOf(2, 1, [8]))]],
  ['a term below that of the last entry', [append(blockOf(3, 4, [8]))]],
  ['a truncation behind the end', [{ type: 'truncateSuffix', from: logIndex(3) }]],
  ['a truncation before the first entry', [{ type: 'truncateSuffix', from: logIndex(0) }]],
  ['a term that goes back', [{ type: 'hardState', hardState: hardState(4, 'a', 0) }]],
  ['a second vote in one term', [{ type: 'hardState', hardState: hardState(5, 'b', 0) }]],
  ['a vote taken back in one term', [{ type: 'hardState', hardState: hardState(5, null, 0) }]],
  ['an empty key', [{ type: 'put', key: '', value: new Uint8Array(1) }]],
  ['a key of 256 bytes', [{ type: 'delete', key: 'x'.repeat(256) }]],
  ['a value of 4097 bytes', [{ type: 'put', key: 'k', value: new Uint8Array(4097) }]],
  ['a ticket without operations', []],
  ['a block that is not what it says', [append({ ...blockOf(3, 5, [8]), last: logIndex(9) })]],
]

for (const [name, operations] of defects) {
  test(`submit asserts against ${name}`, async () => {
    const { store, disk } = await openManual()
    store.submit([append(blockOf(1, 5, [8, 8])), { type: 'hardState', hardState: hardState(5, 'a', 0) }])
    assert.throws(() => store.submit(operations), isDefect)
    disk.completeAll()
    await store.close()
  })
}

test('bit rot anywhere in a block is found by the read that meets it, and only by that', async () => {
  const { store, disk } = await openManual()
  store.submit([append(blockOf(1, 1, [8])), append(blockOf(2, 1, [20]))])
  disk.completeAll()
  disk.flipBit(logIndex(2), 8 * (24 + 32) + 3)
  assert.is((await store.read(logIndex(1), logIndex(2), 1000)).length, 1)
  const error = await store.read(logIndex(1), logIndex(3), 1000).catch((reason: unknown) => reason)
  assert.ok(error instanceof RaftError && error.code === 'ERR_RAFT_STORE_CORRUPT')
  assert.match(error.message, 'index 2')
  await store.close()
})

test('D4 a damaged block that a compaction cuts through stays, and a read of what is left of it says so', async () => {
  const { disk, store } = await openCutThrough()
  assert.equal([store.stats().firstIndex, disk.durable.termAt(logIndex(2))], [3, null])
  assert.equal(await store.read(logIndex(2), logIndex(5), 1000), [])
  const error = await store.read(logIndex(3), logIndex(5), 1000).catch((reason: unknown) => reason)
  assert.ok(error instanceof RaftError && error.code === 'ERR_RAFT_STORE_CORRUPT')
  assert.is((await store.read(logIndex(4), logIndex(5), 1000)).length, 1)
  const again = disk.copy()
  assert.equal([again.durable.firstIndex, again.durable.prevTerm, again.durable.snapshot?.index], [3, 1, 3])
  await store.close()
})

const damagedBy = async (reading: Promise<unknown>): Promise<unknown> => {
  const error = await reading.catch((reason: unknown) => reason)
  return error instanceof RaftError && error.code === 'ERR_RAFT_STORE_CORRUPT' ? error.damaged : error
}

test('D4 a damaged block is told with its entries, and others of the same entries take its place', async () => {
  const { disk, store } = await openManual()
  store.submit([append(blockOf(1, 1, [8])), append(blockOf(2, 3, [20, 20, 20])), append(blockOf(5, 3, [8]))])
  store.submit([{ type: 'hardState', hardState: hardState(4, 'a', 5) }])
  disk.completeAll()
  const intact = entriesOf(await store.read(logIndex(1), logIndex(6), 1000))
  disk.flipBit(logIndex(3), 8 * 70)
  const { usedBytes } = store.stats()
  assert.equal(await damagedBy(store.read(logIndex(1), logIndex(6), 1000)), { first: 2, last: 4 })
  const pieces = [blockOf(2, 3, [20]), blockOf(3, 3, [20, 20])]
  assert.is(await store.repair(logIndex(2), logIndex(4), pieces), true)
  assert.equal(entriesOf(await store.read(logIndex(1), logIndex(6), 1000)), intact)
  assert.equal(
    disk.durable.blocks.map(({ first, last }) => `${first}-${last}`),
    ['1-1', '2-2', '3-4', '5-5'],
  )
  assert.equal(disk.durable.hardState, hardState(4, 'a', 5))
  assert.is(store.stats().usedBytes - usedBytes, 28, 'a header and a checksum more')
  // What is submitted from now on is held against the same log.
  store.submit([{ type: 'truncateSuffix', from: logIndex(4) }, append(blockOf(4, 5, [8]))])
  disk.completeAll()
  assert.equal(entriesOf(await store.read(logIndex(1), logIndex(4), 1000)), intact.slice(0, 3))
  await store.close()
})

test('D4 a repair changes nothing where the log has become another one, or is whole', async () => {
  const { disk, store } = await openManual()
  store.submit([append(blockOf(1, 1, [8])), append(blockOf(2, 3, [20, 20])), append(blockOf(4, 3, [20, 20]))])
  disk.completeAll()
  const repair = (first: number, last: number, term: number): Promise<boolean> => {
    const lengths = Array<number>(last - first + 1).fill(20)
    return store.repair(logIndex(first), logIndex(last), [blockOf(first, term, lengths)])
  }
  assert.is(await repair(2, 3, 3), false, 'it is whole')
  disk.flipBit(logIndex(2), 8 * 70)
  assert.is(await repair(2, 3, 2), false, 'it has another term')
  assert.is(await repair(3, 3, 3), false, 'a part of it')
  assert.is(await repair(2, 2, 3), false, 'a part of it')
  assert.is(await repair(2, 4, 3), false, 'more than it')
  store.submit([{ type: 'truncateSuffix', from: logIndex(2) }, append(blockOf(2, 7, [20, 20]))])
  disk.completeAll()
  assert.is(await repair(2, 3, 3), false, 'it was truncated')
  assert.equal(
    disk.durable.blocks.map(({ first, term }) => `${first}/${term}`),
    ['1/1', '2/7'],
  )
  disk.flipBit(logIndex(2), 8 * 70)
  assert.is(await repair(2, 3, 3), false, 'what was truncated is not what is damaged now')
  assert.is(await repair(2, 3, 7), true)
  await store.close()
})

test('D4 of a damaged block that a compaction cuts through only what is kept is repaired', async () => {
  const { store } = await openCutThrough()
  assert.equal(await damagedBy(store.read(logIndex(3), logIndex(5), 1000)), { first: 3, last: 3 })
  assert.is(await store.repair(logIndex(3), logIndex(3), [blockOf(3, 1, [40])]), true)
  assert.is((await store.read(logIndex(3), logIndex(5), 1000)).length, 2)
  await store.close()
})

test('D4 what was damaged at the start is repaired for what is submitted, too', async () => {
  const block = blockOf(1, 1, [20, 20, 20])
  for (let byte = 0; byte < block.data.length; byte += 1) {
    const disk = new MemoryDisk({ completion: 'manual' })
    const before = new MemoryLogStore(disk)
    await before.open(() => {})
    before.submit([append(block), append(blockOf(4, 1, [20]))])
    disk.completeAll()
    await before.close()
    disk.flipBit(logIndex(1), 8 * byte + 7)
    const store = new MemoryLogStore(disk)
    await store.open(() => {})
    assert.is(await store.repair(logIndex(1), logIndex(3), [block]), true, `byte ${byte}`)
    // It cuts through the block, first in what is accepted.
    store.submit([{ type: 'truncateSuffix', from: logIndex(2) }, append(blockOf(2, 2, [20]))])
    disk.completeAll()
    assert.is((await store.read(logIndex(1), logIndex(3), 1000)).length, 2)
    await store.close()
  }
})

test('a repair for which there is no room is refused, and one that fails poisons', async () => {
  const { disk, store } = await openManual()
  store.submit([append(blockOf(1, 1, [8])), append(blockOf(2, 1, [8]))])
  disk.completeAll()
  disk.flipBit(logIndex(1), 8 * 70)
  const repair = (): Promise<unknown> => store.repair(logIndex(1), logIndex(1), [blockOf(1, 1, [8])])
  const code = (error: unknown): unknown => (error instanceof RaftError ? error.code : error)
  disk.stall()
  assert.is(await repair().catch(code), 'ERR_RAFT_STORE_FULL')
  disk.resume()
  assert.is(store.poll().fault, null)
  disk.failTicket(1, 'kept')
  assert.is(await repair().catch(code), 'ERR_RAFT_STORE_POISONED')
  assert.is(store.poll().fault?.code, 'ERR_RAFT_STORE_POISONED')
  await store.close()
})

test('a snapshot or a term before first that the log contradicts is a defect of the caller', async () => {
  const { store } = await openManual()
  store.submit([append(blockOf(1, 1, [1, 1])), append(blockOf(3, 4, [1, 1]))])
  for (const [snapshotTerm, prevTerm] of [
    [1, 1],
    [4, 4],
  ] as const) {
    assert.throws(() => store.submit([compactTo(3, snapshotTerm, prevTerm)]), isDefect)
  }
  store.submit([compactTo(3, 4, 1)])
})

test('a compaction gives room back to a log that has reached its bound', async () => {
  const { disk, store } = await openManual({ logBytesMax: 32_000 })
  for (let index = 1; index <= 31; index += 1) store.submit([append(blockOf(index, 1, [960]))])
  disk.completeAll()
  assert.is(store.poll().full?.code, 'ERR_RAFT_STORE_FULL')
  store.submit([compactTo(31)])
  disk.completeAll()
  const { full, credit } = store.poll()
  assert.equal([full, credit > 20_000], [null, true])
})

test('a scheduler that commits at once is a defect of the test that passed it', async () => {
  const { store, disk } = await openWith({ completion: (commit) => commit() })
  assert.throws(() => store.submit([append(blockOf(1, 1, [8]))]), isDefect)
  disk.crash()
})

async function openManual(
  options: MemoryDiskOptions = {},
): Promise<{ disk: MemoryDisk; store: MemoryLogStore; wakes: () => number }> {
  return openWith({ ...options, completion: 'manual' })
}

/** Entries 1 .. 3 are one block, which is damaged, and of which a compaction has left 3; 4 is another. */
async function openCutThrough(): Promise<{ disk: MemoryDisk; store: MemoryLogStore }> {
  const { disk, store } = await openManual()
  store.submit([append(blockOf(1, 1, [40, 40, 40])), append(blockOf(4, 1, [40]))])
  disk.completeAll()
  disk.flipBit(logIndex(2), 8 * 70)
  store.submit([compactTo(3)])
  disk.completeAll()
  return { disk, store }
}

async function openWith(
  options: MemoryDiskOptions,
): Promise<{ disk: MemoryDisk; store: MemoryLogStore; wakes: () => number }> {
  const disk = new MemoryDisk(options)
  const store = new MemoryLogStore(disk)
  let wakes = 0
  await store.open(() => {
    wakes += 1
  })
  return { disk, store, wakes: () => wakes }
}

function compactTo(first: number, snapshotTerm = 1, prevTerm = snapshotTerm): StoreOperation {
  const snapshot = {
    id: '0'.repeat(32),
    index: logIndex(first),
    term: termOf(snapshotTerm),
    time: 0,
    configuration: { voters: [{ id: 'a', address: 'a:1' }], outgoing: null, nonvoters: [] },
    configurationIndex: logIndex(1),
    clusterName: 'memory',
  }
  return { type: 'compact', first: logIndex(first), prevTerm: termOf(prevTerm), snapshot, keepSuffix: true }
}

function isDefect(error: unknown): boolean {
  return error instanceof AssertionFailure
}

function isClosed(error: unknown): boolean {
  return error instanceof RaftError && error.code === 'ERR_RAFT_CLOSED'
}

test.run()
