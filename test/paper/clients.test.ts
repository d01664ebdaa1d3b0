/**
 * Section 8: a new leader first learns what is committed; reads do not touch the log; each proposal has one outcome.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FULL_BATCH_BYTES } from '#balsa/core/index.js'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'

test('a leader begins its term with a no-op, in the same turn, and commits what came before with it (8)', () => {
  const logs = { s1: [1, 2, 2], s2: [1, 2, 2], s3: [1] }
  const cluster = new Stage({ logs })
  cluster.elect('s1')
  assert.equal(
    cluster
      .server('s1')
      .disk.accepted.entries.map(({ term, payload }) => [term, payload])
      .at(-1),
    [3, 0],
  )
  assert.is(cluster.core('s1').log.commitIndex, 4)
  cluster.run(2 * SETTINGS.heartbeatMs)
  assert.is(cluster.server('s3').machine.applied.length, 4)
})

test('a read writes nothing to the log (8)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const { lastIndex } = cluster.core('s1').log
  const writes = cluster.ids.map((id) => cluster.server(id).disk.writes)
  const read = cluster.read('s1')
  cluster.settle()
  assert.equal(cluster.readOutcomes.get(read), { id: read, status: 'confirmed', index: lastIndex })
  assert.is(cluster.core('s1').log.lastIndex, lastIndex)
  assert.equal(
    cluster.ids.map((id) => cluster.server(id).disk.writes),
    writes,
  )
})

test('only a leader takes proposals; a follower names it (8)', () => {
  const cluster = new Stage()
  assert.is(cluster.propose('s1'), null)
  assert.is(cluster.core('s1').leader, null)
  cluster.elect('s1')
  assert.is(cluster.propose('s2'), null)
  assert.equal(cluster.core('s2').leader, { id: 's1', address: 's1:1' })
})

test('a proposal that a deposed leader could not commit is unknown at that moment, and stays so if it commits later (8, A3)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const [kept] = cluster.propose('s1') ?? []
  cluster.deliver(({ to }) => to === 's2')
  cluster.persist('s2')
  cluster.drop()
  cluster.isolate('s1')
  const [lost] = cluster.propose('s1') ?? []
  cluster.pass(2 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.core('s1').role === 'leader', false)
  assert.equal([cluster.outcomes.get(kept ?? 0), cluster.outcomes.get(lost ?? 0)], ['unknown', 'unknown'])
  cluster.heal()
  cluster.run(6 * SETTINGS.electionTimeoutMs)
  const committed = cluster.truth.committed.map(({ command }) => command)
  assert.is(committed.includes(kept ?? 0), true, 'the first one did commit')
  assert.is(cluster.outcomes.get(kept ?? 0), 'unknown')
})

test('a leader without room lets proposals wait, and takes them when there is room again (8)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.turn('s1', { type: 'credit', bytes: 0 })
  assert.equal(cluster.core('s1').admit(1), { status: 'wait' })
  cluster.turn('s1', { type: 'credit', bytes: 100 })
  const admission = cluster.core('s1').admit(1)
  assert.equal(admission, { status: 'accept', first: 3, term: 2, bytesMax: 100 })
  cluster.turn('s1', { type: 'credit', bytes: 1 << 30 })
  const large = cluster.core('s1').admit(1)
  assert.is(large.status === 'accept' && large.bytesMax, 1 << 20, 'a batch is bounded, however much room there is')
})

test('behind a ticket under way a small batch waits and grows; a full one is taken (thesis 10.2.1)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  assert.ok(cluster.propose('s1', 1, undefined, 1), 'nothing is under way')
  assert.is(cluster.propose('s1', 1, undefined, FULL_BATCH_BYTES - 1), null)
  assert.ok(cluster.propose('s1', 1, undefined, FULL_BATCH_BYTES))
  cluster.persist('s1')
  assert.ok(cluster.propose('s1', 1, undefined, 1))
})

test('while two tickets are under way proposals wait, so that they merge (8, thesis 10.2.1)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  assert.ok(cluster.propose('s1'))
  assert.ok(cluster.propose('s1'))
  assert.is(cluster.propose('s1'), null)
  cluster.persist('s1', 1)
  assert.ok(cluster.propose('s1'))
})

test.run()
