/**
 * `node scripts/pack/build-portable.mjs [platform]` builds the addon of a Linux platform with glibc (default: this one)
 * with cargo-zigbuild, linked against a glibc so old that any system still in use has it, into `build/addons/`. A plain
 * build binds to the glibc of the machine it runs on. Needs cargo-zigbuild, zig and, for another machine's processor, Rust's
 * standard library for it. `scripts/pack.mjs --addon` packs the result, `BALSA_NATIVE_PATH` loads it.
 */

import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { execFileSync } from 'node:child_process'
import { root, run } from '../ensure-built.mjs'
import { addonName, platforms, thisPlatform } from './platforms.mjs'

const GLIBC = '2.17'

const name = process.argv[2] ?? thisPlatform()?.name
const platform = platforms.find((each) => each.name === name && each.libc === 'glibc')
try {
  if (platform === undefined) throw new Error(`${name} is not a Linux platform with glibc`)
  const target = `${platform.rust}.${GLIBC}`
  const cargo = ['zigbuild', '--release', '--locked', '-p', 'balsa-native', '--target', target]
  await run('cargo', cargo, 'the build failed; its own message is above (cargo-zigbuild and zig must be on PATH)')
  const metadata = execFileSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], { cwd: root })
  const built = join(JSON.parse(metadata).target_directory, platform.rust, 'release', 'libbalsa_native.so')
  const folder = join(root, 'build', 'addons')
  mkdirSync(folder, { recursive: true })
  copyFileSync(built, join(folder, addonName(platform)))
  process.stdout.write(`${join(folder, addonName(platform))}: ${target}\n`)
} catch (error) {
  process.stderr.write(`build-portable: ${error.message}\n`)
  process.exitCode = 1
}
