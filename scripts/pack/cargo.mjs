/**
 * How cargo builds the addon: the one place for the plain build and for those that go to other machines. What they share is that
 * the file must say nothing of the machine that made it: file names in panics would carry the folders of the builder.
 * Imports nothing that npm installs, since the first build may come before.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')

/** The arguments that every build of the addon has, after the subcommand. */
export const addonArguments = ['--release', '--locked', '-p', 'balsa-native']

const sources = ['src', 'crates', 'Cargo.toml', 'Cargo.lock', 'build.rs', 'scripts/pack/cargo.mjs']

/** Whether the built file is newer than everything it was made from: cargo relinks the top crate even when nothing changed. */
export function isUpToDate(built) {
  return existsSync(built) && statSync(built).mtimeMs >= Math.max(...sources.map((path) => newestMs(join(root, path))))
}

function newestMs(path) {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.mtimeMs
  return readdirSync(path).reduce((newest, name) => Math.max(newest, newestMs(join(path, name))), stat.mtimeMs)
}

/**
 * Each folder of the builder's machine that could get into the addon, and the name that stands for it there. Longer paths come
 * last: rustc takes the last that matches.
 */
export function builderFolders(environment = process.env) {
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

/** The environment for cargo: flags that are given by the environment are kept, and `flags` and the renaming added. */
export function addonEnvironment(environment = process.env, flags = []) {
  const encoded = environment.CARGO_ENCODED_RUSTFLAGS
  const given = encoded === undefined ? (environment.RUSTFLAGS ?? '').split(' ') : encoded.split('\x1f')
  const renamed = builderFolders(environment).map(([folder, name]) => `--remap-path-prefix=${folder}=${name}`)
  const all = [...given.filter((flag) => flag !== ''), ...flags, ...renamed]
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
