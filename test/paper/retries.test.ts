/** Section 5.5: requests are sent until they are answered, and a repeated one does no harm. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { accepting, appendEntries, endingAt, matched } from '../support/messages.js'

test('a peer that was down receives what it missed as soon as it is back (5.5)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.crash('s3')
  cluster.propose('s1', 4)
  cluster.settle()
  cluster.restart('s3')
  cluster.settle()
  assert.is(cluster.core('s3').log.lastIndex, 6)
})

test('entries that were lost on the way are sent again, though the connection still stands (5.5)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.isolate('s3')
  cluster.propose('s1', 4)
  cluster.settle()
  cluster.heal()
  cluster.run(2 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.core('s3').log.lastIndex, 6)
})

test('a repeated append is answered like the first, and writes nothing (5.5)', () => {
  const cluster = new Stage({ madeUp: true })
  const append = appendEntries(2, '1/1', [makeBlock(2, 2, [5])])
  cluster.ask('s1', 's2', append)
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s1'), [endingAt(2, matched(2, 2))])
  const { writes } = cluster.server('s2').disk
  assert.equal(cluster.ask('s1', 's2', append), [endingAt(2, matched(2, 2))])
  assert.equal(cluster.ask('s1', 's2', append), [endingAt(2, matched(2, 2))])
  cluster.persist('s2')
  assert.is(cluster.server('s2').disk.writes, writes)
})

test('what is answered in one turn is one answer, at once, for the latest round of all (5.5, thesis 6.4)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', []))
  cluster.persist('s2')
  cluster.answersTo('s1')
  const link = (cluster.server('s1').sessions.get('s2') ?? 0) - 1
  const requests = [appendEntries(2, '1/1', [], 0, 7), appendEntries(2, '1/1', [makeBlock(2, 2, [5])], 0, 4)] as const
  cluster.turn('s2', ...requests.map((message) => ({ type: 'request', from: 's1', link, message }) as const))
  assert.equal(
    cluster.answersTo('s1'),
    [accepting(2, endingAt(2, matched(2, 1, 7)))],
    'an entry that is not durable yet delays it not',
  )
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s1'), [endingAt(2, matched(2, 2, 7))])
})

test('a repeated acknowledgement changes nothing, an older one takes nothing back (5.5)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.settle()
  const { log } = cluster.core('s1')
  cluster.answer('s2', 's1', matched(2, 3))
  cluster.answer('s2', 's1', matched(2, 1))
  assert.equal([cluster.core('s1').matchIndexOf('s2'), log.commitIndex, log.lastIndex], [3, 3, 3])
})

test('a vote request that a voter could not answer is sent again when it is reachable (5.5)', () => {
  const cluster = new Stage()
  cluster.disconnect('s1', 's2')
  cluster.disconnect('s1', 's3')
  cluster.timeout('s1')
  cluster.settle()
  assert.is(cluster.core('s1').role, 'preCandidate')
  cluster.connect('s1', 's3')
  cluster.settle()
  assert.is(cluster.core('s1').role, 'leader')
})

test.run()
