/** `npm run examples`: each example is run, disturbed, and judged; one line for each. Exits with 1 when one fails. */

import { carryOut } from './check.js'
import { jobCheck } from './jobs.js'
import { lockCheck } from './locks.js'
import { settingCheck } from './settings.js'

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

for (const carry of [() => carryOut(lockCheck), () => carryOut(jobCheck), () => carryOut(settingCheck)]) {
  try {
    console.log(await carry())
  } catch (error) {
    console.log(String(error))
    process.exitCode = 1
  }
}
