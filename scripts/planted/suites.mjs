/**
 * Planted bugs that a named test finds: it runs in a copy of the tree in which the bug is compiled in. Found means that
 * this test fails, and says why in words of its own.
 */

import { fork } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../ensure-built.mjs'
import { duplicate, plant, translate } from './patches.mjs'

/** One test file may take so long in a copy; the tests that are named here take seconds. */
const FILE_DEADLINE_MS = 180_000

/** What V8 says when it stumbles: a bug that is seen only so is not told from any other. */
const STUMBLE = /Cannot (?:read|set) properties of|is not (?:a function|iterable|defined)|has already been declared/

/** Sources, what is built of them, and packages of which those of this tree are the copy's own. */
export function copyTree(target) {
  for (const name of [
    'ts',
    'dist',
    'apps',
    'test',
    'support',
    'examples',
    'scripts',
    'build/test',
    'build/support',
    'build/examples',
  ]) {
    duplicate(join(root, name), join(target, name))
  }
  for (const name of ['package.json', 'tsconfig.base.json', 'tsconfig.json'])
    duplicate(join(root, name), join(target, name))
  const packages = join(target, 'node_modules')
  mkdirSync(packages)
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!name.startsWith('.') && !OWN_PACKAGES.has(name))
      symlinkSync(join(root, 'node_modules', name), join(packages, name))
  }
  for (const [name, place] of OWN_PACKAGES) symlinkSync(place, join(packages, name))
}

const OWN_PACKAGES = new Map([
  ['balsa-raft', '..'],
  ['balsa-kv', '../apps/kv'],
])

/** `tree`: a copy without a bug. Returns what became of the bug: `trouble` null when it was found. */
export async function huntInSuite(patch, tree) {
  const { name, suite } = patch
  const copy = `${tree}-${name}`
  const begin = performance.now()
  const row = (more) => ({ name, seconds: (performance.now() - begin) / 1000, trouble: null, ...more })
  try {
    duplicate(tree, copy)
    const stale = plant(patch, copy) ?? (await translate(copy, patch))
    if (stale !== null) return row({ trouble: stale })
    const { failures, trouble } = await runFile(copy, suite.file)
    if (trouble !== null) return row({ trouble: `${suite.file} ${trouble}` })
    const failure = failures.find(({ title }) => title === suite.title)
    if (failure === undefined) {
      const others = failures.map(({ title }) => `"${title}"`).join(', ')
      return row({ trouble: `not found by "${suite.title}"${others === '' ? '' : `, but by ${others}`}` })
    }
    if (STUMBLE.test(failure.message)) return row({ trouble: `found only by a stumble: ${failure.message}` })
    return row({ told: `${suite.file}: ${suite.title}` })
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

/** What the tests of a file say where there is no bug; null when they pass. */
export async function checkSuite(tree, file) {
  const { failures, trouble } = await runFile(tree, file)
  if (trouble !== null) return `without a bug ${file} ${trouble}`
  return failures.length > 0 ? `without a bug ${file} fails: "${failures[0].title}"` : null
}

function runFile(copy, file) {
  const built = join(copy, 'build', file.replace(/\.ts$/, '.js'))
  return new Promise((resolve, reject) => {
    const child = fork(join(copy, 'scripts/test-file.mjs'), [built], {
      cwd: copy,
      silent: true,
      env: { ...process.env, NO_COLOR: '1' },
    })
    let output = ''
    let counts = null
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      child.kill('SIGKILL')
    }, FILE_DEADLINE_MS)
    child.stdout.on('data', (text) => (output += text))
    child.stderr.resume()
    child.on('message', (told) => (counts = told))
    child.once('error', reject)
    child.once('close', () => {
      clearTimeout(timer)
      const failures = failuresIn(output)
      if (isLate) resolve({ failures, trouble: `does not end within ${FILE_DEADLINE_MS / 1000} s` })
      else if (counts === null && failures.length === 0) resolve({ failures, trouble: 'ended before its tests did' })
      else resolve({ failures, trouble: null })
    })
  })
}

/** Each as uvu prints it: `FAIL  suite  "title"`, then what the error says. */
function failuresIn(output) {
  return [...output.matchAll(/^ +FAIL +(?:\S.*? {2})?"(.*)"\n([\s\S]*?)(?=\n {4}at |\n\n)/gm)].map(
    ([, title, message]) => ({
      title,
      message: message.trim(),
    }),
  )
}
