/** A message that is arriving, while the link is busy with it for longer than an election takes. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Input } from '#balsa/core/index.js'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { appendEntries, endingAt, matched, requestVote, vote } from '../support/messages.js'

const PERIOD_MS = SETTINGS.electionTimeoutMs / 4
const PERIODS = 40

const arriving = (from: string, link: number): Input => ({ type: 'arriving', from, link })

/** s2 follows s1, which leads term 2 and has last sent round 7; answers with the link. */
function following(): { readonly cluster: Stage; readonly link: number } {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [], 0, 7))
  cluster.persist('s2')
  cluster.answersTo('s1')
  return { cluster, link: (cluster.server('s1').sessions.get('s2') ?? 0) - 1 }
}

test('a follower to which a message of its leader is arriving waits, votes for nobody, and says each time that it is there', () => {
  const { cluster, link } = following()
  for (let period = 0; period < PERIODS; period += 1) {
    cluster.now += PERIOD_MS
    cluster.turn('s2', arriving('s1', link))
    assert.equal(cluster.answersTo('s1'), [endingAt(1, matched(2, 1, 7))])
    assert.equal(cluster.ask('s3', 's2', requestVote(9, '9/8')), [vote(2, false)])
  }
  assert.equal([cluster.core('s2').role, cluster.core('s2').term], ['follower', 2])
  const waitsMs = cluster.core('s2').nextDeadline() - cluster.now
  assert.ok(waitsMs >= SETTINGS.electionTimeoutMs && waitsMs < 2 * SETTINGS.electionTimeoutMs, `${waitsMs}`)
})

test('what arrives from anybody else puts nothing off, nor does it before the leader of this term has spoken', () => {
  const { cluster, link } = following()
  const fresh = new Stage({ madeUp: true })
  for (const [stage, from] of [
    [cluster, 's3'],
    [fresh, 's1'],
  ] as const) {
    const deadline = stage.core('s2').nextDeadline()
    stage.now += PERIOD_MS
    stage.turn('s2', arriving(from, link))
    assert.equal(stage.answersTo(from), [])
    assert.is(stage.core('s2').nextDeadline(), deadline)
  }
})

test('a leader whose peer answers only that something is arriving leads on, and sends nothing twice', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.persist('s1')
  cluster.drop()
  const session = cluster.server('s1').sessions.get('s2') ?? 0
  for (let period = 0; period < PERIODS; period += 1) {
    cluster.now += PERIOD_MS
    cluster.turn('s1', { type: 'response', from: 's2', session, message: endingAt(2, matched(2, 2)) })
    const sent = cluster.drop(({ message }) => message.type === 'AppendEntries' && message.blocks.length > 0)
    assert.equal(sent, [])
  }
  assert.is(cluster.core('s1').role, 'leader')
})

test.run()
