/**
 * A cluster lives: it grows to five servers and shrinks to three, one of them loses its folder and is replaced, all are
 * restarted one after the other, while clients work on it. What they see is linearizable, and whatever they are refused
 * meanwhile may be sent again: also what a leader has accepted that goes.
 */

import { rmSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { HistoryRecorder } from '../support/history-recorder.js'
import type { UnknownWrite } from '../support/history-recorder.js'
import { judge, Progress, readEverything } from '../support/history-run.js'
import { Roaming, runClient, Workload } from '../support/history-workload.js'
import { KvCluster } from '../support/kv-cluster.js'
import type { LogLine } from '../support/kv-cluster.js'
import { endedLeaderships, mayOweAnswers } from '../support/leaderships.js'
import { RespClient } from '../support/resp-client.js'
import { drawSeed, randomFrom } from '../support/seed.js'
import { until } from '../support/until.js'

const CLIENTS = 4
/** Completed operations between two changes; there are five such stretches. */
const STRETCH = 300
const COMPLETED_MIN = 5 * STRETCH
const REMOVED_CODE = 77

interface Life {
  readonly cluster: KvCluster
  readonly recorder: HistoryRecorder
  readonly progress: Progress
}

/** Clients work while `body` runs; then everything is read, and the history judged. Every server is to end with 0. */
async function withClients(body: (life: Life) => Promise<void>): Promise<void> {
  const seed = drawSeed()
  const recorder = new HistoryRecorder()
  const workload = new Workload(randomFrom(seed), recorder)
  const cluster = await KvCluster.start()
  let isStopped = false
  let codes: readonly (number | null)[] = []
  const parts = { workload, recorder, stopped: () => isStopped }
  const clients = Array.from({ length: CLIENTS }, (_, at) => {
    const work = at === 0 ? 'watch' : 'everything'
    return runClient({ name: `roamer-${at + 1}`, route: new Roaming(cluster, at % 3), work, isPatient: true }, parts)
  })
  try {
    const working = Promise.all(clients)
    const progress = new Progress(cluster, recorder, parts.stopped)
    await Promise.race([working, body({ cluster, recorder, progress })])
    isStopped = true
    await working
    await readEverything(cluster, workload, recorder)
  } finally {
    isStopped = true
    await Promise.allSettled(clients)
    codes = await cluster.close()
  }
  judge(recorder, seed, COMPLETED_MIN)
  assert.ok(
    codes.every((code) => code === 0 || code === REMOVED_CODE),
    `every server closes in order: ${codes.join(' ')}`,
  )
}

test('a cluster that grows to five, shrinks to three, replaces one and is restarted is one linearizable store', async () => {
  await withClients(async ({ cluster, recorder, progress }) => {
    const added = [await cluster.startAnother(), await cluster.startAnother()]
    for (const at of added) await cluster.askLeader('RAFT', 'ADD', ...cluster.described(at))
    await untilKnown(cluster, [0, 1, 2, ...added])
    await progress.stretch(STRETCH)

    // A leader that removes itself is one of those that go.
    const [, other = 0] = added
    const going = [await cluster.findLeader(), other]
    for (const at of going) {
      cluster.process(at).mayEnd()
      await cluster.askLeader('RAFT', 'REMOVE', cluster.id(at))
    }
    const staying = cluster.ports.map((_, at) => at).filter((at) => !going.includes(at))
    await untilKnown(cluster, staying)
    await progress.stretch(STRETCH)

    await assertAnswered(cluster, recorder.unknownWrites)
    await replace(cluster, staying)
    // Who was killed has left its clients without an answer.
    const { length } = recorder.unknownWrites
    await untilKnown(cluster, staying)
    await restartAll(cluster, progress)
    for (const at of going) assert.is(await cluster.process(at).untilExit(), REMOVED_CODE)
    await assertAnswered(cluster, recorder.unknownWrites.slice(length))
  })
})

/**
 * Nobody was left without an answer by a server that has handed over, or closed. Two things are no fault of it, and
 * happen on a busy machine: an election that it has not asked for, and that a client which was silent for long sends
 * something in the moment in which the server ends the connection.
 */
async function assertAnswered(cluster: KvCluster, writes: readonly UnknownWrite[]): Promise<void> {
  for (const { port, reason } of writes) {
    const at = cluster.ports.indexOf(port)
    if (reason === 'connection lost') {
      await assertClosed(cluster, at)
      continue
    }
    assert.match(reason, /^ERR RAFT_(UNKNOWN|APPLIED) .*leadership was lost/)
    const logs = (): readonly (readonly LogLine[])[] => cluster.ports.map((_, of) => cluster.log(of))
    // A line comes on another way than an answer.
    const isTold = (): boolean => endedLeaderships(cluster.log(at)).length > 0
    await until(`server ${at} says that its leadership has ended`, isTold)
    const isExcused = mayOweAnswers(cluster.log(at), logs())
    const said = logs().flatMap((log) =>
      log.filter(({ event }) => event === 'raft.role' || event === 'raft.stepped-down'),
    )
    assert.ok(isExcused, `the client of ${cluster.id(at)} does not know: ${reason}\n${said.map(toText).join('\n')}`)
    console.log(`an election that nobody asked for: ${reason}`)
  }
}

/** That server has closed in good order, and all that it had read was answered. */
async function assertClosed(cluster: KvCluster, at: number): Promise<void> {
  const hasClosed = (): boolean => cluster.log(at).some(({ event }) => /^server\.(closed|removed)$/.test(event))
  await until(`server ${at}, whose client has lost its connection, says that it has closed`, hasClosed)
  const left = cluster.log(at).filter(({ event }) => event === 'clients.left')
  assert.equal(left, [], `server ${at} has left clients without their answers`)
}

const toText = (line: LogLine): string => JSON.stringify(line)

/** Every one that runs, by SIGTERM, the next one when that one is there again. */
async function restartAll(cluster: KvCluster, progress: Progress): Promise<void> {
  for (const [at, server] of cluster.processes.entries()) {
    if (!server.isRunning) continue
    server.signal('SIGTERM')
    assert.is(await server.untilExit(), 0)
    await cluster.startServer(at).untilOpen()
    await untilFollows(cluster, at)
    await progress.stretch(STRETCH)
  }
}

/** One of them loses its folder, and takes its own place. */
async function replace(cluster: KvCluster, members: readonly number[]): Promise<void> {
  const leader = await cluster.findLeader()
  const lost = members.find((at) => at !== leader) ?? 0
  await cluster.kill(lost)
  rmSync(cluster.dir(lost), { recursive: true })
  await cluster.startServer(lost).untilOpen()
  await cluster.askLeader('RAFT', 'REPLACE', cluster.id(lost), ...cluster.described(lost))
}

/** It has caught up so far that it knows who leads. */
function untilFollows(cluster: KvCluster, at: number): Promise<void> {
  return until(`server ${at} follows`, async () => {
    const client = await RespClient.connect(cluster.ports[at] ?? 0).catch(() => null)
    const role = await client?.ask('ROLE').catch(() => null)
    client?.close()
    return Array.isArray(role) && (role[0] === 'master' || role[3] === 'connected')
  })
}

/** Each of them tells its clients of all of them, and of nobody else. */
async function untilKnown(cluster: KvCluster, members: readonly number[]): Promise<void> {
  const expected = members.map((at) => `127.0.0.1:${cluster.ports[at]}`).toSorted()
  for (const at of members) {
    await until(`server ${at} knows ${expected.join(' ')}`, async () => {
      const client = await RespClient.connect(cluster.ports[at] ?? 0)
      const text = await client.ask('CLUSTER', 'NODES')
      client.close()
      if (typeof text !== 'string') return false
      const told = [...text.matchAll(/^\w{40} (\S+)@/gm)].map(([, address = '']) => address)
      return told.toSorted().join() === expected.join()
    })
  }
}

test.run()
