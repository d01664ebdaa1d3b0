/** The tools of `npm run pack:check`: steps with a result, and commands that must succeed. */

import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'

const COMMAND_DEADLINE_MS = 120_000
/** Without what would load another addon, and with what makes Electron's program run a script as Node does. */
const environment = { ...process.env, BALSA_NATIVE_PATH: '', ELECTRON_RUN_AS_NODE: '1', DENO_NO_UPDATE_CHECK: '1' }

/** What this machine lacks for a step: it is skipped with the reason, and nothing is wrong. */
export class Skipped extends Error {}

export const results = []

/** Runs one step, prints and keeps its result; resolves to true when it was done and nothing was wrong. */
export async function step(name, body) {
  try {
    print(`ok       ${name}: ${await body()}`)
    results.push({ name, state: 'ok' })
    return true
  } catch (error) {
    const skipped = error instanceof Skipped
    print(`${skipped ? 'skipped ' : 'FAILED  '} ${name}: ${error.message}`)
    results.push({ name, state: skipped ? 'skipped' : 'failed' })
    return false
  }
}

/** What the command wrote, without the space around it. Throws with all it said unless it exits with 0. */
export function run(command, args, cwd, deadlineMs = COMMAND_DEADLINE_MS) {
  const { status, signal, stdout, stderr } = ended(command, args, cwd, deadlineMs)
  if (status !== 0)
    throw new Error(`${[command, ...args].join(' ')} ended with ${status ?? signal}:\n${stdout}${stderr}`)
  return stdout.trim()
}

/** All that a command said which is to fail. Throws when it does not end, or ends well. */
export function answer(command, args, cwd, deadlineMs = COMMAND_DEADLINE_MS) {
  const { status, stdout, stderr } = ended(command, args, cwd, deadlineMs)
  if (status === null || status === 0) throw new Error(`it was to fail, and said: ${stdout}${stderr}`)
  return `${stdout}${stderr}`.trim()
}

function ended(command, args, cwd, timeout) {
  // On Windows npm is a .cmd file, which only a shell starts.
  const shell = process.platform === 'win32' && command === 'npm'
  const options = { cwd, env: environment, shell, encoding: 'utf8', timeout, maxBuffer: 1 << 26 }
  const result = spawnSync(command, args, options)
  if (result.error === undefined) return result
  throw new Error(`${[command, ...args].join(' ')} could not be run, or did not end: ${result.error.message}`)
}

export function npm(args, cwd) {
  return run('npm', args, cwd)
}

/**
 * Puts an addon in the place where the source tree looks for it while `body` runs, for the tests, which run in the
 * tree.
 */
export async function withAddon(place, addon, body) {
  const kept = `${place}.kept`
  if (addon === place) return body()
  if (existsSync(place)) renameSync(place, kept)
  try {
    copyFileSync(addon, place)
    return await body()
  } finally {
    rmSync(place, { force: true })
    if (existsSync(kept)) renameSync(kept, place)
  }
}

export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))))
  const ports = servers.map((server) => server.address().port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

export async function freeAddresses(count) {
  return (await freePorts(count)).map((port) => `127.0.0.1:${port}`)
}

export function expect(actual, expected) {
  if (actual !== expected) throw new Error(`expected ${expected}, and got ${actual}`)
}

export function print(text) {
  process.stdout.write(`${text}\n`)
}
