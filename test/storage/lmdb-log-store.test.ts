/** The native store against the contract. Its own promises are in the other lmdb-*.test.ts files. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'

import { nativeStore } from '#balsa/storage/index.js'

import { logStoreConformance } from '#balsa/testing/index.js'

import { registerCases } from '../support/register-cases.js'

const factory = nativeStore()

const test = suite('the native store')

registerCases(
  test,
  logStoreConformance({
    create: (dir) => factory.create(dir),
    makeDir: () => mkdtemp(join(tmpdir(), 'balsa-lmdb-')),
    removeDir: (dir) => rm(dir, { recursive: true, force: true }),
    // Both need another process: lmdb-crash.test.ts and lmdb-faults.test.ts have them.
    failNextWrite: null,
    crash: null,
  }),
)

test.run()
