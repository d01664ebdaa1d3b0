/** One seed is one run: in one process, in two, and told as a trace. And what is out of range is refused by name. */

import { spawnSync } from 'node:child_process'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { simulate } from '#balsa/testing/simulate.js'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')
const SEEDS = [1, 2, 3, 4, 5]
const STEPS = 2000

const runs = suite('a simulated run')

runs('is the same in two processes', async () => {
  const script = `
    import { simulate } from '#balsa/testing/simulate.js'
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
  assert.ok(first.length > 1000, `${first.length} lines`)
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
      assert.instance(error, RangeError)
      assert.ok((error as Error).message.startsWith(`${name}: it must be a whole number in`), (error as Error).message)
    }
  }
})

runs.run()
