/** Leadership handed over, given up, and lost with the process of the leader (scenarios T*, M9, R8, H1-16, H2-9). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { logIndex, termOf } from '#balsa/types.js'
import type { Request, Response, TimeoutNow } from '#balsa/core/index.js'
import type { Observer } from '#balsa/testing/observer.js'
import { makeBlock, NOTHING } from '#balsa/testing/stage/blocks.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import { appendEntries, requestVote, vote } from '../support/messages.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS
const FAILED = { status: 'failed' } as const

/** A cluster at rest that s1 leads, in term 2 with two entries. */
function led(options: ConstructorParameters<typeof Stage>[0] = {}): Stage {
  const cluster = new Stage(options)
  cluster.elect('s1')
  return cluster
}

const timeoutNow = (term: number, lastIndex: number, lastTerm: number): TimeoutNow => ({
  ...{ type: 'TimeoutNow', term: termOf(term) },
  ...{ lastIndex: logIndex(lastIndex), lastTerm: termOf(lastTerm) },
})

test('the voter that is named leads the next term, and the caller hears of it', () => {
  const cluster = led()
  const transfer = cluster.transfer('s1', 's3')
  cluster.settle()
  assert.is(cluster.leader?.id, 's3')
  assert.is(cluster.core('s3').term, 3)
  assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, status: 'transferred', to: 's3' })
  assert.is(cluster.core('s1').counters.transfers, 0)
})

test('of those that nobody named the most caught-up voter that is heard is taken', () => {
  const configuration = { ...votersOnly(['s1', 's2', 's3', 's4']), nonvoters: [] }
  const cluster = led({ configuration })
  cluster.cut('s1', 's2')
  cluster.propose('s1')
  cluster.settle()
  cluster.disconnect('s1', 's3')
  cluster.transfer('s1')
  cluster.settle()
  assert.is(cluster.leader?.id, 's4')
})

test('who cannot lead is named and refused: a nonvoter (M9), a stranger, the leader itself, and when nobody is heard', () => {
  const configuration = { ...votersOnly(['s1', 's2']), nonvoters: [{ id: 's3', address: 's3:1', promote: false }] }
  const cluster = led({ configuration })
  for (const to of ['s3', 'nobody', 's1']) {
    const transfer = cluster.transfer('s1', to)
    assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to, reason: 'notVoter' })
  }
  cluster.disconnect('s1', 's2')
  const last = cluster.transfer('s1')
  assert.equal(cluster.transferOutcomes.get(last), { id: last, ...FAILED, to: null, reason: 'noTarget' })
  assert.ok(cluster.propose('s1'), 'it leads on')
})

test('a follower refuses to transfer, and so does a server that has halted', () => {
  const cluster = led()
  const asked = cluster.transfer('s2', 's3')
  cluster.failStore('s3')
  const late = cluster.transfer('s3')
  assert.equal(cluster.transferOutcomes.get(late), { id: late, ...FAILED, to: null, reason: 'notLeader' })
  assert.equal(cluster.transferOutcomes.get(asked), { id: asked, ...FAILED, to: 's3', reason: 'notLeader' })
})

test('a second transfer is refused while one is under way', () => {
  const cluster = led()
  cluster.cut('s1', 's2')
  const first = cluster.transfer('s1', 's2')
  const second = cluster.transfer('s1', 's3')
  assert.equal(cluster.transferOutcomes.get(second), { id: second, ...FAILED, to: 's3', reason: 'inProgress' })
  assert.is(cluster.transferOutcomes.has(first), false)
})

test('T1 a leader that is deposed while a transfer waits takes proposals again when it is elected again', () => {
  const cluster = led()
  cluster.cut('s1', 's2')
  cluster.propose('s1')
  const transfer = cluster.transfer('s1', 's2')
  assert.is(cluster.propose('s1'), null)
  cluster.answer('s3', 's1', vote(9, false))
  assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to: 's2', reason: 'leadershipLost' })
  cluster.heal()
  cluster.settle()
  cluster.now += 2 * electionTimeoutMs
  cluster.elect('s1')
  assert.ok(cluster.propose('s1'), 'the transfer has gone with its term')
  assert.is(cluster.core('s1').counters.transfers, 0)
})

test('T2 H1-16 under continuous writes the other is asked only when it has the whole log, and none come after', () => {
  const cluster = led()
  const asked: TimeoutNow[] = []
  const sees: Observer = {
    sent: (_server, to, message: Request | Response) => {
      if (message.type !== 'TimeoutNow') return
      asked.push(message)
      assert.is(cluster.server(to).disk.durable.lastIndex, message.lastIndex)
    },
  }
  cluster.watch(sees)
  for (let batch = 0; batch < 20; batch += 1) {
    cluster.propose('s1', 3)
    if (batch % 3 === 0) cluster.deliver()
  }
  const before = cluster.core('s1').log.lastIndex
  cluster.transfer('s1', 's2')
  assert.is(cluster.propose('s1'), null, 'the log grows no more')
  assert.equal(asked, [])
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  assert.equal(asked, [timeoutNow(2, before, 2)])
  assert.equal([...new Set(cluster.outcomes.values())], ['committed'], 'every answer came before it was asked')
})

test('T2 one that lags is not asked although everything is committed by the others, and is once it has all', () => {
  const cluster = led()
  cluster.stalledDisks.add('s2')
  cluster.propose('s1')
  cluster.settle()
  const { commitIndex, lastIndex } = cluster.core('s1').log
  assert.is(commitIndex, lastIndex)
  assert.ok(cluster.core('s1').matchIndexOf('s2') < lastIndex)
  const asked: TimeoutNow[] = []
  const sees: Observer = {
    sent: (_server, _to, message: Request | Response) => void (message.type === 'TimeoutNow' && asked.push(message)),
  }
  cluster.watch(sees)
  cluster.transfer('s1', 's2')
  cluster.settle()
  assert.equal(asked, [])
  cluster.stalledDisks.clear()
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  assert.equal(asked, [timeoutNow(2, lastIndex, 2)])
})

test('T2 for half of the time the other is not asked before everything is committed, then it is', () => {
  const cluster = led({ servers: 5 })
  cluster.stalledDisks.add('s3').add('s4').add('s5')
  cluster.propose('s1')
  cluster.settle()
  assert.is(cluster.core('s1').matchIndexOf('s2'), cluster.core('s1').log.lastIndex)
  cluster.transfer('s1', 's2')
  cluster.settle()
  cluster.pass(electionTimeoutMs / 2 - heartbeatMs)
  assert.is(cluster.leader?.id, 's1')
  assert.not.ok(cluster.inFlight.some(({ message }) => message.type === 'TimeoutNow'))
  cluster.pass(heartbeatMs)
  assert.ok(cluster.inFlight.some(({ message }) => message.type === 'TimeoutNow'))
})

test('T2 nor before the leader itself has applied everything: a quorum of the others may be faster than its own disk', () => {
  const cluster = led()
  cluster.stalledDisks.add('s1')
  const [payload] = cluster.propose('s1') ?? []
  cluster.settle()
  const { commitIndex, appliedIndex, lastIndex } = cluster.core('s1').log
  assert.equal([commitIndex, appliedIndex], [lastIndex, lastIndex - 1])
  const outcomes: unknown[] = []
  const sees: Observer = {
    sent: (_server, _to, message: Request | Response) => {
      if (message.type === 'TimeoutNow') outcomes.push(cluster.outcomes.get(payload ?? 0))
    },
  }
  cluster.watch(sees)
  cluster.transfer('s1', 's2')
  cluster.settle()
  assert.equal(outcomes, [])
  cluster.stalledDisks.clear()
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  assert.equal(outcomes, ['committed'], 'the caller has its answer before the other is asked')

  const hanging = led()
  hanging.stalledDisks.add('s1')
  hanging.propose('s1')
  hanging.settle()
  hanging.transfer('s1', 's2')
  hanging.pass(electionTimeoutMs / 2 - heartbeatMs)
  assert.not.ok(hanging.inFlight.some(({ message }) => message.type === 'TimeoutNow'))
  hanging.pass(heartbeatMs)
  assert.ok(
    hanging.inFlight.some(({ message }) => message.type === 'TimeoutNow'),
    'a disk that hangs hands over as well',
  )
  hanging.settle()
  assert.is(hanging.leader?.id, 's2')
  const told =
    's1 steps down: s2 asked for a vote in term 3; what it had accepted was not applied within half an election timeout'
  assert.ok(hanging.trace?.includes(told))
  assert.not.ok(cluster.trace?.some((line) => line.includes('was not applied within')))
})

test('H1-16 a transfer to a voter that has everything takes three messages in a row, and one write on each server', () => {
  const cluster = led()
  for (const id of cluster.ids) cluster.persist(id)
  const written = new Map(cluster.ids.map((id) => [id, cluster.server(id).disk.written]))
  let trips = 0
  cluster.transfer('s1', 's2')
  while (cluster.core('s2').role !== 'leader') {
    trips += cluster.deliver() > 0 ? 1 : 0
    if (cluster.core('s2').role !== 'leader') for (const id of cluster.ids) cluster.persist(id)
    assert.ok(trips < 10)
  }
  assert.ok(cluster.propose('s2'), 'proposals are taken again')
  assert.is(trips, 3, 'TimeoutNow, RequestVote, its answer: a round trip and a half')
  for (const id of cluster.ids) assert.is(cluster.server(id).disk.written - (written.get(id) ?? 0), 1, id)
})

test('T3 what waits during a transfer is refused when the leadership ends, and taken when the transfer fails', () => {
  for (const isDelivered of [true, false]) {
    const cluster = led()
    cluster.transfer('s1', 's2')
    assert.is(cluster.core('s1').admit(1).status, 'wait')
    if (isDelivered) cluster.settle()
    else cluster.drop()
    cluster.tick('s1', cluster.now + electionTimeoutMs - 1)
    assert.is(cluster.core('s1').admit(1).status, isDelivered ? 'refuse' : 'wait')
    if (isDelivered) continue
    cluster.settle()
    cluster.tick('s1', cluster.now + 1)
    assert.is(cluster.core('s1').admit(1).status, 'accept', 'an election timeout at most')
  }
})

test('T3 what had come before the transfer, in the same turn, is taken before it', () => {
  const cluster = led()
  cluster.inOneTurn('s1', () => {
    cluster.transfer('s1', 's2')
    assert.ok(cluster.proposeInTurn('s1'))
  })
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  assert.equal([...cluster.outcomes.values()], ['committed'])
})

test('T4 H2-9 a TimeoutNow that is late, repeated, of a stranger or of an aborted transfer is ignored', () => {
  const cluster = led()
  cluster.transfer('s1', 's2')
  const [late] = cluster.drop(({ message }) => message.type === 'TimeoutNow')
  assert.ok(late)
  if (late === undefined) return
  cluster.tick('s1', cluster.now + electionTimeoutMs)
  cluster.settle()
  cluster.propose('s1')
  cluster.settle()
  cluster.receive(late)
  assert.is(cluster.core('s2').role, 'follower', 'the leader leads on, and its log has grown')
  cluster.askOnly('s3', 's2', timeoutNow(2, cluster.core('s2').log.lastIndex, 2))
  assert.is(cluster.core('s2').role, 'follower', 's3 leads nobody')
  cluster.askOnly('s1', 's2', timeoutNow(1, cluster.core('s2').log.lastIndex, 2))
  cluster.askOnly('s1', 's2', timeoutNow(3, cluster.core('s2').log.lastIndex, 2))
  assert.equal([cluster.core('s2').role, cluster.core('s2').term], ['follower', 2], 'another term is not its own')
  cluster.transfer('s1', 's2')
  const [again] = cluster.drop(({ message }) => message.type === 'TimeoutNow')
  assert.ok(again)
  if (again === undefined) return
  cluster.receive(again)
  cluster.receive(again)
  assert.equal([cluster.core('s2').role, cluster.core('s2').term], ['candidate', 3])
  cluster.settle()
  cluster.receive(again)
  assert.equal([cluster.core('s2').role, cluster.core('s2').term], ['leader', 3])
})

test('T4 a TimeoutNow that comes when its transfer has failed, to a voter that lacks what came since, loses nothing', () => {
  const cluster = led()
  const transfer = cluster.transfer('s1', 's2')
  const [late] = cluster.drop(({ message }) => message.type === 'TimeoutNow')
  assert.ok(late)
  if (late === undefined) return
  cluster.tick('s1', cluster.now + electionTimeoutMs)
  cluster.settle()
  assert.is(cluster.transferOutcomes.get(transfer)?.status, 'failed')
  cluster.cut('s1', 's2')
  cluster.propose('s1')
  cluster.deliver(({ to }) => to !== 's2')
  cluster.persist('s3')
  cluster.persist('s1')
  cluster.deliver(({ to }) => to !== 's2')
  assert.is(cluster.core('s1').log.commitIndex, 3)
  cluster.receive(late)
  assert.is(cluster.core('s2').role, 'candidate', 'it cannot know')
  cluster.heal()
  cluster.settle()
  assert.is.not(cluster.core('s2').role, 'leader', 'nobody elects who lacks what is committed')
  cluster.run(4 * electionTimeoutMs)
  assert.ok(['s1', 's3'].includes(cluster.leader?.id ?? ''))
  assert.is(cluster.core('s2').log.commitIndex, cluster.leader?.up.log.commitIndex)
  assert.is(cluster.transferOutcomes.size, 1)
})

test('T2 M2 a change of the members waits while leadership is handed over, and is taken when that has failed', () => {
  const cluster = led()
  cluster.cut('s1', 's2')
  cluster.transfer('s1', 's2')
  for (const request of [{}, { force: true }]) {
    const outcome = cluster.configure('s1', { type: 'remove', id: 's3' }, request)
    assert.equal([outcome.status, 'refusal' in outcome && outcome.refusal.kind], ['refused', 'notYet'])
  }
  assert.is(cluster.core('s1').log.lastIndex, 2)
  cluster.heal()
  cluster.run(electionTimeoutMs)
  const leader = cluster.leader?.id ?? ''
  const outcome = cluster.configure(leader, { type: 'remove', id: leader === 's3' ? 's1' : 's3' })
  assert.is(outcome.status, 'appended')
})

test('T2 M10 nor is a nonvoter promoted meanwhile', () => {
  const configuration = { ...votersOnly(['s1', 's2']), nonvoters: [{ id: 's3', address: 's3:1', promote: true }] }
  const cluster = new Stage({ configuration })
  cluster.cut('s1', 's3')
  cluster.elect('s1')
  cluster.cut('s1', 's2')
  cluster.transfer('s1', 's2')
  cluster.disconnect('s1', 's2')
  cluster.heal()
  cluster.settle()
  assert.is(cluster.core('s1').configuration.nonvoters.length, 1)
  cluster.connect('s1', 's2')
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  cluster.run(2 * electionTimeoutMs)
  assert.is(cluster.core('s2').configuration.voters.length, 3, 'whoever leads promotes it')
})

test('M9 a TimeoutNow to a nonvoter, or to one that is not in the configuration any more, is ignored', () => {
  const configuration = { ...votersOnly(['s1', 's2']), nonvoters: [{ id: 's3', address: 's3:1', promote: false }] }
  const cluster = new Stage({ configuration, madeUp: true })
  cluster.ask('s1', 's3', appendEntries(2, '1/1', []))
  cluster.persist('s3')
  cluster.askOnly('s1', 's3', timeoutNow(2, 1, 1))
  assert.equal([cluster.core('s3').role, cluster.core('s3').term], ['follower', 2])
})

test('T5 a transfer to one that is not connected, or was not heard for long, fails at once and holds nothing back', () => {
  const cluster = led()
  cluster.disconnect('s1', 's2')
  cluster.cut('s1', 's3')
  const refused = (to: string): void => {
    const transfer = cluster.transfer('s1', to)
    assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to, reason: 'notHeard' })
    assert.ok(cluster.propose('s1'), 'it takes proposals')
  }
  refused('s2')
  cluster.connect('s1', 's2')
  cluster.run(electionTimeoutMs - 1)
  refused('s3')
})

test('T5 a transfer fails at once when the process of the other is gone, and the leader takes proposals again', () => {
  const cluster = led()
  cluster.cut('s1', 's2')
  const transfer = cluster.transfer('s1', 's2')
  assert.is(cluster.propose('s1'), null)
  cluster.kill('s2')
  assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to: 's2', reason: 'targetGone' })
  assert.ok(cluster.propose('s1'))
  assert.is(cluster.core('s1').role, 'leader')
})

test('T5 after an election timeout a transfer has failed, and what comes is taken in the same turn', () => {
  const cluster = led()
  cluster.cut('s1', 's2')
  const transfer = cluster.transfer('s1', 's2')
  cluster.run(electionTimeoutMs)
  assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to: 's2', reason: 'timedOut' })
  assert.ok(cluster.propose('s1'))
  assert.is(cluster.core('s1').role, 'leader')
})

test('R8 reads during a transfer that is stuck are answered, keep nobody from its end, and prolong it by nothing', () => {
  const cluster = led()
  // The others hear their leader all the time; whom it waits for has no disk that writes.
  cluster.stalledDisks.add('s2')
  cluster.propose('s1')
  cluster.settle()
  const begunAt = cluster.now
  const transfer = cluster.transfer('s1', 's2')
  const reads: number[] = []
  while (cluster.now < begunAt + electionTimeoutMs) {
    assert.is(cluster.propose('s1'), null, `${cluster.now - begunAt} ms after it began`)
    assert.not(cluster.transferOutcomes.has(transfer))
    reads.push(cluster.read('s1'))
    cluster.run(heartbeatMs / 2)
  }
  assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to: 's2', reason: 'timedOut' })
  const { commitIndex } = cluster.core('s1').log
  assert.ok(reads.length >= 20)
  for (const read of reads)
    assert.equal(cluster.readOutcomes.get(read), { id: read, status: 'confirmed', index: commitIndex })
  const [payload] = cluster.propose('s1') ?? []
  cluster.settle()
  assert.is(cluster.outcomes.get(payload ?? 0), 'committed')
  assert.equal([cluster.core('s1').role, cluster.core('s1').term], ['leader', 2], 'and nobody has campaigned')
})

test('R8 reads whose round is lost with the leadership that was handed over are told so, and none is answered late', () => {
  const cluster = led()
  const transfer = cluster.transfer('s1', 's2')
  const read = cluster.read('s1')
  cluster.deliver(({ message }) => message.type === 'TimeoutNow')
  cluster.drop(({ message }) => message.type === 'AppendEntries')
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  assert.is(cluster.transferOutcomes.get(transfer)?.status, 'transferred')
  assert.is(cluster.readOutcomes.get(read)?.status, 'notLeader')
})

test('a TimeoutNow that was lost with its connection is sent on the next one', () => {
  const cluster = led()
  cluster.transfer('s1', 's2')
  cluster.drop(({ message }) => message.type === 'TimeoutNow')
  cluster.disconnect('s1', 's2')
  cluster.connect('s1', 's2')
  cluster.settle()
  assert.is(cluster.leader?.id, 's2')
  assert.is(cluster.transferOutcomes.size, 1)
})

test('when another server is elected the transfer has failed, also when nobody is in time', () => {
  const cluster = led({ servers: 5 })
  const transfer = cluster.transfer('s1', 's2')
  cluster.deliver(({ message }) => message.type === 'TimeoutNow')
  cluster.persist('s2')
  cluster.deliver(({ to }) => to === 's1')
  assert.is(cluster.core('s1').role, 'follower')
  cluster.drop()
  cluster.askOnly('s3', 's1', requestVote(9, '2/2'))
  cluster.tick('s1', cluster.now + electionTimeoutMs)
  assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to: 's2', reason: 'timedOut' })

  const other = led({ madeUp: true })
  other.transfer('s1', 's2')
  other.askOnly('s3', 's1', appendEntries(4, '2/2', []))
  assert.equal(other.transferOutcomes.get(1), { id: 1, ...FAILED, to: 's2', reason: 'otherElected' })
})

test('a leader that halts tells what became of a transfer, asked or not', () => {
  for (const isCut of [true, false]) {
    const cluster = led()
    if (isCut) {
      cluster.cut('s1', 's2')
      cluster.propose('s1')
    }
    const transfer = cluster.transfer('s1', 's2')
    cluster.failStore('s1')
    assert.equal(cluster.transferOutcomes.get(transfer), {
      id: transfer,
      ...FAILED,
      to: 's2',
      reason: 'leadershipLost',
    })
  }
})

test('a transfer ends when the other is no voter any more', () => {
  const cluster = led()
  cluster.cut('s1', 's2')
  const transfer = cluster.transfer('s1', 's2')
  const block = { ...makeBlock(3, 2, [NOTHING]), configuration: votersOnly(['s1', 's3']) }
  cluster.turn('s1', { type: 'propose', block })
  assert.equal(cluster.transferOutcomes.get(transfer), { id: transfer, ...FAILED, to: 's2', reason: 'notVoter' })
})

test('a voter that hears its leader votes when that leader has asked for the election, and else not (4.2.3)', () => {
  const cluster = led({ madeUp: true })
  assert.equal(cluster.ask('s3', 's2', requestVote(3, '2/2')), [vote(2, false)])
  cluster.askOnly('s3', 's2', { ...requestVote(3, '2/2'), isTransfer: true })
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s3'), [vote(3, true)])
})

test('a leader that steps down says why, asks for no vote for a while, and leads again when nobody else can', () => {
  const cluster = led()
  const lost = cluster.propose('s1')
  cluster.turn('s1', { type: 'stepDown', reason: 'its operator said so' })
  assert.is(cluster.core('s1').role, 'follower')
  assert.ok(cluster.trace?.includes('s1 steps down: its operator said so'))
  assert.is(cluster.outcomes.get(lost?.[0] ?? 0), 'unknown')
  cluster.run(2.5 * electionTimeoutMs)
  assert.is(cluster.leader?.id, 's2')

  const alone = led({ servers: 1 })
  alone.turn('s1', { type: 'stepDown', reason: 'its operator said so' })
  assert.is(alone.core('s1').nextDeadline(), alone.now + 3 * electionTimeoutMs)
  alone.run(4 * electionTimeoutMs)
  assert.is(alone.leader?.id, 's1')
  alone.turn('s1', { type: 'stepDown', reason: 'once' }, { type: 'stepDown', reason: 'and a second time' })
  assert.not.ok(
    alone.trace?.some((line) => line.includes('a second time')),
    'a follower has nothing to give up',
  )
})

test.run()
