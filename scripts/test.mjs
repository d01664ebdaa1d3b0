/**
 * `npm test`: builds what is not built, runs the Rust tests and every built `*.test.js` in a process of its own, and
 * ends with one line: `N passed, N failed, N skipped`. A file that crashes, hangs, has no test or leaves something open,
 * or something in the folder for temporary files, which each has for itself, counts as a failure. `npm test -- <pattern>` runs only the files whose path matches, and no Rust; with `--node
 * <file>` they run under that Node, and no Rust either; `--file-deadline-s` gives each file more time, for a Node that
 * is emulated. Each line says how long a file took and, on Linux, the CPU time of its processes: that one is about the
 * same on a machine that does other things as well.
 */

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve, sep } from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBuilt, root } from './ensure-built.mjs'

// Far above what any file needs, far below the five minutes that the whole run may take.
const FILE_DEADLINE_S = 120
const CARGO_DEADLINE_MS = 900_000
/** The tests of threads that a scheduler orders as well; one build for all of them. */
const CARGO_TEST = ['test', '--package', 'balsa-log', '--features', 'interleavings', '--no-fail-fast', '--locked']
const SKIP_MARK = 'skipped: '

const total = { passed: 0, failed: 0, skipped: 0 }
const failures = []
const skips = []
const groups = new Set()

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    for (const leader of groups) killGroup(leader)
    process.kill(process.pid, signal)
  })
}
await main()

async function main() {
  try {
    const { pattern, ...how } = readArguments()
    const isWhole = pattern === undefined && how.node === process.execPath
    // Each of the two compilers has stretches on one core.
    const [cargo] = await Promise.all([isWhole ? compileCargo() : null, ensureBuilt()])
    await runFiles(pattern, how, cargo)
  } catch (error) {
    fail(error.message)
    for (const leader of groups) killGroup(leader)
  }
  if (skips.length > 0) print(`\nSkipped:\n${skips.map((line) => `  ${line}`).join('\n')}`)
  if (failures.length > 0) print(`\nFailed:\n${failures.map((line) => `  ${line}`).join('\n')}`)
  process.exitCode = total.failed > 0 ? 1 : 0
  print(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
}

function readArguments() {
  const options = {
    node: { type: 'string', default: process.execPath },
    'file-deadline-s': { type: 'string', default: String(FILE_DEADLINE_S) },
  }
  const { values, positionals } = parseArgs({ allowPositionals: true, options })
  if (positionals.length > 1) throw new Error(`one pattern at most, and there are ${positionals.join(' ')}`)
  if (!existsSync(values.node)) throw new Error(`--node ${values.node}: there is no such file`)
  const deadlineMs = Number(values['file-deadline-s']) * 1000
  if (!(deadlineMs > 0)) throw new Error(`--file-deadline-s ${values['file-deadline-s']}: seconds, above 0`)
  return { node: resolve(values.node), deadlineMs, pattern: positionals[0] }
}

/** Compiles the Rust tests; null when that is all that there is to say of them. */
async function compileCargo() {
  if (!existsSync(join(root, 'Cargo.toml'))) fail('Cargo.toml is missing: the Rust tests cannot run')
  else {
    const result = await start('cargo', [...CARGO_TEST, '--no-run'], CARGO_DEADLINE_MS, print)
    if (result.trouble === null) return runCargo
    if (result.missing) skip('the Rust tests: cargo is not installed')
    else fail(`cargo test --no-run ${result.trouble}`)
  }
  return null
}

/** Runs the Rust tests, adds to the totals, and returns what to print: one line, or everything when one failed. */
async function runCargo() {
  const begin = performance.now()
  const result = await start('cargo', CARGO_TEST, CARGO_DEADLINE_MS, null)
  // Files run meanwhile, and count as well.
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const line of result.output.split('\n')) {
    const summary = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (summary !== null) {
      counts.passed += Number(summary[1])
      counts.failed += Number(summary[2])
    }
    const ignored = /^test (.+?) \.\.\. ignored(?:, (.*))?$/.exec(line)
    if (ignored !== null) {
      counts.skipped += 1
      skip(`cargo ${ignored[1]}: ${ignored[2] ?? 'ignored, no reason given'}`)
    }
    const broken = /^test (.+?) \.\.\. FAILED$/.exec(line)
    if (broken !== null) failures.push(`cargo ${broken[1]}`)
  }
  total.passed += counts.passed
  total.failed += counts.failed
  const isBroken = result.trouble !== null || counts.failed > 0
  if (result.trouble !== null && counts.failed === 0) fail(`cargo test ${result.trouble}`)
  const { passed, failed, skipped } = counts
  const head = `cargo test: ${passed} passed, ${failed} failed, ${skipped} skipped (${secondsSince(begin)})`
  return isBroken ? `FAIL ${head}\n${result.output}` : `ok   ${head}`
}

/**
 * Four lanes for two cores: half of the time files wait, for disks and for time to pass. Integration files start
 * processes and so take the machine: never two of them at once. What cargo has compiled, if it has, is one job more.
 */
async function runFiles(pattern, how, cargo) {
  const folder = join(root, 'build/test')
  const names = readdirSync(folder, { recursive: true })
    .map((name) => relative(root, join(folder, name)).split(sep).join('/'))
    .filter((name) => name.endsWith('.test.js') && (pattern === undefined || new RegExp(pattern).test(name)))
    .sort()
  if (names.length === 0) return fail(pattern === undefined ? 'there are no test files' : `no file matches ${pattern}`)
  const jobOf = (name) => () => runFile(name, how)
  const heavy = names.filter((name) => name.includes('/integration/')).map(jobOf)
  const light = names.filter((name) => !name.includes('/integration/')).map(jobOf)
  if (cargo !== null) light.unshift(cargo)
  const count = heavy.length + light.length
  let done = 0
  const lane = async (next) => {
    for (let job = next(); job !== undefined; job = next()) {
      const lines = await job()
      done += 1
      print(`[${done}/${count}] ${lines}`)
    }
  }
  const nextLight = () => light.shift()
  await Promise.all([lane(() => heavy.shift() ?? light.shift()), lane(nextLight), lane(nextLight), lane(nextLight)])
}

/** Runs one file, adds to the totals, and returns what to print: one line, or everything when it failed. */
async function runFile(name, { node, deadlineMs }) {
  const begin = performance.now()
  const result = await start(node, ['--enable-source-maps', 'scripts/test-file.mjs', name], deadlineMs, null)
  const seconds = secondsSince(begin)
  const counts = result.message ?? { suites: 0, total: 0, passed: 0, skipped: 0, cpuSeconds: null }
  const cpu = counts.cpuSeconds === null ? '' : `, CPU ${counts.cpuSeconds.toFixed(1)} s`
  const failed = counts.total - counts.passed
  const trouble = troubleOf(result, counts, failed)
  total.passed += counts.passed
  total.failed += failed
  total.skipped += counts.skipped
  collectSkips(name, result.output, counts.skipped)
  const head = `${name}: ${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped (${seconds}${cpu})`
  if (failed === 0 && trouble === null) return `ok   ${head}`
  if (trouble !== null) {
    total.failed += 1
    failures.push(`${name} ${trouble}`)
  } else failures.push(`${name}: ${failed} of ${counts.total} tests`)
  return `FAIL ${head}${trouble === null ? '' : `\n${name} ${trouble}`}\n${result.output}`
}

/** What is wrong with a file beyond the tests it counted as failed; null when nothing is. */
function troubleOf(result, counts, failed) {
  if (result.message === null) return `${result.trouble ?? 'stopped early'} before its tests had finished`
  if (counts.suites === 0) return 'has no suite: it must end with test.run()'
  if (counts.total + counts.skipped === 0) return 'has no test'
  if (failed > 0) return null
  if (result.trouble !== null) return `${result.trouble} after its tests had finished`
  if (result.left.length > 0) return `left in the folder for temporary files: ${result.left.join(', ')}`
  return null
}

function collectSkips(name, output, count) {
  const reasons = output.split('\n').flatMap((line) => {
    const at = line.indexOf(SKIP_MARK)
    return at === -1 ? [] : [line.slice(at + SKIP_MARK.length)]
  })
  for (let at = 0; at < count; at++) skips.push(`${name}: ${reasons[at] ?? 'no reason given'}`)
}

/**
 * Starts a process group and waits for its end or for the deadline, after which the whole group is killed, so that a
 * hung file takes the servers it started with it. `trouble` is null for exit code 0, or says how it ended; `left` is
 * what stood in its folder for temporary files by then, which is gone now.
 */
function start(command, args, deadlineMs, onText) {
  return new Promise((resolve) => {
    const stdio = ['ignore', 'pipe', 'pipe', ...(command === 'cargo' ? [] : ['ipc'])]
    const folder = mkdtempSync(join(tmpdir(), 'balsa-test-'))
    const child = spawn(command, args, { cwd: root, stdio, detached: true, env: { ...process.env, TMPDIR: folder } })
    const state = { output: '', message: null, missing: false, trouble: null, left: [] }
    const clear = () => {
      if (!existsSync(folder)) return
      state.left = readdirSync(folder)
      rmSync(folder, { recursive: true })
    }
    const take = (chunk) => {
      state.output += chunk
      if (onText !== null) process.stdout.write(chunk)
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('message', (message) => (state.message = message))
    const deadline = setTimeout(() => {
      state.trouble = `was killed at its deadline of ${deadlineMs / 1000} s`
      killGroup(child.pid)
    }, deadlineMs)
    child.once('error', (error) => {
      clearTimeout(deadline)
      clear()
      resolve({ ...state, missing: error.code === 'ENOENT', trouble: error.message })
    })
    child.once('spawn', () => groups.add(child.pid))
    child.once('exit', () => killGroup(child.pid))
    child.once('close', (code, signal) => {
      groups.delete(child.pid)
      clearTimeout(deadline)
      clear()
      const ended = code === 0 ? null : `ended with ${signal ?? `exit code ${code}`}`
      resolve({ ...state, trouble: state.trouble ?? ended })
    })
  })
}

function killGroup(leader) {
  try {
    process.kill(-leader, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

function secondsSince(begin) {
  return `${((performance.now() - begin) / 1000).toFixed(1)} s`
}

function fail(text) {
  total.failed += 1
  failures.push(text)
}

function skip(text) {
  total.skipped += 1
  skips.push(text)
}

function print(text) {
  process.stdout.write(`${text}\n`)
}
