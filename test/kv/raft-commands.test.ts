/** The family RAFT: what it tells of the cluster, and what it asks of the library, which is a double here. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError, type Status } from 'balsa-raft'
import { CLUSTER_CALL_MS } from 'balsa-kv/limits.js'
import type { ClusterCalls } from 'balsa-kv/server/kv-raft.js'
import { until } from '../support/until.js'
import { command, RawClient, withServer } from './kv-fixture.js'

const test = suite('RAFT of kv')

test('RAFT STATUS and MEMBERS are lists of label and value in RESP2, and maps in RESP3', () =>
  withServer(async (_fixture, client) => {
    const [two, last] = [await client.ask(command('RAFT', 'STATUS'), 'fault\r\n$0\r\n\r\n'), 'fault\r\n$0\r\n\r\n']
    assert.ok(two.startsWith('*50\r\n$2\r\nid\r\n$2\r\ns1\r\n$4\r\nrole\r\n$6\r\nleader\r\n$4\r\nterm\r\n:1\r\n'), two)
    await client.ask(command('HELLO', '3'), 'modules\r\n*0\r\n')
    assert.is(await client.ask(command('RAFT', 'STATUS'), last), `%25${two.slice(3)}`)
    const members = await client.ask(command('RAFT', 'MEMBERS'), 'reason\r\n$0\r\n\r\n')
    assert.ok(members.startsWith('*3\r\n%9\r\n$2\r\nid\r\n$2\r\ns1\r\n$4\r\nkind\r\n$5\r\nvoter\r\n'), members)
  }))

test('RAFT MEMBERS tells who joins and who leaves, and why a peer is not there', () =>
  withServer(async ({ raft }, client) => {
    const server = (id: string): { id: string; address: string } => ({ id, address: `127.0.0.1:710${id.slice(1)}` })
    raft.reconfigure({
      voters: [server('s1'), server('s2')],
      outgoing: [server('s2'), server('s3')],
      nonvoters: [{ ...server('s4'), promote: true }],
    })
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

const server = (id: string): Status['configuration']['voters'][number] => ({ id, address: 'x:1' })
const answer = {
  index: 7,
  configuration: {
    voters: [server('s1'), server('s2')],
    outgoing: null,
    nonvoters: [{ ...server('s3'), promote: false }],
  },
}

/** Every call of the library, noted down; what each answers can be changed. */
function recorded(calls: unknown[][]): ClusterCalls {
  const note =
    <Answer>(name: string, settled: Answer) =>
    (...words: unknown[]): Promise<Answer> => {
      calls.push([name, ...words])
      return Promise.resolve(settled)
    }
  return {
    addVoter: note('addVoter', answer),
    addNonvoter: note('addNonvoter', answer),
    promote: note('promote', answer),
    demoteVoter: note('demoteVoter', answer),
    removeServer: note('removeServer', answer),
    updateServer: note('updateServer', answer),
    replace: note('replace', answer),
    setLease: note('setLease', { ...answer, configuration: { ...answer.configuration, leaseMs: 500 } }),
    transferLeadership: note('transferLeadership', 's2'),
    snapshot: note('snapshot', { index: 9, term: 2, bytes: 1234 }),
  }
}

const leased = '*4\r\n$5\r\nindex\r\n:7\r\n$8\r\nlease-ms\r\n:500\r\n'
const changed = '*6\r\n$5\r\nindex\r\n:7\r\n$6\r\nvoters\r\n$5\r\ns1,s2\r\n$9\r\nnonvoters\r\n$2\r\ns3\r\n'

test('each subcommand that changes something is one call of the library, and tells what is then', () =>
  withServer(async ({ raft }, client) => {
    const calls: unknown[][] = []
    const timeoutMs = CLUSTER_CALL_MS
    const s2 = { id: 's2', address: '127.0.0.1:7102', meta: { zone: 'b', redis: '127.0.0.1:7002' } }
    raft.reconfigure({ voters: [{ id: 's1', address: '127.0.0.1:7101' }, s2], outgoing: null, nonvoters: [] })
    Object.assign(raft, recorded(calls))
    const s4 = { id: 's4', address: '127.0.0.1:7104', meta: { redis: '[::1]:7004' } }
    const cases: readonly (readonly [line: string, call: readonly unknown[], reply: string])[] = [
      ['RAFT ADD s4 127.0.0.1:7104 [::1]:7004', ['addVoter', s4, { timeoutMs }], changed],
      [
        'raft add-nonvoter s4 127.0.0.1:7104 [::1]:7004 FORCE',
        ['addNonvoter', s4, { timeoutMs, force: true }],
        changed,
      ],
      ['RAFT PROMOTE s4', ['promote', 's4', { timeoutMs }], changed],
      ['RAFT DEMOTE s4 ifindex 7', ['demoteVoter', 's4', { timeoutMs, ifIndex: 7 }], changed],
      ['RAFT REMOVE s4 IFINDEX 7 FORCE', ['removeServer', 's4', { timeoutMs, ifIndex: 7, force: true }], changed],
      [
        'RAFT UPDATE s2 127.0.0.1:7202 127.0.0.1:7302 IFINDEX 7',
        [
          'updateServer',
          's2',
          { address: '127.0.0.1:7202', meta: { zone: 'b', redis: '127.0.0.1:7302' } },
          { timeoutMs, ifIndex: 7 },
        ],
        changed,
      ],
      ['RAFT REPLACE s2 s4 127.0.0.1:7104 [::1]:7004', ['replace', 's2', s4, { timeoutMs }], changed],
      [
        'RAFT REPLACE s4 s4 127.0.0.1:7104 [::1]:7004 IFINDEX 7',
        ['replace', 's4', s4, { timeoutMs, ifIndex: 7 }],
        changed,
      ],
      ['RAFT LEASE 500', ['setLease', 500, { timeoutMs }], leased],
      ['RAFT LEASE 0 IFINDEX 7', ['setLease', 0, { timeoutMs, ifIndex: 7 }], leased],
      ['RAFT TRANSFER', ['transferLeadership', { timeoutMs }], '*2\r\n$6\r\nleader\r\n$2\r\ns2\r\n'],
      ['RAFT TRANSFER s2', ['transferLeadership', { to: 's2', timeoutMs }], '*2\r\n$6\r\nleader\r\n$2\r\ns2\r\n'],
      ['RAFT SNAPSHOT', ['snapshot'], '*6\r\n$5\r\nindex\r\n:9\r\n$4\r\nterm\r\n:2\r\n$5\r\nbytes\r\n:1234\r\n'],
    ]
    for (const [line, call, reply] of cases) {
      assert.is(await client.ask(command(...line.split(' ')) + command('PING'), '+PONG\r\n'), `${reply}+PONG\r\n`)
      assert.equal(calls.pop(), call, line)
    }
    assert.equal(calls, [])
  }))

test('what RAFT is told wrongly is refused before anything is called', () =>
  withServer(async ({ raft }, client) => {
    const calls: unknown[][] = []
    Object.assign(raft, recorded(calls))
    for (const [line, refusal] of [
      [
        'RAFT ADD s4 127.0.0.1:7104',
        /^-ERR RAFT ADD takes id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      [
        'RAFT ADD s4 127.0.0.1 127.0.0.1:7004',
        /^-ERR RAFT ADD takes id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      [
        'RAFT ADD s4 127.0.0.1:7104 127.0.0.1:70040',
        /^-ERR RAFT ADD takes id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      [
        'RAFT UPDATE s2 127.0.0.1:7102 7002',
        /^-ERR RAFT UPDATE takes id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      [
        'RAFT ADD s4 127.0.0.1:7104 127.0.0.1:7004 NOW',
        /^-ERR RAFT ADD takes id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      [
        'RAFT REPLACE s2 s4 127.0.0.1:7104',
        /^-ERR RAFT REPLACE takes old-id id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      [
        'RAFT REPLACE s2 s4 7104 127.0.0.1:7004',
        /^-ERR RAFT REPLACE takes old-id id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      [
        'RAFT REPLACE s2 s4 127.0.0.1:7104 127.0.0.1:7004 NOW',
        /^-ERR RAFT REPLACE takes old-id id peer-host:port client-host:port \[IFINDEX index\] \[FORCE\]\r$/m,
      ],
      ['RAFT REMOVE s4 IFINDEX', /^-ERR RAFT REMOVE takes id \[IFINDEX index\] \[FORCE\]\r$/m],
      ['RAFT REMOVE s4 IFINDEX x', /^-ERR RAFT REMOVE takes id \[IFINDEX index\] \[FORCE\]\r$/m],
      ['RAFT TRANSFER s2 s3', /^-ERR RAFT TRANSFER takes \[id\]\r$/m],
      ['RAFT LEASE', /^-ERR RAFT LEASE takes ms \[IFINDEX index\] \[FORCE\]\r$/m],
      ['RAFT LEASE -1', /^-ERR RAFT LEASE takes ms \[IFINDEX index\] \[FORCE\]\r$/m],
      ['RAFT LEASE half', /^-ERR RAFT LEASE takes ms \[IFINDEX index\] \[FORCE\]\r$/m],
      ['RAFT LEASE 500 NOW', /^-ERR RAFT LEASE takes ms \[IFINDEX index\] \[FORCE\]\r$/m],
      ['RAFT SNAPSHOT now', /^-ERR RAFT SNAPSHOT takes nothing more\r$/m],
    ] as const) {
      assert.match(await client.ask(command(...line.split(' ')), '\r\n'), refusal)
    }
    await client.ask(command('MULTI'), '\r\n')
    assert.match(await client.ask(command('RAFT', 'REMOVE', 's2'), '\r\n'), /^-ERR/)
    assert.equal(calls, [])
  }))

test('a call that the library does not have is a subcommand that there is not, and HELP does not name it', () =>
  withServer(async ({ raft }, client) => {
    const { removeServer } = recorded([])
    assert.is(
      await client.ask(command('RAFT', 'REMOVE', 's2'), '\r\n'),
      "-ERR unknown subcommand 'REMOVE'. Try RAFT HELP.\r\n",
    )
    assert.match(await client.ask(command('RAFT', 'HELP') + command('PING'), '+PONG\r\n'), /^\*5\r\n/)
    Object.assign(raft, { removeServer })
    assert.is(await client.ask(command('RAFT', 'REMOVE', 's2') + command('PING'), '+PONG\r\n'), `${changed}+PONG\r\n`)
    assert.match(
      await client.ask(command('RAFT', 'HELP') + command('PING'), '+PONG\r\n'),
      /^\*6\r\n[^]*\+REMOVE id \[IFINDEX index\] \[FORCE\]: a server leaves the cluster\r\n\+PONG/,
    )
  }))

test('a call that fails is told with its code and its words; who does not lead names who does', () =>
  withServer(async ({ raft }, client) => {
    for (const [error, reply] of [
      [
        new RaftError('ERR_RAFT_NOT_LEADER', 'x', { leader: { id: 's2', address: 'x:1' } }),
        /^-MOVED 0 127\.0\.0\.1:7002\r\n$/,
      ],
      [new RaftError('ERR_RAFT_NO_LEADER', 'x'), /^-CLUSTERDOWN no leader is known/],
      [
        new RaftError('ERR_RAFT_TIMEOUT', 'entry 7 is not committed', { outcome: 'unknown' }),
        /^-ERR RAFT_TIMEOUT entry 7/,
      ],
      [new TypeError('no such thing'), /^-ERR RAFT_FAILED TypeError: no such thing/],
    ] as const) {
      Object.assign(raft, { removeServer: () => Promise.reject(error) })
      assert.match(await client.ask(command('RAFT', 'REMOVE', 's2'), '\r\n'), reply)
    }
  }))

test('a call holds up what its client sends behind it, and nobody else; one that is left behind holds up nothing', () =>
  withServer(async (fixture, client) => {
    let settle: (leader: string) => void = () => undefined
    let begun = 0
    const transferLeadership = (): Promise<string> => {
      begun += 1
      return new Promise((resolve) => (settle = resolve))
    }
    Object.assign(fixture.raft, { transferLeadership })
    const other = await RawClient.connect(fixture.port)
    client.send(command('RAFT', 'TRANSFER') + command('RAFT', 'TRANSFER') + command('SET', 'k', 'v'))
    await until('call 1 has begun', () => begun === 1)
    assert.is(await other.ask(command('GET', 'k'), '\r\n'), '$-1\r\n')
    assert.equal([begun, client.received], [1, ''])
    settle('s2')
    await until('call 2 has begun', () => begun === 2)
    settle('s3')
    await client.until((received) => received.endsWith('s3\r\n+OK\r\n'))
    client.send(command('RAFT', 'TRANSFER'))
    await until('call 3 has begun', () => begun === 3)
    client.close()
    other.close()
    settle('s2')
    await until('the clients are gone', () => fixture.server.clientCount === 0)
    await until('nothing is held', () => Object.values(fixture.server.rooms).every((count) => count === 0))
  }))

test.run()
