/** Whatever a door exports says what it is: in the declarations that the build has written, as an editor shows it. */

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('public names')

const DECLARATION = 'export (?:declare )?(?:abstract )?(?:class|interface|type|function|const|let)'

interface Exported {
  readonly name: string
  /** The file that declares it, or passes it on. */
  readonly path: string
}

const texts = new Map<string, string>()

function textOf(path: string): string {
  const text = texts.get(path) ?? readFileSync(path, 'utf8')
  texts.set(path, text)
  return text
}

function exportsOf(path: string): readonly Exported[] {
  const text = textOf(path)
  const passedOn = [...text.matchAll(/^export (?:type )?\{([^}]*)\} from '([^']*)';/gm)].flatMap(
    ([, names = '', from = '']) =>
      [...names.matchAll(/\b(?!type\b)\w+/g)].map(([name]) => {
        return { name, path: join(dirname(path), from.replace(/\.js$/, '.d.ts')) }
      }),
  )
  const own = [...text.matchAll(new RegExp(`^${DECLARATION} (\\w+)`, 'gm'))].map(([, name = '']) => ({ name, path }))
  return [...own, ...passedOn]
}

/** The declaration with what is right before it; of a function with several, the first. */
function declarationOf({ name, path }: Exported): { readonly isSaid: boolean } {
  const declared = new RegExp(`(\\*/\\n)?^${DECLARATION} ${name}\\b`, 'm').exec(textOf(path))
  if (declared !== null) return { isSaid: declared[1] !== undefined }
  const next = exportsOf(path).find((each) => each.name === name && each.path !== path)
  if (next === undefined) throw new Error(`${path} does not export ${name}`)
  return declarationOf(next)
}

const { exports: doors } = JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, string> }

const named = Object.entries(doors).map(([door, path]) => [`balsa-raft${door.slice(1)}`, path] as const)

for (const [door, path] of [...named, ['@balsa-raft/grpc', 'packages/grpc/dist/index.js'] as const]) {
  test(`every name of ${door} has a comment that says what it is`, () => {
    const names = exportsOf(path.replace(/\.js$/, '.d.ts'))
    assert.ok(names.length > 0)
    const silent = names.filter((exported) => !declarationOf(exported).isSaid).map(({ name }) => name)
    assert.equal(silent, [])
  })
}

test('every member of Raft has one, too', () => {
  const [, body = ''] = /^export declare class Raft<.*\{\n([\s\S]*?)^\}/m.exec(textOf('dist/raft.d.ts')) ?? []
  const lines = body.split('\n')
  const isMember = (line: string): boolean => /^ {4}(?:static |get )?[\w[][\w.\]]*[(<:]/.test(line)
  assert.ok(lines.filter(isMember).length > 25)
  const silent = lines.filter((line, at) => isMember(line) && lines[at - 1]?.endsWith('*/') !== true)
  assert.equal(silent, [])
})

test.run()
