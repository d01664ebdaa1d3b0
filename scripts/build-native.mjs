/**
 * Builds the addon of this machine with `napi build`, where ts/native/load.ts looks for it. Skips when nothing is newer
 * than what was built, because cargo relinks the top crate each time. Needs installed packages: `npm run build` does
 * both.
 */

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { addonFolder, addonName, buildAddon, builtTypes, hostPlatform, isUpToDate } from './pack/addon.mjs'

const remedy =
  'Install Rust 1.89 or later (rustup, or your distribution), a C compiler (gcc or clang) and a linker, then run this again.'

function fail(message) {
  console.error(`build-native: ${message}`)
  process.exit(1)
}

/** What the first line of `<command> --version` says; ends the build when there is none. */
function versionOf(command, purpose) {
  const { status, stdout, error } = spawnSync(command, ['--version'], { encoding: 'utf8' })
  if (error !== undefined || status !== 0) fail(`${command} ${purpose}. ${remedy}`)
  return stdout.trim()
}

const built = join(addonFolder, addonName(hostPlatform()))
if (isUpToDate(built) && isUpToDate(builtTypes)) {
  console.log('build-native: the addon is up to date.')
  process.exit(0)
}

const version = versionOf('cargo', 'is not on PATH, and the addon has to be built')
versionOf(process.env.RUSTC || 'rustc', 'could not be run, the compiler that cargo needs')
console.log(`build-native: building the addon with ${version} (about a minute the first time)`)
try {
  buildAddon({ folder: addonFolder })
} catch (error) {
  fail(`${error.message}. If it says that \`cc\` is not found, install a C compiler (gcc or clang).`)
}
if (!existsSync(built))
  fail(`rustc builds for another platform than this Node's, ${hostPlatform()}: ${built} was not made.`)
console.log(`build-native: ${built}`)
