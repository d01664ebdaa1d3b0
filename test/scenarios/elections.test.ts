/** Elections that went wrong in other engines (scenarios E*). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { termOf } from '#balsa/types.js'
import type { ServerId } from '#balsa/types.js'
import { SeededRandom } from '#balsa/testing/simulator/random.js'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { appendEntries, requestVote, vote } from '../support/messages.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS

test('E1 a vote that is not durable is told to nobody, and after a crash it can go to another candidate', () => {
  const cluster = new Stage({ madeUp: true })
  assert.equal(cluster.ask('s1', 's3', requestVote(2, '1/1')), [])
  cluster.restart('s3')
  assert.equal(cluster.ask('s2', 's3', requestVote(2, '1/1')), [])
  cluster.persist('s3')
  assert.equal(cluster.answersTo('s2'), [vote(2, true)])
  assert.equal(cluster.answersTo('s1'), [])
})

test('E1 a candidate asks for votes and counts its own only when its vote is durable', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  assert.is(cluster.core('s1').role, 'candidate')
  assert.equal(cluster.requestsTo('s2'), [])
  cluster.answer('s2', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'candidate', 'one grant of three')
  cluster.persist('s1')
  assert.is(cluster.core('s1').role, 'leader')
})

test('E1 what waited for a vote of an older term is dropped when the term grows, never sent late', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's3', requestVote(2, '1/1'))
  cluster.ask('s2', 's3', requestVote(3, '1/1'))
  cluster.persist('s3')
  assert.equal(cluster.answersTo('s1'), [])
  assert.equal(cluster.answersTo('s2'), [vote(3, true)])
})

test('E6 the longest log with a low term and the highest term with a short log do not block each other', () => {
  const logs = { s1: [1, 2, 2, 2], s2: [1, 2], s3: [1] }
  const cluster = new Stage({ logs, hardStates: { s2: { term: termOf(9) } } })
  cluster.crash('s3')
  cluster.run(6 * electionTimeoutMs)
  assert.is(cluster.core('s1').role, 'leader')
  assert.is(cluster.core('s2').log.lastIndex, 5)
})

test('E7 a dead leader is replaced within a few election timeouts, though all had just heard it', () => {
  const cluster = new Stage({ servers: 5 })
  cluster.elect('s1')
  cluster.run(3 * electionTimeoutMs)
  cluster.crash('s1')
  cluster.run(4 * electionTimeoutMs)
  assert.is.not(cluster.leader, null)
  assert.is(cluster.leader?.up.term, 3)
})

test('E7 pre-candidates do not refuse each other for the sake of a leader that neither believes in', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.crash('s1')
  cluster.timeout('s3')
  cluster.timeout('s2')
  assert.is(cluster.core('s2').leader, null)
  cluster.deliver()
  cluster.deliver()
  assert.equal([cluster.core('s2').role, cluster.core('s3').role], ['candidate', 'candidate'])
})

test('E8 a leader that stepped down while its peer still hears it is elected again, with the third server gone', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.crash('s3')
  // Its heartbeats arrive, the answers do not.
  cluster.cut('s2', 's1')
  for (let beat = 0; beat < 30 && cluster.core('s1').role === 'leader'; beat += 1) cluster.run(heartbeatMs)
  cluster.heal()
  assert.is(cluster.core('s1').role, 'follower')
  assert.is(cluster.core('s2').leader?.id, 's1')
  cluster.timeout('s1')
  cluster.settle()
  cluster.run(4 * electionTimeoutMs)
  assert.is(cluster.leader?.up.term, 3)
})

test('E9 a leader that reaches only a bridge steps down, and the quorum around the bridge elects another', () => {
  const cluster = new Stage({ servers: 5 })
  cluster.elect('s1')
  cluster.isolate('s5')
  for (const id of ['s3', 's4']) {
    cluster.cut('s1', id)
    cluster.cut(id, 's1')
  }
  cluster.run(6 * electionTimeoutMs)
  const { leader } = cluster
  assert.ok(leader && ['s2', 's3', 's4'].includes(leader.id))
  const [payload] = cluster.propose(leader?.id ?? 's2') ?? []
  cluster.settle()
  assert.is(cluster.outcomes.get(payload ?? 0), 'committed')
  const steps = cluster.trace?.filter((line) => line === 's1 steps down: no quorum answered for an election timeout')
  assert.is(steps?.length, 1)
})

test('E10 servers that cannot reach the leader, and reach each other through others, do not depose it nor raise their terms', () => {
  for (const [servers, unreachable] of [
    [3, ['s3']],
    [5, ['s4', 's5']],
  ] as const) {
    const cluster = new Stage({ servers })
    cluster.elect('s1')
    for (const id of unreachable) {
      cluster.cut('s1', id)
      cluster.cut(id, 's1')
    }
    cluster.run(20 * electionTimeoutMs)
    assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['leader', 2], `${servers} servers`)
    for (const id of unreachable) assert.is(cluster.core(id).term, 2)
    const [payload] = cluster.propose('s1') ?? []
    cluster.settle()
    assert.is(cluster.outcomes.get(payload ?? 0), 'committed')
  }
})

test('E13 a leader whose disk hangs yields, and another one commits', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.stalledDisks.add('s1')
  cluster.propose('s1')
  cluster.run(8 * electionTimeoutMs)
  const { leader } = cluster
  assert.ok(leader && leader.id !== 's1', `leader is ${leader?.id}`)
  const [payload] = cluster.propose(leader?.id ?? '') ?? []
  cluster.settle()
  assert.is(cluster.outcomes.get(payload ?? 0), 'committed')
})

test('E14 a follower whose own write is under way does not campaign, and waits a full timeout after it', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.deliver(({ to }) => to === 's2')
  cluster.crash('s1')
  cluster.crash('s3')
  cluster.pass(10 * electionTimeoutMs)
  assert.is(cluster.core('s2').role, 'follower')
  cluster.persist('s2')
  assert.ok(cluster.core('s2').nextDeadline() >= cluster.now + electionTimeoutMs)
  cluster.timeout('s2')
  assert.is(cluster.core('s2').role, 'preCandidate')
})

test('E14 it is entries under way that put off a campaign, with a term or without one; a vote alone does not', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (const payload of [1, 2]) {
    cluster.propose('s1')
    cluster.deliver(({ to }) => to === 's2')
    if (payload === 1) cluster.persist('s2')
    cluster.drop()
  }
  const [ticket] = cluster.server('s2').disk.pending
  assert.equal(
    ticket?.operations.map(({ type }) => type),
    ['append'],
  )
  cluster.timeout('s2')
  assert.is(cluster.core('s2').role, 'follower')
  assert.ok(cluster.core('s2').nextDeadline() >= cluster.now + electionTimeoutMs, 'and it does not look again at once')

  const voting = new Stage({ madeUp: true })
  voting.ask('s1', 's2', requestVote(2, '1/1'))
  assert.is(voting.server('s2').disk.pending.length, 1)
  voting.timeout('s2')
  assert.is(voting.core('s2').role, 'preCandidate')
})

test('E14 a leader whose followers write slowly stays leader, though it goes on sending entries', () => {
  for (const electionTimeout of [300, 1000]) {
    const cluster = new Stage({ settings: { ...SETTINGS, electionTimeoutMs: electionTimeout } })
    cluster.elect('s1')
    cluster.run(electionTimeout)
    for (const id of ['s2', 's3']) cluster.stalledDisks.add(id)
    for (let time = 0; time < 5 * electionTimeout; time += heartbeatMs / 2) {
      cluster.propose('s1')
      cluster.run(heartbeatMs / 2)
    }
    assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['leader', 2], `${electionTimeout} ms`)
    for (const id of ['s2', 's3']) cluster.stalledDisks.delete(id)
    cluster.run(5 * electionTimeout)
    assert.is(cluster.core('s1').log.commitIndex, cluster.core('s1').log.lastIndex)
    assert.is([...cluster.outcomes.values()].includes('unknown'), false)
  }
})

test('E15 a follower whose event loop was blocked reads what has arrived before it thinks of an election', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  cluster.now += 5 * electionTimeoutMs
  const heartbeat = { type: 'request', from: 's1', link: 0, message: appendEntries(2, '2/2', []) } as const
  cluster.step('s2', { type: 'turn', now: cluster.now })
  cluster.step('s2', heartbeat)
  cluster.step('s2', { type: 'tick', now: cluster.now })
  cluster.drain('s2')
  assert.is(cluster.core('s2').role, 'follower')
  // What is still on its way in has the time of one heartbeat, and no more.
  cluster.now += 5 * electionTimeoutMs
  cluster.tick('s2')
  assert.is(cluster.core('s2').role, 'follower')
  assert.is(cluster.core('s2').nextDeadline(), cluster.now + heartbeatMs)
  cluster.tick('s2', cluster.now + heartbeatMs)
  assert.is(cluster.core('s2').role, 'preCandidate')
})

test('E15 a leader whose event loop was blocked hears what peers have answered before it gives up', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.now += 5 * electionTimeoutMs
  cluster.tick('s1')
  assert.is(cluster.core('s1').role, 'leader')
  // It asks at once, though the last message before the pause was no heartbeat.
  assert.is(cluster.requestsTo('s2').length, 1)
  cluster.settle()
  cluster.tick('s1', cluster.now + heartbeatMs)
  assert.is(cluster.core('s1').role, 'leader')
  cluster.drop()
  cluster.now += 5 * electionTimeoutMs
  cluster.tick('s1')
  cluster.drop()
  cluster.tick('s1', cluster.now + heartbeatMs)
  assert.is(cluster.core('s1').role, 'follower')
})

test('H1-4 a leader that restarts at once is elected again, or replaced, within a few election timeouts', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.run(3 * electionTimeoutMs)
  cluster.restart('s1')
  cluster.run(4 * electionTimeoutMs)
  assert.is.not(cluster.leader, null)
  assert.is(cluster.leader?.up.term, 3)
})

/**
 * Time passes with a network that works, and disks that take `flushMs` for everything that waits when a flush begins.
 */
function runWithSlowDisks(cluster: Stage, ms: number, flushMs: number): void {
  const flushes = new Map<ServerId, { readonly count: number; readonly endsAt: number }>()
  for (const id of cluster.ids) cluster.stalledDisks.add(id)
  for (const end = cluster.now + ms; cluster.now < end;) {
    cluster.pass(heartbeatMs / 2)
    cluster.settle()
    for (const id of cluster.ids) {
      const flush = flushes.get(id)
      if (flush !== undefined && cluster.now < flush.endsAt) continue
      if (flush !== undefined) cluster.persist(id, flush.count)
      const count = cluster.server(id).disk.pendingTickets
      if (count > 0) flushes.set(id, { count, endsAt: cluster.now + flushMs })
      else flushes.delete(id)
    }
  }
}

for (const flushMs of [electionTimeoutMs / 2, electionTimeoutMs, 1.5 * electionTimeoutMs]) {
  test(`servers whose disks take ${flushMs} ms for a flush elect a leader, and it commits`, () => {
    const random = new SeededRandom(7)
    const cluster = new Stage({ random: () => () => random.next() })
    runWithSlowDisks(cluster, 40 * electionTimeoutMs, flushMs)
    assert.is.not(cluster.leader, null)
    assert.ok((cluster.leader?.up.log.commitIndex ?? 0) > 1)
  })
}

test('a candidate whose vote is being written waits for its disk, and then as long for the answers', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  cluster.pass(5 * electionTimeoutMs)
  assert.is(cluster.core('s1').role, 'candidate')
  assert.is(cluster.core('s1').term, 2)
  cluster.persist('s1')
  assert.is(cluster.core('s1').nextDeadline(), cluster.now + 1.1 * electionTimeoutMs)
})

test('a pre-candidate whose term is being written waits for its disk, and then as long for the answers', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s3', 's1', requestVote(2, '0/0'))
  cluster.timeout('s1')
  assert.is(cluster.core('s1').role, 'preCandidate')
  cluster.pass(5 * electionTimeoutMs)
  cluster.persist('s1')
  assert.is(cluster.inFlight.filter(({ from, to }) => from === 's1' && to === 's2').length, 1)
  assert.is(cluster.core('s1').nextDeadline(), cluster.now + 1.1 * electionTimeoutMs)
})

test.run()
