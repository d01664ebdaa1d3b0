/**
 * What comes with `balsa-raft/client`: nothing of stores, and no addon. A process that only asks must run where no
 * addon loads, and carry nothing that it does not use.
 */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import * as door from 'balsa-raft/client'
import { importsOf } from '../support/source-text.js'

/** Every file that is loaded with one, by the imports of what was compiled: types have gone. */
function loadedWith(path: string): { readonly files: readonly string[]; readonly packages: readonly string[] } {
  const files = new Set([path])
  const packages = new Set<string>()
  for (const file of files) {
    for (const specifier of importsOf(readFileSync(file, 'utf8'))) {
      if (specifier.startsWith('.')) files.add(join(dirname(file), specifier))
      else packages.add(specifier)
    }
  }
  for (const file of files) assert.ok(existsSync(file), file)
  return { files: [...files].map((file) => relative('dist', file)), packages: [...packages] }
}

const test = suite('the door of clients')

test('nothing of stores, snapshots on disk, the addon or a server is loaded by it', () => {
  const { files, packages } = loadedWith('dist/client/index.js')
  const rooms =
    /^(storage|native|snapshot|disk|tools|testing|core\/(?!message-check)|raft\.js|options\.js|server\/(server|open))/
  assert.equal(
    files.filter((file) => rooms.test(file)),
    [],
  )
  assert.ok(files.includes('transport/tcp/connection.js'), 'what is loaded is found')
  assert.equal(packages.filter((name) => !name.startsWith('node:')).sort(), ['msgpackr', 'msgpackr/pack'])
  assert.not.ok(packages.includes('node:fs'), 'it touches no file')
})

test('the same look finds the addon behind the door of servers', () => {
  assert.ok(loadedWith('dist/index.js').files.some((file) => file.startsWith('native/')))
})

test('what is behind the door stays there', () => {
  assert.equal(Object.keys(door).sort(), ['RaftClient', 'RaftError', 'httpStatusOf', 'msgpackCodec'])
})

test.run()
