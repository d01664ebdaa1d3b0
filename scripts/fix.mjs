/**
 * `npm run fix`: formats everything, repairs what the linter can repair by itself, and copies the types of the addon.
 */

import { copyFileSync } from 'node:fs'
import { ensureBuilt, run } from './ensure-built.mjs'

const node = process.execPath
try {
  await ensureBuilt()
} catch (error) {
  process.stderr.write(`balsa: ${error.message}; going on with what can be fixed\n`)
}
const { builtTypes, isUpToDate, keptTypes } = await import('./pack/addon.mjs')
if (isUpToDate(builtTypes)) copyFileSync(builtTypes, keptTypes)
try {
  await run(node, ['node_modules/oxlint/bin/oxlint', '--type-aware', '--fix'], 'oxlint found what it cannot repair')
} catch (error) {
  process.stderr.write(`balsa: ${error.message}\n`)
  process.exitCode = 1
}
await run(node, ['node_modules/prettier/bin/prettier.cjs', '--write', '--log-level', 'warn', '.'], 'prettier failed')
await run('cargo', ['fmt', '--all'], 'cargo fmt failed')
