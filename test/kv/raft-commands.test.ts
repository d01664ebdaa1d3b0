/** The family RAFT: what it tells of the cluster. On the double of the library. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { command, RawClient, startServer, type Fixture } from './kv-fixture.js'

const test = suite('RAFT of kv')

async function withServer(body: (fixture: Fixture, client: RawClient) => Promise<void>): Promise<void> {
  const fixture = await startServer()
  const client = await RawClient.connect(fixture.port)
  try {
    await body(fixture, client)
  } finally {
    client.close()
    await fixture.close()
  }
}

test('RAFT STATUS and MEMBERS are lists of label and value in RESP2, and maps in RESP3', () =>
  withServer(async (_fixture, client) => {
    const [two, last] = [await client.ask(command('RAFT', 'STATUS'), 'fault\r\n$0\r\n\r\n'), 'fault\r\n$0\r\n\r\n']
    assert.ok(two.startsWith('*30\r\n$2\r\nid\r\n$2\r\ns1\r\n$4\r\nrole\r\n$6\r\nleader\r\n$4\r\nterm\r\n:1\r\n'), two)
    await client.ask(command('HELLO', '3'), 'modules\r\n*0\r\n')
    assert.is(await client.ask(command('RAFT', 'STATUS'), last), `%15${two.slice(3)}`)
    const members = await client.ask(command('RAFT', 'MEMBERS'), 'reason\r\n$0\r\n\r\n')
    assert.ok(members.startsWith('*1\r\n%9\r\n$2\r\nid\r\n$2\r\ns1\r\n$4\r\nkind\r\n$5\r\nvoter\r\n'), members)
  }))

test('RAFT MEMBERS tells who joins and who leaves, and why a peer is not there', () =>
  withServer(async ({ raft }, client) => {
    const server = (id: string): { id: string; address: string } => ({ id, address: `127.0.0.1:710${id.slice(1)}` })
    raft.configuration = {
      voters: [server('s1'), server('s2')],
      outgoing: [server('s2'), server('s3')],
      nonvoters: [{ ...server('s4'), promote: true }],
    }
    raft.peer('s2', true)
    raft.peer('s3', false)
    raft.downReasons.set('s3', 'ECONNREFUSED')
    const rows = (await client.ask(command('RAFT', 'MEMBERS') + command('PING'), '+PONG\r\n'))
      .split('$2\r\nid\r\n')
      .slice(1)
      .map((row) => row.split('\r\n').filter((line) => !/^\$\d/.test(line)))
    assert.equal(
      rows.map((row) => [row[0], row[2], row[4], row[6], row[8], row[10], row[12], row[16]]),
      [
        ['s1', 'voter', ':0', ':1', '127.0.0.1:7101', '127.0.0.1:7001', ':1', ''],
        ['s2', 'voter', ':0', ':0', '127.0.0.1:7102', '127.0.0.1:7002', ':1', ''],
        ['s3', 'leaving', ':0', ':0', '127.0.0.1:7103', '127.0.0.1:7003', ':0', 'ECONNREFUSED'],
        ['s4', 'nonvoter', ':1', ':0', '127.0.0.1:7104', '', ':0', ''],
      ],
    )
  }))

test('RAFT is no part of a transaction', () =>
  withServer(async (_fixture, client) => {
    await client.ask(command('MULTI'), '\r\n')
    assert.match(await client.ask(command('RAFT', 'STATUS'), '\r\n'), /^-ERR/)
    assert.match(await client.ask(command('EXEC'), '\r\n'), /^-EXECABORT/)
  }))

test.run()
