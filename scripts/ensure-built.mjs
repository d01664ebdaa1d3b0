/**
 * Brings a clone to the state in which everything runs: packages installed, the addon built, TypeScript compiled.
 * Needs Node and npm only (and cargo, unless a prebuilt addon serves), so it may import nothing that npm installs.
 * When nothing has changed it must stay well under 1.5 s: every `npm start` and `npm test` goes through it.
 */

import { spawn } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Installs, builds and compiles whatever is not up to date. Rejects with one plain sentence. */
export async function ensureBuilt() {
  const stale = staleInstall()
  if (stale !== null) {
    say(`installing packages (${stale})`)
    await run('npm', ['ci', '--no-audit', '--no-fund'], 'npm ci failed; its own message is above')
    const still = staleInstall()
    if (still !== null) throw new Error(`npm ci finished, and yet ${still}`)
  }
  // Standard output belongs to the command that needs the build.
  await run(process.execPath, ['scripts/build-native.mjs'], 'the addon was not built; the reason is above', 2)
  removeOrphans()
  const compiler = ['node_modules/typescript/bin/tsc', '-b']
  await run(process.execPath, compiler, 'TypeScript found errors; they are listed above', 2)
}

/**
 * Runs one command in the root with its output passed through, to standard output or to the descriptor `output`;
 * rejects with `complaint` unless it exits with 0.
 */
export function run(command, args, complaint, output = 'inherit') {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', output, 'inherit'] })
    child.once('error', (error) => reject(new Error(`${command} could not be started: ${error.message}`)))
    child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(complaint))))
  })
}

/**
 * Why `node_modules` is not what the lock file asks for, or null. npm writes the inner lock file last, so an install
 * that was cut short has none; contents are compared and not times, because a checkout or a copy changes times.
 */
function staleInstall() {
  const inner = join(root, 'node_modules/.package-lock.json')
  if (!existsSync(inner)) return 'there is no complete install yet'
  const wanted = readJson(join(root, 'package-lock.json')).packages
  const present = readJson(inner).packages
  for (const [path, entry] of Object.entries(wanted)) {
    if (!path.includes('node_modules/')) continue
    const got = present[path]
    if (got === undefined) {
      // npm leaves out the builds for other platforms, and only those.
      if (entry.optional !== true) return `${path} is missing`
    } else if (got.version !== entry.version || got.integrity !== entry.integrity) {
      return `${path} is not the version in package-lock.json`
    }
    if (got !== undefined && !existsSync(join(root, path))) return `${path} is missing`
  }
  for (const path of Object.keys(present)) if (wanted[path] === undefined) return `${path} is not in package-lock.json`
  return null
}

/** Outputs whose source is gone are deleted: a deleted test must not run, a deleted module must not be importable. */
function removeOrphans() {
  const projects = [
    ['dist', 'ts'],
    ['build/support', 'support'],
    ['build/test', 'test'],
    ['build/bench', 'bench'],
    ['build/examples', 'examples'],
    ...['apps', 'packages'].flatMap((folder) =>
      readdirSync(join(root, folder)).map((name) => [`${folder}/${name}/dist`, `${folder}/${name}/src`]),
    ),
  ]
  let removed = 0
  for (const [outputs, sources] of projects) {
    for (const output of walk(join(root, outputs))) {
      const match = /^(.*?)(\.d)?\.(js|ts)(\.map)?$/.exec(relative(join(root, outputs), output))
      if (match === null) continue
      const source = join(root, sources, match[1])
      if (['.ts', '.js', '.d.ts'].some((ending) => existsSync(source + ending))) continue
      rmSync(output)
      removed += 1
    }
  }
  if (removed > 0) say(`removed ${removed} built files whose source is gone`)
}

function* walk(folder) {
  if (!existsSync(folder)) return
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) yield* walk(path)
    else yield path
  }
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function say(text) {
  process.stderr.write(`balsa: ${text}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  ensureBuilt().catch((error) => {
    say(error.message)
    process.exitCode = 1
  })
}
