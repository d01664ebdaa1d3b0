/**
 * What the documents point at is there: every relative link of a page, and every test that is linked by its title.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const PARITY = 'docs/coming-from-hashicorp-raft.md'

interface Link {
  readonly text: string
  /** From the root of the tree. */
  readonly path: string
}

test('every relative link of the documents resolves', () => {
  const pages = ['.', 'docs', 'docs/adr', 'packages/grpc'].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  )
  const lost = pages.flatMap((page) =>
    linksOf(page)
      .filter(({ path }) => !existsSync(join(ROOT, path)))
      .map(({ path }) => `${page}: ${path}`),
  )
  assert.equal(lost, [])
  assert.ok(pages.includes(PARITY))
})

test('a test that is linked by its title has that title', () => {
  const asserted = linksOf(PARITY).filter(({ path }) => path.endsWith('.test.ts'))
  const missing = asserted.filter(({ text, path }) => !readFileSync(join(ROOT, path), 'utf8').includes(text))
  assert.equal(missing, [])
  assert.ok(asserted.length > 0)
})

function linksOf(page: string): readonly Link[] {
  const links = readFileSync(join(ROOT, page), 'utf8').matchAll(/\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)/g)
  return [...links].map(([, text = '', target = '']) => ({ text, path: join(dirname(page), target) }))
}

test.run()
