/**
 * Disks that hang, of the leader or of a quorum: every call ends, and it is said whose disk it is (scenarios A3, E13).
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from 'balsa-raft'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import { appendEntries } from '../support/messages.js'

interface Context {
  closes: (() => Promise<void>)[]
}

const test = suite<Context>('scenarios of stalls')

test.before.each((context) => {
  context.closes = []
})
test.after.each(async (context) => {
  for (const close of context.closes) await close()
})

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

test('E13 disks that hang while a quorum does without them are given their time once they are needed', () => {
  const stage = led(5)
  for (const id of ['s4', 's5']) stage.stalledDisks.add(id)
  stage.propose('s1')
  stage.run(20 * electionTimeoutMs)
  stage.crash('s2')
  stage.disconnect('s1', 's2')
  stage.propose('s1')
  stage.run(5 * electionTimeoutMs)
  assert.equal(stepDowns(stage), [])
  stage.run(2 * electionTimeoutMs)
  assert.match(stepDowns(stage)[0] ?? '', /s2, s4, s5/)
})

const textOf = ({ code, outcome, retryable }: RaftError): string => `${code} ${outcome} ${retryable}`

/** s1 leads, its disk hangs, and the others have committed what it was asked: a command, and a read behind it. */
async function hanging(context: Context): Promise<{
  readonly server: LoneServer
  readonly write: Promise<RaftError>
  readonly read: Promise<RaftError>
}> {
  const server = await LoneServer.open()
  const disk = server.storage.disk('/s1')
  context.closes.push(async () => disk.resume())
  context.closes.push(() => server.close())
  await server.lead()
  await server.acknowledge()
  disk.stall()
  const write = failure(server.raft.apply({ add: 1 }))
  await server.turns()
  await server.acknowledge(['s2', 's3'])
  assert.is(server.raft.status.commitIndex, 3)
  const read = failure(server.raft.readIndex())
  await server.turns()
  await server.acknowledge(['s2', 's3'])
  assert.equal([server.server.counters.accepted, server.server.counters.reads], [1, 1])
  return { server, write, read }
}

test('A3 what a leader with a hanging disk has committed ends with its leadership: applied, and the answer lost', async (context) => {
  const { server, write, read } = await hanging(context)
  for (let beat = 0; beat < 21; beat += 1) {
    server.clock.advance(100)
    await server.acknowledge(['s2', 's3'])
  }
  assert.is(server.raft.status.role, 'follower')
  assert.is(textOf(await write), 'ERR_RAFT_LEADERSHIP_LOST applied false')
  assert.is(textOf(await read), 'ERR_RAFT_NO_LEADER not-applied true')
  assert.equal(server.occupied, { writes: 1 })
})

test('A3 a higher term ends what is committed and not applied here, reads too, and the new leader is named', async (context) => {
  const { server, write, read } = await hanging(context)
  server.transport.handlers.onRequest('s3', 1, appendEntries(5, '3/2', []))
  await server.turns()
  assert.is(textOf(await write), 'ERR_RAFT_LEADERSHIP_LOST applied false')
  const refused = await read
  assert.is(textOf(refused), 'ERR_RAFT_NOT_LEADER not-applied true')
  assert.is(refused.leader?.id, 's3')
})

test('A3 what the state machine answers in the turn of the step-down is answered', async (context) => {
  const server = await LoneServer.open()
  context.closes.push(() => server.close())
  await server.lead()
  await server.acknowledge()
  const write = server.raft.apply({ add: 7 })
  await server.turns()
  // The same turn brings the commit and the end of the leadership.
  const acknowledged = server.acknowledge()
  server.transport.handlers.onRequest('s3', 1, appendEntries(5, '3/2', []))
  await acknowledged
  assert.is(await write, 7)
})

test('A3 a close says that what was committed is applied, and that its answer is lost', async (context) => {
  const { server, write, read } = await hanging(context)
  const closing = server.close()
  assert.is(textOf(await write), 'ERR_RAFT_CLOSED applied false')
  assert.is(textOf(await read), 'ERR_RAFT_CLOSED not-applied false')
  server.storage.disk('/s1').resume()
  await closing
})

test.run()
