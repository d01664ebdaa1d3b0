/** Two of three processes are destroyed: the third comes back by the command, and the others come to it. */

import { renameSync, rmSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Member } from 'balsa-kv/cluster/members.js'
import { RespClient } from '../support/resp-client.js'
import type { RespReply } from '../support/resp-client.js'
import { until } from '../support/until.js'
import { mainPath, ProcessCluster, runNode } from './processes.js'
import type { Ended } from './processes.js'

const test = suite('balsa-kv recover')

async function ask({ redis }: Member, ...words: readonly string[]): Promise<RespReply> {
  const client = await RespClient.connect(redis.port)
  try {
    return await client.ask(...words)
  } finally {
    client.close()
  }
}

/** One line of INFO raft; none while nobody answers. */
async function infoOf(member: Member, name: string): Promise<string | undefined> {
  const text = await ask(member, 'INFO', 'raft').catch(() => null)
  return typeof text === 'string' ? new RegExp(`^raft_${name}:(.*)\r$`, 'm').exec(text)?.[1] : undefined
}

const KEYS = Array.from({ length: 50 }, (_, at) => `key:${at}`)

async function allThere(member: Member): Promise<void> {
  const client = await RespClient.connect(member.redis.port)
  try {
    for (const key of KEYS) assert.is(await client.ask('GET', key), key)
  } finally {
    client.close()
  }
}

test('the survivor serves what was confirmed, a server of before is refused, and those that come empty vote again', async () => {
  const cluster = await ProcessCluster.start(3)
  const recover = (member: Member, ...more: readonly string[]): Promise<Ended> =>
    runNode([mainPath, 'recover', ...cluster.wordsOf(member), ...more]).ended
  try {
    const leader = await cluster.untilAgreed()
    for (const key of KEYS) assert.is(await cluster.askLeader('SET', key, key), 'OK')
    await cluster.untilAgreed()
    const locked = await recover(leader, '--yes-data-may-be-lost')
    assert.equal([locked.code, locked.stdout], [75, ''], locked.stderr)
    await Promise.all(cluster.members.map((member) => cluster.end(member, 'SIGKILL')))
    const [survivor, destroyed, absent] = cluster.members.filter(({ id }) => id !== leader.id).concat(leader)
    assert.ok(survivor !== undefined && destroyed !== undefined && absent !== undefined)
    rmSync(cluster.dirOf(destroyed.id), { recursive: true })

    const asked = await recover(survivor)
    assert.is(asked.code, 64)
    assert.match(asked.stderr, `${survivor.id} the only voter`)
    assert.match(asked.stderr, '--yes-data-may-be-lost')
    const done = await recover(survivor, '--yes-data-may-be-lost')
    assert.is(done.code, 0, done.stderr)
    const token = /--recovered (\S+)/.exec(done.stdout)?.[1] ?? ''
    assert.match(done.stdout, `refused from now on with what they have: `)

    cluster.startServer(survivor)
    await cluster.untilAgreed()
    await allThere(survivor)
    assert.is(await ask(survivor, 'SET', 'after', 'it'), 'OK')

    cluster.startServer(absent)
    await until(
      'it is told',
      async () => (await infoOf(survivor, `peer_${absent.id}`))?.includes('CLUSTER_RECOVERED') === true,
    )
    assert.is(await ask(survivor, 'SET', 'beside', 'it'), 'OK')
    assert.is(await infoOf(survivor, 'voters'), survivor.id)
    await cluster.end(absent, 'SIGTERM')
    renameSync(cluster.dirOf(absent.id), cluster.dirOf('aside'))

    for (const member of [destroyed, absent]) cluster.startServer(member, ['--recovered', token])
    const all = cluster.members.map(({ id }) => id).join(',')
    await until('all vote', async () => (await infoOf(survivor, 'voters')) === all)
    await cluster.end(survivor, 'SIGKILL')
    const next = await cluster.untilAgreed()
    await allThere(next)
    assert.equal([await ask(next, 'GET', 'after'), await ask(next, 'GET', 'beside')], ['it', 'it'])
  } finally {
    await cluster.close()
  }
})

test('what is wrong with the command line is said, and help is there', async () => {
  const help = await runNode([mainPath, 'recover', '--help']).ended
  assert.equal([help.code, help.stderr], [0, ''])
  assert.match(help.stdout, '--yes-data-may-be-lost')
  for (const [words, reason] of [
    [['recover'], '--servers is missing'],
    [['recover', '--servers', 's1=h:1/h:2', '--maxmemory', '1gb'], 'unknown option --maxmemory'],
    [['recover', '--servers', 's1=h:1/h:2', '--dir', '/nowhere/at/all'], 'nothing to recover'],
  ] as const) {
    const ended = await runNode([mainPath, ...words]).ended
    assert.is(ended.code, 64)
    assert.match(ended.stderr, reason)
  }
})

test.run()
