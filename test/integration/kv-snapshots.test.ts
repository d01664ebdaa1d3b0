/**
 * Snapshots of apps/kv with real processes: what BGSAVE, LASTSAVE, INFO persistence and RAFT STATUS tell of them is so,
 * a server that lacks what was compacted catches up by one, and a restart begins with it. No key is
 * lost, and none forgets when it goes.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KvCluster } from '../support/kv-cluster.js'
import { RespClient, RespError } from '../support/resp-client.js'
import type { RespReply } from '../support/resp-client.js'
import { until } from '../support/until.js'

const SMALL_KEYS = 200
/** Seconds since 1970: of all those keys whose number is even. */
const EXPIRES_AT = 4_000_000_000
/** A follower counts from what it has heard, so what it tells is not of this very moment. */
const HOUR = 3600
/** The log keeps 16 MiB behind a snapshot, and a peer that was heard lately keeps four times that. */
const LARGE_KEYS = 80
const LARGE_VALUE = 'x'.repeat(1_000_000)

test('a snapshot compacts the log, reaches who was away, and is what a restart begins with', async () => {
  const cluster = await KvCluster.start()
  try {
    await writeSmall(cluster)
    await assertSaved(cluster)
    const leader = await cluster.findLeader()
    const away = (leader + 1) % 3
    await cluster.kill(away)
    await writeLarge(cluster)
    await compact(cluster, leader)
    await cluster.startServer(away).untilOpen()
    await untilApplied(cluster, away, await numberOf(cluster, leader, 'commit-index'))
    assert.ok(logged(cluster, away, 'snapshot.restored'), 'it was given a snapshot')
    assert.ok((await numberOf(cluster, away, 'first-index')) > 1, 'and has none of what that covers')
    await assertWhole(cluster, away)

    for (const at of [0, 1, 2]) await cluster.kill(at)
    await Promise.all([leader, away].map((at) => cluster.startServer(at).untilOpen()))
    await cluster.findLeader()
    for (const at of [leader, away]) {
      await until(`server ${at} has its snapshot`, () => logged(cluster, at, 'snapshot.restored'))
      await assertWhole(cluster, at)
    }
  } finally {
    await cluster.close()
  }
})

function writeSmall(cluster: KvCluster): Promise<void> {
  const numbers = Array.from({ length: SMALL_KEYS }, (_, number) => number)
  const expiry = (number: number): readonly string[] => (number % 2 === 0 ? ['EXAT', String(EXPIRES_AT)] : [])
  return write(
    cluster,
    numbers.map((number) => ['SET', `small-${number}`, `value-${number}`, ...expiry(number)]),
  )
}

function writeLarge(cluster: KvCluster): Promise<void> {
  return write(
    cluster,
    Array.from({ length: LARGE_KEYS }, (_, number) => ['SET', `large-${number % 3}`, `${number}${LARGE_VALUE}`]),
  )
}

/** All of it, in that order; once more where an election came in between, as the servers say: it may be repeated. */
async function write(cluster: KvCluster, commands: readonly (readonly string[])[]): Promise<void> {
  await until('a leader takes it all', async () => {
    const client = await connect(cluster, await cluster.findLeader())
    try {
      const [answers] = client.send([commands])
      const refusals = ((await answers) ?? []).filter((reply) => reply !== 'OK')
      for (const reply of refusals) {
        const text = reply instanceof RespError ? reply.message : JSON.stringify(reply)
        assert.match(text, /^(MOVED|CLUSTERDOWN) |^ERR RAFT_(UNKNOWN|APPLIED) .*leadership was lost/)
      }
      return refusals.length === 0
    } finally {
      client.close()
    }
  })
}

/** BGSAVE answers at once; what comes of it is told by all that tell of snapshots. */
async function assertSaved(cluster: KvCluster): Promise<void> {
  const at = await cluster.findLeader()
  const before = Number(await ask(cluster, at, 'LASTSAVE'))
  const index = await numberOf(cluster, at, 'applied-index')
  assert.equal([await persistence(cluster, at, 'rdb_saves'), await persistence(cluster, at, 'snapshot_index')], [0, 0])
  assert.ok((await persistence(cluster, at, 'rdb_changes_since_last_save')) >= SMALL_KEYS)
  assert.is(await ask(cluster, at, 'BGSAVE'), 'Background saving started')
  await until('it is saved', async () => (await persistence(cluster, at, 'rdb_bgsave_in_progress')) === 0)
  assert.is(await persistence(cluster, at, 'rdb_saves'), 1)
  const saved = await persistence(cluster, at, 'snapshot_index')
  assert.ok(saved >= index, `the snapshot at ${saved} has what was applied before, up to ${index}`)
  assert.ok((await persistence(cluster, at, 'snapshot_bytes')) > 0)
  assert.ok((await persistence(cluster, at, 'rdb_changes_since_last_save')) < SMALL_KEYS)
  await until('the date of the last one moves with each', async () => {
    assert.is(await ask(cluster, at, 'SAVE'), 'OK')
    return Number(await ask(cluster, at, 'LASTSAVE')) > before
  })
  const told = await persistence(cluster, at, 'rdb_last_save_time')
  assert.is(told, Number(await ask(cluster, at, 'LASTSAVE')))
}

/** The log of that server begins behind everything but the newest entries then. */
async function compact(cluster: KvCluster, at: number): Promise<void> {
  const used = await numberOf(cluster, at, 'log-bytes')
  const last = await numberOf(cluster, at, 'commit-index')
  assert.ok((await ask(cluster, at, 'RAFT', 'SNAPSHOT')) !== null)
  const first = await numberOf(cluster, at, 'first-index')
  assert.ok(first > last - LARGE_KEYS && first <= last, `the log begins at ${first}, and ended at ${last}`)
  assert.is(await numberOf(cluster, at, 'snapshot-index'), await persistence(cluster, at, 'snapshot_index'))
  // LMDB follows the journal.
  await until('it takes less room', async () => (await numberOf(cluster, at, 'log-bytes')) < used)
}

/** Every key as it was written, and when it goes. */
async function assertWhole(cluster: KvCluster, at: number): Promise<void> {
  const client = await connect(cluster, at)
  try {
    assert.is(await client.ask('READONLY'), 'OK')
    await until(`server ${at} reads`, async () => typeof (await client.ask('GET', 'small-0')) === 'string')
    for (let number = 0; number < SMALL_KEYS; number += 1) {
      const key = `small-${number}`
      assert.is(await client.ask('GET', key), `value-${number}`)
      const ttl = Number(await client.ask('TTL', key))
      if (number % 2 === 1) assert.is(ttl, -1, key)
      else assert.ok(Math.abs(ttl + Date.now() / 1000 - EXPIRES_AT) < HOUR, `${key} goes in ${ttl} s`)
    }
    for (const number of [LARGE_KEYS - 3, LARGE_KEYS - 2, LARGE_KEYS - 1]) {
      const value = await client.ask('GET', `large-${number % 3}`)
      assert.ok(value === `${number}${LARGE_VALUE}`, `large-${number % 3} is the last one written`)
    }
    assert.is(await client.ask('DBSIZE'), SMALL_KEYS + 3)
  } finally {
    client.close()
  }
}

function untilApplied(cluster: KvCluster, at: number, index: number): Promise<void> {
  return until(`server ${at} has applied ${index}`, async () => {
    return (await numberOf(cluster, at, 'applied-index')) >= index
  })
}

function logged(cluster: KvCluster, at: number, event: string): boolean {
  return cluster.process(at).log.some((line) => line.event === event)
}

/** A field of RAFT STATUS. */
async function numberOf(cluster: KvCluster, at: number, label: string): Promise<number> {
  const words = (await ask(cluster, at, 'RAFT', 'STATUS')) as readonly RespReply[]
  return Number(words[words.indexOf(label) + 1])
}

/** A field of INFO persistence. */
async function persistence(cluster: KvCluster, at: number, field: string): Promise<number> {
  const text = (await ask(cluster, at, 'INFO', 'persistence')) as string
  return Number(new RegExp(`^${field}:(.*)\r$`, 'm').exec(text)?.[1])
}

async function ask(cluster: KvCluster, at: number, ...words: readonly string[]): Promise<RespReply> {
  const client = await connect(cluster, at)
  try {
    return await client.ask(...words)
  } finally {
    client.close()
  }
}

function connect(cluster: KvCluster, at: number): Promise<RespClient> {
  return RespClient.connect(cluster.ports[at] ?? 0)
}

test.run()
