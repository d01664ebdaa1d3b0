/** A server that joins by the address of a member: real processes. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { exitCodes } from 'balsa-kv/cli/exit-codes.js'
import { formatAddress, makeMember, type Member } from 'balsa-kv/cluster/members.js'
import { freePort } from '../../support/free-addresses.js'
import { RespClient, type RespError, type RespReply } from '../support/resp-client.js'
import { until } from '../support/until.js'
import { mainPath, ProcessCluster, runNode, type Running } from './processes.js'

const test = suite('joining kv by an address')

async function newcomer(id: string): Promise<Member> {
  const [peer, redis] = await Promise.all([freePort(), freePort()])
  return makeMember(id, { host: '127.0.0.1', port: peer }, { host: '127.0.0.1', port: redis })
}

interface Town {
  readonly cluster: ProcessCluster
  readonly fourth: Member
  /** Of the fourth: where its peers and its clients find it. */
  readonly peer: string
  readonly redis: string
  /** Starts the fourth, which asks at `join`. */
  readonly begin: (join: string, more?: readonly string[]) => Running
  /** Ends it as an operator would. */
  readonly stop: () => Promise<void>
  readonly ask: (member: Member, ...words: readonly string[]) => Promise<RespReply>
  readonly hasIt: () => Promise<boolean>
}

const isOpen = ({ output }: Running): boolean => output().includes('server.open')

/** Three servers, whose data set has `k`, and a fourth that is to come. */
async function inTown(body: (town: Town) => Promise<void>, more: readonly string[] = []): Promise<void> {
  const cluster = await ProcessCluster.start(3, more)
  const clients: RespClient[] = []
  let joined: Running | null = null
  const ask: Town['ask'] = async (member, ...words) => {
    const client = await RespClient.connect(member.redis.port)
    clients.push(client)
    return client.ask(...words)
  }
  try {
    const fourth = await newcomer('s4')
    const [peer, redis] = [formatAddress(fourth.peer), formatAddress(fourth.redis)]
    const begin: Town['begin'] = (join, others = []) => {
      const words = [
        '--join',
        join,
        '--id',
        's4',
        '--self',
        `${peer}/${redis}`,
        '--dir',
        cluster.dirOf('s4'),
        ...others,
      ]
      joined = runNode([mainPath, ...words, '--stop-with-stdin'])
      return joined
    }
    const stop = async (): Promise<void> => {
      joined?.child.stdin?.end()
      assert.is((await joined?.ended)?.code, exitCodes.ok)
    }
    const hasIt = async (): Promise<boolean> => {
      const client = await RespClient.connect(fourth.redis.port)
      clients.push(client)
      await client.ask('READONLY')
      return (await client.ask('GET', 'k')) === 'v'
    }
    assert.is(await cluster.askLeader('SET', 'k', 'v'), 'OK')
    await body({ cluster, fourth, peer, redis, begin, stop, ask, hasIt })
  } finally {
    for (const client of clients) client.close()
    const left: Running | null = joined
    ;(left as Running | null)?.child.kill('SIGKILL')
    await (left as Running | null)?.ended
    await cluster.close()
  }
}

/** Of an answer that is a text or a number. */
const textOf = (reply: RespReply | undefined): string =>
  typeof reply === 'string' || typeof reply === 'number' ? `${reply}` : ''

/** What RAFT STATUS of a server says of its joining. */
async function joinOf({
  ask,
  fourth,
}: Town): Promise<Readonly<Record<'waitsFor' | 'asking' | 'answers' | 'nextMs', string>>> {
  const rows = (await ask(fourth, 'RAFT', 'STATUS')) as readonly RespReply[]
  const value = (label: string): string => textOf(rows[rows.indexOf(`join-${label}`) + 1])
  return { waitsFor: value('waits-for'), asking: value('asking'), answers: value('answers'), nextMs: value('next-ms') }
}

test('a fourth server is started with --join alone, added, serves, and starts again with the same command line', () =>
  inTown(async ({ cluster, fourth, peer, redis, begin, stop, ask, hasIt }) => {
    const join = `127.0.0.1:${await freePort()},${formatAddress((cluster.members[0] as Member).peer)}`
    await cluster.untilAgreed()
    const first = begin(join)
    await until('it listens for clients', () => isOpen(first))
    await cluster.askLeader('RAFT', 'ADD', 's4', peer, redis)
    await until('it serves', hasIt)
    await stop()
    for (const member of cluster.members) await cluster.end(member, 'SIGKILL')
    const again = begin(join)
    await until('it listens for clients', () => isOpen(again))
    assert.is(textOf(await ask(fourth, 'PING')), 'PONG')
    assert.match(JSON.stringify(await ask(fourth, 'RAFT', 'MEMBERS')), 's4')
  }))

test('one that asks says at its own address whom it asks and what came of it, until it is added', () =>
  inTown(async (town) => {
    const { cluster, fourth, peer, redis, begin, ask } = town
    for (const member of cluster.members) await cluster.end(member, 'SIGKILL')
    const join = cluster.members.map((member) => formatAddress(member.peer))
    const joined = begin(join.join(','))
    await until('it answers', () => ask(fourth, 'PING').then(Boolean, () => false))
    await until('all were asked', async () => (await joinOf(town)).answers.split('; ').length === 3)
    const asking = await joinOf(town)
    assert.is(asking.waitsFor, 'cluster')
    for (const address of join) assert.match(asking.answers, `${address}: `)
    assert.match(asking.answers, 'ECONNREFUSED')
    await until('it pauses', async () => Number((await joinOf(town)).nextMs) > 0)
    assert.match(textOf(await ask(fourth, 'INFO')), /raft_join_waits_for:cluster\r\n/)
    for (const words of [['PING'], ['GET', 'k'], ['RAFT', 'MEMBERS']]) {
      assert.match(((await ask(fourth, ...words)) as RespError).message, /^LOADING .*RAFT STATUS/)
    }
    for (const member of cluster.members) cluster.startServer(member)
    await cluster.untilAgreed()
    await until('it listens for clients', () => isOpen(joined))
    const waiting = await joinOf(town)
    assert.equal([waiting.waitsFor, waiting.asking, waiting.nextMs], ['operator', '', ''])
    assert.match(waiting.answers, 'it tells its cluster')
    await cluster.askLeader('RAFT', 'ADD', 's4', peer, redis)
    await until('it is a member', async () => (await joinOf(town)).waitsFor === '')
  }))

test('where the leader has --allow-join one with --join-as nonvoter comes in by itself, and gets a vote by RAFT PROMOTE', () =>
  inTown(
    async ({ cluster, redis, begin, ask, hasIt }) => {
      const leader = await cluster.untilAgreed()
      const follower = cluster.members.find(({ id }) => id !== leader.id) as Member
      const joined = begin(formatAddress(follower.peer), ['--join-as', 'nonvoter'])
      await until('it listens for clients', () => isOpen(joined))
      await until('it serves', hasIt)
      const members = (await ask(leader, 'RAFT', 'MEMBERS')) as readonly (readonly RespReply[])[]
      const row = members.find((one) => one[1] === 's4') ?? []
      assert.equal([row[row.indexOf('kind') + 1], row[row.indexOf('redis') + 1]], ['nonvoter', redis])
      assert.match(JSON.stringify(await cluster.askLeader('RAFT', 'PROMOTE', 's4')), /"voters","s1,s2,s3,s4"/)
    },
    ['--allow-join'],
  ))

test('without --allow-join it waits for an operator all the same, and says what to type', () =>
  inTown(async (town) => {
    const { cluster, begin } = town
    const leader = await cluster.untilAgreed()
    const joined = begin(formatAddress(leader.peer), ['--join-as', 'nonvoter'])
    await until('it listens for clients', () => isOpen(joined))
    const { waitsFor, answers } = await joinOf(town)
    assert.is(waitsFor, 'operator')
    assert.match(answers, 'it waits until it is added: RAFT ADD id peer-host:port client-host:port')
  }))

test.run()
