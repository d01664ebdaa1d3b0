/** A server that joins a cluster by an address alone. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore } from 'balsa-raft'
import type { JoinStatus, Transport } from 'balsa-raft'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import { systemClock } from '#balsa/clock.js'
import { failure } from '../support/failure.js'
import { TestCluster } from '../support/raft-cluster.js'
import type { TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const FIRST = ['s1', 's2', 's3']
const FAST = { heartbeatMs: 20, electionTimeoutMs: 200 }
const bootstrap = FIRST.map((id) => ({ id, address: `${id}:1` }))

interface Told {
  readonly code: string
  readonly message: string
}

class Town {
  readonly folder = mkdtempSync(join(tmpdir(), 'balsa-joining-'))
  readonly network = new MemoryNetwork({ clock: systemClock() })
  readonly cluster = new TestCluster({
    sites: [...FIRST, 's4', 's5'].map((id) => ({ id, dir: join(this.folder, id), address: `${id}:1` })),
    storage: fileStore(),
    transportOf: ({ address }) => this.network.transport(address),
    extra: FAST,
  })

  async begin(): Promise<TestRaft> {
    await Promise.all(FIRST.map((id) => this.cluster.open(id, { bootstrap })))
    return this.cluster.leader()
  }

  joins(id: string, addresses: readonly string[], more: object = {}): Promise<TestRaft> {
    return this.cluster.open(id, { bootstrap: [], join: addresses, ...more })
  }

  async end(): Promise<void> {
    await this.cluster.closeAll()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function inTown(run: (town: Town) => Promise<void>): Promise<void> {
  const town = new Town()
  try {
    await run(town)
  } finally {
    await town.end()
  }
}

test('M17 a server joins by an address, is added, answers the next one, and starts again when nobody is there', async () => {
  await inTown(async (town) => {
    const opening = town.joins('s4', ['nobody:1', 's2:1', 's1:1'])
    const leader = await town.begin()
    await leader.apply({ add: 3 })
    const joined = await opening
    assert.is(joined.status.clusterId, leader.status.clusterId)
    assert.is(joined.status.role, 'follower')
    await leader.addVoter({ id: 's4', address: 's4:1' })
    await until('it has everything', () => town.cluster.machine('s4').query().total === 3)
    const next = await town.joins('s5', ['s4:1'])
    assert.is(next.status.clusterId, leader.status.clusterId)
    await leader.addNonvoter({ id: 's5', address: 's5:1' })
    await town.cluster.closeAll()
    const again = await town.joins('s4', ['nobody:1'], { joinTimeoutMs: 1 })
    assert.is(again.status.clusterId, leader.status.clusterId)
    const error = (await failure(again.close().then(() => town.joins('s4', ['s1:1'], { cluster: 'x' })))) as Told
    assert.is(error.code, 'ERR_RAFT_CLUSTER_MISMATCH')
  })
})

test('M17 another cluster, and a first entry that is not that of the cluster, are not joined', async () => {
  await inTown(async (town) => {
    await town.begin()
    const other = (await failure(town.joins('s4', ['s1:1'], { cluster: 'other' }))) as Told
    assert.is(other.code, 'ERR_RAFT_CLUSTER_MISMATCH')
    assert.match(other.message, /at s1:1 is the cluster 'balsa', and option cluster is 'other'/)
    const first = Buffer.from('nonsense').toString('base64')
    const lies: readonly (readonly [string, RegExp])[] = [
      ['', /says no cluster/],
      ['7', /says no cluster/],
      [JSON.stringify({ cluster: 'balsa', clusterId: '0', first }), /says no cluster/],
      [JSON.stringify({ cluster: 'balsa', clusterId: '0', first, recoveries: ['1'] }), /says no cluster/],
      [JSON.stringify({ cluster: 'balsa', clusterId: '0', first, recoveries: [] }), /id of the cluster that it tells/],
      [JSON.stringify({ cluster: 'balsa', clusterId: '0', first: null, recoveries: [] }), /says no cluster/],
    ]
    for (const [text, words] of lies) {
      const transport: Transport = town.network.transport('s4:1')
      transport.ask = () => Promise.resolve(new TextEncoder().encode(text))
      const error = (await failure(town.joins('s4', ['s1:1'], { transport, joinTimeoutMs: 60 }))) as Told
      assert.is(error.code, 'ERR_RAFT_TIMEOUT', text)
      assert.match(error.message, words)
    }
  })
})

test('who cannot be answered waits no longer than its deadline or its signal, and says why', async () => {
  await inTown(async (town) => {
    const late = (await failure(town.joins('s4', ['a:1', 'b:1'], { joinTimeoutMs: 1000 }))) as Told
    assert.is(late.code, 'ERR_RAFT_TIMEOUT')
    assert.match(late.message, /a:1: Error: nobody listens there; b:1: Error: nobody listens there\. Start the members/)
    const controller = new AbortController()
    const opening = failure(town.joins('s4', ['a:1'], { signal: controller.signal }))
    controller.abort()
    assert.is(((await opening) as Told).code, 'ERR_RAFT_ABORTED')
    const gone = (await failure(town.joins('s4', ['a:1'], { signal: controller.signal }))) as Told
    assert.is(gone.code, 'ERR_RAFT_ABORTED')
    const leader = await town.begin()
    const joined = await town.joins('s4', ['s1:1'])
    assert.is(joined.status.clusterId, leader.status.clusterId)
  })
})

test('M16 an id that is taken is refused with the remedy, and comes in when it was replaced', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    const id = town.cluster.followers(leader)[0]?.status.id ?? ''
    const ask = [`${leader.status.id}:1`]
    await town.cluster.close(id)
    rmSync(join(town.folder, id), { recursive: true })
    const error = (await failure(town.joins(id, ask, { joinTimeoutMs: 100 }))) as Told
    assert.match(error.message, new RegExp(`the id ${id} is that of a member with another store.*raft\\.replace`))
    const opening = town.joins(id, ask)
    await until('nobody hears it', () => leader.status.peers.some((peer) => peer.id === id && !peer.connected))
    await leader.replace(id, { id, address: `${id}:1` }, { force: true, timeoutMs: 20_000 })
    const back = await opening
    await leader.apply({ add: 2 })
    await until('it has it', () => town.cluster.machine(id).query().total === 2)
    assert.is(back.status.configuration.voters.length, 3)
  })
})

test('M15 where the leader allows it, servers that ask a follower become nonvoters by themselves, each in its turn', async () => {
  await inTown(async (town) => {
    await Promise.all(FIRST.map((id) => town.cluster.open(id, { bootstrap, allowJoin: true })))
    const leader = await town.cluster.leader()
    const ask = [`${town.cluster.followers(leader)[0]?.status.id}:1`]
    const as = (id: string): object => ({ joinAs: { address: `${id}:1`, meta: { redis: `${id}:2` } } })
    await leader.apply({ add: 3 })
    await Promise.all(['s4', 's5'].map((id) => town.joins(id, ask, as(id))))
    for (const id of ['s4', 's5']) await until(`${id} has it`, () => town.cluster.machine(id).query().total === 3)
    const { voters, nonvoters } = leader.status.configuration
    assert.is(voters.length, 3)
    assert.is(
      nonvoters
        .map(({ id, promote }) => `${id} ${promote}`)
        .toSorted()
        .join(),
      's4 false,s5 false',
    )
    assert.equal(nonvoters.find(({ id }) => id === 's4')?.meta, { redis: 's4:2' })
    await leader.promote('s4')
    assert.is(leader.status.configuration.voters.length, 4)
  })
})

test('M15 who may not join by itself waits, and one for whom there is no turn within its deadline waits as well', async () => {
  await inTown(async (town) => {
    const leader = await town.begin()
    await town.joins('s4', ['s1:1', 's2:1'], { joinAs: { address: 's4:1' } })
    assert.is(leader.status.configuration.nonvoters.length, 0)
    await town.cluster.closeAll()
    await Promise.all(FIRST.map((id) => town.cluster.open(id, { bootstrap, allowJoin: true })))
    const next = await town.cluster.leader()
    await next.addNonvoter({ id: 's9', address: 's9:1' })
    await town.joins('s5', ['s1:1'], { joinAs: { address: 's5:1' }, joinTimeoutMs: 300 })
    assert.equal(
      next.status.configuration.nonvoters.map(({ id }) => id),
      ['s9'],
    )
    await next.addNonvoter({ id: 's5', address: 's5:1' })
  })
})

test('what a server that joins waits for, and whom it asks, is told while it asks and stands in its status until it is a member', async () => {
  await inTown(async (town) => {
    const seen: JoinStatus[] = []
    const onJoin = (status: JoinStatus): void => {
      seen.push(status)
      if (seen.length === 1) throw new Error('the listener is at fault')
    }
    const clock = systemClock()
    const opening = town.joins('s4', ['nobody:1', 's1:1'], { onJoin, clock })
    await until('it pauses', () => seen.some(({ nextAt }) => nextAt !== null))
    const pause = seen.find(({ nextAt }) => nextAt !== null)
    const refused = (address: string): object => ({ address, text: 'Error: nobody listens there' })
    assert.equal(seen.slice(0, 2), [
      { waitsFor: 'cluster', asking: 'nobody:1', answers: [], nextAt: null },
      { waitsFor: 'cluster', asking: 's1:1', answers: [refused('nobody:1')], nextAt: null },
    ])
    assert.equal(pause?.answers, [refused('nobody:1'), refused('s1:1')])
    assert.is(pause?.asking, null)
    const leader = await town.begin()
    const joined = await opening
    const { join: waits } = joined.status
    assert.equal([waits?.waitsFor, waits?.asking, waits?.nextAt], ['operator', null, null])
    assert.match(waits?.answers.at(-1)?.text ?? '', /^it tells its cluster/)
    const told = seen.length
    await leader.addNonvoter({ id: 's4', address: 's4:1' })
    await until('it is a member', () => joined.status.join === null)
    assert.is(leader.status.join, null)
    await joined.close()
    const again = await town.joins('s4', ['nobody:1'], { onJoin })
    assert.is(again.status.join, null)
    assert.is(seen.length, told)
  })
})

test('one that asks to be made a nonvoter says that it waits for the leader, and why its turn has not come', async () => {
  await inTown(async (town) => {
    await Promise.all(FIRST.map((id) => town.cluster.open(id, { bootstrap, allowJoin: true })))
    const leader = await town.cluster.leader()
    await leader.addNonvoter({ id: 's9', address: 's9:1' })
    const seen: JoinStatus[] = []
    const onJoin = (status: JoinStatus): void => void seen.push(status)
    const address = `${leader.status.id}:1`
    const opening = town.joins('s4', [address], { joinAs: { address: 's4:1' }, onJoin })
    await until('it is held up', () => seen.some(({ waitsFor, nextAt }) => waitsFor === 'leader' && nextAt !== null))
    assert.match(seen.at(-1)?.answers[0]?.text ?? '', /the nonvoter s9 is not reached.*\(removeServer\)/)
    await leader.removeServer('s9')
    const joined = await opening
    await until('it is a member', () => joined.status.join === null)
  })
})

test('addresses to join are refused by name, bound and reason', async () => {
  await inTown(async (town) => {
    const says = async (more: object, words: RegExp): Promise<void> => {
      const error = (await failure(town.cluster.open('s4', { bootstrap: [], ...more }))) as Told
      assert.is(error.code, 'ERR_RAFT_OPTIONS')
      assert.match(error.message, words)
    }
    await says({ join: [] }, /option join must be true, false or a list of 1 \.\. 64 addresses/)
    await says({ join: 's1:1' }, /option join must be true/)
    await says({ join: [''] }, /join: address/)
    await says({ join: ['s1:1'], bootstrap }, /option bootstrap is given, and join names addresses/)
    const recoveries = [`5-${'0'.repeat(32)}`]
    await says({ join: ['s1:1'], recoveries }, /option recoveries is given, and join names addresses/)
    await says({ join: ['s1:1'], joinTimeoutMs: 0 }, /joinTimeoutMs/)
    await says({ join: ['s1:1'], onJoin: 7 }, /option onJoin must be a function/)
    await says({ join: ['s1:1'], signal: {} }, /option signal must be an AbortSignal/)
    await says({ join: ['s1:1'], joinAs: 7 }, /option joinAs must be \{ address, meta \}/)
    await says({ join: ['s1:1'], joinAs: { address: '' } }, /address of joinAs/)
    await says({ join: ['s1:1'], joinAs: { address: 's4:1', meta: { a: 7 } } }, /meta of joinAs/)
    await says(
      { join: ['s1:1'], joinAs: { address: 's4:1', meta: { a: '\u0001'.repeat(1000) } } },
      /option joinAs has \d+ bytes with the id; at most/,
    )
    await says(
      { join: true, bootstrap, joinAs: { address: 's4:1' } },
      /option joinAs is given, and join names no addresses/,
    )
    await says({ join: ['s1:1'], allowJoin: 1 }, /option allowJoin/)
    await says({ join: ['s1:1'], acceptPeerBoot: [''] }, /acceptPeerBoot/)
    const transport: Partial<Transport> = town.network.transport('s4:1')
    Object.assign(transport, { ask: undefined })
    await says({ join: ['s1:1'], transport }, /this transport cannot ask them: set it to true/)
  })
})

test.run()
