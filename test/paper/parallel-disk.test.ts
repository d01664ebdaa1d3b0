/** Thesis 10.2.1: a leader sends entries while its own disk writes them, and counts itself only when it has. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Stage } from '#balsa/testing/stage/stage.js'

test('entries leave in the turn that accepts them, before they are durable on the leader (10.2.1)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  assert.is(cluster.server('s1').disk.durable.entries.length, 2)
  assert.is(cluster.requestsTo('s2').length, 1)
})

test('a majority of followers commits without the disk of the leader, which then does not apply yet (10.2.1)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.deliver()
  cluster.persist('s2')
  cluster.persist('s3')
  cluster.deliver()
  const { log } = cluster.core('s1')
  assert.equal([log.commitIndex, log.durableIndex, log.lastIndex], [3, 2, 3])
  assert.is(cluster.server('s1').applying, null)
  cluster.persist('s1')
  assert.equal([cluster.server('s1').applying?.first, cluster.server('s1').applying?.last], [3, 3])
})

test('the leader does not count itself before its disk has written (10.2.1, C5)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.deliver(({ to }) => to === 's2')
  cluster.persist('s2')
  cluster.deliver(({ from }) => from === 's2')
  assert.is(cluster.core('s1').matchIndexOf('s2'), 3)
  assert.is(cluster.core('s1').log.commitIndex, 2, 'on one disk of three')
  cluster.persist('s1')
  assert.is(cluster.core('s1').log.commitIndex, 3)
})

test('a leader that crashes before its disk has written loses nothing that was committed (10.2.1)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const [payload] = cluster.propose('s1') ?? []
  cluster.deliver()
  cluster.persist('s2')
  cluster.persist('s3')
  cluster.deliver()
  assert.is(cluster.core('s1').log.commitIndex, 3)
  cluster.restart('s1')
  assert.is(cluster.core('s1').log.lastIndex, 2)
  cluster.run(5000)
  assert.is(cluster.server('s1').machine.applied[2]?.payload, payload)
})

test.run()
