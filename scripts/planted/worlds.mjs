/**
 * One process of `npm run sim:planted`: runs the worlds of the given seeds on a compiled copy, until one fails, and
 * reports each of them. Arguments: the copy's folder, `raft` or `kv` (whose worlds), and the seeds.
 */

import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, whose, ...seeds] = process.argv.slice(2)
const load = (path) => import(pathToFileURL(join(folder, path)).href)
const run =
  whose === 'kv'
    ? (await load('build/test/kv/worlds/kv-world.js')).runKvWorld
    : (await load('dist/testing/simulator/simulate.js')).simulate
for (const seed of seeds.flatMap(seedsOf)) {
  const { failure } = await run({ seed })
  process.send({ seed, failure: failure === null ? null : told(failure) })
  // What has no number is no finding: the bug must be seen by an invariant.
  if (failure !== null && told(failure).invariant !== null) break
}
process.disconnect()

/** `7` or `1..2000`. */
function seedsOf(text) {
  const [first, last = first] = text.split('..').map(Number)
  return Array.from({ length: last - first + 1 }, (_, at) => first + at)
}

/**
 * What an invariant says has a number; an assertion of the library counts as invariant 0, what the judge of kv's clients
 * says as `judge`; anything else is no finding.
 */
function told(failure) {
  const { name, message, invariant, stack } = failure.cause ?? failure
  const [line] = message.split('\n', 1)
  if (name === 'Violation') return { invariant: String(invariant), message: line }
  if (name === 'AssertionFailure') return { invariant: '0', message: line }
  if (name === 'Complaint') return { invariant: 'judge', message: line }
  return { invariant: null, message: stack ?? message }
}
