/**
 * `npm run pack:check`: are the packages what a stranger can use? Brings the clone up to date, then makes and tries
 * them (pack/check.mjs, which needs what is installed here first). `-- --here` leaves the other platforms out; `-- --only
 * <platform or part>` (may be repeated) builds none but the platforms that are named, and does none but the parts that
 * are: contents, nodes, platforms, runtimes; `-- --all-tests` runs all tests under each Node, not only those of store and
 * server.
 */

import { ensureBuilt } from './ensure-built.mjs'

try {
  await ensureBuilt()
  const { checkPackages } = await import('./pack/check.mjs')
  process.exitCode = (await checkPackages(process.argv.slice(2))) ? 0 : 1
} catch (error) {
  process.stderr.write(`pack:check: ${error.message}\n`)
  process.exitCode = 1
}
