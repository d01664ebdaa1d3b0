/** The sample of the package's README is TypeScript as it stands, runs, and prints what it says. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { freeAddresses } from '../../support/free-addresses.js'

const [, sample = ''] = /```js\n([\s\S]*?)```/.exec(readFileSync('packages/grpc/README.md', 'utf8')) ?? []
const ADDRESS = '`127.0.0.1:${7600 + n}`'

/** Inside the tree, so that the packages it names mean those of the tree. */
function withScript(ending: 'mjs' | 'mts', text: string, use: (script: string) => void): void {
  const script = join(process.cwd(), 'build', `grpc-sample-${process.pid}.${ending}`)
  try {
    writeFileSync(script, text)
    use(script)
  } finally {
    rmSync(script, { force: true })
  }
}

test('the sample of the README of packages/grpc runs and prints what it says', async () => {
  const said = /console\.log\(.*\) \/\/ (.*)\n/.exec(sample)?.[1]
  assert.ok(sample.includes(ADDRESS), 'the sample names its addresses in another way than this test expects')
  const addresses = JSON.stringify(await freeAddresses(4))
  const cwd = mkdtempSync(join(tmpdir(), 'balsa-grpc-readme-'))
  try {
    withScript('mjs', sample.replace(ADDRESS, `${addresses}[n]`), (script) => {
      assert.is(execFileSync(process.execPath, [script], { cwd, encoding: 'utf8', timeout: 30_000 }).trim(), said)
    })
  } finally {
    rmSync(cwd, { recursive: true })
  }
})

test('it is TypeScript as it stands, with no cast', () => {
  assert.not.match(sample, /\bas\b|\bany\b|@ts-/)
  const strict = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', '--skipLibCheck']
  const target = ['--noEmit', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', '--ignoreConfig']
  withScript('mts', sample, (script) => {
    const tsc = join(process.cwd(), 'node_modules/typescript/bin/tsc')
    const { stdout, status } = spawnSync(process.execPath, [tsc, ...target, ...strict, script], { encoding: 'utf8' })
    assert.is(status, 0, stdout)
  })
})

test.run()
