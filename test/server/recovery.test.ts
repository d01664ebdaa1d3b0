/**
 * A cluster that has lost its quorum for good comes back from one survivor, over every store; whoever took no part is
 * refused, and comes back empty.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import type { RaftOptions, RecoverOptions, Recovery, StoreFactory } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { MemoryStoreFactory } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { refusal } from '../support/failure.js'
import { listMachine } from '../support/list-machine.js'
import type { List } from '../support/list-machine.js'
import { ELECTION_MS, LoneServer } from '../support/lone-server.js'
import { until } from '../support/until.js'

const IDS = ['s1', 's2', 's3']
const serversOf = (ids: readonly string[]): { id: string; address: string }[] =>
  ids.map((id) => ({ id, address: `${id}:1` }))

type More = Partial<RaftOptions<number, number, void, readonly number[]>>

class City {
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly folder: string
  readonly storage: StoreFactory
  readonly servers = new Map<string, List>()

  constructor(folder: string, storage: StoreFactory) {
    this.folder = folder
    this.storage = storage
  }

  dir(name: string): string {
    return join(this.folder, name)
  }

  async open(id: string, more: More = {}): Promise<List> {
    const server = await Raft.open<number, number, void, readonly number[]>({
      ...{
        id,
        dir: this.dir(id),
        bootstrap: serversOf(IDS),
        storage: this.storage,
        logger: false,
        codec: msgpackCodec<number>(),
      },
      ...{ transport: this.network.transport(`${id}:1`), stateMachine: listMachine() },
      ...{ heartbeatMs: 20, electionTimeoutMs: 150, snapshots: { entries: 1e6, trailingEntries: 1 } },
      ...more,
    })
    this.servers.set(id, server)
    return server
  }

  async leader(): Promise<List> {
    let leader: List | undefined
    await until('a server leads', async () => {
      leader = [...this.servers.values()].find(({ status }) => status.role === 'leader')
      await leader?.ready({ timeoutMs: 20_000 }).catch(() => {})
      return leader?.status.role === 'leader'
    })
    if (leader === undefined) throw new Error('no server leads')
    return leader
  }

  /** A cluster that has confirmed 1, 2, 3 on every server, and then is no more. */
  async fall(doing: (leader: List) => Promise<unknown> = async () => {}): Promise<void> {
    for (const id of IDS) await this.open(id)
    const leader = await this.leader()
    await leader.applyAll([1, 2, 3])
    await doing(leader)
    await this.followed(leader)
    await this.closeAll()
  }

  async followed({ status: { lastIndex } }: List): Promise<void> {
    const servers = [...this.servers.values()]
    await until('all have it', () => servers.every(({ status }) => status.appliedIndex >= lastIndex))
  }

  recover(ids: readonly string[], more: RecoverOptions = { mayLoseData: true }, folder = 's1'): Promise<Recovery> {
    return Raft.recover(this.dir(folder), serversOf(ids), { storage: this.storage, logger: false, ...more })
  }

  async close(id: string): Promise<void> {
    await this.servers.get(id)?.close({ transferLeadership: false })
    this.servers.delete(id)
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.servers.keys()].map((id) => this.close(id)))
  }

  async wipe(id: string): Promise<void> {
    if (this.storage.name === 'memory') (this.storage as MemoryStoreFactory).wipe(this.dir(id))
    await rm(this.dir(id), { recursive: true, force: true })
  }
}

async function inCity(storage: StoreFactory, run: (city: City) => Promise<void>): Promise<void> {
  const city = new City(await mkdtemp(join(tmpdir(), 'balsa-recovery-')), storage)
  try {
    await run(city)
  } finally {
    await city.closeAll()
    await rm(city.folder, { recursive: true, force: true })
  }
}

const listOf = (server: List): Promise<readonly number[]> => server.read(undefined, { consistency: 'stale' })
const votersOf = ({ status }: List): string => status.configuration.voters.map(({ id }) => id).join(' ')

for (const storage of [nativeStore(), fileStore(), memoryStore()]) {
  const test = suite(`recovery over the ${storage.name} store`)

  test('a cluster of three whose two servers are lost comes back from the third, and new ones get a vote once they have caught up', async () => {
    await inCity(storage, async (city) => {
      await city.fall()
      for (const id of ['s2', 's3']) await city.wipe(id)
      const before = await Raft.hasState(city.dir('s1'), { storage })
      const recovery = await city.recover(IDS)
      const { clusterId, formerClusterId, lastIndex, lastTerm, leftBehind, isNew, recoveries } = recovery
      assert.equal(
        [formerClusterId, lastIndex, lastTerm, isNew, leftBehind],
        [before?.clusterId, before?.lastIndex, before?.lastTerm, true, ['s2', 's3']],
      )
      assert.is.not(clusterId, formerClusterId)
      const first = await city.open('s1')
      await first.ready({ timeoutMs: 20_000 })
      assert.equal(await first.read(undefined), [1, 2, 3])
      assert.is(await first.apply(4), 4)
      assert.equal([first.status.clusterId, first.status.recoveries], [clusterId, recoveries])
      for (const id of ['s2', 's3']) await city.open(id, { join: true, recoveries })
      await until('all vote', () => votersOf(first) === 's1 s2 s3' && first.status.configurationIsCommitted)
      await city.close('s1')
      const next = await city.leader()
      assert.equal(await next.read(undefined), [1, 2, 3, 4])
      assert.is(await next.apply(5), 5)
    })
  })

  test('without a word that data may be lost nothing is changed, and it is said what would be', async () => {
    await inCity(storage, async (city) => {
      await city.fall()
      const before = await Raft.hasState(city.dir('s1'), { storage })
      for (const more of [{}, { mayLoseData: false }]) {
        const { message } = await refusal(city.recover(['s1'], more), 'ERR_RAFT_OPTIONS')
        const texts = ['changed nothing', 's1 the only voter', `entry ${before?.lastIndex} of term ${before?.lastTerm}`]
        for (const text of [...texts, '(s2, s3)', 'mayLoseData: true']) assert.match(message, text)
      }
      assert.equal(await Raft.hasState(city.dir('s1'), { storage }), before)
      await Promise.all(IDS.map((id) => city.open(id)))
      assert.equal(await (await city.leader()).read(undefined), [1, 2, 3])
    })
  })

  test('a server that took no part is refused with its old folder, by a word on both sides, and counts for nothing', async () => {
    await inCity(storage, async (city) => {
      await city.fall()
      await city.recover(IDS)
      const first = await city.open('s1')
      await first.ready({ timeoutMs: 20_000 })
      const late = await city.open('s2')
      // Each also hears what the other one says when it is dialled: not at every moment both say this.
      const told = new Map<string, string>()
      const look = (server: List, peer: string): void => {
        const seen = server.status.peers.find(({ id }) => id === peer)?.refusal
        if (seen?.code === 'ERR_RAFT_CLUSTER_RECOVERED') told.set(peer, seen.reason)
      }
      await until('both say so', () => {
        look(first, 's2')
        look(late, 's1')
        return told.size === 2
      })
      const reason = told.get('s1') ?? ''
      for (const text of ['recovered', 'count for nothing', 'empty', 'recoveries', 'addVoter'])
        assert.match(reason, text)
      assert.is(await first.apply(4), 4)
      assert.equal([votersOf(first), first.status.role, late.status.leader], ['s1', 'leader', null])
    })
  })

  test('a second survivor is not taken for a part of it, by any option; empty it is', async () => {
    await inCity(storage, async (city) => {
      await city.fall()
      const { recoveries } = await city.recover(['s1'])
      const error = await refusal(city.open('s2', { join: true, recoveries }), 'ERR_RAFT_CLUSTER_RECOVERED')
      for (const text of [city.dir('s2'), 'no part of the cluster', 'empty folder']) assert.match(error.message, text)
      await city.wipe('s2')
      const alone = await refusal(city.open('s2', { recoveries }), 'ERR_RAFT_OPTIONS')
      assert.match(alone.message, 'join: true')
      const first = await city.open('s1', { recoveries })
      await first.ready({ timeoutMs: 20_000 })
      const second = await city.open('s2', { join: true, recoveries })
      await first.addVoter({ id: 's2', address: 's2:1' }, { timeoutMs: 20_000 })
      assert.equal(await listOf(second), [1, 2, 3])
    })
  })

  test('the list of the first members stays what it was; another one is refused, and the error says so', async () => {
    await inCity(storage, async (city) => {
      await city.fall()
      await city.recover(['s1'])
      const error = await refusal(city.open('s1', { bootstrap: serversOf(['s1']) }), 'ERR_RAFT_CLUSTER_MISMATCH')
      assert.match(error.message, 'its very first members')
      assert.is(
        (await Raft.bootstrap({ id: 's1', dir: city.dir('s1'), bootstrap: serversOf(IDS), storage })).isNew,
        false,
      )
      const first = await city.open('s1')
      await first.ready({ timeoutMs: 20_000 })
    })
  })

  test('the same call once more writes nothing; after it was led from, or for other servers, it is another recovery', async () => {
    await inCity(storage, async (city) => {
      await city.fall()
      const once = await city.recover(['s1'])
      const again = await city.recover(['s1'], {})
      assert.equal([again.isNew, again.clusterId, again.recoveries], [false, once.clusterId, once.recoveries])
      const other = await city.recover(['s1', 's4'])
      assert.equal([other.isNew, other.recoveries.length, other.formerClusterId], [true, 2, once.clusterId])
      const first = await city.open('s1')
      await first.ready({ timeoutMs: 20_000 })
      await city.close('s1')
      assert.is((await city.recover(['s1', 's4'])).recoveries.length, 3)
      const last = await city.open('s1')
      await last.ready({ timeoutMs: 20_000 })
      assert.equal(await last.read(undefined), [1, 2, 3])
    })
  })

  test('what the log stands on is given to new servers, though its maker was of the cluster before', async () => {
    await inCity(storage, async (city) => {
      const many = Array.from({ length: 30 }, (_, at) => at)
      await city.fall(async (leader) => {
        await leader.applyAll(many)
        await city.followed(leader)
        await Promise.all([...city.servers.values()].map((server) => server.snapshot({ timeoutMs: 20_000 })))
        await leader.applyAll([4, 5])
      })
      const before = await Raft.hasState(city.dir('s1'), { storage })
      assert.ok(
        (before?.firstIndex ?? 0) > 2,
        'the log was compacted, and not only the entry that each server begins with',
      )
      const { recoveries } = await city.recover(['s1', 's4'])
      const after = await Raft.hasState(city.dir('s1'), { storage })
      assert.equal([after?.snapshotIndex, after?.firstIndex], [before?.snapshotIndex, before?.firstIndex])
      const first = await city.open('s1')
      await first.ready({ timeoutMs: 20_000 })
      assert.equal(await first.read(undefined), [1, 2, 3, ...many, 4, 5])
      const joined = await city.open('s4', { join: true, recoveries })
      await until('it votes', () => votersOf(first) === 's1 s4', 20_000)
      await until('it has all', () => joined.status.appliedIndex === first.status.lastIndex)
      assert.equal(await listOf(joined), [1, 2, 3, ...many, 4, 5])
      assert.ok(joined.status.firstIndex > 1, 'it came by a snapshot')
    })
  })

  test('a server joins a recovered cluster by an address alone, and tells the next one of its recoveries', async () => {
    await inCity(storage, async (city) => {
      await city.fall()
      for (let time = 0; time < 2; time += 1) {
        await city.recover(['s1'])
        await city.open('s1')
        await (await city.leader()).applyAll([4])
        await city.close('s1')
      }
      const leader = await city.open('s1')
      await city.leader()
      const { clusterId, recoveries } = leader.status
      assert.is(recoveries.length, 2)
      const join = async (id: string, address: string): Promise<void> => {
        const joined = await city.open(id, { bootstrap: [], join: [address] })
        assert.equal([joined.status.clusterId, joined.status.recoveries], [clusterId, recoveries])
        await leader.addVoter({ id, address: `${id}:1` })
        await city.followed(leader)
        assert.equal(await listOf(joined), [1, 2, 3, 4, 4])
      }
      await city.wipe('s2')
      await join('s2', 's1:1')
      await join('s4', 's2:1')
      await city.close('s4')
      const again = await city.open('s4', { bootstrap: [], join: ['s1:1'] })
      assert.equal([again.status.clusterId, again.status.recoveries], [clusterId, recoveries])
    })
  })

  test('nothing is recovered where nothing is, nor for a list without the server whose folder it is', async () => {
    await inCity(storage, async (city) => {
      const nothing = await refusal(city.recover(['s1']), 'ERR_RAFT_OPTIONS')
      assert.match(nothing.message, 'nothing to recover')
      await Raft.bootstrap({ id: 's1', dir: city.dir('s1'), bootstrap: serversOf(IDS), storage })
      assert.match((await refusal(city.recover(['s1']), 'ERR_RAFT_OPTIONS')).message, 'nothing to recover')
      await city.wipe('s1')
      await city.fall()
      assert.match((await refusal(city.recover(['s2', 's3']), 'ERR_RAFT_OPTIONS')).message, 'name s1 too')
      const first = await city.open('s1')
      await refusal(city.recover(['s1']), 'ERR_RAFT_DIR_LOCKED')
      assert.is(first.status.recoveries.length, 0)
    })
  })

  test.run()
}

const crashes = suite('crashes of a recovery')

for (const fate of ['lost', 'kept'] as const) {
  crashes(
    `a write that fails and is ${fate} leaves the folder as it was, or recovered; the next call goes through`,
    async () => {
      const storage = memoryStore()
      await inCity(storage, async (city) => {
        await city.fall(async (leader) => leader.snapshot({ timeoutMs: 20_000 }))
        storage.disk(city.dir('s1')).failTicket(1, fate)
        await refusal(city.recover(['s1']), 'ERR_RAFT_STORE_POISONED')
        const state = await Raft.hasState(city.dir('s1'), { storage })
        assert.is(state?.recoveries.length, fate === 'lost' ? 0 : 1)
        const { isNew, recoveries } = await city.recover(['s1'])
        assert.equal([isNew, recoveries.length], [fate === 'lost', 1])
        const first = await city.open('s1')
        await first.ready({ timeoutMs: 20_000 })
        assert.equal(await first.read(undefined), [1, 2, 3])
      })
    },
  )
}

crashes('a snapshot that cannot be copied, at any call of the disk, leaves the folder as it was', async () => {
  const storage = memoryStore()
  await inCity(storage, async (city) => {
    await city.fall(async () => Promise.all([...city.servers.values()].map((server) => server.snapshot())))
    const before = await Raft.hasState(city.dir('s1'), { storage })
    const disk = storage.snapshots.disk(city.dir('s1'))
    let failures = 0
    for (let call = 1, isOver = false; !isOver; call += 1) {
      disk.dieAt(call)
      try {
        await city.recover(['s1'])
        isOver = true
      } catch {
        failures += 1
        assert.equal(await Raft.hasState(city.dir('s1'), { storage }), before)
      }
      disk.crash()
    }
    assert.ok(failures >= 4, `${failures} calls were met`)
    const first = await city.open('s1')
    await first.ready({ timeoutMs: 20_000 })
    assert.equal(await first.read(undefined), [1, 2, 3])
  })
})

crashes.run()

const returns = suite('servers that come back with nothing')

for (const [what, more, asks] of [
  ['of a cluster that was recovered', { join: true, recoveries: [`7-${'5'.repeat(32)}`] }, false],
  ['of any other', {}, true],
] as const) {
  returns(
    `a first member ${what} ${asks ? 'calls' : 'never calls'} for an election by the first configuration`,
    async () => {
      const lone = await LoneServer.open(undefined, more)
      await lone.connect()
      for (let step = 0; step < 100; step += 1) {
        lone.clock.advance(ELECTION_MS / 10)
        await lone.turns()
      }
      assert.is(
        lone.transport.requests.some(({ message }) => message.type === 'PreVote'),
        asks,
      )
      await lone.close()
    },
  )
}

returns.run()
