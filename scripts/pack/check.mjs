/**
 * Makes the packages as the release does, with the tool, and uses them as a stranger would: installed in empty folders
 * with install scripts off and no network, under other versions of Node, and those of other platforms under an emulator
 * or another libc where one can be had. Prints each step, then the table of platforms with what was seen of each on
 * this machine.
 */

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { root } from '../ensure-built.mjs'
import { stage } from '../stage.mjs'
import { addonFolder, addonName, napi, tracesOfBuilder } from './addon.mjs'
import { buildOne, foreignAddon } from './build-all.mjs'
import { cjsConsumer, clientConsumer, esmConsumer, openConsumer, typedConsumer, typeSettings } from './consumer.mjs'
import { checkContents } from './contents.mjs'
import { checkGrpcPackage, grpcFolder } from './grpc-package.mjs'
import { packageName, platforms, thisPlatform as here } from './platforms.mjs'
import { checkRuntimes } from './runtimes.mjs'
import { expect, freePorts, npm, print, results, run, Skipped, step, withAddon } from './steps.mjs'
import { foreignNode } from './toolbox.mjs'

const ADDON_BYTES_MAX = 2_000_000
const OTHER_NODES = [22, 24]
// Under an emulator everything takes some twenty times as long.
const TEST_FILE_DEADLINE_S = 600
const TESTS_DEADLINE_MS = 1_800_000
const FOREIGN_NODE = 24
const GLIBC_MAX = [2, 17]
/** Where the packages are said to come from when the tree does not say it: nobody's address. */
const REPOSITORY = 'https://example.org/balsa/balsa'
/** What can be asked for by itself. */
const PARTS = ['contents', 'nodes', 'platforms', 'runtimes']

let options = { here: false, 'all-tests': false }
/** The parts that run, and the names of the platforms that are built. */
let parts = PARTS
let built = []
const nodesSeen = []
/** Platform name to what was seen: built, bytes, tested. */
const seen = new Map()
/** Platform name to the addon that goes into its package. */
const addons = new Map()
const install = ['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund']
const work = mkdtempSync(join(tmpdir(), 'balsa-pack-'))
const packages = join(work, 'packages')
const full = join(work, 'full')
const bare = join(work, 'bare')
let rootPackage = ''
/** The name of a package that it depends on to its file. */
let dependencyPackages = {}

/** All steps run; resolves to whether none of them failed. */
export async function checkPackages(args) {
  const { values } = parseArgs({
    args,
    options: {
      here: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      'all-tests': { type: 'boolean', default: false },
    },
  })
  options = values
  chooseParts(values.only)
  if (here === undefined) throw new Error(`there is no platform package for ${process.platform} ${process.arch}`)
  try {
    await runSteps()
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  printPlatforms()
  const failed = results.filter(({ state }) => state === 'failed').map(({ name }) => name)
  print(failed.length === 0 ? '\npack:check: all ok' : `\npack:check: FAILED: ${failed.join('; ')}`)
  return failed.length === 0
}

/** Platforms that are named limit what is built, parts what is done; a platform belongs to every part. */
function chooseParts(names) {
  const known = platforms.map(({ name }) => name)
  const unknown = names.filter((name) => !PARTS.includes(name) && !known.includes(name))
  if (unknown.length > 0) {
    throw new Error(`--only ${unknown.join(', ')}: no such platform or part; the parts are ${PARTS.join(', ')}`)
  }
  const named = names.filter((name) => PARTS.includes(name))
  const wanted = names.filter((name) => known.includes(name))
  parts = named.length > 0 ? named : PARTS
  if (options.here) built = []
  else if (wanted.length > 0) built = wanted
  else built = parts.includes('platforms') ? known : []
}

async function runSteps() {
  await buildOthers()
  const isMade =
    (await step('the packages, made by napi', makePackages)) &&
    (await step('install, with no scripts and no network', installBoth))
  if (!isMade) return
  if (parts.includes('contents')) await checkUse()
  if (parts.includes('nodes')) await checkNodes()
  if (parts.includes('platforms')) {
    for (const platform of platforms) if (platform !== here && addons.has(platform.name)) await checkOther(platform)
  }
  if (parts.includes('runtimes')) {
    const tarballs = { ...dependencyPackages, 'balsa-raft': rootPackage, [packageName(here)]: platformPackage(here) }
    await checkRuntimes({ full, work, packages, tarballs, addon: addons.get(here.name), runSample })
  }
}

/** What is in the packages, what tools say of them, and every door. */
async function checkUse() {
  await step('sizes and contents', checkTarballs)
  await step('import and require', checkDoors)
  await step('the door of clients loads no addon', () => {
    for (const folder of [full, bare]) expect(run(process.execPath, ['client.mjs'], folder), 'ERR_RAFT_UNREACHABLE 0')
    return 'with the package of the platform, and without it'
  })
  for (const name of Object.keys(typeSettings)) await step(`types under ${name}`, () => checkTypes(name))
  await step('without the platform package, the error says what to do', checkMissing)
  await step('the package for gRPC', () => checkGrpcPackage(pack(grpcFolder), full, join(work, 'grpc')))
  await step('publint', lintPackages)
  await step('are the types wrong', checkResolution)
  await step('SBOM', () => {
    const sbom = npm(['sbom', '--sbom-format', 'cyclonedx'], full)
    return `${sbom.length} bytes, ${JSON.parse(sbom).components.length} components`
  })
}

async function checkNodes() {
  await step('the README sample and tests, this Node', () => checkNode(process.execPath))
  for (const major of OTHER_NODES) {
    await step(`the README sample and tests, Node ${major}, same binary`, () => checkNode(otherNode(major)))
  }
  const isFine = results.every(({ state }) => state !== 'failed')
  seen.get(here.name).tested = isFine ? `README sample and ${testsNamed()}: Node ${nodesSeen.join(', ')}` : 'FAILED'
}

/** A build that fails is a failed step; one that cannot be made here is none. */
async function buildOthers() {
  for (const platform of platforms.filter(({ name }) => built.includes(name))) {
    await step(`build ${platform.name}`, () => {
      const { state, text } = buildOne(platform)
      seen.set(platform.name, { built: state === 'built' ? 'yes' : `no: ${text}`, tested: 'untested' })
      if (state === 'failed') throw new Error(text)
      if (state === 'skipped') throw new Skipped(text)
      const addon = foreignAddon(platform)
      checkAddon(platform, addon)
      addons.set(platform.name, addon)
      seen.get(platform.name).bytes = statSync(addon).size
      return text
    })
  }
}

/**
 * What holds for the file of every platform: its size, what it asks of libc, and that it tells nothing of its builder.
 */
function checkAddon(platform, addon) {
  const bytes = readFileSync(addon)
  if (bytes.length >= ADDON_BYTES_MAX) throw new Error(`it has ${bytes.length} bytes, at most ${ADDON_BYTES_MAX}`)
  const traces = tracesOfBuilder(bytes)
  if (traces.length > 0) throw new Error(`it tells where it was built: ${traces.join(', ')}`)
  if (platform.libc !== 'glibc' || dirname(addon) === addonFolder) return
  for (const [version, major, minor] of bytes.toString('latin1').matchAll(/GLIBC_(\d+)\.(\d+)/g)) {
    const isOld = Number(major) === GLIBC_MAX[0] && Number(minor) <= GLIBC_MAX[1]
    if (!isOld) throw new Error(`it asks for ${version}, and ${GLIBC_MAX.join('.')} at most is meant`)
  }
}

/**
 * The commands of the release (.github/workflows/release.yml). The tool makes the packages of all platforms or none, so
 * it gets an empty file where no addon was built. Here the package holds what gets published, the addon for an old
 * glibc, if there is one.
 */
function makePackages() {
  if (!addons.has(here.name)) addons.set(here.name, join(addonFolder, addonName(here.name)))
  const gathered = join(work, 'addons')
  mkdirSync(gathered)
  for (const { name } of platforms) {
    const place = join(gathered, addonName(name))
    if (addons.has(name)) copyFileSync(addons.get(name), place)
    else writeFileSync(place, '')
  }
  stage(packages, readJson(join(root, 'package.json')).repository?.url ?? REPOSITORY)
  const commands = [
    ['artifacts', '--output-dir', gathered],
    ['pre-publish', '--tag-style', 'npm', '--no-gh-release', '--skip-optional-publish'],
  ]
  for (const command of commands) run(process.execPath, [napi, ...command, '--cwd', packages], root)
  rootPackage = pack(packages)
  seen.set(here.name, { built: 'yes', bytes: statSync(addons.get(here.name)).size, tested: 'untested' })
  const { optionalDependencies, version } = readJson(join(packages, 'package.json'))
  const names = platforms.map(packageName).toSorted().join(' ')
  const pinned = Object.keys(optionalDependencies).filter((name) => optionalDependencies[name] === version)
  expect(pinned.toSorted().join(' '), names)
  const loader = readFileSync(join(root, 'ts/native/load.ts'), 'utf8')
  const required = [...loader.matchAll(/require\('(@balsa-raft\/native-[^']+)'\)/g)].map((match) => match[1])
  expect(required.toSorted().join(' '), names)
  return `${required.length} platforms, each pinned, and a literal require of the loader`
}

function checkTarballs() {
  const addon = addons.get(here.name)
  checkAddon(here, addon)
  const { text, bytes } = checkContents({
    work,
    rootPackage,
    platformPackage: platformPackage(here),
    addon: addonName(here.name),
  })
  return `${text}; addon ${statSync(addon).size} bytes (${bytes} packed), no path of the builder`
}

/** Those of package.json: a new one is tried as soon as it is there. */
function doors() {
  return Object.keys(readJson(join(packages, 'package.json')).exports).map((path) => path.replace('.', 'balsa-raft'))
}

function checkDoors() {
  expect(run(process.execPath, ['esm.mjs'], full), 'same')
  expect(run(process.execPath, ['cjs.cjs'], full), 'function ERR_RAFT_CLOSED')
  const untyped = doors().filter((door) => !typedConsumer.includes(`from '${door}'`))
  if (untyped.length > 0) throw new Error(`the types of ${untyped.join(', ')} are used by nothing in consumer.mjs`)
  return `all ${doors().length} doors, Node ${process.version}`
}

/** The dependencies are packed from the tree's own install, so that nothing is asked of a registry. */
function installBoth() {
  const { dependencies } = readJson(join(root, 'package.json'))
  const names = Object.keys(dependencies)
  dependencyPackages = Object.fromEntries(names.map((name) => [name, pack(join(root, 'node_modules', name))]))
  const others = Object.values(dependencyPackages)
  for (const folder of [full, bare]) consumerFolder(folder)
  npm([...install, rootPackage, platformPackage(here), ...others], full)
  npm([...install, '--omit=optional', rootPackage, ...others], bare)
  writeFileSync(join(full, 'esm.mjs'), esmConsumer(doors()))
  writeFileSync(join(full, 'cjs.cjs'), cjsConsumer(doors()))
  for (const folder of [full, bare]) writeFileSync(join(folder, 'client.mjs'), clientConsumer)
  writeFileSync(join(bare, 'open.mjs'), openConsumer)
  return Object.keys(JSON.parse(npm(['ls', '--json'], full)).dependencies).join(', ')
}

function consumerFolder(folder) {
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), '{ "name": "consumer", "version": "1.0.0", "private": true }\n')
}

/** Packs what lies in a folder; returns the path of the .tgz. */
function pack(folder) {
  const packed = JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', work], folder))
  // npm 11 answers with a list; newer ones with an object by name.
  const [{ filename }] = Object.values(packed)
  return join(work, filename.replace('@', '').replace('/', '-'))
}

function platformPackage({ name }) {
  return pack(join(packages, 'npm', name))
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
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

/** Runs the sample of the README in the folder, on ports that are free, by the command, whose last word it becomes. */
async function runSample([program, ...args], folder) {
  const [, sample = ''] = /```js\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? []
  const said = /console\.log\(.*\) \/\/ (.*)\n/.exec(sample)?.[1]
  const address = '`127.0.0.1:${7600 + n}`'
  if (said === undefined || !sample.includes(address))
    throw new Error('the sample in README.md is written in another way')
  const ports = JSON.stringify(await freePorts(4))
  writeFileSync(join(folder, 'sample.mjs'), sample.replace(address, `\`127.0.0.1:\${${ports}[n]}\``))
  rmSync(join(folder, 'data'), { recursive: true, force: true })
  expect(run(program, [...args, 'sample.mjs'], folder), said)
}

/**
 * Runs tests of the tree under a Node, with the addon of its package in the place of the built one; returns the closing
 * line.
 */
function runTests({ name }, node, pattern) {
  const args = ['scripts/test.mjs', '--node', node, '--file-deadline-s', String(TEST_FILE_DEADLINE_S), ...pattern]
  return withAddon(join(addonFolder, addonName(name)), addons.get(name), () =>
    run(process.execPath, args, root, TESTS_DEADLINE_MS).split('\n').at(-1),
  )
}

async function checkNode(node) {
  expect(run(node, ['esm.mjs'], full), 'same')
  await runSample([node], full)
  const version = run(node, ['--version'], full)
  const tests = await runTests(here, node, options['all-tests'] ? [] : ['/(storage|server)/'])
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
    consumerFolder(folder)
    // npm refuses what is for another machine, unless it is forced.
    const target = ['--force', `--os=${platform.os}`, `--cpu=${platform.cpu}`, `--libc=${platform.libc}`]
    npm([...install, ...target, rootPackage, platformPackage(platform), ...Object.values(dependencyPackages)], folder)
    const emulated = platform.cpu === process.arch ? '' : ', emulated by qemu'
    const place = `Node ${run(node, ['--version'], folder)} on ${platform.libc}${emulated}`
    if (platform.libc === 'musl' && emulated !== '') {
      // musl asks the kernel for robust mutexes, which LMDB needs and qemu's user mode does not have: no store opens.
      const script = `console.log(Object.keys(require('${packageName(platform)}')).length)`
      it.tested = `loaded only (${run(node, ['-e', script], folder)} exports): ${place}, which has no robust mutexes`
    } else {
      await runSample([node], folder)
      const tests = await runTests(platform, node, ['/storage/'])
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
  for (const tarball of [rootPackage, platformPackage(here)]) {
    const bytes = readFileSync(tarball)
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
    const { messages, pkg } = await publint({ pack: { tarball: buffer }, strict: true })
    // The tool gives a platform package no `type`, and its one file, which is no JavaScript, needs none.
    const real = messages.filter(({ code }) => code !== 'USE_TYPE' || tarball === rootPackage)
    if (real.length > 0) throw new Error(real.map((each) => formatMessage(each, pkg, { color: false })).join('; '))
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
