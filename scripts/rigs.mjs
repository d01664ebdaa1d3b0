/**
 * `npm run rigs`: the native engine as a process that is killed, on disks that fail, fill up and lose power. It builds the
 * rigs and their shim, gives them a directory to work in, and leaves nothing mounted. Ends with exit code 1 when a rig
 * found something, or proves nothing (docs/rigs.md).
 */

import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root, run } from './ensure-built.mjs'
import { wholeNumber } from './whole-number.mjs'

const USAGE = `usage: npm run rigs -- [options]
  --short        about a minute; the long form takes six to ten
  --only <rigs>  some of kill,kill-again,lives,fault,full,power,control,damage
  --seed <n>     the first seed; default: 1
  --jobs <n>     cases beside each other; default: the cores
`

const options = {
  short: { type: 'boolean' },
  only: { type: 'string' },
  seed: { type: 'string' },
  jobs: { type: 'string' },
  help: { type: 'boolean' },
}

/** Builds program and shim; answers with the path of the shim, or null where there is no compiler. */
async function build() {
  await run(
    'cargo',
    ['build', '--quiet', '--locked', '-p', 'balsa-rigs'],
    'the rigs were not built; the reason is above',
  )
  const shim = join(root, 'target/debug/balsa-rigs-shim.so')
  mkdirSync(join(root, 'target/debug'), { recursive: true })
  try {
    const flags = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-O1', '-shared', '-fPIC']
    execFileSync('cc', [...flags, '-o', shim, join(root, 'crates/balsa-rigs/shim.c')], { stdio: 'inherit' })
  } catch (error) {
    if (error.code !== 'ENOENT') throw new Error('the shim was not built; the reason is above', { cause: error })
    return null
  }
  return shim
}

/** The rigs themselves; answers with their exit code. An interrupt reaches them too, and is theirs to answer. */
function start(base, shim, { short, only, seed, jobs }) {
  const args = ['run', base, '--seed', `${wholeNumber('--seed', seed ?? '1', 1, 1e9)}`]
  args.push('--jobs', `${wholeNumber('--jobs', jobs ?? `${availableParallelism()}`, 1, 64)}`)
  if (short === true) args.push('--short')
  if (only !== undefined) args.push('--only', only)
  const env = { ...process.env, RIG_SHIM: shim ?? '' }
  return new Promise((resolve, reject) => {
    const rigs = spawn(join(root, 'target/debug/balsa-rigs'), args, { stdio: ['ignore', 'inherit', 'inherit'], env })
    process.on('SIGINT', () => rigs.kill('SIGINT'))
    process.on('SIGTERM', () => rigs.kill('SIGTERM'))
    rigs.once('error', reject)
    rigs.once('close', (code) => resolve(code ?? 1))
  })
}

/** What the rigs have left mounted below their directory, should they have ended early. */
function unmountAll(base) {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n')
  for (const [device, dir] of mounts.map((line) => line.split(' '))) {
    if (dir === undefined || !dir.startsWith(`${base}/`)) continue
    execFileSync('umount', ['-l', dir], { stdio: 'inherit' })
    if (device.startsWith('/dev/loop')) execFileSync('losetup', ['-d', device], { stdio: 'inherit' })
  }
}

async function main() {
  const { values } = parseArgs({ options })
  if (values.help === true) {
    process.stderr.write(USAGE)
    return
  }
  if (process.platform !== 'linux') {
    process.stdout.write('rigs: 1 skipped: they need Linux\n')
    return
  }
  const shim = await build()
  const base = mkdtempSync(join(tmpdir(), 'balsa-rigs-'))
  try {
    process.exitCode = await start(base, shim, values)
  } finally {
    unmountAll(base)
    const kept = readdirSync(base).filter((name) => name.startsWith('failed-'))
    if (kept.length === 0) rmSync(base, { recursive: true, force: true })
    else process.stdout.write(`rigs: what was found wrong is kept in ${base}: ${kept.join(' ')}\n`)
  }
}

await main().catch((error) => {
  process.stderr.write(`rigs: ${error.message}\n`)
  process.exitCode = 2
})
