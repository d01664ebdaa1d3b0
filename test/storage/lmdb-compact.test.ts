/** The native store, compacted: what each kind leaves, what a later open finds of it, and that reads below it end. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { entryBlock } from '#balsa/format/block.js'
import type { LogStore, StoredState } from '#balsa/storage/index.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, SnapshotMeta, StoreOperation } from '#balsa/types.js'

import { DEADLINE_MS, inDirectory, MODES } from './lmdb-harness.js'

const test = suite('native store: compaction')

const READ_BYTES = 1024 * 1024

const configuration = { voters: [{ id: 'a', address: '10.0.0.1:7000' }], outgoing: null, nonvoters: [] }

function entry(index: number, term: number, length = 100): Block {
  return entryBlock('command', logIndex(index), termOf(term), 0, new Uint8Array(length))
}

function snapshotOf(index: number, term: number): SnapshotMeta {
  return {
    id: '0123456789abcdef0123456789abcdef',
    index: logIndex(index),
    term: termOf(term),
    time: 1_760_000_000_123,
    configuration,
    configurationIndex: logIndex(1),
    clusterName: 'orders',
  }
}

function compact(first: number, prevTerm: number, snapshot: SnapshotMeta, keepSuffix: boolean): StoreOperation {
  return { type: 'compact', first: logIndex(first), prevTerm: termOf(prevTerm), snapshot, keepSuffix }
}

/** Submits one ticket and waits until it is durable. */
async function put(store: LogStore, wakes: Wakes, operations: readonly StoreOperation[]): Promise<void> {
  const ticket = store.submit(operations)
  await wakes.until(() => {
    const { durable, fault } = store.poll()
    if (fault !== null) throw fault
    return durable >= ticket
  })
}

/** What a store has called, to be waited for. */
class Wakes {
  #ring: () => void = () => {}

  readonly onWake = (): void => this.#ring()

  async until(isReached: () => boolean): Promise<void> {
    while (!isReached()) {
      let timer
      await new Promise<void>((resolve, reject) => {
        timer = setTimeout(() => reject(new Error('no wake in time')), DEADLINE_MS)
        this.#ring = resolve
      })
      clearTimeout(timer)
    }
  }
}

async function withWakes(store: LogStore, run: (store: LogStore, wakes: Wakes) => Promise<void>) {
  const wakes = new Wakes()
  await store.open(wakes.onWake)
  try {
    await run(store, wakes)
  } finally {
    await store.close()
  }
}

function appends(from: number, to: number, term: number, length?: number): StoreOperation[] {
  const operations: StoreOperation[] = []
  for (let index = from; index <= to; index += 1) {
    operations.push({ type: 'append', block: entry(index, term, length) })
  }
  return operations
}

async function assertReads(store: LogStore, { firstIndex, lastIndex }: StoredState): Promise<void> {
  for (let next = firstIndex; next <= lastIndex;) {
    const blocks = await store.read(next, logIndex(lastIndex + 1), READ_BYTES)
    assert.is(blocks[0]?.first, next)
    next = logIndex((blocks.at(-1)?.last ?? 0) + 1)
  }
  for (const below of [1, firstIndex - 1].filter((index) => index >= 1 && index < firstIndex)) {
    assert.equal(await store.read(logIndex(below), logIndex(lastIndex + 1), READ_BYTES), [])
  }
}

for (const { name, factory, withStore } of MODES) {
  test(`what is kept behind a snapshot is there after a reopen, with the snapshot and the term before it (${name})`, async () => {
    await inDirectory(async (dir) => {
      const snapshot = snapshotOf(15, 2)
      await withWakes(factory().create(dir), async (store, wakes) => {
        await put(store, wakes, [...appends(1, 10, 1), ...appends(11, 20, 2)])
        await put(store, wakes, [compact(9, 1, snapshot, true)])
        assert.is(store.stats().firstIndex, 9)
        await put(store, wakes, appends(21, 22, 2))
      })
      await withStore(dir, async (store, state) => {
        assert.equal([state.firstIndex, state.prevTerm, state.lastIndex], [9, 1, 22])
        assert.equal(state.snapshot, snapshot)
        assert.equal(state.termRuns, [
          { first: 9, term: 1 },
          { first: 11, term: 2 },
        ])
        await assertReads(store, state)
      })
    })
  })

  test(`a snapshot in place of the log leaves none of its entries, and the log goes on behind it (${name})`, async () => {
    for (const index of [12, 20, 500]) {
      await inDirectory(async (dir) => {
        const snapshot = snapshotOf(index, 5)
        await withWakes(factory().create(dir), async (store, wakes) => {
          await put(store, wakes, appends(1, 20, 1))
          await put(store, wakes, [compact(index + 1, 5, snapshot, false), ...appends(index + 1, index + 1, 6)])
        })
        await withStore(dir, async (store, state) => {
          assert.equal([state.firstIndex, state.prevTerm, state.lastIndex], [index + 1, 5, index + 1])
          assert.equal(state.snapshot, snapshot)
          await assertReads(store, state)
        })
      })
    }
  })

  test(`C14 a read that a compaction overtakes gives no block, and not what is left (${name})`, async () => {
    await inDirectory(async (dir) => {
      await withWakes(factory().create(dir), async (store, wakes) => {
        await put(store, wakes, appends(1, 2000, 1))
        const ticket = store.submit([compact(2000, 1, snapshotOf(2000, 1), true)])
        const reads = []
        while (store.poll().durable < ticket) reads.push(await store.read(logIndex(1), logIndex(2001), 1000))
        for (const blocks of reads) assert.ok(blocks.length === 0 || blocks[0]?.first === 1)
        assert.equal(await store.read(logIndex(1), logIndex(2001), 1000), [])
        assert.is((await store.read(logIndex(2000), logIndex(2001), 1000)).length, 1)
      })
    })
  })

  test(`D7 a store that is full is so no longer when a compaction has made room (${name})`, async () => {
    await inDirectory(async (dir) => {
      await withWakes(factory(4 * 1024 * 1024).create(dir), async (store, wakes) => {
        let last = 0
        while (store.poll().full === null) {
          await put(store, wakes, appends(last + 1, last + 20, 1, 1000))
          last += 20
        }
        assert.is(store.poll().full?.code, 'ERR_RAFT_STORE_FULL')
        await put(store, wakes, [compact(last, 1, snapshotOf(last, 1), true)])
        await wakes.until(() => store.poll().full === null)
        await put(store, wakes, appends(last + 1, last + 20, 1, 1000))
      })
    })
  })
}

test.run()
