/** Who is in the cluster, as clients are told: by the configuration in force, and where it says nothing by the list. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError, type Status } from 'balsa-raft'
import { formatAddress, makeMember, type Member } from 'balsa-kv/cluster/members.js'
import { CLUSTER_CALL_MS, PUBLISH_RETRY_MS } from 'balsa-kv/limits.js'
import type { KvRaft } from 'balsa-kv/server/kv-raft.js'
import { removedForGood } from 'balsa-kv/server/removal.js'
import { PublishedAddresses } from 'balsa-kv/server/published-addresses.js'
import { until } from '../support/until.js'
import type { RawClient } from './kv-fixture.js'
import { command, withServer } from './kv-fixture.js'
import { SingleServerRaft } from './single-server-raft.js'
import { encodeCommand } from 'balsa-kv/replication/entry-codec.js'
import { KvStateMachine } from 'balsa-kv/replication/kv-state-machine.js'
import { DataSet } from 'balsa-kv/data-set/data-set.js'

const test = suite('members of kv')

type Configuration = Status['configuration']
type Described = Configuration['voters'][number]

const server = (ordinal: number, redis?: string): Described => {
  const plain = { id: `s${ordinal}`, address: `127.0.0.1:710${ordinal}` }
  return redis === undefined ? plain : { ...plain, meta: { redis } }
}
const plain = (...voters: readonly Described[]): Configuration => ({ voters, outgoing: null, nonvoters: [] })

const nodes = async (client: RawClient): Promise<readonly string[]> => {
  const answer = await client.ask(command('CLUSTER', 'NODES') + command('PING'), '+PONG\r\n')
  return [...answer.matchAll(/^[0-9a-f]{40} (\S+ \S+)/gm)].map(([, line = '']) => line)
}

test('CLUSTER, MOVED and RAFT follow the configuration at once', () =>
  withServer(async ({ raft }, client) => {
    assert.equal(await nodes(client), [
      '127.0.0.1:7001@7101 myself,master',
      '127.0.0.1:7002@7102 slave,fail',
      '127.0.0.1:7003@7103 slave,fail',
    ])
    const s4 = server(4, '[::1]:7304')
    raft.reconfigure({ ...plain(server(1), server(2, '127.0.0.1:7302')), nonvoters: [{ ...s4, promote: false }] })
    raft.peer('s4', true)
    assert.equal(await nodes(client), [
      '127.0.0.1:7001@7101 myself,master',
      '127.0.0.1:7302@7102 slave,fail',
      '::1:7304@7104 slave',
    ])
    const slots = await client.ask(command('CLUSTER', 'SLOTS') + command('PING'), '+PONG\r\n')
    assert.match(slots, /127\.0\.0\.1\r\n:7001\r\n[^]*::1\r\n:7304\r\n/)
    assert.match(await client.ask(command('CLUSTER', 'INFO') + command('PING'), '+PONG\r\n'), /known_nodes:3\r\n/)
    raft.follow({ id: 's2', address: '127.0.0.1:7102' })
    assert.is(await client.ask(command('GET', 'k'), '\r\n'), '-MOVED 7629 127.0.0.1:7302\r\n')
    raft.reconfigure(plain(server(1), server(2, '127.0.0.1:7402')))
    assert.is(await client.ask(command('GET', 'k'), '\r\n'), '-MOVED 7629 127.0.0.1:7402\r\n')
  }))

test('a leader of which nobody has said where its clients find it is no place to send a client to', () =>
  withServer(async ({ raft }, client) => {
    raft.reconfigure(plain(server(1), server(5)))
    raft.follow({ id: 's5', address: '127.0.0.1:7105' })
    assert.match(await client.ask(command('GET', 'k'), '\r\n'), /^-CLUSTERDOWN s5 leads, .*: RAFT UPDATE s5 host:port/)
    assert.equal(await nodes(client), ['127.0.0.1:7001@7101 myself,slave', '?:0@7105 master,fail,noaddr'])
    assert.match(await client.ask(command('RAFT', 'STATUS') + command('PING'), '+PONG\r\n'), /redis\r\n\$0\r\n\r\n/)
  }))

test('a leader that was added since this server last heard of the members is known by what the refusal says', () =>
  withServer(async ({ raft }, client) => {
    const leader = { id: 's7', address: '127.0.0.1:7107', meta: { redis: '127.0.0.1:7307' } }
    raft.failures.push(new RaftError('ERR_RAFT_NOT_LEADER', 'x', { outcome: 'not-applied', leader }))
    assert.is(await client.ask(command('SET', 'k', 'v'), '\r\n'), '-MOVED 7629 127.0.0.1:7307\r\n')
  }))

test('a server that is no member says so by being the only one that says it of itself', () =>
  withServer(async ({ raft }, client) => {
    raft.follow(null)
    raft.reconfigure(plain(server(2), server(3)))
    assert.equal((await nodes(client)).at(-1), '127.0.0.1:7001@7101 myself,master')
    assert.match(await client.ask(command('CLUSTER', 'INFO') + command('PING'), '+PONG\r\n'), /known_nodes:2\r\n/)
  }))

const listed = [1, 2, 3].map((ordinal): Member =>
  makeMember(`s${ordinal}`, { host: '127.0.0.1', port: 7100 + ordinal }, { host: '127.0.0.1', port: 7000 + ordinal }),
)

interface Publishing {
  readonly raft: SingleServerRaft & Pick<KvRaft, 'updateServer'>
  readonly addresses: PublishedAddresses
  /** What was asked of the library: id, meta, options. */
  readonly asked: unknown[][]
  readonly warnings: Readonly<Record<string, unknown>>[]
  /** Lets the last wait end. */
  readonly wake: () => void
}

function publishing(
  configuration: Configuration,
  fate: () => 'done' | 'ignored' | 'refused' = () => 'done',
): Publishing {
  const [self] = listed
  assert.ok(self !== undefined)
  const asked: unknown[][] = []
  const warnings: Readonly<Record<string, unknown>>[] = []
  const waits: (() => void)[] = []
  const raft = new SingleServerRaft(new KvStateMachine(new DataSet()), { id: 's1' })
  raft.configuration = configuration
  const updateServer: NonNullable<KvRaft['updateServer']> = async (id, { meta = {} }, options) => {
    asked.push([id, meta, options])
    if (fate() === 'refused') throw new RaftError('ERR_RAFT_CHANGE_REFUSED', 'too few voters are heard')
    if (fate() === 'ignored') return { index: 1, configuration: raft.configuration }
    const change = (member: Described): Described => (member.id === id ? { ...member, meta } : member)
    const { voters, outgoing, nonvoters } = raft.configuration
    raft.reconfigure({ voters: voters.map(change), outgoing, nonvoters })
    return { index: 1, configuration: raft.configuration }
  }
  Object.assign(raft, { updateServer })
  const quiet = (): void => undefined
  const warn = (event: string, fields = {}): void => void warnings.push({ event, ...fields })
  const clock = {
    setTimer: (delayMs: number, callback: () => void) => {
      assert.is(delayMs, PUBLISH_RETRY_MS)
      waits.push(callback)
      return () => void waits.splice(waits.indexOf(callback), 1)
    },
  }
  const log = { debug: quiet, info: quiet, warn, error: quiet }
  const addresses = new PublishedAddresses(raft, { self, members: listed }, clock, log)
  return { raft, addresses, asked, warnings, wake: () => waits.shift()?.() }
}

test('a server that was removed ends once it is fed no more; one that was added again behind that goes on', async () => {
  const raft = new SingleServerRaft(new KvStateMachine(new DataSet()), { id: 's1' })
  const looks: (() => void)[] = []
  let isOver = false
  const setTimer = (delayMs: number, callback: () => void): (() => void) => {
    assert.is(delayMs, 7)
    looks.push(callback)
    return () => void looks.splice(looks.indexOf(callback), 1)
  }
  void removedForGood(raft, { setTimer }, 7).then(() => (isOver = true))
  const look = async (): Promise<readonly [isOver: boolean, looks: number]> => {
    looks.shift()?.()
    await new Promise(setImmediate)
    return [isOver, looks.length]
  }
  raft.removed(plain(server(2)))
  await raft.replicate([encodeCommand(['set', 'k', 'v'])])
  assert.equal(await look(), [false, 1], 'an entry came')
  raft.reconfigure(plain(server(1), server(2)))
  assert.equal(await look(), [false, 0], 'it is a member again')
  raft.removed(plain(server(2)))
  raft.removed(plain(server(3)))
  assert.is(looks.length, 1)
  assert.equal(await look(), [true, 0])
})

const options = { timeoutMs: CLUSTER_CALL_MS, ifIndex: 1 }
const address = (ordinal: number): string => formatAddress({ host: '127.0.0.1', port: 7000 + ordinal })

test('a leader says of every member where its clients find it, one after the other, and then nothing more', async () => {
  const { raft, asked, addresses } = publishing(plain(server(1), server(2), server(3), server(4)))
  await until('all are said', () => asked.length === 3)
  raft.lead()
  assert.equal(asked, [
    ['s1', { redis: address(1) }, options],
    ['s2', { redis: address(2) }, options],
    ['s3', { redis: address(3) }, options],
  ])
  assert.is(addresses.waits, 0)
})

test('what was said of others stays, and so does what else was said; of itself a leader knows better', async () => {
  const own = { ...server(1), meta: { redis: '10.0.0.1:7001', zone: 'a' } }
  const { raft, asked } = publishing(plain(own, server(2, '10.0.0.2:7002'), server(3, '10.0.0.3:7003')))
  await until('it is said', () => asked.length === 1)
  raft.lead()
  assert.equal(asked, [['s1', { redis: address(1), zone: 'a' }, options]])
})

test('a change that comes to nothing is asked for again after a while, and not once it has stopped', async () => {
  for (const trouble of ['refused', 'ignored'] as const) {
    let fate: 'done' | typeof trouble = trouble
    const { asked, addresses, wake } = publishing(plain(server(1)), () => fate)
    await until('it waits', () => addresses.waits === 1)
    assert.is(asked.length, 1)
    fate = 'done'
    wake()
    assert.equal([asked.length, addresses.waits], [2, 0])
  }
  const stopped = publishing(plain(server(1)), () => 'refused')
  stopped.addresses.stop()
  stopped.raft.lead()
  await new Promise(setImmediate)
  assert.equal([stopped.asked.length, stopped.addresses.waits], [1, 0])
})

test('a follower changes nothing, and complains once when the cluster says another address of it', () => {
  const { raft, asked, warnings } = publishing(plain(server(1, address(1)), server(2)))
  raft.follow({ id: 's2', address: '127.0.0.1:7102' })
  raft.reconfigure(plain(server(1), server(2)))
  assert.equal([asked.length, warnings], [1, []])
  raft.reconfigure(plain(server(1, '10.0.0.1:7001'), server(2)))
  raft.reconfigure(plain(server(1, '10.0.0.1:7001'), server(2), server(3)))
  const remedy = `say to the leader: RAFT UPDATE s1 127.0.0.1:7101 ${address(1)}`
  assert.equal(warnings, [{ event: 'address.differs', said: '10.0.0.1:7001', own: address(1), remedy }])
})

test.run()
