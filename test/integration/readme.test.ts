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

for (const [how, text, strictness] of [
  ['as strict as can be', sample, STRICT],
  ['as lax as can be', sample, ['--strict', 'false']],
  ['as strict as can be, without defineStateMachine', bare, STRICT],
] as const) {
  test(`it is TypeScript as well, with no cast, ${how}`, () => {
    assert.not.match(text, /\bas\b|any|@ts-/)
    assert.is(text.includes('defineStateMachine'), text === sample)
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
