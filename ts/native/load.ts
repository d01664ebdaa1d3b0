/**
 * The only importer of the addon: finds it, once, and turns its errors into those of the library. First the package of
 * the platform, then the file that `scripts/build-native.mjs` puts beside this one. `BALSA_NATIVE_PATH` names the file
 * instead, and then nothing else is tried: who sets it wants that file or an error.
 */

import { existsSync } from 'node:fs'
import * as nodeModule from 'node:module'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { isNonGlibcLinuxSync } from 'detect-libc'

import { AssertionFailure, RaftError } from '../errors.js'
import type { EntryRange, RaftErrorCode } from '../errors.js'
import { messageOf } from '../foreign-values.js'
import type * as binding from './binding.js'
import { nativeUnavailable } from './unavailable.js'
import type { Attempt, Source } from './unavailable.js'

/** Functions throw errors with the message `CODE: text`; `nativeError` makes them what they are. */
export type NativeBinding = typeof binding

/** Of this file; in a bundle it is that of the bundle. */
const here = addressOfThisFile()
/** Not imported by its name: of such a call webpack makes `undefined`, unless it can compute the argument. */
const require = nodeModule.createRequire(here)

/**
 * What bundles a program as CommonJS leaves no address, and others write down the one that the file had where they ran:
 * where that is not there, the program that was started is the bundle. Bun makes one of bundle and runtime, with files
 * that no other process sees.
 */
function addressOfThisFile(): string {
  const said = (import.meta.url as string | undefined) ?? pathToFileURL(__filename).href
  if (/\/(?:\$bunfs|~BUN)\//.test(said)) return pathToFileURL(process.execPath).href
  const program = process.argv[1]
  return program === undefined || existsSync(fileURLToPath(said)) ? said : pathToFileURL(program).href
}

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

/** Every export of the addon, no more and no fewer: by them an addon of another version is told. */
const EXPORTS: Readonly<Record<keyof NativeBinding, true>> = {
  bootNow: true,
  create: true,
  open: true,
  look: true,
  verifyStore: true,
  seal: true,
  verify: true,
  submit: true,
  poll: true,
  fault: true,
  read: true,
  repair: true,
  stats: true,
  close: true,
  release: true,
}

export const NATIVE_EXPORTS: readonly string[] = Object.keys(EXPORTS)

let loaded: NativeBinding | null = null

/** The addon. Throws ERR_RAFT_NATIVE_UNAVAILABLE, each time, when there is none for this platform. */
export function loadNative(): NativeBinding {
  loaded ??= find(platformName())
  return loaded
}

/** An error of the addon, or the text of a fault, as the library's own. `damaged`: the entries that it speaks of. */
export function nativeError(error: unknown, damaged: EntryRange | null = null): Error {
  const text = messageOf(error)
  const split = text.indexOf(': ')
  const code = CODES[text.slice(0, split)]
  // What has no code of ours is a defect on this side of the border or on the other: never an error about the world.
  if (code === undefined) return new AssertionFailure(`native store: ${text}`)
  const isWrite = code === 'ERR_RAFT_STORE_POISONED' || code === 'ERR_RAFT_STORE_FULL'
  return new RaftError(code, text.slice(split + 2), { outcome: isWrite ? 'unknown' : 'not-applied', damaged })
}

/** `<platform>-<arch>[-<libc>]`, as in the names of the packages. */
export function platformName(): string {
  const { platform, arch } = process
  if (platform === 'win32') return `win32-${arch}-msvc`
  if (platform !== 'linux') return `${platform}-${arch}`
  return `linux-${arch}-${isGlibc() ? 'gnu' : 'musl'}`
}

/**
 * Read from the header of the running program, else from the file system: a report would ask for the name of every
 * peer.
 */
function isGlibc(): boolean {
  return !isNonGlibcLinuxSync()
}

function find(platform: string): NativeBinding {
  const override = process.env['BALSA_NATIVE_PATH'] ?? ''
  const attempts: Attempt[] = []
  for (const source of override === '' ? usualSources(platform) : [overridingSource(override)]) {
    try {
      const binding = source.load()
      if (isBinding(binding)) return binding
      attempts.push({ source, cause: new Error('it is of another version: its exports are not those of this library') })
    } catch (error) {
      attempts.push({ source, cause: new Error(messageOf(error), { cause: error }) })
    }
  }
  const libc = process.platform === 'linux' ? (isGlibc() ? 'glibc' : 'musl') : null
  const published = PACKAGES[platform] === undefined ? null : packageName(platform)
  throw nativeUnavailable({ platform, libc, packageName: published, here, override, attempts })
}

/** The package first; then the file of the source tree, which published packages do not have. */
function usualSources(platform: string): readonly Source[] {
  const path = fileURLToPath(new URL(`balsa-native.${platform}.node`, here))
  const published = PACKAGES[platform]
  const local = { name: path, load: () => require(path) as unknown }
  return published === undefined ? [local] : [{ name: packageName(platform), load: published }, local]
}

function overridingSource(override: string): Source {
  return { name: `BALSA_NATIVE_PATH (${override})`, load: () => require(resolve(override)) as unknown }
}

function packageName(platform: string): string {
  return `@balsa-raft/native-${platform}`
}

function isBinding(value: unknown): value is NativeBinding {
  if (typeof value !== 'object' || value === null) return false
  const functions = new Map(Object.entries(value))
  return NATIVE_EXPORTS.every((name) => typeof functions.get(name) === 'function')
}
