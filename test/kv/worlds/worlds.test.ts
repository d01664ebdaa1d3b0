/**
 * The kv server in simulated worlds: always the same ones, and new ones from a seed that is printed. Each world is
 * judged by judge.ts; one seed is one run.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { drawSeed } from '../../support/seed.js'
import { runKvWorld } from './kv-world.js'

const FIXED_SEEDS = 28
/** A few each time: `.ci/run` is where worlds run for long. */
const RANDOM_MS = 3000
/** What the fixed worlds must have come to: otherwise they test less than they claim. */
const MUST_REACH = [
  ...['set: ok', 'get: ok', 'get: nothing', 'incrby: ok', 'del: ok', 'pexpire: ok', 'pttl: ok', 'mset: ok', 'mget: ok'],
  ...[
    'keys: ok',
    'scan: ok',
    'watch: ok',
    'exec: ok',
    'exec: nothing',
    'discard: ok',
    'set: -MOVED',
    'set: -OOM command',
  ],
  ...['flushall: ok', 'incrby: -ERR RAFT_UNKNOWN', 'lease held'],
]

const test = suite('kv worlds')

test('worlds that are always the same hold, and come to what they are for', async () => {
  const reached = new Set<string>()
  for (let seed = 1; seed <= FIXED_SEEDS; seed += 1) for (const what of await hold(seed)) reached.add(what)
  const missed = MUST_REACH.filter((what) => !reached.has(what))
  assert.equal(missed, [], `reached were ${[...reached].join(', ')}`)
})

test('new worlds hold', async () => {
  const first = drawSeed()
  console.log(`kv worlds: from seed ${first}; BALSA_SEED=${first} begins there again`)
  const begin = performance.now()
  for (let at = 0; performance.now() - begin < RANDOM_MS; at += 1) await hold((first + at) % 2 ** 32)
})

test('one seed is one run, to the last answer', async () => {
  for (const seed of [2, 4]) {
    const { failure: none, ...first } = await runKvWorld({ seed })
    const { failure: neither, ...second } = await runKvWorld({ seed })
    assert.equal([none, neither], [null, null])
    assert.equal(first, second)
    assert.ok(first.answered > 50, `${first.answered} answers`)
  }
})

async function hold(seed: number): Promise<Iterable<string>> {
  const { failure, steps, reached } = await runKvWorld({ seed })
  if (failure !== null) {
    console.error(`kv worlds: seed ${seed} failed after ${steps} core steps: ${failure.message}`)
    console.error(`replay it: npm run sim -- --kv --seed ${seed}`)
    throw failure
  }
  return reached.keys()
}

test.run()
