/** One seed is one run: in one process, in two, and told as a trace. And what is out of range is refused by name. */

import { spawnSync } from 'node:child_process'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from '#balsa/errors.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import { drawPlan } from '#balsa/testing/simulator/swarm.js'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')
const SEEDS = [1, 2, 3]
const STEPS = 1000

const runs = suite('a simulated run')

runs('is the same in two processes', async () => {
  const script = `
import { simulate } from '#balsa/testing/simulator/simulate.js'
    for (const seed of ${JSON.stringify(SEEDS)}) console.log((await simulate({ seed, steps: ${STEPS} })).hash)
  `
  const other = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: root, encoding: 'utf8' })
  const hashes: string[] = []
  for (const seed of SEEDS) hashes.push((await simulate({ seed, steps: STEPS })).hash)
  assert.is(other.stdout.trim(), hashes.join('\n'), other.stderr)
  assert.is(new Set(hashes).size, SEEDS.length, 'two seeds gave one run')
})

runs('is told the same twice, and is not changed by being told', async () => {
  const first: string[] = []
  const second: string[] = []
  const told = await simulate({ seed: 7, steps: STEPS, trace: (line) => void first.push(line) })
  await simulate({ seed: 7, steps: STEPS, trace: (line) => void second.push(line) })
  const untold = await simulate({ seed: 7, steps: STEPS })
  assert.ok(first.length > 500, `${first.length} lines`)
  assert.equal(first, second)
  assert.is(told.hash, untold.hash)
})

runs('has a seed and a length within bounds, or none', async () => {
  for (const [options, name] of [
    [{ seed: -1 }, 'seed is -1'],
    [{ seed: 2 ** 32 }, 'seed is 4294967296'],
    [{ seed: 1.5 }, 'seed is 1.5'],
    [{ seed: 1, steps: 99 }, 'steps is 99'],
    [{ seed: 1, steps: 1e9 }, 'steps is 1000000000'],
  ] as const) {
    try {
      await simulate(options)
      assert.unreachable(name)
    } catch (error) {
      assert.is((error as RaftError).code, 'ERR_RAFT_OPTIONS')
      assert.ok(
        (error as Error).message.startsWith(`option ${name}: it must be a whole number in`),
        (error as Error).message,
      )
    }
  }
})

runs('has a plan within bounds, or none', async () => {
  const plan = drawPlan(1)
  for (const [wrong, message] of [
    [{ servers: 0 }, 'servers is 0: it must be a whole number in 1 .. 9'],
    [{ heartbeatMs: plan.electionTimeoutMs }, 'heartbeatMs is'],
    [{ chaos: { ...plan.chaos, loss: 2 } }, 'chaos.loss is 2: it must be a number in 0 .. 1'],
    [{ turnMs: NaN }, 'turnMs is NaN'],
    [{ faults: { earthquake: 1 } as object }, 'faults.earthquake is 1: there is no such fault'],
  ] as const) {
    try {
      await simulate({ seed: 1, plan: { ...plan, ...wrong } })
      assert.unreachable(message)
    } catch (error) {
      assert.is((error as RaftError).code, 'ERR_RAFT_OPTIONS')
      assert.ok((error as Error).message.startsWith(`option ${message}`), (error as Error).message)
    }
  }
})

runs.run()
