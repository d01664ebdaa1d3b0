/** The listener when the system has no descriptor left, and can not even say so to a client. */

import { createServer, type Server } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ACCEPT_PAUSE_MS } from 'balsa-kv/limits.js'
import { limitFromShell, openFiles, openFilesMax } from 'balsa-kv/server/descriptors.js'
import { ClientListener } from 'balsa-kv/server/client-listener.js'
import type { ClientListenerOptions } from 'balsa-kv/server/client-listener.js'
import { ManualClock } from '../transport/manual-clock.js'
import { until } from '../support/until.js'
import { RawClient } from './kv-fixture.js'

const test = suite('listener of kv')

/** It writes back what comes, and what it logs is put down in `events`. */
function echoing(
  clock: ManualClock,
  events: string[],
  options: Pick<ClientListenerOptions, 'connectionsMax' | 'onDrop' | 'createServer'>,
): ClientListener {
  const log = (event: string): void => void events.push(event)
  return new ClientListener({
    ...{ host: '127.0.0.1', port: 0, clock, log: { debug: log, info: log, warn: log, error: log } },
    onSocket: (socket) => socket.on('data', (chunk) => socket.write(chunk)),
    ...options,
  })
}

test('it pauses, says so once, and listens again at the same address; who is there stays', async () => {
  const clock = new ManualClock()
  const events: string[] = []
  const servers: Server[] = []
  const listener = echoing(clock, events, {
    connectionsMax: 10,
    createServer: ((...words: Parameters<typeof createServer>) => {
      const server = createServer(...words)
      servers.push(server)
      return server
    }) as typeof createServer,
  })
  const { port } = await listener.listen()
  const client = await RawClient.connect(port)
  await client.ask('first', 'first')
  for (let times = 0; times < 3; times += 1) {
    // An error that nobody listens for would be thrown here.
    if ((servers[0]?.listenerCount('error') ?? 0) > 0) servers[0]?.emit('error', new Error('accept EMFILE'))
  }
  await RawClient.connect(port).then(
    () => assert.unreachable('it still accepts'),
    () => undefined,
  )
  assert.is(await client.ask('echo', 'echo'), 'echo')
  assert.equal(events, ['listen.paused'])
  clock.advance(ACCEPT_PAUSE_MS)
  await until('it listens again', () => Promise.resolve(events.includes('listen.resumed')))
  const late = await RawClient.connect(port)
  assert.is(await late.ask('echo', 'echo'), 'echo')
  servers[0]?.emit('error', new Error('accept EMFILE'))
  listener.close()
  assert.is(clock.pending, 0)
  client.close()
  late.close()
})

test('a connection that is closed at once, since there are too many, is told of', async () => {
  let dropped = 0
  const onDrop = (): void => void (dropped += 1)
  const listener = echoing(new ManualClock(), [], { connectionsMax: 1, onDrop })
  const { port } = await listener.listen()
  const client = await RawClient.connect(port)
  await client.ask('first', 'first')
  const extra = await RawClient.connect(port)
  await extra.until((_text, isClosed) => isClosed)
  assert.is(dropped, 1)
  client.close()
  listener.close()
})

test('a shell says the same limit of open files as the system does, and what is open can be counted', async () => {
  assert.is(limitFromShell(), openFilesMax())
  const before = openFiles()
  const server = createServer().listen(0, '127.0.0.1')
  await until('it listens', () => Promise.resolve(server.listening))
  assert.is(openFiles(), before + 1)
  server.close()
})

test.run()
