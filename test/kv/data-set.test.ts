/** The data set by itself: when keys die, what a walk meets, what its bounds are; and the entries that change it. */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { DataSet } from 'balsa-kv/data-set/data-set.js'
import type { Item } from 'balsa-kv/data-set/item.js'
import { KeyMap } from 'balsa-kv/data-set/key-map.js'
import { isRefusal, prepareGlob } from 'balsa-kv/data-set/glob.js'
import { addIntegers, parseInteger } from 'balsa-kv/data-set/integer.js'
import { keySlot } from 'balsa-kv/cluster/slots.js'
import { decodeEntry, encodeCommand, encodeTransaction, timeEntry } from 'balsa-kv/replication/entry-codec.js'
import { KvStateMachine } from 'balsa-kv/replication/kv-state-machine.js'
import { nullArray, ok, type Reply } from 'balsa-kv/resp/reply.js'
import { encodeReply } from 'balsa-kv/resp/reply-encoder.js'
import { Watchers } from 'balsa-kv/server/client/watchers.js'
import { logIndex, termOf } from '#balsa/types.js'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'

const test = suite('data set')

/** Applies entries as the library does. */
class Applied {
  readonly data = new DataSet()
  readonly #machine: KvStateMachine
  index = 0
  /** Whether somebody waits for the answers. */
  isAwaited = true

  constructor(skipped: ReadonlySet<number> = new Set()) {
    this.#machine = new KvStateMachine(this.data, null, skipped)
  }

  entry(time: number, command: Uint8Array): Reply {
    this.index += 1
    const entry = { index: logIndex(this.index), term: termOf(1), time, command }
    const context = { appliedIndex: entry.index, isAwaited: () => this.isAwaited, replaying: false }
    return (this.#machine.apply([entry], context) as readonly Reply[])[0] ?? null
  }

  items(): readonly Item[] {
    const items: Item[] = []
    this.data.scan(0, this.data.size, ({ key, value, deadline, version }) =>
      items.push({ key, value, deadline, version }),
    )
    return items
  }

  at(time: number, ...words: readonly string[]): Reply {
    return this.entry(time, encodeCommand(words))
  }
}

test('a lifetime begins at the time of its entry and ends with the entry at its deadline', () => {
  const applied = new Applied()
  applied.at(1000, 'set', 'k', 'v', 'ex', '10')
  applied.at(10_999, 'incr', 'n')
  assert.is(applied.data.get('k')?.value, 'v')
  assert.is(applied.data.get('k')?.deadline, 11_000)
  applied.entry(11_000, timeEntry)
  assert.is(applied.data.get('k'), undefined)
  assert.is(applied.data.size, 1)
})

test('what changes a value in place keeps its lifetime, and what writes it anew ends it', () => {
  for (const [words, deadline] of [
    [['incr', 'n'], 11_000],
    [['decrby', 'n', '3'], 11_000],
    [['append', 'n', '0'], 11_000],
    [['set', 'n', '7', 'keepttl'], 11_000],
    [['set', 'n', '7'], 0],
  ] as const) {
    const applied = new Applied()
    applied.at(1000, 'set', 'n', '5', 'px', '10000')
    applied.at(1001, ...words)
    assert.is(applied.data.get('n')?.deadline, deadline, words.join(' '))
  }
})

test('what only reads is carried out for those who wait, and changes nothing where nobody does', () => {
  const reads = [['keys', '*'], ['scan', '0'], ['mget', 'k1', 'k9'], ['exists', 'k1'], ['pttl', 'k1'], ['dbsize']]
  const inOldLogs = encodeTransaction(
    [{ key: 'k1', version: 2 }],
    [
      ['keys', '*'],
      ['incr', 'n'],
      ['mget', 'k1', 'k2'],
      ['scan', '0'],
      ['getdel', 'k2'],
    ],
  )
  const [awaited, replayed] = [true, false].map((isAwaited) => {
    const applied = Object.assign(new Applied(), { isAwaited })
    let looks = 0
    const { data } = applied
    const { get, scan } = data
    data.get = (key) => ((looks += 1), get.call(data, key))
    data.scan = (...how) => ((looks += 1), scan.apply(data, how))
    for (let n = 0; n < 3; n += 1) applied.at(1000, 'set', `k${n}`, 'v', 'px', '500')
    const before = looks
    const replies = reads.map((words) => applied.at(1000, ...words))
    const byReads = looks - before
    const transaction = applied.entry(1000, inOldLogs)
    return { byReads, replies, transaction, items: applied.items(), index: data.index, time: data.time }
  })
  assert.ok(awaited && replayed)
  const found = ['k2', 'k1', 'k0']
  const all = { type: 'encoded', chunks: ['*3\r\n', found.map((key) => `$2\r\n${key}\r\n`).join('')] }
  assert.equal(awaited.replies, [all, ['0', found], ['v', null], 1, 500, 3])
  assert.equal(replayed.replies, new Array(reads.length).fill(null))
  assert.is(replayed.byReads, 0)
  assert.equal(awaited.transaction, [all, 1, ['v', 'v'], ['0', ['n', ...found]], 'v'])
  assert.equal(replayed.items, awaited.items)
  assert.equal([replayed.index, replayed.time], [awaited.index, awaited.time])
  const stranger = Object.assign(new Applied(), { isAwaited: false })
  assert.throws(() => stranger.at(1000, 'hget', 'k', 'f'), /which this version does not know/)
})

test('a walk visits what was there when it began, as it was, once, whatever changes between its steps', () => {
  const key = fc.integer({ min: 0, max: 11 }).map((n) => `k${n}`)
  const change = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant('set'), key, fc.string({ maxLength: 3 })) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('set'), key, fc.constant('v'), fc.constant('px'), fc.constant('5')) },
    { weight: 4, arbitrary: fc.tuple(fc.constant('del'), key) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('pexpire'), key, fc.constantFrom('3', '-1', '50')) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('flushall')) },
    { weight: 2, arbitrary: fc.constant(null) },
  )
  const before = fc.array(change, { maxLength: 30 })
  const during = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), change), { maxLength: 40 })
  fc.assert(
    fc.property(before, during, fc.integer({ min: 0, max: 39 }), (past, changes, secondAt) => {
      const applied = new Applied()
      let time = 1000
      // Null: time passes, and what is dead is removed.
      const apply = (words: readonly string[] | null): Reply =>
        words === null ? applied.entry((time += 2), timeEntry) : applied.at(time, ...words)
      for (const words of past) apply(words)
      const begin = (): { expected: readonly Item[]; seen: Item[]; go: (count: number) => boolean } => {
        const seen: Item[] = []
        const walk = applied.data.walk(({ key: name, value, deadline, version }) =>
          seen.push({ key: name, value, deadline, version }),
        )
        return { expected: applied.items(), seen, go: (count) => walk.step(count) }
      }
      const walks = [begin()]
      for (const [at, [steps, words]] of changes.entries()) {
        if (at === secondAt) walks.push(begin())
        if (steps > 0) for (const { go } of walks) go(steps)
        apply(words)
      }
      for (const { expected, seen, go } of walks) {
        while (go(2));
        const byKey = (a: Item, b: Item): number => (a.key < b.key ? -1 : 1)
        assert.equal(seen.toSorted(byKey), expected.toSorted(byKey))
      }
      assert.is(applied.data.walks, 0)
    }),
    { numRuns: 2000, seed: drawSeed() },
  )
})

test('a long batch is applied in slices: between two entries, and to the same end', async () => {
  const data = new DataSet()
  let now = 0
  const deferred: (() => void)[] = []
  const pace = { now: () => (now += 3), defer: (callback: () => void) => void deferred.push(callback) }
  const batch = Array.from({ length: 50 }, (_, n) => {
    const command = encodeTransaction(
      [],
      [
        ['incr', 'a'],
        // So long that the clock is looked at after each entry.
        ['set', 'pad', 'x'.repeat(4096)],
        ['incr', 'b'],
      ],
    )
    return { index: logIndex(n + 1), term: termOf(1), time: 1000, command }
  })
  const answer = new KvStateMachine(data, pace).apply(batch, {
    appliedIndex: logIndex(50),
    isAwaited: () => true,
    replaying: false,
  })
  assert.instance(answer, Promise)
  let slices = 1
  for (; deferred.length > 0; slices += 1) {
    assert.is(data.get('a')?.value, data.get('b')?.value)
    assert.ok(Number(data.get('a')?.value) <= 4 * slices, 'four looks of 3 ms each')
    deferred.shift()?.()
    await Promise.resolve()
  }
  assert.is(slices, 13)
  assert.equal(
    await answer,
    batch.map(({ index }) => [index, ok, index]),
  )
})

test('short entries share a look at the clock, some kilobytes of them', async () => {
  let looks = 0
  const pace = {
    now: () => Math.min((looks += 1), 2),
    defer: () => assert.unreachable('there was time for all of them'),
  }
  const batch = Array.from({ length: 200 }, (_, n) => {
    const command = encodeCommand(['set', `k${n}`, 'v'])
    return { index: logIndex(n + 1), term: termOf(1), time: 1000, command }
  })
  await new KvStateMachine(new DataSet(), pace).apply(batch, {
    appliedIndex: logIndex(200),
    isAwaited: () => true,
    replaying: false,
  })
  assert.ok(looks >= 200 / 16 && looks <= 200 / 8, `${looks} looks for 200 entries`)
})

test('what an entry leaves to be done is done in slices before the next one, and seen by nobody', async () => {
  const run = async (): Promise<{ steps: number; seen: Set<string>; data: DataSet; replies: readonly Reply[] }> => {
    const data = new DataSet()
    let now = 0
    const deferred: (() => void)[] = []
    const pace = { now: () => (now += 3), defer: (callback: () => void) => void deferred.push(callback) }
    const machine = new KvStateMachine(data, pace)
    data.advance(1, 1000, 0)
    const keys = Array.from({ length: 100 }, (_, n) => `long${n}`)
    for (const key of keys) data.set(key, 'v'.repeat(4095), 0)
    for (let n = 0; n < 5000; n += 1) data.set(`k${n}`, 'v', 2000)
    const entries = [
      encodeTransaction(
        [],
        keys.map((key) => ['append', key, 'w']),
      ),
      timeEntry,
      encodeCommand(['dbsize']),
    ].map((command, at) => ({ index: logIndex(at + 2), term: termOf(1), time: 1000 + 1000 * at, command }))
    const answer = machine.apply(entries, { appliedIndex: logIndex(4), isAwaited: () => true, replaying: false })
    const seen = new Set<string>()
    let steps = 0
    for (; deferred.length > 0; steps += 1) {
      seen.add([data.get('long0'), data.get('long99'), data.get('k4999')].map((item) => item?.value.length).join())
      deferred.shift()?.()
      await Promise.resolve()
    }
    return { steps, seen, data, replies: await answer }
  }
  const { steps, seen, data, replies } = await run()
  // The first slice is no step.
  assert.ok(steps + 1 >= (100 + 5000 / 64) / 4, `${steps} steps`)
  assert.equal([...seen], ['4096,4096,1', '4096,4096,'])
  assert.equal(replies.slice(1), [ok, 100])
  assert.is(data.get('long50')?.value, `${'v'.repeat(4095)}w`)
  assert.not(data.hasWorkLeft)
})

test('SCAN looks at few keys when they are long, and still finds all', () => {
  const applied = new Applied()
  for (let n = 0; n < 40; n += 1) applied.data.set(`${'a'.repeat(100_000)}${n}`, 'v', 0)
  const found = new Set<string>()
  let cursor = '0'
  let most = 0
  do {
    const [next, keys] = applied.at(1000, 'scan', cursor, 'count', '4096') as readonly [string, readonly string[]]
    most = Math.max(most, keys.length)
    for (const key of keys) found.add(key)
    cursor = next
  } while (cursor !== '0')
  assert.is(found.size, 40)
  assert.ok(most > 1 && most <= 11, `${most} keys of 100,000 bytes in one answer`)
  const all = encodeReply(applied.at(1000, 'keys', '*'), 2)
  assert.ok(all.startsWith('*40\r\n'))
})

test('no value is longer than the longest there has been, which is forgotten with all keys at once', () => {
  const applied = new Applied()
  const { data } = applied
  applied.at(1000, 'set', 'a', 'v')
  assert.is(data.valueBytesMax, 1)
  applied.at(1000, 'append', 'a', 'v'.repeat(99))
  assert.is(data.valueBytesMax, 100)
  applied.at(1000, 'set', 'a', 'v', 'px', '1')
  applied.at(2000, 'del', 'a')
  assert.is(data.valueBytesMax, 100)
  applied.at(2000, 'flushall')
  assert.is(data.valueBytesMax, 0)
})

test('a command that fails stops no other of its transaction', () => {
  const applied = new Applied()
  applied.at(1000, 'set', 'n', 'no number')
  const commands = [
    ['set', 'a', '1'],
    ['incr', 'n'],
    ['set', 'b', '2'],
  ]
  const replies = applied.entry(1000, encodeTransaction([], commands)) as readonly Reply[]
  assert.is(replies.length, 3)
  assert.equal([applied.data.get('a')?.value, applied.data.get('b')?.value], ['1', '2'])
})

test('a map of keys grows in small steps, and is a map', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  // A part that doubles moves all of its keys at once, so none may hold many of them.
  const keys = Array.from({ length: 100_000 }, (_, n) => pick(random, ['key:', 'user:1000:', 'a/'.repeat(9)]) + n)
  const map = new KeyMap<number>()
  const model = new Map<string, number>()
  for (const [n, key] of keys.entries()) {
    map.add(key, n)
    model.set(key, n)
  }
  assert.ok(map.largestPart <= 2 * (keys.length / 256), `${map.largestPart} keys in one part (BALSA_SEED=${seed})`)
  for (const key of keys) {
    if (!key.endsWith('7')) continue
    map.delete(key)
    map.delete(key)
    model.delete(key)
  }
  assert.is(map.size, model.size)
  for (const key of [...keys, '', 'none']) assert.is(map.get(key), model.get(key))
})

test('V8 looks into every key for its hash, so that keys of one length are not looked through', () => {
  const map = new KeyMap<number>()
  const keys = Array.from({ length: 50 }, (_, n) => `${'k'.repeat(20_000)}${n}${'k'.repeat(20_000)}`)
  const { get, set } = Map.prototype
  let longest = 0
  Object.assign(Map.prototype, {
    get(this: Map<string, unknown>, key: string): unknown {
      longest = Math.max(longest, key.length)
      return get.call(this, key)
    },
    set(this: Map<string, unknown>, key: string, value: unknown) {
      longest = Math.max(longest, key.length)
      return set.call(this, key, value)
    },
  })
  try {
    for (const [n, key] of keys.entries()) map.add(key, n)
    keys.forEach((key, n) => assert.is(map.get(key), n))
    assert.is(map.get(`${'k'.repeat(40_000)}0`), undefined)
  } finally {
    Object.assign(Map.prototype, { get, set })
  }
  assert.ok(longest < 2 ** 14, `a key of ${longest} characters`)
  for (const key of keys) map.delete(key)
  assert.is(map.size, 0)
})

test('a key that thousands watch costs them one word, however often one entry changes it', () => {
  const watchers = new Watchers()
  const data = new DataSet()
  data.listener = watchers
  let told = 0
  const clients = Array.from({ length: 1000 }, () => ({ keyChanged: () => void (told += 1) }))
  for (const client of clients) watchers.add('k', client)
  for (let n = 0; n < 100; n += 1) data.set('k', String(n), 0)
  assert.is(told, 1000)
  for (const client of clients) watchers.remove('k', client)
  assert.is(watchers.count, 0)
  for (const client of clients) watchers.add('k', client)
  data.clear()
  data.set('k', 'again', 0)
  assert.is(told, 2000)
})

test('who watches a key is told of a value that is dead at once, also where there was none', () => {
  const watchers = new Watchers()
  const applied = new Applied()
  applied.data.listener = watchers
  applied.at(1000, 'set', 'dead', 'v', 'px', '10')
  applied.at(1000, 'set', 'lives', 'v')
  for (const key of ['none', 'lives', 'dead']) {
    let told = 0
    watchers.add(key, { keyChanged: () => void (told += 1) })
    applied.at(1020, 'set', key, 'v', 'pxat', '1', key === 'lives' ? 'nx' : 'xx')
    assert.is(told, 0, `${key}: nothing was written`)
    applied.at(1020, 'set', key, 'v', 'pxat', '1')
    assert.is(told, 1, key)
    assert.is(applied.at(1020, 'exists', key), 0)
  }
})

test('a dead key is as good as no key to the entry that finds it', () => {
  const applied = new Applied()
  applied.at(1000, 'set', 'n', '5', 'px', '10')
  assert.is(applied.at(1010, 'incr', 'n'), 1)
  assert.is(applied.data.get('n')?.deadline, 0)
  applied.at(1010, 'set', 'm', '5', 'px', '10')
  assert.is(applied.at(1020, 'persist', 'm'), 0)
  assert.is(applied.at(1020, 'setnx', 'm', 'x'), 1)
})

test('the clock of the data set never goes back', () => {
  const applied = new Applied()
  applied.at(5000, 'set', 'a', '1', 'px', '100')
  applied.at(4000, 'set', 'b', '1', 'px', '100')
  assert.is(applied.data.time, 5000)
  assert.is(applied.data.get('b')?.deadline, 5100)
})

test('a deadline changed over and over leaves nothing behind', () => {
  const applied = new Applied()
  for (let round = 0; round < 20_000; round += 1) applied.at(1000, 'pexpire', 'k', String(1000 + (round % 2)))
  applied.at(1000, 'set', 'k', 'v')
  for (let round = 0; round < 20_000; round += 1) applied.at(1000, 'pexpire', 'k', String(1_000_000 + (round % 2)))
  assert.is(applied.data.get('k')?.deadline, 1_001_001)
  assert.is(applied.data.expiring, 1)
  applied.entry(1_001_001, timeEntry)
  assert.equal([applied.data.size, applied.data.expiring], [0, 0])
})

test('to change a deadline looks at a few keys, however many were changed before', () => {
  const applied = new Applied()
  const { get } = KeyMap.prototype
  let looks = 0
  let most = 0
  KeyMap.prototype.get = function (this: KeyMap<unknown>, key: string): unknown {
    looks += 1
    return get.call(this, key)
  }
  try {
    for (let n = 0; n < 3000; n += 1) applied.at(1000, 'set', `k${n}`, 'v', 'px', '100000')
    for (let n = 0; n < 9000; n += 1) {
      looks = 0
      applied.at(1000, 'pexpire', `k${n % 3000}`, String(200_000 + n))
      most = Math.max(most, looks)
    }
  } finally {
    KeyMap.prototype.get = get
  }
  assert.ok(most > 0 && most <= 4, `${most} looks`)
})

test('keys die in the order of their deadlines, whatever became of others', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const data = new DataSet()
  const model = new Map<string, number>()
  for (let index = 1; index <= 5000; index += 1) {
    data.advance(index, index, 60)
    for (const [key, deadline] of model) if (deadline <= index) model.delete(key)
    const key = `k${below(random, 60)}`
    const deadline = index + 1 + below(random, 100)
    if (below(random, 3) === 0) {
      data.delete(key)
      model.delete(key)
    } else {
      data.set(key, 'v', deadline)
      model.set(key, deadline)
    }
    const next = Math.min(...model.values())
    assert.is(data.nextDeadline, next, `BALSA_SEED=${seed}, ${index}`)
    assert.is(data.expiring, model.size)
  }
})

test('all keys that die at once are removed by a bounded number at a time, and unseen at once', () => {
  const applied = new Applied()
  for (let key = 0; key < 10_500; key += 1) applied.at(1000, 'set', `k${key}`, 'v', 'px', '10')
  applied.entry(1010, timeEntry)
  assert.is(applied.data.size, 500)
  assert.is(encodeReply(applied.at(1010, 'keys', '*'), 2), '*0\r\n')
  applied.entry(2100, timeEntry)
  assert.is(applied.data.size, 0)
  assert.is(applied.data.expiring, 0)
})

test('a walk meets every key that lives through it, whatever is added and removed meanwhile', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  for (let round = 0; round < 300; round += 1) {
    const data = new DataSet()
    data.advance(1, 1000, 0)
    const stays = Array.from({ length: below(random, 30) }, (_, at) => `stays${at}`)
    const others = Array.from({ length: 30 }, (_, at) => `other${at}`)
    const keys = [...stays, ...others.slice(0, 15)].toSorted(() => random() - 0.5)
    for (const key of keys) data.set(key, 'v', 0)
    const met = new Set<string>()
    let cursor = 0
    do {
      cursor = data.scan(cursor, 1 + below(random, 5), ({ key }) => met.add(key))
      for (let change = below(random, 8); change > 0; change -= 1) {
        if (below(random, 2) === 0) data.set(pick(random, others), 'v', 0)
        else data.delete(pick(random, others))
      }
    } while (cursor !== 0)
    const missed = stays.filter((key) => !met.has(key))
    assert.equal(missed, [], `BALSA_SEED=${seed}, round ${round}`)
  }
})

test('two servers that apply the same entries hold the same, down to the order of a walk', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const [left, right] = [new Applied(), new Applied()]
  let time = 1000
  for (let step = 0; step < 5000; step += 1) {
    time += below(random, 20)
    const key = `k${below(random, 50)}`
    const words = pick(random, [
      ['set', key, String(step), 'px', '300'],
      ['del', key],
      ['append', key, 'x'],
      ['persist', key],
    ])
    assert.equal(left.at(time, ...words), right.at(time, ...words))
  }
  const walk = ({ data }: Applied): unknown[] => {
    const items: unknown[] = []
    data.scan(0, data.size, ({ key, value, deadline, version }) => items.push([key, value, deadline, version]))
    return items
  }
  assert.equal(walk(left), walk(right), `BALSA_SEED=${seed}`)
  assert.ok(walk(left).length > 0)
})

test('a transaction is applied whole when its watched keys are as they were, and not at all when they are not', () => {
  const applied = new Applied()
  applied.at(1, 'set', 'a', '1')
  const version = applied.data.version('a')
  const entry = (watchedVersion: number): Uint8Array =>
    encodeTransaction(
      [
        { key: 'a', version: watchedVersion },
        { key: 'missing', version: 0 },
      ],
      [
        ['incr', 'a'],
        ['get', 'a'],
      ],
    )
  assert.equal(applied.entry(1, entry(version)), [2, '2'])
  assert.equal(applied.entry(1, entry(version)), nullArray)
  assert.is(applied.data.get('a')?.value, '2')
})

test('an entry is read as it was written, whatever its bytes', () => {
  const text = fc.uint8Array({ maxLength: 20 }).map((array) => Buffer.from(array).toString('latin1'))
  const words = fc.array(text, { minLength: 1, maxLength: 5 })
  const watched = fc.array(fc.record({ key: text, version: fc.nat() }, { noNullPrototype: true }), { maxLength: 4 })
  const property = fc.property(words, watched, fc.array(words, { maxLength: 4 }), (single, keys, commands) => {
    assert.equal(decodeEntry(encodeCommand(single)), { type: 'command', words: single })
    assert.equal(decodeEntry(encodeTransaction(keys, commands)), { type: 'transaction', watched: keys, commands })
  })
  fc.assert(property, { seed: drawSeed() })
  assert.equal(decodeEntry(timeEntry), { type: 'time' })
  assert.is(Buffer.from(encodeCommand(['get', 'k'])).toString('hex'), '0200000003000000676574010000006b')
})

const unreadable: readonly (readonly [what: string, entry: Uint8Array, flaw: RegExp])[] = [
  ['a command of a later version', encodeCommand(['lpush', 'k', 'v']), /entry 2 holds the command 'lpush'/],
  ['no word at all in a transaction', encodeTransaction([], [['set', 'k', 'new'], []]), /holds the command ''/],
  ['such a command in a transaction', encodeTransaction([], [['set', 'k', 'new'], ['lpush']]), /'lpush'/],
  ['half a number', Uint8Array.of(1, 0), /entry 2 ends at byte 2/],
  ['a word that is cut off', encodeCommand(['get', 'key']).subarray(0, -1), /entry 2 ends at byte 17/],
  ['a count that nothing follows', Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255), /ends at byte 8/],
  ['more than it says', Uint8Array.of(0, 0, 0, 0, 1), /holds bytes behind its end/],
]

for (const [what, entry, flaw] of unreadable) {
  test(`an entry with ${what} halts the state machine whole, and is left out where an operator says so`, () => {
    const applied = new Applied()
    applied.at(1000, 'set', 'k', 'old')
    assert.throws(() => applied.entry(2000, entry), flaw)
    assert.throws(() => applied.entry(2000, entry), /--skip-entry 3/)
    assert.is(applied.data.get('k')?.value, 'old')
    const excused = new Applied(new Set([1, 2]))
    excused.at(1000, 'set', 'k', 'old')
    excused.entry(2000, entry)
    assert.equal([excused.data.get('k')?.value, excused.data.time], ['old', 2000], 'an entry that can be read counts')
  })
}

function accepts(pattern: string, text: string): boolean {
  const glob = prepareGlob(pattern)
  assert.not(isRefusal(glob), pattern)
  return !isRefusal(glob) && glob(text)
}

test('globs accept what Redis accepts', () => {
  const cases: readonly (readonly [pattern: string, text: string, accepted: boolean])[] = [
    ['h?llo', 'hello', true],
    ['h?llo', 'hllo', false],
    ['h*llo', 'heeeello', true],
    ['h[ae]llo', 'hallo', true],
    ['h[^e]llo', 'hello', false],
    ['h[a-c]llo', 'hbllo', true],
    ['h[c-a]llo', 'hbllo', true],
    ['h\\*llo', 'h*llo', true],
    ['h\\*llo', 'hello', false],
    ['[\\]]', ']', true],
    ['[]', 'a', false],
    ['[^]', 'a', true],
    ['[abc', 'c', true],
    ['a**b', 'ab', true],
    ['*', '', true],
    ['', '', true],
    ['', 'a', false],
    ['\\', '\\', true],
  ]
  for (const [pattern, text, accepted] of cases) assert.is(accepts(pattern, text), accepted, `${pattern} and ${text}`)
})

/** What the pattern says of a text, by trying every way there is. */
function acceptsSlowly(pattern: string, text: string): boolean {
  if (pattern === '') return text === ''
  const rest = pattern.slice(1)
  if (pattern.startsWith('*'))
    return acceptsSlowly(rest, text) || (text !== '' && acceptsSlowly(pattern, text.slice(1)))
  return text !== '' && (pattern.startsWith('?') || pattern[0] === text[0]) && acceptsSlowly(rest, text.slice(1))
}

test('a glob accepts what trying every way accepts, in patterns of one word and of many', () => {
  const patterns = fc.array(fc.constantFrom('*', '?', 'a', 'b'), { maxLength: 12 }).map((parts) => parts.join(''))
  const texts = fc.array(fc.constantFrom('a', 'b'), { maxLength: 10 }).map((parts) => parts.join(''))
  const property = fc.property(patterns, texts, fc.nat(70), (pattern, text, before) => {
    const expected = acceptsSlowly(pattern, text)
    assert.is(accepts(pattern, text), expected, `${pattern} and ${text}`)
    // The same behind so many other characters, that the places fall into other words.
    assert.is(accepts('?'.repeat(before) + pattern, 'x'.repeat(before) + text), expected, `${before} x ? ${pattern}`)
  })
  fc.assert(property, { seed: drawSeed() })
})

test('a pattern that is too long is refused, and the longest looks at each character of a key once', () => {
  assert.match(JSON.stringify(prepareGlob('a*'.repeat(128))), /256 bytes, at most 255 are allowed/)
  const longest = `${'a*'.repeat(127)}b`
  assert.is(accepts(longest, 'a'.repeat(5000)), false)
  assert.is(accepts(longest, `${'a'.repeat(5000)}b`), true)
  // As long as one key may be: trying every way would take longer than this test may.
  assert.is(accepts(longest, 'a'.repeat(1024 * 1024)), false)
})

test('to clear a data set looks at no key but those that somebody asks about', () => {
  const data = new DataSet()
  const changed: string[] = []
  let asked: readonly boolean[] = []
  for (let key = 0; key < 1000; key += 1) data.set(`k${key}`, 'v', 0)
  data.listener = {
    changed: (key) => void changed.push(key),
    cleared: (wasThere) => (asked = [wasThere('k1'), wasThere('k1000')]),
    replaced: () => assert.unreachable('nothing was replaced'),
  }
  data.clear()
  assert.equal([data.size, changed, asked], [0, [], [true, false]])
  assert.equal(data.get('k1'), undefined)
  data.set('k1', 'again', 0)
  assert.is(data.size, 1)
})

test('integers have 64 bits and one spelling', () => {
  assert.is(parseInteger('9223372036854775807'), 9223372036854775807n)
  assert.is(parseInteger('9223372036854775808'), null)
  assert.is(parseInteger('-9223372036854775808'), -9223372036854775808n)
  for (const text of ['', '-', '+1', '01', '-0', ' 1', '1 ', '1.0', '0x1']) assert.is(parseInteger(text), null, text)
  assert.is(addIntegers(9007199254740991, 1), 9007199254740992n)
  assert.is(addIntegers(9007199254740992n, -1), 9007199254740991)
  assert.is(addIntegers(9223372036854775807n, 1), null)
})

test('slots are those of Redis Cluster', () => {
  assert.is(keySlot('123456789'), 0x31c3)
  assert.is(keySlot('foo{bar}zap'), keySlot('bar'))
  assert.is(keySlot('foo{}{bar}'), 8363)
  assert.is(keySlot('foo{{bar}}zap'), keySlot('{bar'))
})

test.run()
