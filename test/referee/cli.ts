/**
 * Judges a recorded trace again: `node build/test/referee/cli.js trace.jsonl`. Exit code 0 only when no rule is broken.
 */

import { readFileSync } from 'node:fs'
import { judgeTrace } from './referee.js'
import { parseTrace } from './trace-format.js'

const [path] = process.argv.slice(2)
if (path === undefined) {
  console.error('usage: node build/test/referee/cli.js trace.jsonl')
  process.exitCode = 2
} else {
  const { violations, counts } = judgeTrace(parseTrace(readFileSync(path, 'utf8')))
  console.log([...counts].map(([kind, count]) => `${kind} ${count}`).join(', '))
  for (const { line, rule, place, detail } of violations) console.log(`${path}:${line}: ${rule} (${place}): ${detail}`)
  process.exitCode = violations.length === 0 ? 0 : 1
}
