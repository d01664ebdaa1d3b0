/**
 * What clients that know nothing of clusters see of three real processes with --forward, each client at one port, is
 * linearizable, while the leader is killed, the next one is paused, and a follower is cut off from all of them.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { HistoryRecorder } from '../support/history-recorder.js'
import { judge, Progress, readEverything, STRETCH } from '../support/history-run.js'
import { pinnedTo, runClient, Workload } from '../support/history-workload.js'
import { KvCluster } from '../support/kv-cluster.js'
import { RespClient, RespError } from '../support/resp-client.js'
import { drawSeed, randomFrom } from '../support/seed.js'

const test = suite('a history through servers that forward')

const SHORT = STRETCH / 2
const COMPLETED_MIN = 6 * SHORT

test('what clients of every port see while leaders are killed and paused is linearizable, and nobody says MOVED', async () => {
  const seed = drawSeed()
  const recorder = new HistoryRecorder()
  const workload = new Workload(randomFrom(seed), recorder)
  const cluster = await KvCluster.start(['--heartbeat-ms', '100', '--election-timeout-ms', '600', '--forward'])
  let isStopped = false
  let codes: readonly (number | null)[] = []
  const parts = { workload, recorder, stopped: () => isStopped }
  const clients = cluster.ports.flatMap((port, at) =>
    (['everything', 'everything', 'watch'] as const).map((work, count) =>
      runClient({ name: `client-${at + 1}-${count + 1}`, route: pinnedTo(port), work, isPatient: false }, parts),
    ),
  )
  try {
    const working = Promise.all(clients)
    // Whichever fails first ends the other.
    await Promise.race([working, disturb(cluster, new Progress(cluster, recorder, parts.stopped))])
    isStopped = true
    await working
    await readEverything(cluster, workload, recorder)
    assert.is(recorder.moved, 0, 'a server that forwards sends nobody away')
    await judgePipeline(cluster)
  } finally {
    isStopped = true
    await Promise.allSettled(clients)
    codes = await cluster.close()
  }
  assert.equal(codes, [0, 0, 0], 'every server closes cleanly at the end')
  judge(recorder, seed, COMPLETED_MIN)
})

/** Each step waits until the clients have got on. */
async function disturb(cluster: KvCluster, progress: Progress): Promise<void> {
  await progress.stretch(SHORT)
  await progress.recorder.nextWrite()
  const killed = leaderOf(cluster)
  await cluster.kill(killed)
  await progress.stretch(SHORT)
  await cluster.startServer(killed).untilOpen()
  await progress.stretch(SHORT)
  await progress.recorder.nextWrite()
  const paused = leaderOf(cluster)
  cluster.process(paused).signal('SIGSTOP')
  await progress.until('another one leads', () => leaderOf(cluster) !== paused)
  await progress.stretch(SHORT)
  cluster.process(paused).signal('SIGCONT')
  await progress.stretch(SHORT)
  const follower = (leaderOf(cluster) + 1) % 3
  cluster.process(follower).signal('SIGSTOP')
  await progress.stretch(SHORT)
  cluster.process(follower).signal('SIGCONT')
  await progress.stretch(SHORT)
}

/** By what the servers say of themselves: a paused one answers nobody. */
function leaderOf(cluster: KvCluster): number {
  const terms = cluster.ports.map((_, at) =>
    Math.max(
      0,
      ...cluster
        .log(at)
        .map(({ event, role, term }) => (event === 'raft.role' && role === 'leader' ? Number(term) : 0)),
    ),
  )
  return terms.indexOf(Math.max(...terms))
}

/** A long pipeline at a follower, whose leader is killed in the middle: each command has its own answer, in order. */
async function judgePipeline(cluster: KvCluster): Promise<void> {
  const leader = leaderOf(cluster)
  const client = await RespClient.connect(cluster.ports[(leader + 1) % 3] ?? 0)
  const count = 20_000
  let answered = 0
  const asked = Array.from({ length: count }, () =>
    client.ask('INCR', 'pipelined').then((reply) => {
      answered += 1
      return reply
    }),
  )
  await new Promise<void>((resolve) => {
    void asked[2000]?.then(() => resolve())
  })
  await cluster.kill(leader)
  const replies = await Promise.all(asked)
  const numbers = replies.filter((reply) => typeof reply === 'number')
  const others = replies.flatMap((reply) => (reply instanceof RespError ? [reply.message] : []))
  assert.is(numbers.length + others.length, count)
  assert.is(answered, count)
  assert.ok(
    numbers.every((number, at) => at === 0 || number > (numbers[at - 1] ?? 0)),
    'each count is above those before it',
  )
  assert.is(
    others.find((other) => !/RAFT_UNKNOWN|CLUSTERDOWN|TRYAGAIN/.test(other)),
    undefined,
  )
  const last = Number(await client.ask('GET', 'pipelined'))
  const unknown = others.filter((other) => other.includes('RAFT_UNKNOWN')).length
  assert.ok(numbers.length <= last && last <= numbers.length + unknown, `${last}: ${numbers.length} and ${unknown}`)
  console.log(`a pipeline of ${count} behind a killed leader: ${numbers.length} counted, ${unknown} unknown`)
  client.close()
  await cluster.startServer(leader).untilOpen()
}

test.run()
