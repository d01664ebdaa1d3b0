/**
 * Section 5.4.2: an entry of an older term is not committed by counting; it is committed by one of the leader's own.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Stage } from '#balsa/testing/stage/stage.js'
import { termOf } from '#balsa/types.js'

/**
 * Figure 8 (c): s1 led term 2, and leads again; entry 2 of term 2 is on s1 and s2, and now reaches s3. s5 led term 3
 * and has another entry 2.
 */
function figure8(): Stage {
  const logs = { s1: [1, 2], s2: [1, 2], s3: [1], s4: [1], s5: [1, 3] }
  const three = { term: termOf(3) }
  const cluster = new Stage({ servers: 5, logs, hardStates: { s1: three, s2: three, s3: three, s4: three } })
  cluster.disconnect('s1', 's5')
  cluster.isolate('s5')
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  for (const id of cluster.ids) cluster.persist(id)
  cluster.deliver()
  for (const id of cluster.ids) cluster.persist(id)
  cluster.deliver()
  return cluster
}

test('an old entry on a majority stays uncommitted, and may be replaced (5.4.2, figure 8 d, C1, H1-3)', () => {
  const cluster = figure8()
  const leader = cluster.core('s1')
  assert.equal([leader.role, leader.term], ['leader', 4])
  // s2 and s3 have entry 2 of term 2 durably, and not yet the entry of term 4; the leader's disk has nothing new.
  const session = cluster.server('s1').sessions
  for (const peer of ['s2', 's3']) {
    const message = { type: 'AppendEntriesResult', status: 'matched', hintIndex: 0, hintTerm: 0, round: 1 } as const
    const match = { ...message, term: 4, matchIndex: 2 } as never
    cluster.turn('s1', { type: 'response', from: peer, session: session.get(peer) ?? 0, message: match })
  }
  assert.is(leader.matchIndexOf('s3'), 2)
  assert.is(leader.log.commitIndex, 0)
  // The leader dies; s5 wins with the votes of s3, s4 and itself, and replaces entry 2.
  cluster.crash('s1')
  cluster.crash('s2')
  for (const id of ['s3', 's4', 's5']) cluster.restart(id)
  cluster.heal()
  cluster.run(5000)
  assert.ok(cluster.leader)
})

test('an old entry is committed together with the first of the own term (5.4.2, figure 8 e)', () => {
  const cluster = figure8()
  cluster.settle()
  const { log } = cluster.core('s1')
  assert.is(log.termAt(log.lastIndex), 4)
  assert.is(log.commitIndex, 3)
  assert.is(cluster.truth.committed[2]?.term, 2)
  cluster.heal()
  cluster.connectAll()
  cluster.timeout('s5')
  cluster.settle()
  assert.is.not(cluster.core('s5').role, 'leader')
})

test.run()
