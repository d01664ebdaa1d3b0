/**
 * `node scripts/pack/build-all.mjs [platform ...]` builds the addons of the platforms (default: all that get a package)
 * into `build/addons/` and prints, for each, whether it was built, skipped or failed, and why. All that can be built on
 * Linux is built by `napi build --cross-compile`, which is cargo-zigbuild: with glibc, against one so old that any
 * system still in use has it, since a plain build binds to the glibc of its machine. What it needs it puts below
 * `target/foreign/` (toolbox.mjs); first time, some three minutes a platform. The exit code is 0 when nothing failed,
 * and no platform that was named was skipped.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { root } from '../ensure-built.mjs'
import { addonName, buildAddon, isUpToDate } from './addon.mjs'
import { platforms } from './platforms.mjs'
import { cache, darwinSdk, debianRust, zigCommands } from './toolbox.mjs'

const GLIBC = '2.17'
const BUILD_DEADLINE_MS = 1_800_000

/** Where the addons lie that were built for platforms; `napi artifacts` takes them from there. */
export const foreignFolder = join(root, 'build', 'addons')

class NotHere extends Error {}

export function foreignAddon(platform) {
  return join(foreignFolder, addonName(platform.name))
}

/**
 * Builds one addon unless it is up to date: `state` is built, skipped (it cannot be built here) or failed; `text` says
 * how or why.
 */
export function buildOne(platform) {
  try {
    const how = build(platform)
    return { state: 'built', text: `${statSync(foreignAddon(platform)).size} bytes, ${how}` }
  } catch (error) {
    return { state: error instanceof NotHere ? 'skipped' : 'failed', text: error.message }
  }
}

function build(platform) {
  const recipe = recipeFor(platform)
  const { how } = recipe
  if (isUpToDate(foreignAddon(platform))) return `${how}, up to date`
  const compiler = needed(() => compilerFor(platform))
  const commands = needed(zigCommands)
  const environment = {
    ...process.env,
    ...compiler.environment,
    ...needed(recipe.environment),
    PATH: `${commands}${delimiter}${process.env.PATH}`,
    CARGO_ZIGBUILD_CACHE_DIR: join(cache, 'zigbuild'),
    ZIG_GLOBAL_CACHE_DIR: join(cache, 'zig'),
  }
  // A folder for each compiler: what two of them built does not mix.
  const folder = join(cache, 'cargo', compiler.name)
  const args = ['--cross-compile', '--target', recipe.target, '--target-dir', folder]
  const cargoArgs = compiler.flags
  buildAddon({ folder: foreignFolder, args, cargoArgs, environment, deadlineMs: BUILD_DEADLINE_MS })
  return how
}

function recipeFor({ os, libc, triple }) {
  if (os === 'win32') {
    throw new NotHere(
      'not buildable here: the libraries of MSVC and of the Windows SDK come only with their own installer',
    )
  }
  if (process.platform !== 'linux')
    throw new NotHere('other platforms are built on Linux; npm run build makes the addon of this one')
  if (os === 'darwin') {
    // What is not stripped keeps the debug information of C, which names folders of the builder: none is made.
    const flags = { [`CFLAGS_${triple.replaceAll('-', '_')}`]: '-g0' }
    const environment = () => ({ ...flags, SDKROOT: darwinSdk(), CARGO_PROFILE_RELEASE_STRIP: 'none' })
    return { target: triple, environment, how: 'not stripped' }
  }
  if (libc === 'glibc') return { target: `${triple}.${GLIBC}`, environment: () => ({}), how: `for glibc ${GLIBC}` }
  return { target: triple, environment: () => ({}), how: 'for musl' }
}

/**
 * The installed Rust where it has the standard library of the target; else Debian's, which builds that library first.
 */
function compilerFor({ triple }) {
  const probe = ['--print', 'target-libdir', '--target', triple]
  const folder = execFileSync('rustc', probe, { cwd: root, encoding: 'utf8' }).trim()
  if (existsSync(folder)) return { name: 'installed', environment: {}, flags: [] }
  const environment = { RUSTC: debianRust(), RUSTC_BOOTSTRAP: '1' }
  return { name: 'debian', environment, flags: ['-Zbuild-std=std,panic_unwind'] }
}

/** A tool that cannot be had is a reason to skip, not a fault. */
function needed(get) {
  try {
    return get()
  } catch (error) {
    throw new NotHere(error.message, { cause: error })
  }
}

function main(names) {
  const known = platforms.map(({ name }) => name)
  const unknown = names.filter((name) => !known.includes(name))
  if (unknown.length > 0) throw new Error(`${unknown.join(', ')}: no such platform; there are ${known.join(', ')}`)
  const wanted = platforms.filter(({ name }) => names.length === 0 || names.includes(name))
  const results = wanted.map((platform) => {
    const { state, text } = buildOne(platform)
    process.stdout.write(`${state.padEnd(8)} ${platform.name}: ${text}\n`)
    return state
  })
  const bad = results.filter((state) => state === 'failed' || (state === 'skipped' && names.length > 0))
  process.exitCode = bad.length === 0 ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`build-all: ${error.message}\n`)
    process.exitCode = 1
  }
}
