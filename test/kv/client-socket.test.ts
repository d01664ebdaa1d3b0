/** The sockets of clients, with and without memory that all of them read into. */

import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readInPlace, TcpClientSocket, type SocketListener } from 'balsa-kv/server/client/client-socket.js'
import { until } from '../support/until.js'
import { command, RawClient, withServer } from './kv-fixture.js'

const test = suite('sockets of clients')

/** Puts down what it is told, as texts of their own. */
class Noting implements SocketListener {
  readonly told: string[] = []
  #memory: ArrayBufferLike | null = null

  get memory(): ArrayBufferLike | null {
    return this.#memory
  }

  get text(): string {
    return this.told.join('')
  }

  received(chunk: Buffer): void {
    this.#memory = chunk.buffer
    this.told.push(chunk.toString('latin1'))
  }

  drained(): void {}

  left(): void {}

  ended(): void {
    this.told.push('<ended>')
  }

  gone(): void {
    this.told.push('<gone>')
  }
}

interface Accepted {
  readonly socket: TcpClientSocket
  readonly listener: Noting
}

interface Listening {
  readonly server: Server
  readonly accepted: Accepted[]
  readonly connect: () => Promise<RawClient>
}

async function listening(takeOver: typeof readInPlace, body: (listening: Listening) => Promise<void>): Promise<void> {
  const accepted: Accepted[] = []
  const server = createServer({ allowHalfOpen: true }, (connection) => {
    const socket = new TcpClientSocket(connection, takeOver)
    const listener = new Noting()
    accepted.push({ socket, listener })
    socket.open(listener)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const clients: RawClient[] = []
  const connect = async (): Promise<RawClient> => {
    const before = accepted.length
    const client = await RawClient.connect((server.address() as AddressInfo).port)
    clients.push(client)
    await until('it is accepted', () => accepted.length > before)
    return client
  }
  try {
    await body({ server, accepted, connect })
  } finally {
    for (const client of clients) client.close()
    for (const { socket } of accepted) socket.cutOff('the test is over')
    await new Promise((resolve) => server.close(resolve))
  }
}

const told = (what: string, { listener }: Accepted): Promise<void> => until(what, () => listener.text === what)

for (const [how, takeOver] of [
  ['in memory that is shared', readInPlace],
  ['by itself', () => null],
] as const) {
  test(`a socket that reads ${how} hands on what comes, waits while it is paused, and tells of the end`, () =>
    listening(takeOver, async ({ accepted, connect }) => {
      const [client, other] = [await connect(), await connect()]
      const [first, second] = accepted as [Accepted, Accepted]
      assert.match(first.socket.address, /^127\.0\.0\.1:\d+$/)
      client.send('one')
      await told('one', first)
      other.send('two')
      await told('two', second)
      assert.is(first.listener.memory === second.listener.memory, takeOver === readInPlace)
      first.socket.pause()
      client.send('three')
      other.send('four')
      await told('twofour', second)
      assert.is(first.listener.text, 'one')
      first.socket.resume()
      await told('onethree', first)
      const drained = client.drain()
      await told('onethree<ended>', first)
      first.socket.write('last words')
      first.socket.end()
      assert.is(await drained, 'last words')
      await told('onethree<ended><gone>', first)
    }))
}

test('a socket whose insides are not those of Node stays as it is', () =>
  listening(
    (connection, received) => {
      const inside = connection as Socket & { _handle: unknown }
      const handle = inside._handle
      inside._handle = {}
      const none = readInPlace(connection, received)
      inside._handle = handle
      assert.is(none, null)
      return none
    },
    async ({ accepted, connect }) => {
      const client = await connect()
      client.send('one')
      await told('one', accepted[0] as Accepted)
    },
  ))

test('a connection that was taken over counts among those of its server until it has ended', () =>
  listening(readInPlace, async ({ accepted, server, connect }) => {
    const count = (): Promise<number> =>
      new Promise((resolve, reject) =>
        server.getConnections((error, connections) => (error === null ? resolve(connections) : reject(error))),
      )
    await connect()
    await connect()
    assert.is(await count(), 2)
    accepted[0]?.socket.end()
    await until('one has ended', async () => (await count()) === 1)
  }))

test('half a command of one client is not lost when another is read', () =>
  withServer(async ({ port, server }, client) => {
    const other = await RawClient.connect(port)
    const value = 'x'.repeat(3000)
    const whole = command('SET', 'k', value)
    client.send(whole.slice(0, 2000))
    await until('half has come', () => server.counters.bytesIn === 2000)
    assert.is(await other.ask(command('SET', 'other', 'y'.repeat(5000)), 'OK\r\n'), '+OK\r\n')
    assert.is(await client.ask(whole.slice(2000), 'OK\r\n'), '+OK\r\n')
    assert.is(await client.ask(command('GET', 'k'), 'x\r\n'), `$3000\r\n${value}\r\n`)
    other.close()
  }))

test.run()
