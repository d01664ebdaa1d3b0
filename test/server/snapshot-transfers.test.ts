/** Snapshots between servers: whole servers over a network in memory, whose links have channels. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { defineStateMachine, msgpackCodec, Raft } from 'balsa-raft'
import type { RaftOptions } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { until } from '../support/until.js'

type List = Raft<number, number, void, readonly number[]>

/** Keeps every number; its snapshot is one piece for each. */
function listMachine(): RaftOptions<number, number, void, readonly number[]>['stateMachine'] {
  let list: readonly number[] = []
  return defineStateMachine<number, number, readonly number[]>({
    apply: (batch) =>
      batch.map(({ command }) => {
        list = [...list, command]
        return list.length
      }),
    query: () => list,
    snapshot: () => list.map((value) => new TextEncoder().encode(`${value};`.padEnd(2000))),
    restore: async (source) => {
      const parts: string[] = []
      for await (const bytes of source) parts.push(new TextDecoder().decode(bytes))
      list = parts.join('').split(';').slice(0, -1).map(Number)
    },
  })
}

const IDS = ['s1', 's2', 's3']

class Cluster {
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly storage = memoryStore()
  readonly servers = new Map<string, List>()
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  async open(id: string): Promise<List> {
    const server = await Raft.open<number, number, void, readonly number[]>({
      ...{ id, dir: join(this.folder, id), bootstrap: IDS.map((peer) => ({ id: peer, address: `${peer}:1` })) },
      ...{ transport: this.network.transport(`${id}:1`), storage: this.storage, codec: msgpackCodec<number>() },
      ...{ stateMachine: listMachine(), heartbeatMs: 20, electionTimeoutMs: 150 },
      snapshots: { entries: 1e6, trailingEntries: 1 },
    })
    this.servers.set(id, server)
    return server
  }

  async close(id: string): Promise<void> {
    await this.servers.get(id)?.close({ transferLeadership: false })
    this.servers.delete(id)
  }

  async leader(): Promise<List> {
    await until('there is a leader', () => [...this.servers.values()].some(({ status }) => status.role === 'leader'))
    const leader = [...this.servers.values()].find(({ status }) => status.role === 'leader')
    assert.ok(leader !== undefined)
    await leader.ready({ timeoutMs: 20_000 })
    return leader
  }
}

const snapshots = suite<{ cluster: Cluster }>('snapshots between servers')

snapshots.before.each(async (context) => {
  context.cluster = new Cluster(await mkdtemp(join(tmpdir(), 'balsa-snapshots-')))
})

snapshots.after.each(async ({ cluster }) => {
  for (const id of IDS) await cluster.close(id)
  await rm(cluster.folder, { recursive: true })
})

snapshots(
  'a server that was away while the log was compacted is given the snapshot, and goes on',
  async ({ cluster }) => {
    for (const id of IDS) await cluster.open(id)
    const first = await cluster.leader()
    for (let value = 1; value <= 20; value += 1) await first.apply(value)
    const away = IDS.find((id) => cluster.servers.get(id) !== first) ?? ''
    await cluster.close(away)
    const leader = await cluster.leader()
    // Longer than a window: 2000 bytes for each number.
    for (let value = 21; value <= 700; value += 1) await leader.apply(value)
    const { index } = await leader.snapshot()
    await until('the log is compacted', () => leader.status.firstIndex === index)
    const back = await cluster.open(away)
    const heard: string[] = []
    back.on('snapshot', ({ what }) => heard.push(what))
    await until('it has caught up', () => back.status.appliedIndex >= index)
    assert.equal(heard, ['received', 'restored'])
    assert.is(await leader.apply(701), 701)
    await until('it follows', () => back.status.appliedIndex === leader.status.appliedIndex)
    const list = await back.read(undefined, { consistency: 'stale' })
    assert.is(list.length, 701)
    assert.ok(list.every((value, at) => value === at + 1))
    assert.is(back.status.firstIndex, index + 1)
    // What it got is what it begins with, the next time.
    await cluster.close(away)
    const again = await cluster.open(away)
    await until('it is back', () => again.status.appliedIndex === leader.status.appliedIndex)
    assert.equal((await again.read(undefined, { consistency: 'stale' })).length, 701)
  },
)

snapshots.run()
