/** The server over real TCP, on a double of the library: order, batches, bounds, and what clients are told. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import {
  BULK_BYTES_MAX,
  COMMAND_BYTES_MAX,
  COMMAND_WORDS_MAX,
  OUTPUT_SOFT_BYTES_MAX,
  PIPELINE_MAX,
  SCAN_KEYS_MAX,
  WATCHED_BYTES_MAX,
  WATCHED_KEYS_MAX,
} from 'balsa-kv/limits.js'
import { encodeCommand } from 'balsa-kv/replication/entry-codec.js'
import { machineClock, type KvClock } from 'balsa-kv/server/clock.js'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'
import { command, otherMembers, RawClient, startServer, withServer } from './kv-fixture.js'

const test = suite('kv server')

/** Runs `body` with a server and a client of it, and closes both. */
const pipeline = (...commands: readonly (readonly string[])[]): string =>
  commands.map((words) => command(...words)).join('')

const second = otherMembers[0]

test('answers a pipeline in order, and a GET sees the SET before it and not the one behind it', () =>
  withServer(async (_fixture, client) => {
    const sent = [['SET', 'k', '1'], ['GET', 'k'], ['PING'], ['SET', 'k', '2'], ['GET', 'k'], ['STRLEN', 'k']]
    const answer = await client.ask(pipeline(...sent), ':1\r\n')
    assert.is(answer, '+OK\r\n$1\r\n1\r\n+PONG\r\n+OK\r\n$1\r\n2\r\n:1\r\n')
  }))

test('a random pipeline over random chunks is answered as if each command had waited for the one before', () =>
  withServer(async (_fixture, client) => {
    const seed = drawSeed()
    const random = randomFrom(seed)
    const model = new Map<string, string>()
    let expected = ''
    let sent = ''
    for (let step = 0; step < 3000; step += 1) {
      const key = `k${below(random, 4)}`
      const value = String(step)
      const bulk = (text: string | undefined): string =>
        text === undefined ? '$-1\r\n' : `$${text.length}\r\n${text}\r\n`
      const kind = pick(random, ['get', 'get', 'set', 'dbsize', 'append', 'ping'])
      if (kind === 'get') expected += bulk(model.get(key))
      if (kind === 'dbsize') expected += `:${model.size}\r\n`
      if (kind === 'ping') expected += '+PONG\r\n'
      if (kind === 'set') {
        model.set(key, value)
        expected += '+OK\r\n'
      }
      if (kind === 'append') {
        model.set(key, (model.get(key) ?? '') + value)
        expected += `:${model.get(key)?.length}\r\n`
      }
      sent += command(
        ...({
          get: ['GET', key],
          set: ['SET', key, value],
          dbsize: ['DBSIZE'],
          append: ['APPEND', key, value],
          ping: ['PING'],
        }[kind] ?? []),
      )
      if (below(random, 10) === 0) {
        client.send(sent)
        sent = ''
        if (below(random, 5) === 0) await client.until((received) => received.length === expected.length)
      }
    }
    client.send(sent)
    const received = await client.until((text) => text.length >= expected.length)
    assert.ok(received === expected, `BALSA_SEED=${seed}: the answers are not those of one command after the other`)
  }))

test('a write behind a read that is still waiting waits for it', () =>
  withServer(async ({ raft, port }, client) => {
    await client.ask(command('SET', 'k', 'old'), '+OK\r\n')
    raft.hold()
    client.send(command('DBSIZE'))
    await poll(() => raft.readIndexCalls === 1)
    client.send(pipeline(['SET', 'other', 'new'], ['DBSIZE']))
    const other = await RawClient.connect(port)
    await other.ask(command('PING'), '+PONG\r\n')
    other.close()
    assert.equal(raft.batches, [1])
    raft.release()
    assert.is(await client.until((received) => received.endsWith(':2\r\n')), '+OK\r\n:1\r\n+OK\r\n:2\r\n')
  }))

test('a GET behind a write that was proposed in an earlier turn waits for both: a round of its own and the write', () =>
  withServer(async ({ raft }, client) => {
    await client.ask(command('SET', 'k', 'old'), '+OK\r\n')
    raft.hold()
    client.send(command('SET', 'k', 'new'))
    await poll(() => raft.batches.length === 2)
    client.send(command('GET', 'k'))
    await poll(() => raft.readIndexCalls === 1)
    raft.release()
    assert.is(await client.until((received) => received.endsWith('new\r\n')), '+OK\r\n+OK\r\n$3\r\nnew\r\n')
  }))

test('a watched key that the same pipeline makes and deletes again was touched', () =>
  withServer(async (_fixture, client) => {
    const sent = pipeline(['WATCH', 'k'], ['SET', 'k', 'v'], ['DEL', 'k'], ['MULTI'], ['EXEC'])
    assert.is(await client.ask(sent, '*-1\r\n'), '+OK\r\n+OK\r\n:1\r\n+OK\r\n*-1\r\n')
  }))

/** A turn is cut where it has lasted long enough: not on this clock, however slow the machine is. */
const unhurried: KvClock = { ...machineClock, now: () => 0 }

test('everything that all clients send in one turn is one append and one ReadIndex round', () =>
  withServer(
    async ({ raft, port, server }, first) => {
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(port)))
      await first.ask(command('PING'), '+PONG\r\n')
      // One write of one client, so that all of it arrives in one piece.
      const writes = Array.from({ length: 50 }, (_, at) => ['SET', `k${at}`, 'v'])
      const before = { ...server.replicator.calls }
      await first.ask(pipeline(...writes, ['GET', 'k1']), '$1\r\nv\r\n')
      assert.equal(raft.batches, [50])
      assert.is(server.replicator.calls.applyAll, before.applyAll + 1)
      assert.is(server.replicator.calls.readIndex, before.readIndex, 'a GET behind writes needs no round of its own')
      raft.hold()
      for (const client of clients) client.send(pipeline(['GET', 'k1'], ['GET', 'k2']))
      await poll(() => server.counters.commands >= 52 + 40)
      const rounds = server.replicator.calls.readIndex
      assert.ok(rounds <= 20, `${rounds} rounds for 20 clients and 40 reads`)
      raft.release()
      await Promise.all(clients.map((client) => client.until((text) => text === '$1\r\nv\r\n$1\r\nv\r\n')))
      for (const client of clients) client.close()
    },
    { clock: unhurried },
  ))

test('a follower sends keyed commands, keyless commands and transactions to the Redis address of the leader', () =>
  withServer(async ({ raft }, client) => {
    raft.follow({ id: 's2', address: '127.0.0.1:7102' })
    assert.is(await client.ask(command('GET', 'foo'), '\r\n'), '-MOVED 12182 127.0.0.1:7002\r\n')
    assert.is(await client.ask(command('SET', '{foo}x', 'v'), '\r\n'), '-MOVED 12182 127.0.0.1:7002\r\n')
    assert.is(await client.ask(command('DBSIZE'), '\r\n'), '-MOVED 0 127.0.0.1:7002\r\n')
    const answer = await client.ask(pipeline(['MULTI'], ['SET', 'foo', 'v'], ['EXEC'], ['PING']), '+PONG\r\n')
    const aborted = '-EXECABORT Transaction discarded because of previous errors.\r\n'
    assert.is(answer, `+OK\r\n-MOVED 12182 127.0.0.1:7002\r\n${aborted}+PONG\r\n`)
    for (const id of ['s2', 's3']) raft.peer(id, true)
    const slots = await client.ask(command('CLUSTER', 'SLOTS'), '*0\r\n')
    assert.match(slots, `*1\r\n*5\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7002\r\n$40\r\n${second?.nodeId}`)
  }))

test('READONLY lets a follower answer reads, and only reads, from what it holds', () =>
  withServer(async ({ raft }, client) => {
    await client.ask(command('SET', 'k', 'v'), '+OK\r\n')
    raft.follow({ id: 's2', address: '127.0.0.1:7102' })
    const sent = pipeline(['READONLY'], ['GET', 'k'], ['SET', 'k', 'w'], ['READWRITE'], ['GET', 'k'])
    const moved = '-MOVED 7629 127.0.0.1:7002\r\n'
    assert.is(await client.ask(sent, `+OK\r\n${moved}`), `+OK\r\n$1\r\nv\r\n${moved}+OK\r\n${moved}`)
  }))

test('a command waits while the leader changes, and then goes where the new one is', () =>
  withServer(
    async ({ raft, port }, client) => {
      raft.follow({ id: 's2', address: '127.0.0.1:7102' })
      raft.peer('s2', false)
      client.send(pipeline(['SET', 'foo', 'v'], ['PING']))
      const other = await RawClient.connect(port)
      await other.ask(command('PING'), '+PONG\r\n')
      assert.is(client.received, '')
      raft.follow(null)
      await other.ask(command('PING'), '+PONG\r\n')
      assert.is(client.received, '')
      raft.follow({ id: 's3', address: '127.0.0.1:7103' })
      const answers = '-MOVED 12182 127.0.0.1:7003\r\n+PONG\r\n'
      assert.is(await client.until((received) => received.endsWith('PONG\r\n')), answers)
      other.close()
    },
    { leaderWaitMs: 60_000 },
  ))

test('a command waits only so long for a leader that does not come', () =>
  withServer(
    async ({ raft }, client) => {
      raft.follow(null)
      assert.match(await client.ask(command('GET', 'k'), '\r\n'), /^-CLUSTERDOWN /)
      assert.match(await client.ask(command('GET', 'k'), '\r\n'), /^-CLUSTERDOWN /)
    },
    { leaderWaitMs: 30 },
  ))

test('a stale read waits while the leader changes, until what was acknowledged before is applied here', () =>
  withServer(
    async ({ raft, port }, client) => {
      const other = await RawClient.connect(port)
      const waits = async (): Promise<void> => {
        await other.ask(command('PING'), '+PONG\r\n')
        assert.is(client.received, '+OK\r\n')
      }
      raft.follow({ id: 's2', address: '127.0.0.1:7102' })
      const old = '+OK\r\n$-1\r\n'
      assert.is(await client.ask(pipeline(['READONLY'], ['GET', 'k']), old), old)
      raft.peer('s2', false)
      await client.ask(command('READONLY'), '+OK\r\n')
      client.send(pipeline(['GET', 'k'], ['PING'], ['DBSIZE']))
      await waits()
      raft.follow(null)
      await waits()
      raft.hold()
      void raft.replicate([encodeCommand(['set', 'k', 'v'])])
      raft.follow({ id: 's3', address: '127.0.0.1:7103' })
      await waits()
      raft.release()
      assert.is(await client.until((text) => text.endsWith(':1\r\n')), '+OK\r\n$1\r\nv\r\n+PONG\r\n:1\r\n')
      other.close()
    },
    { leaderWaitMs: 60_000 },
  ))

test('a stale read waits for a new leader that it hears of before it has missed the old one', () =>
  withServer(
    async ({ raft }, client) => {
      raft.follow({ id: 's2', address: '127.0.0.1:7102' })
      const old = '+OK\r\n$-1\r\n'
      assert.is(await client.ask(pipeline(['READONLY'], ['GET', 'k']), old), old)
      raft.hold()
      void raft.replicate([encodeCommand(['set', 'k', 'v'])])
      raft.follow({ id: 's3', address: '127.0.0.1:7103' })
      // A command that no follower answers shows that only what may be old waits.
      const refused = '-MOVED 7629 127.0.0.1:7003\r\n'
      const sent = pipeline(['READWRITE'], ['GET', 'k'], ['READONLY'], ['GET', 'k'])
      assert.is(await client.ask(sent, `${refused}+OK\r\n`), `+OK\r\n${refused}+OK\r\n`)
      raft.release()
      assert.match(await client.until((text) => text.endsWith('v\r\n')), /\+OK\r\n\$1\r\nv\r\n$/)
    },
    { leaderWaitMs: 60_000 },
  ))

test('a stale read waits for a leader that leads a later term: another may have acknowledged in between', () =>
  withServer(
    async ({ raft, port }, client) => {
      const other = await RawClient.connect(port)
      const leader = { id: 's2', address: '127.0.0.1:7102' }
      raft.follow(leader)
      const old = '+OK\r\n$-1\r\n'
      assert.is(await client.ask(pipeline(['READONLY'], ['GET', 'k']), old), old)
      raft.hold()
      void raft.replicate([encodeCommand(['set', 'k', 'v'])])
      raft.follow(leader, 3)
      client.send(pipeline(['GET', 'k'], ['PING']))
      await other.ask(command('PING'), '+PONG\r\n')
      assert.is(client.received, old)
      raft.release()
      other.close()
      assert.is(await client.until((text) => text.endsWith('PONG\r\n')), `${old}$1\r\nv\r\n+PONG\r\n`)
    },
    { leaderWaitMs: 60_000 },
  ))

test('a stale read waits only so long, for no leader, for one that is behind, and for one after the other', () =>
  withServer(
    async ({ raft, port }, client) => {
      await client.ask(pipeline(['SET', 'k', 'v'], ['READONLY']), '+OK\r\n+OK\r\n')
      raft.hold()
      raft.follow(null)
      assert.is(await client.ask(command('GET', 'k'), 'v\r\n'), '$1\r\nv\r\n')
      raft.follow({ id: 's2', address: '127.0.0.1:7102' })
      assert.is(await client.ask(command('GET', 'k'), 'v\r\n'), '$1\r\nv\r\n')
      const other = await RawClient.connect(port)
      const answered = { yes: false }
      const asked = client.ask(command('GET', 'k'), 'v\r\n').then(() => (answered.yes = true))
      for (let at = 0; !answered.yes && !client.isClosed; at += 1) {
        raft.follow({ id: at % 2 === 0 ? 's3' : 's2', address: '127.0.0.1:7103' })
        await other.ask(command('PING'), '+PONG\r\n')
      }
      await asked
      other.close()
    },
    { leaderWaitMs: 30 },
  ))

test('a server that starts as a follower answers stale reads when it has caught up', async () => {
  const { raft, port, close } = await startServer({
    leaderWaitMs: 60_000,
    prepare: (double) => {
      double.hold()
      double.follow({ id: 's2', address: '127.0.0.1:7102' })
      void double.replicate([encodeCommand(['set', 'k', 'v'])])
    },
  })
  const client = await RawClient.connect(port)
  assert.is(await client.ask(pipeline(['PING'], ['READONLY'], ['GET', 'k']), '+OK\r\n'), '+PONG\r\n+OK\r\n')
  raft.release()
  assert.is(await client.until((text) => text.endsWith('v\r\n')), '+PONG\r\n+OK\r\n$1\r\nv\r\n')
  client.close()
  await close()
})

test('without a leader a client is told CLUSTERDOWN, and still of a whole cluster', () =>
  withServer(async ({ raft }, client) => {
    raft.follow(null)
    assert.match(await client.ask(command('INCR', 'k'), '\r\n'), /^-CLUSTERDOWN no leader is known/)
    assert.match(await client.ask(command('GET', 'k'), '\r\n'), /^-CLUSTERDOWN /)
    for (const id of ['s2', 's3']) raft.peer(id, true)
    assert.match(await client.ask(command('CLUSTER', 'SLOTS'), '*0\r\n'), /^\*1\r\n\*5\r\n/)
    assert.match(await client.ask(command('CLUSTER', 'INFO'), '\r\n\r\n'), /cluster_state:fail/)
    raft.lead()
    assert.is(await client.ask(command('INCR', 'k'), '\r\n'), ':1\r\n')
  }))

test('only a write that was certainly not applied is answered with a word that clients repeat it for', () =>
  withServer(async ({ raft }, client) => {
    const leader = { id: 's2', address: '127.0.0.1:7102' }
    const cases: readonly (readonly [RaftError, RegExp])[] = [
      [new RaftError('ERR_RAFT_NOT_LEADER', 'x', { leader }), /^-MOVED 7629 127\.0\.0\.1:7002\r\n$/],
      [new RaftError('ERR_RAFT_LEADERSHIP_LOST', 'x', { leader }), /^-MOVED 7629 127\.0\.0\.1:7002\r\n$/],
      [new RaftError('ERR_RAFT_NO_LEADER', 'x'), /^-CLUSTERDOWN /],
      [new RaftError('ERR_RAFT_OVERLOADED', 'x'), /^-TRYAGAIN /],
      [new RaftError('ERR_RAFT_CLOSED', 'x'), /^-CLUSTERDOWN /],
      [
        new RaftError('ERR_RAFT_LEADERSHIP_LOST', 'lost', { outcome: 'unknown', leader }),
        /^-ERR RAFT_UNKNOWN .*: lost\r\n$/,
      ],
      [new RaftError('ERR_RAFT_TIMEOUT', 'late', { outcome: 'unknown' }), /^-ERR RAFT_UNKNOWN .*: late\r\n$/],
      [new RaftError('ERR_RAFT_CLOSED', 'closed', { outcome: 'unknown' }), /^-ERR RAFT_UNKNOWN .*: closed\r\n$/],
      [
        new RaftError('ERR_RAFT_STORE_POISONED', 'poisoned', { outcome: 'unknown' }),
        /^-ERR RAFT_UNKNOWN .*: poisoned\r\n$/,
      ],
      [new RaftError('ERR_RAFT_APPLY_FAILED', 'a\r\nb', { outcome: 'applied' }), /^-ERR RAFT_APPLIED .*: a {2}b\r\n$/],
      [new RaftError('ERR_RAFT_STORE_FULL', 'full'), /^-ERR RAFT_STORE_FULL full\r\n$/],
    ]
    for (const [error, expected] of cases) {
      raft.failures.push(error)
      assert.match(await client.ask(command('INCR', 'k'), '\r\n'), expected)
    }
    assert.is(await client.ask(command('GET', 'k'), '\r\n'), '$-1\r\n')
  }))

test('a read behind a write that failed is still answered, by a round of its own', () =>
  withServer(async ({ raft }, client) => {
    raft.failures.push(new RaftError('ERR_RAFT_OVERLOADED', 'x'))
    assert.match(await client.ask(pipeline(['SET', 'k', 'v'], ['GET', 'k']), '$-1\r\n'), /^-TRYAGAIN .*\r\n\$-1\r\n$/)
    assert.is(raft.readIndexCalls, 1)
  }))

test('a GET of a key that is due by the clock waits until the log has moved the clock', () => {
  let now = 1_000_000
  return withServer(
    async ({ raft, data }, client) => {
      await client.ask(command('SET', 'k', 'v', 'PX', '50'), '+OK\r\n')
      now += 50
      raft.hold()
      client.send(pipeline(['GET', 'k'], ['TTL', 'k'], ['DBSIZE']))
      await poll(() => raft.readIndexCalls === 1)
      raft.release()
      assert.is(await client.until((text) => text.endsWith(':0\r\n')), '+OK\r\n$-1\r\n:-2\r\n:0\r\n')
      assert.is(data.time, now)
    },
    { now: () => now },
  )
})

test('a deadline that nobody asks for is put into the log by the leader alone', () => {
  let now = 1_000_000
  return withServer(
    async ({ raft, data, server }, client) => {
      await client.ask(command('SET', 'k', 'v', 'PX', '30'), '+OK\r\n')
      raft.follow({ id: 's2', address: '127.0.0.1:7102' })
      now += 1000
      server.replicator.watchDeadlines()
      await client.ask(command('PING'), '+PONG\r\n')
      assert.is(data.size, 1)
      raft.lead()
      await poll(() => data.size === 0)
      assert.equal(raft.batches, [1, 1])
    },
    { now: () => now },
  )
})

test('WATCH lets EXEC fail when the key was changed by anyone, also between EXEC and its place in the log', () =>
  withServer(async ({ port, raft }, client) => {
    const other = await RawClient.connect(port)
    await client.ask(pipeline(['WATCH', 'k', 'l'], ['MULTI'], ['SET', 'k', 'mine']), '+QUEUED\r\n')
    await other.ask(command('SET', 'l', 'theirs'), '+OK\r\n')
    assert.is(await client.ask(command('EXEC'), '\r\n'), '*-1\r\n')

    await client.ask(pipeline(['WATCH', 'k'], ['MULTI'], ['SET', 'k', 'mine']), '+QUEUED\r\n')
    raft.hold()
    other.send(command('SET', 'k', 'theirs'))
    await poll(() => raft.batches.length === 2)
    client.send(command('EXEC'))
    await poll(() => raft.batches.length === 3)
    raft.release()
    assert.is(await client.until((text) => text.endsWith('*-1\r\n')), '+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n')
    assert.is(await client.ask(command('GET', 'k'), 'theirs\r\n'), '$6\r\ntheirs\r\n')

    const alone = pipeline(['WATCH', 'k'], ['MULTI'], ['SET', 'k', '5'], ['PING', 'hi'], ['INCR', 'k'], ['EXEC'])
    assert.match(await client.ask(alone, ':6\r\n'), /\*3\r\n\+OK\r\n\$2\r\nhi\r\n:6\r\n$/)
    other.close()
  }))

test('a transaction is one entry', () =>
  withServer(async ({ raft }, client) => {
    await client.ask(pipeline(['MULTI'], ['SET', 'a', '1'], ['INCR', 'a'], ['GET', 'a'], ['EXEC']), '$1\r\n2\r\n')
    assert.equal(raft.batches, [1])
  }))

test('a command that one entry cannot hold is refused with its size, and the client stays', () =>
  withServer(async (_fixture, client) => {
    const large = 'x'.repeat(1024 * 1024)
    assert.match(
      await client.ask(command('SET', 'k', large), '\r\n'),
      /^-ERR command is too large: 1048596 bytes, .* 1048576\r\n$/,
    )
    const half = 'x'.repeat(600 * 1024)
    const answer = await client.ask(
      pipeline(['MULTI'], ['SET', 'a', half], ['SET', 'b', half], ['EXEC']),
      'errors.\r\n',
    )
    assert.match(answer, /-ERR transaction is too large: .*\r\n-EXECABORT/)
    assert.is(await client.ask(command('APPEND', 'k', half), '\r\n'), `:${600 * 1024}\r\n`)
    assert.match(await client.ask(command('APPEND', 'k', half), '\r\n'), /^-ERR string exceeds maximum allowed size/)
  }))

test('a command that is over a bound is refused in its place, and what stands around it is answered', () =>
  withServer(async ({ raft, server }, client) => {
    const sent = pipeline(['SET', 'k', 'v'], ['SET', 'k', 'x'.repeat(3 * BULK_BYTES_MAX)], ['GET', 'k'])
    const bound = `an argument has ${3 * BULK_BYTES_MAX} bytes, but a command is one Raft entry of at most ${BULK_BYTES_MAX}`
    assert.is(await client.ask(sent, 'v\r\n'), `+OK\r\n-ERR ${bound}\r\n$1\r\nv\r\n`)
    const parts = Array.from({ length: 5 }, () => 'x'.repeat(1_000_000))
    const large = await client.ask(command('DEL', ...parts) + command('PING'), '+PONG\r\n')
    assert.is(large, `-ERR the command is larger than ${COMMAND_BYTES_MAX} bytes: split it\r\n+PONG\r\n`)
    const inside = pipeline(
      ['MULTI'],
      ['SET', 'k', 'x'.repeat(2 * BULK_BYTES_MAX)],
      ['SET', 'k', 'w'],
      ['EXEC'],
      ['GET', 'k'],
    )
    assert.match(
      await client.ask(inside, 'v\r\n'),
      /^\+OK\r\n-ERR an argument .*\r\n\+QUEUED\r\n-EXECABORT .*\r\n\$1\r\nv\r\n$/,
    )
    assert.equal(raft.batches, [1])
    assert.is([...server.clients][0]?.buffered, 0)
  }))

test('malformed input is answered after the commands before it, and ends the connection', () =>
  withServer(async (_fixture, client) => {
    client.send(`${command('SET', 'k', 'v')}*1\r\n+PING\r\n${command('SET', 'k', 'w')}`)
    const received = await client.until((_text, isClosed) => isClosed)
    assert.is(received, "+OK\r\n-ERR Protocol error: expected '$', got '+'\r\n")
  }))

test('a client that ends its side after its commands gets all answers', () =>
  withServer(async (_fixture, client) => {
    client.send(pipeline(['SET', 'k', 'v'], ['GET', 'k'], ['DBSIZE']))
    assert.is(await client.drain(), '+OK\r\n$1\r\nv\r\n:1\r\n')
  }))

test('QUIT answers what came before it and nothing behind it; a browser is cut off', () =>
  withServer(async ({ port, events }, client) => {
    client.send(pipeline(['SET', 'k', 'v'], ['QUIT'], ['PING']))
    assert.is(await client.until((_text, isClosed) => isClosed), '+OK\r\n+OK\r\n')
    const browser = await RawClient.connect(port)
    browser.send('POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k evil\r\n')
    assert.is(await browser.until((_text, isClosed) => isClosed), '')
    assert.equal(events, ['client.cut-off'])
  }))

test('CLIENT REPLY silences what it says and no more', () =>
  withServer(async (_fixture, client) => {
    const reply = (how: string): string[] => ['CLIENT', 'REPLY', how]
    const sent = pipeline(
      reply('SKIP'),
      ['SET', 'k', '1'],
      ['GET', 'k'],
      reply('OFF'),
      ['INCR', 'k'],
      ['PING'],
      reply('ON'),
      ['GET', 'k'],
    )
    assert.is(await client.ask(sent, '$1\r\n2\r\n'), '$1\r\n1\r\n+OK\r\n$1\r\n2\r\n')
  }))

test('CLIENT REPLY ON is answered, also right behind SKIP', () =>
  withServer(async (_fixture, client) => {
    const sent = [['CLIENT', 'REPLY', 'SKIP'], ['CLIENT', 'REPLY', 'ON'], ['PING', 'a'], ['PING']]
    assert.is(await client.ask(pipeline(...sent), '+PONG\r\n'), '+OK\r\n$1\r\na\r\n+PONG\r\n')
  }))

test('a replica that cannot be reached is no place to read from, and carries the flag of a failed one', () =>
  withServer(async ({ raft }, client) => {
    raft.peer('s2', true)
    raft.peer('s3', true)
    const all = await client.ask(command('CLUSTER', 'SLOTS'), '*0\r\n')
    assert.equal(all.match(/:70\d\d/g), [':7001', ':7002', ':7003'])
    raft.peer('s3', false, 'gone')
    raft.downReasons.set('s3', 'refused, its log\nwas wiped')
    const some = await client.ask(command('CLUSTER', 'SLOTS'), '*0\r\n')
    assert.equal(some.match(/:70\d\d/g), [':7001', ':7002'])
    const nodes = await client.ask(command('CLUSTER', 'NODES') + command('PING'), 'PONG\r\n')
    assert.match(nodes, /:7002@7102 slave /)
    assert.match(nodes, /:7003@7103 slave,fail [0-9a-f]+ 0 0 1 disconnected/)
    assert.match(await client.ask(command('CLUSTER', 'SHARDS') + command('PING'), 'PONG\r\n'), /fail\r\n\+PONG/)
    const info = await client.ask(command('INFO', 'raft') + command('PING'), 'PONG\r\n')
    assert.match(info, /raft_peer_s3:.*,connected=0,.*,lost=refused; its log was wiped\r\n/)
    assert.match(info, /raft_peer_s2:[^\r]*match_index=0\r\n/)
    const reason = 'server s3 has lost entries, and\nmay have forgotten votes'
    raft.refusals.set('s3', { code: 'ERR_RAFT_PEER_REPLACED', reason, by: 'self', since: 1, count: 7 })
    const told = await client.ask(command('INFO', 'raft') + command('PING'), 'PONG\r\n')
    const refused = 'refused=ERR_RAFT_PEER_REPLACED server s3 has lost entries; and may have forgotten votes'
    assert.match(told, new RegExp(`raft_peer_s3:.*,${refused},refused_times=7\r\n`))
    raft.refusals.set('s3', { code: 'X,\nY', reason: 'no', by: 'peer', since: 1, count: 1 })
    const foreign = await client.ask(command('INFO', 'raft') + command('PING'), 'PONG\r\n')
    assert.match(foreign, /raft_peer_s3:.*,refused=by the peer: X; Y no,refused_times=1\r\n/)
  }))

test('what is not ASCII in INFO and CONFIG is UTF-8', () =>
  withServer(
    async (_fixture, client) => {
      const bytes = Buffer.from('/daten/größe €').toString('latin1')
      const info = await client.ask(command('INFO', 'persistence') + command('PING'), 'PONG\r\n')
      assert.ok(info.includes(`log_dir:${bytes}\r\n`))
      assert.is(/^\$(\d+)\r\n/.exec(info)?.[1], String(info.length - '$000\r\n\r\n+PONG\r\n'.length))
      const config = await client.ask(command('CONFIG', 'GET', 'dir'), '\x82\xac\r\n')
      assert.is(config, `*2\r\n$3\r\ndir\r\n$${bytes.length}\r\n${bytes}\r\n`)
    },
    { dir: '/daten/größe €' },
  ))

test('how long a server and its clients are there does not hang on the date', async () => {
  let date = 1_700_000_000_000
  await withServer(
    async (_fixture, client) => {
      for (const jump of [3_600_000, -7_200_000]) {
        date += jump
        const said = await client.ask(command('INFO', 'server') + command('CLIENT', 'LIST'), 'resp=2\n\r\n')
        assert.match(said, new RegExp(`server_time_usec:${date}000\\r\\nuptime_in_seconds:[0-9]\\r\\n`))
        assert.match(said, / age=[0-9] idle=[0-9] /)
      }
    },
    { now: () => date },
  )
})

test('HELLO 3 and RESET change the form of later answers only', () =>
  withServer(async (_fixture, client) => {
    const sent = pipeline(['GET', 'k'], ['HELLO', '3'], ['GET', 'k'], ['RESET'], ['GET', 'k'])
    assert.match(await client.ask(sent, '+RESET\r\n$-1\r\n'), /^\$-1\r\n%7\r\n[^]*\r\n_\r\n\+RESET\r\n\$-1\r\n$/)
  }))

test('a client that does not read its answers stops being served, and holds no more than its bound', () =>
  withServer(async ({ server }, client) => {
    const value = 'x'.repeat(100_000)
    await client.ask(command('SET', 'k', value), '+OK\r\n')
    client.pause()
    const count = 2000
    client.send(pipeline(...Array.from({ length: count }, () => ['GET', 'k'])))
    await poll(() => [...server.clients].some(({ unsent }) => unsent > 0))
    const bound = OUTPUT_SOFT_BYTES_MAX + value.length + 100
    const [held] = server.clients
    assert.ok((held?.unsent ?? 0) <= bound, `${held?.unsent} bytes are held, more than ${bound}`)
    client.resume()
    const length = `$${value.length}\r\n${value}\r\n`.length * count
    await client.until((text) => text.length >= length + '+OK\r\n'.length, 60_000)
  }))

test('an answer longer than the output bound ends its client and no other', () =>
  withServer(async ({ port, events }, client) => {
    const value = 'x'.repeat(1_000_000)
    await client.ask(command('SET', 'k', value), '+OK\r\n')
    const greedy = await RawClient.connect(port)
    greedy.send(command('MGET', ...Array.from({ length: 70 }, () => 'k')))
    await greedy.until((_text, isClosed) => isClosed)
    assert.equal(events, ['client.cut-off'])
    assert.is(await client.ask(command('PING'), '+PONG\r\n'), '+PONG\r\n')
  }))

test('a long pipeline is served a bounded number at a time, all of it', () =>
  withServer(async ({ raft }, client) => {
    const count = 3 * PIPELINE_MAX
    const sent = pipeline(...Array.from({ length: count }, () => ['INCR', 'n']))
    const answer = await client.ask(sent, `:${count}\r\n`)
    assert.is(answer, Array.from({ length: count }, (_, at) => `:${at + 1}\r\n`).join(''))
    assert.ok(Math.max(...raft.batches) <= 2048)
  }))

test('one client more than the bound is turned away with a reason', () =>
  withServer(
    async ({ port, server }, client) => {
      await client.ask(command('PING'), '+PONG\r\n')
      const extra = await RawClient.connect(port)
      assert.is(await extra.until((_text, isClosed) => isClosed), '-ERR max number of clients reached\r\n')
      assert.is(server.counters.rejected, 1)
    },
    { clientsMax: 1 },
  ))

test('a closing server answers what is under way and ends every connection', async () => {
  const { server, raft, port } = await startServer()
  const client = await RawClient.connect(port)
  raft.hold()
  client.send(pipeline(['SET', 'k', 'v'], ['GET', 'k']))
  await poll(() => raft.batches.length === 1)
  await server.close(raft.close())
  assert.is(await client.until((_text, isClosed) => isClosed), '+OK\r\n$1\r\nv\r\n')
  await RawClient.connect(port).then(
    () => assert.unreachable('it still accepts'),
    () => undefined,
  )
})

/** Waits until a fact holds that nothing announces. */
async function poll(holds: () => boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`still not so after ${timeoutMs} ms: ${holds.toString()}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const many = (count: number): readonly string[] => Array.from({ length: count }, (_, at) => `key${at}`)

test('what one command, one transaction and one WATCH can make every server do is bounded, and said', () =>
  withServer(async (fixture, client) => {
    const wide = command('MGET', ...many(COMMAND_WORDS_MAX))
    assert.is(
      await client.ask(wide + pipeline(['PING']), '+PONG\r\n'),
      `-ERR the command has ${COMMAND_WORDS_MAX + 1} words, at most ${COMMAND_WORDS_MAX} are allowed: split it\r\n+PONG\r\n`,
    )
    const half = command('MGET', ...many(COMMAND_WORDS_MAX / 2))
    const twice = await client.ask(pipeline(['MULTI']) + half + half + pipeline(['EXEC'], ['PING']), '+PONG\r\n')
    assert.match(twice, /QUEUED\r\n-ERR transaction is too large: .*\r\n-EXECABORT/)
    const walk = await client.ask(pipeline(['MULTI'], ['KEYS', '*'], ['SCAN', '0'], ['EXEC'], ['PING']), '+PONG\r\n')
    assert.is(walk.match(/-ERR Command not allowed inside a transaction/g)?.length, 2)
    assert.match(walk, /-EXECABORT/)
    assert.equal(fixture.raft.batches, [], 'nothing of it went into the log')
  }))

test('a client may watch so many keys as one entry can hold, and again after UNWATCH', () =>
  withServer(async (_fixture, client) => {
    const full = command('WATCH', ...many(WATCHED_KEYS_MAX))
    assert.is(await client.ask(full, 'OK\r\n'), '+OK\r\n')
    assert.match(await client.ask(pipeline(['WATCH', 'one more']), '\r\n'), /-ERR too much to watch: .*4096 keys/)
    assert.is(await client.ask(pipeline(['UNWATCH']) + full, 'OK\r\n+OK\r\n'), '+OK\r\n+OK\r\n')
    assert.is(await client.ask(pipeline(['UNWATCH'], ['WATCH', 'k']), 'OK\r\n+OK\r\n'), '+OK\r\n+OK\r\n')
    for (let times = 0; times < 3; times += 1) {
      const again = pipeline(...many(WATCHED_KEYS_MAX / 2).map(() => ['WATCH', 'k']))
      assert.not.match(await client.ask(again + pipeline(['PING']), '+PONG\r\n'), /-ERR/, 'the same key is one key')
    }
    const large = 'x'.repeat(WATCHED_BYTES_MAX)
    assert.match(await client.ask(pipeline(['WATCH', large]), '\r\n'), /-ERR too much to watch/)
  }))

test('FLUSHALL touches the watched keys that lived, and no others', () =>
  withServer(async (_fixture, client) => {
    const lived = pipeline(['SET', 'key1', 'v'], ['WATCH', 'key1'], ['FLUSHALL'], ['PING'])
    await client.ask(lived, '+PONG\r\n')
    const failed = pipeline(['MULTI'], ['SET', 'a', '1'], ['EXEC'], ['PING'])
    assert.match(await client.ask(failed, '+PONG\r\n'), /\*-1\r\n/)
    const unharmed = pipeline(['WATCH', 'not there'], ['FLUSHALL'], ['MULTI'], ['SET', 'a', '1'], ['EXEC'], ['PING'])
    assert.match(await client.ask(unharmed, '+PONG\r\n'), /\*1\r\n\+OK/)
  }))

test('SCAN looks at a bounded number of keys, whatever its COUNT, and still finds all', () =>
  withServer(async (fixture, client) => {
    for (const key of many(10_000)) fixture.data.set(key, 'v', 0)
    let cursor = '0'
    let found = 0
    let rounds = 0
    do {
      const answer = await client.ask(pipeline(['SCAN', cursor, 'COUNT', '1000000'], ['PING']), '+PONG\r\n')
      cursor = /^\*2\r\n\$\d+\r\n(\d+)/.exec(answer)?.[1] ?? '0'
      found += answer.match(/key\d/g)?.length ?? 0
      rounds += 1
    } while (cursor !== '0')
    assert.is(found, 10_000)
    assert.is(rounds, Math.ceil(10_000 / SCAN_KEYS_MAX))
  }))

test.run()
