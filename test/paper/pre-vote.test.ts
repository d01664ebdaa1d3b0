/** Thesis 9.6: before a server raises its term it asks whether it could win, which changes nothing anywhere. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { preVote, preVoteResult, vote } from '../support/messages.js'
import { termOf } from '#balsa/types.js'

function asking(): Stage {
  const cluster = new Stage({ servers: 5, madeUp: true })
  cluster.timeout('s1')
  assert.is(cluster.core('s1').role, 'preCandidate')
  return cluster
}

test('a pre-candidate proposes the next term and keeps its own, on disk and in memory (9.6)', () => {
  const cluster = asking()
  assert.equal(cluster.requestsTo('s2'), [preVote(2, '1/1')])
  assert.is(cluster.core('s1').term, 1)
  assert.equal(cluster.server('s1').disk.pending, [])
})

test('answering a pre-vote stores nothing and puts off no election (9.6, H1-5)', () => {
  const cluster = new Stage({ madeUp: true })
  const deadline = cluster.core('s2').nextDeadline()
  cluster.now += 500
  assert.equal(cluster.ask('s1', 's2', preVote(8, '1/1')), [preVoteResult(1, true)])
  assert.equal(cluster.ask('s3', 's2', preVote(8, '1/1')), [preVoteResult(1, true)], 'it is no vote: both get it')
  assert.equal([cluster.core('s2').term, cluster.core('s2').votedFor], [1, null])
  assert.is(cluster.core('s2').nextDeadline(), deadline)
  assert.equal(cluster.server('s2').disk.pending, [])
})

test('only a term above the own is granted (9.6)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 4] } })
  assert.equal(cluster.ask('s1', 's2', preVote(4, '9/4')), [preVoteResult(4, false)])
  assert.equal(cluster.ask('s1', 's2', preVote(5, '9/4')), [preVoteResult(4, true)])
})

test('a majority of pre-votes makes a candidate; a repeated one, or one of another round, does not count (9.6, E3)', () => {
  const cluster = asking()
  cluster.answer('s2', 's1', preVoteResult(1, true))
  cluster.answer('s2', 's1', preVoteResult(1, true))
  cluster.answer('s3', 's1', preVoteResult(1, true, 7))
  assert.is(cluster.core('s1').role, 'preCandidate')
  cluster.answer('s3', 's1', preVoteResult(1, true))
  assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['candidate', 2])
})

test('the term of a grant is never adopted (9.6)', () => {
  const cluster = asking()
  cluster.answer('s2', 's1', preVoteResult(9, true))
  assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['preCandidate', 1])
})

test('the term of a refusal is adopted only by a pre-candidate, in the same round, from a voter; a fresh timeout follows (9.6, E6)', () => {
  const other = asking()
  other.answer('s2', 's1', preVoteResult(9, false, 7))
  assert.is(other.core('s1').term, 1, 'another round')
  other.answer('s2', 's1', preVoteResult(9, false))
  assert.equal([other.core('s1').role, other.core('s1').term], ['follower', 9])
  assert.ok(other.core('s1').nextDeadline() >= other.now + SETTINGS.electionTimeoutMs)

  const voters = ['s1', 's2', 's3'].map((id) => ({ id, address: `${id}:1` }))
  const nonvoters = [{ id: 's4', address: 's4:1', promote: false }]
  const learner = new Stage({ madeUp: true, configuration: { voters, outgoing: null, nonvoters } })
  learner.timeout('s1')
  learner.answer('s4', 's1', preVoteResult(9, false))
  assert.equal([learner.core('s1').role, learner.core('s1').term], ['preCandidate', 1], 'not a voter')

  for (const id of ['s1', 's2']) {
    const settled = new Stage({ madeUp: true })
    settled.elect('s1')
    settled.answer('s3', id, preVoteResult(9, false))
    assert.is(settled.core(id).term, 2, settled.core(id).role)
  }
})

test('a pre-vote that is won after a leader made itself heard starts no election (9.6, E12)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  cluster.cut('s1', 's2')
  for (let beat = 0; beat < 30 && cluster.core('s2').role !== 'preCandidate'; beat += 1)
    cluster.run(SETTINGS.heartbeatMs)
  assert.is(cluster.core('s2').role, 'preCandidate')
  cluster.heal()
  cluster.run(2 * SETTINGS.heartbeatMs)
  assert.equal([cluster.core('s1').role, cluster.core('s2').role], ['leader', 'follower'])
  for (const round of [1, 2, 3]) {
    for (const voter of ['s1', 's3']) cluster.answer(voter, 's2', preVoteResult(2, true, round))
    for (const voter of ['s2', 's3']) cluster.answer(voter, 's1', preVoteResult(2, true, round))
  }
  assert.equal([cluster.core('s1').role, cluster.core('s2').role], ['leader', 'follower'])
  assert.equal([cluster.core('s1').term, cluster.core('s2').term], [2, 2])
})

test('a server that wakes up alone asks again and again, and its term stays (9.6)', () => {
  const cluster = new Stage()
  cluster.isolate('s1')
  for (let round = 0; round < 20; round += 1) cluster.timeout('s1')
  assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['preCandidate', 1])
  assert.is(cluster.server('s1').disk.pending.length, 0)
})

test('a pre-vote and its answer wait while the term they carry is not durable, and only then (9.6)', () => {
  const cluster = new Stage({ madeUp: true, hardStates: { s2: { term: termOf(3) } } })
  cluster.answer('s1', 's2', vote(5, false))
  assert.equal(cluster.ask('s1', 's2', preVote(9, '1/1')), [])
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s1'), [preVoteResult(5, true)])
})

test.run()
