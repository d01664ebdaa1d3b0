/**
 * `node scripts/stage.mjs <folder> [--repository <address>]` lays out the packages as they are published, all but the
 * addons and what the root package depends on, which the tool enters (`napi artifacts` and `pre-publish`, each with
 * `--cwd <folder>`: docs/platforms.md). What is published is not what lies in the tree: it has none of what only the
 * tree needs, which are scripts, workspaces, development dependencies, the inner import map, and references to source
 * maps, which are not shipped; it says where it comes from; and its documents link to what is there.
 *
 * Where that is, the tree does not say: whoever publishes does, or `repository` in package.json.
 */

import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { root } from './ensure-built.mjs'
import { napi } from './pack/addon.mjs'
import { packedText, treeOf } from './pack/links.mjs'
import { NOTICES } from './pack/notices.mjs'
import { platforms } from './pack/platforms.mjs'

/** Fills `folder` with the root package, and its `npm/` with the package of each platform. */
export function stage(folder, repository) {
  if (existsSync(folder)) throw new Error(`${folder} is there already, and what lies in it would be published too`)
  const manifest = publishedManifest(repository)
  const links = { packed: new Set(publishedFiles()), tree: treeOf(trackedFiles()), ...placeOf(manifest) }
  for (const path of links.packed) copyFile(path, join(folder, path), links)
  writeJson(join(folder, 'package.json'), manifest)
  execFileSync(process.execPath, [napi, 'create-npm-dirs', '--cwd', folder], { stdio: ['ignore', 'pipe', 'pipe'] })
  for (const { name } of platforms) stagePlatform(join(folder, 'npm', name))
}

/** Where the packages say they come from: `repository` without what only git reads. */
export function placeOf({ repository, version }) {
  return { repository: repository.url.replace(/^git\+/, '').replace(/\.git$/, ''), version }
}

/** Every path that git knows, or would. */
export function trackedFiles() {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const listed = execFileSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 })
  return listed.split('\0').filter((path) => path !== '')
}

function publishedManifest(named) {
  const manifest = readJson(join(root, 'package.json'))
  const { scripts: _s, workspaces: _w, devDependencies: _d, prettier: _p, imports: _i, ...published } = manifest
  const address = named ?? published.repository?.url
  if (address === undefined) {
    throw new Error('package.json has no repository: name it with --repository https://<host>/<owner>/<name>')
  }
  const place = address.replace(/^git\+/, '').replace(/(?:\.git)?\/?$/, '')
  if (!/^https:\/\/[^/\s]+\/[^\s?#]+$/.test(place)) throw new Error(`the repository ${address} is no https address`)
  return {
    ...published,
    homepage: published.homepage ?? `${place}#readme`,
    bugs: published.bugs ?? { url: `${place}/issues` },
    repository: { type: 'git', url: `git+${place}.git` },
  }
}

/** What npm would pack from the tree. */
function publishedFiles() {
  // On Windows npm is a .cmd file, which only a shell starts.
  const options = { cwd: root, encoding: 'utf8', shell: process.platform === 'win32' }
  const packed = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], options))
  // npm 11 answers with a list; newer ones with an object by name.
  return Object.values(packed)[0].files.map(({ path }) => path)
}

function copyFile(path, target, links) {
  mkdirSync(dirname(target), { recursive: true })
  if (path.endsWith('.md')) {
    writeFileSync(target, packedText(path, readFileSync(join(root, path), 'utf8'), links))
  } else if (path.endsWith('.js')) {
    const text = readFileSync(join(root, path), 'utf8')
    writeFileSync(target, text.replace(/^\/\/# sourceMappingURL=.*\n?/m, ''))
  } else {
    copyFileSync(join(root, path), target)
  }
}

/** The tool brings a manifest and a README; what is linked into the addon asks for its notices beside it. */
function stagePlatform(folder) {
  for (const name of ['LICENSE', NOTICES]) copyFileSync(join(root, name), join(folder, name))
  const path = join(folder, 'package.json')
  const manifest = readJson(path)
  writeJson(path, { ...manifest, files: [...manifest.files, NOTICES] })
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function writeJson(path, value) {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const options = { repository: { type: 'string' } }
    const { values, positionals } = parseArgs({ allowPositionals: true, options })
    const [folder, ...more] = positionals
    if (folder === undefined || more.length > 0) throw new Error('name one folder for the packages')
    stage(folder, values.repository)
  } catch (error) {
    process.stderr.write(`stage: ${error.message}\n`)
    process.exitCode = 1
  }
}
