/** What a server tells of itself in numbers: measured on a clock that the test moves. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Distribution, Metric, MetricName } from 'balsa-raft'
import { METRICS } from 'balsa-raft/observe'
import { Events } from '#balsa/observe/events.js'
import { Histogram } from '#balsa/observe/histogram.js'
import { loggerOf } from '#balsa/observe/loggers.js'
import { Meter } from '#balsa/observe/meter.js'
import { ELECTION_MS, LoneServer } from '../support/lone-server.js'
import { appendEntries } from '../support/messages.js'
import { ManualClock } from '../transport/manual-clock.js'

const SILENT = loggerOf(false, null)

const test = suite<{ server: LoneServer }>('metrics')

test.before.each(async (context) => {
  context.server = await LoneServer.open()
})
test.after.each(({ server }) => server.close())

const metricOf = (server: LoneServer, name: MetricName): Metric => {
  const metric = server.raft.metrics().find((each) => each.name === name)
  if (metric === undefined) throw new Error(`${name} is not told`)
  return metric
}

/** The value of the one sample with these labels. */
function valueOf(server: LoneServer, name: MetricName, labels: object = {}): number | undefined {
  const metric = metricOf(server, name)
  if (metric.type === 'histogram') throw new Error(`${name} is a histogram`)
  const wanted = JSON.stringify({ server: 's1', ...labels })
  return metric.samples.find((sample) => JSON.stringify(sample.labels) === wanted)?.value
}

function distributionOf(server: LoneServer, name: MetricName): Distribution {
  const metric = metricOf(server, name)
  const [distribution] = metric.samples
  if (metric.type !== 'histogram' || distribution === undefined) throw new Error(`${name} is no histogram`)
  return distribution as Distribution
}

function isDeeplyFrozen(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  return Object.isFrozen(value) && Object.values(value).every(isDeeplyFrozen)
}

test('every name is told at every moment, once and in the same order, as frozen data', async ({ server }) => {
  const names = Object.keys(METRICS)
  for (const step of [() => server.turns(), () => server.lead(), () => server.close()]) {
    await step()
    const metrics = server.raft.metrics()
    assert.equal(
      metrics.map(({ name }) => name),
      names,
    )
    assert.ok(isDeeplyFrozen(metrics))
    assert.equal(JSON.parse(JSON.stringify(metrics)).length, names.length)
  }
})

test('each sample has the type that the list says, and counters are never negative', async ({ server }) => {
  await server.lead()
  for (const metric of server.raft.metrics()) {
    assert.is(metric.type, METRICS[metric.name].type)
    if (metric.type === 'counter') assert.ok(metric.samples.every(({ value }) => value >= 0))
  }
})

test('roles, elections and leaders are counted', async ({ server }) => {
  await server.turns()
  assert.is(valueOf(server, 'balsa_role', { role: 'follower' }), 1)
  assert.is(valueOf(server, 'balsa_leader_known'), 0)
  assert.is(valueOf(server, 'balsa_elections_total'), 0)
  await server.lead()
  assert.is(valueOf(server, 'balsa_role', { role: 'follower' }), 0)
  assert.is(valueOf(server, 'balsa_role', { role: 'leader' }), 1)
  assert.is(valueOf(server, 'balsa_term'), 2)
  const counted = ['pre_votes', 'elections', 'leaderships', 'leader_changes'] as const
  assert.equal(
    counted.map((what) => valueOf(server, `balsa_${what}_total`)),
    [1, 1, 1, 1],
  )
})

test('commit latency is that of each entry, from its batch to the turn that knows it committed', async ({ server }) => {
  await server.lead()
  await server.acknowledge()
  const calls = [1, 2, 3].map((add) => server.raft.apply({ add }))
  await server.turns()
  assert.is(valueOf(server, 'balsa_proposed_entries_total'), 3)
  assert.is(distributionOf(server, 'balsa_commit_latency_seconds').count, 0)
  server.clock.advance(30)
  await server.acknowledge()
  await Promise.all(calls)
  const { count, sum, buckets } = distributionOf(server, 'balsa_commit_latency_seconds')
  assert.is(count, 3)
  assert.ok(Math.abs(sum - 0.09) < 1e-9, `${sum}`)
  assert.equal(
    buckets.filter(({ le }) => le === 0.025 || le === 0.05 || le === Infinity).map((bucket) => bucket.count),
    [0, 3, 3],
  )
})

test('what a leadership has not committed is no latency, also when a later one commits it', async ({ server }) => {
  await server.lead()
  await server.acknowledge()
  const failed = server.raft.apply({ add: 1 }).catch(() => {})
  await server.turns()
  await server.raft.stepDown()
  await failed
  const { lastIndex } = server.raft.status
  server.transport.handlers.onRequest('s2', 1, appendEntries(3, `${lastIndex}/2`, [], lastIndex))
  await server.turns()
  assert.is(server.raft.status.commitIndex, lastIndex)
  assert.is(distributionOf(server, 'balsa_commit_latency_seconds').count, 0)
})

test('a leader that is lost and found again is no other leader', async ({ server }) => {
  for (const [term, leader] of [
    [2, 's2'],
    [3, 's2'],
    [4, 's3'],
  ] as const) {
    server.transport.handlers.onRequest(leader, 1, appendEntries(term, '1/1', [], 1))
    await server.turns()
    assert.is(server.raft.status.leader?.id, leader)
    server.clock.advance(ELECTION_MS)
    await server.turns()
    assert.is(server.raft.status.leader, null)
  }
  assert.is(valueOf(server, 'balsa_leader_changes_total'), 2)
})

test('apply latency is what the state machine took for a batch', async ({ server }) => {
  await server.lead()
  await server.acknowledge()
  const { count: before } = distributionOf(server, 'balsa_apply_latency_seconds')
  const entries = valueOf(server, 'balsa_applied_entries_total') ?? 0
  let open: () => void = () => {}
  server.machine.gate = new Promise((resolve) => {
    open = resolve
  })
  const calls = [server.raft.apply({ add: 1 }), server.raft.apply({ add: 2 })]
  await server.turns()
  await server.acknowledge()
  server.clock.advance(200)
  open()
  await server.turns()
  await Promise.all(calls)
  const { count, sum } = distributionOf(server, 'balsa_apply_latency_seconds')
  assert.is(count, before + 1)
  assert.ok(Math.abs(sum - 0.2) < 1e-9, `${sum}`)
  assert.is(valueOf(server, 'balsa_applied_entries_total'), entries + 2)
})

test('peers are told as long as they are members, match indexes by the leader alone', async ({ server }) => {
  await server.turns()
  assert.equal(metricOf(server, 'balsa_peer_match_index').samples, [])
  await server.lead()
  await server.acknowledge()
  const { lastIndex } = server.raft.status
  assert.is(valueOf(server, 'balsa_peer_match_index', { peer: 's2' }), lastIndex)
  assert.is(valueOf(server, 'balsa_peer_connected', { peer: 's3' }), 1)
  const call = server.raft.removeServer('s3')
  await server.turns()
  await server.acknowledge()
  await call
  assert.is(valueOf(server, 'balsa_peer_connected', { peer: 's3' }), undefined)
  assert.is(valueOf(server, 'balsa_peer_connected', { peer: 's2' }), 1)
  assert.is(valueOf(server, 'balsa_members', { kind: 'voter' }), 2)
})

test('queues are told by their rooms, bytes apart', async ({ server }) => {
  await server.lead()
  const call = server.raft.barrier({ timeoutMs: 1000 })
  const failed = call.catch(() => {})
  await server.turns()
  assert.is(valueOf(server, 'balsa_queue_depth', { queue: 'accepted' }), 1)
  assert.is(valueOf(server, 'balsa_queue_depth', { queue: 'deadlines' }), 1)
  assert.is(valueOf(server, 'balsa_queue_depth', { queue: 'waitingBytes' }), undefined)
  assert.is(valueOf(server, 'balsa_waiting_bytes'), 0)
  await server.close()
  await failed
  assert.is(valueOf(server, 'balsa_queue_depth', { queue: 'accepted' }), 0)
})

test('a transport that counts no bytes tells none', async ({ server }) => {
  await server.lead()
  assert.equal(metricOf(server, 'balsa_peer_sent_bytes_total').samples, [])
})

test('write latency runs from the turn that hands over a write to the turn that learns that it is durable', () => {
  const clock = new ManualClock()
  const meter = new Meter(clock, new Events(SILENT))
  meter.turn(1000)
  const at = meter.now
  meter.turn(1040)
  meter.written(at)
  const { count, sum } = meter.writeLatency.distribution({})
  assert.equal([count, sum], [1, 0.04])
})

test('a write to the store is measured once', async ({ server }) => {
  await server.lead()
  await server.acknowledge()
  const { count } = distributionOf(server, 'balsa_write_latency_seconds')
  const call = server.raft.apply({ add: 1 })
  await server.turns()
  assert.is(distributionOf(server, 'balsa_write_latency_seconds').count, count + 1)
  await server.acknowledge()
  await call
})

test('a histogram counts a value in the first bucket that is not below it, and cumulates', () => {
  const histogram = new Histogram()
  for (const [milliseconds, times] of [
    [0.1, 1],
    [0.101, 2],
    [10_000, 3],
    [10_001, 4],
    [-5, 5],
  ] as const) {
    histogram.observe(milliseconds, times)
  }
  const { buckets, count } = histogram.distribution({})
  assert.is(count, 15)
  const at = (le: number): number | undefined => buckets.find((bucket) => bucket.le === le)?.count
  assert.equal([at(0.0001), at(0.00025), at(10), at(Infinity)], [6, 8, 11, 15])
  assert.ok(buckets.every((bucket, index) => index === 0 || bucket.count >= (buckets[index - 1]?.count ?? 0)))
})

test.run()
