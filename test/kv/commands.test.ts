/**
 * Every command through ioredis, as applications use it, in both versions of the protocol; on the double of the
 * library.
 */

import { Redis } from 'ioredis'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { makeMember } from 'balsa-kv/cluster/members.js'
import { startServer } from './kv-fixture.js'

const test = suite('kv commands through ioredis')

type Check = (reply: unknown) => void

const is =
  (expected: unknown): Check =>
  (reply) =>
    assert.equal(reply, expected)
const has =
  (pattern: RegExp): Check =>
  (reply) =>
    assert.match(String(reply), pattern)
const fails =
  (pattern: RegExp): Check =>
  (reply) => {
    assert.instance(reply, Error)
    assert.match((reply as Error).message, pattern)
  }
const sorted =
  (expected: readonly string[]): Check =>
  (reply) =>
    assert.equal((reply as string[]).toSorted(), expected)

const ownId = makeMember('s1', { host: '127.0.0.1', port: 7101 }, { host: '127.0.0.1', port: 7001 }).nodeId

/** In order, on one connection. */
const script: readonly (readonly [command: string, check: Check])[] = [
  ['PING', is('PONG')],
  ['PING hello', is('hello')],
  ['ECHO hello', is('hello')],
  ['SELECT 0', is('OK')],
  ['SELECT 1', fails(/^ERR SELECT is not allowed in cluster mode$/)],
  ['CLIENT SETNAME tester', is('OK')],
  ['CLIENT GETNAME', is('tester')],
  ['CLIENT ID', (reply) => assert.type(reply, 'number')],
  ['CLIENT SETINFO LIB-NAME mine', is('OK')],
  ['CLIENT INFO', has(/name=tester .*lib-name=mine/)],
  ['CLIENT LIST', has(/name=tester /)],
  ['CLIENT LIST ID 999999', is('')],
  ['CLIENT NO-EVICT on', is('OK')],
  ['CLIENT REPLY ON', is('OK')],
  ['CLIENT KILL x', fails(/^ERR unknown subcommand 'KILL'\. Try CLIENT HELP\.$/)],
  ['CONFIG GET maxclients', (reply) => assert.equal(flat(reply), ['maxclients', '10000'])],
  [
    'CONFIG SET maxclients 1',
    fails(/^ERR CONFIG SET failed \(possibly related to argument 'maxclients'\) - options are/),
  ],
  [
    'INFO',
    has(/# Server\r\n[^]*# Raft\r\nraft_role:leader\r\nraft_term:1\r\nraft_leader:s1\r\n[^]*raft_commit_index:\d+/),
  ],
  ['INFO raft keyspace', has(/^# Raft\r\n[^]*\r\n\r\n# Keyspace\r\n$/)],
  ['SAVE', fails(/^ERR no snapshot is taken: the library has none$/)],
  ['BGSAVE', fails(/^ERR no snapshot is taken: the library has none$/)],
  ['LASTSAVE', (reply) => assert.ok(Math.abs(Number(reply) - Date.now() / 1000) < 3600)],
  ['COMMAND COUNT', (reply) => assert.ok(Number(reply) > 40)],
  ['COMMAND INFO get nosuch', (reply) => assert.equal((reply as unknown[][])[0]?.slice(0, 2), ['get', 2])],
  ['COMMAND DOCS get', has(/summary/)],
  ['COMMAND LIST', (reply) => assert.ok((reply as string[]).includes('get'))],
  ['COMMAND GETKEYS MSET a 1 b 2', is(['a', 'b'])],
  ['COMMAND', (reply) => assert.ok((reply as unknown[]).length > 40)],
  ['CLUSTER MYID', is(ownId)],
  ['CLUSTER KEYSLOT foo', is(12182)],
  ['CLUSTER COUNTKEYSINSLOT 12182', is(0)],
  ['CLUSTER INFO', has(/cluster_state:ok\r\ncluster_slots_assigned:16384/)],
  ['CLUSTER NODES', has(/127\.0\.0\.1:7001@7101 myself,master - 0 0 1 connected 0-16383\n[^]* slave,fail /)],
  [
    'CLUSTER SLOTS',
    (reply) => assert.equal((reply as unknown[][])[0]?.slice(0, 3), [0, 16383, ['127.0.0.1', 7001, ownId, []]]),
  ],
  ['CLUSTER SHARDS', has(/slots,0,16383,nodes/)],
  ['RAFT STATUS', has(/^id,s1,role,leader,term,1,leader,s1,leader-redis,127\.0\.0\.1:7001,cluster-id,0{32},/)],
  [
    'RAFT MEMBERS',
    has(/^id,s1,kind,voter,promote,0,leads,1,peer,127\.0\.0\.1:7101,redis,127\.0\.0\.1:7001,connected,1,/),
  ],
  ['RAFT HELP', has(/^RAFT <subcommand>\. Subcommands are:,HELP/)],
  ['RAFT', fails(/^ERR wrong number of arguments for 'raft' command$/)],
  ['RAFT NONSENSE', fails(/^ERR unknown subcommand 'NONSENSE'\. Try RAFT HELP\.$/)],
  ['ROLE', is(['master', 0, []])],
  ['READONLY', is('OK')],
  ['READWRITE', is('OK')],
  ['WAIT 0 0', is(0)],
  ['WAIT 1 1', is(0)],
  ['WAIT 1 -1', fails(/^ERR timeout is negative$/)],
  ['RAFT INDEX', is(0)],
  ['SET k v', is('OK')],
  ['GET k', is('v')],
  ['GET none', is(null)],
  ['SET k w NX', is(null)],
  ['SET k w XX GET', is('v')],
  ['SET k w EX 100', is('OK')],
  ['TTL k', is(100)],
  ['SET k w KEEPTTL', is('OK')],
  ['PTTL k', (reply) => assert.ok(Number(reply) > 90_000 && Number(reply) <= 100_000)],
  ['PERSIST k', is(1)],
  ['TTL k', is(-1)],
  ['SET k w PX 100000', is('OK')],
  ['SET k w EXAT 4000000000', is('OK')],
  ['SET k w PXAT 4000000000000', is('OK')],
  ['SET k w EX 0', fails(/^ERR invalid expire time in 'set' command$/)],
  ['EXPIRE k 50', is(1)],
  ['EXPIRE k 40 GT', is(0)],
  ['PEXPIRE k 60000 GT', is(1)],
  ['TTL k', is(60)],
  ['SETNX k x', is(0)],
  ['SETNX l x', is(1)],
  ['GETSET l y', is('x')],
  ['GETDEL l', is('y')],
  ['EXISTS k k l', is(2)],
  ['TYPE k', is('string')],
  ['TYPE l', is('none')],
  ['DEL k l', is(1)],
  ['UNLINK k', is(0)],
  ['INCR n', is(1)],
  ['INCRBY n 41', is(42)],
  ['DECR n', is(41)],
  ['DECRBY n 1', is(40)],
  ['SET max 9223372036854775807', is('OK')],
  ['INCR max', fails(/^ERR increment or decrement would overflow$/)],
  ['APPEND a x', is(1)],
  ['APPEND a yz', is(3)],
  ['STRLEN a', is(3)],
  ['MSET x 1 y 2', is('OK')],
  ['MGET x y none', is(['1', '2', null])],
  ['MSET x', fails(/^ERR wrong number of arguments for 'mset' command$/)],
  ['KEYS [xy]', sorted(['x', 'y'])],
  ['SCAN 0 MATCH [xy] COUNT 100 TYPE string', (reply) => assert.is((reply as unknown[])[0], '0')],
  ['DBSIZE', is(5)],
  ['MULTI', is('OK')],
  ['INCR n', is('QUEUED')],
  ['GET a', is('QUEUED')],
  ['EXEC', is([41, 'xyz'])],
  ['MULTI', is('OK')],
  ['DISCARD', is('OK')],
  ['WATCH n', is('OK')],
  ['INCR n', is(42)],
  ['MULTI', is('OK')],
  ['INCR n', is('QUEUED')],
  ['EXEC', is(null)],
  ['WATCH n', is('OK')],
  ['UNWATCH', is('OK')],
  ['FLUSHALL', is('OK')],
  ['DBSIZE', is(0)],
  ['LPUSH l x', fails(/^ERR unknown command 'LPUSH', with args beginning with: 'l' 'x' $/)],
  ['ACL WHOAMI', is('default')],
  ['ACL USERS', is(['default'])],
  ['AUTH secret', fails(/^ERR AUTH <password> called without any password configured for the default user/)],
  ['EVAL x 0', fails(/^ERR unknown command 'EVAL'/)],
  ['SUBSCRIBE x', fails(/^ERR unknown command 'SUBSCRIBE'/)],
  ['GET', fails(/^ERR wrong number of arguments for 'get' command$/)],
  ['HELLO 2', has(/server,redis,version,7\.0\.15/)],
  ['RESET', is('RESET')],
  ['QUIT', is('OK')],
]

for (const protocol of [2, 3] as const) {
  test(`answers every command as it should, protocol ${protocol}`, async () => {
    const server = await startServer()
    const redis = new Redis({
      port: server.port,
      host: '127.0.0.1',
      protocol,
      replyMapping: 'legacy',
      retryStrategy: () => null,
    })
    try {
      const untried = new Set((await redis.call('COMMAND', 'LIST')) as string[])
      for (const [line, check] of script) {
        const [name = '', ...words] = line.split(' ')
        // HELLO would change the version under the client's feet.
        if (protocol === 3 && name === 'HELLO') continue
        untried.delete(name.toLowerCase())
        const reply: unknown = await redis.call(name, ...words).catch((error: unknown) => error)
        try {
          check(reply)
        } catch (error) {
          ;(error as Error).message = `${line}: ${(error as Error).message}`
          throw error
        }
      }
      if (protocol === 2) assert.equal([...untried], [], 'every command is tried')
    } finally {
      redis.disconnect()
      await server.close()
    }
  })
}

test("serves ioredis's own pipelines, transactions and scans", async () => {
  const server = await startServer()
  const redis = new Redis({ port: server.port, host: '127.0.0.1' })
  try {
    const sets = redis.pipeline()
    for (let at = 0; at < 300; at += 1) sets.set(`key:${at}`, at)
    const replies = await sets.exec()
    assert.is(
      replies?.every(([error, reply]) => error === null && reply === 'OK'),
      true,
    )
    const found = new Set<string>()
    for await (const keys of redis.scanStream({ match: 'key:*', count: 17 }))
      for (const key of keys as string[]) found.add(key)
    assert.is(found.size, 300)
    assert.equal(await redis.multi().incr('key:1').get('key:1').exec(), [
      [null, 2],
      [null, '2'],
    ])
    const bytes = Buffer.from([0, 255, 13, 10, 36])
    await redis.set(Buffer.from([1, 2, 255]), bytes)
    assert.equal(await redis.getBuffer(Buffer.from([1, 2, 255])), bytes)
  } finally {
    redis.disconnect()
    await server.close()
  }
})

function flat(reply: unknown): unknown[] {
  return Array.isArray(reply) ? reply : Object.entries(reply as object).flat()
}

test.run()
