/**
 * `npm run check`: the gate that every commit passes. Read-only: it builds, and changes no source. All steps run, so
 * that one call shows everything that is wrong; the exit code is 0 only when all of them pass.
 */

import { readFileSync } from 'node:fs'
import { ensureBuilt, run } from './ensure-built.mjs'

const tool = (path, ...args) => run(process.execPath, [`node_modules/${path}`, ...args], 'see above')
const cargo = (...args) => run('cargo', args, 'see above')

/** The one feature that adds code: the tests with many orders of threads. */
const INTERLEAVINGS = ['--features', 'balsa-log/interleavings']

const steps = {
  types: ensureBuilt,
  border: checkBorder,
  format: () => tool('prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.'),
  lint: () => tool('oxlint/bin/oxlint', '--type-aware', '--deny-warnings'),
  reference: checkReference,
  tidy: () => run(process.execPath, ['scripts/test.mjs', '/tidy.test.js$'], 'see above'),
  unused: () => tool('knip/bin/knip.js', '--no-progress'),
  rustfmt: () => cargo('fmt', '--all', '--check'),
  clippy: () => cargo('clippy', '--workspace', '--all-targets', ...INTERLEAVINGS, '--locked', '--', '-D', 'warnings'),
}

const broken = []
for (const [name, step] of Object.entries(steps)) {
  const begin = performance.now()
  process.stdout.write(`\n== ${name}\n`)
  try {
    await step()
    process.stdout.write(`${name}: ok (${((performance.now() - begin) / 1000).toFixed(1)} s)\n`)
  } catch (error) {
    broken.push(name)
    process.stdout.write(`${name}: FAILED: ${error.message}\n`)
  }
}
process.stdout.write(broken.length === 0 ? '\ncheck: all ok\n' : `\ncheck: FAILED: ${broken.join(', ')}\n`)
process.exitCode = broken.length === 0 ? 0 : 1

/** What an editor and `npm run docs` show of every public name: each has a comment, and every link in one leads somewhere. */
async function checkReference() {
  const { makeReference } = await import('./reference.mjs')
  const found = await makeReference({ isCheck: true })
  if (found > 0) throw new Error(`${found} gaps in the comments of public names`)
}

/**
 * The types of the addon that git keeps are those that its build has written: a change of the border is seen in the
 * diff.
 */
async function checkBorder() {
  const { builtTypes, keptTypes } = await import('./pack/addon.mjs')
  if (readFileSync(builtTypes, 'utf8') !== readFileSync(keptTypes, 'utf8')) {
    throw new Error('ts/native/binding.ts is not what src/lib.rs exports: npm run fix')
  }
}
