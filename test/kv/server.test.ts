/** The server over real TCP, on a double of the library: order, batches, bounds, and what clients are told. */

import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { command, RawClient, startServer } from './kv-fixture.js'

const test = suite('kv server')

test('answers a pipeline in order, and a GET sees the SET before it and not the one behind it', async () => {
  const { port, close } = await startServer()
  const client = await RawClient.connect(port)
  const pipeline = [['SET', 'k', '1'], ['GET', 'k'], ['PING'], ['SET', 'k', '2'], ['GET', 'k'], ['STRLEN', 'k']]
  const answer = await client.ask(pipeline.map((words) => command(...words)).join(''), ':1\r\n')
  assert.is(answer, '+OK\r\n$1\r\n1\r\n+PONG\r\n+OK\r\n$1\r\n2\r\n:1\r\n')
  client.close()
  await close()
})

test.run()
