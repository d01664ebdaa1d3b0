/**
 * One process of `npm run sim:planted`: runs the worlds of the given seeds on a compiled copy of the library, until one
 * fails, and reports each of them. Arguments: the copy's folder, and the seeds.
 */

import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, ...seeds] = process.argv.slice(2)
const { simulate } = await import(pathToFileURL(join(folder, 'dist/testing/simulator/simulate.js')).href)
for (const seed of seeds.flatMap(seedsOf)) {
  const { failure } = await simulate({ seed })
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
 * What an invariant says has a number; an assertion of the library counts as invariant 0; anything else is no finding.
 */
function told({ name, message, invariant, stack }) {
  if (name === 'Violation') return { invariant, message }
  if (name === 'AssertionFailure') return { invariant: 0, message }
  return { invariant: null, message: stack ?? message }
}
