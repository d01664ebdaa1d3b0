/**
 * A history that clients make on real processes while a test disturbs these: the disturbances follow the progress of
 * the clients, not the clock, and the judge is test/linearizability.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { checkHistory } from '../linearizability/check.js'
import { formatHistory } from '../linearizability/history.js'
import type { HistoryRecorder } from './history-recorder.js'
import { Lane } from './history-recorder.js'
import type { Workload } from './history-workload.js'
import { Roaming } from './history-workload.js'
import type { KvCluster } from './kv-cluster.js'
import { RespClient } from './resp-client.js'
import { pause, until } from './until.js'

/** Completed operations before and after each disturbance. */
export const STRETCH = 300
/** Clients that make no progress for so long make none at all. */
const STUCK_MS = 30_000

/** Waits for what the clients do, as long as they do anything. */
export class Progress {
  readonly recorder: HistoryRecorder
  readonly #cluster: KvCluster
  readonly #stopped: () => boolean

  constructor(cluster: KvCluster, recorder: HistoryRecorder, stopped: () => boolean) {
    this.#cluster = cluster
    this.recorder = recorder
    this.#stopped = stopped
  }

  until(what: string, holds: () => boolean): Promise<void> {
    return until(
      what,
      () => {
        const failed = this.#cluster.processes.find(({ hasFailed }) => hasFailed)
        assert.is(failed, undefined, `a server ended by itself: ${JSON.stringify(failed?.log.slice(-3))}`)
        assert.not(this.#stopped(), `the clients have stopped before this: ${what}`)
        return holds()
      },
      STUCK_MS,
    )
  }

  stretch(count = STRETCH): Promise<void> {
    const goal = this.recorder.completed + count
    return this.until(`${count} more operations are completed`, () => this.recorder.completed >= goal)
  }
}

/** The end of the history: what is there of all that was written. */
export async function readEverything(cluster: KvCluster, workload: Workload, recorder: HistoryRecorder): Promise<void> {
  const lane = new Lane('last')
  const route = new Roaming(cluster, cluster.ports.indexOf(recorder.leaderPort))
  const deadline = performance.now() + 60_000
  let connection = await RespClient.connect(route.port)
  for (const key of workload.keys) {
    for (;;) {
      assert.ok(performance.now() < deadline, 'the last reads are not answered')
      const [ending] = await recorder.perform(connection, route.port, [{ lane, steps: [{ op: 'get', key }] }], 10_000)
      if (ending?.outcome === 'ok') break
      route.refused(ending?.movedTo ?? null)
      await pause(20)
      connection.close()
      connection = await RespClient.connect(route.port)
    }
  }
  connection.close()
}

export function judge(recorder: HistoryRecorder, seed: number, completedMin: number): void {
  const { history, completed, unknownWrites, leaderChanges } = recorder
  const verdict = checkHistory(history, { completedMin })
  console.log(
    `${completed} completed, ${unknownWrites.length} unknown writes, ${leaderChanges} leaders: ${JSON.stringify(verdict)}`,
  )
  if (verdict.kind === 'linearizable') return
  mkdirSync('build', { recursive: true })
  const path = join('build', `history-${process.pid}.jsonl`)
  writeFileSync(path, formatHistory(history))
  const again = `node build/test/linearizability/cli.js ${path} ${completedMin}`
  const details = 'explanation' in verdict ? verdict.explanation : JSON.stringify(verdict)
  assert.unreachable(`seed ${seed}: the history is ${verdict.kind}; to check it again: ${again}\n${details}`)
}
