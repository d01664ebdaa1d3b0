/**
 * The real thing: three servers over the native store, in both modes, and TCP. Bits of cold blocks flip in the data
 * file of one of them while it is down; it repairs them from the others, and they are whole for whoever opens it next.
 */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { nativeStore } from 'balsa-raft'
import type { Clock, StoreFactory } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { systemClock } from '#balsa/clock.js'
import { logIndex } from '#balsa/types.js'

import { freeAddresses } from '../../support/free-addresses.js'
import { entriesOf } from '#balsa/testing/conformance/blocks.js'
import { TestCluster } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const COMMANDS = 60
const HEADER_BYTES = 24

const test = suite('the repair of a data file')

/** A minute of it is some seconds. */
function quick(): Clock {
  const clock = systemClock()
  return { ...clock, now: () => clock.now() * 10, setTimer: (ms, callback) => clock.setTimer(ms / 10, callback) }
}

class Site {
  readonly cluster: TestCluster
  readonly #folder: string
  readonly #storage: StoreFactory

  private constructor(folder: string, addresses: readonly string[], mode: 'lmdb' | 'journal') {
    this.#folder = folder
    this.#storage = nativeStore({ mode, mapBytes: 64 << 20 })
    this.cluster = new TestCluster({
      sites: addresses.map((address, n) => ({ id: `s${n + 1}`, dir: join(folder, `s${n + 1}`), address })),
      storage: this.#storage,
      transportOf: ({ address }) => tcp({ listen: address }),
      clock: quick(),
      extra: { electionTimeoutMs: 10_000, heartbeatMs: 1000, snapshots: false },
    })
  }

  static async filled(mode: 'lmdb' | 'journal'): Promise<Site> {
    const site = new Site(await mkdtemp(join(tmpdir(), 'balsa-repair-')), await freeAddresses(3), mode)
    const { cluster } = site
    await cluster.openAll()
    // One after the other: each is a block of its own, of about 70 bytes.
    for (let add = 1; add <= COMMANDS; add += 1) {
      await cluster.askLeader((leader) => leader.apply({ add }, { timeoutMs: 2_000_000 }))
    }
    for (const id of ['s1', 's2', 's3']) await site.hasAll(id)
    await cluster.closeAll()
    return site
  }

  hasAll(id: string): Promise<void> {
    return until(`${id} has all`, () => this.cluster.machine(id).query().count === COMMANDS)
  }

  /** What a closed store holds: its state, and all entries, or the error of the read. */
  async held(id: string) {
    const store = this.#storage.create(join(this.#folder, id))
    const { firstIndex, lastIndex, termRuns, hardState } = await store.open(() => {})
    const blocks = await store
      .read(logIndex(1), logIndex(lastIndex + 1), 1 << 20)
      .catch((error: unknown) => String(error))
    await store.close()
    const entries = typeof blocks === 'string' ? blocks : entriesOf(blocks)
    return { firstIndex, lastIndex, termRuns, votedIn: hardState.term, entries }
  }

  /** Flips a bit of the payload of that entry, in each place of the file where its block stands. */
  async rot(id: string, index: number): Promise<void> {
    const path = join(this.#folder, id, 'data.mdb')
    const bytes = await readFile(path)
    // A block of one entry: where it begins, how many, and behind the lengths the index once more.
    const needle = Buffer.alloc(16)
    needle.writeUInt32LE(index, 0)
    needle.writeUInt32LE(1, 8)
    let found = 0
    for (let at = bytes.indexOf(needle.subarray(0, 12)); at >= 0; at = bytes.indexOf(needle.subarray(0, 12), at + 1)) {
      const record = at - 8 + HEADER_BYTES
      if (bytes.readUInt32LE(record + 8) !== index) continue
      bytes[record + 33] = (bytes[record + 33] ?? 0) ^ 8
      found += 1
    }
    assert.ok(found > 0, `the block of ${index} is not in ${path}`)
    await writeFile(path, bytes)
  }

  async end(): Promise<void> {
    await this.cluster.closeAll()
    await rm(this.#folder, { recursive: true, force: true })
  }
}

for (const mode of ['lmdb', 'journal'] as const) {
  test(`D4 ${mode}: a server whose cold blocks are damaged repairs them, and has everything`, async () => {
    const site = await Site.filled(mode)
    try {
      const intact = await site.held('s1')
      assert.is(typeof intact.entries, 'object')
      for (const index of [5, 20, 21, 48]) await site.rot('s1', index)
      const damaged = await site.held('s1')
      assert.match(JSON.stringify(damaged.entries), 'data.mdb is damaged at index 5')
      await Promise.all(['s1', 's2', 's3'].map((id) => site.cluster.open(id)))
      for (const id of ['s1', 's2', 's3']) await site.hasAll(id)
      const { status } = site.cluster.server('s1')
      assert.equal([status.repairs.count, status.repairs.underWay, status.fault], [4, 0, null])
      await site.cluster.closeAll()
      const { entries, ...log } = await site.held('s1')
      const others = await site.held('s2')
      assert.equal(entries, others.entries)
      assert.equal((entries as readonly object[]).slice(0, intact.lastIndex), intact.entries)
      assert.equal(log.firstIndex, intact.firstIndex)
    } finally {
      await site.end()
    }
  })
}

test('the same block damaged on all of them halts them, named, and nothing is truncated', async () => {
  const site = await Site.filled('lmdb')
  try {
    const ids = ['s1', 's2', 's3']
    const before = await Promise.all(ids.map((id) => site.held(id)))
    for (const id of ids) await site.rot(id, 20)
    await Promise.all(ids.map((id) => site.cluster.open(id)))
    for (const id of ids) {
      await until(`${id} has halted`, () => site.cluster.server(id).status.fault !== null)
      const { fault } = site.cluster.server(id).status
      assert.is(fault?.code, 'ERR_RAFT_STORE_CORRUPT')
      assert.match(fault?.message ?? '', 'Nobody could give the entries 20 .. 20')
      for (const other of ids) if (other !== id) assert.match(fault?.message ?? '', `${other}: `)
    }
    await site.cluster.closeAll()
    for (const [at, id] of ids.entries()) {
      const { lastIndex, entries } = await site.held(id)
      assert.ok(lastIndex >= (before[at]?.lastIndex ?? 0), id)
      assert.match(JSON.stringify(entries), 'data.mdb is damaged at index 20')
    }
  } finally {
    await site.end()
  }
})

test.run()
