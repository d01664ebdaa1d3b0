/** What is kept for clients: counted in one place, bounded, and nothing when nothing is under way. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { OUTPUT_SOFT_BYTES_MAX } from 'balsa-kv/limits.js'
import { ClientMemory } from 'balsa-kv/server/client/client-memory.js'
import { command, RawClient, startServer, type Fixture, type FixtureOptions } from './kv-fixture.js'
import { ScriptedSocket } from './scripted-socket.js'

const test = suite('memory kept for clients of kv')

const MB = 1024 * 1024

async function withServer(options: FixtureOptions, body: (fixture: Fixture) => Promise<void>): Promise<void> {
  const fixture = await startServer(options)
  try {
    await body(fixture)
  } finally {
    for (const socket of sockets.splice(0)) socket.close()
    await fixture.close()
  }
}

const sockets: ScriptedSocket[] = []

/** Closed with the server. */
function connect({ server }: Fixture): ScriptedSocket {
  const socket = new ScriptedSocket()
  sockets.push(socket)
  server.accept(socket)
  return socket
}

/** The double of the library settles in the turn after a call. */
async function turns(count = 8): Promise<void> {
  for (let left = count; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve))
}

test('the one that holds the most goes first, one that asked to stay goes last, and the sum never drifts', () => {
  const memory = new ClientMemory(100)
  const gone: string[] = []
  const holder = (name: string, isSpared = false) => {
    const self = { held: 0, heldCommands: 0, isSpared, cutOff: () => (gone.push(name), account.close()) }
    const account = memory.open(self)
    const hold = (held: number, heldCommands = 0): void => {
      Object.assign(self, { held, heldCommands })
      account.update()
    }
    return hold
  }
  const [small, large, spared] = [holder('small'), holder('large'), holder('spared', true)]
  small(10)
  large(30)
  spared(60)
  assert.equal([memory.held, gone.length], [100, 0])
  small(11)
  assert.equal([memory.held, gone], [71, ['large']])
  large(500)
  assert.is(memory.held, 71, 'what is gone holds nothing')
  spared(101)
  assert.equal([memory.held, gone, memory.evicted], [0, ['large', 'small', 'spared'], 3])
  const [reader, queuer, other] = [holder('reader'), holder('queuer'), holder('other')]
  reader(60)
  queuer(30, 30)
  other(10, 10)
  assert.is(memory.evicted, 3, 'half of it may be commands')
  other(10, 21)
  assert.equal([memory.held, gone.at(-1)], [70, 'queuer'], 'of those the one with the most commands goes')
})

test('what MULTI queues is bounded, whoever answers it', () =>
  withServer({}, async (fixture) => {
    const client = connect(fixture)
    client.receive(command('MULTI'))
    const ping = command('PING', 'x'.repeat(MB))
    for (let times = 0; times < 20; times += 1) client.receive(ping)
    await turns()
    assert.match(client.writes.join(''), /\+QUEUED\r\n-ERR transaction is too large: /)
    client.drain()
    await turns()
    assert.is(fixture.server.clientMemory.held, 0, 'nothing is kept of what can only be refused')
    client.receive(command('EXEC'))
    await turns()
    assert.match(client.writes.at(-1) ?? '', /^-EXECABORT/)
    client.close()
  }))

test('unfinished commands, queued ones and names of many clients stay below the bound, and the rest is served', () =>
  withServer({ clientsMemoryMax: 32 * MB }, async (fixture) => {
    const { server, events } = fixture
    const parts = [
      // 3 MB of a command that never ends.
      `*100\r\n${`$1000000\r\n${'x'.repeat(1_000_000)}\r\n`.repeat(3)}`,
      command('MULTI') + command('PING', 'x'.repeat(MB)).repeat(3),
      command('CLIENT', 'SETNAME', 'x'.repeat(MB)),
      command('WATCH', 'x'.repeat(200_000)),
    ]
    const clients = Array.from({ length: 80 }, () => connect(fixture))
    for (const [at, client] of clients.entries()) {
      client.receive(parts[at % parts.length] ?? '')
      await turns(2)
      client.drain()
      assert.ok(server.clientMemory.held <= 32 * MB, `${server.clientMemory.held} bytes are kept`)
    }
    assert.ok(events.filter((event) => event === 'client.cut-off').length >= 20)
    assert.is(server.counters.cutOff, server.clientMemory.evicted)
    assert.match(clients.find(({ cutOffReason }) => cutOffReason !== null)?.cutOffReason ?? '', /maxmemory-clients/)
    const last = connect(fixture)
    last.receive(command('SET', 'k', 'v') + command('GET', 'k'))
    await turns()
    assert.is(last.writes.join(''), '+OK\r\n$1\r\nv\r\n')
  }))

/** One client each: what it sends, and how it ends. */
const ends: readonly (readonly [how: string, run: (client: ScriptedSocket, fixture: Fixture) => Promise<void>])[] = [
  [
    'has its answers',
    async (client) => {
      client.receive(command('SET', 'k', 'v') + command('GET', 'k') + command('MGET', 'k', 'k') + command('NOSUCH'))
      client.receive(command('WATCH', 'k') + command('MULTI') + command('GET', 'k') + command('EXEC'))
      client.receive(`PING inline\r\n${command('MULTI')}${command('GET', 'k')}${command('DISCARD')}`)
      await turns()
      client.drain()
    },
  ],
  [
    'resets what it has said',
    async (client) => {
      client.receive(command('CLIENT', 'SETNAME', 'long'.repeat(99)) + command('WATCH', 'a') + command('MULTI'))
      client.receive(command('PING', 'a') + command('RESET'))
      await turns()
      client.drain()
    },
  ],
  [
    'sends what is malformed',
    async (client) => {
      client.receive(`${command('SET', 'k', 'v')}*1\r\n+PING\r\n${command('SET', 'k', 'w')}`)
      await turns()
      client.drain()
      assert.is(client.isEnded, true)
    },
  ],
  [
    'quits before what it has sent',
    async (client) => {
      client.receive(command('QUIT') + command('SET', 'k', 'v'.repeat(1000)) + '*2\r\n$3\r\nGET')
      await turns()
      client.drain()
      assert.is(client.isEnded, true)
    },
  ],
  [
    'goes in the middle of a command',
    async (client) => {
      client.receive(command('GET', 'k') + '*3\r\n$3\r\nSET\r\n$1000\r\nabc')
      await turns()
      client.close()
    },
  ],
  [
    'goes while its commands are under way',
    async (client, { raft }) => {
      raft.hold()
      client.receive(command('SET', 'k', 'v') + command('WATCH', 'k') + command('GET', 'k') + command('DBSIZE'))
      client.receive(command('MULTI') + command('SET', 'k', 'v') + command('EXEC'))
      await turns()
      client.close()
      raft.release()
      await turns()
    },
  ],
  [
    'goes with unread answers and commands behind them',
    async (client) => {
      client.receive(command('SET', 'k', 'v'.repeat(100_000)) + command('GET', 'k').repeat(100))
      await turns()
      client.receive(command('GET', 'k').repeat(100))
      await turns()
      client.close()
    },
  ],
  [
    'is cut off for an answer that is too long',
    async (client) => {
      client.receive(
        command('SET', 'k', 'v'.repeat(1_000_000)) + command('MGET', ...Array.from({ length: 70 }, () => 'k')),
      )
      await turns()
      assert.match(client.cutOffReason ?? '', /one answer is longer/)
    },
  ],
  [
    'asks for no answers',
    async (client) => {
      client.receive(command('CLIENT', 'REPLY', 'OFF') + command('GET', 'k').repeat(10) + command('PING', 'a'))
      await turns()
    },
  ],
  [
    'fails at the library',
    async (client, { raft }) => {
      raft.follow(null)
      client.receive(command('SET', 'k', 'v') + command('WATCH', 'k') + command('EXEC'))
      await turns()
      client.drain()
    },
  ],
]

for (const [how, run] of ends) {
  test(`nothing is kept for a client that ${how}`, () =>
    withServer({}, async (fixture) => {
      await run(connect(fixture), fixture)
      await turns()
      assert.is(fixture.server.clientMemory.held, 0)
      for (const client of fixture.server.clients) assert.is(client.held, 0)
    }))
}

test('nothing is kept for a client whose answers left when the network took them, over real TCP', () =>
  withServer({}, async (fixture) => {
    const client = await RawClient.connect(fixture.port)
    await client.ask(command('SET', 'k', 'x'.repeat(MB - 100)), '+OK\r\n')
    await client.ask(command('GET', 'k').repeat(20) + command('PING'), '+PONG\r\n')
    await turns()
    assert.is(fixture.server.clientMemory.held, 0)
    client.close()
  }))

test('a client that sends all before it reads is read on, and gets all its answers', () =>
  withServer({}, async (fixture) => {
    const value = 'v'.repeat(1000)
    const client = await RawClient.connect(fixture.port)
    await client.ask(command('SET', 'k', value), '+OK\r\n')
    client.pause()
    const count = 20_000
    const keys = Array.from({ length: 100 }, (_, at) => (at === 0 ? 'k' : `none:${at}`))
    await client.sendAll(command('MGET', ...keys).repeat(count))
    const answer = `*100\r\n$1000\r\n${value}\r\n${'$-1\r\n'.repeat(99)}`
    assert.ok(fixture.server.clientMemory.held > 10 * MB, 'it is held here, not in the network')
    client.resume()
    const received = await client.until((text) => text.length >= 5 + answer.length * count, 60_000)
    assert.is(received.length, answer.length * count + 5)
    client.close()
  }))

test('beyond the bound such a client is read no further, and told to read; others are served meanwhile', () =>
  withServer({ clientsMemoryMax: 8 * MB }, async (fixture) => {
    const client = connect(fixture)
    client.receive(command('SET', 'k', 'v'.repeat(2 * 100_000)))
    for (let times = 0; times < 40 && !client.isPaused; times += 1) {
      client.receive(command('GET', 'k').repeat(10_000))
      await turns()
    }
    assert.equal([client.isPaused, client.isHurried, client.cutOffReason], [true, true, null])
    const { clientMemory } = fixture.server
    assert.ok(clientMemory.held > 7 * MB && clientMemory.held <= 8 * MB, `${clientMemory.held}`)
    assert.ok(client.unsent <= OUTPUT_SOFT_BYTES_MAX + 200_100)
    const other = connect(fixture)
    other.receive(command('PING'))
    await turns()
    assert.equal(other.writes, ['+PONG\r\n'])
    other.close()
    client.close()
    assert.is(clientMemory.held, 0)
  }))

test('while memory is scarce no client gets far ahead of its own answers', () =>
  withServer({ clientsMemoryMax: 6 * MB }, async (fixture) => {
    const { server } = fixture
    const hoarders = Array.from({ length: 4 }, () => connect(fixture))
    for (const hoarder of hoarders) {
      // It does not read its answer.
      hoarder.receive(command('PING', 'x'.repeat(1_000_000)))
      await turns()
    }
    hoarders[0]?.receive(command('SET', 'k', 'v'.repeat(50_000)))
    await turns()
    assert.is(server.clientMemory.isScarce, true)
    const before = server.counters.commands
    const client = connect(fixture)
    client.receive(command('GET', 'k').repeat(1000))
    await turns(2)
    assert.ok(server.counters.commands < before + 20, `${server.counters.commands - before} commands have begun`)
    for (let drains = 0; drains < 300; drains += 1) {
      await turns()
      client.drain()
    }
    assert.is(server.counters.commands, before + 1000)
  }))

test.run()
