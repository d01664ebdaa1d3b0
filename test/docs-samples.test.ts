/** Each sample of JavaScript or TypeScript in the pages can be read by a compiler, and imports what there is. */

import { transformSync } from 'esbuild'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { pages, read } from './support/doc-pages.js'

const test = suite('samples in the pages')

interface Sample {
  readonly path: string
  readonly code: string
}

const samples: readonly Sample[] = pages()
  .filter(({ path }) => path !== 'CHANGELOG.md' && !path.startsWith('docs/adr/'))
  .flatMap(({ path, text }) =>
    [...text.matchAll(/^```(?:js|ts|mjs)\n([\s\S]*?)^```/gm)].map(([, code = '']) => ({ path, code })),
  )

/** What is left out stands as three dots: in braces, or as the last thing of a list. */
const filledIn = (code: string): string => code.replace(/\{ \.\.\. \}/g, '{}').replace(/, \.\.\.(?= ?[\])}])/g, '')

test('each of them can be read', () => {
  assert.ok(samples.length > 15, `${samples.length} samples`)
  for (const { path, code } of samples) {
    try {
      transformSync(filledIn(code), { loader: 'ts', format: 'esm', logLevel: 'silent' })
    } catch (error) {
      assert.unreachable(`${path}: ${String(error)}\n${code}`)
    }
  }
})

test('what they import is exported where they import it from', () => {
  const { exports: doors } = JSON.parse(read('package.json')) as { exports: Record<string, string> }
  const imports = samples.flatMap(({ path, code }) =>
    [...code.matchAll(/import (?:type )?\{([^}]*)\} from 'balsa-raft([^']*)'/g)].flatMap(([, names = '', door = '']) =>
      [...names.matchAll(/\b(?!type\b)(\w+)\b/g)].map(([name]) => ({ path, name, door })),
    ),
  )
  assert.ok(imports.length > 20, `${imports.length} imports`)
  for (const { path, name, door } of imports) {
    const target = doors[`.${door}`]
    assert.ok(target, `${path}: there is no balsa-raft${door}`)
    const declarations = read(target.replace(/\.js$/, '.d.ts'))
    assert.match(declarations, new RegExp(`\\b${name}\\b`), `${path}: balsa-raft${door} exports no ${name}`)
  }
})

test.run()
