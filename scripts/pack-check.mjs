/**
 * `npm run pack:check`: packs the library and the platform package of this machine, installs both in empty folders with
 * install scripts off and no network, and uses them there as a stranger would. Prints each step, then the table of
 * platforms with what was seen of each on this machine. All steps run; the exit code is 0 only when none failed.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { ensureBuilt, root } from './ensure-built.mjs'
import { builtAddon, manifestFiles, packPlatform, packRoot } from './pack.mjs'
import { cjsConsumer, esmConsumer, openConsumer, typedConsumer, typeSettings } from './pack/consumer.mjs'
import { packageName, platforms, thisPlatform } from './pack/platforms.mjs'

const ROOT_BYTES_MAX = 400_000
const ADDON_BYTES_MAX = 2_000_000
const OTHER_NODES = [22, 24]
const STEP_TIMEOUT_MS = 120_000

class Skipped extends Error {}

const results = []
const nodesSeen = []
const work = mkdtempSync(join(tmpdir(), 'balsa-pack-'))
const full = join(work, 'full')
const bare = join(work, 'bare')
const here = thisPlatform()
const env = { ...process.env, BALSA_NATIVE_PATH: '' }
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
  await step('the manifests in npm/ and the loader follow the table', checkTable)
  await step('sizes and contents', checkTarballs)
  await step('install, with no scripts and no network', installBoth)
  await step('import and require', () => {
    expect(run(process.execPath, ['esm.mjs'], full), 'same')
    expect(run(process.execPath, ['cjs.cjs'], full), 'function ERR_RAFT_CLOSED')
    return `all six doors, Node ${process.version}`
  })
  for (const name of Object.keys(typeSettings)) await step(`types under ${name}`, () => checkTypes(name))
  await step(`README sample, Node ${process.version}`, () => useNode(process.execPath))
  for (const major of OTHER_NODES) await step(`Node ${major}: sample and tests, same binary`, () => checkNode(major))
  await step('without the platform package, the error says what to do', checkMissing)
  await step('publint', lintPackages)
  await step('are the types wrong', checkResolution)
  await step('SBOM', () => {
    const sbom = npm(['sbom', '--sbom-format', 'cyclonedx'], full)
    return `${sbom.length} bytes, ${JSON.parse(sbom).components.length} components`
  })
  printPlatforms()
  const failed = results.filter(({ ok }) => !ok)
  print(
    failed.length === 0 ? '\npack:check: all ok' : `\npack:check: FAILED: ${failed.map(({ name }) => name).join('; ')}`,
  )
  process.exitCode = failed.length === 0 ? 0 : 1
}

async function step(name, body) {
  try {
    print(`ok       ${name}: ${await body()}`)
    results.push({ name, ok: true })
  } catch (error) {
    const skipped = error instanceof Skipped
    print(`${skipped ? 'skipped ' : 'FAILED  '} ${name}: ${error.message}`)
    results.push({ name, ok: skipped })
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

function checkTarballs() {
  rootPackage = packRoot(work)
  platformPackage = packPlatform(work, here, builtAddon(here))
  const bytes = statSync(rootPackage).size
  const addonBytes = statSync(builtAddon(here)).size
  for (const path of filesIn(rootPackage)) {
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
  if (addonBytes >= ADDON_BYTES_MAX) throw new Error(`the addon has ${addonBytes} bytes, at most ${ADDON_BYTES_MAX}`)
  const packed = statSync(platformPackage).size
  return `root ${bytes} bytes packed, addon ${addonBytes} bytes (${packed} packed), ${filesIn(rootPackage).length} + 4 files`
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
  const install = ['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund']
  npm([...install, rootPackage, platformPackage, join(work, filename)], full)
  npm([...install, '--omit=optional', rootPackage, join(work, filename)], bare)
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

/** Runs the sample of the README in the folder, on ports that are free. */
async function useNode(node) {
  const [, sample = ''] = /```js\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? []
  const said = /console\.log\(.*\) \/\/ (.*)\n/.exec(sample)?.[1]
  const address = '`127.0.0.1:${7600 + n}`'
  if (said === undefined || !sample.includes(address))
    throw new Error('the sample in README.md is written in another way')
  const ports = JSON.stringify(await freePorts(4))
  writeFileSync(join(full, 'sample.mjs'), sample.replace(address, `\`127.0.0.1:\${${ports}[n]}\``))
  rmSync(join(full, 'data'), { recursive: true, force: true })
  expect(run(node, ['sample.mjs'], full), said)
  const version = run(node, ['--version'], full)
  nodesSeen.push(version)
  return `printed ${said}`
}

async function checkNode(major) {
  const node = otherNode(major)
  expect(run(node, ['esm.mjs'], full), 'same')
  await useNode(node)
  const tests = ['node_modules/uvu/bin.js', 'build/test', String.raw`(storage|server)/.*\.test\.js$`]
  const summary = stripVTControlCharacters(run(node, tests, root))
  return `${run(node, ['--version'], root)}, sample, and ${/Passed: +(\d+)/.exec(summary)?.[1]} tests of store and server`
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
  for (const part of ['ERR_RAFT_NATIVE_UNAVAILABLE', packageName(here), `for ${here.name}`, 'Install @balsa-raft/']) {
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
  const tested = results.every(({ ok }) => ok) ? `yes: Node ${nodesSeen.join(', ')}` : 'FAILED'
  print('\n| target | built here | tested here |\n| --- | --- | --- |')
  for (const platform of platforms) {
    print(`| ${platform.name} | ${platform === here ? 'yes' : 'no'} | ${platform === here ? tested : 'no: untested'} |`)
  }
}

function filesIn(tarball) {
  return execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n')
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))))
  const ports = servers.map((server) => server.address().port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

function npm(args, cwd) {
  return run('npm', args, cwd)
}

function run(command, args, cwd) {
  // On Windows npm is a .cmd file, which only a shell starts.
  const shell = process.platform === 'win32' && command === 'npm'
  const result = spawnSync(command, args, { cwd, env, shell, encoding: 'utf8', timeout: STEP_TIMEOUT_MS })
  if (result.error !== undefined) throw new Error(`${command} could not be run: ${result.error.message}`)
  if (result.status !== 0) {
    throw new Error(
      `${[command, ...args].join(' ')} ended with ${result.status ?? result.signal}:\n${result.stdout}${result.stderr}`,
    )
  }
  return result.stdout.trim()
}

function expect(actual, expected) {
  if (actual !== expected) throw new Error(`expected ${expected}, and got ${actual}`)
}

function print(text) {
  process.stdout.write(`${text}\n`)
}
