/**
 * The packages as they are laid out to be published: what a registry shows of them, the licences, and documents whose
 * links resolve where most of the tree is not. `npm run pack:check` tries the same of what is packed, and all the rest.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const PLACE = 'https://example.org/balsa/balsa'

interface Beside {
  readonly files?: ReadonlySet<string>
  readonly packed?: ReadonlySet<string>
  readonly tree: ReadonlyMap<string, 'file' | 'folder'>
  readonly repository: string
  readonly version: string
}

/** `scripts/pack/links.mjs`. */
interface Links {
  packedText(path: string, text: string, beside: Beside): string
  lostLinks(documents: ReadonlyMap<string, string>, beside: Beside): readonly string[]
  treeOf(paths: readonly string[]): ReadonlyMap<string, 'file' | 'folder'>
}

const links = (await import(pathToFileURL(join(root, 'scripts/pack/links.mjs')).href)) as Links

const test = suite('packages')

function stage(...args: readonly string[]): { readonly status: number | null; readonly stderr: string } {
  return spawnSync(process.execPath, ['scripts/stage.mjs', ...args], { cwd: root, encoding: 'utf8' })
}

function readJson(path: string): Readonly<Record<string, unknown>> {
  return JSON.parse(readFileSync(path, 'utf8')) as Readonly<Record<string, unknown>>
}

test('every package says what it is, where it comes from and under which licences, and no link of its documents is lost', () => {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-packages-'))
  const folder = join(dir, 'packages')
  try {
    const { status, stderr } = stage(folder, '--repository', PLACE)
    assert.is(status, 0, stderr)
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((path) => path.replaceAll(sep, '/'))
    const others = readdirSync(join(folder, 'npm'))
    assert.ok(others.length > 0)
    for (const each of ['.', ...others.map((name) => `npm/${name}`)]) {
      const manifest = readJson(join(folder, each, 'package.json'))
      assert.equal(manifest['repository'], { type: 'git', url: `git+${PLACE}.git` }, each)
      assert.is(manifest['homepage'], `${PLACE}#readme`, each)
      assert.equal(manifest['bugs'], { url: `${PLACE}/issues` }, each)
      assert.ok((manifest['keywords'] as readonly string[]).includes('raft'), each)
      assert.ok(existsSync(join(folder, each, 'LICENSE')), each)
    }
    for (const name of others) {
      assert.ok(
        (readJson(join(folder, 'npm', name, 'package.json'))['files'] as string[]).includes('THIRD-PARTY-NOTICES.md'),
      )
      assert.match(
        readFileSync(join(folder, 'npm', name, 'THIRD-PARTY-NOTICES.md'), 'utf8'),
        'The OpenLDAP Public License',
      )
    }
    const pages = files.filter((path) => path.endsWith('.md') && !path.startsWith('npm/'))
    const documents = new Map(pages.map((path) => [path, readFileSync(join(folder, path), 'utf8')]))
    const listed = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
      cwd: root,
      encoding: 'utf8',
    })
    const tree = links.treeOf(listed.stdout.split('\0'))
    const version = String(readJson(join(root, 'package.json'))['version'])
    assert.ok(documents.has('README.md') && documents.has('docs/errors.md'))
    assert.equal(links.lostLinks(documents, { files: new Set(files), tree, repository: PLACE, version }), [])
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('packages that come from nowhere, or from what is no address, are not laid out', () => {
  const folder = join(tmpdir(), `balsa-packages-never-${process.pid}`)
  const named = readJson(join(root, 'package.json'))['repository']
  if (named === undefined) assert.match(stage(folder).stderr, 'name it with --repository https://')
  assert.match(stage(folder, '--repository', 'nowhere').stderr, 'the repository nowhere is no https address')
  assert.not.ok(existsSync(folder))
})

test('a link to what is packed stays, one to another file becomes its address at that version, one to nothing is refused', () => {
  const beside = {
    packed: new Set(['README.md', 'docs/a.md']),
    files: new Set(['README.md', 'docs/a.md']),
    tree: links.treeOf(['README.md', 'docs/a.md', 'examples/queue/service.ts']),
    repository: PLACE,
    version: '1.2.3',
  }
  const packed = (text: string): string => links.packedText('docs/a.md', text, beside)
  assert.is(
    packed('[a](../README.md#top) [b](#a) [c](https://example.com/x)'),
    '[a](../README.md#top) [b](#a) [c](https://example.com/x)',
  )
  assert.is(packed('[q](../examples/queue/service.ts#L1)'), `[q](${PLACE}/blob/v1.2.3/examples/queue/service.ts#L1)`)
  assert.is(packed('[q](../examples/queue/)'), `[q](${PLACE}/tree/v1.2.3/examples/queue)`)
  assert.is(packed('<img src="../README.md"> `[x](gone.md)`'), '<img src="../README.md"> `[x](gone.md)`')
  assert.throws(() => packed('[x](gone.md)'), /docs\/a\.md links to gone\.md/)
  const lost = (text: string): readonly string[] =>
    links.lostLinks(
      new Map([
        ['docs/a.md', text],
        ['README.md', '# Top of it\n'],
      ]),
      beside,
    )
  assert.equal(lost(`[a](../README.md#top-of-it) [q](${PLACE}/blob/v1.2.3/examples/queue/service.ts)`), [])
  assert.equal(lost('[a](../README.md#bottom)'), ['docs/a.md: ../README.md#bottom has no heading #bottom'])
  assert.equal(lost('[a](gone.md)'), ['docs/a.md: gone.md is not in the package'])
  assert.equal(lost(`[a](${PLACE}/blob/v1.2.2/README.md)`).length, 1)
  assert.equal(lost(`[a](${PLACE}/blob/v1.2.3/gone.ts)`).length, 1)
})

test.run()
