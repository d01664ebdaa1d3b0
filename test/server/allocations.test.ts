/**
 * What a command takes from the heap, counted in a process of its own and the same in every run to within a byte or
 * two: an upper bound, so that whoever adds an allocation per command sees it here. Heap only: payloads lie outside of
 * it. Where less is allocated than the bounds allow, lower them.
 */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const run = promisify(execFile)

const HEAP = ['--expose-gc', '--no-opt', '--min-semi-space-size=256', '--max-semi-space-size=256']
const CHILD_MS_MAX = 60_000
const COMMANDS = 256
const ROUNDS = 40

/**
 * Bytes per command. Seen on Node 20: 3187 to 3190, 1266, 4803 to 4805, 2877 to 2879 (with the coverage of V8
 * on, up to 40 more); Node 22 is just below, Node 24 further.
 * Of a list, 48 are the place to which a command is copied while it waits, and 8 on each server a result in an array
 * that no user can change; an answer of a follower says where its log ends, which takes 16 more.
 */
const BOUNDS = [
  { servers: 1, one: 3260, list: 1300 },
  { servers: 3, one: 4860, list: 2950 },
]

interface Counted {
  readonly one: number
  readonly list: number
  readonly collections: number
}

const test = suite('the allocations of a command')

for (const { servers, one, list } of BOUNDS) {
  test(`with ${servers} servers a command allocates less than ${one} bytes, in a list less than ${list}`, async () => {
    const counted = await countedWith(servers)
    assert.is(counted.collections, 0, 'something was collected in the meantime: the figures mean nothing')
    assert.ok(counted.one > 100 && counted.list > 100, `nothing was counted: ${JSON.stringify(counted)}`)
    assert.ok(counted.one < one, `${counted.one.toFixed(1)} bytes of heap for a command, the bound is ${one}`)
    assert.ok(counted.list < list, `${counted.list.toFixed(1)} bytes for a command in a list, the bound is ${list}`)
  })
}

async function countedWith(servers: number): Promise<Counted> {
  const script = fileURLToPath(new URL('allocations/cli.js', import.meta.url))
  const words = [...HEAP, script, `${servers}`, `${COMMANDS}`, `${ROUNDS}`]
  const { stdout } = await run(process.execPath, words, { timeout: CHILD_MS_MAX })
  return JSON.parse(stdout) as Counted
}

test.run()
