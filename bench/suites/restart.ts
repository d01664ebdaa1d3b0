/**
 * How long a server needs to serve after a start, by how much its log holds: with everything to be applied again, and
 * behind a snapshot.
 */

import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LoneAnswer, LoneTask } from '../cluster/lone-server.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Suite } from '../suite.js'

export const restart: Suite = {
  name: 'restart',
  purpose: 'from the start of a process until it serves, over a log of --entries, with and without a snapshot',
  minutes: 12,
  rounds: 5,
  seconds: 1,
  metrics: [
    { key: 'readyMs', head: 'process to ready, ms', digits: 0 },
    { key: 'perSecond', head: 'entries/s', digits: 0 },
    { key: 'rssMiB', head: 'RSS MiB', digits: 0 },
  ],
  judged: { key: 'readyMs', better: 'less' },
  open,
}

const NOTES = [
  'one server alone on the native store, a state machine that only counts, commands of 16 bytes',
  'process to ready: loading the library is part of it; with 0 entries it is all of it',
]

async function open({ dir, entries }: Settings): Promise<OpenSuite> {
  const folder = mkdtempSync(join(dir, 'restart-'))
  const at = (name: string): string => join(folder, name)
  await run(at('replayed'), { fill: entries })
  await run(at('snapshot'), { fill: entries })
  await run(at('snapshot'), { snapshot: true })
  await run(at('empty'), { serve: true })
  const caseOf = (name: string, count: number): Case => ({
    contender: 'balsa',
    at: { entries: count, log: name },
    measure: () => measure(at(name)),
  })
  return {
    cases: [caseOf('empty', 0), caseOf('snapshot', entries), caseOf('replayed', entries)],
    skipped: [],
    notes: NOTES,
    close: () => Promise.resolve(rmSync(folder, { recursive: true, force: true })),
  }
}

async function measure(folder: string): Promise<Sample> {
  const { readyMs, applied, rssBytes } = await run(folder, { serve: true })
  return { readyMs, perSecond: (applied * 1000) / readyMs, rssMiB: rssBytes / 2 ** 20 }
}

function run(folder: string, task: LoneTask): Promise<LoneAnswer> {
  const script = fileURLToPath(new URL('../cluster/lone-server.js', import.meta.url))
  return new Promise((resolve, reject) => {
    const server = fork(script, [folder, JSON.stringify(task)])
    server.once('exit', (code) => reject(new Error(`the server ended early, exit code ${code}`)))
    server.once('message', (answer) => resolve(answer as LoneAnswer))
  })
}
