/** Snapshots between servers: whole servers over a network in memory, whose links have channels. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, Raft } from 'balsa-raft'
import type { RaftOptions } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import type { CancelTimer, Clock } from '#balsa/types.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { listMachine } from '../support/list-machine.js'
import type { List } from '../support/list-machine.js'
import { until } from '../support/until.js'

const IDS = ['s1', 's2', 's3']

type Opened = Pick<RaftOptions<number, number, void, readonly number[]>, 'clock' | 'transport' | 'stateMachine'>

class Cluster {
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly storage = memoryStore()
  readonly servers = new Map<string, List>()
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  async open(id: string, more: Partial<Opened> = {}): Promise<List> {
    const server = await Raft.open<number, number, void, readonly number[]>({
      ...{ id, dir: join(this.folder, id), bootstrap: IDS.map((peer) => ({ id: peer, address: `${peer}:1` })) },
      ...{
        transport: this.network.transport(`${id}:1`),
        storage: this.storage,
        logger: false,
        codec: msgpackCodec<number>(),
      },
      ...{ stateMachine: listMachine(), heartbeatMs: 20, electionTimeoutMs: 150 },
      snapshots: { entries: 1e6, trailingEntries: 1 },
      ...more,
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
    // Of both, so that it is given one whoever leads by then.
    const others = [...cluster.servers.values()]
    await until('both have it', () => others.every(({ status }) => status.appliedIndex >= leader.status.appliedIndex))
    const indexes = (await Promise.all(others.map((server) => server.snapshot()))).map(({ index }) => index)
    await until('both logs are compacted', () => others.every(({ status }) => indexes.includes(status.firstIndex)))
    const back = await cluster.open(away)
    const heard: string[] = []
    back.on('snapshot', ({ what }) => heard.push(what))
    await until('it has caught up', () => back.status.appliedIndex >= Math.min(...indexes))
    assert.equal(heard, ['received', 'restored'])
    const last = await cluster.leader()
    assert.is(await last.apply(701), 701)
    await until('it follows', () => back.status.appliedIndex >= last.status.appliedIndex)
    const list = await back.read(undefined, { consistency: 'stale' })
    assert.is(list.length, 701)
    assert.ok(list.every((value, at) => value === at + 1))
    assert.ok(indexes.some((index) => back.status.firstIndex === index + 1))
    // What it got is what it begins with, the next time.
    await cluster.close(away)
    const again = await cluster.open(away)
    await until('it is back', () => again.status.appliedIndex >= last.status.appliedIndex)
    assert.equal((await again.read(undefined, { consistency: 'stale' })).length, 701)
  },
)

for (const how of ['closed', 'halted'] as const) {
  snapshots(
    `a server that is ${how} tries none again that it could not send, and leaves no timer`,
    async ({ cluster }) => {
      const armed = new Set<CancelTimer>()
      const transport = cluster.network.transport('s1:1')
      let refused = 0
      transport.openChannel = () => {
        refused += 1
        return Promise.reject(new Error('this link has none'))
      }
      const leader = await cluster.open('s1', { clock: countedClock(armed), transport, stateMachine: failing(-1) })
      for (const id of ['s2', 's3']) await cluster.open(id)
      await until('it can lead', () => leader.status.leader !== null)
      if (leader.status.role !== 'leader') await (await cluster.leader()).transferLeadership({ to: 's1' })
      await leader.ready({ timeoutMs: 20_000 })
      await cluster.close('s2')
      // For as long as it counts as heard, the log keeps what it lacks.
      const lacking = leader.status.lastIndex + 1
      for (let value = 1; leader.status.firstIndex <= lacking; value += 1) {
        await leader.apply(value)
        await leader.snapshot()
      }
      await cluster.open('s2')
      // The second is tried after a pause of half a second; the third would be after a whole one.
      await until('it was refused twice', () => refused === 2)
      if (how === 'closed') await cluster.close('s1')
      else {
        await leader.apply(-1).catch(() => {})
        await leader.closed
      }
      assert.is(armed.size, 0)
    },
  )
}

/** Cannot apply that. */
function failing(value: number): Opened['stateMachine'] {
  const machine = listMachine()
  return {
    ...machine,
    apply: (batch, context) => {
      if (batch.some(({ command }) => command === value)) throw new Error('it cannot')
      return machine.apply(batch, context)
    },
  }
}

/** The machine's clock, and which of its timers have neither come nor been cancelled. */
function countedClock(armed: Set<CancelTimer>): Clock {
  const clock = systemClock()
  const setTimer = (delayMs: number, callback: () => void): CancelTimer => {
    const timer = clock.setTimer(delayMs, () => {
      armed.delete(timer)
      callback()
    })
    armed.add(timer)
    return () => {
      armed.delete(timer)
      timer()
    }
  }
  return { ...clock, setTimer }
}

snapshots.run()
