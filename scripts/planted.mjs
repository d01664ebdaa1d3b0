/**
 * `npm run sim:planted`: can the simulator and the tests find bugs? Each patch in `test/planted` breaks one rule in a
 * copy of the sources; worlds run on that copy from seed 1 on, until an invariant does not hold, or the one test that
 * is named runs there. Ends with exit code 1 when a bug is not found, or by an invariant that is not about it, when a
 * patch is out of date, or when the copy without a bug fails on the same seeds or in the same tests.
 */

import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ensureBuilt, root } from './ensure-built.mjs'
import { copySources, duplicate, EXPECTED, plant, readPatches, translate } from './planted/patches.mjs'
import { checkSuite, copyTree, huntInSuite } from './planted/suites.mjs'
import { wholeNumber } from './whole-number.mjs'

const SEEDS_MAX = 2000
/** The copy without a bug runs these, and every seed that found one. */
const CONTROL_SEEDS = 20
/** For one world; the slowest takes some seconds. */
const SEED_DEADLINE_MS = 120_000

const USAGE = `usage: npm run sim:planted -- [names] [options]
  names            only the bugs whose name begins with one of these, such as C7
  --seeds N        give up after that many seeds, 1 .. 100000; default ${SEEDS_MAX}
  --from N         the first seed, 0 .. 4294867295; default 1
  --jobs N         processes at once, 1 .. 64; default: one for each core, and two more,
                   for some wait
  --check          only whether every patch still applies; no world is run
`

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
    duplicate(join(root, 'dist'), join(control, 'dist'))
    const tree = join(folder, 'tree')
    copyTree(tree)
    report(await hunt(patches, { raft: control, kv: tree }, how), check)
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
      jobs: { type: 'string', default: String(Math.min(64, availableParallelism() + 2)) },
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

/**
 * All of them, some at once, and the named tests without a bug; then the `copies` without a bug, on every seed that has
 * found one. Worlds come first, which may need many seeds; a test that waits in vain for a minute ends beside others.
 */
async function hunt(patches, copies, how) {
  const rows = []
  const complaints = []
  const tell = (row) => {
    rows.push(row)
    process.stderr.write(`[${rows.length}/${patches.length}] ${row.name}: ${row.trouble ?? row.told}\n`)
  }
  const inWorlds = patches.filter(({ suite }) => suite === null)
  const inSuites = patches.filter(({ suite }) => suite !== null)
  const left = [
    ...inWorlds.map((patch) => async () => tell(await huntOne(patch, copies, how))),
    ...inSuites.map((patch) => async () => tell(await huntInSuite(patch, copies.kv))),
    ...[...new Set(inSuites.map(({ suite }) => suite.file))].map((file) => async () => {
      const complaint = await checkSuite(copies.kv, file)
      if (complaint !== null) complaints.push(complaint)
    }),
  ]
  const lane = async () => {
    for (let job = left.shift(); job !== undefined; job = left.shift()) await job()
  }
  await Promise.all(Array.from({ length: how.jobs }, lane))
  rows.sort(
    (a, b) => patches.findIndex(({ name }) => name === a.name) - patches.findIndex(({ name }) => name === b.name),
  )
  const hunted = new Set(['raft', ...patches.map(({ worlds }) => worlds)])
  const [first, ...others] = await Promise.all(
    [...hunted].map((worlds) => controlRow(copies[worlds], worlds, rows, how)),
  )
  return [...rows, { ...first, trouble: first.trouble ?? complaints[0] ?? null }, ...others]
}

async function huntOne(patch, copies, { first, last }) {
  const { name, expected, worlds } = patch
  // All of them, but the seed that found it last comes first: a bug that is rare is found soon as long as it can be.
  const from = Math.max(first, Math.min(patch.begin, last))
  const seeds = [`${from}..${last}`, `${first}..${from - 1}`]
  const copy = `${copies[worlds]}-${name}`
  const begin = performance.now()
  const row = (more) => ({ name, seconds: (performance.now() - begin) / 1000, worlds, trouble: null, ...more })
  try {
    duplicate(copies[worlds], copy)
    const stale = plant(patch, copy) ?? (await translate(copy, patch))
    if (stale !== null) return row({ trouble: stale })
    const { ran, failure, trouble } = await run(copy, worlds, seeds)
    if (trouble !== null) return row({ trouble })
    if (failure === null) return row({ trouble: `not found in ${ran} seeds`, seeds: ran })
    const { invariant, message, seed } = failure
    const found = { seeds: ran, seed, invariant, told: message }
    if (invariant === null) {
      return row({ ...found, trouble: `not found in ${ran} seeds; seed ${seed} ended with ${message}` })
    }
    if (expected.includes(invariant)) return row(found)
    return row({
      ...found,
      trouble: `found by ${invariant}, ${EXPECTED[invariant]}, which is not about it: ${message}`,
    })
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

/** Whatever found a bug finds nothing where there is none. */
async function controlRow(control, worlds, rows, { first, last, jobs }) {
  const begin = performance.now()
  const found = rows.flatMap((row) => (row.seed === undefined || row.worlds !== worlds ? [] : [row.seed]))
  const some = Array.from({ length: Math.min(CONTROL_SEEDS, last - first + 1) }, (_, at) => first + at)
  const seeds = [...new Set([...some, ...found])].sort((a, b) => a - b)
  const parts = Array.from({ length: jobs }, (_, lane) => seeds.filter((_seed, at) => at % jobs === lane))
  const results = await Promise.all(parts.filter(({ length }) => length > 0).map((part) => run(control, worlds, part)))
  const alarm = results.find(({ failure, trouble }) => failure !== null || trouble !== null)
  const trouble =
    alarm === undefined
      ? null
      : (alarm.trouble ?? `false alarm at seed ${alarm.failure.seed}: ${alarm.failure.message}`)
  const ran = results.reduce((sum, result) => sum + result.ran, 0)
  const seconds = (performance.now() - begin) / 1000
  return { name: `(no bug, ${worlds})`, seeds: ran, seconds, trouble, told: 'nothing, as it should be' }
}

/** Those `worlds` of these seeds on a compiled copy, in a process of their own, until one fails. */
function run(copy, worlds, seeds) {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('planted/worlds.mjs', import.meta.url)), [
      copy,
      worlds,
      ...seeds.map(String),
    ])
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
      const what = invariant === undefined ? told : `${invariant}  ${EXPECTED[invariant] ?? ''}`
      line(name, String(seeds ?? '-'), seconds.toFixed(1), what ?? '-')
    }
  }
  for (const { name, trouble } of wrong) process.stdout.write(`RED  ${name}: ${trouble}\n`)
  const bugs = rows.filter(({ name }) => !name.startsWith('('))
  const good = bugs.filter(({ trouble }) => trouble === null).length
  const most = Math.max(0, ...bugs.map(({ seeds }) => seeds ?? 0))
  const how = check ? 'patches apply' : `planted bugs found, the hardest after ${most} seeds`
  process.stdout.write(`sim:planted: ${good} of ${bugs.length} ${how}${wrong.length > 0 ? '; RED' : ''}\n`)
  if (wrong.length > 0) process.exitCode = 1
}
