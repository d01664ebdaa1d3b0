/**
 * What is said when the addon does not load: on which system, what was tried and what became of it, and every way out.
 * Some surroundings have ways of their own: a bundle carries no .node file, and some runtimes load one only with leave.
 */

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { RaftError } from '../errors.js'
import { messageOf, systemCodeOf } from '../foreign-values.js'

/** One place where the addon may be: what to call it in an error, and how to load it. */
export interface Source {
  readonly name: string
  load(): unknown
}

/** A source, and why there was no addon in it. */
export interface Attempt {
  readonly source: Source
  readonly cause: Error
}

export interface Search {
  /** `<platform>-<arch>[-<libc>]`. */
  readonly platform: string
  /** `glibc` or `musl`; null where there is no choice. */
  readonly libc: string | null
  /** The package of the platform; null when there is none. */
  readonly packageName: string | null
  /** Where the loader believes that it lies. */
  readonly here: string
  /** What `BALSA_NATIVE_PATH` says; empty when it says nothing. */
  readonly override: string
  readonly attempts: readonly Attempt[]
}

const BUILT =
  'let BALSA_NATIVE_PATH name an addon built for this platform (npm run build in the source tree, with Rust)'
const NAMED = 'let BALSA_NATIVE_PATH name an addon built for this platform and this version, or unset it'
const WITHOUT = 'for a fresh directory: storage: fileStore()'

export function nativeUnavailable(search: Search): RaftError {
  const { attempts, packageName, override } = search
  const causes = attempts.map(({ cause }) => cause)
  // Node appends the whole require stack to its message.
  const tried = attempts.map(({ source, cause }) => `${source.name}: ${cause.message.split('\n', 1)[0]}`)
  const missing = packageName === null ? 'there is no package for it' : `the package ${packageName}`
  const usual = override === '' ? [installation(packageName), BUILT] : [NAMED]
  const remedies = [permission(causes), bundling(search), ...usual, WITHOUT].filter((each) => each !== null)
  const message = `The native store did not load on ${systemSeen(search)}; it needs ${missing}. Tried: ${tried.join('; ')}. Remedies: ${remedies.join('; or ')}.`
  const cause = causes.length > 1 ? new AggregateError(causes, 'every place of the addon failed') : causes[0]
  return new RaftError('ERR_RAFT_NATIVE_UNAVAILABLE', message, { cause })
}

/** What decides which addon fits, os, cpu and libc; and what is to load it. */
function systemSeen({ libc }: Search): string {
  const { platform, arch, version, versions } = process
  const runtimes: readonly (readonly [string, string | undefined])[] = [
    ['Bun', versions['bun']],
    ['Deno', versions['deno']],
    ['Electron', versions['electron']],
  ]
  const other = runtimes.find(([, theirs]) => theirs !== undefined)
  const runtime = other === undefined ? `Node ${version}` : other.join(' ')
  return `os ${platform}, cpu ${arch}${libc === null ? '' : `, libc ${libc}`} (${runtime})`
}

function installation(packageName: string | null): string | null {
  if (packageName === null) return null
  return `install ${packageName} beside balsa-raft, of the same version (npm does it unless optional dependencies are omitted: npm install --include=optional)`
}

/** Deno and the permission model of Node load what is native only when they are told to. */
function permission(causes: readonly Error[]): string | null {
  const original = causes.map(({ cause }) => cause)
  if (process.versions['deno'] !== undefined) {
    const isRefused = original.some((each) => /--allow-ffi|NotCapable/.test(messageOf(each)))
    return isRefused ? 'run Deno with --allow-ffi, which lets it load an addon' : null
  }
  if (!original.some((each) => systemCodeOf(each) === 'ERR_DLOPEN_DISABLED')) return null
  return 'run Node with --allow-addons (under --permission), and without --no-addons'
}

/** Code that was bundled is not where it was, or has another name. */
function bundling({ here, platform, packageName, override }: Search): string | null {
  const isInPlace = here.endsWith('/native/load.js') && existsSync(fileURLToPath(here))
  if (isInPlace || override !== '') return null
  const name = packageName ?? 'the package of the platform'
  return `this program is bundled, and a bundle carries no .node file: leave balsa-raft out of it (esbuild --external:balsa-raft, webpack externals: ['balsa-raft'], bun build --external balsa-raft) and install it beside; or copy balsa-native.${platform}.node out of ${name} beside the bundle`
}
