/** The bound of the data set: bookkeeping that cannot drift, and refusals before anything is in the log. */

import { rmSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { byteCount } from 'balsa-kv/cli/arguments.js'
import { DataSet } from 'balsa-kv/data-set/data-set.js'
import { memoryLimits } from 'balsa-kv/memory-limits.js'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'
import { freePort } from '../../support/free-addresses.js'
import { command, RawClient, startServer } from './kv-fixture.js'
import { mainPath, runNode, temporaryDir } from './processes.js'

const test = suite('maxmemory of kv')

test('the bytes of a data set follow from what is in it, whatever happened before', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const data = new DataSet()
  assert.is(data.bytes, 0)
  for (let index = 1; index <= 3000; index += 1) {
    data.advance(index, index, 2)
    const key = `key:${below(random, 30)}`
    const deadline = pick(random, [0, 0, index + below(random, 50), index])
    const what = pick(random, ['set', 'set', 'delete', 'deadline', 'rarely'])
    if (what === 'set') data.set(key, 'v'.repeat(below(random, 500)), deadline)
    else if (what === 'delete') data.delete(key)
    else if (what === 'deadline') data.setDeadline(key, deadline)
    else if (below(random, 50) === 0) data.clear()
  }
  // Whatever was drawn, something is left to compare.
  for (let at = 0; at < 5; at += 1) data.set(`key:${at}`, 'last', 0)
  data.advance(3001, 10_000, 10_000)
  const again = new DataSet()
  data.scan(0, data.size, ({ key, value, deadline }) => again.set(key, value, deadline))
  assert.ok(data.size >= 5)
  assert.is(data.bytes, again.bytes, `BALSA_SEED=${seed}`)
  data.scan(0, data.size, ({ key }) => void data.delete(key))
  data.clear()
  assert.is(data.bytes, 0)
})

const oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n"

test('when the data set is full what grows it is refused before it is in the log; the rest goes on, and so does all', async () => {
  const fixture = await startServer({ memoryMax: 100_000 })
  const client = await RawClient.connect(fixture.port)
  const ask = (...words: readonly string[]): Promise<string> => client.ask(command(...words), '\r\n')
  try {
    for (let at = 0; at < 12; at += 1) await ask('SET', `k${at}`, 'v'.repeat(9000))
    assert.ok(fixture.data.bytes > 100_000 && fixture.data.bytes < 120_000)
    const entries = fixture.raft.batches.length
    assert.is(await ask('SET', 'k', 'v'), oom)
    assert.is(await ask('APPEND', 'k0', 'v'), oom)
    assert.is(await ask('MSET', 'a', '1', 'b', '2'), oom)
    assert.is(await ask('INCR', 'n'), oom)
    const queued = await client.ask(command('MULTI') + command('SET', 'a', 'b') + command('EXEC'), 'errors.\r\n')
    assert.is(queued, `+OK\r\n${oom}-EXECABORT Transaction discarded because of previous errors.\r\n`)
    assert.is(fixture.raft.batches.length, entries, 'nothing of it is in the log')
    assert.is(await ask('STRLEN', 'k0'), ':9000\r\n')
    assert.is(await ask('EXPIRE', 'k0', '100'), ':1\r\n')
    assert.match(
      await client.ask(command('INFO', 'memory'), 'noeviction\r\n\r\n'),
      /used_memory_dataset:1\d{5}\r\nmaxmemory:100000\r\n/,
    )
    assert.is(await ask('DEL', 'k1', 'k2'), ':2\r\n')
    assert.is(await ask('SET', 'k', 'v'), '+OK\r\n')
    const late = command('MULTI') + command('SET', 'a', 'b')
    await client.ask(late, '+QUEUED\r\n')
    for (let at = 0; at < 4; at += 1) fixture.data.set(`more${at}`, 'v'.repeat(9000), 0)
    assert.match(await ask('EXEC'), /^-EXECABORT Transaction discarded because of: OOM command/)
    assert.is(
      await client.ask(command('CONFIG', 'GET', 'maxmemory'), '100000\r\n'),
      '*2\r\n$9\r\nmaxmemory\r\n$6\r\n100000\r\n',
    )
  } finally {
    client.close()
    await fixture.close()
  }
})

const pairs = (from: number): readonly string[] => Array.from({ length: 40 }, (_, at) => `${from}:${at >> 1}`)

/** 50 commands each, which together would take four times what there is. */
const pipelines: readonly (readonly [what: string, refused: number, of: (at: number) => string])[] = [
  ['large values', 39, (at) => command('SET', `k${at}`, 'v'.repeat(9000))],
  ['many small items', 24, (at) => command('MSET', ...pairs(at))],
  ['transactions of small items', 24, (at) => command('MULTI') + command('MSET', ...pairs(at)) + command('EXEC')],
]

for (const [what, refused, of] of pipelines)
  test(`what is under way counts: one pipeline of ${what} cannot go far beyond`, async () => {
    const fixture = await startServer({ memoryMax: 100_000 })
    const client = await RawClient.connect(fixture.port)
    fixture.raft.hold()
    const sets = Array.from({ length: 50 }, (_, at) => of(at))
    const sent = sets.join('') + command('PING')
    client.send(sent)
    const other = await RawClient.connect(fixture.port)
    // Asks until all has arrived, and once more, so that it has begun.
    for (let hasArrived = false; !hasArrived;) {
      hasArrived = fixture.server.counters.bytesIn > sent.length
      await other.ask(command('PING'), '+PONG\r\n')
    }
    fixture.raft.release()
    const received = await client.until((text) => text.endsWith('+PONG\r\n'))
    assert.is(received.match(/-OOM/g)?.length, refused)
    assert.ok(fixture.data.bytes < 120_000)
    client.close()
    other.close()
    await fixture.close()
  })

test('sizes are given as Redis takes them, within what the heap can hold', () => {
  const bounds = { min: 1000, max: 2 ** 30, remedy: 'more' }
  const of = (text: string): number => byteCount('--maxmemory', text, bounds)
  assert.equal(['5000', '10kb', '10k', '2MB', '1gb'].map(of), [5000, 10_240, 10_000, 2 * 1024 ** 2, 2 ** 30])
  for (const text of ['0', '999', '2gb', '1.5gb', '', 'mb', '10tb', '-1', '5 mb']) {
    assert.throws(() => of(text), /^--maxmemory is .*; it must be 1000 \.\. 1073741824 bytes, as 512mb or 1gb, more$/)
  }
  const { dataDefault, dataMost, clientsDefault } = memoryLimits((48 + 24 + 256) * 1024 ** 2)
  assert.equal([dataDefault, dataMost, clientsDefault], [128 * 1024 ** 2, 192 * 1024 ** 2, 64 * 1024 ** 2])
})

for (const [what, bytes] of [
  ['small', 10],
  ['large', 200_000],
] as const) {
  test(`a server that is given more ${what} values than its heap holds refuses them and serves on`, async () => {
    const dir = temporaryDir()
    const port = await freePort()
    const running = runNode([
      '--max-old-space-size=96',
      mainPath,
      '--port',
      String(port),
      '--dir',
      dir,
      '--stop-with-stdin',
    ])
    const connects = (): Promise<RawClient> =>
      RawClient.connect(port).catch(() => new Promise((resolve) => setTimeout(() => resolve(connects()), 50)))
    const client = await connects()
    await client.until(() => true)
    let sent = 0
    let refused = false
    const batch = Math.min(10_000, Math.ceil(4_000_000 / (bytes + 200)))
    for (let round = 0; !refused && round < 200; round += 1) {
      const sets = Array.from({ length: batch }, (_, at) => command('SET', `key:${round}:${at}`, 'v'.repeat(bytes)))
      const answer = await client.ask(sets.join('') + command('PING'), '+PONG\r\n')
      refused = answer.includes('-OOM')
      sent += batch * (bytes + 200)
    }
    assert.is(refused, true, `${sent} bytes went in`)
    assert.is(await client.ask(command('STRLEN', 'key:0:0'), '\r\n'), `:${bytes}\r\n`)
    assert.is(await client.ask(command('DEL', 'key:0:0'), '\r\n'), ':1\r\n')
    client.close()
    running.child.stdin?.end()
    const { code, stderr } = await running.ended
    assert.is(code, 0, stderr)
    rmSync(dir, { recursive: true })
  })
}

test.run()
