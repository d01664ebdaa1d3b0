/** Snapshots in the shell: taken, retained, restored, and what goes wrong in each; one server alone. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defineStateMachine, msgpackCodec, Raft } from 'balsa-raft'
import type { RaftOptions, RaftEvents, StateMachine } from 'balsa-raft'
import { entryBlock } from '#balsa/format/block.js'
import { SNAPSHOT_END_BYTES } from '#balsa/format/snapshot.js'
import { settingsOf } from '#balsa/options.js'
import { openServer } from '#balsa/server/open/open-server.js'
import type { Server } from '#balsa/server/server.js'
import type { SnapshotInfo } from '#balsa/server/status.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { MemoryStoreFactory } from '#balsa/storage/memory/memory-log-store.js'
import type { Channel } from '#balsa/transport/channel.js'
import { logIndex, termOf } from '#balsa/types.js'
import { ManualClock } from '../transport/manual-clock.js'
import { failure } from '../support/failure.js'
import { StageTransport } from '../support/lone-server.js'
import { appendEntries } from '../support/messages.js'

interface Kept {
  readonly machine: StateMachine<number, number, void, readonly number[]>
  /** What the machine holds. */
  list: readonly number[]
}

/** Keeps every number that it is given; its snapshot is one piece for each. */
function keeping(changes: Partial<StateMachine<number, number, void, readonly number[]>> = {}): Kept {
  const kept: Kept = {
    list: [],
    machine: defineStateMachine<number, number, readonly number[]>({
      apply: (batch) =>
        batch.map(({ command }) => {
          kept.list = [...kept.list, command]
          return kept.list.length
        }),
      query: () => kept.list,
      snapshot: () => kept.list.map((value) => new TextEncoder().encode(`${value};`)),
      restore: async (source) => {
        const parts: string[] = []
        for await (const bytes of source) parts.push(new TextDecoder().decode(bytes))
        kept.list = parts.join('').split(';').slice(0, -1).map(Number)
      },
      ...changes,
    }),
  }
  return kept
}

/** One that could give a peer a snapshot, if there were one. */
class ChannelTransport extends StageTransport {
  openChannel(): Promise<Channel> {
    return Promise.reject(new Error('there is nobody'))
  }
}

type Options = Partial<RaftOptions<number, number, void, readonly number[]>>

/** A cluster of one server, on memory that outlives it. */
class Lone {
  readonly clock = new ManualClock()
  readonly storage: MemoryStoreFactory
  readonly events: RaftEvents['snapshot'][] = []
  #raft: Raft<number, number, void, readonly number[]> | null = null
  #server: Server | null = null

  constructor(storage = memoryStore()) {
    this.storage = storage
  }

  get raft(): Raft<number, number, void, readonly number[]> {
    if (this.#raft === null) throw new Error('it is not open')
    return this.#raft
  }

  get server(): Server {
    if (this.#server === null) throw new Error('it is not open')
    return this.#server
  }

  async open({ machine }: Kept, options: Options = {}): Promise<this> {
    const settings = settingsOf({
      ...{
        id: 's1',
        dir: '/s1',
        bootstrap: [{ id: 's1', address: 's1:1' }],
        logger: false,
        codec: msgpackCodec<number>(),
      },
      ...{ transport: new ChannelTransport(), storage: this.storage, clock: this.clock, random: () => 0 },
      ...{ stateMachine: machine, snapshots: false, ...options },
    })
    this.#server = await openServer(settings)
    this.#raft = new Raft(this.#server, settings)
    this.#raft.on('snapshot', (event) => this.events.push(event))
    return this
  }

  async lead(): Promise<this> {
    const ready = this.raft.ready()
    await this.until(() => this.raft.status.role === 'leader')
    await ready
    return this
  }

  /** Lets time pass until it is so. */
  async until(isSo: () => boolean): Promise<void> {
    for (let step = 0; step < 400; step += 1) {
      if (isSo()) return
      this.clock.advance(10)
      await new Promise((next) => setImmediate(next))
    }
    throw new Error(`never so: ${JSON.stringify(this.raft.status)}`)
  }

  async apply(...numbers: readonly number[]): Promise<void> {
    const applied = numbers.map((value) => this.raft.apply(value))
    let done = false
    const all = Promise.all(applied).then(() => (done = true))
    await this.until(() => done)
    await all
  }
}

test('a snapshot that is asked for is durable, compacts the log, and is what a restart begins with', async () => {
  const lone = await new Lone().open(keeping()).then((one) => one.lead())
  await lone.apply(1, 2, 3, 4, 5)
  const [info, same] = await Promise.all([lone.raft.snapshot(), lone.raft.snapshot()])
  assert.is(info.id, same.id, 'callers of the same time share one')
  const { appliedIndex, term } = lone.raft.status
  assert.equal([info.index, info.term], [appliedIndex, term])
  assert.is(lone.raft.status.firstIndex, appliedIndex, 'the log stands on it by then')
  assert.is((await lone.raft.snapshot()).id, info.id, 'nothing was applied since')
  assert.equal(lone.raft.status.snapshot.last, info)
  assert.equal(
    lone.events.map(({ what, index }) => [what, index]),
    [['taken', appliedIndex]],
  )
  await lone.apply(6)
  await lone.raft.close()
  const kept = keeping()
  await lone.open(kept)
  // The only voter needs no time to be elected, also when its configuration is in the snapshot alone.
  await lone.raft.ready()
  assert.equal(kept.list, [1, 2, 3, 4, 5, 6])
  assert.is(lone.raft.status.firstIndex, appliedIndex)
  assert.equal(lone.events.at(-1), { what: 'restored', index: appliedIndex, term, reason: null })
  await lone.raft.close()
})

/** What keeps a snapshot from being taken at a close, and what is told of it. */
const LAST_FAILURES: readonly (readonly [string, Partial<Kept['machine']>, RegExp])[] = [
  [
    'throws',
    {
      snapshot: () => {
        throw new Error('no')
      },
    },
    /snapshot threw: .*no/,
  ],
  ['hangs', { snapshot: () => new Promise(() => {}) }, /timeoutMs/],
]

test('a close that asks for a snapshot ends with one, with which the next start begins', async () => {
  const lone = await new Lone().open(keeping()).then((one) => one.lead())
  await lone.apply(1, 2, 3)
  const { raft } = lone
  const { appliedIndex } = raft.status
  const closing = raft.close({ snapshot: true })
  assert.is((await failure(raft.apply(4))).code, 'ERR_RAFT_CLOSED')
  await Promise.all([closing, lone.until(() => raft.status.firstIndex === appliedIndex)])
  const kept = keeping()
  await lone.open(kept)
  await lone.raft.ready()
  assert.equal(kept.list, [1, 2, 3])
  assert.is(lone.events.at(-1)?.what, 'restored')
  assert.is(lone.raft.status.firstIndex, appliedIndex)
  await lone.raft.close()
})

test('a snapshot that cannot be taken is told, and keeps no server from closing longer than it was given', async () => {
  for (const [name, changes, expected] of LAST_FAILURES) {
    const lone = await new Lone().open(keeping(changes)).then((one) => one.lead())
    await lone.apply(1)
    const { raft, clock } = lone
    let isClosed = false
    const closing = raft.close({ snapshot: true, timeoutMs: 500 }).then(() => (isClosed = true))
    const begunAt = clock.now()
    await lone.until(() => isClosed)
    await closing
    assert.is(await raft.closed, null, name)
    assert.ok(clock.now() - begunAt < 1000, name)
    assert.equal(
      lone.events.map(({ what }) => what),
      ['failed'],
      name,
    )
    assert.match(raft.status.snapshot.failure?.message ?? '', expected, name)
  }
  const none = await new Lone().open(keeping(), { transport: new StageTransport() }).then((one) => one.lead())
  await none.apply(1)
  await none.raft.close({ snapshot: true })
  assert.match(none.raft.status.snapshot.failure?.message ?? '', /has no channels/)
})

test('N14 snapshots are taken by number, by bytes and by time, and the log keeps what trails', async () => {
  const bounds = { entries: 1e6, bytes: 2 ** 40, intervalMs: 2 ** 30, trailingEntries: 3 }
  const cases: readonly (readonly [string, object, () => number])[] = [
    ['entries', { entries: 20 }, () => 0],
    ['bytes', { bytes: 800 }, () => 0],
    ['time', { intervalMs: 1000 }, () => 1001],
  ]
  for (const [name, option, waitMs] of cases) {
    const lone = await new Lone().open(keeping(), { snapshots: { ...bounds, ...option } }).then((one) => one.lead())
    for (let at = 0; at < 30; at += 1) await lone.apply(at)
    lone.clock.advance(waitMs())
    await lone.until(() => lone.raft.status.firstIndex > 1)
    const { last } = lone.raft.status.snapshot
    assert.is(lone.raft.status.firstIndex, (last?.index ?? 0) + 1 - 3, name)
    await lone.raft.close()
  }
})

/** A snapshot of three pieces, of which one is read. */
async function exporting(): Promise<{ lone: Lone; id: string; reader: AsyncGenerator<Uint8Array, void, undefined> }> {
  const big = keeping({ snapshot: () => [new Uint8Array(300_000).fill(7)] })
  const lone = await new Lone()
    .open(big, { snapshots: { entries: 1e6, retain: 1, trailingEntries: 1 } })
    .then((one) => one.lead())
  await lone.apply(1)
  const reader = lone.raft.exportSnapshot()
  assert.is((await reader.next()).value?.length, 128 * 1024)
  return { lone, id: lone.raft.status.snapshot.last?.id ?? '', reader }
}

/** Another one is taken, and the log stands on it. */
async function another(lone: Lone): Promise<void> {
  await lone.apply(2)
  const { index } = await lone.raft.snapshot()
  await lone.until(() => lone.raft.status.firstIndex === index)
  // Behind the turn in which older ones are let go of.
  await lone.apply(3)
}

test('a snapshot that is exported stays until it is read, and goes then', async () => {
  const { lone, id, reader } = await exporting()
  await another(lone)
  const disk = lone.storage.snapshots.disk('/s1')
  const isThere = async (): Promise<boolean> => (await disk.openFile(`/s1/snapshots/${id}.snapshot`)) !== null
  assert.is(await isThere(), true)
  let bytes = 128 * 1024
  for await (const piece of reader) bytes += piece.length
  assert.ok(bytes > 300_000)
  let isGone = false
  await lone.until(() => {
    void isThere().then((there) => (isGone = !there))
    return isGone
  })
  await lone.raft.close()
})

test('a reader of an export that returns, or reads nothing for a minute, keeps nothing; what is damaged is not exported', async () => {
  for (const how of ['returns', 'rests', 'damaged'] as const) {
    const { lone, id, reader } = await exporting()
    if (how === 'returns') await reader.return()
    if (how === 'rests') lone.clock.advance(60_001)
    if (how === 'damaged') lone.storage.snapshots.disk('/s1').flipBit(id, 8 * 150_000)
    await another(lone)
    if (how === 'returns') assert.equal(await reader.next(), { value: undefined, done: true })
    else {
      const error = await failure(reader.next())
      assert.is(error.code, how === 'rests' ? 'ERR_RAFT_SNAPSHOT_FAILED' : 'ERR_RAFT_SNAPSHOT_CORRUPT')
    }
    await lone.raft.close()
  }
})

test('four snapshots are exported at a time, and a closed server exports none', async () => {
  const { lone, reader } = await exporting()
  const readers = Array.from({ length: 3 }, () => lone.raft.exportSnapshot())
  for (const each of readers) assert.is((await each.next()).done, false)
  assert.is((await failure(lone.raft.exportSnapshot().next())).code, 'ERR_RAFT_OVERLOADED')
  await reader.return()
  assert.is((await lone.raft.exportSnapshot().next()).done, false)
  await lone.raft.close()
  assert.is((await failure(lone.raft.exportSnapshot().next())).code, 'ERR_RAFT_CLOSED')
  for (const each of readers) await failure(each.next())
})

test('so many snapshots are retained, and older ones go when the log stands on the newest', async () => {
  const lone = await new Lone().open(keeping(), { snapshots: { entries: 1e6, retain: 2 } }).then((one) => one.lead())
  for (let at = 0; at < 4; at += 1) {
    await lone.apply(at)
    await lone.raft.snapshot()
  }
  await lone.until(() => lone.server.core.tickets.snapshotIsDurable && lone.server.core.tickets.acceptedCount === 0)
  await lone.apply(9)
  await lone.raft.close()
  const found = await lone.storage.snapshots.create('/s1').open()
  assert.is(found.whole.length, 2)
})

test('N16 what is applied while a snapshot is written is not in it, and does not wait for it', async () => {
  let release: () => void = () => {}
  const gate = new Promise<void>((resolve) => (release = resolve))
  const kept = keeping()
  const { list } = kept
  const slow = keeping({
    snapshot: () => {
      const captured = slow.list
      return (async function* pieces() {
        await gate
        for (const value of captured) yield new TextEncoder().encode(`${value};`)
      })()
    },
  })
  assert.equal(list, [])
  const lone = await new Lone().open(slow).then((one) => one.lead())
  await lone.apply(1, 2)
  const taking = lone.raft.snapshot()
  await lone.until(() => lone.raft.status.snapshot.isTaking)
  await lone.apply(3, 4)
  assert.ok(lone.raft.status.snapshot.isTaking)
  release()
  const info = await taking
  assert.is(info.index, lone.raft.status.appliedIndex - 2)
  await lone.raft.close()
  const again = keeping()
  await lone.open(again)
  await lone.lead()
  assert.equal(again.list, [1, 2, 3, 4])
  await lone.raft.close()
})

test('nothing is applied while a state is captured; a capture that takes too long is given up', async () => {
  let captured: (source: Iterable<Uint8Array>) => void = () => {}
  const kept = keeping({ snapshot: () => new Promise((resolve) => (captured = resolve)) })
  const lone = await new Lone().open(kept).then((one) => one.lead())
  await lone.apply(1)
  const first = lone.raft.snapshot()
  await lone.until(() => lone.raft.status.snapshot.isTaking)
  const applying = lone.raft.apply(2)
  for (let step = 0; step < 20; step += 1) await new Promise((next) => setImmediate(next))
  assert.equal(kept.list, [1])
  captured([new TextEncoder().encode('1;')])
  await first
  await lone.until(() => kept.list.length === 2)
  await applying
  const late = failure(lone.raft.snapshot())
  await lone.until(() => lone.raft.status.snapshot.isTaking)
  lone.clock.advance(10_000)
  const error = await late
  assert.is(error.code, 'ERR_RAFT_SNAPSHOT_FAILED')
  assert.match(error.message, /has not captured its state within 10000 ms/)
  await lone.apply(3)
  assert.equal(kept.list, [1, 2, 3])
  await lone.raft.close()
})

test('a state machine that never captures its state keeps nothing waiting when its server is closed', async () => {
  const lone = await new Lone().open(keeping({ snapshot: () => new Promise(() => {}) })).then((one) => one.lead())
  await lone.apply(1)
  const asked = failure(lone.raft.snapshot())
  await lone.until(() => lone.raft.status.snapshot.isTaking)
  await lone.raft.close()
  assert.is((await asked).code, 'ERR_RAFT_CLOSED')
  assert.equal(lone.clock.delays(), [])
})

test('a source that gives no further piece is given up, also by a close, and another snapshot can be taken', async () => {
  let hangs = true
  async function* source(): AsyncGenerator<Uint8Array, void> {
    yield new TextEncoder().encode('1;')
    if (hangs) await new Promise(() => {})
  }
  const lone = await new Lone().open(keeping({ snapshot: source })).then((one) => one.lead())
  await lone.apply(1)
  const untilItHangs = async (): Promise<void> => {
    await lone.until(() => lone.raft.status.snapshot.isTaking)
    for (let step = 0; step < 20; step += 1) await new Promise((next) => setImmediate(next))
  }
  const late = failure(lone.raft.snapshot())
  await untilItHangs()
  lone.clock.advance(60_000)
  assert.match((await late).message, /has given no piece of its snapshot within 60000 ms/)
  assert.is(lone.raft.status.firstIndex, 1)
  hangs = false
  const [taken] = await Promise.all([lone.raft.snapshot(), lone.until(() => lone.raft.status.snapshot.last !== null)])
  assert.is(taken.index, lone.raft.status.appliedIndex)
  hangs = true
  await lone.apply(2)
  const closed = failure(lone.raft.snapshot())
  await untilItHangs()
  await lone.raft.close()
  assert.is((await closed).code, 'ERR_RAFT_CLOSED')
  assert.equal(lone.clock.delays(), [])
  const { whole, flawed } = await lone.storage.snapshots.create('/s1').open()
  assert.equal([whole.length, flawed.length], [1, 0])
})

test('a state machine whose snapshot fails in any way goes on, keeps its log, and says why', async () => {
  const bad = (value: unknown): never => value as never
  const cases: readonly (readonly [string, () => never, RegExp])[] = [
    ['throws', () => bad(null) ?? thrown(), /snapshot threw: Error: no/],
    ['rejects', () => bad(Promise.reject(new Error('no'))), /snapshot rejected: Error: no/],
    ['a wrong type', () => bad('text'), /answered with a string, and not with pieces/],
    ['a promise of a wrong type', () => bad(Promise.resolve(7)), /answered with a number/],
    ['wrong pieces', () => bad(['text']), /gave a string, and not a Uint8Array/],
    ['a source that throws', () => bad(throwing()), /the source of the state machine's snapshot threw: Error: no/],
  ]
  for (const [name, snapshot, message] of cases) {
    const kept = keeping({ snapshot })
    const lone = await new Lone().open(kept).then((one) => one.lead())
    await lone.apply(1, 2)
    const error = await failure(lone.raft.snapshot())
    assert.is(error.code, 'ERR_RAFT_SNAPSHOT_FAILED', name)
    assert.match(error.message, message, name)
    assert.is(lone.raft.status.snapshot.failure?.message, error.message)
    assert.is(lone.events.at(-1)?.what, 'failed')
    await lone.apply(3)
    assert.is(lone.raft.status.firstIndex, 1)
    await lone.raft.close()
    const found = await lone.storage.snapshots.create('/s1').open()
    assert.equal([found.whole.length, found.flawed.length], [0, 0], 'nothing is left of it')
  }
})

function thrown(): never {
  throw new Error('no')
}

function* throwing(): Generator<Uint8Array> {
  yield new Uint8Array(3)
  thrown()
}

test('a full disk of snapshots fails them, with a longer wait each time, and the log goes on', async () => {
  const lone = await new Lone()
    .open(keeping(), { snapshots: { entries: 5, trailingEntries: 1 } })
    .then((one) => one.lead())
  const disk = lone.storage.snapshots.disk('/s1')
  disk.fill()
  for (let at = 0; at < 10; at += 1) await lone.apply(at)
  await lone.until(() => lone.raft.status.snapshot.failure !== null)
  const failures = (): number => lone.events.filter(({ what }) => what === 'failed').length
  assert.is(failures(), 1)
  lone.clock.advance(4000)
  await lone.apply(11)
  assert.is(failures(), 1, 'not at once again')
  lone.clock.advance(2000)
  await lone.apply(12)
  await lone.until(() => failures() === 2)
  disk.heal()
  lone.clock.advance(11_000)
  await lone.apply(13)
  await lone.until(() => lone.raft.status.firstIndex > 1)
  assert.is(lone.raft.status.snapshot.failure, null)
  await lone.raft.close()
})

test('an older snapshot that could not be removed goes with the next one', async () => {
  const lone = await new Lone()
    .open(keeping(), { snapshots: { entries: 1e6, trailingEntries: 1, retain: 1 } })
    .then((one) => one.lead())
  const disk = lone.storage.snapshots.disk('/s1')
  const take = async (): Promise<string> => {
    await lone.apply(1)
    return (await lone.raft.snapshot()).id
  }
  const first = await take()
  disk.remove = () => Promise.reject(Object.assign(new Error('EIO: no'), { code: 'EIO' }))
  const second = await take()
  await lone.until(() => lone.raft.status.snapshot.last?.id === second)
  assert.ok(disk.holds(first))
  Reflect.deleteProperty(disk, 'remove')
  await take()
  await lone.until(() => !disk.holds(first) && !disk.holds(second))
  await lone.raft.close()
})

test('N15 H1-27 a damaged snapshot is not used: an older one from which the log goes on is, and without one the server halts', async () => {
  for (const trailing of [100, 1]) {
    const lone = await new Lone()
      .open(keeping(), { snapshots: { entries: 1e6, trailingEntries: trailing } })
      .then((one) => one.lead())
    await lone.apply(1, 2)
    await lone.raft.snapshot()
    await lone.apply(3, 4)
    const { id } = await lone.raft.snapshot()
    await lone.apply(5)
    await lone.raft.close()
    lone.storage.snapshots.disk('/s1').flipBit(id, 8 * 300)
    const kept = keeping()
    await lone.open(kept)
    if (trailing === 100) {
      await lone.lead()
      assert.equal(kept.list, [1, 2, 3, 4, 5])
      await lone.raft.close()
      continue
    }
    const ended = lone.raft.closed
    await lone.until(() => lone.raft.status.fault !== null)
    const error = await ended
    assert.is(error?.code, 'ERR_RAFT_SNAPSHOT_CORRUPT')
    assert.match(error?.message ?? '', /no snapshot from which the log goes on can be read/)
    assert.equal(kept.list, [], 'nothing of it was used')
    await lone.raft.close()
  }
})

test('N15 one on which the log stands, and which was found damaged, is replaced as soon as more is applied', async () => {
  for (const where of ['header', 'data'] as const) {
    const lone = await new Lone()
      .open(keeping(), { snapshots: { entries: 1e6, trailingEntries: 100 } })
      .then((one) => one.lead())
    await lone.apply(1, 2)
    await lone.raft.snapshot()
    await lone.apply(3, 4)
    const { id, index, bytes } = await lone.raft.snapshot()
    await lone.raft.close()
    const byte = where === 'header' ? 20 : bytes - SNAPSHOT_END_BYTES - 1
    lone.storage.snapshots.disk('/s1').flipBit(id, 8 * byte)
    const kept = keeping()
    await lone.open(kept, { snapshots: { entries: 1e6, trailingEntries: 100 } })
    assert.is(lone.raft.status.snapshot.last?.id === id, where === 'data', 'seen at once')
    await lone.lead()
    await lone.apply(5)
    await lone.until(() => (lone.raft.status.snapshot.last?.index ?? 0) > index)
    await lone.until(() => lone.server.core.log.snapshot?.id === lone.raft.status.snapshot.last?.id)
    const taken = lone.events.filter(({ what }) => what === 'taken').length
    await lone.apply(6, 7)
    assert.is(lone.events.filter(({ what }) => what === 'taken').length, taken, 'once')
    assert.equal(kept.list, [1, 2, 3, 4, 5, 6, 7])
    await lone.raft.close()
  }
})

/** It follows s2, which the test plays: what s2 does not send is not there. */
const following: Options = { bootstrap: ['s1', 's2'].map((id) => ({ id, address: `${id}:1` })) }

/** One that follows, on a snapshot of all that it has, which was damaged while it was down. */
async function damaged(where: 'header' | 'data'): Promise<{ readonly lone: Lone; readonly info: SnapshotInfo }> {
  const transport = new ChannelTransport()
  const lone = await new Lone().open(keeping(), {
    ...following,
    transport,
    snapshots: { entries: 1e6, trailingEntries: 100 },
  })
  let info: SnapshotInfo | null = null
  for (const index of [2, 4]) {
    const [a, b] = [index, index + 1].map((at) =>
      entryBlock('command', logIndex(at), termOf(2), 0, msgpackCodec<number>().encode(at)),
    )
    assert.ok(a !== undefined && b !== undefined)
    transport.handlers.onRequest('s2', 1, appendEntries(2, index === 2 ? '1/1' : '3/2', [a, b], index + 1))
    await lone.until(() => lone.raft.status.appliedIndex === index + 1)
    lone.raft.snapshot().then((taken) => (info = taken), assert.unreachable)
    await lone.until(() => info !== null && info.index === index + 1)
  }
  assert.ok(info !== null)
  const { id, bytes } = info as SnapshotInfo
  await lone.raft.close()
  lone.storage.snapshots.disk('/s1').flipBit(id, 8 * (where === 'header' ? 20 : bytes - SNAPSHOT_END_BYTES - 1))
  lone.events.length = 0
  return { lone, info }
}

test('N15 one on which the log stands, and which was found damaged, is replaced though nothing more is applied', async () => {
  for (const [where, snapshots] of [
    ['header', { entries: 1e6 }],
    ['data', { entries: 1e6 }],
    ['data', false],
  ] as const) {
    const { lone, info } = await damaged(where)
    const kept = keeping()
    await lone.open(kept, { ...following, snapshots })
    await lone.until(() => lone.server.core.log.snapshot?.id !== info.id)
    assert.is(lone.server.core.log.snapshot?.index, info.index)
    await lone.until(() => !lone.storage.snapshots.disk('/s1').holds(info.id))
    assert.is(lone.raft.status.snapshot.last?.id, lone.server.core.log.snapshot?.id)
    assert.equal([lone.raft.status.appliedIndex, kept.list], [info.index, [2, 3, 4, 5]])
    assert.equal(
      lone.events.map(({ what, index }) => [what, index]),
      [
        ['restored', info.index - 2],
        ['taken', info.index],
      ],
    )
    await lone.raft.close()
    const again = keeping()
    await lone.open(again, following)
    await lone.until(() => lone.events.length === 3)
    assert.equal([lone.events[2]?.what, lone.events[2]?.index, again.list], ['restored', info.index, [2, 3, 4, 5]])
    await lone.raft.close()
  }
})

test('N15 who asks for a snapshot is given another one than that which was found damaged, of the same entries', async () => {
  const { lone, info } = await damaged('data')
  await lone.open(keeping(), following)
  let asked: SnapshotInfo | null = null
  // At once: less is applied than the log stands on.
  await lone.until(() => lone.raft.status.appliedIndex > 0)
  lone.raft.snapshot().then((taken) => (asked = taken), assert.unreachable)
  await lone.until(() => asked !== null)
  assert.equal(asked, lone.raft.status.snapshot.last)
  assert.is(lone.raft.status.snapshot.last?.index, info.index)
  assert.is.not(lone.raft.status.snapshot.last?.id, info.id)
  assert.is(lone.server.core.log.snapshot?.id, lone.raft.status.snapshot.last?.id)
  assert.equal(
    lone.events.map(({ what, index }) => [what, index]),
    [
      ['restored', info.index - 2],
      ['taken', info.index],
    ],
  )
  await lone.raft.close()
})

test('N10 a restore that throws halts the server, and the next start begins with the same snapshot', async () => {
  const lone = await new Lone().open(keeping()).then((one) => one.lead())
  await lone.apply(1, 2)
  await lone.raft.snapshot()
  await lone.until(() => lone.raft.status.firstIndex > 1)
  await lone.raft.close()
  await lone.open(keeping({ restore: () => Promise.reject(new Error('cannot')) }))
  const ended = lone.raft.closed
  await lone.until(() => lone.raft.status.fault !== null)
  const error = await ended
  assert.is(error?.code, 'ERR_RAFT_APPLY_FAILED')
  assert.match(error?.message ?? '', /restore failed on the snapshot at \d+: Error: cannot/)
  await lone.raft.close()
  const kept = keeping()
  await lone.open(kept)
  await lone.lead()
  assert.equal(kept.list, [1, 2])
  await lone.raft.close()
})

/** Says how many numbers it holds. */
function hashing(kept: Kept, isLater: boolean): Partial<Kept['machine']> {
  const hash = (): Uint8Array => Uint8Array.of(0xab, kept.list.length)
  return { hash: isLater ? () => Promise.resolve().then(hash) : hash }
}

test('a state that is not what was written out, by its hash, halts the server that restored it', async () => {
  for (const isLater of [false, true]) {
    const first = keeping()
    Object.assign(first.machine, hashing(first, isLater))
    const lone = await new Lone().open(first).then((one) => one.lead())
    await lone.apply(1, 2, 3)
    const { index } = await lone.raft.snapshot()
    await lone.until(() => lone.raft.status.firstIndex > 1)
    await lone.raft.close()
    // Nothing is lost.
    const same = keeping()
    Object.assign(same.machine, hashing(same, isLater))
    await lone.open(same).then((one) => one.lead())
    assert.equal(same.list, [1, 2, 3])
    await lone.raft.close()
    const forgetful = keeping({ restore: () => void (forgetful.list = [1, 2]) })
    Object.assign(forgetful.machine, hashing(forgetful, isLater))
    await lone.open(forgetful)
    const faults: string[] = []
    lone.raft.on('fault', ({ error }) => faults.push(error.code))
    const ended = lone.raft.closed
    await lone.until(() => lone.raft.status.fault !== null)
    const error = await ended
    assert.is(error?.code, 'ERR_RAFT_APPLY_FAILED')
    assert.match(error?.message ?? '', new RegExp(`snapshot at ${index} has the hash ab02, .* had ab03`))
    assert.match(error?.message ?? '', /start once without it/)
    assert.equal(faults, ['ERR_RAFT_APPLY_FAILED'])
    await lone.raft.close()
    // One that says no hash takes the state as it is.
    const silent = keeping()
    await lone.open(silent).then((one) => one.lead())
    assert.equal(silent.list, [1, 2, 3])
    await lone.raft.close()
  }
})

test('a hash that is none ends the attempt to take a snapshot, or the server that has restored one', async () => {
  const wrong: readonly (readonly [() => unknown, RegExp])[] = [
    [() => new Uint8Array(0), /hash answered with 0 bytes, and not with 1 \.\. 64 bytes/],
    [() => new Uint8Array(65), /hash answered with 65 bytes/],
    [() => 'abc', /hash answered with a string/],
    [() => Promise.reject(new Error('no')), /hash rejected: Error: no/],
    [
      () => {
        throw new Error('no')
      },
      /hash threw: Error: no/,
    ],
  ]
  for (const [hash, expected] of wrong) {
    let isWrong = true
    const answer = (): Uint8Array => (isWrong ? (hash() as Uint8Array) : new Uint8Array(64).fill(1))
    const lone = await new Lone().open(keeping({ hash: answer })).then((one) => one.lead())
    await lone.apply(1)
    const error = await failure(lone.raft.snapshot())
    assert.is(error.code, 'ERR_RAFT_SNAPSHOT_FAILED')
    assert.match(error.message, expected)
    isWrong = false
    await lone.raft.snapshot()
    await lone.raft.close()
    isWrong = true
    await lone.open(keeping({ hash: answer }))
    await lone.until(() => lone.raft.status.fault !== null)
    assert.is(lone.raft.status.fault?.code, 'ERR_RAFT_APPLY_FAILED')
    assert.match(lone.raft.status.fault?.message ?? '', expected)
    await lone.raft.close()
  }
})

test('without automatic snapshots the log is kept whole, however much was applied and however long ago', async () => {
  const lone = await new Lone().open(keeping(), { snapshots: false }).then((one) => one.lead())
  await lone.apply(1, 2, 3)
  lone.clock.advance(2 * 3_600_000)
  await lone.apply(4)
  assert.is(lone.raft.status.firstIndex, 1)
  assert.equal(lone.events, [])
  await lone.raft.close()
})

test('a stale read is refused while the state machine is restored', async () => {
  const lone = await new Lone().open(keeping()).then((one) => one.lead())
  await lone.apply(1)
  await lone.raft.snapshot()
  await lone.until(() => lone.raft.status.firstIndex > 1)
  await lone.raft.close()
  let release: () => void = () => {}
  const gate = new Promise<void>((resolve) => (release = resolve))
  await lone.open(keeping({ restore: () => gate }))
  await lone.until(() => lone.raft.status.snapshot.isRestoring)
  const error = await failure(lone.raft.read(undefined, { consistency: 'stale' }))
  assert.is(error.code, 'ERR_RAFT_OVERLOADED')
  assert.match(error.message, /being restored/)
  release()
  await lone.lead()
  assert.equal(await lone.raft.read(undefined, { consistency: 'stale' }), [])
  await lone.raft.close()
})

test('a state machine without snapshots keeps its log, says so, and cannot take over a log that stands on one', async () => {
  const bare = { apply: (batch: readonly unknown[]) => batch.map(() => 1) } as Kept['machine']
  const lone = await new Lone()
    .open({ machine: bare, list: [] }, { snapshots: { entries: 1 } })
    .then((one) => one.lead())
  await lone.apply(1, 2, 3)
  assert.match(lone.raft.status.snapshot.unavailable ?? '', /no functions snapshot and restore/)
  assert.is(lone.raft.status.firstIndex, 1)
  const error = await failure(lone.raft.snapshot())
  assert.is(error.code, 'ERR_RAFT_OPTIONS')
  assert.match(error.message, /give it both/)
  await lone.raft.close()
  await lone.open(keeping())
  await lone.lead()
  await lone.raft.snapshot()
  await lone.until(() => lone.raft.status.firstIndex > 1)
  await lone.raft.close()
  const refused = await failure(lone.open({ machine: bare, list: [] }))
  assert.is(refused.code, 'ERR_RAFT_OPTIONS')
  assert.match(refused.message, /the log stands on a snapshot at \d+/)
})

test('a log that peers may need is not compacted where the transport cannot give them a snapshot', async () => {
  const lone = await new Lone().open(keeping(), {
    transport: new StageTransport(),
    snapshots: { entries: 1 },
  })
  assert.match(lone.raft.status.snapshot.unavailable ?? '', /option transport has no channels/)
  const error = await failure(lone.raft.snapshot())
  assert.is(error.code, 'ERR_RAFT_OPTIONS')
  assert.match(error.message, /no snapshot is taken: option transport has no channels/)
  await lone.raft.close()
})

test('N11 a machine that is durable by itself is given what follows its own index, and restored where that is not kept', async () => {
  const storage = memoryStore()
  const lone = await new Lone(storage).open(keeping(), { snapshots: { entries: 1e6, trailingEntries: 3 } })
  await lone.lead()
  await lone.apply(1, 2, 3, 4, 5)
  const { index } = await lone.raft.snapshot()
  await lone.until(() => lone.raft.status.firstIndex > 1)
  await lone.apply(6)
  await lone.raft.close()
  for (const [has, list] of [
    [index - 1, [5, 6]],
    [index, [6]],
    [1, [1, 2, 3, 4, 5, 6]],
  ] as const) {
    const kept = keeping({ appliedIndex: () => has })
    await lone.open(kept)
    await lone.lead()
    assert.equal(kept.list, list, `it had ${has} of ${index}`)
    await lone.raft.close()
  }
  for (const [wrong, message] of [
    [1000, /has applied 1000, and the log ends at/],
    [-1, /answered -1, and not a whole number/],
    ['7', /answered a string/],
  ] as const) {
    const error = await failure(lone.open(keeping({ appliedIndex: () => wrong as never })))
    assert.is(error.code, 'ERR_RAFT_OPTIONS')
    assert.match(error.message, message)
  }
})

test('H1-18 a close amid a restore that never ends is no longer than it was given, and answers every call', async () => {
  const lone = await new Lone().open(keeping()).then((one) => one.lead())
  await lone.apply(1, 2)
  await lone.raft.snapshot()
  await lone.raft.close()
  await lone.open(keeping({ restore: () => new Promise(() => {}) }))
  const { raft, clock } = lone
  await lone.until(() => raft.status.snapshot.isRestoring && raft.status.role === 'leader')
  const calls = [raft.ready(), raft.apply(3), raft.read(undefined)].map(failure)
  // All that it is to cover is in the one that is being restored.
  assert.is((await raft.snapshot()).index, raft.status.snapshot.last?.index)
  await new Promise((next) => setImmediate(next))
  let isClosed = false
  const closing = raft.close({ timeoutMs: 500 }).then(() => (isClosed = true))
  const begunAt = clock.now()
  await lone.until(() => isClosed)
  await closing
  assert.ok(clock.now() - begunAt < 1000)
  const errors = await Promise.all(calls)
  assert.equal(
    errors.map(({ code, outcome }) => [code, outcome]),
    ['not-applied', 'applied', 'not-applied'].map((outcome) => ['ERR_RAFT_CLOSED', outcome]),
  )
  assert.equal(clock.delays(), [])
  const kept = keeping()
  await lone.open(kept).then((one) => one.lead())
  assert.equal(kept.list.slice(0, 2), [1, 2])
  await lone.raft.close()
})

test('H2-13 a server that begins with a snapshot, and nothing or less than it covers, takes the next one when that much is new', async () => {
  const storage = memoryStore()
  const policy = { entries: 20, trailingEntries: 1 }
  const lone = await new Lone(storage).open(keeping(), { snapshots: policy })
  await lone.lead()
  for (let at = 0; at < 10; at += 1) await lone.apply(at)
  const { index, id } = await lone.raft.snapshot()
  await lone.until(() => lone.raft.status.firstIndex === index)
  await lone.raft.close()
  // Restored from it, as its own machine is empty; and one that kept all but the last.
  for (const has of [undefined, index - 1]) {
    const appliedIndex = has === undefined ? {} : { appliedIndex: () => has }
    await lone.open(keeping(appliedIndex), { snapshots: policy })
    await lone.lead()
    for (let at = 0; at < 5; at += 1) await lone.apply(at)
    assert.is(lone.raft.status.snapshot.last?.id, id, 'none is due')
    await lone.raft.close()
  }
  await lone.open(keeping(), { snapshots: policy })
  await lone.lead()
  while (lone.raft.status.appliedIndex < index + 20) {
    assert.is(lone.raft.status.snapshot.last?.id, id)
    await lone.apply(9)
  }
  await lone.until(() => lone.raft.status.snapshot.last?.id !== id)
  await lone.raft.close()
})

test('a machine that is durable by itself has its log compacted, however short its server runs each time', async () => {
  const policy = { entries: 20, trailingEntries: 1 }
  const lone = new Lone(memoryStore())
  const list: number[] = []
  let index = 0
  for (let start = 0; start < 6; start += 1) {
    const apply: Kept['machine']['apply'] = (batch) =>
      batch.map((entry) => {
        index = entry.index
        return list.push(entry.command)
      })
    await lone.open(keeping({ apply, appliedIndex: () => index }), { snapshots: policy })
    await lone.lead()
    for (let at = 0; at < 8; at += 1) await lone.apply(8 * start + at)
    await lone.until(() => !lone.raft.status.snapshot.isTaking)
    await lone.apply(-1)
    list.pop()
    assert.ok(lone.raft.status.lastIndex - lone.raft.status.firstIndex < 35, `after ${start + 1} starts`)
    await lone.raft.close()
  }
  assert.equal(
    list,
    Array.from({ length: 48 }, (_, at) => at),
  )
})

test('H1-9 what a state machine leaves unread of a snapshot is read to its end, and damage there is not passed over', async () => {
  for (const isDamaged of [false, true]) {
    const big = keeping({ snapshot: () => [new TextEncoder().encode('1;'), new Uint8Array(300_000)] })
    const lone = await new Lone().open(big).then((one) => one.lead())
    await lone.apply(1)
    const { id, bytes } = await lone.raft.snapshot()
    await lone.raft.close()
    if (isDamaged) lone.storage.snapshots.disk('/s1').flipBit(id, 8 * (bytes - SNAPSHOT_END_BYTES - 1))
    let asked = 0
    const hasty = keeping({
      restore: async (source) => {
        for await (const piece of source) {
          asked += piece.length
          break
        }
      },
    })
    await lone.open(hasty)
    const { raft } = lone
    await lone.until(() => raft.status.fault !== null || raft.status.role === 'leader')
    assert.ok(asked > 0 && asked < 200_000, `${asked} bytes`)
    assert.is(raft.status.fault?.code, isDamaged ? 'ERR_RAFT_SNAPSHOT_CORRUPT' : undefined)
    await raft.close()
  }
})

/** What a machine has saved, in one step: its state, and the index that it is of. */
interface Saved {
  readonly index: number
  readonly list: readonly number[]
}

/** Durable by itself: it saves after each command, and begins with what is in `saved`. */
function saving(saves: Saved[], begin: Saved): Kept {
  let { index } = begin
  const kept: Kept = keeping({
    appliedIndex: () => index,
    apply: (batch) =>
      batch.map((entry) => {
        kept.list = [...kept.list, entry.command]
        index = entry.index
        saves.push({ index, list: kept.list })
        return kept.list.length
      }),
    restore: async (source, { index: restored }) => {
      const parts: string[] = []
      for await (const bytes of source) parts.push(new TextDecoder().decode(bytes))
      kept.list = parts.join('').split(';').slice(0, -1).map(Number)
      index = restored
      saves.push({ index, list: kept.list })
    },
  })
  kept.list = begin.list
  return kept
}

test('A7 N11 a machine that saves its index with its state lacks no command and gets none twice, wherever it stopped', async () => {
  const saves: Saved[] = [{ index: 0, list: [] }]
  const lone = new Lone(memoryStore())
  const options = { snapshots: { entries: 1e6, trailingEntries: 3 } }
  await lone.open(saving(saves, { index: 0, list: [] }), options).then((one) => one.lead())
  for (let value = 1; value <= 12; value += 1) {
    await lone.apply(value)
    if (value === 8) await lone.raft.snapshot()
  }
  await lone.until(() => lone.raft.status.firstIndex > 1)
  const { firstIndex } = lone.raft.status
  await lone.raft.close()
  const all = Array.from({ length: 12 }, (_, at) => at + 1)
  assert.is(saves.length, 13)
  let restores = 0
  for (const saved of saves.slice()) {
    const kept = saving([], saved)
    const events = lone.events.length
    await lone.open(kept, options).then((one) => one.lead())
    assert.equal(kept.list, all, `it had saved ${saved.list.length} commands, up to ${saved.index}`)
    const isRestored = lone.events.slice(events).some(({ what }) => what === 'restored')
    assert.is(isRestored, saved.index === 0 || saved.index < firstIndex - 1, `up to ${saved.index}`)
    restores += Number(isRestored)
    await lone.raft.close()
  }
  assert.ok(restores > 2 && restores < 9, `${restores} times`)
})

test('H1-18 closing ends a snapshot under way and every call that waits for it', async () => {
  const kept = keeping({
    snapshot: () =>
      (async function* pieces() {
        yield new Uint8Array(1)
        await new Promise(() => {})
      })(),
  })
  const lone = await new Lone().open(kept).then((one) => one.lead())
  await lone.apply(1)
  const waiting = failure(lone.raft.snapshot())
  const impatient = failure(lone.raft.snapshot({ timeoutMs: 50 }))
  await lone.until(() => lone.raft.status.snapshot.isTaking)
  lone.clock.advance(100)
  await lone.until(() => lone.server.counters.snapshotCalls === 1)
  assert.is((await impatient).code, 'ERR_RAFT_TIMEOUT')
  await lone.raft.close()
  assert.is((await waiting).code, 'ERR_RAFT_CLOSED')
  const found = await lone.storage.snapshots.create('/s1').open()
  assert.is(found.whole.length, 0)
})

test.run()
