/**
 * `npm run sim`: worlds from seeds. One seed, or a range of them; with --trace, the one run as JSON lines on standard
 * output. Ends with exit code 1 when a world did not hold, and prints the line that replays it.
 */

import { readFileSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ensureBuilt } from './ensure-built.mjs'
import { runKvWorlds } from './sim/kv-worlds.mjs'
import { seedsOf } from './sim/seeds.mjs'
import { wholeNumber } from './whole-number.mjs'

const USAGE = `usage: npm run sim -- [options]
  --seed N         one world (0 .. 4294967295)
  --seeds A..B     the worlds of these seeds, both ends included
  --steps K        core steps of the first phase, 100 .. 100000000; default 10000
  --seconds S      stop after that many seconds, 1 .. 86400; without --seeds: from a seed of the clock on
  --kv             worlds of apps/kv: its servers and their clients, by default with 2000 steps
  --trace          with --seed: the run as JSON lines
  --counts         how often each rare situation was reached
  --plan FILE      the world of a plan, as --shrink writes it, instead of a seed's own
  --shrink         with --seed or --plan: a failure is made small, as a plan, a scenario and a timeline
  --into DIR       with --shrink: where those go; default build/sim/seed-N
  --within S       with --shrink: how many seconds it may take, 1 .. 86400; default 60
`

await main().catch((error) => {
  process.stderr.write(`sim: ${error.message}\n`)
  process.exitCode = 2
})

async function main() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      seeds: { type: 'string' },
      steps: { type: 'string' },
      seconds: { type: 'string' },
      kv: { type: 'boolean' },
      trace: { type: 'boolean' },
      counts: { type: 'boolean' },
      plan: { type: 'string' },
      shrink: { type: 'boolean' },
      into: { type: 'string' },
      within: { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) return process.stdout.write(USAGE)
  if (values.kv) return runKvWorlds(values, print)
  const planned = values.plan === undefined ? null : plannedIn(values.plan)
  const steps = wholeNumber('--steps', values.steps ?? String(planned?.steps ?? 10_000), 100, 100_000_000)
  const seconds = values.seconds === undefined ? Infinity : wholeNumber('--seconds', values.seconds, 1, 86_400)
  const { first, last } = seedsOf(values, planned)
  if (values.trace && first !== last) throw new Error('--trace needs one seed: --seed N')
  if (values.shrink && first !== last) throw new Error('--shrink needs one world: --seed N or --plan FILE')
  const within = wholeNumber('--within', values.within ?? '60', 1, 86_400)
  await ensureBuilt()
  if (values.shrink) return shrink({ seed: first, steps, plan: planned?.plan ?? null, seconds: within }, values.into)
  const { simulate } = await import('../dist/testing/simulator/simulate.js')
  const { formatCounts, mustReach } = await import('../dist/testing/simulator/batch.js')
  const total = { worlds: 0, steps: 0, entries: 0, ms: 0, answered: 0, recovered: 0, slowest: 0 }
  const reached = new Map()
  const begin = performance.now()
  let failed = false
  for (let seed = first; seed <= last && performance.now() - begin < seconds * 1000; seed += 1) {
    const trace = values.trace ? { trace: (line) => void writeSync(1, `${line}\n`) } : {}
    const result = await simulate({ seed, steps, ...trace, ...(planned === null ? {} : { plan: planned.plan }) })
    total.worlds += 1
    total.steps += result.steps
    total.entries += result.entries
    total.ms += result.ms
    total.answered += result.answered
    if (result.recovery?.wasPossible) total.recovered += 1
    total.slowest = Math.max(total.slowest, result.recovery?.ms ?? 0)
    for (const [what, times] of result.reached) reached.set(what, (reached.get(what) ?? 0) + times)
    if (first === last && !values.trace) print(`seed ${seed}: hash ${result.hash}, ${result.steps} core steps`)
    if (result.failure === null) continue
    failed = true
    print(`seed ${seed} failed after ${result.steps} core steps: ${result.failure.message}`)
    if (!/^(?:Violation|AssertionFailure)$/.test(result.failure.name)) print(result.failure.stack ?? '')
    const world = planned === null ? `--seed ${seed}` : `--plan ${values.plan}`
    print(`replay it: npm run sim -- ${world} --steps ${steps} --trace`)
    print(`shrink it: npm run sim -- ${world} --steps ${steps} --shrink`)
  }
  const elapsed = (performance.now() - begin) / 1000
  if (values.counts) print(formatCounts(reached))
  print(
    `${total.worlds} worlds from seed ${first}: ${total.steps} core steps in ${elapsed.toFixed(1)} s ` +
      `(${Math.round(total.steps / elapsed)} per second), ${total.entries} entries, ${total.answered} calls answered, ` +
      `${(total.ms / 1000).toFixed(0)} s simulated, ${total.recovered} recovered, the slowest in ${total.slowest.toFixed(0)} ms`,
  )
  const missed = mustReach(total.steps).filter((what) => !reached.has(what))
  if (missed.length > 0) print(`never reached: ${missed.join(', ')}`)
  if (failed || missed.length > 0) process.exitCode = 1
}

async function shrink(world, folder = `build/sim/seed-${world.seed}`) {
  const { shrinkSeed } = await import('../build/test/shrink/shrink-seed.js')
  await shrinkSeed({ ...world, folder, say: print })
}

/** What --shrink wrote: the steps and the plan of one world. */
function plannedIn(file) {
  const { steps, plan } = JSON.parse(readFileSync(file, 'utf8'))
  if (plan?.seed === undefined) throw new Error(`${file} holds no plan`)
  return { steps, plan }
}

/** To standard error, so that a trace is only a trace. */
function print(text) {
  process.stderr.write(`${text}\n`)
}
