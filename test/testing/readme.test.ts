/** The example of the testing door's README is code that runs as it stands, and prints what it says. */

import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as testing from 'balsa-raft/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('the README of balsa-raft/testing')

const text = readFileSync('ts/testing/README.md', 'utf8')
const [, example = ''] = /```js\n([\s\S]*?)```/.exec(text) ?? []
const [, said = ''] = /```text\n([\s\S]*?)```/.exec(text) ?? []

test('its example runs and prints what it says', () => {
  // Inside the package, so that `balsa-raft` means this one.
  const script = join(process.cwd(), 'build', `testing-example-${process.pid}.mjs`)
  try {
    writeFileSync(script, example)
    const printed = execFileSync(process.execPath, [script], { encoding: 'utf8', timeout: 30_000 })
    assert.is(printed.trimEnd(), said.trimEnd())
  } finally {
    rmSync(script, { force: true })
  }
})

test('it names every function of the door', () => {
  for (const name of Object.keys(testing)) assert.ok(text.includes(name), `${name} is not in it`)
})

test.run()
