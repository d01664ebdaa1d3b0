/**
 * Snapshots of the data set: what is written is the moment at which the snapshot was taken, whatever changes beside it,
 * and a server that was restored goes on as one that has applied every entry. What a turn does is bounded, and what is
 * kept too.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from 'balsa-raft'
import type { Capture } from 'balsa-kv/data-set/capture.js'
import { DataSet } from 'balsa-kv/data-set/data-set.js'
import { itemBytes, type Item } from 'balsa-kv/data-set/item.js'
import { Walk } from 'balsa-kv/data-set/walk.js'
import { KEPT_BEYOND_SHARE, SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECE_STEPS } from 'balsa-kv/limits.js'
import { encodeCommand, encodeTransaction, timeEntry } from 'balsa-kv/replication/entry-codec.js'
import { KvStateMachine } from 'balsa-kv/replication/kv-state-machine.js'
import type { Pace } from 'balsa-kv/replication/pace.js'
import { encodeHead, encodeItems } from 'balsa-kv/replication/snapshot-format.js'
import type { Reply } from 'balsa-kv/resp/reply.js'
import { machineClock } from 'balsa-kv/server/clock.js'
import { Reads } from 'balsa-kv/server/reads.js'
import { logIndex, termOf } from '#balsa/types.js'
import { below, drawSeed, pick, randomFrom, type Random } from '../support/seed.js'
import { command, RawClient, startServer } from './kv-fixture.js'

const test = suite('snapshots of kv')

/** What a server of the cluster has: a data set, and the state machine that entries come to. */
class Replica {
  readonly data = new DataSet()
  readonly machine: KvStateMachine
  index = 0

  constructor(pace: Pace | null = null, memoryMax?: number) {
    this.machine = new KvStateMachine(this.data, pace, new Set(), memoryMax)
  }

  apply(time: number, bytes: Uint8Array): Reply {
    const index = logIndex((this.index += 1))
    const entry = { index, term: termOf(1), time, command: bytes }
    const replies = this.machine.apply([entry], { appliedIndex: index, isAwaited: () => true, replaying: false })
    return (replies as readonly Reply[])[0] ?? null
  }

  at(time: number, ...words: readonly string[]): Reply {
    return this.apply(time, encodeCommand(words))
  }

  async restore(bytes: Uint8Array, index: number, cut: (bytes: Uint8Array) => readonly Uint8Array[] = (all) => [all]) {
    this.index = index
    await this.machine.restore(streamed(cut(bytes)), { index })
  }
}

async function* streamed(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield await Promise.resolve(piece)
}

/** All that servers must agree on, and that a reader can tell: the order of SCAN too. */
function stateOf(data: DataSet): unknown {
  const items: Item[] = []
  data.scan(0, Infinity, ({ key, value, deadline, version }) => items.push({ key, value, deadline, version }))
  const { index, time, size, expiring, bytes, valueBytesMax, nextDeadline } = data
  return { items, index, time, size, expiring, bytes, valueBytesMax, nextDeadline }
}

async function piecesOf(source: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = []
  for await (const piece of source) pieces.push(piece)
  return pieces
}

function cutAnew(random: Random, bytes: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length;) {
    const length = 1 + below(random, pick(random, [3, 60, 600]))
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return pieces
}

function randomEntry(random: Random, step: number): Uint8Array {
  const key = (): string => `${pick(random, ['k', 'key:', 'long'.repeat(9)])}${below(random, 25)}`
  // The long ones make several pieces of it.
  const value = pick(random, [String(step), 'v'.repeat(below(random, 300)), 'w'.repeat(below(random, 15_000)), ''])
  const lifetime = String(pick(random, [20, 20, 300, -1]))
  const words = pick<readonly string[]>(random, [
    ['set', key(), value],
    ['set', key(), value, 'px', String(pick(random, [20, 20, 300]))],
    ['set', key(), value, 'keepttl'],
    ['mset', key(), value, key(), value],
    ['incr', key()],
    ['append', key(), 'x'],
    ['pexpire', key(), lifetime],
    ['persist', key()],
    ['del', key(), key(), key()],
    ['getdel', key()],
    ['dbsize'],
    ['scan', String(below(random, 20))],
  ])
  if (below(random, 12) === 0) return timeEntry
  // So many that the entry after their deadline removes some of them only.
  const mortals = Array.from({ length: 40 }, (_, n) => ['set', `mortal${n}`, value.slice(-9), 'px', '20'])
  if (below(random, 30) === 0) return encodeTransaction([], mortals)
  if (below(random, 300) === 0) return encodeCommand(['flushall'])
  if (below(random, 5) > 0) return encodeCommand(words)
  const watched = [{ key: key(), version: below(random, 3) * below(random, step) }]
  const commands = [words, ['set', key(), value, 'px', '20'], ['set', key(), value, 'px', '20'], ['dbsize']]
  return encodeTransaction(below(random, 2) === 0 ? watched : [], commands)
}

interface Taking {
  readonly at: number
  readonly source: AsyncIterator<Uint8Array>
  readonly pieces: Uint8Array[]
}

test('N16: a snapshot is the moment at which it was taken, and who is restored from it goes on as every other', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  for (let round = 0; round < 12; round += 1) {
    const live = new Replica()
    const log: { readonly time: number; readonly bytes: Uint8Array; readonly reply: Reply }[] = []
    const taking: Taking[] = []
    const taken: Taking[] = []
    let time = 1000
    for (let step = 1; step <= 600; step += 1) {
      // Few moments, so that many keys die at the same one.
      if (below(random, 4) === 0) time += 10
      const bytes = randomEntry(random, step)
      log.push({ time, bytes, reply: live.apply(time, bytes) })
      if (below(random, 60) === 0) {
        taking.push({ at: live.index, source: live.machine.snapshot()[Symbol.asyncIterator](), pieces: [] })
      }
      for (const one of taking.filter(() => below(random, 30) === 0)) {
        const { done, value } = await one.source.next()
        if (done !== true) one.pieces.push(value)
        else taken.push(...taking.splice(taking.indexOf(one), 1))
      }
    }
    for (const one of taking) {
      one.pieces.push(...(await piecesOf({ [Symbol.asyncIterator]: () => one.source })))
      taken.push(one)
    }
    assert.equal([live.data.keptBytes, live.data.walks, live.data.captures.size], [0, 0, 0])
    for (const { at, pieces } of taken) {
      const twin = new Replica()
      for (const { time: then, bytes } of log.slice(0, at)) twin.apply(then, bytes)
      const restored = new Replica()
      restored.at(1, 'set', 'old', 'of before', 'px', '1')
      await restored.restore(Buffer.concat(pieces), at, (all) => cutAnew(random, all))
      const where = `BALSA_SEED=${seed}, round ${round}, snapshot at ${at}`
      assert.equal(stateOf(restored.data), stateOf(twin.data), where)
      for (const { time: then, bytes, reply } of log.slice(at)) assert.equal(restored.apply(then, bytes), reply, where)
      assert.equal(stateOf(restored.data), stateOf(live.data), where)
    }
  }
})

/** Keys of some kilobytes in all, and a turn of the event loop that comes when it is called. */
function filled(keys: number, value: string, memoryMax?: number): Replica & { readonly turns: () => number } {
  let turns = 0
  const defer = (callback: () => void): void => {
    turns += 1
    callback()
  }
  const replica = new Replica({ now: () => 0, defer }, memoryMax)
  for (let n = 0; n < keys; n += 1) replica.at(1000, 'set', `k${n}`, value)
  return Object.assign(replica, { turns: () => turns })
}

test('N16: to take a snapshot looks at no key, and each piece is a bounded part of the work of one turn', async () => {
  const replica = filled(20_000, 'v'.repeat(30))
  const { step } = Walk.prototype
  let looks = 0
  Walk.prototype.step = function (this: Walk, count: number): boolean {
    looks += count
    return step.call(this, count)
  }
  try {
    const source = replica.machine.snapshot()
    assert.is(looks, 0)
    // Half of them are set aside, so that the walk comes to many places without a key to write.
    for (let n = 0; n < 20_000; n += 2) replica.at(1001, 'set', `k${n}`, 'w')
    let pieces = 0
    for (;;) {
      const [looksBefore, turnsBefore] = [looks, replica.turns()]
      const { done, value } = await source.next()
      if (done === true) break
      pieces += 1
      assert.ok(value.length < SNAPSHOT_PIECE_BYTES + 200, `${value.length} bytes`)
      const turns = replica.turns() - turnsBefore
      if (pieces > 1) assert.ok(turns >= 1 && looks - looksBefore <= turns * SNAPSHOT_PIECE_STEPS)
    }
    assert.ok(pieces > (20_000 * 60) / SNAPSHOT_PIECE_BYTES)
    assert.is(looks, 20_000)
  } finally {
    Walk.prototype.step = step
  }
})

test('N16: a snapshot of which all was set aside and written goes over the rest in bounded turns, and gives no empty piece', async () => {
  const replica = filled(3 * SNAPSHOT_PIECE_STEPS, '')
  const source = replica.machine.snapshot()
  for (let n = 0; n < 3 * SNAPSHOT_PIECE_STEPS; n += 1) replica.at(1001, 'set', `k${n}`, 'w')
  const pieces = await piecesOf(source)
  for (const piece of pieces) assert.ok(piece.length > 0)
  const written = pieces.reduce((sum, { length }) => sum + length, 0)
  assert.ok(replica.turns() >= Math.floor(written / SNAPSHOT_PIECE_BYTES) + 2, `${replica.turns()} turns`)
})

test('N16: while there is load, all else has nine times what a piece takes; without, pieces follow each other', async () => {
  const turnsBetween = async (ofOthersMs: number): Promise<readonly number[]> => {
    let now = 0
    let turns = 0
    const defer = (callback: () => void): void => {
      turns += 1
      now += ofOthersMs
      callback()
    }
    // A look costs a millisecond, and a piece lies between two.
    const replica = new Replica({ now: () => (now += 1), defer })
    for (let n = 0; n < 5000; n += 1) replica.at(1000, 'set', `k${n}`, 'v'.repeat(30))
    const between: number[] = []
    for await (const piece of replica.machine.snapshot()) {
      if (piece.length > 48) between.push(turns)
      turns = 0
    }
    return between.slice(1)
  }
  assert.equal(await turnsBetween(0.2), [7, 7, 7, 7])
  assert.equal(await turnsBetween(5), [2, 2, 2, 2])
  const idle = new Replica({ now: () => 0, defer: (callback) => callback() })
  for (let n = 0; n < 5000; n += 1) idle.at(1000, 'set', `k${n}`, 'v'.repeat(30))
  assert.ok((await piecesOf(idle.machine.snapshot())).length >= 5)
})

test('a restore reads in slices, each in a turn of its own, however the bytes come', async () => {
  const source = filled(20_000, 'v'.repeat(30))
  const bytes = Buffer.concat(await piecesOf(source.machine.snapshot()))
  for (const cut of [1000, SNAPSHOT_PIECE_BYTES, bytes.length]) {
    const replica = filled(0, '')
    const cuts = (all: Uint8Array): Uint8Array[] =>
      Array.from({ length: Math.ceil(all.length / cut) }, (_, n) => all.subarray(n * cut, (n + 1) * cut))
    await replica.restore(bytes, source.index, cuts)
    assert.equal(stateOf(replica.data), stateOf(source.data))
    const turns = replica.turns()
    assert.ok(turns >= Math.floor(bytes.length / (SNAPSHOT_PIECE_BYTES + 200)), `${turns} turns, pieces of ${cut}`)
    assert.ok(replica.data.captures.size === 0 && replica.data.walks === 0)
  }
})

test('a snapshot that is not wanted any longer lets go of everything, also before it has begun', async () => {
  for (const begins of [false, true]) {
    const replica = filled(3000, 'v'.repeat(100))
    const source = replica.machine.snapshot()
    if (begins) for (let n = 0; n < 2; n += 1) await source.next()
    for (let n = 0; n < 3000; n += 1) replica.at(1001, 'set', `k${n}`, 'w')
    assert.ok(replica.data.keptBytes > 2000 * 276)
    await source.return()
    assert.equal([replica.data.keptBytes, replica.data.walks, replica.data.captures.size], [0, 0, 0])
    assert.equal(await source.next(), { done: true, value: undefined })
    for (let n = 0; n < 3000; n += 1) replica.at(1002, 'set', `k${n}`, 'x')
    assert.is(replica.data.keptBytes, 0)
  }
})

const captureOf = ({ data }: Replica): Capture => {
  const [capture] = data.captures
  assert.ok(capture)
  return capture
}

test('what changes beside a snapshot is kept once, counted, and given back as it is written', async () => {
  const replica = filled(3000, 'v'.repeat(100))
  const before = replica.data.bytes
  const source = replica.machine.snapshot()
  for (const value of ['w', 'x']) for (let n = 0; n < 3000; n += 1) replica.at(1001, 'set', `k${n}`, value)
  assert.is(replica.data.keptBytes, before, 'each key once')
  assert.is(replica.data.bytes, before - 3000 * 99)
  let last = before
  const capture = captureOf(replica)
  for await (const piece of source) {
    if (capture.handedOut === 0) continue
    assert.ok(piece.length > 0 && replica.data.keptBytes < last)
    last = replica.data.keptBytes
  }
  assert.equal([last, capture.handedOut], [0, 3000])
})

test('all that is removed at once is kept until the snapshot of it is written', async () => {
  const replica = filled(3000, 'v'.repeat(100))
  replica.at(1000, 'set', 'k0', 'changed')
  const before = replica.data.bytes
  const source = replica.machine.snapshot()
  replica.at(1001, 'set', 'k0', 'again')
  replica.at(1001, 'flushall')
  assert.ok(replica.data.keptBytes >= before)
  replica.at(1001, 'set', 'k0', 'new')
  const restored = new Replica()
  await restored.restore(Buffer.concat(await piecesOf(source)), replica.index)
  assert.is(replica.data.keptBytes, 0)
  assert.equal([restored.data.size, restored.data.get('k0')?.value], [3000, 'changed'])
})

test('a snapshot for which too much would be kept is given up, with the figures and the remedy; entries are applied', async () => {
  const bytes = filled(3000, 'v'.repeat(100)).data.bytes
  const replica = filled(3000, 'v'.repeat(100), bytes)
  const source = replica.machine.snapshot()
  await source.next()
  let most = 0
  for (let n = 0; n < 3000; n += 1) {
    replica.at(1001, 'set', `k${n}`, 'w'.repeat(100))
    most = Math.max(most, replica.data.bytes + replica.data.keptBytes)
  }
  const key = itemBytes({ key: 'k1000', value: 'v'.repeat(100), deadline: 0, version: 0 })
  assert.ok(most > bytes * (1 + KEPT_BEYOND_SHARE) - key && most <= bytes * (1 + KEPT_BEYOND_SHARE), `${most}`)
  assert.equal([replica.data.keptBytes, replica.data.walks, replica.data.captures.size], [0, 0, 0])
  await source.next().then(
    () => assert.unreachable('nothing is whole any longer'),
    (error: Error) => assert.match(error.message, /given up: \d+ bytes .* maxmemory, \d+, .*: raise it/),
  )
  assert.is(replica.data.get('k2999')?.value, 'w'.repeat(100))
  // The next one has all the room again.
  assert.ok((await piecesOf(replica.machine.snapshot())).length > 1)
})

test('a snapshot that is being written when its server is restored from a newer one is given up', async () => {
  const replica = filled(3000, 'v')
  const source = replica.machine.snapshot()
  await source.next()
  const newer = filled(10, 'v')
  await replica.restore(Buffer.concat(await piecesOf(newer.machine.snapshot())), newer.index)
  assert.is(replica.data.keptBytes, 0)
  await source.next().then(
    () => assert.unreachable('its keys are gone'),
    (error: Error) => assert.match(error.message, /replaced by a newer snapshot/),
  )
})

/** Every later version reads this: a change of it is a new version of the format. */
const FIXTURE =
  '62616c73612d6b76010000000900000000000000000018400000000000448f4000000000000000400000000000007940' +
  '010000000200000005000000000000000088a340000000000000184000ff76616c7565' +
  '000000000100000000000000000000000000000000000000000000406b'

test('bytes that are no snapshot are refused in words, and nothing of them is ever seen', async () => {
  const source = new Replica()
  source.at(1000, 'set', 'a', 'first')
  source.at(1000, 'set', 'bb', 'second', 'px', '500')
  source.at(1000, 'set', 'c', '')
  const whole = Buffer.concat(await piecesOf(source.machine.snapshot()))
  const refused = async (bytes: Uint8Array, flaw: RegExp): Promise<void> => {
    const replica = new Replica()
    replica.at(1000, 'set', 'old', 'v')
    await replica.restore(bytes, source.index).then(
      () => assert.unreachable(`restored: ${flaw}`),
      (error: Error) => assert.match(error.message, flaw),
    )
    assert.equal([replica.data.size, replica.data.bytes, replica.data.isRestoring], [0, 0, true])
  }
  for (let length = 0; length < whole.length; length += 1) {
    await refused(
      whole.subarray(0, length),
      /ends before it has begun|ends amid a key|keys of the 3|3 that it announces/,
    )
  }
  await refused(Buffer.concat([whole, Buffer.of(0)]), /ends amid a key/)
  const changed = (at: number, bytes: readonly number[]): Uint8Array => {
    const copy = Buffer.from(whole)
    copy.set(bytes, at)
    return copy
  }
  await refused(changed(0, [0]), /begin as a snapshot of balsa-kv/)
  await refused(changed(8, [2]), /version 2, this server knows 1: upgrade it/)
  await refused(changed(12, [1]), /value of \d bytes, at most 1/)
  await refused(changed(16, [0, 0, 0, 0, 0, 0, 0x59, 0x40]), /entry 100, after the last one that it covers/)
  await refused(changed(24, [0, 0, 0, 0, 0, 0, 0xf8, 0x7f]), /a time that is none: NaN/)
  await refused(changed(32, [0, 0, 0, 0, 0, 0, 0xf8, 0x3f]), /count of keys that is no whole number: 1.5/)
  await refused(changed(40, [0, 0, 0, 0, 0, 0, 0, 0]), /bytes of keys and values, where it announces/)
  await refused(changed(48, [9]), /key at place 9, of 3/)
  await refused(changed(48, [1]), /two keys at place 1/)
  await refused(changed(52, [255, 255, 255, 255]), /a key of 4294967295 bytes, at most/)
  await refused(changed(56, [255, 255, 255, 255]), /a value of 4294967295 bytes, at most/)
  await refused(changed(60, [0, 0, 0, 0, 0, 0, 0xf0, 0x7f]), /a deadline that is none: Infinity/)
  await refused(changed(68, [0, 0, 0, 0, 0, 0, 0x59, 0x40]), /entry 100 changed, after the last one, 3/)
  const head = encodeHead({ index: 1, time: 1, size: 2, bytes: 354, valueBytesMax: 0 })
  const holding = (...keys: readonly string[]): Uint8Array => {
    const items = keys.map((key, at) => ({ key, value: '', deadline: 0, version: 1, place: at % 2 }))
    return Buffer.concat([head, encodeItems(items, 29 * keys.length)])
  }
  await refused(holding('k', 'k'), /a key that is there twice/)
  await refused(holding('a', 'b', 'c'), /more than the 2 keys/)
})

test('whatever happens to its bytes, a snapshot is a data set that is right in itself, or refused', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const source = new Replica()
  for (let n = 0; n < 30; n += 1) source.at(1000, 'set', `k${n}`, 'v'.repeat(n), 'px', String(1 + (n % 3)))
  const whole = Buffer.concat(await piecesOf(source.machine.snapshot()))
  let refused = 0
  for (let round = 0; round < 1000; round += 1) {
    const bytes = Buffer.from(whole)
    for (let flips = 1 + below(random, 3); flips > 0; flips -= 1)
      bytes[below(random, bytes.length)] = below(random, 256)
    const replica = new Replica()
    try {
      await replica.restore(bytes, source.index)
    } catch (error) {
      refused += 1
      assert.match((error as Error).message, /^the snapshot up to entry 30 cannot be restored, at byte \d+ of \d+/)
      assert.is(replica.data.size, 0)
      continue
    }
    const { data } = replica
    let sum = 0
    const capture = data.capture(() => null)
    while (capture.step((item) => void (sum += itemBytes(item))));
    assert.is(data.bytes, sum, `BALSA_SEED=${seed}, round ${round}`)
  }
  assert.ok(refused > 500, `${refused} of 1000 were refused`)
})

test('a snapshot of the first version is read', async () => {
  const replica = new Replica()
  await replica.restore(Buffer.from(FIXTURE, 'hex'), 6)
  assert.equal(stateOf(replica.data), {
    items: [
      { key: '\u0000\u00ff', value: 'value', deadline: 2500, version: 6 },
      { key: 'k', value: '', deadline: 0, version: 2 },
    ],
    ...{ index: 6, time: 1000.5, size: 2, expiring: 1, bytes: 400, valueBytesMax: 9, nextDeadline: 2500 },
  })
  assert.is(Buffer.concat(await piecesOf(replica.machine.snapshot())).toString('hex'), FIXTURE)
})

test('a server that reads a snapshot answers stale reads with LOADING, and knows no watched key afterwards', async () => {
  const fixture = await startServer()
  const client = await RawClient.connect(fixture.port)
  const ask = (...words: readonly string[]): Promise<string> => client.ask(command(...words), '\r\n')
  try {
    await ask('SET', 'k', 'v')
    await ask('WATCH', 'k')
    // The same key, at the same version: what EXEC asks of the log would hold.
    const other = new Replica()
    other.at(1000, 'set', 'k', 'v')
    const bytes = Buffer.concat(await piecesOf(other.machine.snapshot()))
    let goOn: () => void = () => undefined
    const halfWay = new Promise<void>((resolve) => (goOn = resolve))
    async function* source(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 60)
      await halfWay
      yield bytes.subarray(60)
    }
    const restoring = new KvStateMachine(fixture.data).restore(source(), { index: other.index })
    const reader = await RawClient.connect(fixture.port)
    fixture.raft.follow({ id: 's2', address: '127.0.0.1:2' })
    await reader.ask(command('READONLY'), '\r\n')
    const refusal = '-LOADING this server is reading a snapshot of the data set; ask another, or again\r\n'
    assert.is(await reader.ask(command('GET', 'k'), '\r\n'), refusal)
    assert.is(await reader.ask(command('KEYS', '*'), '\r\n'), refusal)
    assert.is(await reader.ask(command('CLUSTER', 'COUNTKEYSINSLOT', '1'), '\r\n'), refusal)
    assert.match(await reader.ask(command('INFO', 'persistence'), 'log_capacity_bytes:0\r\n\r\n'), /loading:1\r\n/)
    goOn()
    await restoring
    assert.is(await reader.ask(command('GET', 'k'), 'v\r\n'), '$1\r\nv\r\n')
    assert.match(await reader.ask(command('INFO', 'persistence'), 'log_capacity_bytes:0\r\n\r\n'), /loading:0\r\n/)
    reader.close()
    fixture.raft.lead()
    await ask('MULTI')
    await ask('SET', 'a', 'b')
    assert.is(await ask('EXEC'), '*-1\r\n')
  } finally {
    client.close()
    await fixture.close()
  }
})

test('reads that were confirmed, and come to their turn when the data set is being replaced, fail as those of no leader', () => {
  const replica = filled(1, 'v')
  const failures: unknown[] = []
  const read = {
    ...{ owner: {}, keys: ['k0'], work: 1, consistency: 'linearizable' as const },
    execute: () => assert.unreachable('there is nothing to read'),
    failed: (error: unknown) => void failures.push((error as RaftError).code),
  }
  replica.data.beginRestore()
  new Reads(replica.data, machineClock).execute([read], 0)
  assert.equal(failures, ['ERR_RAFT_NOT_LEADER'])
})

test('what is kept for a snapshot counts for maxmemory, and INFO tells it', async () => {
  const fixture = await startServer({ memoryMax: 60_000 })
  const client = await RawClient.connect(fixture.port)
  const ask = (...words: readonly string[]): Promise<string> => client.ask(command(...words), '\r\n')
  const persistence = (): Promise<string> => client.ask(command('INFO', 'persistence'), 'log_capacity_bytes:0\r\n\r\n')
  try {
    for (let at = 0; at < 4; at += 1) await ask('SET', `k${at}`, 'v'.repeat(9000))
    const source = new KvStateMachine(fixture.data).snapshot()
    for (let at = 0; at < 4; at += 1) await ask('DEL', `k${at}`)
    const kept = 4 * (9000 + 2 + 176)
    assert.match(await persistence(), new RegExp(`current_cow_size:${kept}\r\ncurrent_save_keys_processed:0\r\n`))
    assert.match(await persistence(), /current_save_keys_total:4\r\n/)
    for (let at = 0; at < 3; at += 1) await ask('SET', `n${at}`, 'v'.repeat(9000))
    assert.match(await ask('SET', 'n', 'v'), /^-OOM command not allowed/)
    await piecesOf(source)
    assert.match(await persistence(), /current_cow_size:0\r\ncurrent_save_keys_processed:0\r\n/)
    assert.is(await ask('SET', 'n', 'v'), '+OK\r\n')
  } finally {
    client.close()
    await fixture.close()
  }
})

test.run()
