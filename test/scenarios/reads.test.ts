/** Reads that went wrong in other engines (scenarios R*, H1). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { READS_WAITING_MAX } from '#balsa/core/leader/read-index.js'
import type { Configuration } from '#balsa/types.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries } from '../support/messages.js'

test('R9 a follower knows what its leader said is committed before it has it, and still after another message said less', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [5])], 9))
  cluster.ask('s1', 's2', appendEntries(2, '2/2', [], 2))
  assert.equal([cluster.core('s2').log.commitIndex, cluster.core('s2').log.knownCommitIndex], [2, 9])
  cluster.ask('s3', 's2', appendEntries(1, '1/1', [], 20))
  assert.is(cluster.core('s2').log.knownCommitIndex, 9, 'an old leader tells nothing')
})

test('R10 in a joint configuration a read needs a quorum of both halves', () => {
  const { voters } = votersOnly(['s3', 's4', 's5'])
  const nonvoters = ['s1', 's2'].map((id) => ({ id, address: `${id}:1`, promote: false }))
  const configuration: Configuration = { voters, outgoing: null, nonvoters }
  const cluster = new Stage({ configuration })
  cluster.elect('s3')
  for (const id of ['s4', 's5']) cluster.isolate(id)
  cluster.configure('s3', { type: 'set', voters: ['s1', 's2', 's3'], nonvoters: [] })
  const read = cluster.read('s3')
  cluster.settle()
  assert.is(cluster.readOutcomes.get(read), undefined, 'three of three, and one of three')
  cluster.heal()
  cluster.run(2 * SETTINGS.heartbeatMs)
  assert.is(cluster.readOutcomes.get(read)?.status, 'confirmed')
})

test('H1-25 reads that were answered leave nothing behind: there is room for as many again', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.trace = null
  let id = 0
  for (let round = 0; round < 3; round += 1) {
    cluster.step('s1', { type: 'turn', now: cluster.now })
    for (let count = 0; count < READS_WAITING_MAX; count += 1) id = cluster.readInTurn('s1')
    cluster.drain('s1')
    cluster.settle()
    assert.is(cluster.readOutcomes.size, id)
    assert.is(cluster.readOutcomes.get(id)?.status, 'confirmed')
  }
})

test('H1-28 a read does not wait behind the disks of followers', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (const id of ['s2', 's3']) cluster.stalledDisks.add(id)
  cluster.propose('s1')
  cluster.settle()
  assert.is(cluster.core('s1').log.commitIndex, 2)
  const read = cluster.read('s1')
  cluster.settle()
  assert.equal(cluster.readOutcomes.get(read), { id: read, status: 'confirmed', index: 2 })
})

test.run()
