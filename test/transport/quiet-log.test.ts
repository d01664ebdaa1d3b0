/** What is new is said, and what is not is counted. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { QuietLog } from 'balsa-raft/transport'

function spied() {
  const lines: string[] = []
  const say = (level: string) => (event: string, fields?: Readonly<Record<string, unknown>>) => {
    if (level !== 'debug')
      lines.push(`${level} ${event} ${String(fields?.['reason'])} ${JSON.stringify(fields?.['times']) ?? ''}`)
  }
  const logger = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
  return { lines, quiet: new QuietLog(logger) }
}

test('two reasons that alternate are said once each, and again at each tenfold of a hundred', () => {
  const { lines, quiet } = spied()
  for (let n = 0; n < 1500; n++) for (const reason of ['a', 'b']) quiet.warn('refused', 's2', reason, {})
  assert.equal(lines, [
    ...['warn refused a ', 'warn refused b '],
    ...['warn refused a 100', 'warn refused b 100'],
    ...['warn refused a 1000', 'warn refused b 1000'],
  ])
})

test('other subjects and other events are news of their own, and so is what comes when all was well', () => {
  const { lines, quiet } = spied()
  quiet.warn('refused', 's2', 'a', {})
  quiet.warn('refused', 's3', 'a', {})
  quiet.error('broken', 's2', 'a', {})
  quiet.forget('refused', 's2')
  quiet.warn('refused', 's2', 'a', {})
  quiet.warn('refused', 's3', 'a', {})
  assert.equal(lines, ['warn refused a ', 'warn refused a ', 'error broken a ', 'warn refused a '])
})

test('however many reasons and subjects a stranger makes up, few are remembered', () => {
  const { lines, quiet } = spied()
  for (let n = 0; n < 1000; n++) quiet.warn('refused', 's2', `reason ${n}`, {})
  quiet.warn('refused', 's2', 'reason 0', {})
  assert.is(lines.length, 1001)
  quiet.warn('refused', 's2', 'reason 999', {})
  assert.is(lines.length, 1001)
  for (let n = 0; n < 300; n++) quiet.warn('refused', `x${n}`, 'a', {})
  quiet.warn('refused', 's2', 'reason 999', {})
  assert.is(lines.length, 1302)
})

test.run()
