/** A snapshot leaves one cluster as bytes and begins another one, over every store; and bytes that are wrong. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import type { ImportOptions, RaftErrorCode, RaftOptions, SeededFolder, StoreFactory } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { refusal } from '../support/failure.js'
import { listMachine } from '../support/list-machine.js'
import type { List } from '../support/list-machine.js'
import { until } from '../support/until.js'

const IDS = ['s1', 's2', 's3']
const MANY = Array.from({ length: 200 }, (_, at) => at)
const bootstrap = IDS.map((id) => ({ id, address: `${id}:1` }))
const ALONE = [{ id: 'old', address: 'old:1' }]

type More = Partial<RaftOptions<number, number, void, readonly number[]>>

class Place {
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly storage: StoreFactory
  readonly folder: string
  readonly #servers: List[] = []

  constructor(storage: StoreFactory, folder: string) {
    this.storage = storage
    this.folder = folder
  }

  async open(id: string, more: More = {}): Promise<List> {
    const server = await Raft.open<number, number, void, readonly number[]>({
      ...{ id, dir: this.dir(id), bootstrap, storage: this.storage, logger: false, codec: msgpackCodec<number>() },
      ...{ transport: this.network.transport(`${id}:1`), stateMachine: listMachine() },
      ...{ heartbeatMs: 20, electionTimeoutMs: 150, snapshots: false },
      ...more,
    })
    this.#servers.push(server)
    return server
  }

  dir(id: string): string {
    return join(this.folder, id)
  }

  import(source: AsyncIterable<Uint8Array>, more: Partial<ImportOptions> = {}): Promise<SeededFolder> {
    return Raft.importSnapshot(
      { id: 's1', dir: this.dir('s1'), bootstrap, storage: this.storage, logger: false, ...more },
      source,
    )
  }

  /** What a cluster of one server exports that has applied 200 numbers, and where that ends. */
  async backup(): Promise<{ readonly bytes: Uint8Array; readonly index: number }> {
    const server = await this.open('old', { bootstrap: ALONE })
    await server.ready({ timeoutMs: 20_000 })
    await server.applyAll(MANY)
    const pieces: Uint8Array[] = []
    for await (const piece of server.exportSnapshot({ timeoutMs: 20_000 })) pieces.push(piece)
    assert.ok(pieces.length > 2 && pieces.every(({ length }) => length <= 128 * 1024), 'it came in pieces')
    return { bytes: Buffer.concat(pieces), index: server.status.appliedIndex }
  }

  async end(): Promise<void> {
    await Promise.all(this.#servers.splice(0).map((server) => server.close({ transferLeadership: false })))
  }
}

async function inPlace(storage: StoreFactory, run: (place: Place) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'balsa-imports-'))
  const place = new Place(storage, folder)
  try {
    await run(place)
  } finally {
    await place.end()
    await rm(folder, { recursive: true, force: true })
  }
}

async function* pieces(bytes: Uint8Array, length = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length)
}

const test = suite('imports of snapshots')

for (const storage of [nativeStore(), fileStore(), memoryStore()]) {
  test(`H1-19 ${storage.name}: a backup begins a cluster, behind its last index, and the others come to it empty`, async () => {
    await inPlace(storage, async (place) => {
      const { bytes, index } = await place.backup()
      const seeded = await place.import(pieces(bytes, bytes.length), { anyCluster: true })
      assert.is(seeded.index, index)
      const state = await Raft.hasState(place.dir('s1'), { storage })
      assert.equal(
        [state?.firstIndex, state?.lastIndex, state?.snapshotIndex, state?.clusterId],
        [index + 1, index + 1, index, seeded.clusterId],
      )
      const first = await place.open('s1')
      await first.ready({ timeoutMs: 20_000 })
      assert.equal(await first.read(undefined), MANY)
      assert.is(await first.apply(7), MANY.length + 1)
      const { recoveries } = seeded
      const others = [
        await place.open('s2', { join: true, recoveries }),
        await place.open('s3', { join: true, recoveries }),
      ]
      await until('all vote', () => first.status.configuration.voters.length === 3, 20_000)
      await until('all have it', () => others.every(({ status }) => status.appliedIndex === first.status.lastIndex))
      for (const other of others) assert.equal(await other.read(undefined, { consistency: 'stale' }), [...MANY, 7])
      // No store has a hole: its log goes on right behind what its snapshot covers.
      const { lastIndex } = first.status
      await place.end()
      for (const id of IDS) {
        const left = await Raft.hasState(place.dir(id), { storage })
        assert.equal([left?.firstIndex, left?.snapshotIndex, left?.lastIndex], [index + 1, index, lastIndex], id)
      }
      const again = await Promise.all(IDS.map((id) => place.open(id, { recoveries })))
      await until('one leads', () => again.some(({ status }) => status.role === 'leader'), 20_000)
      const leader = again.find(({ status }) => status.role === 'leader')
      assert.ok(leader !== undefined)
      await leader.ready({ timeoutMs: 20_000 })
      const before = leader.status.lastIndex
      assert.is(await leader.apply(8), MANY.length + 2)
      assert.is(leader.status.lastIndex, before + 1, 'the next index follows')
      await until('all have it', () => again.every(({ status }) => status.appliedIndex > before))
      for (const each of again) assert.equal(await each.read(undefined, { consistency: 'stale' }), [...MANY, 7, 8])
    })
  })

  test(`${storage.name}: whatever is wrong with a backup is told, and leaves the folder empty`, async () => {
    await inPlace(storage, async (place) => {
      const { bytes } = await place.backup()
      const flipped = (at: number): Uint8Array => bytes.map((byte, place_) => (place_ === at ? byte ^ 4 : byte))
      const corrupt: RaftErrorCode = 'ERR_RAFT_SNAPSHOT_CORRUPT'
      const failed: RaftErrorCode = 'ERR_RAFT_SNAPSHOT_FAILED'
      const bad: readonly (readonly [AsyncIterable<Uint8Array>, RaftErrorCode])[] = [
        [pieces(new Uint8Array(0)), corrupt],
        [pieces(flipped(3)), corrupt],
        [pieces(flipped(60)), corrupt],
        [pieces(flipped(bytes.length >>> 1)), corrupt],
        [pieces(flipped(bytes.length - 1)), corrupt],
        [pieces(bytes.subarray(0, bytes.length - 1)), corrupt],
        [pieces(bytes.subarray(0, bytes.length - 28)), corrupt],
        [pieces(Buffer.concat([bytes, new Uint8Array(1)])), corrupt],
        [throwing(bytes), failed],
        [texts(), failed],
      ]
      for (const [at, [source, code]] of bad.entries()) {
        const error = await refusal(place.import(source, { anyCluster: true }), code)
        assert.match(error.message, 'that was given', `number ${at}`)
        assert.is(await Raft.hasState(place.dir('s1'), { storage }), null)
      }
      const foreign = await refusal(place.import(pieces(bytes)), 'ERR_RAFT_CLUSTER_MISMATCH')
      assert.match(foreign.message, 'anyCluster: true')
      const sane = await place.import(pieces(bytes), { anyCluster: true })
      const again = await refusal(place.import(pieces(bytes), { anyCluster: true }), 'ERR_RAFT_OPTIONS')
      assert.match(again.message, 'is that of a server already')
      assert.is((await Raft.hasState(place.dir('s1'), { storage }))?.clusterId, sane.clusterId)
    })
  })
}

test('a backup of the same cluster needs no word, and the folder is not that of the cluster before', async () => {
  const storage = memoryStore()
  await inPlace(storage, async (place) => {
    const { bytes, index } = await place.backup()
    const before = await Raft.hasState(place.dir('old'), { storage }).catch(() => null)
    assert.is(before, null, 'it is still open')
    const own = { id: 'old', dir: place.dir('new'), bootstrap: ALONE }
    const seeded = await place.import(pieces(bytes), own)
    const server = await place.open('old', {
      dir: place.dir('new'),
      bootstrap: ALONE,
      transport: place.network.transport('x:1'),
    })
    await server.ready({ timeoutMs: 20_000 })
    assert.equal(await server.read(undefined), MANY)
    assert.ok(server.status.lastIndex > index)
    assert.equal(server.status.recoveries, seeded.recoveries)
  })
})

for (const fate of ['lost', 'kept'] as const) {
  test(`a write that fails and is ${fate} leaves an empty folder, or a whole member`, async () => {
    const storage = memoryStore()
    await inPlace(storage, async (place) => {
      const { bytes } = await place.backup()
      storage.disk(place.dir('s1')).failTicket(1, fate)
      await refusal(place.import(pieces(bytes), { anyCluster: true }), 'ERR_RAFT_STORE_POISONED')
      const state = await Raft.hasState(place.dir('s1'), { storage })
      assert.is(state === null, fate === 'lost')
      if (fate === 'lost') await place.import(pieces(bytes), { anyCluster: true })
      const server = await place.open('s1')
      await server.ready({ timeoutMs: 20_000 })
      assert.equal(await server.read(undefined), MANY)
    })
  })
}

test('what is given as a source, and with which options, is looked at first', async () => {
  const options = { id: 's1', dir: 'nowhere', bootstrap, storage: memoryStore() }
  const bad: readonly (readonly [Promise<unknown>, string])[] = [
    [Raft.importSnapshot(options, 'text' as never), 'takes a source of bytes, and was given text'],
    [Raft.importSnapshot({ ...options, join: true }, pieces(new Uint8Array(0))), 'join is set'],
    [Raft.importSnapshot({ ...options, anyCluster: 1 as never }, pieces(new Uint8Array(0))), 'anyCluster must be'],
  ]
  for (const [call, what] of bad) assert.match((await refusal(call, 'ERR_RAFT_OPTIONS')).message, what)
})

async function* throwing(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes.subarray(0, 5000)
  throw new Error('the link broke')
}

async function* texts(): AsyncGenerator<Uint8Array> {
  yield 'text' as never
}

test.run()
