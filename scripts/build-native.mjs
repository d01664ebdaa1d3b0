// Builds the addon with cargo and puts it where ts/native/load.ts looks for it. Skips when nothing is newer than the
// built file, because cargo relinks the top crate each time.

import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { addonArguments, addonEnvironment, isUpToDate } from './pack/cargo.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const libraries = { linux: 'libbalsa_native.so', darwin: 'libbalsa_native.dylib', win32: 'balsa_native.dll' }

/** The name of the platform, as in ts/native/load.ts. */
function platformName() {
  if (process.platform === 'linux') {
    const glibc = process.report.getReport().header.glibcVersionRuntime !== undefined
    return `linux-${process.arch}-${glibc ? 'gnu' : 'musl'}`
  }
  return process.platform === 'win32' ? `win32-${process.arch}-msvc` : `${process.platform}-${process.arch}`
}

const remedy =
  'Install Rust 1.89 or later (rustup, or your distribution), a C compiler (gcc or clang) and a linker, then run this again.'

function fail(message) {
  console.error(`build-native: ${message}`)
  process.exit(1)
}

function targetDirectory() {
  const metadata = spawnSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], {
    cwd: root,
    encoding: 'utf8',
  })
  return metadata.status === 0 ? JSON.parse(metadata.stdout).target_directory : join(root, 'target')
}

function environment() {
  try {
    return addonEnvironment()
  } catch (error) {
    return fail(`rustc, the compiler that cargo needs, could not be run: ${error.message.split('\n', 1)[0]}. ${remedy}`)
  }
}

const library = libraries[process.platform]
if (library === undefined) fail(`there is no addon for ${process.platform}.`)

const built = join(root, 'dist', 'native', `balsa-native.${platformName()}.node`)
if (isUpToDate(built)) {
  console.log('build-native: the addon is up to date.')
  process.exit(0)
}

const probe = spawnSync('cargo', ['--version'], { encoding: 'utf8' })
if (probe.error !== undefined || probe.status !== 0) {
  fail(`cargo is not on PATH, and the addon has to be built. ${remedy}`)
}
console.log(`build-native: building the addon with ${probe.stdout.trim()} (about a minute the first time)`)
const build = spawnSync('cargo', ['build', ...addonArguments], { cwd: root, stdio: 'inherit', env: environment() })
if (build.status !== 0) {
  fail(
    'cargo failed; its message stands above. If it says that `cc` is not found, install a C compiler (gcc or clang).',
  )
}
mkdirSync(dirname(built), { recursive: true })
// A running process may have the old file mapped: replaced by a rename, never written into.
copyFileSync(join(targetDirectory(), 'release', library), `${built}.new`)
renameSync(`${built}.new`, built)
console.log(`build-native: ${built}`)
