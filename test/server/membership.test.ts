/** Changes of the members, as callers make them: servers that come, go, move and come back, in one process. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore } from 'balsa-raft'
import type { Raft, RaftEvents } from 'balsa-raft'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import { systemClock } from '#balsa/clock.js'
import { failure } from '../support/failure.js'
import { TestCluster } from '../support/raft-cluster.js'
import type { Site, TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const FIRST = ['s1', 's2', 's3']
const FAST = { heartbeatMs: 20, electionTimeoutMs: 600 }
/** For what must not be overtaken by an election, on however busy a machine. */
const PATIENT = { heartbeatMs: 20, electionTimeoutMs: 2000 }

class Town {
  readonly folder = mkdtempSync(join(tmpdir(), 'balsa-members-'))
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly sites: readonly Site[]
  readonly cluster: TestCluster
  readonly #first: readonly string[]

  constructor(first = FIRST, all = ['s1', 's2', 's3', 's4', 's5']) {
    this.#first = first
    this.sites = all.map((id) => ({ id, dir: join(this.folder, id), address: `${id}:1` }))
    this.cluster = new TestCluster({
      sites: this.sites,
      storage: fileStore(),
      transportOf: ({ address }) => this.network.transport(address),
      extra: FAST,
    })
  }

  open(id: string, more: object = {}): Promise<TestRaft> {
    const bootstrap = this.#first.map((each) => ({ id: each, address: `${each}:1` }))
    const joins = !this.#first.includes(id)
    return this.cluster.open(id, { bootstrap, join: joins, ...more })
  }

  async begin(): Promise<TestRaft> {
    await Promise.all(this.#first.map((id) => this.open(id)))
    return this.cluster.leader()
  }

  async end(): Promise<void> {
    await this.cluster.closeAll()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function inTown(run: (town: Town) => Promise<void>, ...args: ConstructorParameters<typeof Town>): Promise<void> {
  const town = new Town(...args)
  try {
    await run(town)
  } finally {
    await town.end()
  }
}

const names = (raft: Pick<Raft<unknown, unknown>, 'configuration'>): string => {
  const { voters, outgoing, nonvoters } = raft.configuration().configuration
  const idsOf = (servers: readonly { readonly id: string }[]): string => servers.map(({ id }) => id).join(' ')
  return [idsOf(voters), outgoing === null ? '' : `(${idsOf(outgoing)})`, idsOf(nonvoters)].filter(Boolean).join(' + ')
}

test('M15 a server joins one, and both vote: it is fed before its vote is needed', async () => {
  await inTown(
    async (town) => {
      const leader = await town.begin()
      for (let count = 0; count < 20; count += 1) await leader.apply({ add: 1 })
      const adding = leader.addVoter({ id: 's2', address: 's2:1' })
      await leader.apply({ add: 1 })
      const joined = await town.open('s2')
      const { configuration, isCommitted } = await adding
      assert.equal([configuration.voters.map(({ id }) => id), isCommitted], [['s1', 's2'], true])
      await until('it has everything', () => joined.status.appliedIndex === leader.status.lastIndex)
      assert.is(town.cluster.machine('s2').query().total, 21)
    },
    ['s1'],
  )
})

test('three servers become five and three again, with other ones, and nothing is lost', async () => {
  await inTown(async (town) => {
    const first = await town.begin()
    for (const id of ['s4', 's5']) {
      await town.open(id)
      await first.addNonvoter({ id, address: `${id}:1` })
    }
    await first.apply({ add: 1 })
    const stays = first.status.id
    const target = { voters: [stays, 's4', 's5'] }
    const { configuration } = await first.changeMembership(target)
    assert.equal(
      [configuration.voters.map(({ id }) => id).sort(), configuration.outgoing],
      [[stays, 's4', 's5'].sort(), null],
    )
    assert.is(await first.apply({ add: 1 }), 2)
    for (const id of ['s4', 's5']) {
      await until('they have it', () => town.cluster.machine(id).query().total === 2)
      assert.is(names(town.cluster.server(id)), names(first))
    }
  })
})

test('H1-13 M11 a leader that removes itself is told so, another one leads, and its proposals get their outcome', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const { id } = leader.status
    const removed: number[] = []
    leader.on('removed', ({ index }) => void removed.push(index))
    const { index, configuration } = await leader.removeServer(id)
    assert.not(configuration.voters.some((voter) => voter.id === id))
    await until('it is told so, as it leads no more', () => removed.length > 0 && leader.status.role !== 'leader')
    assert.equal(removed, [index])
    const { code, outcome } = (await failure(leader.apply({ add: 1 }))) as { code: string; outcome: string }
    assert.ok(['ERR_RAFT_NO_LEADER', 'ERR_RAFT_NOT_LEADER'].includes(code), code)
    assert.is(outcome, 'not-applied')
    town.cluster.servers.delete(id)
    const successor = await town.cluster.leader()
    await successor.apply({ add: 1 })
    await leader.close()
  })
})

test('onRemoved: close ends a server that was removed', async () => {
  await inTown(async (town) => {
    await Promise.all(FIRST.map((id) => town.open(id, { onRemoved: 'close' })))
    const leader = await town.cluster.leader()
    const gone = town.cluster.followers(leader)[0] as TestRaft
    await leader.removeServer(gone.status.id)
    assert.is(await gone.closed, null)
    await until('it is not dialled any more', () => leader.status.peers.length === 1)
  })
})

test('M16 a server that is replaced under its own id meets its removal as it catches up, and is not ended by that', async () => {
  await inTown(async (town) => {
    await Promise.all(FIRST.map((id) => town.open(id, { ...PATIENT, onRemoved: 'close' })))
    const leader = await town.cluster.leader()
    const { id } = (town.cluster.followers(leader)[0] as TestRaft).status
    await leader.apply({ add: 1 })
    await town.cluster.close(id)
    rmSync(join(town.folder, id), { recursive: true })
    const again = await town.open(id, { ...PATIENT, onRemoved: 'close' })
    const removed: number[] = []
    again.on('removed', ({ index }) => void removed.push(index))
    await until('it is refused', () =>
      leader.status.peers.some(({ refusal }) => refusal?.code === 'ERR_RAFT_PEER_REPLACED'),
    )
    await leader.replace(id, { id, address: `${id}:1` }, { timeoutMs: 10_000 })
    await leader.apply({ add: 5 })
    await until('it has everything', () => town.cluster.machine(id).query().total === 6, 10_000)
    assert.equal(removed, [])
  })
})

test('a leader that removes itself answers whoever asked for that, and closes then', async () => {
  await inTown(async (town) => {
    await Promise.all(FIRST.map((id) => town.open(id, { ...PATIENT, onRemoved: 'close' })))
    const leader = await town.cluster.leader()
    const { id } = leader.status
    const { configuration } = await leader.removeServer(id)
    assert.not(configuration.voters.some((voter) => voter.id === id))
    assert.is(await leader.closed, null)
  })
})

test('M16 an id that was removed comes back with an empty folder, and only then', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const gone = town.cluster.followers(leader)[0] as TestRaft
    const { id } = gone.status
    await town.cluster.close(id)
    rmSync(join(town.folder, id), { recursive: true })
    await town.open(id)
    await until('it is refused', () =>
      leader.status.peers.some(({ refusal }) => refusal?.code === 'ERR_RAFT_PEER_REPLACED'),
    )
    await leader.removeServer(id)
    await leader.addVoter({ id, address: `${id}:1` })
    assert.is(names(leader).split(' ').length, 3)
    await leader.apply({ add: 5 })
    await until('it has it', () => town.cluster.machine(id).query().total === 5)
    await town.cluster.close(id)
    rmSync(join(town.folder, id), { recursive: true })
    await town.open(id)
    await until('it is refused again', () =>
      leader.status.peers.some(({ refusal }) => refusal?.code === 'ERR_RAFT_PEER_REPLACED'),
    )
  })
})

test('M15 a machine that is lost is replaced by another in one call, which can be made again', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    await leader.apply({ add: 4 })
    const gone = (town.cluster.followers(leader)[0] as TestRaft).status.id
    await town.cluster.close(gone)
    const s4 = { id: 's4', address: 's4:1', meta: { redis: 's4:2' } }
    const replacing = leader.replace(gone, s4)
    // Nobody waits for one that is not there.
    await leader.updateServer(leader.status.id, { meta: { redis: 'x:1' } })
    await town.open('s4')
    const { configuration, isCommitted } = await replacing
    assert.equal([configuration.voters.some(({ id }) => id === gone), configuration.outgoing], [false, null])
    assert.ok(isCommitted && configuration.voters.some(({ id }) => id === 's4'))
    assert.equal((await leader.replace(gone, s4)).configuration, configuration, 'nothing is left to be done')
    await until('it has everything', () => town.cluster.machine('s4').query().total === 4)
    assert.equal([leader.status.peers.length, names(leader).split(' ').length], [2, 3])
  })
})

test('M16 a server that has lost its folder is replaced under its own id in one call, and is left alone when it is well', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const { id } = (town.cluster.followers(leader)[0] as TestRaft).status
    const server = { id, address: `${id}:1` }
    const { index } = leader.configuration()
    await until('it is heard', async () => (await leader.replace(id, server)).index === index)
    await town.cluster.close(id)
    rmSync(join(town.folder, id), { recursive: true })
    await town.open(id)
    await until('it is refused', () =>
      leader.status.peers.some(({ refusal }) => refusal?.code === 'ERR_RAFT_PEER_REPLACED'),
    )
    const { configuration } = await leader.replace(id, server, { ifIndex: index, timeoutMs: 20_000 })
    assert.is(configuration.voters.length, 3)
    await leader.apply({ add: 5 })
    await until('it has it', () => town.cluster.machine(id).query().total === 5)
    assert.equal((await leader.replace(id, server)).configuration, configuration)
  })
})

test('a replacement that ends before its time says how far it has come, and the same call goes on at the next leader', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const [follower, other] = town.cluster.followers(leader) as [TestRaft, TestRaft]
    const gone = other.status.id
    const s4 = { id: 's4', address: 's4:1' }
    type Told = { code: string; message: string; outcome: string; retryable: boolean }
    const late = (await failure(leader.replace(gone, s4, { timeoutMs: 1500 }))) as Told
    assert.equal([late.code, late.outcome, late.retryable], ['ERR_RAFT_TIMEOUT', 'applied', true])
    assert.match(late.message, /so far: server s4 is a nonvoter, and s\d is still a member\. The same call goes on/)
    const lost = failure(leader.replace(gone, s4))
    await until('it waits', () => leader.configuration().configuration.nonvoters.length === 1)
    await leader.transferLeadership({ to: follower.status.id })
    assert.match(((await lost) as Told).code, /ERR_RAFT_NO(T|)_LEADER/)
    await town.open('s4')
    const { configuration } = await follower.replace(gone, s4)
    assert.is(configuration.voters.map(({ id }) => id).includes(gone), false)
    assert.is(configuration.voters.length, 3)
  })
})

test('what is no replacement is refused, with what helps', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const says = async (promise: Promise<unknown>, code: string, words: RegExp): Promise<void> => {
      const error = (await failure(promise)) as { code: string; message: string; outcome: string }
      assert.equal([error.code, error.outcome], [code, 'not-applied'], error.message)
      assert.match(error.message, words)
    }
    const s4 = { id: 's4', address: 's4:1' }
    const { id } = leader.status
    const [follower] = town.cluster.followers(leader) as [TestRaft]
    await says(follower.replace('s1', s4), 'ERR_RAFT_NOT_LEADER', /ask/)
    await says(leader.replace('', s4), 'ERR_RAFT_OPTIONS', /id of replace/)
    await says(leader.replace('s1', { id: 's4' } as never), 'ERR_RAFT_OPTIONS', /address of replace/)
    await says(leader.replace('s9', s4), 'ERR_RAFT_CHANGE_REFUSED', /neither s9 nor s4 is a member: add s4/)
    const voter = { id, address: `${id}:1` }
    await says(leader.replace(follower.status.id, voter), 'ERR_RAFT_CHANGE_REFUSED', /is a voter already: removeServer/)
    await says(leader.replace(id, { id, address: 'y:1' }), 'ERR_RAFT_CHANGE_REFUSED', /leads, so it has its folder/)
    await leader.addNonvoter(s4)
    const moved = { ...s4, address: 'y:1' }
    await says(leader.replace(follower.status.id, moved), 'ERR_RAFT_CHANGE_REFUSED', /at s4:1, .* with updateServer/)
    await says(leader.replace('s1', s4, { ifIndex: 77 }), 'ERR_RAFT_CHANGE_REFUSED', /ifIndex is 77/)
    await leader.close()
    await says(leader.replace('s1', s4), 'ERR_RAFT_CLOSED', /closed/)
  })
})

test('H1-22 an address that changes is dialled by all, and meta comes back in hints, status and events', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const [follower, other] = town.cluster.followers(leader) as [TestRaft, TestRaft]
    const { id } = follower.status
    const told: RaftEvents['configuration'][] = []
    other.on('configuration', (event) => void told.push(event))
    await town.cluster.close(id)
    await leader.updateServer(id, { address: 'moved:1' })
    const moved = await town.open(id, { transport: town.network.transport('moved:1') })
    await leader.apply({ add: 3 })
    await until('it follows at the new address', () => town.cluster.machine(id).query().total === 3)
    await leader.updateServer(leader.status.id, { meta: { redis: '127.0.0.1:6379' } })
    await until('it is known', () => moved.status.leader?.meta !== undefined)
    const { leader: hint } = (await failure(moved.apply({ add: 1 }))) as { leader: unknown }
    const own = { id: leader.status.id, address: `${leader.status.id}:1`, meta: { redis: '127.0.0.1:6379' } }
    assert.equal(hint, own)
    assert.equal(
      moved.status.configuration.voters.find((voter) => voter.id === own.id),
      own,
    )
    const isTold = ({ isCommitted, configuration }: RaftEvents['configuration']): boolean =>
      isCommitted && configuration.voters.some(({ meta }) => meta?.['redis'] !== undefined)
    await until('the others are told when it is committed', () => told.some(isTold))
    await leader.updateServer(own.id, { meta: {} })
    assert.is(leader.status.configuration.voters.find((voter) => voter.id === own.id)?.meta, undefined)
  })
})

test('a server that was down while all that it knew were replaced hears of it from a leader that it does not know', async () => {
  await inTown(async (town) => {
    const first = await town.begin()
    const [gone, other] = town.cluster.followers(first) as [TestRaft, TestRaft]
    const { id } = gone.status
    const replaced = [first.status.id, other.status.id]
    await town.cluster.close(id)
    for (const added of ['s4', 's5']) {
      await town.open(added)
      await first.addVoter({ id: added, address: `${added}:1` })
    }
    await first.changeMembership({ voters: [id, 's4', 's5'] })
    for (const each of replaced) await town.cluster.close(each)
    const leader = await town.cluster.leader()
    await leader.apply({ add: 9 })
    const back = await town.open(id)
    await until('it has what it missed', () => town.cluster.machine(id).query().total === 9)
    assert.is(names(back), names(leader))
    await until('it is told as a member', () => leader.status.peers.every((peer) => peer.id !== id || peer.connected))
  })
})

test('a server that follows one that its log does not name yet is told who leads as soon as it does', async () => {
  await inTown(async (town) => {
    const first = await town.begin()
    const away = town.cluster.followers(first)[0]?.status.id ?? ''
    await town.cluster.close(away)
    const leader = await town.cluster.leader()
    const added = await town.open('s4')
    await leader.addVoter({ id: 's4', address: 's4:1' })
    await leader.transferLeadership({ to: 's4' })
    await until('the added server leads', () => added.status.role === 'leader')

    const back = await town.open(away)
    const told: RaftEvents['leader'][] = []
    back.on('leader', (event) => told.push(event))
    await back.ready()
    assert.is(back.status.leader?.id, 's4')
    await until('it was told so', () => told.at(-1)?.leader?.id === 's4', 5000)
    assert.is(told.at(-1)?.leader?.address, 's4:1')
  })
})

test('what is refused says what is in the way, and what helps', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const [follower, other] = town.cluster.followers(leader) as [TestRaft, TestRaft]
    const says = async (promise: Promise<unknown>, code: string, words: RegExp): Promise<void> => {
      const error = (await failure(promise)) as { code: string; message: string; outcome: string }
      assert.equal([error.code, error.outcome], [code, 'not-applied'], error.message)
      assert.match(error.message, words)
    }
    await says(follower.removeServer('s1'), 'ERR_RAFT_NOT_LEADER', /ask/)
    await says(leader.removeServer('s9'), 'ERR_RAFT_CHANGE_REFUSED', /server s9 is not a member/)
    await says(leader.removeServer('s1', { ifIndex: 77 }), 'ERR_RAFT_CHANGE_REFUSED', /ifIndex is 77, .* entry 1/)
    await says(leader.addVoter({ id: 's4', address: 's1:1' }), 'ERR_RAFT_CHANGE_REFUSED', /is that of server s1/)
    await says(leader.addVoter({ id: '', address: 's4:1' }), 'ERR_RAFT_OPTIONS', /id of addVoter/)
    await says(
      leader.addVoter({ id: 's4', address: 'x', adress: 1 } as never),
      'ERR_RAFT_OPTIONS',
      /did you mean address/,
    )
    await says(leader.updateServer('s1', { meta: { a: 'x'.repeat(1024) } }), 'ERR_RAFT_OPTIONS', /at most 1024/)
    await says(leader.changeMembership({ voters: 's1' } as never), 'ERR_RAFT_OPTIONS', /list of ids/)
    await says(leader.promote('s1', { force: 1 } as never), 'ERR_RAFT_OPTIONS', /option force/)
    const own = leader.status.id
    town.network.partition(`${own}:1`, `${other.status.id}:1`)
    await until('it is not heard', async () => {
      const error = (await failure(leader.removeServer(follower.status.id, { ifIndex: 1 }))) as { message: string }
      return error.message.includes(other.status.id) && error.message.includes('force')
    })
    town.network.heal()
  })
})

test('a call that ends before its server has caught up says how far it has come, and the promotion goes on', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const error = (await failure(leader.addVoter({ id: 's4', address: 's4:1' }, { timeoutMs: 300 }))) as Error & {
      outcome: string
    }
    assert.is(error.outcome, 'applied')
    assert.match(error.message, /server s4 is a nonvoter by the configuration \d+, and whoever leads promotes it/)
    const taken = failure(leader.promote('s4'))
    await leader.demoteVoter('s4')
    assert.match(((await taken) as Error).message, /s4 was not promoted/)
    await town.open('s4')
    await leader.promote('s4')
    assert.is(leader.configuration().configuration.voters.length, 4)
  })
})

test.run()
