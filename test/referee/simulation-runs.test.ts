/**
 * The referee over simulated worlds, faults and all, and the checker of histories over what their clients saw.
 * `BALSA_SEED=n` judges one seed; `BALSA_SEEDS=n` that many, from `BALSA_FIRST_SEED` on; `BALSA_STEPS=n` core steps
 * each.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkClients } from '../linearizability/clients.js'
import { recordWorld } from './recorders/world.js'
import { judgeTrace } from './referee.js'
import { formatTrace } from './trace-format.js'

const ONE_SEED = process.env['BALSA_SEED']
const FIRST_SEED = Number(ONE_SEED ?? process.env['BALSA_FIRST_SEED'] ?? 1)
const SEEDS = ONE_SEED === undefined ? Number(process.env['BALSA_SEEDS'] ?? 8) : 1
const STEPS = Number(process.env['BALSA_STEPS'] ?? 3000)

/** Worlds that never come to these have shown little. */
const MUST_SEE = [
  'boot',
  'crash',
  'halt',
  'answer',
  'apply',
  'AppendEntriesResult',
  'RequestVoteResult',
  'PreVoteResult',
  'compact',
  'install',
  'restore',
]

test('no simulated world breaks a rule of the paper, and what its clients see is linearizable', async () => {
  const total = new Map<string, number>()
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
    for (const [kind, count] of await judgeWorld(seed)) total.set(kind, (total.get(kind) ?? 0) + count)
  }
  console.log(`referee: worlds ${FIRST_SEED}..${FIRST_SEED + SEEDS - 1}: ${[...total].map(String).join(' ')}`)
  if (ONE_SEED !== undefined) return
  for (const kind of MUST_SEE) assert.ok((total.get(kind) ?? 0) > 0, `no ${kind} in any of these worlds`)
})

async function judgeWorld(seed: number): Promise<ReadonlyMap<string, number>> {
  const { trace, calls, result } = await recordWorld(seed, STEPS)
  const { violations, counts } = judgeTrace(trace)
  const verdict = checkClients(calls, { completedMin: 1 })
  const isRight = violations.length === 0 && verdict.kind === 'linearizable'
  if (!isRight) {
    mkdirSync('build', { recursive: true })
    const path = `build/trace-world-${seed}.jsonl`
    writeFileSync(path, formatTrace(trace))
    const found = violations.slice(0, 5).map(({ rule, place, detail }) => `${rule} (${place}): ${detail}`)
    const what = ['explanation' in verdict ? verdict.explanation : JSON.stringify(verdict), ...found].join('\n')
    assert.unreachable(`BALSA_SEED=${seed} BALSA_STEPS=${STEPS} replays it; its trace is ${path}:\n${what}`)
  }
  if (result.failure !== null) throw result.failure
  return counts
}

test.run()
