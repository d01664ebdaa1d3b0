/**
 * `node scripts/stage.mjs <folder>` lays out the root package as it is published; the tool goes on from there (`napi
 * create-npm-dirs`, `artifacts` and `pre-publish`, each with `--cwd <folder>`: docs/platforms.md). What is published is
 * not what lies in the tree: it has none of what only the tree needs, which are scripts, workspaces, development
 * dependencies, the inner import map, and references to source maps, which are not shipped; and the tool adds the
 * optional dependencies, which do not exist while the tree that makes them is installed.
 */

import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { root } from './ensure-built.mjs'
import { platforms } from './pack/platforms.mjs'

/**
 * Fills `folder` with the root package, and with the licence of each platform package, which the tool does not bring.
 */
export function stage(folder) {
  if (existsSync(folder)) throw new Error(`${folder} is there already, and what lies in it would be published too`)
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const { scripts: _s, workspaces: _w, devDependencies: _d, prettier: _p, imports: _i, ...published } = manifest
  for (const path of publishedFiles()) copyFile(path, join(folder, path))
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`)
  for (const { name } of platforms) copyFile('LICENSE', join(folder, 'npm', name, 'LICENSE'))
}

/** What npm would pack from the tree. */
function publishedFiles() {
  // On Windows npm is a .cmd file, which only a shell starts.
  const options = { cwd: root, encoding: 'utf8', shell: process.platform === 'win32' }
  const packed = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], options))
  // npm 11 answers with a list; newer ones with an object by name.
  return Object.values(packed)[0].files.map(({ path }) => path)
}

function copyFile(path, target) {
  mkdirSync(dirname(target), { recursive: true })
  if (!path.endsWith('.js')) return copyFileSync(join(root, path), target)
  const text = readFileSync(join(root, path), 'utf8')
  writeFileSync(target, text.replace(/^\/\/# sourceMappingURL=.*\n?/m, ''))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const [folder, ...more] = process.argv.slice(2)
    if (folder === undefined || more.length > 0) throw new Error('name one folder for the packages')
    stage(folder)
  } catch (error) {
    process.stderr.write(`stage: ${error.message}\n`)
    process.exitCode = 1
  }
}
