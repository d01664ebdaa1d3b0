/**
 * Commands of a session are applied once, however often they are sent, and whatever their server has been through
 * meanwhile: a restart, a snapshot, a machine that has them by itself; the loss of leadership.
 */

import { Readable } from 'node:stream'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, Raft, RaftError } from 'balsa-raft'
import type { RaftOptions, StateMachine } from 'balsa-raft'
import { settingsOf } from '#balsa/options.js'
import { openServer } from '#balsa/server/open/open-server.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { SnapshotStoreFactory } from '#balsa/snapshot/snapshot-store.js'
import type { Channel } from '#balsa/transport/channel.js'
import { ManualClock } from '../transport/manual-clock.js'
import { failure } from '../support/failure.js'
import { ELECTION_MS, LoneServer, StageTransport } from '../support/lone-server.js'
import { preVoteResult, vote } from '../support/messages.js'

type Machine = StateMachine<number, string, void, readonly number[]>
type Options = Partial<RaftOptions<number, string, void, readonly number[]>>
type NumberRaft = Raft<number, string, void, readonly number[]>

/** Keeps what it is given, and answers with its place. */
class Kept {
  list: number[] = []
  readonly machine: Machine

  constructor(changes: Partial<Machine> = {}) {
    this.machine = {
      apply: (batch) => batch.map(({ command }) => `${command} is number ${this.list.push(command)}`),
      query: () => this.list,
      snapshot: () => [new TextEncoder().encode(JSON.stringify(this.list))],
      restore: async (source) => {
        const parts: string[] = []
        for await (const bytes of source) parts.push(new TextDecoder().decode(bytes))
        this.list = JSON.parse(parts.join('')) as number[]
      },
      ...changes,
    }
  }
}

/** One that could give a peer a snapshot, if there were one. */
class ChannelTransport extends StageTransport {
  openChannel(): Promise<Channel> {
    return Promise.reject(new Error('there is nobody'))
  }
}

/** A cluster of one server, on memory that outlives it. */
class Alone {
  readonly clock = new ManualClock()
  readonly storage = memoryStore()
  #raft: NumberRaft | null = null

  get raft(): NumberRaft {
    if (this.#raft === null) throw new Error('it is not open')
    return this.#raft
  }

  async open({ machine }: Kept, options: Options = {}): Promise<NumberRaft> {
    const settings = settingsOf({
      ...{ id: 's1', dir: '/s1', bootstrap: [{ id: 's1', address: 's1:1' }], codec: msgpackCodec<number>() },
      ...{ transport: new ChannelTransport(), storage: this.storage, clock: this.clock, random: () => 0 },
      ...{ stateMachine: machine, snapshots: { entries: 1e6, trailingEntries: 3 }, ...options },
    })
    this.#raft = new Raft(await openServer(settings), settings)
    for (let step = 0; step < 400 && this.raft.status.role !== 'leader'; step += 1) {
      this.clock.advance(10)
      await new Promise((next) => setImmediate(next))
    }
    await this.raft.ready()
    return this.raft
  }
}

const test = suite('sessions')

test('a command that is sent again is applied once, and has the answer of the first time', async () => {
  const kept = new Kept()
  const raft = await new Alone().open(kept)
  const session = await raft.openSession()
  const { token } = session
  assert.is(await session.apply(5), '5 is number 1')
  await raft.apply(6)
  assert.is(await raft.resumeSession(token).apply(5), '5 is number 1')
  assert.equal(kept.list, [5, 6])
  assert.equal(session.token, { id: token.id, sequence: 2 })
  // What comes back from JSON needs no cast to a type of the library.
  const stored = JSON.parse(JSON.stringify(token)) as { id: number; sequence: number }
  assert.is(await raft.resumeSession(stored).apply(5), '5 is number 1')
  await raft.close()
})

test('one that comes twice in one batch is applied once, between other commands, and each caller has its own answer', async () => {
  const kept = new Kept()
  const raft = await new Alone().open(kept)
  const { token } = await raft.openSession()
  const calls = [
    raft.apply(1),
    raft.resumeSession(token).apply(7),
    raft.apply(2),
    raft.resumeSession(token).apply(7),
    raft.apply(3),
  ]
  const answers = await Promise.all(calls)
  assert.equal(answers, ['1 is number 1', '7 is number 2', '2 is number 3', '7 is number 2', '3 is number 4'])
  assert.equal(kept.list, [1, 7, 2, 3])
  await raft.close()
})

test('answers are made where nobody waits for them, since they are kept on every server', async () => {
  const alone = new Alone()
  const lazy = (): Kept => {
    const kept: Kept = new Kept({
      apply: (batch, { isAwaited }) =>
        batch.map(({ index, command }) => {
          kept.list.push(command)
          return isAwaited(index) ? `${command}` : 'nobody waits'
        }),
    })
    return kept
  }
  const session = await (await alone.open(lazy())).openSession()
  const { token } = session
  await session.apply(5)
  await alone.raft.close()
  const raft = await alone.open(lazy())
  assert.is(await raft.resumeSession(token).apply(5), '5')
  await raft.close()
})

test('sessions outlive a restart from the log, and one from a snapshot', async () => {
  for (const takes of [false, true]) {
    const alone = new Alone()
    const session = await (await alone.open(new Kept())).openSession()
    const { token } = session
    await session.apply(5)
    await alone.raft.apply(6)
    if (takes) await alone.raft.snapshot()
    await alone.raft.close()
    const kept = new Kept()
    const raft = await alone.open(kept)
    assert.is(raft.status.snapshot.last !== null, takes)
    assert.is(await raft.resumeSession(token).apply(5), '5 is number 1')
    assert.is(await raft.resumeSession(session.token).apply(7), '7 is number 3')
    assert.equal(kept.list, [5, 6, 7])
    await raft.close()
  }
})

test('a machine that has the commands by itself is given none again, and their answers are told to be lost', async () => {
  const alone = new Alone()
  const durable = new Kept()
  const opened = await alone.open(durable)
  const session = await opened.openSession()
  const first = session.token
  await session.apply(5)
  const second = session.token
  await opened.snapshot()
  await session.apply(6)
  await opened.close()
  const { lastIndex } = opened.status
  const raft = await alone.open(new Kept({ ...durable.machine, appliedIndex: () => lastIndex }))
  // The table of the snapshot forgets 5 only with what is sent behind 6.
  const lost = await failure(raft.resumeSession(second).apply(6))
  assert.equal([lost.code, lost.outcome, lost.session], ['ERR_RAFT_ANSWER_LOST', 'applied', null])
  const back = await failure(raft.resumeSession(first).apply(5))
  assert.equal([back.code, back.outcome], ['ERR_RAFT_SESSION_SEQUENCE', 'unknown'])
  assert.equal(durable.list, [5, 6])
  assert.is(await raft.resumeSession(session.token).apply(7), '7 is number 3')
  await raft.close()
})

test('a machine that lags behind the snapshot is restored where commands of sessions are between, and only there', async () => {
  for (const [isOfSession, expected] of [
    [true, [1, 2, 3]],
    [false, [3]],
  ] as const) {
    const alone = new Alone()
    const opened = await alone.open(new Kept())
    const session = await opened.openSession()
    await opened.apply(1)
    await opened.apply(2)
    const { appliedIndex } = opened.status
    await (isOfSession ? session.apply(3) : opened.apply(3))
    await opened.snapshot()
    await opened.close()
    const kept = new Kept({ appliedIndex: () => appliedIndex })
    await alone.open(kept)
    assert.equal(kept.list, expected)
    await alone.raft.close()
  }
})

test('a session expires by the time of entries, and nothing of it is applied any more', async () => {
  const alone = new Alone()
  const kept = new Kept()
  const raft = await alone.open(kept)
  const session = await raft.openSession({ expiresAfterMs: 5000 })
  for (let round = 0; round < 3; round += 1) {
    alone.clock.advance(4000)
    await session.apply(round)
  }
  alone.clock.advance(6000)
  const error = await failure(session.apply(9))
  assert.equal([error.code, error.outcome, error.session], ['ERR_RAFT_SESSION_LOST', 'not-applied', null])
  const resumed = await failure(raft.resumeSession(session.token).apply(9))
  assert.equal([resumed.code, resumed.outcome], ['ERR_RAFT_SESSION_LOST', 'unknown'])
  assert.equal(kept.list, [0, 1, 2])
  await raft.close()
})

test('a closed session is forgotten by the log, and takes nothing more', async () => {
  const kept = new Kept()
  const raft = await new Alone().open(kept)
  const session = await raft.openSession()
  const last = session.apply(1)
  await session.close()
  assert.is(await last, '1 is number 1')
  assert.is((await failure(session.apply(2))).code, 'ERR_RAFT_SESSION_LOST')
  assert.is((await failure(session.close())).code, 'ERR_RAFT_SESSION_LOST')
  assert.is((await failure(raft.resumeSession(session.token).apply(2))).code, 'ERR_RAFT_SESSION_LOST')
  assert.equal(kept.list, [1])
  await raft.close()
})

test('512 commands of a session wait for their answers, and a further one is refused', async () => {
  const kept = new Kept()
  const raft = await new Alone().open(kept)
  const session = await raft.openSession()
  const calls = Array.from({ length: 512 }, (_, at) => session.apply(at))
  const error = await failure(session.apply(512))
  assert.equal([error.code, error.outcome, error.retryable], ['ERR_RAFT_OVERLOADED', 'not-applied', true])
  await Promise.all(calls)
  assert.is(await session.apply(512), '512 is number 513')
  await raft.close()
})

test('a session that was resumed uses no sequence that its holder may have used', async () => {
  const kept = new Kept()
  const raft = await new Alone().open(kept)
  const session = await raft.openSession()
  const { token } = session
  await Promise.all([session.apply(1), session.apply(2)])
  const resumed = raft.resumeSession(token)
  assert.is(await resumed.apply(1), '1 is number 1')
  assert.is(await resumed.apply(3), '3 is number 3')
  assert.equal(kept.list, [1, 2, 3])
  await raft.close()
})

test('what the answers cannot be kept as is applied once all the same, and says that its answer is lost', async () => {
  const kept = new Kept()
  const resultCodec = {
    encode: () => {
      throw new Error('no')
    },
    decode: () => '',
  }
  const raft = await new Alone().open(kept, { resultCodec })
  const session = await raft.openSession()
  const { token } = session
  assert.is(await session.apply(5), '5 is number 1')
  const error = await failure(raft.resumeSession(token).apply(5))
  assert.equal([error.code, error.outcome], ['ERR_RAFT_ANSWER_LOST', 'applied'])
  assert.equal(kept.list, [5])
  await raft.close()
})

test('a cluster that begins with the snapshot of another, or is recovered, has its sessions', async () => {
  const alone = new Alone()
  const opened = await alone.open(new Kept())
  const session = await opened.openSession()
  const { token } = session
  await session.apply(5)
  const pieces: Uint8Array[] = []
  for await (const piece of opened.exportSnapshot()) pieces.push(piece.slice())
  await opened.close()
  const { clock, storage } = alone
  await Raft.recover('/s1', [{ id: 's1', address: 's1:1' }], { storage, clock, mayLoseData: true })
  const recovered = new Kept()
  await alone.open(recovered)
  assert.is(await alone.raft.resumeSession(token).apply(5), '5 is number 1')
  assert.equal(recovered.list, [5])
  await alone.raft.close()

  const other = new Alone()
  const bootstrap = [{ id: 's1', address: 's1:1' }]
  const imports = { id: 's1', dir: '/s1', bootstrap, storage: other.storage, clock: other.clock }
  const { recoveries } = await Raft.importSnapshot(imports, Readable.from(pieces))
  const kept = new Kept()
  await other.open(kept, { recoveries })
  assert.is(await other.raft.resumeSession(token).apply(5), '5 is number 1')
  assert.equal(kept.list, [5])
  await other.raft.close()
})

test('a recovery whose snapshot cannot be looked at is none, and leaves everything as it was', async () => {
  const alone = new Alone()
  const opened = await alone.open(new Kept())
  const session = await opened.openSession()
  const { token } = session
  await session.apply(5)
  await opened.snapshot()
  await opened.close()
  const { clock, storage } = alone
  const flaw = new RaftError('ERR_RAFT_SNAPSHOT_CORRUPT', 'a read of it failed')
  const once: SnapshotStoreFactory = {
    name: 'once',
    create: (dir) => {
      const store = storage.snapshots?.create(dir)
      const open = store.open.bind(store)
      store.open = async () => {
        const { whole } = await open()
        return { whole: [], flawed: whole.map(({ header }) => ({ id: header.id, flaw })) }
      }
      return store
    },
  }
  const servers = [{ id: 's1', address: 's1:1' }]
  const options = { storage, clock, mayLoseData: true }
  const error = await failure(Raft.recover('/s1', servers, { ...options, snapshotStorage: once }))
  assert.is(error.message, 'a read of it failed')
  await Raft.recover('/s1', servers, options)
  const kept = new Kept()
  await alone.open(kept)
  assert.is(await alone.raft.resumeSession(token).apply(5), '5 is number 1')
  await alone.raft.close()
})

test('what is no token, and what is no option, is refused in words', async () => {
  const raft = await new Alone().open(new Kept())
  for (const wrong of [
    null,
    7,
    {},
    { id: 1 },
    { id: 0, sequence: 1 },
    { id: 1, sequence: 0.5 },
    { id: 1, sequence: 2 ** 53 },
  ]) {
    assert.throws(() => raft.resumeSession(wrong as never), /resumeSession takes the token of a session/)
  }
  assert.match((await failure(raft.openSession({ expiresAfterMs: 10 }))).message, /expiresAfterMs is 10/)
  assert.match((await failure(raft.openSession({ expireAfterMs: 10 } as never))).message, /did you mean expiresAfterMs/)
  const session = await raft.openSession({ expiresAfterMs: 1000, timeoutMs: 1000 })
  assert.match((await failure(session.apply(1, { timeout: 1 } as never))).message, /did you mean timeoutMs/)
  await raft.close()
})

/** s1 of three, whose peers the test plays, leads; its log has a session. */
async function leading(): Promise<{
  server: LoneServer
  session: Awaited<ReturnType<LoneServer['raft']['openSession']>>
}> {
  const server = await LoneServer.open()
  await server.lead()
  await server.acknowledge()
  const opening = server.raft.openSession()
  await server.turns()
  await server.acknowledge()
  return { server, session: await opening }
}

/** It gives its leadership up, and wins the next election. */
async function losesAndLeadsAgain(server: LoneServer): Promise<void> {
  const { clock, transport, raft } = server
  await raft.stepDown()
  for (let step = 0; step < 12 && raft.status.role !== 'leader'; step += 1) {
    clock.advance(ELECTION_MS)
    await server.turns()
    const asked = transport.requests.findLast(({ message }) => message.type === 'PreVote')?.message
    const round = asked?.type === 'PreVote' ? asked.round : 0
    transport.handlers.onResponse('s2', 1, preVoteResult(raft.status.term, true, round))
    await server.turns()
    transport.handlers.onResponse('s2', 1, vote(raft.status.term, true))
    await server.turns()
  }
  assert.is(raft.status.role, 'leader')
}

test('a command whose leadership ends is sent again where this server leads again, and is applied once', async () => {
  const { server, session } = await leading()
  const call = session.apply({ add: 5 }, { timeoutMs: 1_000_000 })
  await server.turns()
  await losesAndLeadsAgain(server)
  await server.acknowledge()
  await server.turns()
  await server.acknowledge()
  assert.is(await call, 5)
  assert.equal(
    server.machine.applied.map(({ command }) => command),
    [{ add: 5 }],
  )
  assert.equal(session.token, { id: session.id, sequence: 2 })
  assert.equal(server.occupied, {})
  await server.close()
})

test('what its deadline ends in doubt says as what to send it again; its sequence is given to no other command', async () => {
  const { server, session } = await leading()
  const call = failure(session.apply({ add: 5 }, { timeoutMs: 50 }))
  await server.turns()
  server.clock.advance(100)
  const error = await call
  const token = { id: session.id, sequence: 1 }
  assert.equal([error.code, error.outcome, error.session], ['ERR_RAFT_TIMEOUT', 'unknown', token])
  const calls = [session.apply({ add: 1 }), server.raft.resumeSession(token).apply({ add: 5 })]
  await server.turns()
  await server.acknowledge()
  assert.equal(await Promise.all(calls), [6, 5])
  await server.close()
})

test('what one try may have done is told when the last one was not applied, in a resumed session from the beginning', async () => {
  const { server, session } = await leading()
  const call = failure(session.apply({ add: 5 }, { timeoutMs: 5 * ELECTION_MS }))
  await server.turns()
  await server.raft.stepDown()
  for (let step = 0; step < 6; step += 1) {
    server.clock.advance(ELECTION_MS)
    await server.turns()
  }
  const token = { id: session.id, sequence: 1 }
  const error = await call
  assert.equal([error.code, error.outcome, error.session], ['ERR_RAFT_TIMEOUT', 'unknown', token])
  const again = failure(server.raft.resumeSession(token).apply({ add: 5 }, { timeoutMs: 5 }))
  await server.turns()
  server.clock.advance(100)
  const resumed = await again
  assert.equal([resumed.code, resumed.outcome, resumed.session], ['ERR_RAFT_TIMEOUT', 'unknown', token])
  assert.match(resumed.message, /sent before, the command may be applied all the same/)
  await server.close()
})

test('what was not appended frees its sequence, and leaves nothing behind', async () => {
  const { server, session } = await leading()
  const controller = new AbortController()
  const call = failure(session.apply({ add: 5 }, { signal: controller.signal }))
  controller.abort()
  const error = await call
  assert.equal([error.code, error.outcome, error.session], ['ERR_RAFT_ABORTED', 'not-applied', null])
  assert.equal(session.token, { id: session.id, sequence: 1 })
  await server.turns()
  assert.equal(server.occupied, {})
  await server.close()
})

test.run()
