/**
 * Packs what gets published. `node scripts/pack.mjs <folder>` writes the root package and the platform package of this
 * machine there, as .tgz; `--addon <platform>=<file>` packs the platform package of a file that was built elsewhere (may be
 * repeated), `--no-root` and `--no-platform` leave one of the two out. `node scripts/pack.mjs --manifests` rewrites the
 * manifests in `npm/`.
 *
 * Packages are staged in a folder of their own, because what is published is not what lies in the tree: the root package
 * gains its optional dependencies (they do not exist while the tree that makes them is installed) and loses what only the
 * tree needs: scripts, workspaces, development dependencies, the inner import map, and the references to source maps,
 * which are not shipped.
 */

import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { root } from './ensure-built.mjs'
import { addonName, manifestOf, packageName, platforms, thisPlatform } from './pack/platforms.mjs'

const rootManifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Packs the root package into `target`; returns the path of the .tgz. */
export function packRoot(target) {
  return staged(target, (stage) => {
    const { scripts: _s, workspaces: _w, devDependencies: _d, prettier: _p, imports: _i, ...kept } = rootManifest
    const optionalDependencies = Object.fromEntries(platforms.map((each) => [packageName(each), rootManifest.version]))
    writeJson(join(stage, 'package.json'), { ...kept, optionalDependencies })
    const present = JSON.parse(npm(['pack', '--dry-run', '--json', '--ignore-scripts'], root))
    // npm 11 answers with a list; newer ones with an object by name.
    const { files } = Array.isArray(present) ? present[0] : Object.values(present)[0]
    for (const { path } of files) {
      if (path === 'package.json') continue
      mkdirSync(dirname(join(stage, path)), { recursive: true })
      if (!path.endsWith('.js')) copyFileSync(join(root, path), join(stage, path))
      else {
        const text = readFileSync(join(root, path), 'utf8')
        writeFileSync(join(stage, path), text.replace(/^\/\/# sourceMappingURL=.*\n?/m, ''))
      }
    }
  })
}

/** Packs the platform package around the built file `addon` into `target`; returns the path of the .tgz. */
export function packPlatform(target, platform, addon) {
  return staged(target, (stage) => {
    for (const name of readdirSync(join(root, 'npm', platform.name))) {
      copyFileSync(join(root, 'npm', platform.name, name), join(stage, name))
    }
    copyFileSync(join(root, 'LICENSE'), join(stage, 'LICENSE'))
    copyFileSync(addon, join(stage, addonName(platform)))
  })
}

/** The file that `npm run build` makes on this machine. */
export function builtAddon(platform) {
  return join(root, 'dist', 'native', addonName(platform))
}

/** The files in `npm/` as the table says they must be: path to text. */
export function manifestFiles() {
  return new Map(
    platforms.flatMap((platform) => {
      const manifest = manifestOf(platform, rootManifest)
      const readme = `# ${manifest.name}\n\n${manifest.description}\n`
      return [
        [join('npm', platform.name, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`],
        [join('npm', platform.name, 'README.md'), readme],
      ]
    }),
  )
}

function staged(target, fill) {
  const stage = mkdtempSync(join(tmpdir(), 'balsa-stage-'))
  try {
    fill(stage)
    const packed = JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', target], stage))
    const [{ filename }] = Array.isArray(packed) ? packed : Object.values(packed)
    return join(target, filename.replace('@', '').replace('/', '-'))
  } finally {
    rmSync(stage, { recursive: true })
  }
}

function npm(args, cwd) {
  // On Windows npm is a .cmd file, which only a shell starts.
  return execFileSync('npm', args, { cwd, encoding: 'utf8', shell: process.platform === 'win32' })
}

function writeJson(path, value) {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`)
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      addon: { type: 'string', multiple: true, default: [] },
      'no-root': { type: 'boolean', default: false },
      'no-platform': { type: 'boolean', default: false },
      manifests: { type: 'boolean', default: false },
    },
  })
  if (values.manifests) {
    for (const [path, text] of manifestFiles()) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    return
  }
  const [folder] = positionals
  if (folder === undefined || positionals.length > 1) throw new Error('name one folder for the packages')
  const target = resolve(folder)
  mkdirSync(target, { recursive: true })
  const addons = values.addon.map((each) => each.split('=', 2))
  const here = thisPlatform()
  if (addons.length === 0 && here !== undefined && !values['no-platform']) addons.push([here.name, builtAddon(here)])
  for (const [name, file] of addons) {
    const platform = platforms.find((each) => each.name === name)
    if (platform === undefined || file === undefined) {
      throw new Error(
        `--addon wants <platform>=<file>; the platforms: ${platforms.map((each) => each.name).join(', ')}`,
      )
    }
    if (!existsSync(file)) throw new Error(`${file} is not there: npm run build makes the addon of this machine`)
    process.stdout.write(`${packPlatform(target, platform, file)}\n`)
  }
  if (!values['no-root']) process.stdout.write(`${packRoot(target)}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main()
  } catch (error) {
    process.stderr.write(`pack: ${error.message}\n`)
    process.exitCode = 1
  }
}
