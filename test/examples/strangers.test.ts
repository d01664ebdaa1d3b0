/**
 * What `npm run examples` looks at can be broken: where the three servers of a service know nothing of each other, each
 * for itself does all that it should, and the promise of the service is not kept.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { faultUnder } from '../../examples/check/check.js'
import type { Check } from '../../examples/check/check.js'
import { Cluster } from '../../examples/check/cluster.js'
import { jobCheck } from '../../examples/check/jobs.js'
import { lockCheck } from '../../examples/check/locks.js'
import { Run } from '../../examples/check/run.js'
import { settingCheck } from '../../examples/check/settings.js'

const test = suite('strangers')

test('locks that are kept by strangers are held twice, and the check says so', async () => {
  assert.match(await faultAmongStrangers(lockCheck, 100), /was given what|came after/)
})

test('jobs that are kept by strangers are handed out twice, and the check says so', async () => {
  assert.match(await faultAmongStrangers(jobCheck, 100), /was finished 2 times|was given what/)
})

test('settings that are kept by strangers are told differently to watchers, and the check says so', async () => {
  assert.match(await faultAmongStrangers(settingCheck, 20), /was told something else/)
})

async function faultAmongStrangers<History>(check: Check<History>, acknowledged: number): Promise<string> {
  const cluster = await Cluster.start(check.service, true)
  try {
    const run = new Run(cluster.urls)
    return (await faultUnder(check, run, run.tally.more(acknowledged))) ?? 'nothing was noticed'
  } finally {
    await cluster.close()
  }
}

test.run()
