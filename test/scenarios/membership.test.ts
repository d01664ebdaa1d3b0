/** What the core does with configurations that it is given, and with those who are in none (scenarios E11, M*, H1). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { termOf } from '#balsa/types.js'
import type { Configuration } from '#balsa/types.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries, preVoteResult, requestVote, vote } from '../support/messages.js'

const withNonvoter: Configuration = {
  ...votersOnly(['s1', 's2', 's3']),
  nonvoters: [{ id: 's4', address: 's4:1', promote: false }],
}

test('M8 a server that does not know that it is a voter answers a vote request all the same', () => {
  const cluster = new Stage({ madeUp: true, configuration: withNonvoter })
  cluster.ask('s1', 's4', requestVote(2, '1/1'))
  cluster.persist('s4')
  assert.equal(cluster.answersTo('s1'), [vote(2, true)])
})

test('M12 a candidate counts its own vote in the half of a joint configuration in which it is a voter', () => {
  const { voters } = votersOnly(['s1', 's2', 's3'])
  const { voters: outgoing } = votersOnly(['s3', 's4', 's5'])
  const cluster = new Stage({ madeUp: true, configuration: { voters, outgoing, nonvoters: [] } })
  cluster.timeout('s4')
  cluster.deliver()
  cluster.deliver()
  cluster.persist('s4')
  cluster.answer('s1', 's4', vote(2, true))
  cluster.answer('s2', 's4', vote(2, true))
  assert.is(cluster.core('s4').role, 'candidate', 'two of three, and itself of three')
  cluster.answer('s5', 's4', vote(2, true))
  assert.is(cluster.core('s4').role, 'leader')
})

/** s3 was cut off, has raised its term again and again, and was removed meanwhile; s1 leads term 2. */
function withRemoved(): Stage {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.isolate('s3')
  for (let round = 1; round <= 5; round += 1) {
    cluster.timeout('s3')
    // A promise from before the cut that comes late: without one its term would stay where it was (9.6).
    cluster.answer('s2', 's3', preVoteResult(cluster.core('s3').term, true, round))
    cluster.persist('s3')
    cluster.drop(({ from }) => from === 's3')
  }
  assert.equal([cluster.core('s3').term, cluster.core('s1').role, cluster.core('s1').term], [7, 'leader', 2])
  cluster.run(2 * SETTINGS.heartbeatMs)
  cluster.configure('s1', { type: 'remove', id: 's3' })
  cluster.settle()
  return cluster
}

test('E11 a server that was removed, does not know it and has a higher term disturbs nobody, with a leader or without', () => {
  const cluster = withRemoved()
  cluster.heal()
  cluster.connectAll()
  assert.not(cluster.core('s1').peers.has('s3'), 'it is left, untold')
  const asked: string[] = []
  cluster.watch({ delivered: (from, server, { type }) => void (from === 's3' && asked.push(`${type} ${server.id}`)) })
  cluster.run(20 * SETTINGS.electionTimeoutMs)
  assert.equal([cluster.core('s1').role, cluster.core('s1').term, cluster.core('s2').term], ['leader', 2, 2])
  assert.ok(asked.includes('PreVote s1') && asked.includes('PreVote s2'), 'it did ask')
  // As one would that asks for no pre-votes.
  for (const to of ['s1', 's2']) cluster.askOnly('s3', to, requestVote(9, '9/8'))
  cluster.settle()
  cluster.crash('s1')
  cluster.run(10 * SETTINGS.electionTimeoutMs)
  cluster.askOnly('s3', 's2', requestVote(9, '9/8'))
  cluster.settle()
  assert.equal([cluster.leader, cluster.core('s2').term, cluster.core('s2').votedFor], [null, 2, 's1'])
  cluster.restart('s1')
  cluster.run(4 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.leader?.up.term, 3, 'the others elect each other, in the next term of their own')
})

test('E11 one that its leader still speaks to as the member that it was costs one election, and no other', () => {
  const cluster = withRemoved()
  cluster.heal()
  cluster.run(6 * SETTINGS.electionTimeoutMs)
  const { leader } = cluster
  assert.equal([leader?.up.term, leader?.up.peers.has('s3')], [8, false])
  cluster.connectAll()
  cluster.run(20 * SETTINGS.electionTimeoutMs)
  assert.equal([cluster.leader?.id, cluster.leader?.up.term], [leader?.id, 8])
})

test('M13 H1-12 a configuration counts from its entry on, and a truncation of that entry brings the one before back', () => {
  const cluster = new Stage({ madeUp: true })
  const before = cluster.core('s2').configuration
  const block = { ...makeBlock(2, 2, [5]), configuration: withNonvoter }
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [block]))
  assert.equal(cluster.core('s2').configuration, withNonvoter)
  cluster.persist('s2')
  cluster.restart('s2')
  assert.equal(cluster.core('s2').configuration, withNonvoter, 'after a restart too')
  cluster.ask('s3', 's2', appendEntries(3, '1/1', [makeBlock(2, 3, [6])]))
  assert.equal(cluster.core('s2').configuration, before)
  cluster.persist('s2')
  cluster.restart('s2')
  assert.equal(cluster.core('s2').configuration, before)
})

test('H2-16 votes and the leader go by id: two servers at one address are two, and one of them leads', () => {
  const { voters } = votersOnly(['s1', 's2', 's3', 's4', 's5'])
  const moved = voters.map(({ id, address }) => ({ id, address: id === 's3' ? 's2:1' : address }))
  const cluster = new Stage({ madeUp: true, configuration: { voters: moved, outgoing: null, nonvoters: [] } })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  cluster.persist('s1')
  cluster.answer('s2', 's1', vote(2, true))
  cluster.answer('s2', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'candidate')
  cluster.answer('s3', 's1', vote(2, true))
  assert.is(cluster.core('s1').role, 'leader')
  cluster.ask('s3', 's4', appendEntries(3, '1/1', []))
  assert.equal(cluster.core('s4').leader, { id: 's3', address: 's2:1' })
  cluster.ask('s2', 's4', appendEntries(3, '1/1', []))
  assert.is(cluster.faults.length, 1, 'another leader of that term is refused, whatever its address')
})

test('H1-15 a nonvoter with a far higher term costs one election, and then stands in nobody’s way', () => {
  const cluster = new Stage({ configuration: withNonvoter, hardStates: { s4: { term: termOf(50) } } })
  cluster.timeout('s1')
  cluster.settle()
  cluster.run(6 * SETTINGS.electionTimeoutMs)
  const { leader } = cluster
  assert.is(leader?.up.term, 51)
  const [payload] = cluster.propose(leader?.id ?? '') ?? []
  cluster.run(2 * SETTINGS.heartbeatMs)
  assert.is(cluster.outcomes.get(payload ?? 0), 'committed')
  assert.is(cluster.core('s4').log.lastIndex, leader?.up.log.lastIndex)
})

test.run()
