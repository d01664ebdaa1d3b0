/**
 * What concurrent clients see of three real processes is linearizable, while the leader is killed and the next one is
 * paused. The faults follow the progress of the clients, not the clock, so a slow machine has a longer run and no other
 * one. The judge is test/linearizability, which knows nothing of the product. A second one is test/referee, which looks
 * at what the servers did meanwhile: messages, writes, votes, commits.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hookInto, readTraces } from '../referee/recorders/processes.js'
import { judgeTrace } from '../referee/referee.js'
import { formatTrace } from '../referee/trace-format.js'
import { HistoryRecorder } from '../support/history-recorder.js'
import { judge, Progress, readEverything, STRETCH } from '../support/history-run.js'
import { pinnedTo, Roaming, runClient, Workload } from '../support/history-workload.js'
import { KvCluster } from '../support/kv-cluster.js'
import { drawSeed, randomFrom } from '../support/seed.js'
import { pause } from '../support/until.js'

const COMPLETED_MIN = 4 * STRETCH
/** Shorter than the election timeout: it still believes that it leads. */
const ALONE_MS = 250
const ROAMING = 2
/** Waits for its answers, however late they are. */
const PATIENT = 'patient'

test('what clients see while the leader is killed and the next one is paused is linearizable', async () => {
  const seed = drawSeed()
  const recorder = new HistoryRecorder()
  const workload = new Workload(randomFrom(seed), recorder)
  const traces = mkdtempSync(join(tmpdir(), 'balsa-traces-'))
  const timing = ['--heartbeat-ms', '100', '--election-timeout-ms', '600']
  const cluster = await KvCluster.start(timing, 3, hookInto(traces))
  let isStopped = false
  let codes: readonly (number | null)[] = []
  const parts = { workload, recorder, stopped: () => isStopped }
  const { ports } = cluster
  const clients = [
    ...ports.flatMap((port, at) => [
      runClient({ name: `worker-${at + 1}`, route: pinnedTo(port), work: 'everything', isPatient: false }, parts),
      runClient({ name: `watcher-${at + 1}`, route: pinnedTo(port), work: 'watch', isPatient: false }, parts),
    ]),
    ...Array.from({ length: ROAMING }, (_, at) =>
      runClient(
        {
          name: at === 0 ? PATIENT : `roamer-${at + 1}`,
          route: new Roaming(cluster, at),
          work: 'everything',
          isPatient: at === 0,
        },
        parts,
      ),
    ),
  ]
  try {
    const working = Promise.all(clients)
    // Whichever fails first ends the other.
    const progress = new Progress(cluster, recorder, parts.stopped)
    await Promise.race([working, disturb(cluster, progress)])
    isStopped = true
    await working
    await readEverything(cluster, workload, recorder)
  } catch (error) {
    // What clients saw until then says more than that it went no further.
    isStopped = true
    await Promise.allSettled(clients)
    judge(recorder, seed, 1)
    throw error
  } finally {
    isStopped = true
    await Promise.allSettled(clients)
    codes = await cluster.close()
    judgeServers(traces)
  }
  assert.equal(codes, [0, 0, 0], 'every server closes cleanly at the end')
  judge(recorder, seed, COMPLETED_MIN)
})

/** Each step waits until the clients have got on. */
async function disturb(cluster: KvCluster, progress: Progress): Promise<void> {
  await progress.stretch()
  const killed = await killLeader(cluster, progress)
  await leaveLeaderAlone(cluster, progress, killed)
  await pauseLeader(cluster, progress)
}

/** In the moment of an answer, when nobody but the leader knows that the write is committed. Returns which it was. */
async function killLeader(cluster: KvCluster, progress: Progress): Promise<number> {
  const { recorder } = progress
  await recorder.nextWrite()
  const leader = cluster.ports.indexOf(recorder.leaderPort)
  await cluster.kill(leader)
  await untilOtherLeads(cluster, progress, leader)
  return leader
}

/**
 * The last follower is killed as well. What the leader appends then, nobody else ever has: it is paused before it finds
 * out, and when it goes on, the other two have written other entries in their place.
 */
async function leaveLeaderAlone(cluster: KvCluster, progress: Progress, killed: number): Promise<void> {
  const leader = cluster.ports.indexOf(progress.recorder.leaderPort)
  const follower = 3 - killed - leader
  await cluster.kill(follower)
  await pause(ALONE_MS)
  cluster.process(leader).signal('SIGSTOP')
  await Promise.all([killed, follower].map((at) => cluster.startServer(at).untilOpen()))
  await untilOtherLeads(cluster, progress, leader)
  cluster.process(leader).signal('SIGCONT')
  await progress.stretch()
}

/** With a write on its way to the others, whose end the paused leader does not see before it goes on. */
async function pauseLeader(cluster: KvCluster, progress: Progress): Promise<void> {
  const { recorder } = progress
  await recorder.nextWriteOf(PATIENT)
  await pause(1)
  const leader = cluster.ports.indexOf(recorder.leaderPort)
  const pausedAt = performance.now()
  cluster.process(leader).signal('SIGSTOP')
  await untilOtherLeads(cluster, progress, leader)
  // Clients of the paused leader wait for answers to what they asked after others had got on without it.
  const since = performance.now()
  const port = cluster.ports[leader] ?? 0
  await progress.until('a client asks it', () => recorder.waitingAt(port, since) > 0)
  await progress.until('a write has an unknown outcome', () => recorder.unknownWrites.length > 0)
  cluster.process(leader).signal('SIGCONT')
  console.log(`the leader was paused for ${Math.round(performance.now() - pausedAt)} ms`)
  await progress.stretch()
}

async function untilOtherLeads(cluster: KvCluster, progress: Progress, old: number): Promise<void> {
  await progress.until('another one leads', () => progress.recorder.leaderPort !== cluster.ports[old])
  await progress.stretch()
}

/** What the servers did is by the rules of the paper, whatever clients saw. */
function judgeServers(traces: string): void {
  const trace = readTraces(traces, ['s1', 's2', 's3'])
  rmSync(traces, { recursive: true })
  const { violations, counts } = judgeTrace(trace)
  console.log(`referee: ${[...counts].map(String).join(' ')}`)
  if (violations.length === 0) return
  const path = join('build', `trace-${process.pid}.jsonl`)
  mkdirSync('build', { recursive: true })
  writeFileSync(path, formatTrace(trace))
  const found = violations.slice(0, 5).map(({ rule, place, detail }) => `${rule} (${place}): ${detail}`)
  assert.unreachable(`the servers broke rules; their trace is ${path}:\n${found.join('\n')}`)
}

test.run()
