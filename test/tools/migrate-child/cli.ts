/** Migrates, and is killed when it has done a step: `cli.js <from> <to> <engine> <step>`. */

import { migrateInSteps } from '#balsa/tools/migrate.js'
import type { MigrateOptions } from '#balsa/tools/index.js'

const [from = '', to = '', engine, last] = process.argv.slice(2)

await migrateInSteps(from, to, { engine: engine as MigrateOptions['engine'] }, (step) => {
  if (step === last) process.kill(process.pid, 'SIGKILL')
})
