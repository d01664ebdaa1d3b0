/**
 * The public class over the real shell and the real core; the store and the network are in memory, time is the
 * machine's.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { logIndex } from '#balsa/types.js'
import { msgpackCodec, Raft } from 'balsa-raft'
import type { LeaderHint, Outcome, RaftError, RaftErrorCode, StoreFactory, Transport } from 'balsa-raft'
import type { LogStore, StoredState } from '#balsa/storage/log-store.js'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { failure } from '../support/failure.js'
import { SumMachine, TestCluster } from '../support/raft-cluster.js'
import type { TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

interface World {
  readonly cluster: TestCluster
  readonly network: MemoryNetwork
  readonly storage: ReturnType<typeof memoryStore>
}

const test = suite<{ worlds: World[] }>('Raft')

test.before.each((context) => {
  context.worlds = []
})
test.after.each(async (context) => {
  for (const { cluster } of context.worlds) await cluster.closeAll()
})

function world(context: { worlds: World[] }, count = 3, electionTimeoutMs = 1000): World {
  const network = new MemoryNetwork({ clock: systemClock() })
  const storage = memoryStore()
  const sites = Array.from({ length: count }, (_, at) => ({
    id: `s${at + 1}`,
    dir: `/s${at + 1}`,
    address: `a${at + 1}`,
  }))
  const transportOf = ({ address }: { readonly address: string }): Transport => network.transport(address)
  const cluster = new TestCluster({ sites, storage, transportOf, extra: { electionTimeoutMs } })
  const made = { cluster, network, storage }
  context.worlds.push(made)
  return made
}

async function open(
  context: { worlds: World[] },
  count = 3,
  electionTimeoutMs?: number,
): Promise<World & { leader: TestRaft }> {
  const made = world(context, count, electionTimeoutMs)
  await made.cluster.openAll()
  return { ...made, leader: await made.cluster.leader() }
}

function says(error: RaftError, code: RaftErrorCode, outcome: Outcome): void {
  assert.is(`${error.code} ${error.outcome}`, `${code} ${outcome}`, error.message)
}

test('apply answers with what the state machine answered, in order', async (context) => {
  const { leader } = await open(context)
  assert.equal(
    await Promise.all([leader.apply({ add: 1 }), leader.apply({ add: 2 }), leader.apply({ add: 3 })]),
    [1, 3, 6],
  )
  assert.equal(await leader.applyAll([{ add: 4 }, { add: 5 }]), [10, 15])
  assert.equal(await leader.applyAll([]), [])
})

test('every server applies the same commands at the same indexes with the same times', async (context) => {
  const { leader, cluster } = await open(context)
  await leader.applyAll(Array.from({ length: 500 }, (_, at) => ({ add: at })))
  const index = await leader.barrier()
  for (const [id, server] of cluster.servers) {
    await until(`${id} has applied ${index}`, () => server.status.appliedIndex >= index)
    assert.equal(cluster.machine(id).applied, cluster.machine('s1').applied)
  }
})

test('the time of an entry never runs backwards along the log', async (context) => {
  const { leader, cluster } = await open(context)
  for (let at = 0; at < 20; at += 1) await leader.apply({ add: at })
  const times = cluster.machine(leader.status.id).applied.map(({ time }) => time)
  assert.equal(
    times,
    [...times].sort((a, b) => a - b),
  )
})

test('a follower refuses with the leader as a hint, and nothing is appended', async (context) => {
  const { leader, cluster } = await open(context)
  const [follower] = cluster.followers(leader)
  assert.ok(follower)
  for (const call of [follower.apply({ add: 1 }), follower.barrier(), follower.readIndex(), follower.read('total')]) {
    const error = await failure(call)
    says(error, 'ERR_RAFT_NOT_LEADER', 'not-applied')
    assert.is((error.leader as LeaderHint).id, leader.status.id)
  }
  assert.is((await follower.read('total', { consistency: 'stale' })).total, 0)
})

test('a linearizable read sees every write acknowledged before it began', async (context) => {
  const { leader } = await open(context)
  for (let at = 1; at <= 20; at += 1) {
    await leader.apply({ add: 1 })
    assert.is((await leader.read('total')).total, at)
  }
  await leader.verifyLeader()
})

test('a leader knows where the log of each peer ends, and no other server says so', async (context) => {
  const { leader, cluster } = await open(context)
  await leader.applyAll([{ add: 1 }, { add: 2 }])
  const { lastIndex } = leader.status
  const ends = (server: TestRaft) => server.status.peers.map((peer) => peer.lastIndex)
  await until('both have told', () => ends(leader).every((end) => end === lastIndex))
  for (const follower of cluster.followers(leader)) assert.equal(ends(follower), [null, null])
})

test('a single server commits by itself', async (context) => {
  const { leader } = await open(context, 1)
  assert.is(await leader.apply({ add: 7 }), 7)
  assert.is((await leader.read('total')).total, 7)
})

test('a leader that lost its quorum says unknown for what it accepted, and refuses what comes later', async (context) => {
  const { leader, network, cluster } = await open(context)
  const own = leader.status.configuration.voters.find(({ id }) => id === leader.status.id)
  for (const { address } of leader.status.peers) network.partition(own?.address ?? '', address)
  const accepted = leader.apply({ add: 1 })
  says(await failure(accepted), 'ERR_RAFT_LEADERSHIP_LOST', 'unknown')
  says(await failure(leader.apply({ add: 1 })), 'ERR_RAFT_NO_LEADER', 'not-applied')
  says(await failure(leader.readIndex()), 'ERR_RAFT_NO_LEADER', 'not-applied')
  cluster.servers.delete(leader.status.id)
  const successor = await cluster.leader()
  await successor.apply({ add: 10 })
  network.heal()
  await until('the old leader follows', () => leader.status.appliedIndex === successor.status.appliedIndex)
  assert.equal((await leader.read('total', { consistency: 'stale' })).total, 10)
  await leader.close()
})

test('a read that began before the quorum was lost is refused, never answered', async (context) => {
  const { leader, network } = await open(context)
  const own = leader.status.configuration.voters.find(({ id }) => id === leader.status.id)
  for (const { address } of leader.status.peers) network.partition(own?.address ?? '', address)
  says(await failure(leader.read('total')), 'ERR_RAFT_NO_LEADER', 'not-applied')
})

test('a timeout while the command waits or is under way says which of the two it was', async (context) => {
  const { leader, network } = await open(context)
  const own = leader.status.configuration.voters.find(({ id }) => id === leader.status.id)
  for (const { address } of leader.status.peers) network.hold(own?.address ?? '', address)
  const underWay = leader.apply({ add: 1 }, { timeoutMs: 20 })
  says(await failure(underWay), 'ERR_RAFT_TIMEOUT', 'unknown')
  const aborted = leader.apply({ add: 1 }, { signal: AbortSignal.abort() })
  says(await failure(aborted), 'ERR_RAFT_ABORTED', 'not-applied')
})

test('close settles what is under way as unknown and what comes later as closed', async (context) => {
  const { leader, network } = await open(context)
  const own = leader.status.configuration.voters.find(({ id }) => id === leader.status.id)
  for (const { address } of leader.status.peers) network.hold(own?.address ?? '', address)
  const underWay = failure(leader.apply({ add: 1 }))
  const reading = failure(leader.readIndex())
  await until('the command is accepted', () => leader.status.lastIndex > leader.status.commitIndex)
  await leader.close({ transferLeadership: false })
  says(await underWay, 'ERR_RAFT_CLOSED', 'unknown')
  says(await reading, 'ERR_RAFT_CLOSED', 'not-applied')
  says(await failure(leader.apply({ add: 1 })), 'ERR_RAFT_CLOSED', 'not-applied')
  says(await failure(leader.ready()), 'ERR_RAFT_CLOSED', 'not-applied')
  assert.is(await leader.closed, null)
  await leader.close()
})

test('a restart replays the log, and everything acknowledged is there', async (context) => {
  const { leader, cluster } = await open(context)
  await leader.applyAll(Array.from({ length: 300 }, () => ({ add: 1 })))
  await cluster.closeAll()
  await cluster.openAll()
  const again = await cluster.leader()
  assert.equal(await again.read('total'), { total: 300, count: 300 })
  assert.is(await again.apply({ add: 1 }), 301)
})

test('a server that was away is brought up to date by the leader, also on an idle cluster', async (context) => {
  const { leader, cluster } = await open(context)
  const [follower] = cluster.followers(leader)
  assert.ok(follower)
  const { id } = follower.status
  await cluster.close(id)
  for (let at = 0; at < 50; at += 1) await leader.apply({ add: 1 })
  const back = await cluster.open(id)
  await until('the server has caught up', () => back.status.appliedIndex === leader.status.appliedIndex)
  assert.is((await back.read('total', { consistency: 'stale' })).total, 50)
})

test('A4 H2-17 a state machine that throws halts its server: applied, never skipped, and the others say so too', async (context) => {
  const { leader, cluster } = await open(context)
  await leader.apply({ add: 1 })
  says(await failure(leader.apply({ fail: 'no such account' })), 'ERR_RAFT_APPLY_FAILED', 'applied')
  const fault = await leader.closed
  assert.is(fault?.code, 'ERR_RAFT_APPLY_FAILED')
  assert.is(leader.status.fault?.code, 'ERR_RAFT_APPLY_FAILED')
  says(await failure(leader.apply({ add: 1 })), 'ERR_RAFT_APPLY_FAILED', 'not-applied')
  assert.is(cluster.machine(leader.status.id).applied.length, 1)
})

test('a state machine that answers with too few results halts its server', async (context) => {
  const { leader, cluster } = await open(context, 1)
  cluster.machine('s1').apply = () => []
  says(await failure(leader.apply({ add: 1 })), 'ERR_RAFT_APPLY_FAILED', 'applied')
})

test('a store that fails makes its server fall silent, and the others go on', async (context) => {
  const { leader, cluster, storage } = await open(context)
  const { id, term } = leader.status
  storage.disk(`/${id}`).failTicket(1, 'lost')
  says(await failure(leader.apply({ add: 1 })), 'ERR_RAFT_STORE_POISONED', 'unknown')
  assert.is((await leader.closed)?.code, 'ERR_RAFT_STORE_POISONED')
  says(await failure(leader.readIndex()), 'ERR_RAFT_STORE_POISONED', 'not-applied')
  await cluster.close(id)
  const successor = await cluster.leader()
  assert.ok(successor.status.term > term)
  await successor.apply({ add: 2 })
})

test('an asynchronous state machine is called one batch at a time, and answers in order', async (context) => {
  const { leader, cluster } = await open(context)
  let open_ = (): void => {}
  cluster.machine(leader.status.id).gate = new Promise((resolve) => {
    open_ = resolve
  })
  const answers = Promise.all([1, 2, 3, 4].map((add) => leader.apply({ add })))
  await until('the commands are committed', () => leader.status.commitIndex === leader.status.lastIndex)
  open_()
  assert.equal(await answers, [1, 3, 6, 10])
})

test('A5 too many waiting commands are refused as overloaded, and the server recovers by itself', async (context) => {
  // What a busy machine takes for 9000 calls must not cost the leader its lead: the first election is quick all the
  // same.
  const { leader } = await open(context, 3, 20_000)
  const calls = Array.from({ length: 9000 }, () => leader.apply({ add: 1 }))
  const settled = await Promise.allSettled(calls)
  const refused = settled.filter((each) => each.status === 'rejected').map((each) => each.reason as RaftError)
  for (const error of refused) says(error, 'ERR_RAFT_OVERLOADED', 'not-applied')
  assert.ok(refused.length > 0 && refused.length < 1000, `${refused.length} refused`)
  assert.is((await leader.read('total')).total, settled.length - refused.length)
})

test('a command that is too large or cannot be encoded is refused alone', async (context) => {
  const { leader } = await open(context, 1)
  const large = leader.apply({ add: 1, pad: new Uint8Array(2 ** 20) } as never)
  says(await failure(large), 'ERR_RAFT_TOO_LARGE', 'not-applied')
  const circular: { self?: object } = {}
  circular.self = circular
  says(await failure(leader.apply(circular as never)), 'ERR_RAFT_ENCODE', 'not-applied')
  assert.is(await leader.apply({ add: 1 }), 1)
})

test('a large command travels alone in its block, and small ones around it keep their order', async (context) => {
  const { leader, cluster } = await open(context)
  const pad = new Uint8Array(2 ** 20 - 64)
  await Promise.all([leader.apply({ add: 1 }), leader.apply({ add: 2, pad } as never), leader.apply({ add: 3 })])
  for (const id of cluster.servers.keys()) {
    await until(`${id} has applied all`, () => cluster.machine(id).applied.length === 3)
    assert.equal(
      cluster.machine(id).applied.map(({ command }) => 'add' in command && command.add),
      [1, 2, 3],
    )
  }
})

test('a folder of another cluster is refused and left as it was', async (context) => {
  const { cluster, storage, network } = await open(context, 1)
  await cluster.close('s1')
  const error = await failure(
    Raft.open({
      id: 's1',
      dir: '/s1',
      cluster: 'another',
      bootstrap: [{ id: 's1', address: 'a1' }],
      transport: network.transport('a1'),
      storage,
      stateMachine: new SumMachine(),
      logger: false,
      codec: msgpackCodec(),
    }),
  )
  says(error, 'ERR_RAFT_CLUSTER_MISMATCH', 'not-applied')
  assert.is(await (await cluster.open('s1')).ready({ timeoutMs: 20_000 }), undefined)
})

test('C13 a server with another store under a known id is refused by the others', async (context) => {
  const { cluster, leader, storage } = await open(context)
  const [follower] = cluster.followers(leader)
  assert.ok(follower)
  const { id } = follower.status
  await leader.apply({ add: 1 })
  await cluster.close(id)
  storage.wipe(`/${id}`)
  const told: string[] = []
  leader.on('refused', (event) => told.push(`${event.id} ${event.code}`))
  const wiped = await cluster.open(id)
  await leader.apply({ add: 1 })
  // It is dialled and refused every time: it learns nothing and is counted for nothing.
  await until('the server is refused', () => !leader.status.peers.some((peer) => peer.id === id && peer.connected))
  const { code, reason, since, count } = peerOf(leader, id).refusal ?? { code: '', reason: '', since: 0, count: 0 }
  assert.is(code, 'ERR_RAFT_PEER_REPLACED')
  assert.match(reason, 'has another store')
  assert.ok(since > 0 && count > 0)
  const error = await failure(wiped.ready({ timeoutMs: 1500 }))
  says(error, 'ERR_RAFT_TIMEOUT', 'not-applied')
  assert.is(wiped.status.commitIndex, 0)
  assert.equal(told, [`${id} ERR_RAFT_PEER_REPLACED`])
})

test('a peer that comes back without what it acknowledged is refused, counts for nothing, and is told of once', async (context) => {
  const { cluster, leader, storage } = await open(context, 3, 300)
  const [lost, other] = cluster.followers(leader).map(({ status }) => status.id)
  assert.ok(lost !== undefined && other !== undefined)
  const told: { readonly id: string; readonly code: string; readonly reason: string }[] = []
  leader.on('refused', (event) => told.push(event))
  for (const add of [1, 2, 3]) await leader.apply({ add })
  const acknowledged = (): number => peerOf(leader, lost).matchIndex
  await until('it has acknowledged all', () => acknowledged() === leader.status.lastIndex)
  await cluster.close(lost)
  await rollBack(storage, `/${lost}`)
  await cluster.open(lost)
  await until('the leader refuses it', () => peerOf(leader, lost).refusal !== null)
  const refusal = peerOf(leader, lost).refusal
  assert.is(refusal?.code, 'ERR_RAFT_PEER_REPLACED')
  assert.match(refusal?.reason ?? '', `server ${lost} has lost entries`)
  assert.match(refusal?.reason ?? '', 'its log ends at 2')
  await until('it comes again, in vain', () => (peerOf(leader, lost).refusal?.count ?? 0) > 5)
  assert.is(peerOf(leader, lost).connected, false)
  assert.is(told.length, 1)
  assert.is(told[0]?.id, lost)
  await cluster.close(other)
  await until('the leader, alone with it, leads no more', () => leader.status.role !== 'leader')
})

test('a peer is refused no longer than there is a reason', async (context) => {
  const { cluster, leader, storage } = await open(context)
  const [lost] = cluster.followers(leader).map(({ status }) => status.id)
  assert.ok(lost !== undefined)
  for (const add of [1, 2, 3]) await leader.apply({ add })
  await until('it has acknowledged all', () => peerOf(leader, lost).matchIndex === leader.status.lastIndex)
  await cluster.close(lost)
  const restore = await rollBack(storage, `/${lost}`)
  await cluster.open(lost)
  await until('the leader refuses it', () => peerOf(leader, lost).refusal !== null)
  await cluster.close(lost)
  await restore()
  await cluster.open(lost)
  await until('it is back', () => {
    const { connected, refusal, lastIndex } = peerOf(leader, lost)
    return connected && refusal === null && lastIndex === leader.status.lastIndex
  })
})

function peerOf(server: TestRaft, peer: string): TestRaft['status']['peers'][number] {
  const found = server.status.peers.find(({ id }) => id === peer)
  assert.ok(found)
  return found
}

/** The log in that folder ends at index 2 from now on. Answers with what puts back what it had. */
async function rollBack(storage: StoreFactory, dir: string): Promise<() => Promise<void>> {
  const blocks = await inStore(storage, dir, async (store, { lastIndex, hardState }) => {
    const rest = await store.read(logIndex(3), logIndex(lastIndex + 1), 2 ** 20)
    const shorter = { ...hardState, commitIndex: logIndex(1) }
    const ticket = store.submit([
      { type: 'truncateSuffix', from: logIndex(3) },
      { type: 'hardState', hardState: shorter },
    ])
    await until('it is shorter', () => store.poll().durable >= ticket)
    return rest
  })
  return () =>
    inStore(storage, dir, async (store) => {
      const ticket = store.submit(blocks.map((block) => ({ type: 'append', block })))
      await until('it is as it was', () => store.poll().durable >= ticket)
    })
}

async function inStore<T>(
  storage: StoreFactory,
  dir: string,
  run: (store: LogStore, stored: StoredState) => Promise<T>,
): Promise<T> {
  const store = storage.create(dir)
  const stored = await store.open(() => {})
  const result = await run(store, stored)
  await store.close()
  return result
}

test('options are refused by name, bound and reason', async () => {
  const good = {
    id: 's1',
    dir: '/x',
    bootstrap: [{ id: 's1', address: 'a1' }],
    transport: new MemoryNetwork({ clock: systemClock() }).transport('a1'),
    storage: memoryStore(),
    stateMachine: new SumMachine(),
    logger: false as const,
    codec: msgpackCodec<never>(),
  }
  const table: readonly [string, object, RegExp][] = [
    ['no id', { id: '' }, /^option id must be a string of 1 \.\. 255 bytes/],
    ['no folder', { dir: '' }, /^option dir must be the path of a folder/],
    ['nobody', { bootstrap: [] }, /^option bootstrap must be a list of 1 \.\. 64 servers/],
    [
      'somebody else',
      { bootstrap: [{ id: 's2', address: 'a' }] },
      /^option bootstrap does not name this server, s1; it names s2/,
    ],
    ['twice', { bootstrap: [...good.bootstrap, ...good.bootstrap] }, /names server s1 twice/],
    ['heartbeat', { heartbeatMs: 1 }, /^option heartbeatMs is 1; must be a number of 10 \.\. 60000/],
    ['ratio', { heartbeatMs: 400 }, /^option electionTimeoutMs is 1000; must be at least 3 \* heartbeatMs = 1200/],
    ['machine', { stateMachine: {} }, /^option stateMachine must have an apply function/],
    ['codec', { codec: {} }, /^option codec must have encode and decode functions/],
    ['transport', { transport: {} }, /^option transport must be a transport/],
  ]
  for (const [name, wrong, message] of table) {
    const error = await failure(Raft.open({ ...good, ...wrong }))
    says(error, 'ERR_RAFT_OPTIONS', 'not-applied')
    assert.match(error.message, message, name)
  }
})

test('a listener hears of roles and leaders, can leave, and does no harm when it throws', async (context) => {
  const { cluster } = world(context)
  const server = await cluster.open('s1')
  const heard: string[] = []
  const leave = server.on('role', ({ role }) => heard.push(role))
  server.on('role', () => {
    throw new Error('a listener of the test')
  })
  await cluster.open('s2')
  await cluster.open('s3')
  await cluster.leader()
  leave()
  await server.ready({ timeoutMs: 20_000 })
  assert.ok(heard.every((role) => ['follower', 'preCandidate', 'candidate', 'leader'].includes(role)))
})

test.run()
