/**
 * Checks a recorded history again: `node build/test/linearizability/cli.js history.jsonl [completedMin]`.
 * Exit code 0 only when it is linearizable.
 */

import { readFileSync } from 'node:fs'
import { checkHistory } from './check.js'
import { parseHistory } from './history.js'

const [path, completedMin] = process.argv.slice(2)
if (path === undefined) {
  console.error('usage: node build/test/linearizability/cli.js history.jsonl [completedMin]')
  process.exitCode = 2
} else {
  const verdict = checkHistory(parseHistory(readFileSync(path, 'utf8')), { completedMin: Number(completedMin ?? 1) })
  console.log(`${path}: ${verdict.kind}`)
  const { kind, ...details } = verdict
  console.log('explanation' in verdict ? verdict.explanation : JSON.stringify(details))
  process.exitCode = kind === 'linearizable' ? 0 : 1
}
