/** What an idle cluster must do by itself (scenarios H1-7 and H1-21, once wrong in hashicorp/raft). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'

test('H1-7 a follower of an idle leader learns what is committed within two heartbeats', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1', 3)
  cluster.settle()
  assert.ok(cluster.core('s3').log.commitIndex < 5)
  cluster.run(2 * SETTINGS.heartbeatMs)
  assert.is(cluster.core('s3').log.commitIndex, 5)
  assert.is(cluster.server('s3').machine.applied.length, 5)
})

test('H1-21 a follower that restarts, or was cut off and is back, hears the leader before it thinks of an election', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (let offset = 0; offset < 5; offset += 1) {
    cluster.run(SETTINGS.heartbeatMs / 2)
    cluster.crash('s3')
    cluster.run((10 + offset / 2) * SETTINGS.heartbeatMs)
    cluster.trace = []
    cluster.restart('s3')
    cluster.run(SETTINGS.heartbeatMs)
    assert.is(cluster.core('s3').leader?.id, 's1')
    cluster.run(3 * SETTINGS.electionTimeoutMs)
    assert.equal(
      cluster.trace.filter((line) => line.startsWith('s3 is ')),
      [],
    )
  }
})

test.run()
