/**
 * One example under load: its leader is killed and started again, then each server is stopped and started in turn,
 * while clients go on. What they have seen is judged by the promise of the example.
 */

import { Cluster } from './cluster.js'
import { Run } from './run.js'
import type { Tally } from './tally.js'

/** So often the leader is killed. */
const KILLS = 3
/** So much is acknowledged before each disturbance, and after it: clients wait for answers when a server goes. */
const ACKNOWLEDGED_BETWEEN = 100

export interface Check<History> {
  /** The folder of the example. */
  readonly service: string
  /** In a few words. */
  readonly promise: string
  /** Runs clients until it is over, and resolves with what they have seen. Rejects when a request has failed. */
  run(run: Run): Promise<History>
  /** How the history breaks the promise, or null. */
  faultOf(history: History): string | null
}

/** Resolves with a line that says what was done. Rejects when a request failed, or the promise was broken. */
export async function carryOut<History>(check: Check<History>): Promise<string> {
  const cluster = await Cluster.start(check.service)
  try {
    const run = new Run(cluster.urls)
    const fault = await faultUnder(check, run, disturb(cluster, run.tally))
    if (fault !== null) throw new Error(`${check.service}: the promise is broken: ${fault}`)
    const gap = Math.round(run.tally.longestGapMs)
    return `${check.service}: ${run.tally.count} acknowledged, ${KILLS} kills of the leader and ${cluster.size} stops, longest gap ${gap} ms; held: ${check.promise}`
  } catch (error) {
    for (const line of cluster.lines) console.error(line)
    throw error
  } finally {
    await cluster.close()
  }
}

/** How the promise was broken while clients ran until `end`, or null. */
export async function faultUnder<History>(check: Check<History>, run: Run, end: Promise<void>): Promise<string | null> {
  const load = check.run(run)
  // A load that ends before it is told to has failed.
  await Promise.race([end, load])
  run.end()
  return check.faultOf(await load)
}

async function disturb(cluster: Cluster, tally: Tally): Promise<void> {
  for (let kill = 0; kill < KILLS; kill += 1) {
    const leader = await cluster.leader()
    await tally.more(ACKNOWLEDGED_BETWEEN)
    await cluster.end(leader, 'SIGKILL')
    await tally.more(ACKNOWLEDGED_BETWEEN)
    await cluster.restart(leader)
  }
  for (let at = 0; at < cluster.size; at += 1) {
    await tally.more(ACKNOWLEDGED_BETWEEN)
    const code = await cluster.end(at, 'SIGTERM')
    if (code !== 0) throw new Error(`server ${at + 1} was told to close, and ended with ${code}`)
    await tally.more(ACKNOWLEDGED_BETWEEN)
    await cluster.restart(at)
  }
}
