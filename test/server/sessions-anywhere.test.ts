/** Sessions on servers that do not lead: their commands travel as all that is submitted, and are applied once. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Session } from 'balsa-raft'
import { failure } from '../support/failure.js'
import { addressOf, ListSite } from '../support/list-site.js'
import { until } from '../support/until.js'

interface Context {
  site: ListSite
}

const PATIENT = { timeoutMs: 20_000 }

const test = suite<Context>('sessions on any server')

test.before.each((context) => {
  context.site = new ListSite()
})
test.after.each(({ site }) => site.closeAll())

test('a session that was opened on a follower is gone on with on every server, and each command is applied once', async ({
  site,
}) => {
  await site.openAll()
  const [first, second] = site.followers
  const session = await first.openSession(PATIENT)
  const { token } = session
  assert.is(await session.apply('a', PATIENT), 'a')
  for (const server of [first, second, site.leader]) {
    assert.is(await server.resumeSession(token).apply('a', PATIENT), 'a')
  }
  assert.is(await second.resumeSession(session.token).apply('b', PATIENT), 'b')
  assert.equal(await site.leader.query(null), ['a', 'b'])
})

test('commands of a session and others, given in one turn, are applied in their order', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const session = await follower.openSession(PATIENT)
  const commands = Array.from({ length: 300 }, (_, at) => at)
  const calls = commands.map((command) =>
    command % 7 < 3 ? session.apply(command, PATIENT) : follower.submit(command, PATIENT),
  )
  assert.equal(await Promise.all(calls), commands)
  assert.equal(await site.leader.query(null), commands)
})

test('a command of a session whose way breaks after it was sent is sent again, and applied once', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  const session = await follower.openSession(PATIENT)
  site.network.hold(addressOf(leader.status.id), addressOf(follower.status.id))
  const call = session.apply(1, PATIENT)
  await until('the leader has it', () => site.lists.get(leader.status.id)?.length === 1)
  site.network.cut(addressOf(leader.status.id), addressOf(follower.status.id))
  site.network.heal()
  assert.is(await call, 1)
  assert.equal(await follower.query(null, PATIENT), [1])
})

test('what opens a session is sent again as well, when its way breaks', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  await follower.submit(0, PATIENT)
  const { lastIndex } = leader.status
  site.network.hold(addressOf(leader.status.id), addressOf(follower.status.id))
  const opening = follower.openSession(PATIENT)
  await until('the leader has it', () => leader.status.lastIndex > lastIndex)
  site.network.cut(addressOf(leader.status.id), addressOf(follower.status.id))
  site.network.heal()
  assert.is(await (await opening).apply(1, PATIENT), 1)
})

test('sessions follow the leader: one that closes under load loses no command, and none is applied twice', async ({
  site,
}) => {
  await site.openAll()
  const { leader } = site
  const [first, second] = site.followers
  const sessions = await Promise.all([first, second, leader].map((server) => server.openSession(PATIENT)))
  const commands = Array.from({ length: 600 }, (_, at) => at)
  const [one, other, ofLeader] = sessions as [
    Session<unknown, unknown>,
    Session<unknown, unknown>,
    Session<unknown, unknown>,
  ]
  const calls = commands.map((command) => (command % 2 === 0 ? one : other).apply(command, PATIENT))
  await leader.close()
  assert.equal(await Promise.all(calls), commands)
  const list = await first.query(null, PATIENT)
  assert.equal([list.length, new Set(list).size], [600, 600])
  const error = await failure(ofLeader.apply(600, PATIENT))
  assert.equal([error.code, error.outcome], ['ERR_RAFT_CLOSED', 'not-applied'])
})

test('a session that was closed is lost on every server, and says what may have been sent before', async ({ site }) => {
  await site.openAll()
  const [first, second] = site.followers
  const session = await first.openSession(PATIENT)
  const elsewhere = second.resumeSession(session.token)
  await session.apply('a', PATIENT)
  const next = session.token
  await session.close(PATIENT)
  const lost = await failure(elsewhere.apply('a', PATIENT))
  assert.equal(
    [lost.code, lost.outcome, lost.session],
    ['ERR_RAFT_SESSION_LOST', 'unknown', { id: next.id, sequence: 1 }],
  )
  assert.match(lost.message, /sent before, the command may be applied all the same/)
  assert.is((await failure(elsewhere.apply('b', PATIENT))).code, 'ERR_RAFT_SESSION_LOST')
  assert.equal(await second.query(null, PATIENT), ['a'])
})

test('a sequence that went back is refused on a follower as on the leader', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const session = await follower.openSession(PATIENT)
  const { token } = session
  await session.apply('a', PATIENT)
  await session.apply('b', PATIENT)
  for (const server of [follower, site.leader]) {
    const error = await failure(server.resumeSession(token).apply('a', PATIENT))
    assert.equal([error.code, error.outcome], ['ERR_RAFT_SESSION_SEQUENCE', 'unknown'])
  }
})

test('a result that cannot travel is applied, and the session goes on', async ({ site }) => {
  const encode = (result: unknown): Uint8Array => {
    if (result === 'bad') throw new Error('no')
    return new TextEncoder().encode(String(result))
  }
  site = new ListSite({ resultCodec: { encode, decode: (bytes) => new TextDecoder().decode(bytes) } })
  try {
    await site.openAll()
    const [follower] = site.followers
    const session = await follower.openSession(PATIENT)
    const error = await failure(session.apply('bad', PATIENT))
    assert.equal([error.code, error.outcome, error.session], ['ERR_RAFT_ENCODE', 'applied', null])
    assert.is(await session.apply('good', PATIENT), 'good')
    assert.equal(session.token, { id: session.id, sequence: 3 })
  } finally {
    await site.closeAll()
  }
})

test('without a deadline a command of a session is tried for a while, and its signal ends it', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const session = await follower.openSession(PATIENT)
  for (const server of site.servers.values()) site.part(server)
  await until('it knows no leader', () => follower.status.leader === null)
  const controller = new AbortController()
  const calls = [session.apply(1), failure(session.apply(2, { signal: controller.signal }))] as const
  controller.abort()
  const error = await calls[1]
  assert.equal([error.code, error.outcome, error.session], ['ERR_RAFT_ABORTED', 'not-applied', null])
  site.network.heal()
  assert.is(await calls[0], 1)
  assert.is(await session.apply(3, PATIENT), 3)
  assert.equal(session.token.sequence, 3)
})

test.run()
