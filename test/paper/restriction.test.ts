/** Section 5.4.1: only a server whose log holds everything committed can win. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Stage } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries, preVote, preVoteResult, requestVote, vote } from '../support/messages.js'
import type { EntryId } from '../support/messages.js'

/** The voter's log ends with entry 4 of term 3. */
const CANDIDATES: readonly (readonly [EntryId, boolean])[] = [
  ['4/3', true],
  ['9/3', true],
  ['1/4', true],
  ['3/3', false],
  ['9/2', false],
  ['1/1', false],
]

test('a vote goes only to a log that ends in a later term, or in the same and is no shorter (5.4.1, H1-2)', () => {
  for (const [last, granted] of CANDIDATES) {
    const cluster = new Stage({ madeUp: true, logs: { s2: [1, 1, 3, 3] } })
    cluster.ask('s1', 's2', requestVote(5, last))
    cluster.persist('s2')
    assert.equal(cluster.answersTo('s1'), [vote(5, granted)], last)
  }
})

test('a pre-vote is given by the same rule (5.4.1, thesis 9.6)', () => {
  for (const [last, granted] of CANDIDATES) {
    const cluster = new Stage({ madeUp: true, logs: { s2: [1, 1, 3, 3] } })
    assert.equal(cluster.ask('s1', 's2', preVote(5, last)), [preVoteResult(3, granted)], last)
  }
})

test('the log that a vote is judged by includes entries that are not yet durable (5.4.1)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [5])]))
  cluster.now += 5000
  cluster.ask('s3', 's2', requestVote(3, '1/1'))
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s3'), [vote(3, false)])
})

test('a server that misses a committed entry loses, however often it campaigns (5.4.1)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.isolate('s3')
  cluster.propose('s1')
  cluster.settle()
  assert.is(cluster.core('s1').log.commitIndex, 3)
  cluster.crash('s1')
  cluster.heal()
  for (let round = 0; round < 3; round += 1) {
    cluster.timeout('s3')
    cluster.settle()
    assert.is.not(cluster.core('s3').role, 'leader')
  }
  cluster.elect('s2')
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s2').log.lastIndex)
})

test.run()
