/** What a ticket holds besides entries. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Stage } from '#balsa/testing/stage/stage.js'

test('the commit index rides in the first write after it has grown, also in the first one of a boot, and in no other', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const commitOnDisk = (): number => cluster.server('s2').disk.durable.hardState.commitIndex
  cluster.propose('s1')
  cluster.settle()
  cluster.restart('s2')
  cluster.settle()
  cluster.run(300)
  const { commitIndex } = cluster.core('s2').log
  assert.is(commitIndex, 3)
  assert.ok(commitOnDisk() < commitIndex, 'it causes no write')
  cluster.propose('s1')
  cluster.settle()
  assert.is(commitOnDisk(), commitIndex)
  cluster.persist('s1')
  const before = cluster.server('s2').disk.writes
  cluster.run(300)
  assert.is(cluster.server('s2').disk.writes, before)
})

test.run()
