/** The native store with a journal against the contract. Crashes are in crates/balsa-log/tests/journal.rs. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'

import { nativeStore } from '#balsa/storage/index.js'

import { logStoreConformance } from '#balsa/testing/index.js'

import { registerCases } from '../support/register-cases.js'

const factory = nativeStore({ mode: 'journal' })

const test = suite('the native store with a journal')

registerCases(
  test,
  logStoreConformance({
    create: (dir) => factory.create(dir),
    makeDir: () => mkdtemp(join(tmpdir(), 'balsa-journal-')),
    removeDir: (dir) => rm(dir, { recursive: true, force: true }),
    // Both need another process, or the engine's own tests.
    failNextWrite: null,
    crash: null,
  }),
)

test.run()
