/** Disks that hang, of a leader or of its quorum: every call ends, and it is said whose disk it is (scenario E13). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS
/** By then a leader whose quorum writes nothing has yielded. */
const PATIENCE_MS = 7 * electionTimeoutMs

const stepDowns = (stage: Stage): readonly string[] => (stage.trace ?? []).filter((line) => line.includes('steps down'))

function led(servers: number): Stage {
  const stage = new Stage({ servers })
  stage.elect('s1')
  stage.run(2 * heartbeatMs)
  stage.trace = []
  return stage
}

test('E13 a leader whose followers hear it and write nothing yields, and says which of them they are', () => {
  const stage = led(5)
  for (const id of ['s2', 's4', 's5']) stage.stalledDisks.add(id)
  const [payload = 0] = stage.propose('s1') ?? []
  stage.run(PATIENCE_MS)
  assert.is.not(stage.core('s1').role, 'leader')
  assert.is(stage.outcomes.get(payload), 'unknown')
  const [told = ''] = stepDowns(stage)
  assert.match(told, /s2, s4, s5/)
  assert.not.match(told, /s3/)
  stage.stalledDisks.clear()
  stage.run(PATIENCE_MS)
  const successor = stage.leader?.id ?? 'nobody'
  const [next = 0] = stage.propose(successor) ?? []
  stage.run(heartbeatMs)
  assert.is(stage.outcomes.get(next), 'committed')
})

test('E13 a leader that cannot commit the first entry of its term yields, and who reads is told', () => {
  const stage = new Stage()
  stage.timeout('s1')
  // Pre-votes and their answers, the ticket with the own vote, the requests for votes.
  for (let step = 0; step < 3; step += 1) {
    stage.deliver()
    stage.persist('s1')
  }
  for (const id of ['s2', 's3']) {
    stage.persist(id)
    stage.stalledDisks.add(id)
  }
  stage.settle()
  assert.is(stage.core('s1').role, 'leader')
  const read = stage.read('s1')
  stage.run(PATIENCE_MS)
  assert.is.not(stage.core('s1').role, 'leader')
  assert.is(stage.readOutcomes.get(read)?.status, 'notLeader')
})

test('E13 a leader whose quorum is slow, and moves, leads on, though something waits all the time', () => {
  const stage = led(3)
  for (const id of ['s2', 's3']) stage.stalledDisks.add(id)
  for (let round = 0; round < 8; round += 1) {
    for (let count = 0; count < 4; count += 1) {
      stage.propose('s1')
      stage.run(electionTimeoutMs)
    }
    stage.persist('s2', 1)
  }
  stage.settle()
  assert.equal(stepDowns(stage), [])
  const { commitIndex, lastIndex } = stage.core('s1').log
  assert.ok(commitIndex > 2 && commitIndex < lastIndex, `committed ${commitIndex} of ${lastIndex}`)
})

test('E13 a follower that catches up is progress, though nothing is committed before it has', () => {
  const stage = new Stage({ tailBytesMax: 0 })
  stage.elect('s1')
  stage.isolate('s3')
  // Each is a message of its own.
  for (let count = 0; count < 20; count += 1) {
    stage.propose('s1', 1, 600_000)
    stage.settle()
  }
  stage.heal()
  stage.isolate('s2')
  stage.connect('s1', 's3')
  stage.stalledDisks.add('s3')
  stage.propose('s1')
  stage.trace = []
  const { commitIndex } = stage.core('s1').log
  for (let count = 0; count < 6; count += 1) {
    stage.run(2 * electionTimeoutMs)
    stage.persist('s3', 1)
    stage.settle()
  }
  assert.equal(stepDowns(stage), [])
  assert.is(stage.core('s1').log.commitIndex, commitIndex)
  assert.ok(stage.core('s1').matchIndexOf('s3') > 3)
})

test('E13 an idle leader leads on, and its patience begins when something waits', () => {
  const stage = led(3)
  stage.run(20 * electionTimeoutMs)
  for (const id of ['s2', 's3']) stage.stalledDisks.add(id)
  stage.propose('s1')
  stage.run(5 * electionTimeoutMs)
  assert.equal(stepDowns(stage), [])
  stage.stalledDisks.clear()
  stage.run(heartbeatMs)
  assert.is(stage.core('s1').log.commitIndex, 3)
})

test.run()
