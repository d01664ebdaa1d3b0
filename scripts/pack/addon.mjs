/**
 * How the addon is built, here and for other machines: by `napi build`. What the tool cannot do is done here: the file
 * says nothing of the machine that made it, and a build that would change nothing is left out. Imports nothing heavy,
 * for every `npm test` asks whether the addon is up to date.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isNonGlibcLinuxSync } from 'detect-libc'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')

export const napi = join(root, 'node_modules/@napi-rs/cli/dist/cli.js')

/** The types of the addon as its last build wrote them, and the copy that git keeps and TypeScript reads. */
export const builtTypes = join(root, 'build/native/binding.ts')
export const keptTypes = join(root, 'ts/native/binding.ts')

/** Where `npm run build` puts the addon, and the loader looks for it. */
export const addonFolder = join(root, 'dist/native')

const TYPES_HEADER =
  '/** The addon as TypeScript sees it: generated from src/lib.rs when it is built. `npm run fix` copies it here. */\n\n'

const sources = ['src', 'crates/balsa-log', 'Cargo.toml', 'Cargo.lock', 'build.rs', 'scripts/pack/addon.mjs']

/**
 * Whether a built file is newer than everything it was made from: cargo relinks the top crate even when nothing
 * changed.
 */
export function isUpToDate(built) {
  return existsSync(built) && statSync(built).mtimeMs >= Math.max(...sources.map((path) => newestMs(join(root, path))))
}

function newestMs(path) {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.mtimeMs
  return readdirSync(path).reduce((newest, name) => Math.max(newest, newestMs(join(path, name))), stat.mtimeMs)
}

/** The platform of this Node, as the tool names files and packages, and `ts/native/load.ts` looks for them. */
export function hostPlatform() {
  const { platform, arch } = process
  if (platform === 'win32') return `win32-${arch}-msvc`
  return platform === 'linux' ? `linux-${arch}-${isNonGlibcLinuxSync() ? 'musl' : 'gnu'}` : `${platform}-${arch}`
}

export function addonName(platform) {
  return `balsa-native.${platform}.node`
}

/**
 * Builds the addon into `folder`; `args` are more arguments for the tool, `cargoArgs` for cargo. The tool puts each
 * file in its place by a rename: a running process may have the old one mapped. Throws when the build fails, which has
 * said why.
 */
export function buildAddon({ folder, args = [], cargoArgs = [], environment = process.env, deadlineMs }) {
  const types = ['--dts', relative(folder, builtTypes), '--dts-header', TYPES_HEADER]
  const common = ['--platform', '--release', '--no-js', '--package', 'balsa-native', '--output-dir', folder]
  const { error, status } = spawnSync(
    process.execPath,
    [napi, 'build', ...common, ...types, ...args, '--', '--locked', ...cargoArgs],
    { cwd: root, env: addonEnvironment(environment), stdio: ['ignore', 'inherit', 'inherit'], timeout: deadlineMs },
  )
  if (error !== undefined) throw new Error(`napi build could not be run: ${error.message}`)
  if (status !== 0) throw new Error('napi build failed; its message stands above')
}

/**
 * Each folder of the builder's machine that could get into the addon, and the name that stands for it there. Longer
 * paths come last: rustc takes the last that matches.
 */
function builderFolders(environment = process.env) {
  const cargoHome = resolve(environment.CARGO_HOME || join(homedir(), '.cargo'))
  const sysroot = rustSysroot(environment)
  const library = join(sysroot, 'lib/rustlib/src/rust')
  // A distribution's compiler keeps the sources of the standard library elsewhere, behind a link.
  const libraries = existsSync(library) ? [library, realpathSync(library)] : []
  return [
    [root, 'balsa'],
    [cargoHome, 'cargo'],
    [sysroot, 'rust'],
    ...libraries.map((folder) => [folder, 'rust']),
    // Compiled from below the root, the standard library has relative names.
    ...libraries.filter((folder) => folder.startsWith(root + sep)).map((folder) => [relative(root, folder), 'rust']),
  ].toSorted(([one], [other]) => one.length - other.length)
}

function rustSysroot(environment) {
  const command = environment.RUSTC || 'rustc'
  return execFileSync(command, ['--print', 'sysroot'], { cwd: root, env: environment, encoding: 'utf8' }).trim()
}

/**
 * The environment for cargo: flags that are given by the environment are kept, and the renaming added. They are
 * encoded, for a folder may have a space in its name. Cargo then reads no RUSTFLAGS, so what the tool says there for
 * musl is said here: a library that Node loads shares Node's libc, where Rust's default is to bring its own. Elsewhere
 * it is the default.
 */
function addonEnvironment(environment) {
  const encoded = environment.CARGO_ENCODED_RUSTFLAGS
  const given = encoded === undefined ? (environment.RUSTFLAGS ?? '').split(' ') : encoded.split('\x1f')
  const renamed = builderFolders(environment).map(([folder, name]) => `--remap-path-prefix=${folder}=${name}`)
  const all = [...given.filter((flag) => flag !== ''), '-Ctarget-feature=-crt-static', ...renamed]
  return { ...environment, CARGO_ENCODED_RUSTFLAGS: all.join('\x1f') }
}

/** The paths of this machine, as builder, that stand in the bytes of an addon; none may. */
export function tracesOfBuilder(addon, environment = process.env) {
  const folders = builderFolders(environment).map(([folder]) => folder)
  // A compiler in /usr tells nothing, and the standard library looks below it for debug files.
  const common = [sep, '/usr', '/usr/local']
  const suspects = [...folders, homedir()].filter((folder) => isAbsolute(folder) && !common.includes(folder))
  const traces = new Set()
  for (const folder of suspects) {
    const at = addon.indexOf(folder.endsWith(sep) ? folder : folder + sep)
    if (at !== -1) traces.add(printableAt(addon, at))
  }
  // Whoever built it: the usual folders of cargo and rustup.
  for (const usual of ['/.cargo/registry/', '/.rustup/toolchains/']) {
    const at = addon.indexOf(usual)
    if (at !== -1) traces.add(printableAt(addon, at))
  }
  return [...traces]
}

function printableAt(bytes, at) {
  return /^[\x20-\x7e]*/.exec(bytes.toString('latin1', at, at + 100))[0]
}
