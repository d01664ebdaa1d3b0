/**
 * File stores and real processes: killed ones lose nothing that was reported, live ones keep others out, worker threads
 * give back.
 */

import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Worker } from 'node:worker_threads'

import { segmentNumber } from '#balsa/storage/file/segments.js'
import { fileStore } from '#balsa/storage/index.js'
import type { LogStore, StoredState } from '#balsa/storage/index.js'

import { refusal } from '../support/failure.js'
import { testUnless } from '../support/skip.js'
import { killDuringAppends } from './kill-during-appends.js'
import { Child, inDirectory, STRACE, straceFault, withStore } from './lmdb-harness.js'
import { KEPT, smallSegments } from './small-segments.js'

const test = suite('file store: processes')

const VARIABLES = { BALSA_TEST_STORE: 'file' }
const isLinux = process.platform === 'linux' ? null : 'the lock is another one here'

test('kill -9 during appends loses nothing that was reported durable, in round after round', async () => {
  await inDirectory((dir) => killDuringAppends(dir, { child: fileChild, withStore: withFileStore }))
})

test('D8 kill -9 while segments are begun and removed loses nothing that was reported, and the files stay few', async () => {
  await inDirectory(async (dir) => {
    await killDuringAppends(dir, {
      child: (args) => new Child(args, [], { BALSA_TEST_STORE: 'segments' }),
      withStore: (place, look) => withStore(place, look, smallSegments),
      mode: 'compact',
      firstOf: (lastIndex) => Math.max(1, lastIndex + 1 - KEPT),
    })
    const numbers = (await readdir(dir)).map(segmentNumber).filter((number) => number !== null)
    assert.ok(numbers.length <= 3, `segments ${numbers.join(', ')}`)
    assert.ok(Math.min(...numbers) > 3, `segments ${numbers.join(', ')}`)
  })
})

test('D9 a process that holds the directory is named to the second one, and a killed one frees it', async () => {
  await whileHeld({}, async (dir, holder) => {
    const error = await refusal(withFileStore(dir, ignore), 'ERR_RAFT_DIR_LOCKED')
    assert.match(error.message, new RegExp(`process ${holder.process.pid} on .* since \\d{4}-`))
  })
})

testUnless(
  test,
  isLinux ?? failureOf('unshare', ['-n', 'flock', '--version']),
  'a process of another network namespace is kept out by flock',
  async () => {
    await whileHeld({ wrapper: ['unshare', '-n'] }, async (dir) => {
      const error = await refusal(withFileStore(dir, ignore), 'ERR_RAFT_DIR_LOCKED')
      assert.match(error.message, /process \d+ on /)
    })
  },
)

testUnless(
  test,
  isLinux ?? failureOf('flock', ['--version']),
  'without the program flock a second process is kept out all the same, and a warning says what is not',
  async () => {
    await whileHeld({ variables: { PATH: '' } }, async (dir, holder) => {
      assert.match(holder.lines[0]?.warning ?? '', 'flock')
      await refusal(withFileStore(dir, ignore), 'ERR_RAFT_DIR_LOCKED')
    })
  },
)

test('a process ends by itself after close', async () => {
  await inDirectory(async (dir) => {
    const child = fileChild(['append', dir, '3'])
    assert.is(await child.end(), '0')
    assert.is(child.durable, 3)
  })
})

testUnless(
  test,
  straceFault(),
  'EIO of the system poisons the store of a real process, and what was reported is there',
  async () => {
    for (const [call, nth] of [
      ['fdatasync', '9'],
      ['pwrite64', '14'],
    ] as const) {
      await inDirectory(async (dir) => {
        await withFileStore(dir, ignore)
        const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:error=EIO:when=${nth}`]
        const child = fileChild(['append', dir, '100', '1'], [...STRACE, ...inject])
        const said = await child.line('poisoned', (line) => line.poisoned !== undefined)
        assert.equal([said.poisoned, said.outcome], ['ERR_RAFT_STORE_POISONED', 'unknown'])
        assert.match(said.message ?? '', 'EIO')
        assert.is(said.refused, 'ERR_RAFT_STORE_POISONED')
        assert.is(await child.end(), '0')
        const { durable } = child
        assert.ok(durable >= 1 && durable < 100, `${durable} entries were durable`)
        await withFileStore(dir, async (_, state) => {
          assert.ok(state.lastIndex >= durable && state.lastIndex <= durable + 1, `${state.lastIndex}, not ${durable}`)
        })
      })
    }
  },
)

test('a worker that is terminated with an open, busy store gives the directory back', async () => {
  await inDirectory(async (dir) => {
    for (let round = 1; round <= 3; round += 1) {
      const url = new URL('lmdb-child/cli.js', import.meta.url)
      const env = { ...process.env, ...VARIABLES }
      const worker = new Worker(url, { argv: ['append', dir, '0', '64'], stdout: true, env })
      await once(worker.stdout, 'data')
      await worker.terminate()
      await withFileStore(dir, async (_, state) => assert.is(state.bootCounter, 2 * round))
    }
  })
})

function fileChild(args: readonly string[], wrapper: readonly string[] = [], more: NodeJS.ProcessEnv = {}): Child {
  return new Child(args, wrapper, { ...VARIABLES, ...more })
}

interface Held {
  readonly wrapper?: readonly string[]
  readonly variables?: NodeJS.ProcessEnv
}

/** While another process has the store open; then that one is killed, and the directory is free again. */
async function whileHeld(
  { wrapper = [], variables = {} }: Held,
  use: (dir: string, holder: Child) => Promise<void>,
): Promise<void> {
  await inDirectory(async (dir) => {
    const holder = fileChild(['hold', dir], wrapper, variables)
    try {
      await holder.line('the store is open', (line) => line.opened !== undefined)
      await use(dir, holder)
    } finally {
      holder.process.kill('SIGKILL')
      await holder.end()
    }
    await withFileStore(dir, async (_, state) => {
      assert.is(state.bootCounter, 2)
      assert.not.match(state.warning ?? '', 'flock')
    })
  })
}

function withFileStore<T>(dir: string, look: (store: LogStore, state: StoredState) => Promise<T>): Promise<T> {
  return withStore(dir, look, fileStore())
}

async function ignore(): Promise<void> {}

/** Why this command does not run here; null when it does. */
function failureOf(command: string, args: readonly string[]): string | null {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  return status === 0 ? null : `${command} does not run here: ${error?.message ?? stderr.trim()}`
}

test.run()
