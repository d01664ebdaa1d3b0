/** Section 5.1: terms are a logical clock; whoever is behind catches up, whoever is ahead does not listen. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { termOf } from '#balsa/types.js'
import { Stage } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries, conflict, matched, preVoteResult, requestVote, vote } from '../support/messages.js'

test('a follower takes over a higher term from a request (5.1)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s3', 's2', requestVote(7, '1/1'))
  assert.is(cluster.core('s2').term, 7)
  cluster.ask('s1', 's2', appendEntries(9, '1/1', []))
  assert.is(cluster.core('s2').term, 9)
})

test('a leader that learns of a higher term becomes a follower at once, from a request or from a response (5.1)', () => {
  const byRequest = new Stage({ madeUp: true })
  byRequest.elect('s1')
  byRequest.ask('s3', 's1', appendEntries(5, '1/1', []))
  assert.is(byRequest.core('s1').role, 'follower')
  assert.is(byRequest.core('s1').term, 5)
  const byResponse = new Stage({ madeUp: true })
  byResponse.elect('s1')
  byResponse.answer('s3', 's1', conflict(5, '0/0'))
  assert.is(byResponse.core('s1').role, 'follower')
  assert.is(byResponse.core('s1').term, 5)
})

test('a candidate that learns of a higher term becomes a follower at once (5.1)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  assert.is(cluster.core('s1').role, 'candidate')
  cluster.answer('s2', 's1', vote(8, false))
  assert.is(cluster.core('s1').role, 'follower')
  assert.is(cluster.core('s1').term, 8)
})

test('a pre-candidate takes over a higher term from what answers an earlier role, and stays while there is none (5.1, 9.6)', () => {
  for (const late of [vote(8, false), conflict(8, '0/0')]) {
    const cluster = new Stage({ madeUp: true })
    cluster.timeout('s1')
    cluster.answer('s2', 's1', { ...late, term: termOf(1) })
    assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['preCandidate', 1])
    cluster.answer('s2', 's1', late)
    assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['follower', 8])
  }
})

test('an answer of the own term or an older one, to what a follower asked in an earlier role, changes nothing (5.1)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  for (const late of [vote(2, true), vote(1, true), conflict(2, '0/0'), preVoteResult(2, true)]) {
    cluster.answer('s3', 's2', late)
    assert.equal([cluster.core('s2').role, cluster.core('s2').term], ['follower', 2])
    assert.is(cluster.core('s2').leader?.id, 's1')
    assert.equal(cluster.ask('s3', 's2', requestVote(9, '9/8')), [vote(2, false)], 'it still hears its leader')
  }
})

test('a leader counts no acknowledgement of an older term, though it came on the connection of today (5.1, 5.3)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.persist('s1')
  cluster.answer('s2', 's1', matched(1, 3))
  assert.equal([cluster.core('s1').matchIndexOf('s2'), cluster.core('s1').log.commitIndex], [2, 2])
  cluster.answer('s2', 's1', matched(2, 3))
  assert.equal([cluster.core('s1').matchIndexOf('s2'), cluster.core('s1').log.commitIndex], [3, 3])
})

test('a request of an older term is refused with the newer term, and changes nothing (5.1)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 4] } })
  const [append] = cluster.ask('s1', 's2', appendEntries(3, '1/1', [makeBlock(2, 3, [5])], 2))
  assert.is(append?.type === 'AppendEntriesResult' && append.status, 'conflict')
  assert.is(append?.term, 4)
  const [refusal] = cluster.ask('s1', 's2', requestVote(3, '9/3'))
  assert.equal(refusal, vote(4, false))
  const { log, leader, votedFor, term } = cluster.core('s2')
  assert.equal([log.lastIndex, log.commitIndex, leader, votedFor, term], [2, 0, null, null, 4])
})

test('a candidate of an older term gets no vote, though its log is longer and the vote of the newer term is free (5.1)', () => {
  const cluster = new Stage({ madeUp: true, hardStates: { s2: { term: termOf(5) } } })
  assert.equal(cluster.ask('s3', 's2', requestVote(3, '9/2')), [vote(5, false)])
  assert.equal([cluster.core('s2').term, cluster.core('s2').votedFor], [5, null])
})

test('the reply to a vote request carries the term that the request brought, not the old one (5.1, E5)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 1, 1] } })
  assert.equal(cluster.ask('s3', 's2', requestVote(6, '1/1')), [], 'nothing is said of term 6 before it is durable')
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s3'), [vote(6, false)])
})

test('term and vote survive a crash (5.1, figure 2)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s3', 's2', requestVote(6, '1/1'))
  cluster.persist('s2')
  cluster.answersTo('s3')
  cluster.restart('s2')
  assert.is(cluster.core('s2').term, 6)
  assert.equal(cluster.ask('s1', 's2', requestVote(6, '9/5')), [vote(6, false)], 'the vote of term 6 is given')
  assert.equal(cluster.ask('s3', 's2', requestVote(6, '1/1')), [vote(6, true)], 'to s3')
})

test.run()
