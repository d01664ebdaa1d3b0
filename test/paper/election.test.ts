/** Section 5.2: leader election. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { appendEntries, requestVote, vote } from '../support/messages.js'
import { randomFrom } from '../support/seed.js'

/** s1 is a candidate of term 2; its vote is durable, and its requests are under way. */
function campaigning(servers: number): Stage {
  const cluster = new Stage({ servers, madeUp: true })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  cluster.persist('s1')
  assert.is(cluster.core('s1').role, 'candidate')
  return cluster
}

test('a server starts as follower and stays one while it hears from a leader (5.2)', () => {
  const cluster = new Stage()
  for (const id of cluster.ids) assert.is(cluster.core(id).role, 'follower')
  cluster.elect('s1')
  cluster.run(20 * SETTINGS.electionTimeoutMs)
  assert.equal(
    cluster.ids.map((id) => [cluster.core(id).role, cluster.core(id).term]),
    [
      ['leader', 2],
      ['follower', 2],
      ['follower', 2],
    ],
  )
})

test('a follower that hears nothing for an election timeout campaigns in the next term, votes for itself and asks all (5.2)', () => {
  const cluster = campaigning(5)
  assert.is(cluster.core('s1').term, 2)
  assert.is(cluster.core('s1').votedFor, 's1')
  const asked = cluster.inFlight.filter(({ message }) => message.type === 'RequestVote')
  assert.equal(
    asked.map(({ to }) => to),
    ['s2', 's3', 's4', 's5'],
  )
  assert.equal(asked[0]?.message, requestVote(2, '1/1'))
})

test('a server votes for at most one candidate in a term, first come first served, and repeats itself (5.2)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's3', requestVote(2, '1/1'))
  cluster.persist('s3')
  assert.equal(cluster.answersTo('s1'), [vote(2, true)])
  assert.equal(cluster.ask('s2', 's3', requestVote(2, '5/1')), [vote(2, false)])
  assert.equal(cluster.ask('s1', 's3', requestVote(2, '1/1')), [vote(2, true)])
  cluster.ask('s2', 's3', requestVote(3, '5/1'))
  cluster.persist('s3')
  assert.equal(cluster.answersTo('s2'), [vote(3, true)], 'a new term, a new vote')
})

test('a pre-candidate that has not voted in its term still gives its vote in it, and goes on asking (5.2, 9.6)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.timeout('s2')
  cluster.ask('s3', 's2', requestVote(1, '1/1'))
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s3'), [vote(1, true)])
  assert.equal([cluster.core('s2').role, cluster.core('s2').votedFor], ['preCandidate', 's3'])
  assert.equal(cluster.ask('s1', 's2', requestVote(1, '1/1')), [vote(1, false)])
})

test('a candidate needs a majority of all voters, not of those that answer (5.2)', () => {
  const cluster = campaigning(5)
  cluster.answer('s2', 's1', vote(2, true))
  cluster.answer('s3', 's1', vote(2, false))
  assert.is(cluster.core('s1').role, 'candidate')
  cluster.answer('s4', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'leader')
})

test('two grants of one voter count once (5.2, E3)', () => {
  const cluster = campaigning(5)
  cluster.answer('s2', 's1', vote(2, true))
  cluster.answer('s2', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'candidate')
})

test('a grant of an older term does not count (5.2, E4)', () => {
  const cluster = campaigning(3)
  cluster.timeout('s1')
  cluster.deliver(({ message }) => message.type === 'PreVote')
  cluster.deliver(({ message }) => message.type === 'PreVoteResult')
  cluster.persist('s1')
  assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['candidate', 3])
  cluster.answer('s2', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'candidate')
  cluster.answer('s2', 's1', vote(3, true))
  assert.is(cluster.core('s1').role, 'leader')
})

test('a grant of a server that is no voter does not count (5.2, M9)', () => {
  const voters = ['s1', 's2', 's3'].map((id) => ({ id, address: `${id}:1` }))
  const nonvoters = [{ id: 's4', address: 's4:1', promote: false }]
  const cluster = new Stage({ madeUp: true, configuration: { voters, outgoing: null, nonvoters } })
  cluster.timeout('s1')
  assert.equal(cluster.requestsTo('s4'), [], 'it is not even asked')
  cluster.deliver()
  cluster.deliver()
  cluster.persist('s1')
  cluster.answer('s4', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'candidate')
})

test('in a joint configuration a candidate needs a majority of both halves (6)', () => {
  const voters = ['s1', 's2', 's3'].map((id) => ({ id, address: `${id}:1` }))
  const outgoing = ['s3', 's4', 's5'].map((id) => ({ id, address: `${id}:1` }))
  const cluster = new Stage({ madeUp: true, configuration: { voters, outgoing, nonvoters: [] } })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  cluster.persist('s1')
  cluster.answer('s2', 's1', vote(2, true))
  cluster.answer('s4', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'candidate', 'two of three, and one of three')
  cluster.answer('s5', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'leader')
})

test('a new leader sends to everyone in the same turn, so that nobody else campaigns (5.2)', () => {
  const cluster = campaigning(3)
  cluster.drop()
  cluster.answer('s2', 's1', vote(2, true))
  const sent = cluster.inFlight.filter(({ message }) => message.type === 'AppendEntries')
  assert.equal(
    sent.map(({ to }) => to),
    ['s2', 's3'],
  )
})

test('a candidate follows a leader of its own term, and keeps its vote; it ignores one of an older term (5.2, E2)', () => {
  const cluster = campaigning(3)
  cluster.ask('s3', 's1', appendEntries(1, '1/1', []))
  assert.is(cluster.core('s1').role, 'candidate')
  cluster.ask('s3', 's1', appendEntries(2, '9/2', []))
  assert.is(cluster.core('s1').role, 'follower')
  assert.is(cluster.core('s1').leader?.id, 's3')
  assert.is(cluster.core('s1').votedFor, 's1')
  cluster.now += 5 * SETTINGS.electionTimeoutMs
  assert.equal(cluster.ask('s2', 's1', requestVote(2, '9/2')), [vote(2, false)], 'its vote of term 2 is its own')
})

test('after a split vote nobody leads, and the term after it elects one (5.2)', () => {
  const cluster = new Stage({ servers: 4 })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.timeout('s2')
  cluster.deliver()
  cluster.deliver()
  assert.equal([cluster.core('s1').role, cluster.core('s2').role], ['candidate', 'candidate'])
  for (const id of cluster.ids) cluster.persist(id)
  // s3 hears s1 first, s4 hears s2 first.
  cluster.deliver(({ from, to }) => (from === 's1' && to === 's3') || (from === 's2' && to === 's4'))
  cluster.settle()
  assert.equal(
    cluster.ids.map((id) => cluster.core(id).votedFor),
    ['s1', 's2', 's1', 's2'],
  )
  assert.is(cluster.leader, null)
  cluster.run(4 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.leader?.core?.term, 3)
})

test('each election timeout is drawn anew, from the option up to twice that (5.2)', () => {
  const random = randomFrom(1)
  const cluster = new Stage({ random: () => random })
  cluster.isolate('s1')
  const waits = new Set<number>()
  for (let round = 0; round < 50; round += 1) {
    const wait = cluster.core('s1').nextDeadline() - cluster.now
    assert.ok(wait >= SETTINGS.electionTimeoutMs && wait < 2 * SETTINGS.electionTimeoutMs, `waits ${wait} ms`)
    waits.add(wait)
    cluster.timeout('s1')
  }
  assert.is(waits.size, 50)
})

test('the first timeout of a cluster that was just bootstrapped is drawn from its own option up to twice that (5.2)', () => {
  const settings = { ...SETTINGS, firstElectionTimeoutMs: 150 }
  const cluster = new Stage({ settings })
  assert.equal(
    cluster.ids.map((id) => Math.round(cluster.core(id).nextDeadline())),
    [165, 180, 195],
  )
  cluster.timeout('s1')
  assert.ok(cluster.core('s1').nextDeadline() >= cluster.now + settings.electionTimeoutMs)
})

test('granting a vote puts off the own election, refusing one does not (5.2)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s3: [1, 1] } })
  const before = cluster.core('s3').nextDeadline()
  cluster.now += 500
  cluster.ask('s1', 's3', requestVote(2, '1/1'))
  assert.is(cluster.core('s3').nextDeadline(), before)
  cluster.persist('s3')
  assert.is(cluster.core('s3').nextDeadline(), before, 'nor does the term that became durable')
  cluster.ask('s2', 's3', requestVote(3, '2/1'))
  assert.is(cluster.core('s3').nextDeadline(), before + 500)
})

test('a server that is no voter never campaigns (5.2, H1-14)', () => {
  const voters = ['s1', 's2', 's3'].map((id) => ({ id, address: `${id}:1` }))
  const nonvoters = [{ id: 's4', address: 's4:1', promote: false }]
  const cluster = new Stage({ configuration: { voters, outgoing: null, nonvoters } })
  assert.is(cluster.core('s4').nextDeadline(), Infinity)
  cluster.tick('s4', 100 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.core('s4').role, 'follower')
})

test('a single voter elects itself, once its vote is durable (5.2)', () => {
  const cluster = new Stage({ servers: 1 })
  cluster.timeout('s1')
  assert.is(cluster.core('s1').role, 'candidate')
  cluster.persist('s1')
  assert.is(cluster.core('s1').role, 'leader')
})

test.run()
