/** The native store in worker threads: teardown never harms the process, and gives the directory back. */

import { once } from 'node:events'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Worker } from 'node:worker_threads'

import { inDirectory, MODES } from './lmdb-harness.js'

const test = suite('native store: worker threads')

const child = new URL('lmdb-child/cli.js', import.meta.url)

for (const { name, variables, withStore } of MODES) {
  const env = { ...process.env, ...variables }
  test(`a worker that is terminated with an open, busy store gives the directory back (${name})`, async () => {
    await inDirectory(async (dir) => {
      for (let round = 1; round <= 5; round += 1) {
        const worker = new Worker(child, { argv: ['append', dir, '0', '64'], stdout: true, env })
        await once(worker.stdout, 'data')
        await worker.terminate()
        await withStore(dir, async (_, state) => assert.is(state.bootCounter, 2 * round))
      }
    })
  })

  test(`a worker that is terminated while it opens a store gives the directory back (${name})`, async () => {
    await inDirectory(async (dir) => {
      const worker = new Worker(child, { argv: ['hold', dir], stdout: true, env })
      await once(worker, 'online')
      await worker.terminate()
      await withStore(dir, async (_, state) => assert.ok(state.bootCounter >= 1))
    })
  })

  test(`a worker that ends by itself after close leaves nothing behind (${name})`, async () => {
    await inDirectory(async (dir) => {
      const worker = new Worker(child, { argv: ['append', dir, '5'], stdout: true, env })
      worker.stdout.resume()
      const [code] = await once(worker, 'exit')
      assert.is(code, 0)
      await withStore(dir, async (_, state) => assert.is(state.lastIndex, 5))
    })
  })
}

test.run()
