/**
 * The planted bugs stay in step with the sources: each patch still applies to them, exactly, and says what it is about.
 * Whether the simulator finds them is `npm run sim:planted`, which takes minutes.
 */

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const FEWEST = 20

function planted(cwd: string, ...options: string[]): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/planted.mjs', ...options], {
    cwd,
    encoding: 'utf8',
  })
  return { status, output: stdout + stderr }
}

function patches(): readonly string[] {
  return readdirSync(join(root, 'test/planted')).filter((file) => file.endsWith('.patch'))
}

/** A copy of what the patches are checked with, in which something may be changed. */
function withCopy(run: (copy: string) => void): void {
  const copy = mkdtempSync(join(tmpdir(), 'balsa-planted-test-'))
  try {
    for (const name of ['ts', 'apps/kv/src', 'scripts', 'test', 'package.json']) {
      cpSync(join(root, name), join(copy, name), { recursive: true })
    }
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    run(copy)
  } finally {
    rmSync(copy, { recursive: true })
  }
}

const bugs = suite('the planted bugs')

bugs('still apply to the sources, all of them', () => {
  const { status, output } = planted(root, '--check')
  assert.is(status, 0, output)
  const count = patches().length
  assert.match(output, `sim:planted: ${count} of ${count} patches apply`)
  assert.ok(count >= FEWEST, `${count} patches`)
})

bugs('stand in the table of their folder, and nothing else does', () => {
  const table = readFileSync(join(root, 'test/planted/README.md'), 'utf8')
  const named = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => `${name}.patch`)
  assert.equal(named.toSorted(), patches().toSorted())
})

bugs('are red by name when the sources have moved on, or when the head does not say what is broken', () => {
  withCopy((copy) => {
    const file = join(copy, 'ts/core/voter.ts')
    const moved = readFileSync(file, 'utf8').replace(
      'const granted = current && free',
      'const granted = free && current',
    )
    writeFileSync(file, moved)
    const { status, output } = planted(copy, '--check')
    assert.is(status, 1, output)
    assert.match(output, /RED {2}5\.2-[a-z-]+: it does not apply any more/)
    for (const [head, complaint] of [
      ['', 'its head has no line "Scenario'],
      ['Scenario: E1\n', 'its head needs one line "Expected: 7, 10"'],
      ['Scenario: E1\nExpected: 7, 99\n', 'there is no invariant 99'],
      ['Scenario: E1\nWorlds: etcd\nExpected: 7\n', 'there are no worlds of etcd'],
    ] as const) {
      writeFileSync(join(copy, 'test/planted/E1-nameless.patch'), `${head}diff --git a/ts/x.ts b/ts/x.ts\n`)
      const headless = planted(copy, '--check')
      assert.is(headless.status, 2)
      assert.ok(headless.output.includes(`E1-nameless.patch: ${complaint}`), headless.output)
    }
  })
})

bugs('are chosen with options within bounds, or not at all', () => {
  for (const [options, complaint] of [
    [['--seeds', '0'], '--seeds is 0'],
    [['--jobs', 'two'], '--jobs is two'],
    [['--from', '4294967295'], '--from is 4294967295'],
    [['Z9'], 'no planted bug begins with Z9'],
    [['--tries', '3'], "'--tries'"],
  ] as const) {
    const { status, output } = planted(root, ...options)
    assert.is(status, 2, options.join(' '))
    assert.ok(output.includes(complaint), output)
  }
})

bugs.run()
