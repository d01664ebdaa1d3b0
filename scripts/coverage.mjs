/**
 * `npm run coverage`: which branches of ts/core the tests and a batch of simulated worlds take. Node collects (V8),
 * counts are carried to the TypeScript by its source maps. Ends with exit code 1 when too few are taken, or when
 * docs/coverage.md and what was not taken differ in one branch: each of them is explained there.
 */

import { readFileSync, rmSync } from 'node:fs'
import { join, posix } from 'node:path'
import { ensureBuilt, root, run } from './ensure-built.mjs'

const PERCENT_MIN = 97
/** What drives the core, and is over in seconds. Real clusters and long swarms take the same branches, only slower. */
const TEST_FILES =
  'test/(core|paper|scenarios|server)/|test/simulation/(determinism|machine|partly)|test/referee/core-runs'
/** The same worlds and draws each time, so that a branch cannot be taken on one day and not on the next. */
const SEEDS = '1..12'
const SEED_OF_TESTS = '1'
const EXPLAINED = 'docs/coverage.md'
const ARM_LENGTH_MAX = 60

const raw = join(root, 'build/coverage/v8')

await main().catch((error) => {
  print(`coverage: ${error.message}`)
  process.exitCode = 2
})

async function main() {
  await ensureBuilt()
  rmSync(raw, { recursive: true, force: true })
  process.env.NODE_V8_COVERAGE = raw
  process.env.BALSA_SEED = SEED_OF_TESTS
  await run(process.execPath, ['scripts/test.mjs', TEST_FILES], 'tests failed; they are named above')
  await run(process.execPath, ['scripts/sim.mjs', '--seeds', SEEDS], 'a world did not hold; it is named above')
  const { summary, files } = await mapped()
  for (const file of files) printFile(file.sourcePath, file.summary.branches)
  printFile('ts/core', summary.branches)
  const complaints = compared(files.flatMap(notTaken), explained())
  if (summary.branches.pct < PERCENT_MIN) complaints.push(`fewer than ${PERCENT_MIN} % of the branches were taken`)
  for (const complaint of complaints) print(`coverage: ${complaint}`)
  print(
    complaints.length === 0 ? `coverage: ok, every branch is taken or explained in ${EXPLAINED}` : 'coverage: FAILED',
  )
  process.exitCode = complaints.length === 0 ? 0 : 1
}

/** The counts of all processes in one, for the sources of the core. */
async function mapped() {
  // Imported only here: in a bare clone it is there once everything is built.
  const { CoverageReport } = await import('monocart-coverage-reports')
  const report = new CoverageReport({
    outputDir: join(root, 'build/coverage'),
    reports: ['none'],
    clean: false,
    logging: 'error',
    // A file that no process has loaded counts as well, as one that is not covered.
    all: { dir: [join(root, 'dist/core')], filter: (path) => path.endsWith('.js') },
    entryFilter: ({ url }) => /\/dist\/core\/.+\.js$/.test(url),
    sourceFilter: (path) => /(?:^|\/)ts\/core\//.test(path),
  })
  await report.addFromDir(raw)
  return report.generate()
}

/**
 * The branches of a file that were never taken, each named by what stands in the source, so that the name survives
 * edits elsewhere.
 */
function notTaken({ sourcePath, source, data }) {
  return data.branches
    .filter(({ count, ignored }) => count === 0 && !ignored)
    .map(({ start, end, none }) => {
      const from = source.lastIndexOf('\n', start - 1) + 1
      const line = source.slice(from, source.indexOf('\n', start)).trim()
      const arm = none ? 'else' : source.slice(start, end).trim().split('\n')[0].slice(0, ARM_LENGTH_MAX)
      return keyOf(posix.basename(sourcePath), line, arm)
    })
}

/** The rows of the table: file, line, branch, and why nothing takes it. */
function explained() {
  const keys = []
  for (const row of readFileSync(join(root, EXPLAINED), 'utf8').split('\n')) {
    const cells = row.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'))
    if (cells.length !== 6 || !cells[1].endsWith('.ts')) continue
    const [, file, line, arm, why] = cells
    if (why === '') throw new Error(`${EXPLAINED} has no reason for ${file}: ${line}`)
    keys.push(keyOf(file, line.replaceAll('`', ''), arm.replaceAll('`', '')))
  }
  return keys
}

/** Each key as often on one side as on the other: the same line may stand in a file twice. */
function compared(found, listed) {
  const complaints = []
  const rest = [...listed]
  for (const key of found) {
    const at = rest.indexOf(key)
    if (at === -1) complaints.push(`not taken and not explained: ${key}`)
    else rest.splice(at, 1)
  }
  for (const key of rest) complaints.push(`explained in ${EXPLAINED}, and taken or gone: ${key}`)
  return complaints
}

function keyOf(file, line, arm) {
  return `${file} | ${line.replaceAll('`', '')} | ${arm.replaceAll('`', '')}`
}

function printFile(name, { total, covered, pct }) {
  print(
    `${name.padEnd(28)} ${String(covered).padStart(4)} of ${String(total).padStart(4)} branches ${pct === '' ? '' : `${pct} %`}`,
  )
}

function print(text) {
  process.stdout.write(`${text}\n`)
}
