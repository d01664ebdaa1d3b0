/**
 * The rooms of the server on a scripted socket and a clock that stands still: what no network and no machine's timer
 * shows exactly.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import {
  CUT_SLICE_MS,
  FLUSH_SLICE_MS,
  OUTPUT_SOFT_BYTES_MAX,
  READ_SLICE_MS,
  TIME_ENTRY_INTERVAL_MS,
  WALK_SLICE_MS,
  WALKS_MAX,
  WORK_BY_LOOK,
} from 'balsa-kv/limits.js'
import { machineClock } from 'balsa-kv/server/clock.js'
import { TurnBatch } from 'balsa-kv/server/turn-batch.js'
import type { Reply } from 'balsa-kv/resp/reply.js'
import { RequestParser } from 'balsa-kv/resp/request-parser.js'
import { ManualClock } from '../transport/manual-clock.js'
import { command, startServer, type Fixture } from './kv-fixture.js'
import { ScriptedSocket } from './scripted-socket.js'

const test = suite('rooms of the kv server')

interface Rooms extends Fixture {
  readonly clock: ManualClock
  readonly client: ScriptedSocket
  /** Another client. */
  readonly join: () => ScriptedSocket
}

async function withRooms(body: (rooms: Rooms) => Promise<void>): Promise<void> {
  const clock = new ManualClock()
  let looks = 0
  const fixture = await startServer({
    entryTime: () => clock.now(),
    clock: {
      ...machineClock,
      // Each look at it costs a millisecond: what a turn does is bounded by looks, not by this machine.
      now: () => (looks += 1),
      wallNow: () => clock.wallNow(),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
    },
  })
  const clients: ScriptedSocket[] = []
  const join = (): ScriptedSocket => {
    const socket = new ScriptedSocket()
    clients.push(socket)
    fixture.server.accept(socket)
    return socket
  }
  try {
    await body({ ...fixture, clock, client: join(), join })
  } finally {
    for (const socket of clients) socket.close()
    await fixture.close()
  }
}

/**
 * The double of the library settles in the turn after a call; everything that follows has happened after a few more.
 */
async function turns(count = 8): Promise<void> {
  for (let left = count; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve))
}

/** All walks have come to their end, and what follows has happened. */
async function walked({ walks }: Fixture['server']): Promise<void> {
  do await turns()
  while (walks.count > 0)
  await turns()
}

test('what one turn brings in is answered with one write, and so is what waited for the log', () =>
  withRooms(async ({ client, raft }) => {
    client.receive(command('PING') + command('ECHO', 'a'))
    client.receive(command('ECHO', 'b'))
    await turns()
    assert.equal(client.writes, ['+PONG\r\n$1\r\na\r\n$1\r\nb\r\n'])
    client.receive(command('SET', 'k', 'v') + command('GET', 'k') + command('PING') + command('SET', 'k', 'w'))
    await turns()
    assert.equal(client.writes.slice(1), ['+OK\r\n$1\r\nv\r\n+PONG\r\n+OK\r\n'])
    assert.equal(raft.batches, [3], 'the GET between two writes has its place in the log')
  }))

test('commands are cut out of what many clients send in slices, and all are answered', () =>
  withRooms(async ({ join, server }) => {
    const clients = Array.from({ length: 100 }, join)
    const { next } = RequestParser.prototype
    let cut = 0
    RequestParser.prototype.next = function (this: RequestParser) {
      const words = next.call(this)
      if (words !== null) cut += 1
      return words
    }
    try {
      for (const client of clients) client.receive(command('MGET', 'a', 'b') + command('PING'))
    } finally {
      RequestParser.prototype.next = next
    }
    assert.ok(cut > 0 && cut <= 2 * CUT_SLICE_MS, `${cut} commands before the turn`)
    while (clients.some(({ writes }) => !writes.join('').endsWith('+PONG\r\n'))) await turns(1)
    for (const { writes } of clients) assert.is(writes.join(''), '*2\r\n$-1\r\n$-1\r\n+PONG\r\n')
    assert.is(server.rooms['turns'], 0)
  }))

test('answers are written in slices, to every client in its turn, and whole', () =>
  withRooms(async ({ data, join, server }) => {
    data.set('big', 'v'.repeat(100_000), 0)
    const clients = Array.from({ length: 100 }, join)
    for (const client of clients) client.receive(command('GET', 'big') + command('PING'))
    const answered = (): number => clients.filter(({ writes }) => writes.length > 0).length
    while (answered() === 0) await turns(1)
    let slices = 0
    for (; answered() < 100; slices += 1) {
      const before = answered()
      await turns(1)
      assert.ok(answered() - before <= 2 * FLUSH_SLICE_MS, `${answered() - before} clients in one turn`)
    }
    assert.ok(slices >= 5, `${slices} slices`)
    for (const { writes } of clients) assert.is(writes.join(''), `$100000\r\n${'v'.repeat(100_000)}\r\n+PONG\r\n`)
    assert.is(server.rooms['turns'], 0)
  }))

test('a server that closes reads on, into nothing, so that its last words arrive', () =>
  withRooms(async ({ client, raft, server }) => {
    client.pause()
    client.receive(command('SET', 'k', 'v'))
    await turns(1)
    const closed = server.close(raft.close())
    assert.is(client.isPaused, false)
    client.receive(command('SET', 'k', 'w'))
    await turns()
    assert.is(client.writes.length, 1)
    assert.is(client.isEnded, true)
    assert.is(server.counters.commands, 1)
    client.close()
    await closed
  }))

test('a client that takes no answers is read on, but nothing more is done for it until it takes some', () =>
  withRooms(async ({ client, server }) => {
    const value = 'x'.repeat(100_000)
    const count = 3 * Math.ceil(OUTPUT_SOFT_BYTES_MAX / value.length)
    client.receive(command('SET', 'k', value) + command('GET', 'k').repeat(count))
    await turns()
    const held = client.unsent
    assert.ok(held > OUTPUT_SOFT_BYTES_MAX && held <= OUTPUT_SOFT_BYTES_MAX + value.length + 20, `${held} bytes`)
    client.receive(command('ECHO', 'last'))
    await turns()
    assert.is(client.isPaused, false)
    assert.is(client.unsent, held)
    const begun = server.counters.commands
    client.receive(command('ECHO', 'very last'))
    await turns()
    assert.is(server.counters.commands, begun)
    for (let drains = 0; client.unsent > 0; drains += 1) {
      assert.ok(drains <= 6, `still ${client.unsent} bytes after ${drains} drains`)
      client.drain()
      await turns()
    }
    assert.is(client.isPaused, false)
    assert.is(server.counters.commands, count + 3)
    const answer = `$${value.length}\r\n${value}\r\n`
    assert.ok(client.writes.join('') === `+OK\r\n${answer.repeat(count)}$4\r\nlast\r\n$9\r\nvery last\r\n`)
  }))

test('a walk over all keys takes its time in slices, and answers as if it had taken none', () =>
  withRooms(async ({ client, data, join, server }) => {
    const count = 20_000
    for (let n = 0; n < count; n += 1) data.set(`k${n}`, 'v', 0)
    const other = join()
    client.receive(command('KEYS', '*') + command('CLUSTER', 'COUNTKEYSINSLOT', '0') + command('SET', 'last', 'v'))
    await turns()
    assert.equal(client.writes, [])
    assert.is(data.walks, 1)
    other.receive(command('SET', 'new', 'v') + command('DEL', 'k3', 'k19999') + command('SET', 'k5', 'w'))
    await turns()
    assert.equal(other.writes, ['+OK\r\n:2\r\n+OK\r\n'], 'another client is served meanwhile')
    assert.equal(client.writes, [])
    let between = 0
    for (; client.writes.length === 0; between += 1) await turns(1)
    await walked(server)
    assert.ok(between > (0.6 * count) / 64 / WALK_SLICE_MS, `${between} turns`)
    const [head, ...words] = client.writes.join('').split('\r\n')
    assert.is(head, `*${count}`)
    const keys = words.slice(0, 2 * count).filter((_, at) => at % 2 === 1)
    assert.equal(keys.toSorted(), Array.from({ length: count }, (_, n) => `k${n}`).toSorted())
    assert.match(words.slice(2 * count).join(' '), /^:\d+ \+OK $/)
    assert.is(data.walks, 0)
  }))

test('a walk looks at few long keys at a time, and at none while an entry changes them', () =>
  withRooms(async ({ clock, data, server }) => {
    const count = 40
    const key = (n: number): string => `${'a'.repeat(100_000)}${n}`
    for (let n = 0; n < count; n += 1) data.set(key(n), 'v', 0)
    const { walks } = server
    const seen: string[] = []
    const answers: Reply[] = []
    const walker = { isGone: false, settle: (reply: Reply) => void answers.push(reply) }
    const keyWalk = { isOver: false, visit: (name: string) => void seen.push(name), answer: () => null }
    walks.add(walker, keyWalk, () => clock.wallNow())
    let turnsTaken = 0
    for (; answers.length === 0; turnsTaken += 1) {
      const before = seen.length
      for (const n of [turnsTaken, 39 - turnsTaken]) data.delete(key(n))
      data.set(key(20), 'changed', 0)
      assert.is(seen.length, before, 'nothing is looked at while the data set changes')
      await turns(1)
      assert.ok(seen.length - before <= WALK_SLICE_MS, `${seen.length - before} keys in one turn`)
    }
    assert.ok(turnsTaken >= count / WALK_SLICE_MS)
    assert.equal(
      seen.toSorted(),
      Array.from({ length: count }, (_, n) => key(n))
        .slice(1, -1)
        .toSorted(),
    )
  }))

test('the answer of a walk goes out as its client reads it, and one walk of a client at a time', () =>
  withRooms(async ({ client, data, server }) => {
    for (let n = 0; n < 3000; n += 1) data.set(`${'k'.repeat(1000)}${n}`, 'v', 0)
    client.receive(command('KEYS', '*').repeat(3) + command('PING'))
    await walked(server)
    const most = OUTPUT_SOFT_BYTES_MAX + 100_000
    for (let drains = 0; client.writes.at(-1)?.endsWith('+PONG\r\n') !== true; drains += 1) {
      assert.ok(drains < 20, 'three answers of 3 MB')
      assert.ok(client.unsent > 0 && client.unsent <= most, `${client.unsent} bytes`)
      assert.ok(server.walks.count <= 1)
      client.drain()
      await walked(server)
    }
    assert.is(client.writes.join('').split('*3000\r\n').length, 4)
  }))

test('a walk whose answer would be too long ends with an error, and one whose client is gone with nothing', () =>
  withRooms(async ({ client, data, server }) => {
    const long = 'k'.repeat(1_000_000)
    for (let n = 0; n < 70; n += 1) data.set(`${long}${n}`, 'v', 0)
    client.receive(command('KEYS', '*') + command('PING'))
    await walked(server)
    assert.is(client.writes.join(''), '-ERR the answer is longer than 67108864 bytes: use SCAN\r\n+PONG\r\n')
    for (let n = 0; n < 5000; n += 1) data.set(`k${n}`, 'v', 0)
    client.receive(command('KEYS', 'x'))
    await turns()
    assert.is(data.walks, 1)
    client.close()
    await turns()
    assert.is(data.walks, 0)
    assert.is(server.walks.count, 0)
  }))

test('reads that one turn confirms are carried out in slices, in their order', () =>
  withRooms(async ({ server }) => {
    const count = 1000
    const done: number[] = []
    const reads = Array.from({ length: count }, (_, at) => ({
      owner: {},
      keys: null,
      work: WORK_BY_LOOK,
      consistency: 'linearizable' as const,
      execute: () => void done.push(at),
      failed: () => {},
    }))
    server.reads.execute(reads, 0)
    for (let before = 0; before < count; await turns(1)) {
      const inTurn = done.length - before
      assert.ok(inTurn > 0 && inTurn <= 4 * READ_SLICE_MS, `${inTurn} reads in one turn`)
      before = done.length
    }
    assert.equal(done, [...reads.keys()])
    assert.is(server.reads.count, 0)
  }))

test('a client with many reads keeps no other one waiting, and its write stands behind them', () =>
  withRooms(async ({ client, data, join }) => {
    const count = 1000
    data.set('k', 'v', 0)
    client.receive(command('GET', 'k').repeat(count) + command('SET', 'k', 'w'))
    while (client.writes.length === 0) await turns(1)
    const other = join()
    other.receive(command('PING'))
    await turns(2)
    assert.equal(other.writes, ['+PONG\r\n'])
    assert.ok(client.writes.join('').length < '$1\r\nv\r\n'.length * count, 'another client is served meanwhile')
    const all = `${'$1\r\nv\r\n'.repeat(count)}+OK\r\n`
    while (client.writes.join('').length < all.length) await turns(1)
    assert.is(client.writes.join(''), all)
  }))

test('what looks at every key is no part of a transaction', () =>
  withRooms(async ({ client }) => {
    client.receive(command('MULTI') + command('CLUSTER', 'COUNTKEYSINSLOT', '0') + command('EXEC'))
    await turns()
    assert.match(client.writes.join(''), /^\+OK\r\n-ERR Command not allowed inside a transaction.*\r\n-EXECABORT/)
  }))

test('the answers of a transaction follow from its words, but for those of data: all else is no part of one', () =>
  withRooms(async ({ client, join }) => {
    for (let left = 200; left > 0; left -= 1) join()
    client.receive(command('CLIENT', 'SETNAME', 'n'.repeat(900)))
    client.receive(command('COMMAND') + command('COMMAND', 'LIST'))
    await turns()
    const names: readonly string[] = client.writes.join('').match(/(?<=\r\n\$\d+\r\n)[a-z]+(?=\r\n)/g) ?? []
    assert.ok(names.includes('ping') && names.includes('info') && names.includes('cluster'), names.join())
    let refused = 0
    for (const words of [...new Set(names)].flatMap(formsOf)) {
      client.drain()
      client.writes.length = 0
      client.receive(command('MULTI') + command(...words) + command('EXEC') + command('RESET'))
      await turns()
      const said = client.writes.join('')
      if (said.startsWith('+OK\r\n-ERR Command not allowed inside a transaction')) refused += 1
      else assert.ok(said.length < 1000, `${words.join(' ')} in a transaction: ${said.length} bytes`)
    }
    assert.ok(refused >= 13, `${refused} forms of commands`)
  }))

/** A command with as few words as it takes, and with each of its subcommands. */
function formsOf(name: string): readonly (readonly string[])[] {
  const subcommands: Readonly<Record<string, readonly string[]>> = {
    client: ['ID', 'GETNAME', 'INFO', 'LIST', 'HELP'],
    cluster: ['SLOTS', 'SHARDS', 'NODES', 'INFO', 'MYID', 'HELP'],
    config: ['GET *', 'HELP'],
    command: ['COUNT', 'INFO', 'DOCS', 'LIST', 'HELP'],
  }
  const forms = (subcommands[name] ?? []).map((form) => [name, ...form.split(' ')])
  const control = ['multi', 'exec', 'discard', 'watch', 'reset', 'quit']
  return control.includes(name) ? [] : [[name], [name, 'k'], [name, 'k', 'v'], ...forms]
}

test('a command that this server answers by itself has few words', () =>
  withRooms(async ({ client }) => {
    const many = Array.from({ length: 200 }, () => 'a*b')
    for (const words of [
      ['CONFIG', 'GET'],
      ['COMMAND', 'INFO'],
      ['COMMAND', 'DOCS'],
      ['CLIENT', 'LIST', 'ID'],
    ]) {
      client.receive(command(...words, ...many))
    }
    client.receive(command('COMMAND', 'GETKEYS', 'MGET', ...many.slice(0, 100)) + command('PING'))
    await turns()
    const said = client.writes.join('')
    assert.match(
      said,
      /^-ERR CONFIG has 202 words, at most 128 are allowed: split it\r\n(-ERR \w+ has .*\r\n){3}\*100\r\n/,
    )
    assert.ok(said.endsWith('+PONG\r\n'))
  }))

test('what a client says of itself is short, since CLIENT LIST repeats it for all clients in one go', () =>
  withRooms(async ({ client }) => {
    const [fits, long] = ['n'.repeat(1024), 'n'.repeat(1025)]
    client.receive(command('CLIENT', 'SETNAME', fits) + command('CLIENT', 'SETINFO', 'lib-name', fits))
    client.receive(command('CLIENT', 'SETNAME', long) + command('HELLO', '2', 'SETNAME', long))
    client.receive(command('CLIENT', 'SETINFO', 'LIB-VER', long) + command('CLIENT', 'GETNAME'))
    await turns()
    const refused = (what: string): string => `-ERR ${what} cannot be longer than 1024 bytes.\r\n`
    const names = refused('Client names').repeat(2)
    assert.is(client.writes.join(''), `+OK\r\n+OK\r\n${names}${refused('lib-ver')}$1024\r\n${fits}\r\n`)
  }))

test('a turn begins so many commands as its time allows, and clients take turns', () =>
  withRooms(async ({ client, join, server }) => {
    const other = join()
    client.receive(command('INFO').repeat(1000))
    other.receive(command('PING'))
    await turns(2)
    const begun = server.counters.commands
    assert.ok(begun > 0 && begun < 400, `${begun} commands in two turns`)
    assert.equal(other.writes, ['+PONG\r\n'])
    while (server.counters.commands < 1001) {
      const before = server.counters.commands
      client.drain()
      await turns(1)
      assert.ok(server.counters.commands - before < 200)
    }
  }))

test('a read behind a walk of its client sees no less than the walk, which has still to begin', () =>
  withRooms(async ({ client, data, join, server }) => {
    for (let n = 0; n < 20_000; n += 1) data.set(`k${n}`, 'v', 0)
    const others = Array.from({ length: WALKS_MAX }, join)
    for (const other of others) other.receive(command('KEYS', 'none'))
    await turns()
    client.receive(command('KEYS', 'new') + command('GET', 'new') + command('WATCH', 'new'))
    await turns()
    const writer = join()
    writer.receive(command('SET', 'new', 'v'))
    await turns()
    assert.equal(writer.writes, ['+OK\r\n'])
    assert.equal(client.writes, [])
    await walked(server)
    assert.is(client.writes.join(''), '*1\r\n$3\r\nnew\r\n$1\r\nv\r\n+OK\r\n')
    client.writes.length = 0
    client.receive(command('MULTI') + command('ECHO', 'a') + command('EXEC'))
    await turns()
    assert.is(client.writes.join(''), '+OK\r\n+QUEUED\r\n*1\r\n$1\r\na\r\n', 'it watches what is there')
  }))

test('a read behind one that waits until a key is dead sees no less than that one; others need not wait', () =>
  withRooms(async ({ client, clock, join }) => {
    client.receive(command('MSET', 'first', 'v', 'due', 'v', 'other', '1'))
    client.receive(command('PEXPIRE', 'first', '10') + command('PEXPIRE', 'due', '20'))
    await turns()
    // A time entry now, and so none for a while.
    clock.advance(10)
    await turns()
    client.writes.length = 0
    clock.advance(10)
    client.receive(command('GET', 'due') + command('GET', 'other'))
    await turns(1)
    const writer = join()
    writer.receive(command('GET', 'other'))
    await turns(4)
    assert.equal(writer.writes, ['$1\r\n1\r\n'])
    writer.receive(command('MSET', 'due', 'again', 'other', '2'))
    await turns()
    client.receive(command('GET', 'other'))
    await turns()
    clock.advance(TIME_ENTRY_INTERVAL_MS)
    await turns()
    assert.is(client.writes.join(''), '$5\r\nagain\r\n$1\r\n2\r\n$1\r\n2\r\n')
  }))

test('deadlines that come one after the other are put into the log no more often than the interval', () =>
  withRooms(async ({ client, clock, data, raft }) => {
    for (const ms of [10, 20, TIME_ENTRY_INTERVAL_MS]) client.receive(command('SET', `k${ms}`, 'v', 'PX', `${ms}`))
    await turns()
    assert.equal(raft.batches, [3])
    clock.advance(10)
    await turns()
    assert.equal(raft.batches, [3, 1])
    assert.is(data.size, 2)
    clock.advance(TIME_ENTRY_INTERVAL_MS - 1)
    await turns()
    assert.equal(raft.batches, [3, 1], 'k20 has been due for long')
    clock.advance(1)
    await turns()
    assert.equal(raft.batches, [3, 1, 1])
    assert.is(data.size, 0)
    assert.is(clock.pending, 0)
  }))

for (const [what, offsetMs] of [
  ['an hour ahead', 3_600_000],
  ['a minute back', -60_000],
] as const) {
  test(`a date that is set ${what} neither ends a lifetime nor makes it longer`, () =>
    withRooms(async ({ client, clock, data, raft }) => {
      client.receive(command('SET', 'before', 'v', 'PX', '1000'))
      await turns()
      clock.wallOffsetMs = offsetMs
      client.receive(command('SET', 'after', 'v', 'PX', '2000') + command('PTTL', 'before'))
      await turns()
      assert.equal(client.writes.splice(0), ['+OK\r\n', '+OK\r\n:1000\r\n'])
      clock.advance(300)
      client.receive(command('GET', 'before') + command('PTTL', 'after'))
      await turns()
      assert.equal(client.writes.splice(0), ['$1\r\nv\r\n:1700\r\n'])
      assert.equal(raft.batches, [1, 1], 'nobody needed the time')
      clock.wallOffsetMs = 0
      clock.advance(700)
      await turns()
      assert.is(data.size, 1)
      clock.wallOffsetMs = offsetMs
      clock.advance(999)
      await turns()
      assert.is(data.size, 1)
      clock.advance(1)
      await turns()
      assert.is(data.size, 0)
    }))
}

test('a follower answers nil for what is dead by entry time as it knows it, also when nobody leads', () =>
  withRooms(async ({ client, clock, data, raft }) => {
    client.receive(command('SET', 'k', 'v', 'PX', '100') + command('SET', 'kept', 'w'))
    await turns()
    raft.follow(null)
    await turns()
    client.receive(command('READONLY') + command('PTTL', 'k'))
    clock.wallOffsetMs = 3_600_000
    await turns()
    assert.equal(client.writes.splice(0), ['+OK\r\n+OK\r\n', '+OK\r\n:100\r\n'])
    clock.advance(100)
    client.receive(command('GET', 'k') + command('TTL', 'k') + command('EXISTS', 'k', 'kept') + command('KEYS', '*'))
    await turns()
    assert.is(client.writes.join(''), '$-1\r\n:-2\r\n:1\r\n*1\r\n$4\r\nkept\r\n')
    assert.is(data.size, 2, 'only an entry removes it')
    assert.is(data.get('k')?.value, 'v')
  }))

test('a read behind a write that failed is confirmed anew: whoever failed it may lead no more', () =>
  withRooms(async ({ client, raft, server }) => {
    const calls = raft.readIndexCalls
    raft.failures.push(new RaftError('ERR_RAFT_LEADERSHIP_LOST', 'leadership was lost', { outcome: 'unknown' }))
    client.receive(command('SET', 'k', 'v') + command('GET', 'k'))
    await turns()
    assert.match(client.writes.join(''), /^-ERR RAFT_UNKNOWN [^\r]*\r\n\$-1\r\n$/)
    assert.is(raft.readIndexCalls - calls, 1, 'rounds for the read')
    client.receive(command('SET', 'k', 'v') + command('GET', 'k'))
    await turns()
    assert.is(raft.readIndexCalls - calls, 1, 'a write that was accepted is word enough')
    const { clients: _, clientAccounts: __, clientBytes: ___, ...rooms } = server.rooms
    assert.equal(
      Object.entries(rooms).filter(([, count]) => count !== 0),
      [],
    )
  }))

test('INFO tells how far the date is off, and how often it has jumped', () =>
  withRooms(async ({ client, raft }) => {
    raft.clock = { offsetMs: -60_000, jumps: 2 }
    client.receive(command('INFO', 'raft'))
    await turns()
    assert.match(client.writes.join(''), /raft_clock_offset_ms:-60000\r\nraft_clock_jumps:2\r\n/)
  }))

test('a time entry goes into the log with what clients write in the same turn', () =>
  withRooms(async ({ client, clock, raft }) => {
    client.receive(command('SET', 'k', 'v', 'PX', '10'))
    await turns()
    client.receive(command('SET', 'l', 'v') + command('SET', 'm', 'v'))
    clock.advance(10)
    await turns()
    assert.equal(raft.batches, [1, 3])
  }))

test('a WATCH that is carried out when its client is gone watches nothing', () =>
  withRooms(async ({ client, raft, server }) => {
    const [watching] = server.clients
    raft.hold()
    client.receive(command('WATCH', 'k'))
    await turns()
    assert.is(raft.readIndexCalls, 1)
    client.close()
    raft.release()
    await turns()
    assert.is(watching?.watching, 0)
    assert.is(server.clientCount, 0)
  }))

test('each owner of an entry has its own answer, whoever else is gone', () => {
  const batch = new TurnBatch()
  const told: string[] = []
  const owner = (name: string, isGone: boolean) => ({
    growthMax: 0,
    isGone,
    applied: (reply: Reply) => void told.push(`${name} ${JSON.stringify(reply)}`),
    failed: () => void told.push(`${name} failed`),
  })
  for (const [name, isGone] of [
    ['first', false],
    ['gone', true],
    ['last', false],
  ] as const) {
    batch.add(new Uint8Array(1), owner(name, isGone))
  }
  batch.propose()
  batch.applied([1, 2, 3], 3)
  assert.equal(told, ['first 1', 'gone 2', 'last 3'])
})

test.run()
