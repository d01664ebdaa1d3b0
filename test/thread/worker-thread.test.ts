/** A server in a worker thread, as its user sees it: the same as in his own, for whatever he calls. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import type { Entry, RaftOptions, StateMachine } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { RaftClient } from 'balsa-raft/client'
import { freeAddresses } from '../../support/free-addresses.js'
import { failure, refusal } from '../support/failure.js'
import { until } from '../support/until.js'

type Query = 'list' | 'later' | 'throw'

/** Keeps what it is given; answers with an object that no codec could carry. */
class Notes implements StateMachine<string, unknown, Query, readonly string[]> {
  list: string[] = []
  restoredFrom = 0
  /** What `later` waits for; null before it is asked. */
  answerLater: (() => void) | null = null

  apply(batch: readonly Entry<string>[]): readonly unknown[] {
    return batch.map(({ command }) => {
      if (command === 'halt') throw new TypeError('on purpose')
      this.list.push(command)
      return { at: this.list.length, command, unlikely: () => command }
    })
  }

  validate(command: string): void {
    if (command.startsWith('bad')) throw new Error('it is bad')
  }

  query(query: Query): readonly string[] | Promise<readonly string[]> {
    if (query === 'throw') throw new RangeError('asked to')
    if (query === 'list') return this.list
    return new Promise((resolve) => (this.answerLater = () => resolve(this.list)))
  }

  snapshot(): readonly Uint8Array[] {
    return this.list.map((line) => new TextEncoder().encode(`${line}\n`))
  }

  async restore(source: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = []
    for await (const piece of source) pieces.push(piece)
    this.list = Buffer.concat(pieces).toString().split('\n').slice(0, -1)
    this.restoredFrom = pieces.length
  }
}

type NotesRaft = Raft<string, unknown, Query, readonly string[]>

interface Context {
  dir: string
  address: string
  machine: Notes
  rafts: NotesRaft[]
  open(extra?: Partial<RaftOptions<string, unknown, Query, readonly string[]>>): Promise<NotesRaft>
}

const test = suite<Context>('a server in a worker thread')

test.before.each(async (context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'balsa-thread-'))
  context.rafts = []
  const [address = ''] = await freeAddresses(1)
  context.address = address
  context.open = async (extra = {}) => {
    context.machine = new Notes()
    const raft = await Raft.open<string, unknown, Query, readonly string[]>({
      ...{ id: 's1', dir: context.dir, bootstrap: [{ id: 's1', address }], transport: tcp({ listen: address }) },
      ...{ stateMachine: context.machine, codec: msgpackCodec<string>(), logger: false, thread: 'worker' },
      ...extra,
    })
    context.rafts.push(raft)
    return raft
  }
})
test.after.each(async (context) => {
  for (const raft of context.rafts) await raft.close()
  rmSync(context.dir, { recursive: true, force: true })
})

test('commands, reads and queries are answered by the machine of the caller, with its own objects', async (context) => {
  const raft = await context.open()
  await raft.ready()
  const result = (await raft.apply('a')) as { at: number; unlikely: () => string }
  assert.equal([result.at, result.unlikely()], [1, 'a'])
  const all = (await raft.applyAll(['b', 'c'])) as readonly { at: number }[]
  assert.equal(
    all.map(({ at }) => at),
    [2, 3],
  )
  const submitted = (await raft.submit('d')) as { unlikely: () => string }
  assert.is(submitted.unlikely(), 'd')
  const { index, result: proposed } = await raft.propose('e')
  assert.is((proposed as { at: number }).at, 5)
  assert.ok(raft.status.appliedIndex >= index)
  for (const consistency of ['linearizable', 'lease', 'stale'] as const) {
    assert.is(await raft.read('list', { consistency }), context.machine.list)
  }
  for (const consistency of [
    'linearizable',
    'stale',
    new Proxy({ minIndex: index }, {}),
    { maxStalenessMs: 1 },
  ] as const) {
    assert.is(await raft.query('list', { consistency }), context.machine.list)
  }
  assert.ok((await raft.barrier()) > index)
  assert.ok((await raft.readIndex()) > index)
  await raft.verifyLeader()
  assert.is((await raft.waitForLeader()).id, 's1')
  assert.equal(context.machine.list, ['a', 'b', 'c', 'd', 'e'])
})

test('thousands of commands at once are applied in their order, and more than there is room for are refused', async (context) => {
  const raft = await context.open()
  await raft.ready()
  const commands = Array.from({ length: 20_000 }, (_, at) => `${at}`)
  const ended = await Promise.allSettled(commands.map((command) => raft.apply(command)))
  const applied = commands.filter((_, at) => ended[at]?.status === 'fulfilled')
  assert.equal(context.machine.list, applied)
  assert.ok(applied.length >= 8192)
  for (const end of ended) {
    if (end.status === 'rejected') {
      const { code, outcome } = end.reason as { code: string; outcome: string }
      assert.equal([code, outcome], ['ERR_RAFT_OVERLOADED', 'not-applied'])
    }
  }
  const list = Array.from({ length: 8192 }, () => 'x'.repeat(100))
  assert.is((await raft.applyAll(list)).length, 8192)
  assert.is((await failure(raft.applyAll([...list, 'y']))).code, 'ERR_RAFT_TOO_LARGE')
  // What has gone the way makes room again, however often: of as many bytes as are taken at once.
  const long = Array.from({ length: 15 }, () => 'x'.repeat(2 ** 20 - 16))
  for (let round = 0; round < 3; round += 1) {
    const [first, second] = await Promise.allSettled([raft.applyAll(long), raft.applyAll(long)])
    assert.is(first?.status, 'fulfilled')
    assert.is((second as PromiseRejectedResult).reason.code, 'ERR_RAFT_OVERLOADED')
  }
})

test('what validate refuses is not appended, and what a query throws its caller gets as it is', async (context) => {
  const raft = await context.open()
  await raft.ready()
  await refusal(raft.apply('bad'), 'ERR_RAFT_INVALID')
  await refusal(raft.submit('bad'), 'ERR_RAFT_INVALID')
  await refusal(raft.apply('x'.repeat(2 ** 20)), 'ERR_RAFT_TOO_LARGE')
  for (const call of [raft.read('throw'), raft.query('throw')]) {
    const error = await call.then(
      () => null,
      (thrown: unknown) => thrown,
    )
    assert.instance(error, RangeError)
  }
  assert.equal(context.machine.list, [])
})

test('a deadline and a signal end a wait with what became of the command, and with their reason', async (context) => {
  const raft = await context.open()
  await raft.ready()
  const reason = new Error('no more')
  const controller = new AbortController()
  const read = failure(raft.read('later', { signal: controller.signal }))
  await until('the machine is asked', () => context.machine.answerLater !== null)
  controller.abort(reason)
  const aborted = await read
  assert.equal([aborted.code, aborted.cause], ['ERR_RAFT_ABORTED', reason])
  await refusal(raft.read('later', { timeoutMs: 20 }), 'ERR_RAFT_TIMEOUT')
  await refusal(raft.apply('never', { signal: controller.signal }), 'ERR_RAFT_ABORTED')
  const error = await refusal(raft.query('list', { consistency: { minIndex: 1e9 }, timeoutMs: 20 }), 'ERR_RAFT_TIMEOUT')
  assert.is(error.outcome, 'not-applied')
  const atOnce = new AbortController()
  const withdrawn = refusal(raft.apply('never', { signal: atOnce.signal }), 'ERR_RAFT_ABORTED')
  atOnce.abort(reason)
  assert.equal([(await withdrawn).outcome, (await withdrawn).cause], ['not-applied', reason])
  const later = new AbortController()
  const waits = failure(raft.query('list', { consistency: { minIndex: 1e9 }, signal: later.signal }))
  later.abort(reason)
  assert.is((await waits).cause, reason)
  assert.equal(context.machine.list, [])
})

test('sessions apply a command once, and keep its answer as bytes where it can be bytes', async (context) => {
  const raft = await context.open({ resultCodec: { encode: () => Uint8Array.of(7), decode: (bytes) => bytes[0] } })
  await raft.ready()
  const session = await raft.openSession()
  const { token } = session
  const first = (await session.apply('once')) as { at: number }
  assert.is(first.at, 1)
  assert.is(await raft.resumeSession(token).apply('once'), 7)
  assert.equal(context.machine.list, ['once'])
  await session.close()
})

test('status, configuration, health, metrics and the entry time are those of now', async (context) => {
  const raft = await context.open()
  await raft.ready()
  const before = raft.status
  assert.equal([before.role, before.leader?.id, before.id], ['leader', 's1', 's1'])
  await raft.apply('a')
  assert.is(raft.status.appliedIndex, before.appliedIndex + 1)
  assert.equal(raft.configuration().configuration.voters, [{ id: 's1', address: context.address }])
  assert.equal([raft.health.isAlive, raft.health.isReady], [true, true])
  assert.ok(raft.metrics().length > 20)
  assert.ok(Math.abs(raft.entryTime - Date.now()) < 60_000)
  await raft.close()
  assert.equal([raft.status.role, raft.status.leader, raft.health.isAlive], ['follower', null, false])
  assert.is(raft.status.appliedIndex >= before.appliedIndex + 1, true)
  await refusal(raft.apply('b'), 'ERR_RAFT_CLOSED')
})

test('events come over, those of what was applied with the entries and results of the caller', async (context) => {
  const raft = await context.open()
  const told: (readonly [string, unknown])[] = []
  raft.on('applied', ({ entries, results }) => {
    for (const [at, { command }] of entries.entries()) told.push([command, results[at]])
  })
  const watched = raft.watch({ events: ['leader', 'applied'] })
  await raft.ready()
  const first = await raft.apply('a')
  const second = await raft.apply('b')
  await until('both are told', () => told.length === 2)
  assert.equal(told[0]?.[0], 'a')
  assert.is(told[0]?.[1], first)
  assert.is(told[1]?.[1], second)
  await raft.close()
  const names: string[] = []
  for await (const { type } of watched) names.push(type)
  assert.ok(names.includes('leader') && names.includes('applied'), names.join())
})

test('a snapshot is taken, exported, and restored at the next start, in either thread', async (context) => {
  const raft = await context.open()
  await raft.ready()
  for (const line of ['a', 'b', 'c']) await raft.apply(line)
  const { index } = await raft.snapshot()
  assert.is(raft.status.snapshot.last?.index, index)
  let bytes = 0
  for await (const piece of raft.exportSnapshot()) bytes += piece.length
  assert.ok(bytes > 100)
  await raft.apply('d')
  await raft.close()
  for (const thread of ['worker', 'main'] as const) {
    const again = await context.open({ thread })
    await again.ready()
    assert.ok(context.machine.restoredFrom > 0)
    assert.equal(context.machine.list, ['a', 'b', 'c', 'd'])
    await again.close()
  }
})

test('a machine that throws halts the server with the error it threw, and the folder is free once it is closed', async (context) => {
  const raft = await context.open()
  await raft.ready()
  const error = await refusal(raft.apply('halt'), 'ERR_RAFT_APPLY_FAILED')
  assert.is(error.outcome, 'applied')
  const fault = await raft.closed
  assert.is(fault?.code, 'ERR_RAFT_APPLY_FAILED')
  assert.instance(fault?.cause, TypeError)
  assert.is(raft.status.fault?.code, 'ERR_RAFT_APPLY_FAILED')
  await refusal(raft.apply('a'), 'ERR_RAFT_APPLY_FAILED')
  await raft.close()
  const error2 = await failure(context.open().then((again) => again.ready({ timeoutMs: 20_000 })))
  assert.is(error2.code, 'ERR_RAFT_APPLY_FAILED')
})

test('a close that drains lets a promised answer come, and refuses what comes new', async (context) => {
  const raft = await context.open()
  await raft.ready()
  const read = raft.read('later')
  await until('the machine is asked', () => context.machine.answerLater !== null)
  const closing = raft.close({ drainMs: 20_000 })
  assert.is(raft.close(), closing)
  await refusal(raft.apply('a'), 'ERR_RAFT_CLOSED')
  context.machine.answerLater?.()
  assert.is(await read, context.machine.list)
  await closing
  assert.is(await raft.closed, null)
})

test('what cannot cross to a thread is refused by its name, and leaves nothing behind', async (context) => {
  const { address, dir } = context
  const refused: readonly (readonly [string, object])[] = [
    ['thread', { thread: 'both' }],
    ['clock', { clock: { now: () => 1, wallNow: () => 1, setTimer: () => () => {}, defer: setImmediate } }],
    ['random', { random: () => 0.5 }],
    ['transport', { transport: tcp({ listen: address, random: () => 0.5 }) }],
    ['transport', { transport: Object.defineProperty(tcp({ listen: address }), 'recipe', { value: undefined }) }],
    ['storage', { storage: { name: 'mine', create: nativeStore().create } }],
    ['snapshotStorage', { snapshotStorage: { name: 'mine', create: () => ({}) } }],
    ['acceptPeerBoot', { acceptPeerBoot: new Proxy(['s1'], {}) }],
    ['storage', { storage: { ...fileStore(), recipe: { module: 'no:where', make: 'x', options: null } } }],
    ['storage', { storage: { ...fileStore(), recipe: { module: import.meta.url, make: 'x', options: null } } }],
  ]
  for (const [name, extra] of refused) {
    const error = await refusal(context.open(extra), 'ERR_RAFT_OPTIONS')
    assert.match(error.message, name === 'acceptPeerBoot' ? 'an option cannot be copied' : `option ${name}`)
  }
  assert.is(await Raft.hasState(dir), null)
})

test('an open that fails over there fails here with the same error', async (context) => {
  await context.open()
  const error = await refusal(context.open({ transport: tcp({ listen: '127.0.0.1:1' }) }), 'ERR_RAFT_DIR_LOCKED')
  assert.match(error.message, context.dir)
})

test('clients are served: what they send is decoded, validated and answered by the caller', async (context) => {
  const codecs = {
    codec: msgpackCodec<string>(),
    resultCodec: { encode: () => Uint8Array.of(9), decode: () => 'nine' },
  }
  const raft = await context.open({ clients: true, ...codecs })
  await raft.ready()
  const client = await RaftClient.connect<string, unknown, Query, readonly string[]>({
    ...{ endpoints: [context.address], ...codecs },
  })
  try {
    assert.is(await client.submit('from afar'), 'nine')
    await refusal(client.submit('bad from afar'), 'ERR_RAFT_INVALID')
    assert.equal(await client.query('list'), ['from afar'])
    await refusal(client.query('throw'), 'ERR_RAFT_QUERY_FAILED')
    const session = await client.openSession()
    assert.is(await session.apply('in a session'), 'nine')
    await session.close()
  } finally {
    await client.close()
  }
  assert.equal(context.machine.list, ['from afar', 'in a session'])
})

test('it runs over the store that needs no addon, too', async (context) => {
  const raft = await context.open({ storage: fileStore() })
  await raft.ready()
  await raft.apply('a')
  await raft.close()
  const again = await context.open({ storage: fileStore() })
  await again.ready()
  assert.equal(context.machine.list, ['a'])
})

test.run()
