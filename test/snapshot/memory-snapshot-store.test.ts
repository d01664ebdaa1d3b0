/** What the disk in memory promises to tests and to the simulator, besides the contract of the store over it. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure, RaftError } from '#balsa/errors.js'
import { memorySnapshotStore } from '#balsa/storage/index.js'
import type { SnapshotStore } from '#balsa/storage/index.js'
import { bytes } from '#balsa/testing/conformance/blocks.js'
import { headerOf, snapshotBytes } from '#balsa/testing/conformance/snapshots.js'

const test = suite('the memory snapshot store')

test('a crash loses what was not finished, and ends every call under way', async () => {
  const factory = memorySnapshotStore()
  const store = factory.create('a')
  await store.open()
  await make(store, 1)
  const sink = await store.create(headerOf(2))
  await sink.write(bytes(70_000))
  const finishing = sink.finish()
  const reader = store.read(headerOf(1).id)[Symbol.asyncIterator]()
  const reading = reader.next()
  factory.disk('a').crash()
  assert.is(codeOf(await reason(finishing)), 'ERR_RAFT_SNAPSHOT_FAILED')
  assert.is(codeOf(await reason(reading)), 'ERR_RAFT_SNAPSHOT_FAILED')
  const again = factory.create('a')
  const { whole } = await again.open()
  assert.equal(
    whole.map(({ header }) => header.id),
    [headerOf(1).id],
  )
  await again.verify(headerOf(1).id)
  await again.close()
})

test('a crash leaves of each file what was flushed of it, and of names those that were', async () => {
  const disk = memorySnapshotStore().disk('a')
  const [kept, lost] = [await disk.createFile('a/kept'), await disk.createFile('a/lost')]
  await kept.write(bytes(10), 0)
  await kept.datasync()
  await kept.write(bytes(10), 10)
  await lost.write(bytes(10), 0)
  await lost.datasync()
  await disk.rename('a/lost', 'a/moved')
  await disk.remove('a/moved')
  await (await disk.createFile('b/other')).datasync()
  await disk.syncDirectory('a')
  await disk.rename('a/kept', 'a/new')
  disk.crash()
  assert.equal(await disk.list('a'), ['kept'])
  assert.equal(await disk.list('b'), [])
  assert.is(await (await disk.openFile('a/kept'))?.size(), 10)
  assert.is(codeOf(await reason(kept.size())), 'Error: EIO: as the disk in memory was told')
})

test('a disk goes by its folder, and a wiped one is empty', async () => {
  const factory = memorySnapshotStore()
  for (const [dir, expected] of [
    ['a', 0],
    ['a', 1],
    ['b', 0],
  ] as const) {
    const store = factory.create(dir)
    assert.is((await store.open()).whole.length, expected)
    if (expected === 0) await make(store, 1)
    await store.close()
  }
  factory.wipe('a')
  assert.is((await factory.create('a').open()).whole.length, 0)
})

test('a copy holds what is durable, and goes its own way', async () => {
  const factory = memorySnapshotStore()
  const store = factory.create('a')
  await store.open()
  await make(store, 1)
  const sink = await store.create(headerOf(2))
  await sink.write(bytes(70_000))
  const copy = factory.disk('a').copy()
  await sink.finish()
  await store.remove([headerOf(1).id])
  assert.equal(await copy.list('a/snapshots'), [`${headerOf(1).id}.snapshot`])
  assert.equal(await factory.disk('a').list('a/snapshots'), [`${headerOf(2).id}.snapshot`])
  await store.close()
})

test('H1-26 two readers of one snapshot are independent of each other', async () => {
  const store = memorySnapshotStore().create('a')
  await store.open()
  await make(store, 1)
  const readers = [1, 2].map(() => store.read(headerOf(1).id)[Symbol.asyncIterator]())
  const read: number[][] = [[], []]
  for (let turn = 0; turn < 3; turn += 1) {
    for (const [at, reader] of readers.entries()) {
      const next = await reader.next()
      if (next.done !== true) read[at]?.push(next.value.length)
    }
  }
  assert.equal(read, [
    [65_536, 4464],
    [65_536, 4464],
  ])
  await store.close()
})

test('a full disk refuses what is written until it is healed', async () => {
  const factory = memorySnapshotStore()
  const store = factory.create('a')
  await store.open()
  factory.disk('a').fill()
  const error = await reason(make(store, 1))
  assert.is(codeOf(error), 'ERR_RAFT_SNAPSHOT_FAILED')
  assert.match(String(error), 'disk is full')
  factory.disk('a').heal()
  await make(store, 1)
  await store.verify(headerOf(1).id)
  await store.close()
})

test('a slow disk carries each call out when it is let', async () => {
  const waiting: (() => void)[] = []
  const factory = memorySnapshotStore({ completion: (done) => waiting.push(done) })
  const store = factory.create('a')
  const working = (async () => {
    await store.open()
    const file = snapshotBytes(headerOf(1), [bytes(10)])
    const intake = await store.receive(headerOf(1), file.length)
    await intake.write(file)
    await intake.finish()
  })()
  let calls = 0
  for (await idle(); waiting.length > 0; await idle()) {
    assert.is(waiting.length, 1, `after ${calls} calls`)
    waiting.shift()?.()
    calls += 1
  }
  await working
  assert.ok(calls >= 6, `${calls} calls`)
})

test('what begins while a removal of the same id is under way stays, whichever of both the disk serves first', async () => {
  for (const way of ['made', 'received'] as const) {
    for (let order = 0; order < 32; order += 1) await removedAndAgain(way, order)
  }
})

test('the same calls leave the same bytes and the same count, run after run', async () => {
  const run = async (): Promise<readonly unknown[]> => {
    const factory = memorySnapshotStore()
    const store = factory.create('a')
    await store.open()
    for (const n of [1, 2, 3]) await make(store, n)
    await store.remove([headerOf(1).id, headerOf(2).id])
    const into = new Uint8Array(1 << 20)
    const file = into.subarray(0, await store.readInto(headerOf(3).id, 0, into))
    await store.close()
    return [factory.disk('a').calls, Buffer.from(file).toString('hex')]
  }
  assert.equal(await run(), await run())
})

test('a fault that cannot be is a defect of the test', () => {
  const disk = memorySnapshotStore().disk('a')
  for (const wrong of [() => disk.failCall(0), () => disk.dieAt(0), () => disk.flipBit(headerOf(1).id, 0)]) {
    assert.throws(wrong, (error: unknown) => error instanceof AssertionFailure)
  }
})

/** Everything that promises alone can do is done. */
function idle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** From the removal on the disk serves, of the calls that wait, the first or the second, as the bits of `order` say. */
async function removedAndAgain(way: 'made' | 'received', order: number): Promise<void> {
  const waiting: (() => void)[] = []
  let isSlow = false
  const factory = memorySnapshotStore({ completion: (done) => (isSlow ? waiting.push(done) : done()) })
  const store = factory.create('a')
  await store.open()
  for (const n of [1, 2, 3]) await make(store, n, 10)
  const file = snapshotBytes(headerOf(1), [bytes(10)])
  const again = async (): Promise<unknown> => {
    if (way === 'made') return make(store, 1, 10)
    const intake = await store.receive(headerOf(1), file.length)
    await intake.write(file)
    return intake.finish()
  }
  isSlow = true
  const both = Promise.all([store.remove([1, 2].map((n) => headerOf(n).id)), again()])
  await idle()
  for (let draws = order; waiting.length > 0; draws >>= 1) {
    waiting.splice((draws & 1) % waiting.length, 1)[0]?.()
    await idle()
  }
  await both
  isSlow = false
  const left = await factory.disk('a').list('a/snapshots')
  const expected = [1, 3].map((n) => `${headerOf(n).id}.snapshot`)
  assert.equal(left.toSorted(), expected.toSorted(), `${way}, ${order}`)
  await store.close()
}

async function make(store: SnapshotStore, n: number, length = 70_000): Promise<void> {
  const sink = await store.create(headerOf(n))
  await sink.write(bytes(length, n))
  await sink.finish()
}

function reason(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  )
}

function codeOf(error: unknown): string {
  return error instanceof RaftError ? error.code : String(error)
}

test.run()
