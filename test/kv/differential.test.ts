/**
 * The same commands to a real redis-server and to this server must give the same bytes. Random sequences over few keys,
 * so that commands meet; deadlines far in the future or in the past, so that no clock decides, or such that what is to
 * die is waited for. `BALSA_SEED=<seed>` replays a run.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { below, drawSeed, pick, randomFrom, type Random } from '../support/seed.js'
import { testUnless } from '../support/skip.js'
import { until } from '../support/until.js'
import { command, RawClient, startServer } from './kv-fixture.js'
import { missingRedis, startRedis } from './real-redis.js'
import type { SingleServerRaft } from './single-server-raft.js'

const test = suite('kv server beside redis-server')

const missing = missingRedis()

type Words = readonly string[]

const leader = { id: 's2', address: '127.0.0.1:7102' }

/**
 * Runs both servers, and compares what each answers to each list of commands sent on one connection. `forwards`: ours
 * follows another, which carries out what is sent.
 */
async function compare(
  pipelines: readonly (readonly Words[])[],
  note: string,
  { version = '2', forwards = false } = {},
): Promise<void> {
  const redis = await startRedis()
  const prepare = (raft: SingleServerRaft): void => (forwards ? raft.follow(leader) : undefined)
  const ours = await startServer({ forwards, prepare })
  const [left, right] = await Promise.all([RawClient.connect(redis.port), RawClient.connect(ours.port)])
  try {
    // Its answer holds what must differ.
    const hello = command('HELLO', version) + command('ECHO', 'hello-done')
    await Promise.all([left.ask(hello, 'hello-done\r\n'), right.ask(hello, 'hello-done\r\n')])
    for (const pipeline of pipelines) {
      const bytes =
        pipeline.map((words) => command(...words)).join('') + command('DISCARD') + command('ECHO', 'end-of-pipeline')
      const [expected, actual] = await Promise.all([
        left.ask(bytes, 'end-of-pipeline\r\n'),
        right.ask(bytes, 'end-of-pipeline\r\n'),
      ])
      const sent = pipeline.map((words) => JSON.stringify(words.map((word) => word.slice(0, 40)))).join(' ')
      if (!alike(expected, actual)) assert.is(actual, expected, `${note}: the answers differ to ${sent}`)
    }
  } finally {
    left.close()
    right.close()
    await ours.close()
    await redis.stop()
  }
}

/** The same bytes, but for seconds left to live, which two clocks may round to neighbours. */
function alike(expected: string, actual: string): boolean {
  if (expected === actual) return true
  const [left, right] = [expected.split('\r\n'), actual.split('\r\n')]
  const seconds = /^:\d{5,10}$/
  return (
    left.length === right.length &&
    left.every((line, at) => {
      const other = right[at] ?? ''
      if (line === other) return true
      return seconds.test(line) && seconds.test(other) && Math.abs(Number(line.slice(1)) - Number(other.slice(1))) <= 2
    })
  )
}

testUnless(test, missing, 'random commands are answered alike, byte by byte', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  // Redis counts dead keys until it meets them; EXISTS makes it meet them.
  const count = [['exists', ...keys], ['dbsize']]
  const pipelines = Array.from({ length: 1500 }, () => [
    ...Array.from({ length: 1 + below(random, 6) }, () => draw(random)),
    ...count,
  ])
  await compare(pipelines, `BALSA_SEED=${seed}`, { forwards: below(random, 2) === 0 })
})

testUnless(test, missing, 'random transactions are answered alike', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const steering = [['MULTI'], ['EXEC'], ['DISCARD'], ['UNWATCH'], ['WATCH', 'a'], ['WATCH', 'b', 'c'], ['MULTI', 'x']]
  const pipelines = Array.from({ length: 1000 }, () =>
    Array.from({ length: 1 + below(random, 8) }, () =>
      below(random, 2) === 0 ? pick(random, steering) : drawForTransaction(random),
    ),
  )
  await compare(pipelines, `BALSA_SEED=${seed}`, { forwards: below(random, 2) === 0 })
})

testUnless(test, missing, 'lifetimes that change beside WATCH are answered alike', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const few = ['a', 'b', 'c']
  const pipelines = Array.from({ length: 1000 }, () =>
    Array.from({ length: 4 + below(random, 10) }, () => {
      const key = pick(random, few)
      return pick<() => Words>(random, [
        () => [pick(random, ['watch', 'watch', 'get', 'persist', 'del', 'incr', 'exists']), key],
        () => [pick(random, ['multi', 'multi', 'exec', 'exec', 'exec', 'unwatch', 'discard'])],
        () => [pick(random, ['expire', 'pexpire']), key, future(random), ...expireOptions(random)],
        () => ['expire', key, pick(random, ['0', '-1', '100000'])],
        // Dead at once, where a key is or none.
        () => ['set', key, '1', pick(random, ['exat', 'pxat']), '1', ...pick(random, [[], [], ['xx'], ['nx']])],
        () => ['set', key, '1', ...pick(random, [[], ['ex', future(random)], ['keepttl'], ['xx'], ['nx']])],
      ])()
    }),
  )
  await compare(pipelines, `BALSA_SEED=${seed}`, { forwards: below(random, 2) === 0 })
})

testUnless(test, missing, 'many keys that die at once, watched or not, are gone alike', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const redis = await startRedis()
  const ours = await startServer()
  const clients = await Promise.all([redis.port, ours.port].map((port) => RawClient.connect(port)))
  const ask = (...commands: readonly Words[]): Promise<string[]> => {
    const bytes = commands.map((words) => command(...words)).join('') + command('ECHO', 'all-said')
    return Promise.all(clients.map((client) => client.ask(bytes, 'all-said\r\n')))
  }
  try {
    let rounds = 0
    for (let tries = 0; rounds < 12; tries += 1) {
      assert.ok(tries < 100, 'one of the two is too slow to watch a key before it dies')
      const dying = Array.from({ length: 1 + below(random, 300) }, (_, at) => `dying:${at}`)
      const watched = pick(random, dying)
      const before = await ask(
        ['flushall'],
        ['set', 'lasting', 'v'],
        ...dying.map((key) => ['set', key, 'v', 'px', String(30 + below(random, 60))]),
        ['watch', pick(random, [watched, 'lasting', 'never']), watched],
        ['watch', 'lasting'],
        ['get', watched],
      )
      // What had died before it was watched, in one of the two, proves nothing.
      const isWatchedAlive = before.every((answers) => answers.endsWith('$1\r\nv\r\n$8\r\nall-said\r\n'))
      const areGone = async (): Promise<boolean> =>
        (await ask(['exists', ...dying])).every((answer) => answer.startsWith(':0\r\n'))
      await until('all that was to die is dead', areGone)
      const after = await ask(
        ['multi'],
        ['set', 'lasting', 'w'],
        ['exec'],
        ['mget', 'lasting', ...dying.slice(0, 5)],
        ['ttl', dying[0] ?? ''],
        ['persist', dying[0] ?? ''],
        ['set', dying[0] ?? '', 'again', 'keepttl'],
        ['pttl', dying[0] ?? ''],
        ['dbsize'],
        ['keys', 'dying:*'],
      )
      if (!isWatchedAlive) continue
      for (const [expected, actual] of [before, after])
        assert.is(actual, expected, `BALSA_SEED=${seed}, round ${rounds}`)
      rounds += 1
    }
  } finally {
    for (const client of clients) client.close()
    await ours.close()
    await redis.stop()
  }
})

testUnless(test, missing, 'the same in the protocol of version 3', async () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const pipelines = Array.from({ length: 300 }, () => [
    ...Array.from({ length: 1 + below(random, 6) }, () => draw(random)),
    ['WATCH', 'a'],
    ['SET', 'a', 'x'],
    ['MULTI'],
    ['GET', 'a'],
    ['EXEC'],
  ])
  await compare(pipelines, `BALSA_SEED=${seed}`, { version: '3' })
})

testUnless(test, missing, 'WAIT is answered alike where no other server has anything', async () => {
  const numbers = ['0', '1', '-1', '1', 'x', '', '1.5', '99999999999', '9223372036854775808']
  // Not 0 behind 1, which is for ever.
  const timeouts = ['1', '-1', 'x', '', '9223372036854775808']
  const waits = numbers.flatMap((number) => timeouts.map((timeout) => ['WAIT', number, timeout]))
  const inside = ['1', '0', 'x'].flatMap((number) => ['0', '-1', '1'].map((timeout) => ['WAIT', number, timeout]))
  await compare(
    [
      ...waits.map((wait) => [['SET', 'a', '1'], wait, ['GET', 'a']]),
      [['WAIT', '0', '0'], ['WAIT'], ['WAIT', '1'], ['WAIT', '1', '1', '1']],
      [['MULTI'], ['SET', 'a', '2'], ...inside, ['EXEC']],
    ],
    'WAIT',
  )
})

const keys = ['a', 'b', 'c', '{t}1', '{t}2', 'key:with:colons', '\xff\x00\r\n', '']
const values = ['', '0', '1', '-1', '10', '007', '+5', ' 1', '3.14', 'text', '\x00\xff\r\n$5\r\n', 'OK']
const integers = [
  '9223372036854775807',
  '-9223372036854775808',
  '9223372036854775808',
  '9007199254740993',
  '-9007199254740993',
  '4611686018427387904',
]
/** Seconds: far away, and far from each other, so that it does not matter which server's clock is how far. */
const future = (random: Random): string => String(100_000 + 1000 * below(random, 100_000))
const wrongTimes = [
  '0',
  '-1',
  '-100',
  'x',
  '1.5',
  '9223372036854775807',
  '9223372036854775',
  '-9223372036854775808',
  '',
]
const absolute = ['4000000000', '4000000000000', '1', '0', '-5', 'x']

const anyCase = (random: Random, text: string): string => (below(random, 3) === 0 ? text.toUpperCase() : text)

/** Here, what looks at more than its words name is no part of a transaction. */
function drawForTransaction(random: Random): Words {
  for (;;) {
    const words = draw(random)
    const name = (words[0] ?? '').toLowerCase()
    const isWide = name === 'keys' || name === 'scan' || (name === 'config' && words.length > 2)
    if (!isWide) return words
  }
}

function draw(random: Random): Words {
  const key = pick(random, keys)
  const value = below(random, 3) === 0 ? pick(random, integers) : pick(random, values)
  const number = below(random, 2) === 0 ? pick(random, integers) : pick(random, values)
  const words = pick<() => string[]>(random, [
    () => ['get', key],
    () => ['set', key, value],
    () => ['set', key, value, ...setOptions(random)],
    () => ['set', key, value, ...setOptions(random)],
    () => [pick(random, ['setnx', 'getset', 'append']), key, value],
    () => [pick(random, ['getdel', 'strlen', 'type', 'persist', 'incr', 'decr', 'exists', 'del', 'unlink']), key],
    () => [pick(random, ['incrby', 'decrby']), key, number],
    () => [pick(random, ['exists', 'del', 'unlink', 'mget']), key, pick(random, keys), pick(random, keys)],
    () => ['mset', key, value, pick(random, keys), pick(random, values)],
    () => ['mset', key, value, pick(random, keys)],
    () => ['expire', key, pick(random, [future(random), future(random), ...wrongTimes]), ...expireOptions(random)],
    () => ['expire', key, future(random), ...expireOptions(random)],
    () => ['pexpire', key, pick(random, ['0', '-1', 'x', '9223372036854775807', '']), ...expireOptions(random)],
    () => ['ttl', key],
    () => ['pttl', pick(random, ['nokey', 'nokey2'])],
    () => ['keys', pick(random, ['nothing*', 'a', '[a', '\\a', 'nokey'])],
    () => ['flushall', ...pick(random, [[], [], ['async'], ['sync'], ['x'], ['sync', 'x']])],
    () => wrongCommand(random, key),
  ])()
  return [anyCase(random, words[0] ?? ''), ...words.slice(1)]
}

function setOptions(random: Random): string[] {
  const options = Array.from({ length: 1 + below(random, 3) }, () =>
    pick<() => string[]>(random, [
      () => [pick(random, ['nx', 'xx', 'get', 'keepttl'])],
      () => [pick(random, ['nx', 'xx', 'get', 'keepttl'])],
      () => ['ex', pick(random, [future(random), future(random), ...wrongTimes])],
      () => ['px', pick(random, ['100000000', ...wrongTimes])],
      () => [pick(random, ['exat', 'pxat']), pick(random, absolute)],
      () => [pick(random, ['ex', 'px', 'persist', 'bogus', ''])],
    ])(),
  ).flat()
  return options.map((option) => anyCase(random, option))
}

const expireOptions = (random: Random): string[] =>
  Array.from({ length: below(random, 3) }, () => pick(random, ['nx', 'xx', 'gt', 'lt', 'GT', 'bogus']))

function wrongCommand(random: Random, key: string): string[] {
  return pick(random, [
    ['nosuchcommand', key, 'some', 'words'],
    ['NoSuchCommand'],
    [''],
    ['get'],
    ['get', key, 'more'],
    ['set', key],
    ['mset', key],
    ['ttl'],
    ['ping', 'a', 'b'],
    ['ping', key],
    ['echo'],
    ['echo', key],
    ['select', 'x'],
    ['select', '0'],
    ['hello', '9'],
    ['hello', 'x'],
    ['hello', '2', 'bogus'],
    ['hello', '2', 'setname'],
    ['client'],
    ['client', 'bogus'],
    ['client', 'setname'],
    ['client', 'setname', 'a b'],
    ['client', 'reply', 'bogus'],
    ['client', 'no-evict', 'bogus'],
    ['client', 'getname'],
    ['config'],
    ['config', 'bogus'],
    ['config', 'get'],
    ['config', 'get', 'nosuchoption'],
    ['config', 'get', 'databases0', 'maxclients'],
    ['command', 'bogus'],
    ['command', 'getkeys'],
    ['command', 'getkeys', 'mset', 'a', '1', 'b', '2'],
    ['cluster'],
    ['scan'],
    ['scan', 'x'],
    ['scan', '0', 'count'],
    ['scan', '0', 'count', '0'],
    ['scan', '0', 'count', 'x'],
    ['scan', '0', 'bogus', 'x'],
    ['scan', '0', 'match', 'nothing*', 'count', '1000', 'type', 'string'],
    ['scan', '0', 'type', 'list', 'count', '1000'],
    ['exec', 'x'],
    ['x'.repeat(300), 'y'.repeat(300), 'z'],
  ])
}

test.run()
