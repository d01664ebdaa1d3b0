/**
 * `npm run pack:check`: builds the addon of every platform that can be built on this machine, packs the library and the platform
 * packages, installs them in empty folders with install scripts off and no network, and uses them there as a stranger would:
 * under other versions of Node, and those of other platforms under an emulator or another libc where one can be had. Prints each
 * step, then the table of platforms with what was seen of each on this machine. All steps run; the exit code is 0 only when none
 * failed. `-- --here` leaves the other platforms out, `-- --only <platform>` (may be repeated) all but those named;
 * `-- --all-tests` runs all tests under each Node, not only those of store and server.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { ensureBuilt, root } from './ensure-built.mjs'
import { builtAddon, manifestFiles, packPlatform, packRoot } from './pack.mjs'
import { buildOne, foreignAddon } from './pack/build-all.mjs'
import { tracesOfBuilder } from './pack/cargo.mjs'
import { cjsConsumer, esmConsumer, openConsumer, typedConsumer, typeSettings } from './pack/consumer.mjs'
import { packageName, platforms, thisPlatform } from './pack/platforms.mjs'
import { expect, freePorts, npm, print, results, run, Skipped, step, withAddon } from './pack/steps.mjs'
import { foreignNode } from './pack/toolbox.mjs'

const ROOT_BYTES_MAX = 400_000
const ADDON_BYTES_MAX = 2_000_000
const OTHER_NODES = [22, 24]
// Under an emulator everything takes some twenty times as long.
const TEST_FILE_DEADLINE_S = 600
const TESTS_DEADLINE_MS = 1_800_000
const FOREIGN_NODE = 24
const GLIBC_MAX = [2, 17]

const { values: options } = parseArgs({
  options: {
    here: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: platforms.map(({ name }) => name) },
    'all-tests': { type: 'boolean', default: false },
  },
})
const nodesSeen = []
/** Platform name to what was seen: built, bytes, tested. */
const seen = new Map()
const install = ['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund']
const work = mkdtempSync(join(tmpdir(), 'balsa-pack-'))
const full = join(work, 'full')
const bare = join(work, 'bare')
const here = thisPlatform()
let addonHere = ''
let dependencyPackage = ''
let rootPackage = ''
let platformPackage = ''

try {
  await main()
} catch (error) {
  print(`pack:check: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(work, { recursive: true, force: true })
}

async function main() {
  await ensureBuilt()
  if (here === undefined) throw new Error(`there is no platform package for ${process.platform} ${process.arch}`)
  if (!options.here) await buildOthers()
  await step('the manifests in npm/ and the loader follow the table', checkTable)
  await step('sizes and contents', checkTarballs)
  await step('install, with no scripts and no network', installBoth)
  await step('import and require', () => {
    expect(run(process.execPath, ['esm.mjs'], full), 'same')
    expect(run(process.execPath, ['cjs.cjs'], full), 'function ERR_RAFT_CLOSED')
    return `all six doors, Node ${process.version}`
  })
  for (const name of Object.keys(typeSettings)) await step(`types under ${name}`, () => checkTypes(name))
  await step('the README sample and tests, this Node', () => checkNode(process.execPath))
  for (const major of OTHER_NODES) {
    await step(`the README sample and tests, Node ${major}, same binary`, () => checkNode(otherNode(major)))
  }
  const isFine = results.every(({ state }) => state !== 'failed')
  seen.get(here.name).tested = isFine ? `README sample and ${testsNamed()}: Node ${nodesSeen.join(', ')}` : 'FAILED'
  for (const platform of platforms) if (seen.get(platform.name)?.addon !== undefined) await checkOther(platform)
  await step('without the platform package, the error says what to do', checkMissing)
  await step('publint', lintPackages)
  await step('are the types wrong', checkResolution)
  await step('SBOM', () => {
    const sbom = npm(['sbom', '--sbom-format', 'cyclonedx'], full)
    return `${sbom.length} bytes, ${JSON.parse(sbom).components.length} components`
  })
  printPlatforms()
  const failed = results.filter(({ state }) => state === 'failed').map(({ name }) => name)
  print(failed.length === 0 ? '\npack:check: all ok' : `\npack:check: FAILED: ${failed.join('; ')}`)
  process.exitCode = failed.length === 0 ? 0 : 1
}

/** A build that fails is a failed step; one that cannot be made here is none. */
async function buildOthers() {
  const unknown = options.only.filter((name) => !platforms.some((platform) => platform.name === name))
  if (unknown.length > 0) throw new Error(`--only ${unknown.join(', ')}: no such platform`)
  for (const platform of platforms.filter(({ name }) => options.only.includes(name))) {
    await step(`build ${platform.name}`, () => {
      const { state, text } = buildOne(platform)
      seen.set(platform.name, { built: state === 'built' ? 'yes' : `no: ${text}`, tested: 'untested' })
      if (state === 'failed') throw new Error(text)
      if (state === 'skipped') throw new Skipped(text)
      const addon = foreignAddon(platform)
      checkAddon(platform, addon)
      seen.get(platform.name).bytes = statSync(addon).size
      if (platform !== here) seen.get(platform.name).addon = addon
      return text
    })
  }
}

/** What holds for the file of every platform: its size, what it asks of libc, and that it tells nothing of its builder. */
function checkAddon(platform, addon) {
  const bytes = readFileSync(addon)
  if (bytes.length >= ADDON_BYTES_MAX) throw new Error(`it has ${bytes.length} bytes, at most ${ADDON_BYTES_MAX}`)
  const traces = tracesOfBuilder(bytes)
  if (traces.length > 0) throw new Error(`it tells where it was built: ${traces.join(', ')}`)
  if (platform.libc !== 'glibc' || addon === builtAddon(platform)) return
  for (const [version, major, minor] of bytes.toString('latin1').matchAll(/GLIBC_(\d+)\.(\d+)/g)) {
    const isOld = Number(major) === GLIBC_MAX[0] && Number(minor) <= GLIBC_MAX[1]
    if (!isOld) throw new Error(`it asks for ${version}, and ${GLIBC_MAX.join('.')} at most is meant`)
  }
}

function checkTable() {
  for (const [path, text] of manifestFiles()) {
    const present = existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : ''
    if (present !== text) throw new Error(`${path} is not what the table says: node scripts/pack.mjs --manifests`)
  }
  const loader = readFileSync(join(root, 'ts/native/load.ts'), 'utf8')
  const named = [...loader.matchAll(/require\('(@balsa-raft\/native-[^']+)'\)/g)].map((match) => match[1])
  const missing = platforms.map(packageName).filter((name) => !named.includes(name))
  if (missing.length > 0) throw new Error(`ts/native/load.ts does not require ${missing.join(', ')}`)
  expect(named.length, platforms.length)
  return `${named.length} platforms`
}

/** Here the package holds what gets published: the addon that was built for an old glibc, where there is one. */
function checkTarballs() {
  const isPortable = seen.get(here.name)?.built === 'yes'
  addonHere = isPortable ? foreignAddon(here) : builtAddon(here)
  const addonBytes = statSync(addonHere).size
  checkAddon(here, addonHere)
  seen.set(here.name, { built: 'yes', bytes: addonBytes, tested: 'FAILED' })
  rootPackage = packRoot(work)
  platformPackage = packPlatform(work, here, addonHere)
  const bytes = statSync(rootPackage).size
  const files = filesIn(rootPackage)
  for (const path of files) {
    if (
      !/^package\/(?:package\.json|LICENSE|README\.md|CHANGELOG\.md|ts\/testing\/README\.md|dist\/.+\.(?:js|d\.ts))$/.test(
        path,
      )
    ) {
      throw new Error(`${path} does not belong in the package`)
    }
  }
  expect(filesIn(platformPackage).length, 4)
  if (bytes >= ROOT_BYTES_MAX) throw new Error(`the root package has ${bytes} bytes, at most ${ROOT_BYTES_MAX}`)
  const packed = statSync(platformPackage).size
  return `root ${bytes} bytes packed, addon ${addonBytes} (${packed} packed), ${files.length} + 4 files, no path of the builder`
}

/** The one dependency is packed from the tree's own install, so that nothing is asked of a registry. */
function installBoth() {
  const [{ filename }] = [
    JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', work, dependency()], root)),
  ].flatMap((said) => (Array.isArray(said) ? said : Object.values(said)))
  for (const folder of [full, bare]) {
    mkdirSync(folder)
    writeFileSync(join(folder, 'package.json'), '{ "name": "consumer", "version": "1.0.0", "private": true }\n')
  }
  dependencyPackage = join(work, filename)
  npm([...install, rootPackage, platformPackage, dependencyPackage], full)
  npm([...install, '--omit=optional', rootPackage, dependencyPackage], bare)
  writeFileSync(join(full, 'esm.mjs'), esmConsumer)
  writeFileSync(join(full, 'cjs.cjs'), cjsConsumer)
  writeFileSync(join(bare, 'open.mjs'), openConsumer)
  return Object.keys(JSON.parse(npm(['ls', '--json'], full)).dependencies).join(', ')
}

function dependency() {
  const names = Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies)
  if (names.length !== 1) throw new Error(`this check packs one dependency, and there are ${names.join(', ')}`)
  return `./node_modules/${names[0]}`
}

function checkTypes(name) {
  const { endings, ...modules } = typeSettings[name]
  const folder = join(full, name)
  mkdirSync(folder)
  for (const ending of endings) writeFileSync(join(folder, `consumer.${ending}`), typedConsumer)
  const compilerOptions = {
    ...modules,
    target: 'es2023',
    lib: ['es2023'],
    strict: true,
    exactOptionalPropertyTypes: true,
    // The declarations of the package are checked too.
    skipLibCheck: false,
    noEmit: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  }
  const config = join(folder, 'tsconfig.json')
  writeFileSync(config, JSON.stringify({ compilerOptions, files: endings.map((ending) => `consumer.${ending}`) }))
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', config], full)
  return endings.map((ending) => `.${ending}`).join(' and ')
}

/** Runs the sample of the README in the folder, on ports that are free; returns the version of Node. */
async function runSample(node, folder) {
  const [, sample = ''] = /```js\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? []
  const said = /console\.log\(.*\) \/\/ (.*)\n/.exec(sample)?.[1]
  const address = '`127.0.0.1:${7600 + n}`'
  if (said === undefined || !sample.includes(address))
    throw new Error('the sample in README.md is written in another way')
  const ports = JSON.stringify(await freePorts(4))
  writeFileSync(join(folder, 'sample.mjs'), sample.replace(address, `\`127.0.0.1:\${${ports}[n]}\``))
  rmSync(join(folder, 'data'), { recursive: true, force: true })
  expect(run(node, ['sample.mjs'], folder), said)
  return run(node, ['--version'], folder)
}

/** Runs tests of the tree under a Node, with the addon in the place of the built one; returns the closing line. */
function runTests(platform, addon, node, pattern) {
  const args = ['scripts/test.mjs', '--node', node, '--file-deadline-s', String(TEST_FILE_DEADLINE_S), ...pattern]
  return withAddon(platform, addon, () => run(process.execPath, args, root, TESTS_DEADLINE_MS).split('\n').at(-1))
}

async function checkNode(node) {
  expect(run(node, ['esm.mjs'], full), 'same')
  const version = await runSample(node, full)
  const tests = await runTests(here, addonHere, node, options['all-tests'] ? [] : ['/(storage|server)/'])
  nodesSeen.push(version)
  return `${version}: sample; ${testsNamed()}: ${tests}`
}

function testsNamed() {
  return options['all-tests'] ? 'all tests' : 'tests of store and server'
}

/** Installs the packages of another platform as npm would there, and uses them under its Node. */
async function checkOther(platform) {
  const it = seen.get(platform.name)
  await step(`use ${platform.name}`, async () => {
    if (platform.os !== 'linux') throw new Skipped(`nothing here runs what was built for ${platform.os}`)
    const node = unlessMissing(() => foreignNode(platform, FOREIGN_NODE))
    it.tested = 'FAILED'
    const folder = join(work, platform.name)
    mkdirSync(folder)
    writeFileSync(join(folder, 'package.json'), '{ "name": "consumer", "version": "1.0.0", "private": true }\n')
    // npm refuses what is for another machine, unless it is forced.
    const target = ['--force', `--os=${platform.os}`, `--cpu=${platform.cpu}`, `--libc=${platform.libc}`]
    npm([...install, ...target, rootPackage, packPlatform(work, platform, it.addon), dependencyPackage], folder)
    const emulated = platform.cpu === process.arch ? '' : ', emulated by qemu'
    const place = `Node ${run(node, ['--version'], folder)} on ${platform.libc}${emulated}`
    if (platform.libc === 'musl' && emulated !== '') {
      // musl asks the kernel for robust mutexes, which LMDB needs and qemu's user mode does not have: no store opens.
      const script = `console.log(Object.keys(require('${packageName(platform)}')).length)`
      it.tested = `loaded only (${run(node, ['-e', script], folder)} exports): ${place}, which has no robust mutexes`
    } else {
      await runSample(node, folder)
      const tests = await runTests(platform, it.addon, node, ['/storage/'])
      it.tested = `README sample and tests of the store (${tests}): ${place}`
    }
    return it.tested
  })
}

function unlessMissing(get) {
  try {
    return get()
  } catch (error) {
    throw new Skipped(error.message)
  }
}

/** Node of another major version, from the package that carries it; kept in build/ for the next time. */
function otherNode(major) {
  const system = process.platform === 'win32' ? 'win' : process.platform
  const name = `node-${system}-${process.arch}`
  const folder = join(root, 'build', 'nodes', String(major))
  const node = join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  if (here.libc === 'musl') throw new Skipped('its package is built for glibc')
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true })
    try {
      npm(
        ['install', '--prefix', folder, '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${major}`],
        root,
      )
    } catch (error) {
      throw new Skipped(`${name}@${major} could not be installed: ${error.message.split('\n', 2).join(' ')}`)
    }
  }
  return node
}

function checkMissing() {
  const said = run(process.execPath, ['open.mjs'], bare)
  const system = [`os ${here.os}`, `cpu ${here.cpu}`, ...(here.libc === undefined ? [] : [`libc ${here.libc}`])]
  const remedies = [`install ${packageName(here)}`, '--include=optional', 'BALSA_NATIVE_PATH', 'fileStore()']
  for (const part of ['ERR_RAFT_NATIVE_UNAVAILABLE', `the package ${packageName(here)}`, ...system, ...remedies]) {
    if (!said.includes(part)) throw new Error(`${part} is not in: ${said}`)
  }
  return said
}

async function lintPackages() {
  for (const tarball of [rootPackage, platformPackage]) {
    const bytes = readFileSync(tarball)
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
    const { messages, pkg } = await publint({ pack: { tarball: buffer }, strict: true })
    if (messages.length > 0)
      throw new Error(messages.map((each) => formatMessage(each, pkg, { color: false })).join('; '))
  }
  return 'both packages, strict: nothing to say'
}

/** The profile leaves out resolution as before `exports`, and CommonJS, which this check tries with the real thing. */
function checkResolution() {
  const attw = join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  const said = run(
    process.execPath,
    [attw, rootPackage, '--profile', 'esm-only', '--no-definitely-typed', '--no-color'],
    work,
  )
  return `nothing to say (profile esm-only, ${said.match(/^"balsa-raft.*"$/gm)?.length ?? 0} doors)`
}

function printPlatforms() {
  print('\n| target | built here | bytes | tested here |\n| --- | --- | --- | --- |')
  for (const { name } of platforms) {
    const { built, bytes, tested } = seen.get(name) ?? { built: 'no: not asked for', tested: 'untested' }
    print(`| ${name} | ${built} | ${bytes ?? ''} | ${tested} |`)
  }
}

/** By its name alone: to some tars `C:` is a host. */
function filesIn(tarball) {
  return execFileSync('tar', ['-tzf', basename(tarball)], { cwd: dirname(tarball), encoding: 'utf8' })
    .trim()
    .split('\n')
}
