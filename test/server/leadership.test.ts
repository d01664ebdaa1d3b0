/**
 * Leadership handed over and given up, by the public calls. Election timeouts are of ten minutes: whoever leads after
 * the first leader was asked to.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { Raft } from 'balsa-raft'
import type { RaftError } from 'balsa-raft'
import { failure } from '../support/failure.js'
import { optionsOf, StageTransport } from '../support/lone-server.js'
import { TestCluster } from '../support/raft-cluster.js'
import type { TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'
import { ManualClock } from '../transport/manual-clock.js'

interface World {
  readonly cluster: TestCluster
  readonly network: MemoryNetwork
  readonly leader: TestRaft
  readonly followers: readonly TestRaft[]
}

const test = suite<{ clusters: TestCluster[] }>('leadership')

test.before.each((context) => {
  context.clusters = []
})
test.after.each(async (context) => {
  for (const cluster of context.clusters) await cluster.closeAll()
})

async function open(context: { clusters: TestCluster[] }, electionTimeoutMs = 600_000): Promise<World> {
  const network = new MemoryNetwork({ clock: systemClock() })
  const cluster = new TestCluster({
    sites: ['s1', 's2', 's3'].map((id) => ({ id, dir: `/${id}`, address: id })),
    storage: memoryStore(),
    transportOf: ({ address }) => network.transport(address),
    extra: { electionTimeoutMs },
  })
  context.clusters.push(cluster)
  await cluster.openAll()
  const leader = await cluster.leader()
  return { cluster, network, leader, followers: cluster.followers(leader) }
}

/** Nothing that the leader sends arrives, and nobody is told. */
function mute({ network, leader }: World): void {
  for (const { address } of leader.status.peers) network.hold(leader.status.id, address)
}

function says({ code, outcome, retryable }: RaftError, expected: string): void {
  assert.is(`${code} ${outcome} ${retryable ? 'retryable' : 'final'}`, expected)
}

test('leadership goes to whoever is named, and the call resolves with who leads then', async (context) => {
  const { leader, followers } = await open(context)
  for (const to of followers.map(({ status }) => status.id)) {
    const now = context.clusters[0]?.servers.get(leader.status.leader?.id ?? '') ?? leader
    assert.is(await now.transferLeadership({ to, timeoutMs: 20_000 }), to)
    assert.is(now.status.leader?.id, to)
    assert.is(now.status.role, 'follower')
  }
})

test('leadership goes to somebody when nobody is named, and commands are taken there at once', async (context) => {
  const { cluster, leader } = await open(context)
  await leader.apply({ add: 1 })
  const next = cluster.server(await leader.transferLeadership())
  assert.is(await next.apply({ add: 2 }), 3)
})

test('commands under way when leadership goes are answered, or were not applied and say where to go', async (context) => {
  const { cluster, leader } = await open(context)
  let applied = 0
  const refused: RaftError[] = []
  const commands = Array.from({ length: 200 }, async (_, at) => {
    for (let turns = 0; turns < at % 20; turns += 1) await new Promise((resolve) => setImmediate(resolve))
    await leader.apply({ add: 1 }).then(
      () => void (applied += 1),
      (error: RaftError) => void refused.push(error),
    )
  })
  const next = cluster.server(await leader.transferLeadership())
  await Promise.all(commands)
  for (const error of refused) assert.is(`${error.outcome} ${error.retryable}`, 'not-applied true', error.message)
  assert.is(await next.apply({ add: 0 }), applied)
})

test('who cannot be handed leadership is named with the remedy', async (context) => {
  const { leader, followers } = await open(context)
  for (const to of ['s9', leader.status.id]) {
    const error = await failure(leader.transferLeadership({ to }))
    says(error, 'ERR_RAFT_TRANSFER_FAILED not-applied final')
    assert.match(error.message, `not handed over to ${to}: it is no other voter of the configuration; name one`)
  }
  says(
    await failure(followers[0]?.transferLeadership() ?? Promise.resolve()),
    'ERR_RAFT_NOT_LEADER not-applied retryable',
  )
})

test('a transfer that comes to nothing says so after an election timeout, and the leader leads on', async (context) => {
  const made = await open(context, 1000)
  const { leader, followers, network } = made
  const [to, other] = followers.map(({ status }) => status.id)
  network.drop(leader.status.id, to ?? '')
  const transfer = failure(leader.transferLeadership({ to: to ?? '' }))
  const [error, total] = await Promise.all([transfer, leader.apply({ add: 5 })])
  says(error, 'ERR_RAFT_TRANSFER_FAILED unknown retryable')
  assert.match(error.message, `not handed over to ${to}: it did not lead within an election timeout`)
  assert.is(total, 5, `what waited is taken, with ${other} alone`)
})

test('while leadership is handed over a second transfer is refused, and so is what does not fit into what waits', async (context) => {
  const made = await open(context)
  const { leader } = made
  mute(made)
  const first = failure(leader.transferLeadership({ timeoutMs: 2000 }))
  await until('it is under way', async () => {
    const error = await failure(leader.transferLeadership())
    return error.code === 'ERR_RAFT_TRANSFER_IN_PROGRESS'
  })
  const waiting = failure(leader.applyAll(Array.from({ length: 8192 }, () => ({ add: 1 }))))
  says(await failure(leader.apply({ add: 1 })), 'ERR_RAFT_TRANSFER_IN_PROGRESS not-applied retryable')
  says(await first, 'ERR_RAFT_TIMEOUT unknown final')
  await leader.close({ transferLeadership: false })
  says(await waiting, 'ERR_RAFT_CLOSED not-applied final')
})

test('the wait for a transfer ends with its signal, and with its server', async (context) => {
  const made = await open(context)
  mute(made)
  const aborted = new AbortController()
  const first = failure(made.leader.transferLeadership({ signal: aborted.signal }))
  aborted.abort()
  says(await first, 'ERR_RAFT_ABORTED unknown final')
  const second = failure(made.leader.transferLeadership())
  await made.leader.close({ transferLeadership: false })
  assert.match((await second).code, /ERR_RAFT_(CLOSED|TRANSFER_IN_PROGRESS)/)
  says(await failure(made.leader.transferLeadership()), 'ERR_RAFT_CLOSED not-applied final')
})

test('a leader that steps down leads no more, and says why in its log', async (context) => {
  const { leader, followers } = await open(context)
  await leader.stepDown()
  assert.is(leader.status.role, 'follower')
  says(await failure(leader.stepDown()), 'ERR_RAFT_NO_LEADER not-applied retryable')
  says(await failure(followers[0]?.stepDown() ?? Promise.resolve()), 'ERR_RAFT_NOT_LEADER not-applied retryable')
})

test('a leader that closes hands over first: others lead at once, and lose nothing', async (context) => {
  const { cluster, leader } = await open(context)
  const answers = Promise.all(Array.from({ length: 50 }, () => leader.apply({ add: 1 })))
  await Promise.all([answers, cluster.close(leader.status.id)])
  const next = await cluster.leader()
  assert.is(await next.apply({ add: 0 }), 50, 'what had come before was answered')
})

test('once a leader closes it takes nothing new, also while it hands over', async (context) => {
  const made = await open(context)
  mute(made)
  const closing = made.leader.close({ timeoutMs: 200 })
  says(await failure(made.leader.apply({ add: 1 })), 'ERR_RAFT_CLOSED not-applied final')
  await closing
  assert.is(made.leader.close(), made.leader.close(), 'once')
})

test('a close whose leadership nobody takes ends after its timeout, and one that is not to hand over at once', async (context) => {
  const made = await open(context)
  mute(made)
  await made.leader.close({ timeoutMs: 50 })
  assert.is(await made.leader.closed, null)
  const other = await open(context)
  await other.leader.close({ transferLeadership: false })
  for (const { status } of other.followers) assert.is(status.role, 'follower')
})

test('options of these calls that are wrong are refused by name', async (context) => {
  const { leader } = await open(context)
  for (const [call, message] of [
    [() => leader.transferLeadership({ to: '' }), /option to must be a string of 1/],
    [() => leader.transferLeadership({ too: 's2' } as object), /option too is unknown: did you mean to\?/],
    [() => leader.transferLeadership({ timeoutMs: 0 }), /option timeoutMs is 0/],
    [async () => leader.close({ transferLeadership: 1 } as object), /option transferLeadership must be true or false/],
    [async () => leader.close({ timeoutMs: -1 }), /option timeoutMs is -1/],
    [async () => leader.close({ transfer: true } as object), /option transfer is unknown/],
  ] as const) {
    const error = await failure(call())
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, message)
  }
  assert.is(leader.status.role, 'leader')
})

test('a server that is the only voter leads before any time has passed, at its first start and at every later one', async () => {
  const storage = memoryStore()
  for (let start = 1; start <= 2; start += 1) {
    const raft = await Raft.open({
      ...optionsOf(storage, new StageTransport()),
      bootstrap: [{ id: 's1', address: 's1:1' }],
      clock: new ManualClock(),
    })
    await raft.ready()
    assert.is(raft.status.term, start + 1)
    await raft.close()
  }
})

test.run()
