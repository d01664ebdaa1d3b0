/** What is linked into an addon is named, with the notice that its licence asks for. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { testUnless } from './support/skip.js'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const notices = readFileSync(join(root, 'THIRD-PARTY-NOTICES.md'), 'utf8')

const test = suite('notices')

/** Where the addon came ready-made there may be no cargo, and without a network no crate of another platform. */
const fetched = spawnSync('cargo', ['metadata', '--locked', '--offline', '--format-version', '1'], { cwd: root })
const missing = fetched.status === 0 ? null : 'cargo fetch --locked has not been run here'

function check(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'balsa-notices-'))
  try {
    const file = join(folder, 'notices.md')
    writeFileSync(file, text)
    const { stdout, stderr } = spawnSync(process.execPath, ['scripts/pack/notices.mjs', '--check', file], {
      cwd: root,
      encoding: 'utf8',
    })
    return stdout + stderr
  } finally {
    rmSync(folder, { recursive: true })
  }
}

testUnless(test, missing, 'every crate that is linked has its notice, word by word, and no other has one', () => {
  assert.is(check(notices), '')
  assert.match(check(notices.replace('heed 0.23', 'heed 0.22')), /heed 0\.23\S+ is linked.*heed 0\.22\S+ has a notice/)
  assert.match(check(notices.replace('## slab', '## slap')), 'slab')
  assert.match(check(notices.replace('Martin Hedenfalk', 'Somebody')), 'a text is not the one')
})

test('LMDB, which is C and no crate of its own, has the licence that it asks for', () => {
  for (const text of ['The OpenLDAP Public License', 'Version 2.8', 'Howard Chu, Symas Corp.', 'Martin Hedenfalk']) {
    assert.ok(notices.includes(text), text)
  }
})

test.run()
