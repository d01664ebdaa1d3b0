/**
 * `npm start`: makes sure that everything is built, and starts a cluster on this machine. `npm start -- --help` says
 * how.
 */

import { ensureBuilt } from './ensure-built.mjs'

try {
  await ensureBuilt()
  const { launch } = await import('../apps/kv/dist/launcher/launch.js')
  process.exitCode = await launch(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`npm start: ${error.message}\n`)
  process.exitCode = 1
}
