/**
 * The only importer of the addon: finds it, once, and turns its errors into those of the library. First the package of the
 * platform, then the file that `scripts/build-native.mjs` puts beside this one. `BALSA_NATIVE_PATH` names the file instead,
 * and then nothing else is tried: who sets it wants that file or an error.
 */

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

import { AssertionFailure, RaftError } from '../errors.js'
import type { RaftErrorCode } from '../errors.js'
import { NATIVE_EXPORTS } from './binding.js'
import type { NativeBinding } from './binding.js'

const require = createRequire(import.meta.url)

/** Literal names, so that bundlers see them. */
const PACKAGES: Readonly<Record<string, () => unknown>> = {
  'linux-x64-gnu': () => require('@balsa-raft/native-linux-x64-gnu'),
  'linux-x64-musl': () => require('@balsa-raft/native-linux-x64-musl'),
  'linux-arm64-gnu': () => require('@balsa-raft/native-linux-arm64-gnu'),
  'linux-arm64-musl': () => require('@balsa-raft/native-linux-arm64-musl'),
  'darwin-x64': () => require('@balsa-raft/native-darwin-x64'),
  'darwin-arm64': () => require('@balsa-raft/native-darwin-arm64'),
  'win32-x64-msvc': () => require('@balsa-raft/native-win32-x64-msvc'),
  'win32-arm64-msvc': () => require('@balsa-raft/native-win32-arm64-msvc'),
}

const CODES: Readonly<Record<string, RaftErrorCode>> = {
  ERR_RAFT_DIR_LOCKED: 'ERR_RAFT_DIR_LOCKED',
  ERR_RAFT_DIR_UNUSABLE: 'ERR_RAFT_DIR_UNUSABLE',
  ERR_RAFT_STORE_FORMAT: 'ERR_RAFT_STORE_FORMAT',
  ERR_RAFT_STORE_CORRUPT: 'ERR_RAFT_STORE_CORRUPT',
  ERR_RAFT_STORE_FULL: 'ERR_RAFT_STORE_FULL',
  ERR_RAFT_STORE_POISONED: 'ERR_RAFT_STORE_POISONED',
  ERR_RAFT_CLOSED: 'ERR_RAFT_CLOSED',
}

const WITHOUT_ADDON = 'Or begin in an empty directory with storage: fileStore(), which needs no addon.'

let loaded: NativeBinding | null = null

/** The addon. Throws ERR_RAFT_NATIVE_UNAVAILABLE, each time, when there is none for this platform. */
export function loadNative(): NativeBinding {
  loaded ??= find(platformName())
  return loaded
}

/** An error of the addon, or the text of a fault, as the library's own. */
export function nativeError(error: unknown): Error {
  const text = error instanceof Error ? error.message : String(error)
  const split = text.indexOf(': ')
  const code = CODES[text.slice(0, split)]
  // What has no code of ours is a defect on this side of the border or on the other: never an error about the world.
  if (code === undefined) return new AssertionFailure(`native store: ${text}`)
  const isWrite = code === 'ERR_RAFT_STORE_POISONED' || code === 'ERR_RAFT_STORE_FULL'
  return new RaftError(code, text.slice(split + 2), { outcome: isWrite ? 'unknown' : 'not-applied' })
}

/** `<platform>-<arch>[-<libc>]`, as in the names of the packages. */
export function platformName(): string {
  const { platform, arch } = process
  if (platform === 'win32') return `win32-${arch}-msvc`
  if (platform !== 'linux') return `${platform}-${arch}`
  return `linux-${arch}-${isGlibc() ? 'gnu' : 'musl'}`
}

function isGlibc(): boolean {
  const report: unknown = process.report.getReport()
  if (typeof report !== 'object' || report === null || !('header' in report)) return false
  const { header } = report
  return typeof header === 'object' && header !== null && 'glibcVersionRuntime' in header
}

function find(platform: string): NativeBinding {
  const causes: unknown[] = []
  const override = process.env['BALSA_NATIVE_PATH'] ?? ''
  for (const load of override === '' ? usualSources(platform) : [() => require(resolve(override)) as unknown]) {
    try {
      const binding = load()
      if (isBinding(binding)) return binding
      causes.push(new Error('the addon that was found is of another version'))
    } catch (cause) {
      causes.push(cause)
    }
  }
  const place = override === '' ? '' : ` from BALSA_NATIVE_PATH (${override})`
  const said = causes.map((cause) => (cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)))
  throw new RaftError(
    'ERR_RAFT_NATIVE_UNAVAILABLE',
    `The native store for ${platform} (Node ${process.version}) did not load${place}: ${said.join('; ') || 'nothing was found'}. ${remedyFor(platform, override)} ${WITHOUT_ADDON}`,
    { cause: causes.at(-1) },
  )
}

function usualSources(platform: string): readonly (() => unknown)[] {
  const local = fileURLToPath(new URL(`balsa-native.${platform}.node`, import.meta.url))
  const published = PACKAGES[platform]
  const sources = published === undefined ? [] : [published]
  return existsSync(local) ? [...sources, () => require(local) as unknown] : sources
}

function remedyFor(platform: string, override: string): string {
  if (override !== '')
    return 'Let the variable name an addon that was built for this platform and version, or unset it.'
  return PACKAGES[platform] === undefined
    ? 'There is no prebuilt package for it; build it from the source tree with Rust: node scripts/build-native.mjs, and let BALSA_NATIVE_PATH name the file.'
    : `Install @balsa-raft/native-${platform} beside balsa-raft (npm does unless optional dependencies are off), or build it with Rust: node scripts/build-native.mjs in the source tree.`
}

function isBinding(value: unknown): value is NativeBinding {
  if (typeof value !== 'object' || value === null) return false
  const functions = new Map(Object.entries(value))
  return NATIVE_EXPORTS.every((name) => typeof functions.get(name) === 'function')
}
