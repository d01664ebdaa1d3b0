/** Changes of the members: chapter 4 of the thesis, paragraph by paragraph, and what went wrong elsewhere (M*). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChangeOutcome, Request, Response } from '#balsa/core/index.js'
import type { Observer } from '#balsa/testing/observer.js'
import { logIndex } from '#balsa/types.js'
import type { ServerId } from '#balsa/types.js'
import { preVote, preVoteResult, requestVote, vote } from '../support/messages.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import { formatConfiguration } from '#balsa/testing/stage/text.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS

/** s1 leads, and what it has is everywhere. */
function led(options: ConstructorParameters<typeof Stage>[0] = {}): Stage {
  const cluster = new Stage(options)
  cluster.elect('s1')
  cluster.run(2 * heartbeatMs)
  return cluster
}

function added(id: ServerId, promote = false): { readonly id: ServerId; readonly address: string; promote: boolean } {
  return { id, address: `${id}:1`, promote }
}

const add = (id: ServerId, promote: boolean) => {
  return { type: 'add', server: { id, address: `${id}:1` }, promote } as const
}

function kindOf(outcome: ChangeOutcome): string {
  return outcome.status === 'refused' ? outcome.refusal.kind : outcome.status
}

function inForce(cluster: Stage, id: ServerId): string {
  return formatConfiguration(cluster.core(id).configuration)
}

test('4.1 a server uses the newest configuration in its log, whether or not it is committed', () => {
  const cluster = led()
  for (const id of ['s2', 's3']) cluster.cut('s1', id)
  const outcome = cluster.configure('s1', { type: 'demote', id: 's3' })
  assert.equal([kindOf(outcome), inForce(cluster, 's1'), inForce(cluster, 's2')], ['appended', 's1 s2 +s3', 's1 s2 s3'])
  assert.is(cluster.core('s1').log.commitIndex, 2)
})

test('4.1 a follower tells what it takes, and once when that is committed', () => {
  const cluster = led()
  cluster.trace = []
  cluster.configure('s1', { type: 'demote', id: 's3' })
  cluster.run(2 * heartbeatMs)
  const told = cluster.trace.filter((line) => line.startsWith('s2 ') && line.includes('configuration'))
  assert.equal(told, ['s2 takes configuration 3: s1 s2 +s3', 's2 has committed configuration 3: s1 s2 +s3'])
})

test('M1 a leader changes nothing before an entry of its own term is committed', () => {
  const cluster = new Stage()
  for (const id of ['s2', 's3']) cluster.stalledDisks.add(id)
  cluster.timeout('s1')
  for (let round = 0; round < 4; round += 1) {
    cluster.deliver()
    cluster.persist('s1')
    for (const id of ['s2', 's3']) if (cluster.core('s1').role === 'candidate') cluster.persist(id)
  }
  assert.is(cluster.core('s1').role, 'leader')
  const early = cluster.configure('s1', { type: 'remove', id: 's3' })
  assert.equal(early.status === 'refused' && early.refusal, {
    kind: 'notYet',
    reason: 'no entry of this term is committed yet',
  })
  cluster.stalledDisks.clear()
  cluster.settle()
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's3' })), 'appended')
})

test('M2 only one change at a time: the next waits until the one before it is committed', () => {
  const cluster = led({ servers: 4 })
  for (const id of ['s2', 's3', 's4']) cluster.cut('s1', id)
  assert.is(kindOf(cluster.configure('s1', { type: 'demote', id: 's4' })), 'appended')
  const second = cluster.configure('s1', { type: 'remove', id: 's4' })
  assert.equal(second.status === 'refused' && second.refusal, {
    kind: 'notYet',
    reason: 'the configuration 3 is not committed yet',
  })
  cluster.heal()
  cluster.run(2 * heartbeatMs)
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's4' })), 'appended')
})

test('only a leader changes the members, and only the configuration that was meant', () => {
  const cluster = led()
  assert.is(kindOf(cluster.configure('s2', { type: 'remove', id: 's3' })), 'notLeader')
  const other = cluster.configure('s1', { type: 'remove', id: 's3' }, { ifIndex: logIndex(9) })
  assert.equal(other.status === 'refused' && other.refusal, { kind: 'otherIndex', expected: 9, index: 1 })
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's9' })), 'flaw')
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's3' }, { ifIndex: logIndex(1) })), 'appended')
  cluster.failStore('s1')
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's2' })), 'notLeader')
})

test('a leader whose store has no room takes no change', () => {
  const cluster = led()
  cluster.turn('s1', { type: 'credit', bytes: 0 })
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's3' })), 'notYet')
})

test('a change that would leave too few voters that are heard is refused, unless it is forced', () => {
  const cluster = led()
  cluster.isolate('s3')
  cluster.run(2 * electionTimeoutMs)
  const refused = cluster.configure('s1', { type: 'remove', id: 's2' })
  assert.equal(refused.status === 'refused' && refused.refusal, { kind: 'noQuorum', unheard: ['s3'] })
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's3' })), 'appended')
  cluster.run(2 * heartbeatMs)
  cluster.isolate('s2')
  cluster.pass(electionTimeoutMs / 2)
  cluster.disconnect('s1', 's2')
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's2' })), 'noQuorum', 'of what was before neither')
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's2' }, { force: true })), 'appended')
  cluster.settle()
  assert.equal([inForce(cluster, 's1'), cluster.core('s1').log.commitIndex], ['s1', 4])
})

test('4.2.1 M10 M15 a server that is to vote is fed first, and promoted once a round of it was short', () => {
  const cluster = led({ servers: 1, spares: ['s2'] })
  for (let count = 0; count < 50; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
  cluster.cut('s1', 's2')
  cluster.configure('s1', add('s2', true))
  cluster.run(electionTimeoutMs)
  assert.is(inForce(cluster, 's1'), 's1 +s2*', 'the vote of one that is not there is not needed')
  const [payload] = cluster.propose('s1') ?? []
  cluster.settle()
  assert.is(cluster.outcomes.get(payload ?? 0), 'committed')
  cluster.heal()
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2')
  assert.is(cluster.core('s2').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('4.2.1 M10 one that takes longer than an election timeout for each round is not promoted', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.stalledDisks.add('s4')
  cluster.configure('s1', add('s4', true))
  for (let round = 0; round < 4; round += 1) {
    cluster.run(1.2 * electionTimeoutMs)
    // Before it has written all of a round there is more.
    cluster.cut('s1', 's4')
    cluster.propose('s1')
    cluster.persist('s4')
    cluster.settle()
    cluster.heal()
    cluster.run(2 * heartbeatMs)
  }
  assert.is(inForce(cluster, 's1'), 's1 s2 s3 +s4*')
  cluster.stalledDisks.delete('s4')
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3 s4')
})

test('M10 nobody is promoted while the voters with it would be too few', () => {
  const four = { ...votersOnly(['s1', 's2', 's3', 's4']), nonvoters: [] }
  const cluster = led({ configuration: four, spares: ['s5'] })
  cluster.isolate('s4')
  cluster.run(electionTimeoutMs)
  cluster.configure('s1', add('s5', true))
  cluster.run(3 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3 s4 s5')
  const two = led({ servers: 2, spares: ['s3'] })
  two.configure('s1', { type: 'demote', id: 's2' })
  two.run(2 * heartbeatMs)
  two.isolate('s2')
  two.run(electionTimeoutMs)
  two.configure('s1', { type: 'promote', id: 's2', atOnce: false })
  two.run(electionTimeoutMs)
  assert.is(inForce(two, 's1'), 's1 +s2*')
})

test('M10 one that has caught up and is gone is not promoted, where the voters with it would be too few', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.isolate('s3')
  cluster.run(electionTimeoutMs)
  cluster.stalledDisks.add('s2')
  cluster.configure('s1', add('s4', true))
  cluster.settle()
  assert.is(cluster.core('s1').matchIndexOf('s4'), cluster.core('s1').log.lastIndex)
  cluster.disconnect('s1', 's4')
  cluster.stalledDisks.clear()
  cluster.settle()
  assert.equal([inForce(cluster, 's1'), cluster.core('s1').log.commitIndex], ['s1 s2 s3 +s4*', 3])
  cluster.connect('s1', 's4')
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3 s4')
})

test('4.2.1 a successor goes on with a promotion that its predecessor has begun', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.cut('s1', 's4')
  cluster.configure('s1', add('s4', true))
  cluster.run(2 * heartbeatMs)
  cluster.crash('s1')
  cluster.elect('s2')
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's2'), 's1 s2 s3 s4')
})

test('M10 a promotion that is taken back is not made', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.cut('s1', 's4')
  cluster.configure('s1', add('s4', true))
  cluster.run(2 * heartbeatMs)
  cluster.configure('s1', { type: 'demote', id: 's4' })
  cluster.heal()
  cluster.run(6 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3 +s4')
})

test('4.3 M4 a joint configuration is committed by both halves before the final one follows', () => {
  const nonvoters = ['s4', 's5'].map((id) => added(id))
  const cluster = led({ configuration: { ...votersOnly(['s1', 's2', 's3']), nonvoters } })
  for (const id of ['s4', 's5']) cluster.stalledDisks.add(id)
  cluster.configure('s1', { type: 'set', voters: ['s1', 's4', 's5'], nonvoters: [] })
  cluster.run(2 * heartbeatMs)
  assert.equal([inForce(cluster, 's1'), cluster.core('s1').log.commitIndex], ['s1 s4 s5 (out: s1 s2 s3)', 2])
  cluster.stalledDisks.delete('s4')
  cluster.run(2 * heartbeatMs)
  assert.equal([inForce(cluster, 's1'), cluster.core('s1').log.commitIndex], ['s1 s4 s5', 4])
})

test('M5 a leader that ends in between has a successor that leaves the joint configuration', () => {
  const nonvoters = [added('s4'), added('s5')]
  const cluster = led({ configuration: { ...votersOnly(['s1', 's2', 's3']), nonvoters } })
  cluster.configure('s1', { type: 'set', voters: ['s2', 's4', 's5'], nonvoters: [] })
  cluster.deliver()
  cluster.crash('s1')
  for (const id of ['s2', 's3', 's4', 's5']) cluster.persist(id)
  cluster.elect('s2')
  assert.match(inForce(cluster, 's2'), /^s2 s4 s5/)
  cluster.run(2 * heartbeatMs)
  assert.equal([inForce(cluster, 's2'), inForce(cluster, 's4')], ['s2 s4 s5', 's2 s4 s5'])
})

test('M4 M5 a successor that finds a joint configuration commits it by its own first entry before it leaves it', () => {
  const nonvoters = [added('s4'), added('s5')]
  const cluster = led({ configuration: { ...votersOnly(['s1', 's2', 's3']), nonvoters } })
  cluster.configure('s1', { type: 'set', voters: ['s2', 's4', 's5'], nonvoters: [] })
  cluster.deliver()
  cluster.crash('s1')
  for (const id of ['s2', 's3', 's4', 's5']) cluster.persist(id)
  for (const id of ['s4', 's5']) cluster.stalledDisks.add(id)
  cluster.timeout('s2')
  for (let round = 0; round < 8; round += 1) {
    cluster.deliver()
    cluster.persist('s2')
    cluster.persist('s3')
    if (cluster.core('s2').role !== 'leader') for (const id of ['s4', 's5']) cluster.persist(id)
  }
  assert.equal([cluster.core('s2').role, inForce(cluster, 's2')], ['leader', 's2 s4 s5 (out: s1 s2 s3)'])
  cluster.stalledDisks.clear()
  cluster.run(2 * heartbeatMs)
  assert.is(inForce(cluster, 's2'), 's2 s4 s5')
})

test('M6 a joint configuration is left once, whatever is asked meanwhile', () => {
  const nonvoters = [added('s4'), added('s5')]
  const cluster = led({ configuration: { ...votersOnly(['s1', 's2', 's3']), nonvoters } })
  cluster.configure('s1', { type: 'set', voters: ['s1', 's4', 's5'], nonvoters: [] })
  assert.is(kindOf(cluster.configure('s1', { type: 'remove', id: 's5' })), 'notYet')
  cluster.run(4 * heartbeatMs)
  const taken = cluster.core('s1').log.configurations.map(({ configuration }) => formatConfiguration(configuration))
  assert.equal(taken, ['s1 s2 s3 +s4 +s5', 's1 s4 s5 (out: s1 s2 s3)', 's1 s4 s5'])
})

test('M7 a campaign goes by the accepted configuration, committed or not', () => {
  const cluster = led({ configuration: { ...votersOnly(['s1', 's2', 's3']), nonvoters: [added('s4')] } })
  cluster.cut('s1', 's3')
  cluster.configure('s1', { type: 'promote', id: 's4', atOnce: true })
  cluster.deliver()
  cluster.crash('s1')
  cluster.persist('s2')
  cluster.persist('s4')
  // Three of the four of its configuration are asked for; of the three before it two would do: itself and s3.
  cluster.isolate('s4')
  cluster.timeout('s2')
  cluster.settle()
  assert.equal([cluster.core('s2').role, inForce(cluster, 's2')], ['preCandidate', 's1 s2 s3 s4'])
  cluster.heal()
  cluster.run(4 * electionTimeoutMs)
  assert.ok(cluster.leader !== null)
})

test('4.2.1 M10 a server takes the place of another once a round of it was short, with force at once', () => {
  const change = { type: 'replace', id: 's3', by: 's4' } as const
  for (const force of [false, true]) {
    const cluster = led({ spares: ['s4'] })
    cluster.stalledDisks.add('s4')
    cluster.configure('s1', add('s4', false))
    cluster.run(2 * heartbeatMs)
    const ask = (): string => kindOf(cluster.configure('s1', change, { force }))
    if (!force) {
      assert.is(ask(), 'lags')
      cluster.run(1.2 * electionTimeoutMs)
      assert.is(ask(), 'lags', 'it has written nothing')
      cluster.stalledDisks.clear()
      cluster.run(2 * heartbeatMs)
      assert.is(ask(), 'lags', 'that round was long')
    }
    assert.is(ask(), 'appended')
    cluster.stalledDisks.clear()
    cluster.run(4 * heartbeatMs)
    assert.is(inForce(cluster, 's1'), 's1 s2 s4')
    assert.is(inForce(cluster, 's4'), 's1 s2 s4')
  }
})

test('4.2.1 M10 one that leaves before it took the place of another begins anew when it comes again', () => {
  const cluster = led({ spares: ['s4', 's5'] })
  for (const id of ['s4', 's5']) {
    cluster.configure('s1', add(id, false))
    cluster.run(2 * heartbeatMs)
  }
  const ask = (by: string): string => kindOf(cluster.configure('s1', { type: 'replace', id: 's3', by }))
  assert.equal([ask('s4'), ask('s5')], ['lags', 'lags'])
  cluster.configure('s1', { type: 'remove', id: 's4' })
  cluster.run(2 * heartbeatMs)
  cluster.configure('s1', add('s4', false))
  cluster.run(2 * heartbeatMs)
  assert.is(ask('s4'), 'lags', 'of it no round is known')
  assert.is(ask('s5'), 'appended', 'the round of the other was short')
})

test('4.3 M4 of two halves each decides while one voter takes the place of another', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.configure('s1', add('s4', false))
  cluster.run(2 * heartbeatMs)
  cluster.configure('s1', { type: 'replace', id: 's3', by: 's4' })
  for (const id of ['s3', 's4']) cluster.cut('s1', id)
  cluster.stalledDisks.add('s2')
  cluster.configure('s1', { type: 'replace', id: 's3', by: 's4' })
  cluster.run(2 * heartbeatMs)
  assert.ok(cluster.core('s1').configuration.outgoing !== null)
  assert.ok(cluster.core('s1').log.configurationIndex > cluster.core('s1').log.commitIndex)
  cluster.stalledDisks.clear()
  cluster.run(2 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s4')
})

test('M10 one that comes is not waited for where the voters of now are too few, nor taken where those to come are', () => {
  const cluster = led({ servers: 2, spares: ['s3'] })
  cluster.configure('s1', add('s3', false))
  cluster.run(electionTimeoutMs)
  const change = { type: 'replace', id: 's2', by: 's3' } as const
  assert.is(kindOf(cluster.configure('s1', change)), 'lags')
  cluster.disconnect('s1', 's3')
  assert.is(kindOf(cluster.configure('s1', change)), 'noQuorum')
  cluster.connect('s1', 's3')
  cluster.run(heartbeatMs)
  cluster.disconnect('s1', 's2')
  assert.is(kindOf(cluster.configure('s1', change)), 'noQuorum')
})

test('M10 a leader that has only begun takes no silence for absence, and waits an election timeout for an answer', () => {
  for (const answers of [true, false]) {
    const cluster = led()
    cluster.cut('s2', 's3')
    cluster.transfer('s1', 's2')
    cluster.run(heartbeatMs)
    assert.is(cluster.leader?.id, 's2')
    const remove = { type: 'remove', id: 's1' } as const
    assert.is(kindOf(cluster.configure('s2', remove)), 'notYet')
    if (answers) cluster.heal()
    cluster.run(electionTimeoutMs)
    assert.is(kindOf(cluster.configure('s2', remove)), answers ? 'appended' : 'noQuorum')
  }
})

test('4.2.2 M11 a leader that is removed commits that without its own vote, tells it, and steps down', () => {
  const cluster = led()
  cluster.stalledDisks.add('s3')
  cluster.configure('s1', { type: 'remove', id: 's1' })
  cluster.run(electionTimeoutMs)
  assert.is(cluster.core('s1').log.commitIndex, 2, 'itself and s2 are not enough')
  assert.equal(cluster.core('s1').admit(1), { status: 'wait' }, 'it takes no proposals any more')
  assert.is(cluster.core('s1').role, 'leader')
  cluster.stalledDisks.clear()
  cluster.settle()
  assert.is(cluster.core('s1').role, 'follower')
  assert.equal([cluster.leader?.id, cluster.leader?.up.term], ['s2', 3], 'another leads at once')
  cluster.run(heartbeatMs)
  for (const id of ['s1', 's2', 's3']) assert.ok(cluster.core(id).log.commitIndex >= 3, `${id} knows`)
})

test('4.2.2 M11 a leader that is removed answers what it has accepted before it leaves, unless its disk hangs', () => {
  for (const hangs of [false, true]) {
    const cluster = led()
    cluster.stalledDisks.add('s1')
    const [payload] = cluster.propose('s1') ?? []
    cluster.configure('s1', { type: 'remove', id: 's1' })
    cluster.settle()
    const { commitIndex, appliedIndex, lastIndex } = cluster.core('s1').log
    assert.equal([commitIndex, appliedIndex], [lastIndex, lastIndex - 2], 'the others commit without its disk')
    cluster.pass(electionTimeoutMs / 2 - heartbeatMs)
    cluster.settle()
    assert.is(cluster.core('s1').role, 'leader')
    assert.is(kindOf(cluster.configure('s1', add('s1', true))), 'notYet')
    for (const id of ['s2', 's3']) assert.is(cluster.core(id).log.commitIndex, lastIndex - 1, 'nobody knows yet')
    if (hangs) cluster.pass(heartbeatMs)
    else cluster.stalledDisks.clear()
    cluster.settle()
    assert.is(cluster.core('s1').role, 'follower')
    assert.is(cluster.outcomes.get(payload ?? 0), hangs ? undefined : 'committed')
    assert.is(
      cluster.trace?.some((line) => line.includes('was not applied within half')),
      hangs,
    )
    assert.equal([cluster.leader?.id, cluster.leader?.up.term], ['s2', 3], 'another leads at once')
  }
})

test('4.2.2 3.10 M11 a leader that is removed while it hands over asks nobody but whom it has asked', () => {
  const cluster = led()
  cluster.stalledDisks.add('s3')
  cluster.configure('s1', { type: 'remove', id: 's1' })
  cluster.settle()
  const asked: string[] = []
  const sees: Observer = {
    sent: (_server, to, message: Request | Response) => void (message.type === 'TimeoutNow' && asked.push(to)),
  }
  cluster.watch(sees)
  cluster.transfer('s1', 's2')
  cluster.pass(electionTimeoutMs / 2)
  assert.equal(asked, ['s2'])
  cluster.stalledDisks.clear()
  cluster.persist('s3')
  cluster.deliver(({ from }) => from === 's3')
  cluster.apply('s1')
  assert.is(cluster.core('s1').role, 'follower', 'the removal is committed')
  assert.equal(asked, ['s2'])
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
})

test('4.2.2 3.10 M11 a leader that is removed asks nobody to follow it who lacks something, and leads no longer for it', () => {
  const cluster = led({ servers: 5 })
  for (const id of ['s4', 's5']) cluster.stalledDisks.add(id)
  for (const id of ['s2', 's3']) cluster.disconnect('s1', id)
  cluster.configure('s1', { type: 'remove', id: 's1' }, { force: true })
  cluster.settle()
  for (const id of ['s2', 's3']) cluster.connect('s1', id)
  cluster.settle()
  assert.is(cluster.core('s1').role, 'leader', 'two of four are no quorum')
  cluster.transfer('s1', 's5')
  cluster.stalledDisks.delete('s4')
  const asked: string[] = []
  cluster.trace = []
  cluster.persist('s4')
  cluster.deliver(({ to, message }) => {
    if (message.type === 'TimeoutNow') asked.push(to)
    return true
  })
  cluster.apply('s1')
  assert.is(cluster.core('s1').role, 'follower')
  cluster.settle()
  assert.equal([cluster.leader?.id, cluster.leader?.up.term], ['s2', 3])
  assert.not(asked.includes('s5'), 's5 has not written it')
  assert.is(cluster.transferOutcomes.get(1)?.status, 'failed')
})

test('4.2.2 3.10 M11 a leader that is removed, and hears nobody any more as that is committed, leads no longer', () => {
  const cluster = led({ servers: 2 })
  cluster.stalledDisks.add('s2')
  cluster.configure('s1', { type: 'remove', id: 's1' })
  cluster.settle()
  cluster.persist('s2')
  cluster.trace = []
  // The connection ends behind the answer, and both come in one turn.
  cluster.inOneTurn('s1', () => {
    cluster.deliver(({ from }) => from === 's2')
    cluster.disconnect('s1', 's2')
  })
  assert.is(cluster.core('s1').log.commitIndex, 3)
  cluster.apply('s1')
  assert.is(cluster.core('s1').role, 'follower')
  assert.not(
    cluster.trace.some((line) => line.includes('TimeoutNow')),
    'nobody is asked',
  )
  cluster.stalledDisks.clear()
  cluster.run(6 * electionTimeoutMs)
  assert.equal([cluster.leader?.id, inForce(cluster, 's2')], ['s2', 's2'])
})

test('4.2.2 a voter whose removal is not committed campaigns where nobody else could be elected', () => {
  const cluster = led({ servers: 2 })
  cluster.cut('s1', 's2')
  cluster.configure('s1', { type: 'remove', id: 's1' })
  cluster.persist('s1')
  cluster.restart('s1')
  cluster.heal()
  cluster.connectAll()
  assert.is(inForce(cluster, 's1'), 's2')
  cluster.run(6 * electionTimeoutMs)
  assert.equal([cluster.leader?.id, inForce(cluster, 's2')], ['s2', 's2'])
  assert.equal([cluster.core('s1').role, cluster.core('s1').nextDeadline()], ['follower', Infinity])
})

test('4.2.3 H1-13 a server that was removed is told so, and campaigns no more', () => {
  const cluster = led()
  cluster.trace = []
  cluster.configure('s1', { type: 'remove', id: 's3' })
  cluster.settle()
  assert.ok(cluster.trace.includes('s3 has committed configuration 3: s1 s2'), 'it sees its own removal committed')
  assert.is(cluster.core('s3').nextDeadline(), Infinity)
  assert.ok(cluster.trace.includes('s1 talks to s2'), 'and is left then')
  assert.not(cluster.core('s1').peers.has('s3'))
})

test('H1-13 a server that is no member gets no vote, nor is its term taken', () => {
  const cluster = new Stage({ madeUp: true, spares: ['s9'] })
  assert.equal(cluster.ask('s9', 's2', preVote(2, '9/1')), [preVoteResult(1, false)])
  cluster.askOnly('s9', 's2', requestVote(5, '9/4'))
  assert.equal(cluster.answersTo('s9'), [vote(1, false)])
  assert.equal([cluster.core('s2').term, cluster.core('s2').votedFor], [1, null])
})

test('4.2.3 one that cannot be told that it was removed is left after an election timeout', () => {
  const cluster = led()
  cluster.isolate('s3')
  cluster.configure('s1', { type: 'remove', id: 's3' })
  cluster.settle()
  assert.ok(cluster.core('s1').peers.has('s3'))
  assert.is(kindOf(cluster.configure('s1', add('s3', true))), 'notYet', 'it is not taken back before')
  cluster.run(electionTimeoutMs + 2 * heartbeatMs)
  assert.not(cluster.core('s1').peers.has('s3'))
  cluster.heal()
  cluster.connectAll()
  assert.is(kindOf(cluster.configure('s1', add('s3', true))), 'appended')
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3')
})

test('M13 a change that nobody else has is rolled back where another leader goes on, and whoever came is left', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.isolate('s1')
  cluster.configure('s1', add('s4', true))
  cluster.persist('s1')
  cluster.trace = []
  cluster.elect('s2')
  cluster.heal()
  cluster.run(2 * electionTimeoutMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3')
  assert.ok(cluster.trace.includes('s1 has committed configuration 1: s1 s2 s3'))
  assert.ok(cluster.trace.includes('s1 talks to s2 s3'))
})

test('a configuration that is committed in one turn with the next is told before it', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.isolate('s3')
  cluster.configure('s1', { type: 'remove', id: 's3' })
  cluster.run(electionTimeoutMs + 2 * heartbeatMs)
  cluster.configure('s1', add('s3', false))
  cluster.settle()
  cluster.propose('s1')
  cluster.settle()
  cluster.trace = []
  cluster.heal()
  cluster.connectAll()
  cluster.run(4 * heartbeatMs)
  const told = cluster.trace.filter((line) => line.startsWith('s3 ') && line.includes('configuration'))
  assert.equal(told.slice(-2), [
    's3 has committed configuration 3: s1 s2',
    's3 has committed configuration 4: s1 s2 +s3',
  ])
})

test('H1-22 an address that changes is the one that everyone knows from then on', () => {
  const cluster = led()
  cluster.configure('s1', { type: 'update', server: { id: 's1', address: 'new:1' } })
  cluster.run(2 * heartbeatMs)
  assert.equal(cluster.core('s2').leader, { id: 's1', address: 'new:1' })
  assert.is(cluster.core('s2').contacts.find(({ id }) => id === 's1')?.address, 'new:1')
})

test("M16 a store that has joined is no voter of what was before it, in nobody's eyes, until it is made one", () => {
  // By the first configuration s2 is a voter; its disk is another than it was then.
  const cluster = new Stage({ spares: ['s2'] })
  cluster.connectAll()
  for (const id of ['s1', 's2']) cluster.cut(id, 's3')
  cluster.timeout('s1')
  cluster.run(4 * electionTimeoutMs)
  assert.not.equal(cluster.core('s1').role, 'leader', 'a vote of s2 does not count')
  cluster.heal()
  cluster.elect('s1')
  cluster.run(2 * heartbeatMs)
  assert.is(cluster.core('s2').log.lastIndex, 2, 'it is fed')
  for (const id of ['s1', 's3']) cluster.cut('s2', id)
  for (const id of ['s1', 's3']) cluster.cut(id, 's2')
  cluster.run(4 * electionTimeoutMs)
  assert.is(cluster.core('s2').role, 'follower', 'it calls for no election')
  cluster.heal()
  cluster.run(2 * heartbeatMs)
  const leader = cluster.leader?.id ?? ''
  cluster.configure(leader, { type: 'demote', id: 's2' })
  cluster.run(2 * heartbeatMs)
  cluster.configure(leader, { type: 'promote', id: 's2', atOnce: true }, { force: true })
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's2'), 's1 s3 s2')
  cluster.crash(leader)
  cluster.timeout('s2')
  cluster.run(4 * heartbeatMs)
  assert.is(cluster.core('s2').role, 'leader')
})

test('M10 one that has caught up and is gone is not promoted, though the voters with it would be enough', () => {
  const cluster = led({ spares: ['s4'] })
  for (const id of ['s2', 's3']) cluster.cut('s1', id)
  cluster.configure('s1', add('s4', true))
  cluster.run(heartbeatMs)
  assert.is(cluster.core('s1').matchIndexOf('s4'), cluster.core('s1').log.lastIndex)
  cluster.disconnect('s1', 's4')
  cluster.heal()
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3 +s4*')
  cluster.connect('s1', 's4')
  cluster.run(4 * heartbeatMs)
  assert.is(inForce(cluster, 's1'), 's1 s2 s3 s4')
})

test('M8 a voter that knows neither that it is one nor who asks for its vote gives it, or nobody could be elected', () => {
  // What s4 has is of a time when others voted; it is made the only voter that comes, and hears of nothing.
  for (const wasRemoved of [true, false]) {
    const cluster = led({ configuration: votersOnly(['s1']), spares: ['s2', 's4'] })
    cluster.configure('s1', add('s4', false))
    cluster.run(2 * heartbeatMs)
    if (wasRemoved) cluster.configure('s1', { type: 'remove', id: 's4' })
    else for (const id of ['s1', 's2'] as const) cluster.cut(id, 's4')
    cluster.run(2 * electionTimeoutMs)
    cluster.configure('s1', add('s2', true))
    cluster.run(4 * heartbeatMs)
    cluster.configure('s1', { type: 'remove', id: 's1' })
    cluster.run(2 * electionTimeoutMs)
    assert.is(cluster.leader?.id, 's2')
    cluster.connect('s2', 's4')
    cluster.cut('s2', 's4')
    if (wasRemoved) cluster.configure('s2', add('s4', false))
    cluster.run(heartbeatMs)
    const taken = cluster.configure('s2', { type: 'set', voters: ['s4'], nonvoters: ['s2'] }, { force: true })
    assert.is(kindOf(taken), 'appended')
    cluster.run(3 * electionTimeoutMs)
    assert.is(cluster.leader, null, 'nobody has answered it')
    assert.is(inForce(cluster, 's4'), wasRemoved ? 's1' : 's1 +s4')
    cluster.heal()
    cluster.run(6 * electionTimeoutMs)
    assert.is(inForce(cluster, 's4'), 's4 +s2')
  }
})

test('nobody becomes a voter whose store was never met, however much it is forced', () => {
  const cluster = led({ spares: ['s4'] })
  cluster.crash('s4')
  cluster.configure('s1', add('s4', false))
  cluster.run(2 * heartbeatMs)
  cluster.disconnect('s1', 's4')
  const refused = cluster.configure('s1', { type: 'promote', id: 's4', atOnce: true }, { force: true })
  assert.is(kindOf(refused), 'notYet')
})

test.run()
