/** A server that joins by the address of a member: real processes. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { exitCodes } from 'balsa-kv/cli/exit-codes.js'
import { formatAddress, makeMember, type Member } from 'balsa-kv/cluster/members.js'
import { freePort } from '../../support/free-addresses.js'
import { RespClient } from '../support/resp-client.js'
import { until } from '../support/until.js'
import { mainPath, ProcessCluster, runNode, type Running } from './processes.js'

const test = suite('joining kv by an address')

async function newcomer(id: string): Promise<Member> {
  const [peer, redis] = await Promise.all([freePort(), freePort()])
  return makeMember(id, { host: '127.0.0.1', port: peer }, { host: '127.0.0.1', port: redis })
}

test('a fourth server is started with --join alone, added, serves, and starts again with the same command line', async () => {
  const cluster = await ProcessCluster.start(3)
  const clients: RespClient[] = []
  const ask = async (member: Member, ...words: readonly string[]): Promise<unknown> => {
    const client = await RespClient.connect(member.redis.port)
    clients.push(client)
    return client.ask(...words)
  }
  let joined: Running | null = null
  try {
    const [first] = cluster.members
    const fourth = await newcomer('s4')
    const [peer, redis] = [formatAddress(fourth.peer), formatAddress(fourth.redis)]
    const nobody = `127.0.0.1:${await freePort()}`
    const join = `${nobody},${formatAddress((first as Member).peer)}`
    const words = ['--join', join, '--id', 's4', '--self', `${peer}/${redis}`, '--dir', cluster.dirOf('s4')]
    const begin = async (): Promise<Running> => {
      const started = runNode([mainPath, ...words, '--stop-with-stdin'])
      await until('it listens for clients', () => started.output().includes('server.open'))
      return started
    }
    const leader = await cluster.untilAgreed()
    await ask(leader, 'SET', 'k', 'v')
    joined = await begin()
    await ask(leader, 'RAFT', 'ADD', 's4', peer, redis)
    const hasIt = async (): Promise<boolean> => {
      const client = await RespClient.connect(fourth.redis.port)
      clients.push(client)
      await client.ask('READONLY')
      return (await client.ask('GET', 'k')) === 'v'
    }
    await until('it serves', hasIt)
    joined.child.stdin?.end()
    assert.is((await joined.ended).code, exitCodes.ok)
    for (const member of cluster.members) await cluster.end(member, 'SIGKILL')
    joined = await begin()
    assert.is(String(await ask(fourth, 'PING')), 'PONG')
    assert.match(JSON.stringify(await ask(fourth, 'RAFT', 'MEMBERS')), 's4')
  } finally {
    for (const client of clients) client.close()
    joined?.child.stdin?.end()
    await joined?.ended
    await cluster.close()
  }
})

test.run()
