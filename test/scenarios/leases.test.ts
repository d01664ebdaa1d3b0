/** Leases that went wrong in other engines (scenarios R4 .. R7), and the pledge that they stand on (docs/reads.md). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Configuration } from '#balsa/types.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import { appendEntries, preVote, preVoteResult, requestVote, vote } from '../support/messages.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS
const LEASE_MS = 500
/** Of a lease, what a leader reads by. */
const HELD_MS = 450

/** s1 leads, and holds a lease that has just begun: its heartbeat was answered without a moment between. */
function leased(options: ConstructorParameters<typeof Stage>[0] = {}): Stage {
  const cluster = new Stage(options)
  cluster.elect('s1')
  cluster.configure('s1', { type: 'lease', leaseMs: LEASE_MS })
  cluster.settle()
  beat(cluster)
  return cluster
}

/** A heartbeat later the next one leaves, and all is answered at once. */
function beat(cluster: Stage): void {
  cluster.now += heartbeatMs
  cluster.tick('s1')
  cluster.settle()
}

/** Whether s1 may read by its lease, when it has slept for so long. */
const holds = (cluster: Stage, sleptMs = 0): boolean => cluster.core('s1').mayReadByLease(cluster.now + sleptMs)

test('R4 a lease counts from when a round was sent, however late its answers come', () => {
  const cluster = leased()
  cluster.now += heartbeatMs
  cluster.tick('s1')
  const sentAt = cluster.now
  cluster.now += 300
  cluster.settle()
  cluster.now = sentAt + HELD_MS - 1
  assert.ok(holds(cluster))
  cluster.now = sentAt + HELD_MS
  assert.not.ok(holds(cluster))
})

test('R4 it counts from an answered round, not from one that was only sent', () => {
  const cluster = leased()
  const answeredAt = cluster.now
  cluster.isolate('s1')
  while (cluster.now < answeredAt + HELD_MS) {
    assert.ok(holds(cluster))
    cluster.now += heartbeatMs / 2
    cluster.tick('s1')
  }
  assert.not.ok(holds(cluster))
})

test('R4 a new leader holds none before an entry of its term is committed, whatever others have answered', () => {
  const cluster = leased()
  cluster.now += electionTimeoutMs
  cluster.isolate('s1')
  const early: boolean[] = []
  cluster.watch({
    stepped: ({ id }, core) => {
      if (id === 's1' || core.role !== 'leader' || core.log.termAt(core.log.commitIndex) === core.term) return
      early.push(core.mayReadByLease(cluster.now))
    },
  })
  cluster.elect('s2')
  assert.ok(early.length > 0 && !early.includes(true))
  assert.ok(cluster.core('s2').mayReadByLease(cluster.now))
})

test('R4 a nonvoter does not count for a lease, nor half of a joint configuration', () => {
  const { voters } = votersOnly(['s1', 's2', 's3'])
  const nonvoters = ['s4', 's5'].map((id) => ({ id, address: `${id}:1`, promote: false }))
  const configuration: Configuration = { voters, outgoing: null, nonvoters }
  const cluster = leased({ configuration })
  for (const id of ['s2', 's3']) cluster.isolate(id)
  for (let beats = 0; beats < 5; beats += 1) beat(cluster)
  assert.not.ok(holds(cluster), 's4 and s5 have answered')
  cluster.heal()
  beat(cluster)
  assert.ok(holds(cluster))
  for (const id of ['s2', 's3']) cluster.isolate(id)
  cluster.configure('s1', { type: 'set', voters: ['s1', 's4', 's5'], nonvoters: [] })
  for (let beats = 0; beats < 6; beats += 1) beat(cluster)
  assert.not.ok(holds(cluster), 'a majority of those that come in alone')
})

test('R4 an answer counts only of a voter that has the leases that it speaks of on its disk', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (const id of ['s2', 's3']) cluster.stalledDisks.add(id)
  cluster.configure('s1', { type: 'lease', leaseMs: LEASE_MS })
  for (let beats = 0; beats < 3; beats += 1) beat(cluster)
  assert.not.ok(holds(cluster), 'heartbeats were answered, and a crash would forget what they promised')
  cluster.stalledDisks.clear()
  cluster.settle()
  assert.ok(holds(cluster))
  cluster.cut('s1', 's2')
  cluster.cut('s1', 's3')
  cluster.configure('s1', { type: 'lease', leaseMs: 2 * LEASE_MS })
  assert.not.ok(holds(cluster), 'nobody has pledged as much')
})

test('R5 a sleep that the clock of turns does not count ends a lease, and the next answers begin another', () => {
  const cluster = leased()
  assert.ok(holds(cluster, HELD_MS - 1))
  assert.not.ok(holds(cluster, HELD_MS))
  assert.not.ok(holds(cluster, -1), 'a clock that went back tells nothing')
  assert.not.ok(cluster.core('s1').mayReadByLease(Infinity), 'nor does one that there is not')
})

test('R6 a lease ends by itself, also of a leader that does not turn, before anybody else is elected', () => {
  const cluster = leased()
  cluster.isolate('s1')
  let endedAt = Infinity
  while (cluster.leader?.id === 's1') {
    cluster.now += heartbeatMs / 10
    if (!holds(cluster)) endedAt = Math.min(endedAt, cluster.now)
    for (const id of ['s2', 's3']) cluster.tick(id)
    cluster.settle()
  }
  assert.is(cluster.core('s1').role, 'leader', 'it does not know better')
  assert.ok(endedAt < cluster.now)
})

test('R7 a transfer ends the lease before the other is asked, and the next leader has one of its own', () => {
  const cluster = leased()
  cluster.inOneTurn('s1', () => {
    cluster.server('s1').transferInTurn('s2')
    assert.not.ok(holds(cluster))
  })
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  assert.not.ok(holds(cluster))
  assert.ok(cluster.core('s2').mayReadByLease(cluster.now))
})

test('R7 after a transfer that came to nothing there is no lease until an entry is committed behind what was asked', () => {
  const cluster = leased()
  cluster.transfer('s1', 's2')
  const late = cluster.drop(({ message }) => message.type === 'TimeoutNow')
  assert.is(late.length, 1)
  for (let beats = 0; beats < 12; beats += 1) beat(cluster)
  assert.is(cluster.core('s1').counters.transfers, 0, 'it was given up')
  assert.not.ok(holds(cluster), 'who was asked may hear of it yet')
  cluster.propose('s1')
  cluster.settle()
  assert.ok(holds(cluster))
  for (const envelope of late) cluster.receive(envelope)
  cluster.settle()
  assert.is(cluster.leader?.id, 's1')
})

test('R7 who is asked late, and lacks what was committed since, deposes the leader and is not elected', () => {
  const cluster = leased()
  cluster.transfer('s1', 's2')
  const late = cluster.drop(({ message }) => message.type === 'TimeoutNow')
  for (let beats = 0; beats < 12; beats += 1) beat(cluster)
  cluster.cut('s1', 's2')
  cluster.propose('s1')
  cluster.settle()
  assert.ok(holds(cluster))
  for (const envelope of late) cluster.receive(envelope)
  cluster.settle()
  assert.is(cluster.core('s2').role, 'candidate')
  assert.not.ok(holds(cluster), 'it was deposed')
})

test('a voter that comes back pledges for as long as it may have before its crash', () => {
  const cluster = leased()
  cluster.restart('s2')
  const lacks = preVote(3, '9/2', 1)
  assert.equal(cluster.ask('s3', 's2', lacks), [preVoteResult(2, false, 1)])
  cluster.now += LEASE_MS - 1
  assert.equal(cluster.ask('s3', 's2', requestVote(3, '9/2')), [vote(2, false)])
  assert.is(cluster.core('s2').term, 2)
  cluster.now += 1
  assert.equal(cluster.ask('s3', 's2', lacks), [preVoteResult(2, true, 1)])
})

test('a pledge outlives the term and the leader that it was given to', () => {
  const cluster = leased({ madeUp: true })
  cluster.ask('s3', 's2', { ...requestVote(3, '1/1'), isTransfer: true })
  cluster.persist('s2')
  assert.is(cluster.core('s2').term, 3, 'its leader may have asked for it')
  cluster.answersTo('s3')
  assert.equal(cluster.ask('s3', 's2', preVote(4, '9/2', 1)), [preVoteResult(3, false, 1)])
  cluster.now += LEASE_MS
  assert.equal(cluster.ask('s3', 's2', preVote(4, '9/2', 1)), [preVoteResult(3, true, 1)])
})

test('a follower whose leader is said to be gone campaigns only when its pledge is over', () => {
  const cluster = leased()
  const pledgedUntil = cluster.now + LEASE_MS
  assert.is(cluster.core('s2').pledgedUntil, pledgedUntil)
  cluster.reset('s1', 's2')
  assert.ok(cluster.core('s2').nextDeadline() > pledgedUntil)
  cluster.tick('s2', pledgedUntil - 1)
  assert.is(cluster.core('s2').role, 'follower')
  cluster.timeout('s2')
  assert.is(cluster.core('s2').role, 'preCandidate')
})

test('a server that has just come back campaigns only when its pledge is over', () => {
  const settings = { ...SETTINGS, firstElectionTimeoutMs: 0 }
  const cluster = leased({ settings })
  cluster.restart('s2')
  cluster.tick('s2')
  assert.is(cluster.core('s2').role, 'follower')
  assert.is(cluster.core('s2').nextDeadline(), cluster.now + LEASE_MS)
})

test('who stands for election as its leader has asked calls for no other one before its pledge is over', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.configure('s1', { type: 'lease', leaseMs: 10 * electionTimeoutMs })
  cluster.settle()
  beat(cluster)
  for (const id of ['s1', 's3']) cluster.cut('s2', id)
  cluster.transfer('s1', 's2')
  cluster.run(electionTimeoutMs)
  const { pledgedUntil } = cluster.core('s2')
  assert.is(cluster.core('s2').role, 'candidate')
  cluster.run(pledgedUntil - cluster.now - heartbeatMs)
  assert.is(cluster.core('s2').role, 'candidate')
  cluster.run(2 * heartbeatMs)
  assert.is(cluster.core('s2').role, 'preCandidate')
})

test('leases that are turned off end at once, and who has pledged keeps the pledge', () => {
  const cluster = leased()
  const { pledgedUntil } = cluster.core('s2')
  cluster.configure('s1', { type: 'lease', leaseMs: 0 })
  assert.not.ok(holds(cluster))
  cluster.settle()
  beat(cluster)
  assert.ok(cluster.core('s2').pledgedUntil >= pledgedUntil)
  assert.equal(cluster.configure('s1', { type: 'lease', leaseMs: 0 }).status, 'refused')
})

test('a configuration that is not settled takes no lease away from those before it', () => {
  const cluster = leased()
  const leader = cluster.core('s1').log.configurationIndex
  // s2 alone hears that there are none any more, and nobody that it has heard.
  cluster.cut('s1', 's3')
  cluster.cut('s2', 's1')
  cluster.configure('s1', { type: 'lease', leaseMs: 0 })
  cluster.settle()
  assert.ok(cluster.core('s2').log.configurationIndex > leader && cluster.core('s2').log.commitIndex >= leader)
  cluster.now += 3 * electionTimeoutMs
  cluster.ask('s3', 's2', appendEntries(9, '1/1', []))
  assert.is(cluster.core('s2').pledgedUntil, cluster.now + LEASE_MS)
})

test.run()
