/** A leader whose process is gone, and one whose links flap (thesis 6.2, 9.6; scenarios E7, H1-4). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { logIndex, termOf } from '#balsa/types.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import { appendEntries, preVote, preVoteResult } from '../support/messages.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS
/** When the last voter has had its turn to call for an election. */
const TURNS_END_MS = electionTimeoutMs * 0.06

function led(options: ConstructorParameters<typeof Stage>[0] = {}): Stage {
  const cluster = new Stage(options)
  cluster.elect('s1')
  return cluster
}

/** Each server at its next deadline up to a time, with a network and disks that work. */
function untilLed(cluster: Stage, endsAt: number): void {
  for (;;) {
    const up = cluster.ids.filter((id) => cluster.server(id).core !== null)
    const next = up.map((id) => ({ id, at: cluster.core(id).nextDeadline() })).sort((a, b) => a.at - b.at)[0]
    if (next === undefined || next.at > endsAt) return
    cluster.tick(next.id, next.at)
    cluster.settle()
  }
}

test('E7 H1-4 a leader whose process is gone is replaced long before an election timeout, by one election', () => {
  for (const servers of [3, 5, 7]) {
    const cluster = led({ servers })
    cluster.run(3 * heartbeatMs)
    cluster.kill('s1')
    untilLed(cluster, cluster.now + TURNS_END_MS)
    assert.is.not(cluster.leader, null, `${servers} servers`)
    assert.is(cluster.leader?.up.term, 3, 'one election')
  }
})

test('the voters that have lost their leader take turns, with time for the questions of one to reach the next', () => {
  const draws = [0, 0.999]
  for (const servers of [3, 5, 7]) {
    for (const [first, second] of draws.flatMap((one) => draws.map((other) => [one, other]))) {
      const cluster = led({
        servers,
        random: (id) => () => (Number(id.slice(1)) % 2 === 0 ? (first ?? 0) : (second ?? 0)),
      })
      cluster.kill('s1')
      const others = cluster.ids.filter((id) => id !== 's1')
      const begins = others.map((id) => cluster.core(id).nextDeadline())
      for (const [at, next] of begins.slice(1).entries()) {
        const apart = next - (begins[at] ?? 0)
        assert.ok(apart >= (electionTimeoutMs * 0.05) / others.length / 2, `${apart} ms apart of ${servers} servers`)
      }
    }
  }
})

test('entries that its disk is still writing keep no follower from calling for an election (E14)', () => {
  const cluster = led()
  cluster.propose('s1')
  cluster.deliver()
  assert.ok(cluster.core('s2').tickets.hasPendingAppends)
  cluster.kill('s1')
  const at = cluster.core('s2').nextDeadline()
  assert.ok(at < cluster.now + TURNS_END_MS)
  cluster.tick('s2', at)
  assert.is(cluster.core('s2').role, 'preCandidate')
  cluster.persist('s3')
  assert.ok(cluster.core('s3').nextDeadline() < cluster.now + TURNS_END_MS, 'what is written puts nothing off')
})

test('the power of a machine fails and nobody is told: that costs an election timeout', () => {
  const cluster = led()
  cluster.run(3 * heartbeatMs)
  cluster.crash('s1')
  untilLed(cluster, cluster.now + electionTimeoutMs - heartbeatMs)
  assert.is(cluster.leader, null)
  untilLed(cluster, cluster.now + 2 * electionTimeoutMs)
  assert.is.not(cluster.leader, null)
})

test('one broken link deposes no leader that others hear: they refuse, and the follower waits as ever', () => {
  const cluster = led()
  cluster.run(3 * heartbeatMs)
  cluster.reset('s1', 's2')
  cluster.timeout('s2')
  assert.is(cluster.core('s2').role, 'preCandidate')
  cluster.settle()
  assert.equal([cluster.core('s2').role, cluster.core('s2').term], ['preCandidate', 2])
  assert.ok(cluster.core('s2').nextDeadline() >= cluster.now + electionTimeoutMs, 'and no sooner')
  cluster.connect('s1', 's2')
  cluster.connect('s2', 's1')
  cluster.run(5 * electionTimeoutMs)
  assert.equal([cluster.leader?.id, cluster.leader?.up.term], ['s1', 2])
})

test('a follower whose leader is gone refuses no vote for its sake, and hears it again as soon as it speaks', () => {
  const cluster = led({ madeUp: true })
  const [before] = cluster.ask('s3', 's2', preVote(3, '2/2'))
  assert.equal(before, preVoteResult(2, false))
  cluster.turn('s2', { type: 'peerGone', peer: 's1' })
  assert.equal(cluster.ask('s3', 's2', preVote(3, '2/2')), [preVoteResult(2, true)])
  cluster.ask('s1', 's2', appendEntries(2, '2/2', []))
  assert.equal(cluster.ask('s3', 's2', preVote(3, '2/2')), [preVoteResult(2, false)])
  assert.ok(cluster.core('s2').nextDeadline() >= cluster.now + electionTimeoutMs)
})

test('while links flap there is one attempt for each loss at most, and they become rare', () => {
  const cluster = led()
  const attempts: number[] = []
  const end = cluster.now + 40 * electionTimeoutMs
  while (cluster.now < end) {
    cluster.reset('s1', 's2')
    cluster.run(heartbeatMs)
    if (cluster.core('s2').role === 'preCandidate') attempts.push(cluster.now)
    cluster.connect('s1', 's2')
    cluster.connect('s2', 's1')
    cluster.run(heartbeatMs)
  }
  assert.equal([cluster.leader?.id, cluster.leader?.up.term], ['s1', 2], 'nobody was deposed')
  assert.ok(attempts.length >= 3 && attempts.length <= 6, `${attempts.length} attempts`)
  cluster.kill('s1')
  cluster.turn('s2', { type: 'peerGone', peer: 's1' })
  untilLed(cluster, cluster.now + TURNS_END_MS)
  assert.is(cluster.leader?.id, 's3', 'whose links were well is not held back')
})

test('that another peer is gone, or the leader of an older term, changes nothing', () => {
  const cluster = led()
  const before = cluster.core('s2').nextDeadline()
  cluster.turn('s2', { type: 'peerGone', peer: 's3' })
  assert.is(cluster.core('s2').nextDeadline(), before)
  cluster.turn('s1', { type: 'peerGone', peer: 's2' })
  assert.is(cluster.core('s1').role, 'leader')
})

test('a nonvoter whose leader is gone calls for no election', () => {
  const configuration = { ...votersOnly(['s1', 's2']), nonvoters: [{ id: 's3', address: 's3:1', promote: false }] }
  const cluster = led({ configuration })
  cluster.kill('s1')
  assert.is(cluster.core('s3').nextDeadline(), Infinity)
})

test('with each step of election priority less a server waits an election timeout more, and with 0 for ever', () => {
  const deadlineOf = (electionPriority: number): number => {
    const cluster = new Stage({ settings: { ...SETTINGS, electionPriority } })
    return cluster.core('s1').nextDeadline()
  }
  assert.is(deadlineOf(3) - deadlineOf(4), electionTimeoutMs)
  assert.is(deadlineOf(1) - deadlineOf(4), 3 * electionTimeoutMs)
  assert.is(deadlineOf(0), Infinity)
})

test('a server of election priority 0 leads when it is asked to, and else calls for no election', () => {
  const cluster = new Stage({ settings: { ...SETTINGS, electionPriority: 0 }, madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', []))
  cluster.persist('s2')
  cluster.turn('s2', { type: 'peerGone', peer: 's1' })
  assert.is(cluster.core('s2').nextDeadline(), Infinity)
  cluster.ask('s1', 's2', appendEntries(2, '1/1', []))
  const timeoutNow = { type: 'TimeoutNow', term: termOf(2), lastIndex: logIndex(1), lastTerm: termOf(1) } as const
  cluster.askOnly('s1', 's2', timeoutNow)
  cluster.persist('s2')
  assert.is(cluster.core('s2').role, 'candidate')
  cluster.timeout('s2')
  assert.equal([cluster.core('s2').role, cluster.core('s2').nextDeadline()], ['follower', Infinity])
})

test.run()
