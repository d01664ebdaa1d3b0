/** The sample in the README is code that runs, prints what its comments say, compiles as TypeScript, and is short. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { freeAddresses } from '../../support/free-addresses.js'

const SAMPLE_LINES_MAX = 30

const [, sample = ''] = /```js\n([\s\S]*?)```/.exec(readFileSync('README.md', 'utf8')) ?? []

test('the sample of the README runs and prints what it says', async () => {
  const said = /console\.log\(.*\) \/\/ (.*)\n/.exec(sample)?.[1]
  assert.ok(
    sample.trimEnd().split('\n').length <= SAMPLE_LINES_MAX,
    `the sample is longer than ${SAMPLE_LINES_MAX} lines`,
  )
  const addresses = JSON.stringify(await freeAddresses(4))
  const address = '`127.0.0.1:${7600 + n}`'
  assert.ok(sample.includes(address), 'the sample names its addresses in another way than this test expects')
  // Inside the package, so that `balsa-raft` means this one; the data goes to a folder of its own.
  const script = join(process.cwd(), 'build', `readme-sample-${process.pid}.mjs`)
  const dir = mkdtempSync(join(tmpdir(), 'balsa-readme-'))
  try {
    writeFileSync(script, sample.replace(address, `${addresses}[n]`))
    assert.is(execFileSync(process.execPath, [script], { cwd: dir, encoding: 'utf8', timeout: 30_000 }).trim(), said)
  } finally {
    rmSync(script, { force: true })
    rmSync(dir, { recursive: true })
  }
})

const STRICT = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', '--noUnusedParameters']
const bare = sample.replace(/defineStateMachine\((\{[\s\S]*?\n {4}\})\)/, '$1').replace('defineStateMachine, ', '')
const [, counter = ''] = /```ts\n([\s\S]*?)```/.exec(readFileSync('docs/state-machines.md', 'utf8')) ?? []

for (const [what, text, strictness] of [
  ['it', sample, STRICT],
  ['it, where nothing is strict,', sample, ['--strict', 'false']],
  ['it without defineStateMachine', bare, STRICT],
  ['the sample of docs/state-machines.md', counter, STRICT],
] as const) {
  test(`${what} is TypeScript as it stands, with no cast`, () => {
    assert.ok(text.includes('balsa-raft'))
    assert.not.match(text, /\bas\b|\bany\b|@ts-/)
    assert.is(text.includes('defineStateMachine'), text !== bare)
    // Inside the package, so that `balsa-raft` means this one.
    const script = join(process.cwd(), 'build', `readme-sample-${process.pid}.mts`)
    const target = ['--noEmit', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', '--ignoreConfig']
    try {
      writeFileSync(script, text)
      const tsc = join(process.cwd(), 'node_modules/typescript/bin/tsc')
      const { stdout, status } = spawnSync(process.execPath, [tsc, ...target, ...strictness, script], {
        encoding: 'utf8',
      })
      assert.is(status, 0, stdout)
    } finally {
      rmSync(script, { force: true })
    }
  })
}

test.run()
