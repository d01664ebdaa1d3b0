/** The examples are short, and their README says how short. */

import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { withoutComments } from '../support/source-text.js'

const NAMES = ['lock-service', 'job-queue', 'configuration-store'] as const
const OWN_MAX = 60

/** A line that calls the library, or gives it something. */
const CALL = /\braft\.|\bsend\(|\bRaftError\b|\bdefineStateMachine\(|\bmsgpackCodec</

const services = NAMES.map((name) => codeOf(`examples/${name}/service.ts`))
/** What all three services have is about none of them. */
const isFrame = (line: string): boolean => services.every((lines) => lines.includes(line))

function codeOf(path: string): readonly string[] {
  const code = withoutComments(readFileSync(path, 'utf8'))
  const types = /^(?:export )?(?:interface \w+ \{[\s\S]*?^\}|type [\s\S]*?(?=\n\n))/gm
  return code
    .replace(types, '')
    .replace(/^import .*$/gm, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
}

test('each example has less than 60 lines of its own beside calls of the library, as its README says', () => {
  const rows = NAMES.map((name, at) => {
    const service = services[at] ?? []
    const own = [...codeOf(`examples/${name}/machine.ts`), ...service.filter((line) => !isFrame(line))]
    const calls = own.filter((line) => CALL.test(line)).length
    return { own: own.length, calls, frame: service.filter(isFrame).length }
  })
  for (const { own, calls } of rows) assert.ok(own - calls < OWN_MAX, `${own} lines, ${calls} of them calls`)
  const table = readFileSync('examples/README.md', 'utf8')
  const told = [...table.matchAll(/^\|[^|]*\| (\d+) \| (\d+) \| (\d+) \|$/gm)].map((row) => row.slice(1).map(Number))
  assert.equal(told, [rows.map(({ own }) => own), rows.map(({ calls }) => calls), rows.map(({ frame }) => frame)])
})

test('no example looks for the leader, forwards, tries again or keeps a table of requests', () => {
  for (const [at, service] of services.entries()) {
    const code = [...service, ...codeOf(`examples/${NAMES[at] ?? ''}/machine.ts`)].join('\n')
    assert.not.match(
      code,
      /leader|forward|retry|setTimeout|setInterval|fetch|transferLeadership|\.health\b|\.status\b/i,
    )
  }
})

test.run()
