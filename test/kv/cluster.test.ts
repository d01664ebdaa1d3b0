/** Three real processes on the real library, the real store and real TCP, with ioredis as a cluster client. */

import { Cluster, Redis } from 'ioredis'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { lastEvent, ProcessCluster } from './processes.js'

const test = suite('kv cluster of processes')

async function withCluster(body: (cluster: ProcessCluster, client: Cluster) => Promise<void>): Promise<void> {
  const cluster = await ProcessCluster.start(3)
  const client = new Cluster(
    cluster.members.map(({ redis }) => redis),
    { clusterRetryStrategy: () => 100, retryDelayOnClusterDown: 100, retryDelayOnFailover: 100, maxRedirections: 64 },
  )
  client.on('error', () => undefined)
  try {
    await body(cluster, client)
  } finally {
    client.disconnect()
    await cluster.close()
  }
}

test('what was acknowledged is there after the leader was killed, and after all were killed at once', () =>
  withCluster(async (cluster, client) => {
    const acknowledged = new Map<string, string>()
    let unknown = 0
    const stop = new AbortController()
    const writer = async (name: string): Promise<void> => {
      for (let at = 0; !stop.signal.aborted; at += 1) {
        const key = `${name}:${at}`
        await client.set(key, key).then(
          () => acknowledged.set(key, key),
          () => (unknown += 1),
        )
      }
    }
    const writers = ['a', 'b', 'c', 'd'].map(writer)
    const first = await cluster.untilAgreed()
    await poll(() => acknowledged.size > 200)
    await cluster.end(first, 'SIGKILL')
    const second = await cluster.untilAgreed()
    assert.is.not(second.id, first.id)
    const before = acknowledged.size
    await poll(() => acknowledged.size > before + 200)
    stop.abort()
    await Promise.all(writers)
    await allThere(client, acknowledged)

    cluster.startServer(first)
    await cluster.untilAgreed()
    await Promise.all(cluster.members.map((member) => cluster.end(member, 'SIGKILL')))
    for (const member of cluster.members) cluster.startServer(member)
    await cluster.untilAgreed()
    await allThere(client, acknowledged)
    assert.ok(unknown < acknowledged.size, `${unknown} writes of ${acknowledged.size} ended without an answer`)
  }))

test('a plain client of a follower is sent to the leader; its keyless commands too', () =>
  withCluster(async (cluster, client) => {
    const leader = await cluster.untilAgreed()
    const follower = cluster.members.find((member) => member !== leader)
    assert.is(await client.set('foo', 'bar'), 'OK')
    assert.is(await client.dbsize(), 1)
    const plain = new Redis({ ...follower?.redis })
    const said = async (promise: Promise<unknown>): Promise<string> =>
      promise.then(String, (error: unknown) => (error as Error).message)
    assert.is(await said(plain.get('foo')), `MOVED 12182 127.0.0.1:${leader.redis.port}`)
    assert.is(await said(plain.dbsize()), `MOVED 0 127.0.0.1:${leader.redis.port}`)
    assert.is(await said(plain.readonly()), 'OK')
    await poll(async () => (await said(plain.get('foo'))) === 'bar')
    plain.disconnect()
    assert.equal(await client.multi().incr('{foo}n').get('foo').exec(), [
      [null, 1],
      [null, 'bar'],
    ])
    assert.is(await client.flushall(), 'OK')
  }))

test('a key that expires does so on every server, by the time in the log', () =>
  withCluster(async (cluster, client) => {
    await client.set('short', 'v', 'PX', 200)
    await client.set('long', 'v')
    await poll(async () => (await client.dbsize()) === 1)
    assert.is(await client.get('short'), null)
    for (const { redis } of cluster.members) {
      const plain = new Redis({ ...redis })
      await plain.readonly()
      await poll(async () => (await plain.dbsize()) === 1)
      plain.disconnect()
    }
  }))

test('SIGTERM closes a server cleanly, and the others go on', () =>
  withCluster(async (cluster, client) => {
    const leader = await cluster.untilAgreed()
    await client.set('k', 'v')
    const { code, stderr } = await cluster.end(leader, 'SIGTERM')
    assert.is(code, 0)
    assert.is(lastEvent(stderr).event, 'server.closed')
    await cluster.untilAgreed()
    assert.is(await client.get('k'), 'v')
  }))

/**
 * Reads everything, in chunks, from a cluster whose servers agree on a leader. Such reads are linearizable only while
 * they go to the leader: when ioredis loses a connection it tries any server, and followers it has told READONLY. So
 * this relies on more: what was acknowledged under an earlier leader is there on every server that follows the present
 * one, or the server waits until it is, if that takes no longer than `leaderWaitMs`. All of `expected` must therefore
 * have been acknowledged before the last change of the leader, or be read over a connection to the leader that is not
 * lost.
 */
async function allThere(client: Cluster, expected: ReadonlyMap<string, string>): Promise<void> {
  const entries = [...expected]
  for (let from = 0; from < entries.length; from += 200) {
    const chunk = entries.slice(from, from + 200)
    const found = await Promise.all(chunk.map(([key]) => client.get(key)))
    for (const [at, [key, value]] of chunk.entries()) assert.is(found[at], value, `${key} was acknowledged`)
  }
}

async function poll(holds: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`still not so after ${timeoutMs} ms: ${holds.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test.run()
