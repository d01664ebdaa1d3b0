/** What a server was asked before it closes may finish, for as long as `drainMs`: nothing new is taken meanwhile. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { failure } from '../support/failure.js'
import { ListSite } from '../support/list-site.js'
import { LoneServer } from '../support/lone-server.js'

const test = suite('draining')

const DRAIN_MS = 1000

/** Leads, with everything up to here acknowledged. */
async function leader(extra: Parameters<typeof LoneServer.open>[1] = {}): Promise<LoneServer> {
  const lone = await LoneServer.open(undefined, extra)
  await lone.lead()
  await lone.acknowledge()
  return lone
}

/** So long passes, with a turn wherever something is due. */
async function pass(lone: LoneServer, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 10) {
    lone.clock.advance(10)
    await lone.turns()
  }
}

test('a close that drains refuses what comes new, and lets a command that was taken finish', async () => {
  const lone = await leader()
  const taken = lone.raft.apply({ add: 2 })
  await lone.turns()
  const closing = lone.raft.close({ transferLeadership: false, drainMs: DRAIN_MS })
  const refused = [
    lone.raft.apply({ add: 1 }),
    lone.raft.submit({ add: 1 }),
    lone.raft.read('total'),
    lone.raft.read('total', { consistency: 'lease' }),
    lone.raft.read('total', { consistency: 'stale' }),
    lone.raft.query('total', { consistency: 'stale' }),
    ...[lone.raft.barrier(), lone.raft.ready(), lone.raft.waitForLeader(), lone.raft.transferLeadership()],
    ...[lone.raft.stepDown(), lone.raft.removeServer('s3'), lone.raft.snapshot(), lone.raft.openSession()],
  ]
  for (const call of refused) {
    const { code, outcome } = await failure(call)
    assert.equal([code, outcome], ['ERR_RAFT_CLOSED', 'not-applied'])
  }
  await lone.acknowledge()
  assert.is(await taken, 2)
  lone.clock.advance(10)
  await closing
  assert.is(await lone.raft.closed, null)
})

test('what has not finished when the time is over ends as it stands, and the close with it', async () => {
  const lone = await leader()
  const accepted = failure(lone.raft.apply({ add: 2 }))
  await lone.turns()
  const closing = lone.raft.close({ transferLeadership: false, drainMs: 100 })
  await pass(lone, 100)
  const { code, outcome } = await accepted
  assert.equal([code, outcome], ['ERR_RAFT_CLOSED', 'unknown'])
  await closing
})

test('a close without drainMs waits for nothing that was taken', async () => {
  const lone = await leader()
  const accepted = failure(lone.raft.apply({ add: 2 }))
  await lone.turns()
  await lone.close()
  assert.is((await accepted).outcome, 'unknown')
})

test('a read whose proof comes while the server drains asks the machine, and waits for a promise of it', async () => {
  let answer: (answer: string) => void = () => {}
  const machine = { apply: () => [], query: () => new Promise<string>((resolve) => (answer = resolve)) }
  const lone = await leader({ stateMachine: machine as never })
  const read = failure(lone.raft.read('total'))
  const asked = lone.raft.query('total')
  await lone.turns()
  const closing = lone.raft.close({ transferLeadership: false, drainMs: DRAIN_MS })
  await lone.acknowledge()
  answer('late')
  assert.is(await asked, 'late')
  assert.is(lone.server.counters.queries, 1)
  lone.clock.advance(DRAIN_MS)
  await lone.turns()
  assert.is((await read).code, 'ERR_RAFT_CLOSED')
  await closing
})

test('two closes are one, whatever the second one asks for', async () => {
  const lone = await leader()
  const taken = lone.raft.apply({ add: 2 })
  await lone.turns()
  const closing = lone.raft.close({ transferLeadership: false, drainMs: DRAIN_MS })
  assert.is(lone.raft.close(), closing)
  assert.is(lone.raft.close({ drainMs: 1 }), closing)
  await lone.acknowledge()
  assert.is(await taken, 2)
  lone.clock.advance(10)
  await closing
})

test('a server that halts while it drains closes at once', async () => {
  const lone = await leader()
  const command = failure(lone.raft.apply({ fail: 'on purpose' }))
  await lone.turns()
  const closing = lone.raft.close({ transferLeadership: false, drainMs: DRAIN_MS })
  await lone.acknowledge()
  assert.is((await command).code, 'ERR_RAFT_APPLY_FAILED')
  lone.clock.advance(10)
  await closing
  assert.is((await lone.raft.closed)?.code, 'ERR_RAFT_APPLY_FAILED')
})

test('a leader that still waits for others when its own commands are done leads no more', async () => {
  const machine = { apply: () => [], query: () => new Promise<string>(() => {}) }
  const lone = await leader({ stateMachine: machine as never })
  const asked = failure(lone.raft.read('total', { consistency: 'stale' }))
  const closing = lone.raft.close({ transferLeadership: false, drainMs: DRAIN_MS })
  await lone.turns()
  lone.clock.advance(10)
  await lone.turns()
  assert.is(lone.raft.status.role, 'follower')
  await pass(lone, DRAIN_MS)
  assert.is((await asked).code, 'ERR_RAFT_CLOSED')
  await closing
})

test('commands under way on a leader that drains and hands over all have their answers, and so have those on others', async () => {
  const site = new ListSite()
  try {
    await site.openAll()
    const { leader: first } = site
    const [follower] = site.followers
    const commands = Array.from({ length: 200 }, (_, at) => at)
    const led = first.applyAll(commands)
    const submitted = commands.map((command) => follower.submit(command, { timeoutMs: 20_000 }))
    const closing = first.close({ drainMs: 20_000 })
    assert.equal(await led, commands)
    assert.equal(await Promise.all(submitted), commands)
    await closing
    assert.is((await follower.waitForLeader({ timeoutMs: 20_000 })).id === first.status.id, false)
  } finally {
    await site.closeAll()
  }
})

test('a time to drain that is none is refused by its name', async () => {
  const lone = await leader()
  for (const drainMs of [-1, Number.NaN, 2 ** 31, '5' as never]) {
    const error = await failure(Promise.resolve().then(() => lone.raft.close({ drainMs })))
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, 'drainMs')
  }
  await lone.close()
})

test.run()
