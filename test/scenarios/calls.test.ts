/**
 * Clusters of real shells and what their callers are told (scenarios A*, C18, D5, D11, R2, R9, H*); time is the
 * machine's.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { FailedTicketFate, MemoryStoreFactory } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import type { RaftError } from 'balsa-raft'
import { failure } from '../support/failure.js'
import { TestCluster } from '../support/raft-cluster.js'
import type { TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

interface Context {
  cluster: TestCluster
  network: MemoryNetwork
  storage: MemoryStoreFactory
}

const test = suite<Context>('scenarios of callers')

test.after.each(async ({ cluster }) => {
  await cluster.closeAll()
})

/** All servers are open and one of them leads. */
async function open(context: Context, count: number, electionTimeoutMs = 300): Promise<TestRaft> {
  const network = new MemoryNetwork({ clock: systemClock() })
  const storage = memoryStore()
  const ids = Array.from({ length: count }, (_, at) => `s${at + 1}`)
  const sites = ids.map((id) => ({ id, dir: `/${id}`, address: `${id}:1` }))
  const cluster = new TestCluster({
    sites,
    storage,
    transportOf: ({ address }) => network.transport(address),
    extra: { electionTimeoutMs, heartbeatMs: 50 },
  })
  Object.assign(context, { cluster, network, storage })
  await cluster.openAll()
  return cluster.leader()
}

function cutOff({ network, cluster }: Context, id: string): void {
  for (const other of cluster.servers.keys()) if (other !== id) network.partition(`${id}:1`, `${other}:1`)
}

const added = (cluster: TestCluster, id: string): readonly number[] =>
  cluster.machine(id).applied.map(({ command }) => ('add' in command ? command.add : 0))

function committed(raft: TestRaft, index: number): Promise<void> {
  return until(`entry ${index} is committed`, () => raft.status.commitIndex >= index)
}

interface Told {
  readonly add: number
  readonly outcome: 'applied' | 'unknown' | 'not-applied'
}

/** What the caller of each command was told in the end. */
async function tell(raft: TestRaft, add: number): Promise<Told> {
  try {
    await raft.apply({ add })
    return { add, outcome: 'applied' }
  } catch (error) {
    return { add, outcome: (error as RaftError).outcome }
  }
}

test('A3 H1-18 every call has one outcome, and a true one, over a change of leader and a close with a full queue', async (context) => {
  const leader = await open(context, 3)
  const { cluster, network } = context
  const { id } = leader.status
  let next = 0
  const calls: Promise<Told>[] = []
  const fire = (raft: TestRaft, count: number): void => {
    for (let call = 0; call < count; call += 1) calls.push(tell(raft, (next += 1)))
  }
  fire(leader, 100)
  await calls.at(-1)
  fire(leader, 100)
  await until('some are accepted', () => leader.status.lastIndex > leader.status.commitIndex)
  cutOff(context, id)
  fire(leader, 100)
  await Promise.all(calls)
  fire(leader, 100)
  cluster.servers.delete(id)
  const successor = await cluster.leader()
  cluster.servers.set(id, leader)
  fire(successor, 100)
  network.heal()
  await Promise.all(calls)
  // The state machine is busy, and the queue of the server that closes is full.
  let release = (): void => {}
  cluster.machine(successor.status.id).gate = new Promise((resolve) => (release = resolve))
  const { lastIndex } = successor.status
  fire(successor, 100)
  await committed(successor, lastIndex + 100)
  fire(successor, 100)
  await successor.close()
  release()
  const told = await Promise.all(calls)
  cluster.servers.delete(successor.status.id)
  const last = await cluster.leader()
  await last.barrier()
  const held = added(cluster, last.status.id)
  for (const { add, outcome } of told) {
    const times = held.filter((each) => each === add).length
    assert.ok(times <= 1, `${add} is there ${times} times`)
    if (outcome === 'applied') assert.is(times, 1, `${add} was said to be applied`)
    if (outcome === 'not-applied') assert.is(times, 0, `${add} was said not to be applied`)
  }
  const outcomes = new Set(told.map(({ outcome }) => outcome))
  assert.equal([...outcomes].sort(), ['applied', 'not-applied', 'unknown'])
})

test('A6 H1-17 what listeners hear of roles and leaders ends with what is so, and its terms never fall', async (context) => {
  const leader = await open(context, 3)
  const { cluster, network } = context
  const { id } = leader.status
  const roles: { role: string; term: number }[] = []
  const leaders: { leader: string | null; term: number }[] = []
  leader.on('role', ({ role, term }) => roles.push({ role, term }))
  leader.on('leader', (event) => leaders.push({ leader: event.leader?.id ?? null, term: event.term }))
  cutOff(context, id)
  await until('it leads no more', () => leader.status.role !== 'leader')
  cluster.servers.delete(id)
  await cluster.leader()
  cluster.servers.set(id, leader)
  network.heal()
  await until('it follows', () => leader.status.leader !== null && leader.status.role === 'follower')
  const { role, term } = leader.status
  assert.is(roles.at(-1)?.role, role)
  assert.equal(leaders.at(-1), { leader: leader.status.leader?.id ?? null, term })
  for (const heard of [roles, leaders]) {
    const terms = heard.map((event) => event.term)
    assert.equal(
      terms,
      [...terms].sort((a, b) => a - b),
    )
  }
})

test('D5 a leader whose disk is full yields, the others take writes, and it takes part again when there is room', async (context) => {
  const leader = await open(context, 3)
  const { cluster, storage } = context
  const { id } = leader.status
  await leader.apply({ add: 1 })
  storage.disk(`/${id}`).stall()
  // The others commit it; this server applies, and so answers, only what its own disk has.
  const stuck = tell(leader, 10)
  await until('another server leads', () => leader.status.role !== 'leader')
  cluster.servers.delete(id)
  const successor = await cluster.leader()
  cluster.servers.set(id, leader)
  await successor.apply({ add: 100 })
  assert.is((await successor.read('total')).total, 111)
  storage.disk(`/${id}`).resume()
  assert.is((await stuck).outcome, 'applied')
  await until('it has caught up', () => leader.status.appliedIndex >= successor.status.appliedIndex)
  assert.is((await leader.read('total', { consistency: 'stale' })).total, 111)
})

test('D5 a follower whose disk is full delays nobody, and has everything when there is room', async (context) => {
  const leader = await open(context, 3)
  const { cluster, storage } = context
  const [follower] = cluster.followers(leader)
  const id = follower?.status.id ?? ''
  storage.disk(`/${id}`).stall()
  for (let add = 1; add <= 50; add += 1) await leader.apply({ add })
  assert.is(leader.status.role, 'leader')
  storage.disk(`/${id}`).resume()
  await until('it has caught up', () => follower?.status.appliedIndex === leader.status.appliedIndex)
  assert.is(added(cluster, id).length, 50)
})

for (const fate of ['lost', 'kept'] satisfies readonly FailedTicketFate[]) {
  test(`D11 H1-11 a write that failed and was ${fate} has the outcome unknown, and after a restart is there or not`, async (context) => {
    const leader = await open(context, 1)
    const { cluster, storage } = context
    await leader.apply({ add: 1 })
    storage.disk('/s1').failTicket(1, fate)
    const error = await failure(leader.apply({ add: 10 }))
    assert.is(`${error.code} ${error.outcome}`, 'ERR_RAFT_STORE_POISONED unknown')
    assert.equal(added(cluster, 's1'), [1], 'what is not durable is not applied')
    await cluster.close('s1')
    const again = await cluster.open('s1')
    await again.ready({ timeoutMs: 20_000 })
    await again.apply({ add: 100 })
    assert.equal(added(cluster, 's1'), fate === 'kept' ? [1, 10, 100] : [1, 100])
  })
}

test('R2 a read waits until what was committed before it is applied, however soon the quorum has confirmed it', async (context) => {
  const leader = await open(context, 3)
  const { lastIndex } = leader.status
  let release = (): void => {}
  context.cluster.machine(leader.status.id).gate = new Promise((resolve) => (release = resolve))
  const write = leader.apply({ add: 7 })
  await committed(leader, lastIndex + 1)
  let seen: number | null = null
  const read = leader.read('total').then(({ total }) => (seen = total))
  write.catch(() => {})
  read.catch(() => {})
  // Another one, which the same servers confirm later: by then the first has been, if it did not wait.
  await failure(leader.readIndex({ timeoutMs: 200 }))
  assert.is(seen, null)
  release()
  assert.equal([await write, await read], [7, 7])
})

test('H2-18 the applied index is that of the state machine, not of what was handed to it', async (context) => {
  const leader = await open(context, 1)
  const { appliedIndex, lastIndex } = leader.status
  let release = (): void => {}
  context.cluster.machine('s1').gate = new Promise((resolve) => (release = resolve))
  const write = leader.apply({ add: 7 })
  write.catch(() => {})
  await committed(leader, lastIndex + 1)
  await failure(leader.readIndex({ timeoutMs: 50 }))
  assert.is(leader.status.appliedIndex, appliedIndex)
  release()
  await write
  assert.is(leader.status.appliedIndex, leader.status.lastIndex)
})

const REPLAYED = 9000

test('H2-6 C18 a restart replays a log of many reads once, in order and to its end, and knows its configuration', async (context) => {
  // What three servers replay in one event loop must not cost the leader its lead on a machine that is busy.
  const leader = await open(context, 3, 1000)
  const { cluster } = context
  const pad = new Uint8Array(300)
  for (let batch = 0; batch < 3; batch += 1) {
    const numbers = Array.from({ length: REPLAYED / 3 }, (_, at) => (batch * REPLAYED) / 3 + at + 1)
    await leader.applyAll(numbers.map((add) => ({ add, pad })))
  }
  await cluster.closeAll()
  await cluster.openAll()
  const again = await cluster.leader()
  await again.barrier()
  assert.is(again.status.configuration.voters.length, 3)
  const expected = Array.from({ length: REPLAYED }, (_, at) => at + 1)
  for (const id of cluster.servers.keys()) {
    await until(`${id} has replayed`, () => cluster.machine(id).applied.length >= REPLAYED)
    assert.equal(added(cluster, id), expected)
  }
})

test('R9 a server that was away is ready only when it has what was committed before it came back', async (context) => {
  const leader = await open(context, 3)
  const { cluster } = context
  const [follower] = cluster.followers(leader)
  const id = follower?.status.id ?? ''
  await leader.apply({ add: 1 })
  await cluster.close(id)
  // More than two messages hold.
  const pad = new Uint8Array(64 * 1024)
  for (let add = 1; add <= 8; add += 1) await leader.applyAll(Array.from({ length: 8 }, () => ({ add, pad })))
  const committed = leader.status.commitIndex
  const back = await cluster.open(id)
  await back.ready({ timeoutMs: 20_000 })
  assert.ok(back.status.appliedIndex >= committed, `ready at ${back.status.appliedIndex}, committed was ${committed}`)
})

test.run()
