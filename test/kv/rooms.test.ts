/**
 * The rooms of the server on a scripted socket and a clock that stands still: what no network and no machine's timer
 * shows exactly.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { OUTPUT_SOFT_BYTES_MAX, TIME_ENTRY_INTERVAL_MS } from 'balsa-kv/limits.js'
import { machineClock } from 'balsa-kv/server/clock.js'
import { ManualClock } from '../transport/manual-clock.js'
import { command, startServer, type Fixture } from './kv-fixture.js'
import { ScriptedSocket } from './scripted-socket.js'

const test = suite('rooms of the kv server')

interface Rooms extends Fixture {
  readonly clock: ManualClock
  readonly client: ScriptedSocket
}

async function withRooms(body: (rooms: Rooms) => Promise<void>): Promise<void> {
  const clock = new ManualClock()
  const fixture = await startServer({
    clock: {
      ...machineClock,
      wallNow: () => clock.wallNow(),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
    },
  })
  const client = new ScriptedSocket()
  fixture.server.accept(client)
  try {
    await body({ ...fixture, clock, client })
  } finally {
    client.close()
    await fixture.close()
  }
}

/**
 * The double of the library settles in the turn after a call; everything that follows has happened after a few more.
 */
async function turns(count = 8): Promise<void> {
  for (let left = count; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve))
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

test.run()
