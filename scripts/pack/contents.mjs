/**
 * What is in the packages, read from what is packed: no file that does not belong there, sizes within their bounds, what
 * a registry shows of them, the licences, and documents whose links resolve.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join, sep } from 'node:path'
import { root } from '../ensure-built.mjs'
import { placeOf, trackedFiles } from '../stage.mjs'
import { lostLinks, treeOf } from './links.mjs'
import { NOTICES } from './notices.mjs'
import { expect } from './steps.mjs'

/** Of these 840,000 bytes were used: 190 thousand for documents, the rest for code that keeps its comments. */
const ROOT_BYTES_MAX = 1_000_000
const FILES_OF_ROOT =
  /^(?:package\.json|LICENSE|(?:README|CHANGELOG|SECURITY)\.md|docs\/[^/]+\.(?:md|svg|png)|ts\/testing\/README\.md|dist\/.+\.(?:js|d\.ts))$/
/** What must stand in each manifest. */
const SHOWN = ['description', 'keywords', 'license', 'homepage', 'bugs', 'repository', 'engines']

/** Throws at the first thing that is wrong; `bytes` are those of the package of the platform. */
export function checkContents({ work, rootPackage, platformPackage, addon }) {
  const library = unpacked(rootPackage, join(work, 'contents-root'))
  const platform = unpacked(platformPackage, join(work, 'contents-platform'))
  const stranger = library.files.find((path) => !FILES_OF_ROOT.test(path))
  if (stranger !== undefined) throw new Error(`${stranger} does not belong in the package`)
  expect(platform.files.toSorted().join(' '), ['LICENSE', 'README.md', NOTICES, addon, 'package.json'].join(' '))
  const bytes = statSync(rootPackage).size
  if (bytes >= ROOT_BYTES_MAX) throw new Error(`the root package has ${bytes} bytes, at most ${ROOT_BYTES_MAX}`)
  for (const each of [library, platform]) checkManifest(each)
  for (const name of ['LICENSE', NOTICES]) expect(textIn(platform, name), readFileSync(join(root, name), 'utf8'))
  const count = checkLinks(library)
  const text = `root ${bytes} bytes packed, ${library.files.length} + ${platform.files.length} files, all links of ${count} documents`
  return { text, bytes: statSync(platformPackage).size }
}

function checkManifest(of) {
  const manifest = manifestIn(of)
  const missing = SHOWN.filter((name) => manifest[name] === undefined)
  if (missing.length > 0) throw new Error(`package.json of ${manifest.name} has no ${missing.join(', ')}`)
  if (manifest.keywords.length < 5) throw new Error(`${manifest.name} has but ${manifest.keywords.length} keywords`)
  const { repository } = placeOf(manifest)
  if (!manifest.homepage.startsWith(repository)) throw new Error(`the homepage of ${manifest.name} is another place`)
}

/** Those of the documents in the package, to files beside them and to what the repository has. */
function checkLinks(library) {
  const documents = new Map(
    library.files.filter((path) => path.endsWith('.md')).map((path) => [path, textIn(library, path)]),
  )
  if (!documents.has('README.md')) throw new Error('there is no README.md')
  const place = placeOf(manifestIn(library))
  const lost = lostLinks(documents, { files: new Set(library.files), tree: treeOf(trackedFiles()), ...place })
  if (lost.length > 0) throw new Error(`links that do not resolve: ${lost.join('; ')}`)
  return documents.size
}

function manifestIn(of) {
  return JSON.parse(textIn(of, 'package.json'))
}

function textIn({ folder }, path) {
  return readFileSync(join(folder, path), 'utf8')
}

/** The files of a package, by their paths in it. */
function unpacked(tarball, target) {
  if (!existsSync(target)) mkdirSync(target)
  // By its name alone: to some tars `C:` is a host.
  execFileSync('tar', ['-xzf', basename(tarball), '-C', basename(target)], { cwd: dirname(tarball) })
  const folder = join(target, 'package')
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const files = entries.map(({ parentPath, name }) =>
    join(parentPath, name)
      .slice(folder.length + 1)
      .replaceAll(sep, '/'),
  )
  return { folder, files }
}
