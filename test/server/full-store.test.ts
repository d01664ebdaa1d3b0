/**
 * A store near the bound of its log: nothing more is proposed, everybody is told, and leaders still change (scenario
 * D7).
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { nativeStore, RaftError } from 'balsa-raft'
import type { StoreFactory } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { LoneServer } from '../support/lone-server.js'
import { TestCluster } from '../support/raft-cluster.js'
import type { Answer, Command, TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const MIB = 1024 * 1024

const test = suite('a full store')

test('D7 the bound of the log refuses calls at once, before it is reached, says so in event and status, and ends no leadership', async () => {
  const lone = await LoneServer.open(() => memoryStore({ logBytesMax: 40_000 }))
  const told: { readonly stalled: boolean; readonly reason: string }[] = []
  lone.raft.on('stall', (event) => told.push(event))
  await lone.lead()
  // No peer answers: calls wait for a quorum, and only what is refused ends.
  const refused: unknown[] = []
  for (let n = 0; n < 400 && refused.length === 0; n += 1) {
    lone.raft.apply({ add: n, pad: 'x'.repeat(400) } as Command).catch((error: unknown) => refused.push(error))
    await lone.turns()
  }
  const [error] = refused
  assert.ok(error instanceof RaftError)
  assert.equal([error.code, error.outcome, error.retryable], ['ERR_RAFT_STORE_FULL', 'not-applied', false])
  assert.is(told.length, 1)
  assert.is(told[0]?.stalled, true)
  assert.match(told[0]?.reason ?? '', 'logBytesMax')
  const { role, store, fault } = lone.raft.status
  assert.equal([role, fault], ['leader', null])
  assert.is(store.capacityBytes, 40_000)
  assert.ok(store.usedBytes >= 37_500 && store.usedBytes < 39_000, `${store.usedBytes} bytes are used`)
  await lone.close()
})

test('D7 servers that have all filled their maps elect a new leader and read, and go on with larger maps', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'balsa-full-'))
  const clusters: TestCluster[] = []
  const clusterOver = async (storage: StoreFactory): Promise<TestCluster> => {
    const network = new MemoryNetwork({ clock: systemClock() })
    const sites = ['s1', 's2', 's3'].map((id) => ({ id, dir: join(folder, id), address: `${id}:1` }))
    const cluster = new TestCluster({ sites, storage, transportOf: ({ address }) => network.transport(address) })
    clusters.push(cluster)
    await cluster.openAll()
    return cluster
  }
  try {
    const cluster = await clusterOver(nativeStore({ mapBytes: 8 * MIB }))
    const total = await fill(cluster)
    await until('all of them are full', () => {
      const ends = [...cluster.servers.values()].map(({ status }) => status.lastIndex)
      return new Set(ends).size === 1
    })
    for (let changes = 0; changes < 3; changes += 1) {
      const old = (await cluster.leader()).status.id
      await cluster.close(old)
      assert.equal(await cluster.askLeader(readTotal), { total, count: total })
      const { message } = await cluster.askLeader(async (leader) =>
        refusalOf(await outcomeOf(leader.apply({ add: 1 }))),
      )
      assert.match(message, 'BALSA_MAP_BYTES')
      await cluster.open(old)
    }
    for (const server of cluster.servers.values()) {
      const { fault, store } = server.status
      assert.is(fault, null)
      assert.is(store.capacityBytes, 8 * MIB)
      assert.ok(store.usedBytes > 7 * MIB && store.usedBytes < 8 * MIB, `${store.usedBytes} bytes are used`)
    }
    await cluster.closeAll()
    const larger = await clusterOver(nativeStore({ mapBytes: 32 * MIB }))
    // Nothing is added, so that it may be asked twice.
    assert.is(await larger.askLeader((leader) => leader.apply({ add: 0 }, { timeoutMs: 20_000 })), total)
  } finally {
    for (const cluster of clusters) await cluster.closeAll()
    await rm(folder, { recursive: true, force: true })
  }
})

test('the size of the map is an option or a variable, and a size that cannot be is refused by name', async () => {
  for (const mapBytes of [0, 1.5, -1, Number.NaN, 2 ** 50, '8' as unknown as number]) {
    assert.throws(
      () => nativeStore({ mapBytes }),
      (error: unknown) =>
        error instanceof RaftError && error.code === 'ERR_RAFT_OPTIONS' && /mapBytes is/.test(error.message),
    )
  }
  const dir = await mkdtemp(join(tmpdir(), 'balsa-map-'))
  const capacityOf = async (storage: StoreFactory): Promise<number | null> => {
    const store = storage.create(dir)
    await store.open(() => {})
    const { capacityBytes } = store.stats()
    await store.close()
    return capacityBytes
  }
  try {
    assert.is(await capacityOf(nativeStore()), 64 * 1024 * MIB)
    assert.is(await capacityOf(nativeStore({ mapBytes: 9 * MIB - 1 })), 9 * MIB)
    process.env['BALSA_MAP_BYTES'] = String(16 * MIB)
    assert.is(await capacityOf(nativeStore()), 16 * MIB)
    assert.is(await capacityOf(nativeStore({ mapBytes: 9 * MIB })), 9 * MIB)
    process.env['BALSA_MAP_BYTES'] = 'large'
    const error = await capacityOf(nativeStore()).catch((reason: unknown) => reason)
    assert.ok(error instanceof RaftError && error.code === 'ERR_RAFT_OPTIONS')
    assert.match(error.message, 'BALSA_MAP_BYTES is')
  } finally {
    delete process.env['BALSA_MAP_BYTES']
    await rm(dir, { recursive: true, force: true })
  }
})

/**
 * Adds ones until the leader's store is full; answers with how many. Commands are large, so that it does not take long.
 * Where a leadership ends before it has answered, nobody knows of that one: what is there says whether it was added.
 */
async function fill(cluster: TestCluster): Promise<number> {
  const pad = 'x'.repeat(50_000)
  let acknowledged = 0
  let unknown = 0
  await cluster.askLeader(async (leader) => {
    for (;;) {
      const outcome = await outcomeOf(leader.apply({ add: 1, pad } as Command, { timeoutMs: 20_000 }))
      if (outcome instanceof RaftError && outcome.outcome !== 'not-applied') unknown += 1
      if (typeof outcome !== 'number') return refusalOf(outcome)
      acknowledged += 1
      assert.ok(outcome >= acknowledged && outcome <= acknowledged + unknown, `${outcome} of ${acknowledged}`)
    }
  })
  const { total, count } = await cluster.askLeader(readTotal)
  assert.ok(total >= acknowledged && total <= acknowledged + unknown, `${total} of ${acknowledged}`)
  assert.is(count, total)
  return total
}

const readTotal = (leader: TestRaft): Promise<Answer> => leader.read('total', { timeoutMs: 20_000 })

const outcomeOf = (call: Promise<number>): Promise<unknown> => call.catch((error: unknown) => error)

/** That of a full store, which is told before anything is appended; every other one is thrown. */
function refusalOf(outcome: unknown): RaftError {
  if (!(outcome instanceof RaftError)) throw new Error(`a full store has answered ${String(outcome)}`)
  if (outcome.code !== 'ERR_RAFT_STORE_FULL') throw outcome
  assert.is(outcome.outcome, 'not-applied')
  return outcome
}

test.run()
