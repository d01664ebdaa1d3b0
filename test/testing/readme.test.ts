/** The examples of the testing doors' README are code that runs as it stands, and print what they say. */

import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as testing from 'balsa-raft/testing'
import * as stage from 'balsa-raft/testing/stage'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('the README of balsa-raft/testing')

const text = readFileSync('ts/testing/README.md', 'utf8')
const examples = [...text.matchAll(/```js\n((?:(?!```)[\s\S])*)```\n\nIt prints:\n\n```text\n([\s\S]*?)```/g)]

test('its examples run and print what they say', () => {
  assert.is(examples.length, 2)
  for (const [, example = '', said = ''] of examples) {
    // Inside the package, so that `balsa-raft` means this one.
    const script = join(process.cwd(), 'build', `testing-example-${process.pid}.mjs`)
    try {
      writeFileSync(script, example)
      const printed = execFileSync(process.execPath, [script], { encoding: 'utf8', timeout: 30_000 })
      assert.is(printed.trimEnd(), said.trimEnd())
    } finally {
      rmSync(script, { force: true })
    }
  }
})

test('it names everything behind the doors', () => {
  for (const name of [...Object.keys(testing), ...Object.keys(stage)])
    assert.ok(text.includes(name), `${name} is not in it`)
})

test.run()
