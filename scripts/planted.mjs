/**
 * `npm run sim:planted`: can the simulator and the tests find bugs? Each patch in `test/planted` breaks one rule in a
 * copy of the sources; worlds run on that copy from seed 1 on, until an invariant does not hold, or the one test that
 * is named runs there. Ends with exit code 1 when a bug is not found, or by an invariant that is not about it, when a
 * patch is out of date, or when the copy without a bug fails on the same seeds or in the same tests.
 */

import { fork } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ensureBuilt, root } from './ensure-built.mjs'
import { compile, copySources, plant, readPatches } from './planted/patches.mjs'
import { checkSuites, copyTree, huntInSuite } from './planted/suites.mjs'
import { wholeNumber } from './whole-number.mjs'

const SEEDS_MAX = 2000
/** The copy without a bug runs these, and every seed that found one. */
const CONTROL_SEEDS = 40
/** For one world; the slowest takes some seconds. */
const SEED_DEADLINE_MS = 120_000

const USAGE = `usage: npm run sim:planted -- [names] [options]
  names            only the bugs whose name begins with one of these, such as C7
  --seeds N        give up after that many seeds, 1 .. 100000; default ${SEEDS_MAX}
  --from N         the first seed, 0 .. 4294867295; default 1
  --jobs N         processes at once, 1 .. 64; default: one for each core
  --check          only whether every patch still applies; no world is run
`

/** What each invariant is about, in the words of docs/simulator.md. */
const INVARIANTS = {
  0: 'an assertion of the library',
  1: 'one leader per term',
  2: 'nothing goes back',
  3: 'one vote per term',
  4: 'log matching',
  5: 'committed entries never change',
  6: 'a leader has what is committed',
  7: 'commit, recounted on the disks',
  8: 'state machine safety',
  9: 'order of the pointers',
  10: 'nothing leaves before it is durable',
  12: 'no needless truncation',
  13: 'linearizable',
  14: 'one outcome, and a true one',
  16: 'zero at rest',
  17: 'silence after a failure',
  18: 'what is sent is what was written',
  20: 'bounded work',
  21: 'a mended quorum serves',
  22: 'a leader that cannot work yields',
  23: 'inputs before deadlines',
  24: 'entry time never falls',
  25: 'a call ends when it must',
  26: 'a flipped bit is no message',
  27: 'a healthy leader stays',
  28: 'what an entry costs',
  29: 'narrow links',
  30: 'the newest connection is heard',
  31: 'nothing without room for it',
}

await main().catch((error) => {
  process.stderr.write(`sim:planted: ${error.message}\n`)
  process.exitCode = 2
})

async function main() {
  const { names, check, ...how } = readArguments()
  const patches = selected(readPatches(), names)
  if (!check) await ensureBuilt()
  const folder = mkdtempSync(join(tmpdir(), 'balsa-planted-'))
  try {
    const control = join(folder, 'control')
    copySources(control)
    if (check) {
      report(
        patches.map((patch) => ({ name: patch.name, trouble: plant(patch, control, '--check') })),
        check,
      )
      return
    }
    cpSync(join(root, 'dist'), join(control, 'dist'), { recursive: true })
    const tree = join(folder, 'tree')
    if (patches.some(({ suite }) => suite !== null)) copyTree(tree)
    report(await hunt(patches, { control, tree }, how), check)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seeds: { type: 'string', default: String(SEEDS_MAX) },
      from: { type: 'string', default: '1' },
      jobs: { type: 'string', default: String(Math.min(64, availableParallelism())) },
      check: { type: 'boolean', default: false },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    process.exit()
  }
  const seeds = wholeNumber('--seeds', values.seeds, 1, 100_000)
  const first = wholeNumber('--from', values.from, 0, 2 ** 32 - 1 - 100_000)
  const jobs = wholeNumber('--jobs', values.jobs, 1, 64)
  return { names: positionals, check: values.check, first, last: first + seeds - 1, jobs }
}

function selected(patches, names) {
  for (const name of names) {
    if (!patches.some((patch) => patch.name.startsWith(name))) throw new Error(`no planted bug begins with ${name}`)
  }
  return names.length === 0 ? patches : patches.filter(({ name }) => names.some((each) => name.startsWith(each)))
}

/** All of them, some at once; then the copy without a bug, on every seed that has found one. */
async function hunt(patches, { control, tree }, how) {
  const rows = []
  const left = [...patches]
  const lane = async () => {
    for (let patch = left.shift(); patch !== undefined; patch = left.shift()) {
      const row = patch.suite === null ? await huntOne(patch, control, how) : await huntInSuite(patch, tree)
      rows.push(row)
      process.stderr.write(`[${rows.length}/${patches.length}] ${row.name}: ${row.trouble ?? row.told}\n`)
    }
  }
  await Promise.all(Array.from({ length: how.jobs }, lane))
  rows.sort(
    (a, b) => patches.findIndex(({ name }) => name === a.name) - patches.findIndex(({ name }) => name === b.name),
  )
  const files = patches.flatMap(({ suite }) => (suite === null ? [] : [suite.file]))
  const [worlds, suites] = await Promise.all([controlRow(control, rows, how), checkSuites(tree, files)])
  return [...rows, { ...worlds, trouble: worlds.trouble ?? suites }]
}

async function huntOne(patch, control, { first, last }) {
  const { name, expected } = patch
  const copy = `${control}-${name}`
  const begin = performance.now()
  const row = (more) => ({ name, seconds: (performance.now() - begin) / 1000, trouble: null, ...more })
  try {
    cpSync(control, copy, { recursive: true, verbatimSymlinks: true })
    const stale = plant(patch, copy) ?? (await compile(copy, 'ts'))
    if (stale !== null) return row({ trouble: stale })
    const { ran, failure, trouble } = await run(copy, [`${first}..${last}`])
    if (trouble !== null) return row({ trouble })
    if (failure === null) return row({ trouble: `not found in ${ran} seeds`, seeds: ran })
    const { invariant, message, seed } = failure
    const found = { seeds: ran, seed, invariant, told: message }
    if (invariant === null)
      return row({ ...found, trouble: `not found in ${ran} seeds; seed ${seed} ended with ${message}` })
    if (expected.includes(invariant)) return row(found)
    return row({ ...found, trouble: `found by invariant ${invariant}, which is not about it: ${message}` })
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

/** Whatever found a bug finds nothing where there is none. */
async function controlRow(control, rows, { first, last, jobs }) {
  const begin = performance.now()
  const found = rows.flatMap(({ seed }) => (seed === undefined ? [] : [seed]))
  const some = Array.from({ length: Math.min(CONTROL_SEEDS, last - first + 1) }, (_, at) => first + at)
  const seeds = [...new Set([...some, ...found])].sort((a, b) => a - b)
  const parts = Array.from({ length: jobs }, (_, lane) => seeds.filter((_seed, at) => at % jobs === lane))
  const results = await Promise.all(parts.filter(({ length }) => length > 0).map((part) => run(control, part)))
  const alarm = results.find(({ failure, trouble }) => failure !== null || trouble !== null)
  const trouble =
    alarm === undefined
      ? null
      : (alarm.trouble ?? `false alarm at seed ${alarm.failure.seed}: ${alarm.failure.message}`)
  const ran = results.reduce((sum, result) => sum + result.ran, 0)
  const seconds = (performance.now() - begin) / 1000
  return { name: '(no bug)', seeds: ran, seconds, trouble, told: 'nothing, as it should be' }
}

/** The worlds of these seeds on a compiled copy, in a process of their own, until one fails. */
function run(copy, seeds) {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('planted/worlds.mjs', import.meta.url)), [copy, ...seeds.map(String)])
    let ran = 0
    let failure = null
    let trouble = null
    const giveUp = () => {
      trouble = `the world after ${ran} others does not end`
      child.kill('SIGKILL')
    }
    let deadline = setTimeout(giveUp, SEED_DEADLINE_MS)
    child.on('message', (told) => {
      clearTimeout(deadline)
      deadline = setTimeout(giveUp, SEED_DEADLINE_MS)
      ran += 1
      if (told.failure !== null) failure = { seed: told.seed, ...told.failure }
    })
    child.once('error', reject)
    child.once('close', (code) => {
      clearTimeout(deadline)
      if (code !== 0) trouble ??= `its process ended with ${code}`
      resolve({ ran, failure, trouble })
    })
  })
}

function report(rows, check) {
  const wrong = rows.filter(({ trouble }) => trouble !== null)
  if (!check) {
    const width = Math.max(...rows.map(({ name }) => name.length))
    const line = (name, seeds, seconds, what) =>
      process.stdout.write(`${name.padEnd(width)}  ${seeds.padStart(5)}  ${seconds.padStart(7)}  ${what}\n`)
    line('planted bug', 'seeds', 'seconds', 'invariant that noticed')
    for (const { name, seeds, seconds, invariant, told } of rows) {
      const what = invariant === undefined ? told : `${invariant}  ${INVARIANTS[invariant] ?? ''}`
      line(name, String(seeds ?? '-'), seconds.toFixed(1), what ?? '-')
    }
  }
  for (const { name, trouble } of wrong) process.stdout.write(`RED  ${name}: ${trouble}\n`)
  const bugs = rows.filter(({ name }) => name !== '(no bug)')
  const good = bugs.filter(({ trouble }) => trouble === null).length
  const most = Math.max(0, ...bugs.map(({ seeds }) => seeds ?? 0))
  const how = check ? 'patches apply' : `planted bugs found, the hardest after ${most} seeds`
  process.stdout.write(`sim:planted: ${good} of ${bugs.length} ${how}${wrong.length > 0 ? '; RED' : ''}\n`)
  if (wrong.length > 0) process.exitCode = 1
}
