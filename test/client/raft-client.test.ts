/** A client of three servers over TCP, on the real clock: what it asks, and what it is told. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import { freeAddresses } from '../../support/free-addresses.js'
import { failure, refusal } from '../support/failure.js'
import { until } from '../support/until.js'
import { MachineClock } from '../transport/machine-clock.js'
import { Site } from './site.js'

interface Context {
  site: Site
}

const test = suite<Context>('a client')

test.before.each(async (context) => {
  context.site = await new Site().openAll()
})
test.after.each(({ site }) => site.closeAll())

const LATE = { timeoutMs: 20_000 }

test('a command is applied by whatever server it is given to, and answered with its result', async ({ site }) => {
  for (const id of site.addresses.keys()) {
    const client = await site.connectTo(id)
    assert.is(client.status.server?.id, id)
    assert.is(await client.submit(`by ${id}`, LATE), `by ${id}`)
  }
  assert.equal(await site.applied(), ['by s1', 'by s2', 'by s3'])
})

test('commands of one turn are applied in their order, on the leader and through a follower', async ({ site }) => {
  const commands = Array.from({ length: 3000 }, (_, at) => at)
  for (const { status } of [site.leader, site.follower]) {
    const client = await site.connectTo(status.id)
    const answers = await Promise.all(commands.map((command) => client.propose(command, LATE)))
    const [{ index: first, term }] = answers as [(typeof answers)[0]]
    assert.equal(
      answers.map(({ result }) => result),
      commands,
    )
    for (const [at, answer] of answers.entries()) assert.equal([answer.index, answer.term], [first + at, term])
  }
  assert.equal(await site.applied(), [...commands, ...commands])
})

test('a query is answered as its consistency says, on every server', async ({ site }) => {
  const writer = await site.connect()
  const { index } = await writer.propose('a', LATE)
  for (const id of site.addresses.keys()) {
    const client = await site.connectTo(id)
    assert.equal(await client.query(null, LATE), ['a'])
    assert.equal(await client.query(null, { consistency: { minIndex: index }, ...LATE }), ['a'])
    assert.equal(await client.query(null, { consistency: { maxStalenessMs: 60_000 }, ...LATE }), ['a'])
    assert.equal(await client.query(null, { consistency: 'stale' }), ['a'])
    assert.is(await client.query('later', LATE), 'then')
  }
})

test('what a query throws comes with its words, and one that is never answered ends with its deadline', async ({
  site,
}) => {
  const client = await site.connectTo(site.follower.status.id)
  const thrown = await refusal(client.query('throw', LATE), 'ERR_RAFT_QUERY_FAILED')
  assert.match(thrown.message, 'no such list')
  const never = await refusal(client.query('never', { timeoutMs: 50 }), 'ERR_RAFT_TIMEOUT')
  assert.is(never.outcome, 'not-applied')
  assert.is(await client.query('count', LATE), 0)
})

test('commands, results and answers of 1 MiB travel, and one byte more is refused with what became of it', async ({
  site,
}) => {
  const text = 'x'.repeat(2 ** 20 - 8)
  const client = await site.connectTo(site.follower.status.id)
  assert.is(await client.submit(text, LATE), text)
  assert.is((await refusal(client.submit(`${text}12345678`, LATE), 'ERR_RAFT_TOO_LARGE')).outcome, 'not-applied')
  assert.is(String(await client.query('long', LATE)).length, 2 ** 20 - 16)
  await refusal(client.query('longer', LATE), 'ERR_RAFT_TOO_LARGE')
  await refusal(client.query('x'.repeat(2 ** 20), LATE), 'ERR_RAFT_TOO_LARGE')
  assert.is(await client.query('count', LATE), 1)
})

test('a client goes to the leader, by an address that it was not given too, unless it takes any server', async ({
  site,
}) => {
  const { id } = site.leader.status
  const endpoints = [site.address(site.follower.status.id)]
  const client = await site.connect({ endpoints })
  assert.is((await client.waitForLeader(LATE)).id, id)
  await until('it is connected to the leader', () => client.status.server?.id === id)
  assert.is(await client.submit(1, LATE), 1)
  const any = await site.connect({ endpoints, prefer: 'any' })
  assert.is((await any.waitForLeader(LATE)).id, id)
  assert.is(await any.submit(2, LATE), 2)
  assert.is(any.status.server?.address, endpoints[0])
})

test('when the leader closes under load every command has an outcome, and none is applied twice', async ({ site }) => {
  const client = await site.connect()
  let [answered, at] = [0, 0]
  const load = { isOver: false }
  const unknown = new Set<unknown>()
  const confirmed = new Set<unknown>()
  const work = async (): Promise<void> => {
    while (!load.isOver) {
      const command = (at += 1)
      try {
        await client.submit(command, LATE)
        confirmed.add(command)
        answered += 1
      } catch (error) {
        assert.is((error as RaftError).outcome, 'unknown', (error as RaftError).message)
        unknown.add(command)
      }
    }
  }
  const workers = Array.from({ length: 16 }, work)
  await until('it works', () => answered > 200)
  await site.close(site.leader.status.id)
  const before = answered
  await until('it works again', () => answered > before + 200)
  load.isOver = true
  await Promise.all(workers)
  const applied = await site.applied()
  assert.is(new Set(applied).size, applied.length, 'nothing is applied twice')
  for (const command of confirmed) assert.ok(applied.includes(command), `${String(command)} was confirmed`)
  for (const command of applied) assert.ok(confirmed.has(command) || unknown.has(command))
})

test('a client of a follower that closes goes on with another server, and loses no command that it had sent', async ({
  site,
}) => {
  const { id } = site.follower.status
  const client = await site.connect({ endpoints: [site.address(id)], prefer: 'any' })
  assert.is(await client.submit(1, LATE), 1)
  await site.close(id)
  // By an address that the first server has told.
  assert.is(await client.submit(2, LATE), 2)
  assert.is.not(client.status.server?.id, id)
})

test('in a session a command that is sent again is applied once, by another client on another server', async ({
  site,
}) => {
  const first = await site.connectTo(site.follower.status.id)
  const session = await first.openSession({ expiresAfterMs: 60_000, ...LATE })
  assert.is(await session.apply('a', LATE), 'a')
  const { token } = session
  assert.is(await session.apply('b', LATE), 'b')
  const second = await site.connectTo(site.leader.status.id)
  const resumed = second.resumeSession(token)
  assert.is(await resumed.apply('b', LATE), 'b', 'the answer of the first time')
  assert.is(await resumed.apply('c', LATE), 'c')
  assert.equal(await site.applied(), ['a', 'b', 'c'])
  await resumed.close(LATE)
  assert.is((await refusal(session.apply('d', LATE), 'ERR_RAFT_SESSION_LOST')).outcome, 'not-applied')
})

test('a session goes on when its leader closes: nothing fails, and nothing is applied twice', async ({ site }) => {
  const client = await site.connect()
  const session = await client.openSession(LATE)
  const load = { isOver: false, answered: 0, at: 0 }
  const work = async (): Promise<void> => {
    while (!load.isOver) {
      const command = (load.at += 1)
      assert.is(await session.apply(command, LATE), command)
      load.answered += 1
    }
  }
  const workers = Array.from({ length: 8 }, work)
  await until('it works', () => load.answered > 100)
  await site.close(site.leader.status.id)
  const before = load.answered
  await until('it works again', () => load.answered > before + 100)
  load.isOver = true
  await Promise.all(workers)
  const applied = await site.applied()
  assert.equal([applied.length, new Set(applied).size], [load.at, load.at])
})

test('8192 calls are under way in one client, and one more is refused before it is encoded', async ({ site }) => {
  const client = await site.connectTo(site.leader.status.id)
  const calls = Array.from({ length: 8192 }, (_, at) => client.submit(at, LATE).catch((error: unknown) => error))
  assert.is(
    (
      await refusal(
        client.submit(() => {}, LATE),
        'ERR_RAFT_OVERLOADED',
      )
    ).outcome,
    'not-applied',
  )
  await Promise.all(calls)
  assert.equal([client.status.underWay, client.status.underWayBytes], [0, 0])
  const bytes = new Uint8Array(2 ** 20 - 64)
  const long = Array.from({ length: 8 }, () => client.submit(bytes, LATE))
  await refusal(client.submit(bytes, LATE), 'ERR_RAFT_OVERLOADED')
  await Promise.all(long)
})

test('a deadline and a signal end the wait, and say what became of the command', async () => {
  // So long a leader that hears nobody leads on.
  const site = await new Site({ electionTimeoutMs: 20_000 }).openAll()
  try {
    const client = await site.connect()
    await client.submit('first', LATE)
    await refusal(client.submit(1, { signal: AbortSignal.abort('gone') }), 'ERR_RAFT_ABORTED')
    const others = [...site.servers.values()].filter(({ status }) => status.role !== 'leader')
    await until('it is connected to the leader', () => client.status.server?.id === client.status.leader?.id)
    await Promise.all(others.map(({ status }) => site.close(status.id)))
    const late = await refusal(client.submit('late', { timeoutMs: 100 }), 'ERR_RAFT_TIMEOUT')
    assert.is(late.outcome, 'unknown')
    const aborting = new AbortController()
    const call = refusal(client.submit('aborted', { signal: aborting.signal }), 'ERR_RAFT_ABORTED')
    await until('it is under way', () => client.status.underWay === 1)
    aborting.abort()
    await call
    assert.is(client.status.underWay, 0)
  } finally {
    await site.closeAll()
  }
})

test('close ends every call, and leaves no timer and no socket', async ({ site }) => {
  const clock = new MachineClock()
  const client = await site.connect({ clock })
  const calls = [client.submit('sent', LATE), client.query('never', LATE), client.query('never')].map(failure)
  await until('they are under way', () => client.status.underWay === 3)
  const closing = client.close()
  assert.is(client.close(), closing)
  await closing
  for (const error of await Promise.all(calls)) assert.is(error.code, 'ERR_RAFT_CLOSED')
  await refusal(client.submit('after'), 'ERR_RAFT_CLOSED')
  await refusal(client.waitForLeader(), 'ERR_RAFT_CLOSED')
  assert.is(clock.pending.size, 0)
})

test('a server that takes no clients says so, with the remedy, and one of another cluster too', async () => {
  const site = await new Site({ clients: false }).openAll()
  try {
    const refused = await refusal(site.connect(), 'ERR_RAFT_CLIENT_REFUSED')
    assert.match(refused.message, 'open it with the option clients')
    for (const address of site.endpoints) assert.match(refused.message, address)
  } finally {
    await site.closeAll()
  }
})

test('the name of another cluster is refused with both names', async ({ site }) => {
  const refused = await refusal(site.connect({ cluster: 'other' }), 'ERR_RAFT_CLUSTER_MISMATCH')
  assert.match(refused.message, 'is of cluster balsa, and the client means other')
})

test('an endpoint that is no server of Balsa is told, and one where nobody listens', async ({ site }) => {
  const web = createServer()
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  const address = `127.0.0.1:${(web.address() as AddressInfo).port}`
  try {
    const refused = await refusal(site.connect({ endpoints: [address] }), 'ERR_RAFT_CLIENT_REFUSED')
    assert.match(refused.message, `${address}: no server of Balsa listens there`)
    const [dead = ''] = await freeAddresses(1)
    const unreached = await refusal(
      site.connect({ endpoints: [dead, address], timeoutMs: 300 }),
      'ERR_RAFT_UNREACHABLE',
    )
    assert.match(unreached.message, `${dead}: ECONNREFUSED`)
    assert.match(unreached.message, 'no server of Balsa')
    const client = await site.connect({ endpoints: [dead, address, ...site.endpoints] })
    assert.is(await client.submit(1, LATE), 1)
  } finally {
    await new Promise((resolve) => web.close(resolve))
  }
})

test('so many clients are let in as the server says, and another one when one has gone', async () => {
  const site = await new Site({ clients: { max: 2 } }).openAll()
  try {
    const [first] = [await site.connectTo('s1'), await site.connectTo('s1')]
    const full = await refusal(site.connectTo('s1', { timeoutMs: 300 }), 'ERR_RAFT_UNREACHABLE')
    assert.match(full.message, 'has 2 clients, which is the bound (option clients)')
    await first.close()
    const third = await site.connectTo('s1')
    assert.is(await third.submit(1, LATE), 1)
  } finally {
    await site.closeAll()
  }
})

test('options that make no sense are refused by their name', async () => {
  const codec = { encode: () => new Uint8Array(0), decode: () => 0 }
  const bad: readonly (readonly [object, string])[] = [
    [{ codec }, 'option endpoints must be a list of 1 .. 64 addresses'],
    [{ codec, endpoints: [] }, 'option endpoints must be a list of 1 .. 64 addresses'],
    [{ codec, endpoints: ['here'] }, 'option endpoints has here; it must be host:port'],
    [{ codec, endpoints: ['here:0'] }, 'option endpoints has here:0; it must be host:port'],
    [{ endpoints: ['a:1'] }, 'option codec must have encode and decode'],
    [{ endpoints: ['a:1'], codec, queryCodec: {} }, 'option queryCodec must have encode and decode'],
    [{ endpoints: ['a:1'], codec, prefer: 'follower' }, 'option prefer is follower; must be leader or any'],
    [{ endpoints: ['a:1'], codec, timeoutMs: 0 }, 'option timeoutMs is 0'],
    [{ endpoints: ['a:1'], codec, cluster: '' }, 'option cluster must be a string'],
  ]
  for (const [options, words] of bad) {
    assert.match((await refusal(RaftClient.connect(options as never), 'ERR_RAFT_OPTIONS')).message, words)
  }
})

test.run()
