/** Disks that fail (scenarios D*): the first failure is the last word. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { logIndex } from '#balsa/types.js'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries, preVote, requestVote } from '../support/messages.js'

test('D1 after a store failure a follower acknowledges, votes and answers nothing, whatever the disk says later', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s3', 's2', requestVote(2, '1/1'))
  cluster.ask('s1', 's2', appendEntries(3, '1/1', [makeBlock(2, 3, [5])]))
  cluster.failStore('s2')
  cluster.turn('s2', { type: 'persisted', ticket: 2 })
  cluster.ask('s1', 's2', appendEntries(3, '1/1', []))
  cluster.ask('s3', 's2', requestVote(9, '9/9'))
  cluster.ask('s3', 's2', preVote(9, '9/9'))
  cluster.tick('s2', 100 * SETTINGS.electionTimeoutMs)
  assert.equal([...cluster.answersTo('s1'), ...cluster.answersTo('s3')], [])
  assert.equal(cluster.requestsTo('s1'), [])
  assert.is(cluster.core('s2').nextDeadline(), Infinity)
  assert.is(cluster.server('s2').applying, null)
})

test('D1 a leader whose store fails falls silent at once, tells its clients, and another one leads', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const read = cluster.read('s1')
  cluster.drop()
  cluster.step('s1', { type: 'turn', now: cluster.now })
  const [payload] = cluster.proposeInTurn('s1') ?? []
  cluster.failStore('s1')
  assert.equal(cluster.inFlight, [])
  assert.is(cluster.outcomes.get(payload ?? 0), 'unknown')
  assert.is(cluster.readOutcomes.get(read)?.status, 'notLeader')
  const late = cluster.read('s1')
  assert.is(cluster.readOutcomes.get(late)?.status, 'notLeader')
  assert.is(cluster.core('s1').admit(1).status, 'refuse')
  cluster.run(5 * SETTINGS.electionTimeoutMs)
  assert.is.not(cluster.leader?.id ?? 's1', 's1')
  cluster.restart('s1')
  cluster.run(2 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.server('s1').machine.applied.length, cluster.truth.commitIndex)
})

test('D1 what was read for a lagging peer is not sent when the store fails in the same turn', () => {
  const cluster = new Stage({ tailBytesMax: 0 })
  cluster.elect('s1')
  cluster.isolate('s3')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
  cluster.heal()
  cluster.connect('s1', 's3')
  const { fetches, disk } = cluster.server('s1')
  const [fetch] = fetches
  assert.ok(fetch)
  if (!fetch) return
  const blocks = disk.durable.read(fetch.from, fetch.to, fetch.bytesMax)
  cluster.step('s1', { type: 'fetched', fetch, blocks })
  cluster.failStore('s1')
  assert.equal(cluster.inFlight, [])
})

test('C11 what replaces a conflict is one write: a crash finds the old entries or the new ones', () => {
  const append = appendEntries(3, '1/1', [makeBlock(2, 3, [8])])
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 2, 2] } })
  const terms = (): readonly number[] => cluster.server('s2').disk.durable.entries.map(({ term }) => term)
  cluster.ask('s1', 's2', append)
  assert.is(cluster.server('s2').disk.pending.length, 1)
  cluster.restart('s2')
  assert.equal([cluster.core('s2').term, ...terms()], [2, 1, 2, 2])
  cluster.ask('s1', 's2', append)
  cluster.write('s2')
  cluster.restart('s2')
  assert.equal([cluster.core('s2').term, ...terms()], [3, 1, 3])
})

test('C11 a stored commit index beyond the stored log counts only as far as the log goes', () => {
  const cluster = new Stage({ madeUp: true, hardStates: { s1: { commitIndex: logIndex(5) } } })
  assert.is(cluster.core('s1').log.commitIndex, 1)
})

test.run()
