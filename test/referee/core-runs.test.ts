/**
 * The referee over what cores do: the runs of test/core/random-driver.test.ts and the transcripts, judged by someone
 * who has only read the paper. `BALSA_SEED=n` judges one seed; `BALSA_SEEDS=n` that many, from `BALSA_FIRST_SEED` on.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RandomRun } from '../support/random-run.js'
import { replayTranscript } from '../support/transcript.js'
import { recordStage } from './recorders/stage.js'
import { judgeTrace } from './referee.js'
import type { RuleName } from './rules.js'
import { formatTrace } from './trace-format.js'
import type { Trace, TraceEvent } from './trace-format.js'

const ONE_SEED = process.env['BALSA_SEED']
const FIRST_SEED = Number(ONE_SEED ?? process.env['BALSA_FIRST_SEED'] ?? 1001)
const SEEDS = ONE_SEED === undefined ? Number(process.env['BALSA_SEEDS'] ?? 20) : 1

/** Runs that never come to these have shown little. */
const MUST_SEE = ['boot', 'crash', 'answer', 'apply', 'AppendEntriesResult', 'RequestVoteResult', 'PreVoteResult']

test('no random run of cores breaks a rule of the paper', () => {
  const total = new Map<string, number>()
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
    const trace: TraceEvent[] = []
    const run = new RandomRun(seed)
    recordStage(run.cluster, (event) => trace.push(event))
    try {
      run.run()
    } finally {
      // Of a run that fails by its own checks, too: what the referee says of it may say more.
      judge(seed, trace, total)
    }
  }
  console.log(`referee: seeds ${FIRST_SEED}..${FIRST_SEED + SEEDS - 1}: ${[...total].map(String).join(' ')}`)
  if (ONE_SEED !== undefined) return
  for (const kind of MUST_SEE) assert.ok((total.get(kind) ?? 0) > 0, `no ${kind} in any of these runs`)
})

const TRANSCRIPTS = new URL('../../../test/core/transcripts/', import.meta.url)
const names = readdirSync(TRANSCRIPTS).filter((name) => name.endsWith('.txt'))

for (const name of names) {
  const text = readFileSync(new URL(name, TRANSCRIPTS), 'utf8')
  // Messages that the script makes up were sent by nobody. Some of them break rules that hold of all servers together.
  if (/^(?:quiet )?cluster .*\bmadeup\b/m.test(text)) continue
  const excused: readonly RuleName[] = /^(?:quiet )?make /m.test(text) ? ['messages are received as sent'] : []
  test(`no rule of the paper is broken in the transcript ${name}`, () => {
    const traces: TraceEvent[][] = []
    replayTranscript(text, (stage) => {
      const trace: TraceEvent[] = []
      traces.push(trace)
      recordStage(stage, (event) => trace.push(event))
    })
    assert.ok(traces.length > 0, 'it has no cluster')
    for (const trace of traces) judge(name, trace, new Map(), excused)
  })
}

function judge(
  run: number | string,
  trace: Trace,
  total: Map<string, number>,
  excused: readonly RuleName[] = [],
): void {
  const { violations: all, counts } = judgeTrace(trace)
  const violations = all.filter(({ rule }) => !excused.includes(rule))
  for (const [kind, count] of counts) total.set(kind, (total.get(kind) ?? 0) + count)
  if (violations.length === 0) return
  mkdirSync('build', { recursive: true })
  const path = `build/trace-${run}.jsonl`
  writeFileSync(path, formatTrace(trace))
  const found = violations.slice(0, 5).map(({ rule, place, detail, line }) => `${line}: ${rule} (${place}): ${detail}`)
  assert.unreachable(`run ${run}, its trace is ${path}; BALSA_SEED=${run} replays a seed:\n${found.join('\n')}`)
}

test.run()
