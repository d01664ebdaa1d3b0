/** Thesis 6.4: a read is linearizable once a quorum has answered a round that was sent after it. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { READS_WAITING_MAX } from '#balsa/core/leader/read-index.js'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { matched } from '../support/messages.js'

function led(servers = 3): Stage {
  const cluster = new Stage({ servers })
  cluster.elect('s1')
  cluster.run(2 * SETTINGS.heartbeatMs)
  return cluster
}

test('a read is confirmed at the commit index by a majority that answers its round (6.4)', () => {
  const cluster = led(5)
  const read = cluster.read('s1')
  cluster.deliver(({ to }) => to === 's2')
  cluster.deliver(({ from }) => from === 's2')
  assert.is(cluster.readOutcomes.get(read), undefined)
  cluster.deliver(({ to }) => to === 's3')
  cluster.deliver(({ from }) => from === 's3')
  assert.equal(cluster.readOutcomes.get(read), { id: read, status: 'confirmed', index: 2 })
})

test('an answer to an earlier round, or repeated answers of one peer, confirm nothing (6.4, R3)', () => {
  const cluster = led(5)
  const first = cluster.read('s1')
  cluster.deliver(({ to }) => to === 's2' || to === 's3')
  const old = cluster.drop(({ to }) => to === 's1')
  cluster.drop()
  const second = cluster.read('s1')
  const [request] = cluster.requestsTo('s4')
  const round = request?.type === 'AppendEntries' ? request.round : 0
  cluster.drop()
  for (const envelope of [...old, ...old]) cluster.receive(envelope)
  assert.is(cluster.readOutcomes.get(first)?.status, 'confirmed')
  assert.is(cluster.readOutcomes.get(second), undefined)
  cluster.answer('s4', 's1', matched(2, 2, round))
  cluster.answer('s4', 's1', matched(2, 2, round))
  assert.is(cluster.readOutcomes.get(second), undefined)
  cluster.answer('s5', 's1', matched(2, 2, round))
  assert.is(cluster.readOutcomes.get(second)?.status, 'confirmed')
})

test('an answer cannot confirm a round that was not sent yet (6.4)', () => {
  const cluster = led()
  cluster.answer('s2', 's1', matched(2, 2, 99))
  const read = cluster.read('s1')
  assert.is(cluster.readOutcomes.get(read), undefined)
})

test('nonvoters confirm nothing (6.4, H2-5)', () => {
  const voters = ['s1', 's2', 's3'].map((id) => ({ id, address: `${id}:1` }))
  const nonvoters = [{ id: 's4', address: 's4:1', promote: false }]
  const cluster = new Stage({ configuration: { voters, outgoing: null, nonvoters } })
  cluster.elect('s1')
  for (const id of ['s2', 's3']) cluster.isolate(id)
  const read = cluster.read('s1')
  cluster.settle()
  assert.is(cluster.readOutcomes.get(read), undefined)
})

test('a new leader answers no read before an entry of its term is committed (6.4, R1)', () => {
  const cluster = new Stage()
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  for (const id of cluster.ids) cluster.persist(id)
  cluster.deliver(({ message }) => message.type === 'RequestVote')
  for (const id of cluster.ids) cluster.persist(id)
  cluster.deliver(({ message }) => message.type === 'RequestVoteResult')
  assert.is(cluster.core('s1').role, 'leader')
  const read = cluster.read('s1')
  // Everyone answers, but no disk has written the no-op.
  cluster.deliver()
  cluster.deliver()
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  assert.is(cluster.core('s1').log.commitIndex, 0)
  assert.is(cluster.readOutcomes.get(read), undefined)
  cluster.settle()
  assert.equal(cluster.readOutcomes.get(read), { id: read, status: 'confirmed', index: 2 })
})

test('reads of one turn share one round (6.4)', () => {
  const cluster = led()
  cluster.step('s1', { type: 'turn', now: cluster.now })
  const reads = [1, 2, 3].map(() => cluster.readInTurn('s1'))
  const sent = cluster.drain('s1').messages
  assert.is(sent.length, 2)
  cluster.settle()
  for (const read of reads) assert.is(cluster.readOutcomes.get(read)?.status, 'confirmed')
})

test('a read whose round was lost is confirmed by a heartbeat (6.4)', () => {
  const cluster = led()
  const read = cluster.read('s1')
  cluster.drop()
  cluster.run(2 * SETTINGS.heartbeatMs)
  assert.is(cluster.readOutcomes.get(read)?.status, 'confirmed')
})

test('an old leader confirms no read after another one was elected, and its reads are answered when it steps down (6.4)', () => {
  const cluster = led()
  cluster.isolate('s1')
  const read = cluster.read('s1')
  cluster.elect('s2')
  cluster.propose('s2')
  cluster.settle()
  assert.is(cluster.core('s1').role, 'leader')
  const late = cluster.read('s1')
  assert.equal([cluster.readOutcomes.get(read), cluster.readOutcomes.get(late)], [undefined, undefined])
  cluster.pass(2 * SETTINGS.electionTimeoutMs)
  for (const id of [read, late]) assert.is(cluster.readOutcomes.get(id)?.status, 'notLeader')
})

test('a follower answers at once that it is no leader (6.4)', () => {
  const cluster = led()
  const read = cluster.read('s2')
  assert.is(cluster.readOutcomes.get(read)?.status, 'notLeader')
})

test('a single voter needs nobody to confirm a read, but an entry of its term (6.4)', () => {
  const cluster = new Stage({ servers: 1 })
  cluster.timeout('s1')
  cluster.persist('s1')
  const read = cluster.read('s1')
  assert.is(cluster.readOutcomes.get(read), undefined)
  cluster.settle()
  assert.is(cluster.readOutcomes.get(read)?.status, 'confirmed')
})

test('reads that wait are bounded: one too many is refused at once, the others keep their place (6.4)', () => {
  const cluster = led()
  cluster.isolate('s1')
  cluster.step('s1', { type: 'turn', now: cluster.now })
  let last = 0
  for (let count = 1; count <= READS_WAITING_MAX + 1; count += 1) last = cluster.readInTurn('s1')
  assert.equal(cluster.drain('s1').reads, [{ id: last, status: 'overloaded' }])
  const late = cluster.readInTurn('s1')
  assert.equal(cluster.drain('s1').reads, [{ id: late, status: 'overloaded' }], 'also when their round is on its way')
})

test.run()
