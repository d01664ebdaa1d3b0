/** Commands and queries on servers that do not lead: three servers over a network in memory, on the real clock. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec } from 'balsa-raft'
import type { RaftError } from 'balsa-raft'
import { failure } from '../support/failure.js'
import { addressOf, IDS, ListSite } from '../support/list-site.js'
import { until } from '../support/until.js'

interface Context {
  site: ListSite
}

const test = suite<Context>('calls on any server')

test.before.each((context) => {
  context.site = new ListSite()
})
test.after.each(({ site }) => site.closeAll())

test('a command submitted to a follower is applied everywhere and answered with its result', async ({ site }) => {
  await site.openAll()
  for (const server of site.servers.values()) {
    assert.is(await server.submit(`by ${server.status.id}`, { timeoutMs: 20_000 }), `by ${server.status.id}`)
  }
  const [follower] = site.followers
  assert.equal(new Set(await follower.query(null)), new Set(['by s1', 'by s2', 'by s3']))
})

test('commands of one turn are applied in their order, and each has its own answer', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const commands = Array.from({ length: 3000 }, (_, at) => at)
  const answers = await Promise.all(commands.map((command) => follower.propose(command, { timeoutMs: 20_000 })))
  assert.equal(
    answers.map(({ result }) => result),
    commands,
  )
  const [{ index: first, term }] = answers as [(typeof answers)[0]]
  for (const [at, answer] of answers.entries()) assert.equal([answer.index, answer.term], [first + at, term])
  assert.equal(await site.leader.query(null), commands)
})

test('a command and a result of 1 MiB travel, and one byte more is refused with what became of it', async ({
  site,
}) => {
  const bytes = { encode: (value: unknown) => value as Uint8Array, decode: (value: Uint8Array) => value }
  site = new ListSite({ codec: bytes, resultCodec: bytes })
  try {
    await site.openAll()
    const [follower] = site.followers
    const command = new Uint8Array(2 ** 20).fill(7)
    const results = await Promise.all([1, 2, 3].map(() => follower.submit(command, { timeoutMs: 20_000 })))
    for (const result of results) assert.ok(Buffer.compare(result as Uint8Array, command) === 0)
    const error = await failure(follower.submit(new Uint8Array(2 ** 20 + 1)))
    assert.equal([error.code, error.outcome], ['ERR_RAFT_TOO_LARGE', 'not-applied'])
  } finally {
    await site.closeAll()
  }
})

test('a result that cannot travel is told as applied, and halts nobody', async ({ site }) => {
  const no = (): never => {
    throw new Error('no such result')
  }
  site = new ListSite({ resultCodec: { encode: (result) => (result === 1 ? no() : new Uint8Array(0)), decode: no } })
  try {
    await site.openAll()
    const [follower] = site.followers
    const encoded = await failure(follower.submit(1, { timeoutMs: 20_000 }))
    assert.equal([encoded.code, encoded.outcome], ['ERR_RAFT_ENCODE', 'applied'], encoded.message)
    assert.match(encoded.message, /resultCodec's encode threw/)
    const decoded = await failure(follower.submit(2, { timeoutMs: 20_000 }))
    assert.equal([decoded.code, decoded.outcome], ['ERR_RAFT_ENCODE', 'applied'], decoded.message)
    assert.match(decoded.message, /resultCodec's decode threw/)
    assert.is(await site.leader.submit(1), 1)
    assert.equal(await follower.query(null), [1, 2, 1])
  } finally {
    await site.closeAll()
  }
})

test('what validate of the leader refuses of a follower, and what its codec cannot decode, is not appended', async ({
  site,
}) => {
  // The followers are of a version that knew no better.
  let isNew = false
  const { encode, decode } = msgpackCodec<unknown>()
  const read = (bytes: Uint8Array): unknown => {
    const command = decode(bytes)
    if (isNew && command === 'strange') throw new Error('what is this?')
    return command
  }
  site = new ListSite({ codec: { encode, decode: read } }, (command) => {
    if (isNew && command === 'bad') throw new Error('not any more')
  })
  try {
    await site.openAll()
    const [follower] = site.followers
    const session = await follower.openSession({ timeoutMs: 20_000 })
    const { token } = session
    for (const [command, message] of [
      ['bad', /validate refused the command: not any more; nothing was appended/],
      [
        'strange',
        /the codec's decode threw on a command that was encoded elsewhere: .*what is this\?; nothing was appended/,
      ],
    ] as const) {
      isNew = false
      const calls = [failure(follower.submit(command)), failure(session.apply(command))]
      isNew = true
      for (const error of await Promise.all(calls)) {
        assert.equal([error.code, error.outcome], ['ERR_RAFT_INVALID', 'not-applied'], error.message)
        assert.match(error.message, message)
      }
    }
    assert.equal(session.token, token)
    assert.is(await session.apply('good'), 'good')
    assert.equal(await follower.query(null), ['good'])
  } finally {
    await site.closeAll()
  }
})

test('a query on a follower has seen what was acknowledged before it, also on another server', async ({ site }) => {
  await site.openAll()
  const [first, second] = site.followers
  for (let at = 0; at < 50; at += 1) {
    await site.leader.apply(at)
    assert.is((await first.query(null)).length, at + 1)
    assert.is((await second.query(null, { consistency: 'linearizable' })).length, at + 1)
  }
})

test('a query with minIndex has seen the entry there, and one that asks for a later one waits', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { index } = await site.leader.propose('first')
  assert.equal(await follower.query(null, { consistency: { minIndex: index } }), ['first'])
  const later = follower.query(null, { consistency: { minIndex: index + 1 } })
  const error = await failure(follower.query(null, { consistency: { minIndex: index + 1 }, timeoutMs: 1 }))
  assert.equal([error.code, error.outcome], ['ERR_RAFT_TIMEOUT', 'not-applied'])
  await site.leader.apply('second')
  assert.equal(await later, ['first', 'second'])
})

test('a query with maxStalenessMs asks the leader once in that time, and not when it is cut off', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  await site.leader.apply('first')
  const consistency = { maxStalenessMs: 600_000 }
  assert.equal(await follower.query(null, { consistency }), ['first'])
  site.part(follower)
  assert.equal(await follower.query(null, { consistency }), ['first'])
  const error = await failure(follower.query(null, { consistency: { maxStalenessMs: 0 }, timeoutMs: 50 }))
  assert.is(error.code, 'ERR_RAFT_TIMEOUT', error.message)
  assert.equal(await follower.query(null, { consistency: 'stale' }), ['first'])
  site.network.heal()
})

test('a command follows the leader: it waits while there is none, and goes to the next one', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const old = site.leader
  await old.stepDown()
  const answers = await Promise.all([1, 2, 3].map((command) => follower.submit(command, { timeoutMs: 20_000 })))
  assert.equal(answers, [1, 2, 3])
  assert.equal(new Set(await old.query(null, { timeoutMs: 20_000 })), new Set([1, 2, 3]))
})

test('without retries a command that finds no leader is told so at once', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  site.part(site.leader)
  site.part(follower)
  await until('it knows no leader', () => follower.status.leader === null)
  const error = await failure(follower.submit(1, { retry: false }))
  assert.equal([error.code, error.outcome], ['ERR_RAFT_NO_LEADER', 'not-applied'], error.message)
  const late = await failure(follower.submit(1, { timeoutMs: 50 }))
  assert.equal([late.code, late.outcome], ['ERR_RAFT_TIMEOUT', 'not-applied'], late.message)
  assert.is((late.cause as RaftError).code, 'ERR_RAFT_NO_LEADER')
  site.network.heal()
})

test('a command whose way breaks after it was sent is unknown, and is not sent again', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  await follower.submit(1)
  site.network.hold(addressOf(leader.status.id), addressOf(follower.status.id))
  const submitted = failure(follower.submit(2, { timeoutMs: 20_000 }))
  await until('the leader has it', () => site.lists.get(leader.status.id)?.length === 2)
  site.network.cut(addressOf(leader.status.id), addressOf(follower.status.id))
  const error = await submitted
  assert.equal([error.code, error.outcome], ['ERR_RAFT_LEADERSHIP_LOST', 'unknown'], error.message)
  site.network.heal()
  assert.equal(await follower.query(null, { timeoutMs: 20_000 }), [1, 2])
})

test('an idempotent command is sent again when what became of it is not known', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  await follower.submit(1)
  site.network.hold(addressOf(leader.status.id), addressOf(follower.status.id))
  const submitted = follower.submit(2, { timeoutMs: 20_000, retry: 'idempotent' })
  await until('the leader has it', () => site.lists.get(leader.status.id)?.length === 2)
  site.network.cut(addressOf(leader.status.id), addressOf(follower.status.id))
  site.network.heal()
  assert.is(await submitted, 2)
  assert.equal(await follower.query(null, { timeoutMs: 20_000 }), [1, 2, 2])
})

test('an idempotent command whose first try is unknown is not told to be not applied', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  await follower.submit(1)
  site.network.hold(addressOf(leader.status.id), addressOf(follower.status.id))
  const submitted = failure(follower.submit(2, { timeoutMs: 1000, retry: 'idempotent' }))
  await until('the leader has it', () => site.lists.get(leader.status.id)?.length === 2)
  site.part(follower)
  const error = await submitted
  assert.equal([error.code, error.outcome, error.retryable], ['ERR_RAFT_TIMEOUT', 'unknown', false], error.message)
  site.network.heal()
})

test('a leader that is cut off and says nothing leaves nobody waiting', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  await follower.submit(1)
  // Nothing arrives from it, and nobody is told so: the channel stands.
  for (const { status } of site.servers.values()) {
    if (status.id !== leader.status.id) site.network.hold(addressOf(leader.status.id), addressOf(status.id))
  }
  const error = await failure(follower.submit(2, { retry: false, timeoutMs: 15_000 }))
  assert.is(error.outcome, 'unknown', error.message)
  assert.match(error.message, /it leads no more/)
  assert.is(await follower.submit(3, { timeoutMs: 20_000 }), 3)
  site.network.heal()
})

test('a command that was sent is unknown when its deadline comes, or its signal', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  await follower.submit(1)
  site.network.hold(addressOf(leader.status.id), addressOf(follower.status.id))
  const controller = new AbortController()
  const calls = [follower.submit(2, { timeoutMs: 30 }), follower.submit(3, { signal: controller.signal })]
  const errors = calls.map((call) => failure(call))
  await until('the leader has both', () => site.lists.get(leader.status.id)?.length === 3)
  controller.abort()
  assert.equal(
    (await Promise.all(errors)).map(({ code, outcome }) => [code, outcome]),
    [
      ['ERR_RAFT_TIMEOUT', 'unknown'],
      ['ERR_RAFT_ABORTED', 'unknown'],
    ],
  )
  site.network.heal()
})

test('every call ends when its server closes, with what became of its command', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const { leader } = site
  await follower.submit(1)
  site.network.hold(addressOf(leader.status.id), addressOf(follower.status.id))
  const sent = failure(follower.submit(2))
  await until('the leader has it', () => site.lists.get(leader.status.id)?.length === 2)
  const rest = [
    ...[follower.submit(3), follower.query(null), follower.query(null, { consistency: { minIndex: 1_000_000 } })],
  ].map((call) => failure(call))
  await follower.close()
  const errors = await Promise.all([sent, ...rest])
  assert.equal(
    errors.map(({ code, outcome }) => [code, outcome]),
    [['ERR_RAFT_CLOSED', 'unknown'], ...Array.from({ length: 3 }, () => ['ERR_RAFT_CLOSED', 'not-applied'])],
  )
  site.network.heal()
})

test('a leader that closes leaves nobody waiting, and nothing is applied twice', async ({ site }) => {
  await site.openAll()
  const [follower, other] = site.followers
  const { leader } = site
  const commands = Array.from({ length: 200 }, (_, at) => at)
  const calls = commands.map((command) =>
    follower.submit(command, { timeoutMs: 20_000 }).then(
      () => 'applied',
      ({ outcome }: RaftError) => outcome,
    ),
  )
  await leader.close()
  const outcomes = await Promise.all(calls)
  const list = await other.query(null, { timeoutMs: 20_000 })
  assert.is(new Set(list).size, list.length)
  for (const [at, outcome] of outcomes.entries()) {
    if (outcome !== 'unknown') assert.is(list.includes(at), outcome === 'applied', `${at} is ${outcome}`)
  }
})

test('more than may be under way is refused before it is encoded', async ({ site }) => {
  let encoded = 0
  const { encode, decode } = msgpackCodec<unknown>()
  const counting = (command: unknown): Uint8Array => {
    encoded += 1
    return encode(command)
  }
  site = new ListSite({ codec: { encode: counting, decode } })
  try {
    await site.openAll()
    const [follower] = site.followers
    const calls = Array.from({ length: 8192 }, (_, at) => follower.submit(at, { timeoutMs: 20_000 }))
    const error = await failure(follower.submit(1))
    assert.equal([error.code, error.outcome, encoded], ['ERR_RAFT_OVERLOADED', 'not-applied', 8192])
    // There may be an election at any time.
    await Promise.allSettled(calls)
    assert.is(await follower.submit('again', { timeoutMs: 20_000 }), 'again')
  } finally {
    await site.closeAll()
  }
})

test('waitForLeader resolves with whoever leads, and ends with its deadline while nobody does', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const leader = site.leader.status.id
  assert.equal(await follower.waitForLeader(), { id: leader, address: addressOf(leader) })
  assert.equal(await site.leader.waitForLeader(), { id: leader, address: addressOf(leader) })
  for (const server of site.servers.values()) site.part(server)
  await until('it knows no leader', () => follower.status.leader === null)
  const error = await failure(follower.waitForLeader({ timeoutMs: 20 }))
  assert.equal([error.code, error.outcome], ['ERR_RAFT_TIMEOUT', 'not-applied'])
  const waiting = follower.waitForLeader({ timeoutMs: 20_000 })
  site.network.heal()
  assert.ok(IDS.includes((await waiting).id))
})

test('options that are wrong are refused by their name', async ({ site }) => {
  await site.openAll()
  const [follower] = site.followers
  const table: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => follower.submit(1, { retry: 'always' as never }), /^option retry is always; must be safe, idempotent or/],
    [() => follower.propose(1, { retires: false } as never), /option retires is unknown: did you mean retry\?/],
    [
      () => follower.query(null, { consistency: 'leased' as never }),
      /^option consistency is leased; must be linearizable, lease, stale/,
    ],
    [() => follower.query(null, { consistency: null as never }), /^option consistency is null; must be/],
    [
      () => follower.query(null, { consistency: { minIndexes: 1 } as never }),
      /^option consistency is .*minIndexes; must be/,
    ],
    [() => follower.query(null, { consistency: { minIndex: -1 } }), /^option minIndex is -1; must be an index/],
    [() => follower.query(null, { consistency: { maxStalenessMs: NaN } }), /^option maxStalenessMs is NaN; must be/],
    [() => follower.waitForLeader({ timeoutMs: 0 }), /^option timeoutMs is 0/],
  ]
  for (const [call, message] of table) {
    const error = await failure(call())
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, message)
  }
})

test.run()
