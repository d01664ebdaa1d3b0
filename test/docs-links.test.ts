/**
 * What the pages point at is there: every relative link, picture and anchor, and every test that is linked by its
 * title. docs/README.md lists every page of docs.
 */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { pages, read, ROOT } from './support/doc-pages.js'
import type { Page } from './support/doc-pages.js'

const test = suite('links of the pages')

const PARITY = 'docs/coming-from-hashicorp-raft.md'
const INDEX = 'docs/README.md'

interface Link {
  readonly text: string
  /** From the root of the tree; that of the page itself where only an anchor is named. */
  readonly path: string
  readonly anchor: string | null
}

const all = pages()

test('every relative link and picture leads to a file', () => {
  const lost = all.flatMap((page) =>
    linksOf(page)
      .filter(({ path }) => !existsSync(join(ROOT, path)))
      .map(({ path }) => `${page.path}: ${path}`),
  )
  assert.equal(lost, [])
  for (const path of ['README.md', PARITY, INDEX, 'examples/README.md', 'ts/testing/README.md']) {
    assert.ok(
      all.some((page) => page.path === path),
      path,
    )
  }
})

test('every anchor is that of a heading', () => {
  const headings = new Map(all.map(({ path, text }) => [path, new Set(anchorsOf(text))]))
  const lost = all.flatMap((page) =>
    linksOf(page)
      .filter(({ path, anchor }) => anchor !== null && headings.get(path)?.has(anchor) !== true)
      .map(({ path, anchor }) => `${page.path}: ${path}#${anchor}`),
  )
  assert.equal(lost, [])
})

test('an anchor is made as the readers of Markdown make it', () => {
  const text = '# Two words\n## `apps/kv`, beside *one* thing: a-b\n## Two words\n```sh\n# no heading\n```\n'
  assert.equal(anchorsOf(text), ['two-words', 'appskv-beside-one-thing-a-b', 'two-words-1'])
})

test('a test that is linked by its title has that title', () => {
  const parity = all.filter(({ path }) => path === PARITY)
  const asserted = parity.flatMap(linksOf).filter(({ path }) => path.endsWith('.test.ts'))
  const missing = asserted.filter(({ text, path }) => !read(path).includes(text))
  assert.equal(missing, [])
  assert.ok(asserted.length > 0)
})

test('docs/README.md lists every page of docs, and the README leads to it', () => {
  const listed = new Set(
    all
      .filter(({ path }) => path === INDEX)
      .flatMap(linksOf)
      .map(({ path }) => path),
  )
  const own = all.map(({ path }) => path).filter((path) => /^docs\/[^/]+\.md$/.test(path) && path !== INDEX)
  assert.equal(
    own.filter((path) => !listed.has(path)),
    [],
  )
  assert.ok(
    all
      .filter(({ path }) => path === 'README.md')
      .flatMap(linksOf)
      .some(({ path }) => path === INDEX),
  )
})

test('what a person reads first leads from page to page', () => {
  const order = ['docs/first-service.md', 'docs/errors.md', 'docs/operations.md', 'docs/comparison.md']
  const [readme] = all.filter(({ path }) => path === 'README.md')
  assert.ok(readme)
  const places = order.map((path) => readme.text.indexOf(`**[${path}](${path})`) + readme.text.indexOf(`| [${path}](`))
  assert.ok(
    places.every((place) => place > 0),
    String(places),
  )
  assert.equal(
    places,
    places.toSorted((a, b) => a - b),
  )
})

function linksOf({ path, text }: Page): readonly Link[] {
  const links = withoutCode(text).matchAll(/\[([^\]]*)\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)
  return [...links].map(([, words = '', target = '', anchor]) => {
    const to = target === '' ? path : join(dirname(path), target).replace(/\/$/, '')
    return { text: words, path: to, anchor: anchor ?? null }
  })
}

/** Code that looks like a link is none; a link may well be named by code. */
function withoutCode(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*\[[^`\n]*`/g, '')
}

/** As GitHub makes them: lower case, no punctuation, a hyphen for each blank, a number for one that was there. */
function anchorsOf(text: string): readonly string[] {
  const seen = new Map<string, number>()
  const prose = text.replace(/^```[\s\S]*?^```/gm, '')
  return [...prose.matchAll(/^#{1,6} (.*)$/gm)].map(([, heading = '']) => {
    const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const anchor = words
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-')
    const times = seen.get(anchor) ?? 0
    seen.set(anchor, times + 1)
    return times === 0 ? anchor : `${anchor}-${times}`
  })
}

test.run()
