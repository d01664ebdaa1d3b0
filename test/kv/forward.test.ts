/** A server that forwards, on a double of the library: order, what is tried again, reads of each mode, and WAIT. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import { encodeCommand } from 'balsa-kv/replication/entry-codec.js'
import { replyCodec } from 'balsa-kv/replication/reply-codec.js'
import { failure, nullArray, ok, status, type Reply } from 'balsa-kv/resp/reply.js'
import { logIndex } from '#balsa/types.js'
import { below, drawSeed, pick, randomFrom, type Random } from '../support/seed.js'
import { until as untilThat } from '../support/until.js'
import { command, RawClient, withServer, type Fixture } from './kv-fixture.js'
import type { SingleServerRaft } from './single-server-raft.js'

const test = suite('kv server that forwards')

type Words = readonly string[]

const leader = { id: 's2', address: '127.0.0.1:7102' }
const pipeline = (...commands: readonly Words[]): string => commands.map((words) => command(...words)).join('')
const overloaded = (): RaftError => new RaftError('ERR_RAFT_OVERLOADED', 'full', { retryable: true })

const until = (holds: () => boolean): Promise<void> => untilThat('what the test waits for', holds)

/** A follower that forwards, and one client of it. */
function withFollower(body: (fixture: Fixture, client: RawClient) => Promise<void>, forwards = true): Promise<void> {
  return withServer(body, { forwards, prepare: (raft: SingleServerRaft) => raft.follow(leader) })
}

test('a follower has its leader carry out a pipeline; without the option it says MOVED', async () => {
  const sent = pipeline(['SET', 'k', '1'], ['GET', 'k'], ['INCR', 'k'], ['MULTI'], ['GET', 'k'], ['EXEC'], ['DBSIZE'])
  await withFollower(async ({ raft }, client) => {
    const answer = await client.ask(sent, '*1\r\n$1\r\n2\r\n:1\r\n')
    assert.is(answer, '+OK\r\n$1\r\n1\r\n:2\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n2\r\n:1\r\n')
    assert.is(raft.proposals, 3)
    assert.equal(raft.batches, [], 'nothing goes to the library as to that of a leader')
    assert.match(
      await client.ask(command('INFO', 'replication'), 'connected_slaves:0\r\n\r\n'),
      /slave_read_only:0\r\n/,
    )
    assert.is(
      await client.ask(command('CONFIG', 'GET', 'replica-read-only'), 'no\r\n'),
      '*2\r\n$17\r\nreplica-read-only\r\n$2\r\nno\r\n',
    )
  })
  await withFollower(async ({ raft }, client) => {
    assert.match(await client.ask(pipeline(['SET', 'k', '1'], ['PING']), '+PONG\r\n'), /^-MOVED 7629 127/)
    assert.is(raft.proposals, 0)
  }, false)
})

test('what the leader refuses for now is forwarded again in its order, and is applied once', () =>
  withFollower(async ({ raft, server }, client) => {
    // Each at its first try, in however many turns they come.
    const tried = new Set<string>()
    raft.foreignRefusal = (command) => {
      const text = Buffer.from(command).toString('latin1')
      return tried.size < tried.add(text).size ? overloaded() : undefined
    }
    const amounts = Array.from({ length: 30 }, (_, at) => at + 1)
    const sent = amounts.map((amount) => ['INCRBY', 'n', `${amount}`])
    const answers = amounts.map((amount) => `:${(amount * (amount + 1)) / 2}\r\n`).join('')
    assert.is(await client.ask(pipeline(...sent), ':465\r\n'), answers)
    assert.is(raft.proposals, 60)
    assert.is(server.rooms['entriesToPropose'], 0)
  }))

test('what was refused is not forwarded again once something behind it was taken', () =>
  withFollower(async ({ raft }, client) => {
    raft.foreignFailures.push(overloaded())
    const answer = await client.ask(pipeline(['SET', 'k', 'first'], ['SET', 'k', 'second'], ['GET', 'k']), 'second\r\n')
    assert.match(answer, /^-TRYAGAIN [^\r]*\r\n\+OK\r\n\$6\r\nsecond\r\n$/)
    assert.is(raft.proposals, 2)
  }))

test('what may have been applied is not forwarded again, and what was refused behind it is', () =>
  withFollower(async ({ raft }, client) => {
    const lost = new RaftError('ERR_RAFT_LEADERSHIP_LOST', 'the way broke', { outcome: 'unknown', retryable: true })
    raft.foreignFailures.push(lost, overloaded())
    const answer = await client.ask(pipeline(['INCR', 'n'], ['INCR', 'n'], ['PING']), '+PONG\r\n')
    assert.match(answer, /^-ERR RAFT_UNKNOWN [^\r]*the way broke\r\n:1\r\n\+PONG\r\n$/)
    assert.is(raft.proposals, 3)
  }))

test('an answer that is lost is told as of a command that was applied', () =>
  withFollower(async ({ raft }, client) => {
    raft.foreignFailures.push(new RaftError('ERR_RAFT_TOO_LARGE', 'too long', { outcome: 'applied' }))
    assert.match(await client.ask(pipeline(['INCR', 'n'], ['PING']), '+PONG\r\n'), /^-ERR RAFT_APPLIED /)
    assert.is(raft.proposals, 1)
  }))

test('while nobody leads a server that forwards says so, and a leader that does not answer is not named by MOVED', () =>
  withFollower(async ({ raft }, client) => {
    raft.queryFailure = new RaftError('ERR_RAFT_LEADERSHIP_LOST', 'not reached', { retryable: true })
    assert.match(await client.ask(pipeline(['GET', 'k'], ['PING']), '+PONG\r\n'), /^-CLUSTERDOWN s2 leads, and /)
    raft.queryFailure = new RaftError('ERR_RAFT_TIMEOUT', 'late')
    assert.match(await client.ask(pipeline(['GET', 'k'], ['PING']), '+PONG\r\n'), /^-TRYAGAIN .* within 5000 ms/)
    raft.follow(null)
    const sent = pipeline(['SET', 'k', '1'], ['GET', 'k'], ['WATCH', 'k'], ['WAIT', '0', '0'], ['PING'])
    assert.match(await client.ask(sent, '+PONG\r\n'), /^(?:-CLUSTERDOWN no leader [^\r]*\r\n){4}\+PONG\r\n$/)
  }))

test('commands that were sent to a leader that steps down go to the next one, in their order', () =>
  withServer(
    async ({ raft }, client) => {
      const refused = new RaftError('ERR_RAFT_NOT_LEADER', 'leads no more', { retryable: true })
      raft.failures.push(refused)
      const answered = client.ask(pipeline(['INCR', 'n'], ['INCR', 'n'], ['GET', 'n']), '$1\r\n2\r\n')
      await until(() => raft.failures.length === 0)
      raft.follow(leader)
      assert.is(await answered, ':1\r\n:2\r\n$1\r\n2\r\n')
      assert.is(raft.proposals, 2)
    },
    { forwards: true },
  ))

test('WATCH on a follower notices a change by anybody, and EXEC then does nothing', () =>
  withFollower(async ({ raft }, client) => {
    assert.is(await client.ask(pipeline(['WATCH', 'k'], ['GET', 'k']), '$-1\r\n'), '+OK\r\n$-1\r\n')
    await raft.replicate([encodeCommand(['set', 'k', 'theirs'])])
    const sent = pipeline(['MULTI'], ['SET', 'k', 'mine'], ['EXEC'], ['GET', 'k'])
    assert.is(await client.ask(sent, 'theirs\r\n'), '+OK\r\n+QUEUED\r\n*-1\r\n$6\r\ntheirs\r\n')
  }))

test('a read of a key that is due has the leader put the time into the log, and then finds it dead', () => {
  let now = 1_000_000
  return withServer(
    async ({ raft }, client) => {
      assert.is(await client.ask(pipeline(['SET', 'k', 'v', 'PX', '50']), '+OK\r\n'), '+OK\r\n')
      now += 60
      const before = raft.proposals
      const answer = await client.ask(pipeline(['GET', 'k'], ['KEYS', '*']), '*0\r\n')
      assert.is(answer, '$-1\r\n*0\r\n')
      assert.is(raft.proposals, before + 1, 'one entry of time for both')
    },
    { forwards: true, entryTime: () => now, prepare: (raft: SingleServerRaft) => raft.follow(leader) },
  )
})

test('a read of a key that is due by a clock ahead of its leader asks for the time again until it is dead', () => {
  let now = 1_000_000
  return withServer(
    async ({ raft }, client) => {
      await client.ask(pipeline(['SET', 'k', 'v', 'PX', '50']), '+OK\r\n')
      now += 60
      const propose = raft.propose.bind(raft)
      let early = 0
      raft.propose = (entry) => {
        early += 1
        // By the clock of the leader the key lives on.
        if (early < 3) return Promise.resolve({ index: raft.status.lastIndex, term: raft.status.term, result: ok })
        return propose(entry)
      }
      assert.is(await client.ask(command('GET', 'k'), '$-1\r\n'), '$-1\r\n')
      assert.is(early, 3)
    },
    { forwards: true, entryTime: () => now, prepare: (raft: SingleServerRaft) => raft.follow(leader) },
  )
})

test('a command whose answer could not travel is refused before it is sent', () =>
  withFollower(async ({ raft, data }, client) => {
    const half = 'x'.repeat(600_000)
    await raft.replicate(['a', 'b'].map((key) => encodeCommand(['set', key, half])))
    const sent = pipeline(['MULTI'], ['GET', 'a'], ['GET', 'b'], ['DEL', 'a'], ['EXEC'], ['PING'])
    assert.match(await client.ask(sent, '+PONG\r\n'), /-EXECABORT [^\r]*the answer would be over 1048575 bytes/)
    await raft.replicate([encodeCommand(['append', 'a', 'y'.repeat(1024 * 1024 - half.length)])])
    assert.match(await client.ask(pipeline(['GETDEL', 'a'], ['PING']), '+PONG\r\n'), /^-ERR the answer would be over/)
    assert.is(raft.proposals, 0)
    assert.is(data.size, 2)
  }))

test('READONLY says of which mode the reads of a connection are, on a follower that does not forward too', () =>
  withFollower(async ({ raft }, client) => {
    await raft.replicate([encodeCommand(['set', 'k', 'v'])])
    const asked = async (...mode: Words): Promise<unknown> => {
      raft.queries.length = 0
      const answer = await client.ask(pipeline(['READONLY', ...mode], ['GET', 'k'], ['PING']), '+PONG\r\n')
      assert.is(answer, '+OK\r\n$1\r\nv\r\n+PONG\r\n', mode.join(' '))
      return raft.queries.map((options) => options?.consistency)
    }
    assert.equal(await asked(), [])
    assert.equal(await asked('STALE'), [])
    assert.equal(await asked('linearizable'), [undefined])
    assert.equal(await asked('LEASE'), ['lease'])
    assert.equal(await asked('MAXSTALENESS', '250'), [{ maxStalenessMs: 250 }])
    assert.equal(await asked('MININDEX', '1'), [{ minIndex: 1 }])
    for (const undo of ['RESET', 'READWRITE']) {
      const answer = await client.ask(pipeline(['READONLY', 'STALE'], [undo], ['GET', 'k'], ['PING']), '+PONG\r\n')
      assert.match(answer, /-MOVED /, undo)
    }
  }, false))

test('reads of one mode that come in one turn share one question', () =>
  withFollower(async ({ raft }, client) => {
    raft.queries.length = 0
    const gets = Array.from({ length: 50 }, () => ['GET', 'none'])
    await client.ask(pipeline(['READONLY', 'MAXSTALENESS', '5'], ...gets, ['PING']), '+PONG\r\n')
    assert.equal(
      raft.queries.map((options) => options?.consistency),
      [{ maxStalenessMs: 5 }],
    )
  }))

test('a mode of READONLY that there is not is refused with those that there are, and changes nothing', () =>
  withFollower(async (_fixture, client) => {
    const wrong: readonly (readonly [Words, RegExp])[] = [
      [['LATEST'], /^-ERR READONLY takes nothing, or LINEARIZABLE, LEASE, STALE, .*; 'LATEST' is none of them\r\n/],
      [['STALE', '5'], /^-ERR READONLY .*; STALE stands alone\r\n/],
      [['lease', '5'], /^-ERR READONLY .*; LEASE stands alone\r\n/],
      [
        ['MAXSTALENESS'],
        /^-ERR MAXSTALENESS takes a whole number of 0 \.\. 9007199254740991, and was given nothing\r\n/,
      ],
      [['MAXSTALENESS', '-1'], /^-ERR MAXSTALENESS .* given '-1'\r\n/],
      [['MININDEX', '1.5'], /^-ERR MININDEX .* given '1\.5'\r\n/],
      [['MININDEX', '1', '2'], /^-ERR READONLY .*; there is more behind that\r\n/],
    ]
    for (const [mode, expected] of wrong) {
      assert.match(await client.ask(pipeline(['READONLY', ...mode], ['PING']), '+PONG\r\n'), expected)
    }
    assert.match(await client.ask(command('CLIENT', 'INFO'), 'resp=2\n\r\n'), / flags=N /)
  }))

test('whatever its mode, a connection reads what it wrote', () =>
  withFollower(async ({ raft }, client) => {
    // What is answered is not applied here yet.
    raft.propose = () => Promise.resolve({ index: logIndex(7), term: raft.status.term, result: ok })
    for (const [mode, consistency] of [
      [[], { minIndex: 7 }],
      [['STALE'], { minIndex: 7 }],
      [['MININDEX', '9'], { minIndex: 9 }],
      [['MAXSTALENESS', '100'], 'linearizable'],
    ] as const) {
      raft.queries.length = 0
      await client.ask(pipeline(['READONLY', ...mode], ['SET', 'k', 'v'], ['GET', 'k'], ['PING']), '+PONG\r\n')
      assert.equal(
        raft.queries.map((options) => options?.consistency ?? 'linearizable'),
        [consistency],
      )
    }
    assert.is(await client.ask(command('RAFT', 'INDEX'), '\r\n'), ':7\r\n')
  }))

test('WAIT answers once so many others have what its connection wrote, or when its time is over', () =>
  withServer(async ({ raft, server }, client) => {
    for (const id of ['s2', 's3']) raft.peer(id, true)
    const waiting = async (...words: Words): Promise<Promise<string>> => {
      const answered = client.ask(pipeline(['SET', 'k', 'v'], words, ['PING']), '+PONG\r\n')
      await until(() => server.copyWaits.count === 1)
      return answered
    }
    const first = waiting('WAIT', '1', '0')
    await until(() => server.copyWaits.count === 1)
    assert.match(client.received, /^(?:\+OK\r\n)?$/, 'nothing behind it is answered before')
    raft.matches.set('s2', raft.status.lastIndex)
    assert.is(await first, '+OK\r\n:1\r\n+PONG\r\n')
    assert.is(await waiting('WAIT', '2', '20'), '+OK\r\n:0\r\n+PONG\r\n', 's2 has the first one only')
    raft.matches.set('s2', raft.status.lastIndex)
    const inside = pipeline(['MULTI'], ['WAIT', '2', '0'], ['EXEC'], ['PING'])
    assert.is(await client.ask(inside, '+PONG\r\n'), '+OK\r\n+QUEUED\r\n*1\r\n:1\r\n+PONG\r\n')
    assert.is(server.rooms['copyWaits'], 0)
  }))

test('a client that waits for ever and goes, or sends no more, waits no longer; and behind a lost leadership nobody does', () =>
  withServer(async ({ raft, server, port }, client) => {
    const counted = (count: number): Promise<void> => until(() => server.copyWaits.count === count)
    const gone = await RawClient.connect(port)
    gone.send(pipeline(['WAIT', '1', '0'], ['GET', 'k']))
    await counted(1)
    assert.match(await client.ask(command('INFO', 'clients'), 'blocked_clients:1\r\n\r\n'), /blocked_clients:1/)
    gone.close()
    await counted(0)
    const half = await RawClient.connect(port)
    half.send(pipeline(['WAIT', '1', '0'], ['GET', 'k']))
    await counted(1)
    assert.is(await half.drain(), ':0\r\n$-1\r\n')
    const answered = client.ask(pipeline(['WAIT', '1', '0'], ['PING']), '+PONG\r\n')
    await counted(1)
    raft.follow(leader)
    assert.match(await answered, /^-UNBLOCKED force unblock from blocking operation, /)
  }))

test('WAIT on a follower says what the quorum says, and names the leader for more', async () => {
  await withFollower(async (_fixture, client) => {
    assert.is(await client.ask(pipeline(['SET', 'k', 'v'], ['WAIT', '1', '0']), ':1\r\n'), '+OK\r\n:1\r\n')
    assert.match(await client.ask(pipeline(['WAIT', '2', '0'], ['PING']), '+PONG\r\n'), /^-ERR WAIT: .*\(s2\) for more/)
  })
  await withFollower(async (_fixture, client) => {
    assert.match(
      await client.ask(pipeline(['WAIT', '0', '0'], ['PING']), '+PONG\r\n'),
      /^-ERR WAIT cannot be used with/,
    )
  }, false)
})

test('a crowd of clients at a follower holds no more than at a leader, and nothing when it has gone', () =>
  withFollower(async ({ raft, server, port }) => {
    raft.hold()
    const crowd = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(port)))
    const sent = pipeline(...Array.from({ length: 3000 }, () => ['INCR', 'n']))
    for (const one of crowd) one.send(sent)
    await until(() => !server.replicator.hasRoom)
    assert.ok((server.rooms['entries'] ?? 0) <= 4096 + 1, `${server.rooms['entries']} entries under way`)
    for (const one of crowd) one.close()
    raft.release()
    // Then there is the client of the test.
    const ofClients = new Set(['clients', 'clientAccounts'])
    const isEmpty = (): boolean =>
      Object.entries(server.rooms).every(([name, count]) => count === 0 || ofClients.has(name))
    await until(() => server.clientCount === 1 && isEmpty())
  }))

test('answers come back as they were; bytes that are none are refused', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  for (let count = 0; count < 2000; count += 1) {
    const reply = drawReply(random, 3)
    assert.equal(replyCodec.decode(replyCodec.encode(reply)), reply, `BALSA_SEED=${seed}`)
  }
  const list = replyCodec.encode(['abc', 1])
  for (const bytes of [new Uint8Array(0), Buffer.from('x'), Buffer.from('i1x'), list.subarray(0, list.length - 1)]) {
    assert.throws(() => replyCodec.decode(bytes))
  }
  for (const type of ['map', 'set', 'verbatim', 'encoded']) {
    assert.throws(() => replyCodec.encode({ type } as unknown as Reply), /no entry is answered with/)
  }
})

function drawReply(random: Random, depth: number): Reply {
  const text = String.fromCharCode(...Array.from({ length: below(random, 40) }, () => below(random, 256)))
  const list = (): Reply =>
    depth === 0 ? null : Array.from({ length: below(random, 5) }, () => drawReply(random, depth - 1))
  return pick<Reply>(random, [
    ...[text, below(random, 2 ** 31) - 2 ** 30, 2n ** 62n, -(2n ** 63n), null, nullArray, status(text), failure(text)],
    list(),
  ])
}

test.run()
