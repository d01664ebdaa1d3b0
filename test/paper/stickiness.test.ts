/** Section 6 (and thesis 4.2.3): a server that hears a live leader does not help to depose it. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { appendEntries, preVote, preVoteResult, requestVote, vote } from '../support/messages.js'

test('a follower that heard its leader within the minimum election timeout gives no vote and keeps its term (6)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  const { now } = cluster
  assert.equal(cluster.ask('s3', 's2', requestVote(9, '9/8')), [vote(2, false)])
  cluster.now = now + SETTINGS.electionTimeoutMs - 1
  assert.equal(cluster.ask('s3', 's2', requestVote(9, '9/8')), [vote(2, false)])
  assert.is(cluster.core('s2').term, 2)
  cluster.now = now + SETTINGS.electionTimeoutMs
  cluster.ask('s3', 's2', requestVote(9, '9/8'))
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s3'), [vote(9, true)])
})

test('a leader gives no vote and no pre-vote, and keeps its term (6)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  assert.equal(cluster.ask('s3', 's1', requestVote(9, '9/8')), [vote(2, false)])
  assert.equal(cluster.ask('s3', 's1', preVote(9, '9/8')), [preVoteResult(2, false)])
  assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['leader', 2])
})

test('also in its own term such a follower gives no vote, even if it has not voted yet (6)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(5, '1/1', []))
  cluster.persist('s2')
  cluster.answersTo('s1')
  assert.is(cluster.core('s2').votedFor, null)
  assert.equal(cluster.ask('s3', 's2', requestVote(5, '9/4')), [vote(5, false)])
})

test('a server that was cut off and comes back with a higher term costs at most one election (6, E11)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.isolate('s3')
  cluster.run(10 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.core('s3').term, 2, 'pre-vote keeps its term where it was')
  cluster.heal()
  cluster.run(3 * SETTINGS.electionTimeoutMs)
  assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['leader', 2])
})

test.run()
