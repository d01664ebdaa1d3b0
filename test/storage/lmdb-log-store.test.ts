/** The native store against the contract, in both modes. Its own promises are in the other lmdb-*.test.ts files. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'

import { nativeStore } from '#balsa/storage/index.js'

import { logStoreConformance } from '#balsa/testing/index.js'

import { registerCases } from '../support/register-cases.js'

const test = suite('the native store')
const journalTest = suite('the native store with a journal')

registerCases(test, contractOf('lmdb'))
registerCases(journalTest, contractOf('journal'))

function contractOf(mode: 'lmdb' | 'journal'): ReturnType<typeof logStoreConformance> {
  const factory = nativeStore({ mode })
  return logStoreConformance({
    create: (dir) => factory.create(dir),
    makeDir: () => mkdtemp(join(tmpdir(), `balsa-${mode}-`)),
    removeDir: (dir) => rm(dir, { recursive: true, force: true }),
    // Both need another process: lmdb-crash.test.ts and lmdb-faults.test.ts have them, for both modes.
    failNextWrite: null,
    crash: null,
  })
}

test.run()
journalTest.run()
