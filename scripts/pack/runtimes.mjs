/**
 * The packages under other runtimes and through bundlers, as a stranger meets them: a small service (consumer.mjs) runs
 * from what was installed, and where something does not work the library says so when it is opened, with a way out. The
 * tools are no dependency of the tree: `npm ci` would fetch 250 MB more for what only this check asks for. They are
 * pinned in runtimes/, installed into build/runtimes when they are first asked for, and kept there.
 */

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { buildSync } from 'esbuild'
import { root } from '../ensure-built.mjs'
import { addonName } from './addon.mjs'
import { SERVED, serviceConsumer } from './consumer.mjs'
import { packageName, platforms, thisPlatform as here } from './platforms.mjs'
import { answer, expect, freeAddresses, run, Skipped, step } from './steps.mjs'

const PINNED = join(root, 'scripts/pack/runtimes')
const INSTALLED = join(root, 'build/runtimes')
const INSTALL_DEADLINE_MS = 600_000
const NOT_HERE = 'ERR_RAFT_NATIVE_UNAVAILABLE'
/** What a bundle that is a module needs for packages in CommonJS. */
const REQUIRE = "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)"

/**
 * All steps; `full` is a folder in which the packages are installed, `work` one for more, `addon` the file of this
 * platform, `tarballs` a package's name to its file, `runSample` what runs the sample of the README.
 */
export async function checkRuntimes({ full, work, addon, tarballs, packages, runSample }) {
  writeFileSync(join(full, 'service.mjs'), serviceConsumer)
  const isThere = await step('the runtimes, as they are pinned', installTools)
  if (!isThere) return
  await step('Bun', () => checkBun(full, runSample))
  await step('Deno', () => checkDeno(full, runSample))
  for (const [name, bundle] of Object.entries(bundlers)) {
    await step(name, () => checkBundle(name, bundle, { full, work, addon }))
  }
  await step('bun build --compile', () => checkBunProgram({ full, work, addon }))
  await step('Yarn with Plug and Play', () => checkYarn({ work, tarballs, packages }))
  await step('Electron', () => checkElectron(full))
}

function installTools() {
  const names = ['package.json', 'package-lock.json']
  const complete = join(INSTALLED, 'node_modules/.package-lock.json')
  const isSame = names.every((name) => textOf(join(INSTALLED, name)) === textOf(join(PINNED, name)))
  if (!isSame || !existsSync(complete)) {
    mkdirSync(INSTALLED, { recursive: true })
    for (const name of names) copyFileSync(join(PINNED, name), join(INSTALLED, name))
    try {
      const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund']
      run('npm', args, INSTALLED, INSTALL_DEADLINE_MS)
    } catch (error) {
      throw new Skipped(`they could not be installed: ${error.message.split('\n', 2).join(' ')}`)
    }
  }
  const { dependencies } = JSON.parse(textOf(join(PINNED, 'package.json')))
  return Object.entries(dependencies)
    .map((each) => each.join(' '))
    .join(', ')
}

function textOf(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null
}

/** The program that a tool brings for this machine, in a package of its scope. */
function toolProgram(scope, inside) {
  const folder = join(INSTALLED, 'node_modules', scope)
  const names = existsSync(folder) ? readdirSync(folder) : []
  const file = names.map((name) => join(folder, name, inside)).find((path) => existsSync(path))
  if (file === undefined) throw new Skipped('it has no package for this platform')
  return file
}

async function serve(command, args, folder) {
  rmSync(join(folder, 'data'), { recursive: true, force: true })
  expect(run(command, [...args, ...(await freeAddresses(2))], folder), SERVED)
}

/** The service must end, and say that it has no addon, and each of `remedies`. */
async function refuse(command, args, folder, remedies) {
  rmSync(join(folder, 'data'), { recursive: true, force: true })
  const said = answer(command, [...args, ...(await freeAddresses(2))], folder)
  for (const part of [NOT_HERE, ...remedies]) {
    if (!said.includes(part)) throw new Error(`${part} is not in: ${said}`)
  }
}

function bunProgram() {
  return toolProgram('@oven', process.platform === 'win32' ? 'bin/bun.exe' : 'bin/bun')
}

async function checkBun(full, runSample) {
  const bun = bunProgram()
  await serve(bun, ['service.mjs'], full)
  await runSample([bun], full)
  return `${run(bun, ['--version'], full)}: service and sample`
}

async function checkDeno(full, runSample) {
  const deno = toolProgram('@deno', process.platform === 'win32' ? 'deno.exe' : 'deno')
  const packages = ['--no-remote', '--node-modules-dir=manual']
  await serve(deno, ['run', '--allow-all', ...packages, 'service.mjs'], full)
  await runSample([deno, 'run', '--allow-all', ...packages], full)
  const most = ['net', 'read', 'write', 'env', 'sys', 'run'].map((each) => `--allow-${each}`)
  await refuse(deno, ['run', '--no-prompt', ...most, ...packages, 'service.mjs'], full, ['--allow-ffi'])
  return `${run(deno, ['--version'], full).split('\n', 1)[0]}: service and sample; without --allow-ffi it says so`
}

/** Each writes a bundle of the service in `full` to `outfile`; `external` leaves the library out. */
const bundlers = {
  'esbuild, CommonJS': (full, outfile, external) => bundleByEsbuild('cjs', full, outfile, external),
  'esbuild, module': (full, outfile, external) => bundleByEsbuild('esm', full, outfile, external),
  'webpack, CommonJS': (full, outfile, external) => bundleByWebpack('cjs', full, outfile, external),
  'webpack, module': (full, outfile, external) => bundleByWebpack('esm', full, outfile, external),
  'bun build': (full, outfile, external) => {
    const left = external ? ['--external', 'balsa-raft'] : []
    run(bunProgram(), ['build', 'service.mjs', '--target=node', ...left, `--outfile=${outfile}`], full)
  },
}

function bundleByEsbuild(format, full, outfile, external) {
  buildSync({
    ...{ entryPoints: [join(full, 'service.mjs')], bundle: true, platform: 'node', format, outfile, logLevel: 'error' },
    banner: format === 'esm' ? { js: REQUIRE } : {},
    external: external ? ['balsa-raft'] : [],
  })
}

async function bundleByWebpack(format, full, outfile, external) {
  const webpack = createRequire(join(INSTALLED, 'package.json'))('webpack')
  const isModule = format === 'esm'
  const stats = await new Promise((resolve, reject) => {
    webpack(
      {
        ...{ mode: 'production', target: 'node20', context: full, entry: './service.mjs', performance: false },
        experiments: { outputModule: isModule },
        output: { path: join(outfile, '..'), filename: basename(outfile), module: isModule },
        externals: external ? [/^balsa-raft/] : [],
        externalsType: isModule ? 'module' : 'import',
      },
      (error, made) => (error === null ? resolve(made) : reject(new Error(`webpack: ${error.message}`))),
    )
  })
  if (stats.hasErrors()) throw new Error(stats.toString({ all: false, errors: true }))
}

/**
 * A bundle finds the addon where it was made, in a `node_modules` above it, or as a file beside it; without any it says
 * what to do; and one that leaves the library out is a program like any other.
 */
async function checkBundle(name, bundle, { full, work, addon }) {
  const file = name.endsWith('CommonJS') ? 'service.cjs' : 'service.mjs'
  const label = name.replaceAll(/[ ,]+/g, '-')
  const made = join(full, 'bundles', label)
  await bundle(full, join(made, file), false)
  await serve(process.execPath, [file], made)
  const external = join(full, 'bundles', `${label}-external`)
  await bundle(full, join(external, file), true)
  await serve(process.execPath, [file], external)
  const moved = join(work, 'moved', label)
  for (const each of readdirSync(made)) if (each !== 'data') cpSync(join(made, each), join(moved, each))
  // Some bundlers write down where the library lay: on the machine that the bundle is for, it does not.
  await without(join(full, 'node_modules'), async () => {
    const remedies = ['this program is bundled', 'esbuild --external:balsa-raft', 'webpack externals']
    await refuse(process.execPath, [file], moved, [...remedies, addonName(here.name)])
    copyFileSync(addon, join(moved, addonName(here.name)))
    await serve(process.execPath, [file], moved)
  })
  return 'in place, with the library left out, and elsewhere with the addon beside it; without, it says what to do'
}

/** One file with the runtime in it: it finds the addon beside itself, and no package. */
async function checkBunProgram({ full, work, addon }) {
  const folder = join(work, 'moved', 'bun-program')
  const program = join(folder, process.platform === 'win32' ? 'service.exe' : 'service')
  mkdirSync(folder, { recursive: true })
  run(bunProgram(), ['build', '--compile', 'service.mjs', `--outfile=${program}`], full)
  await refuse(program, [], folder, ['this program is bundled', addonName(here.name)])
  copyFileSync(addon, join(folder, addonName(here.name)))
  await serve(program, [], folder)
  return 'with the addon beside it; without, it says what to do'
}

async function without(folder, body) {
  renameSync(folder, `${folder}.away`)
  try {
    await body()
  } finally {
    renameSync(`${folder}.away`, folder)
  }
}

async function checkYarn({ work, tarballs, packages }) {
  const yarn = join(INSTALLED, 'node_modules/@yarnpkg/cli-dist/bin/yarn.js')
  const folder = join(work, 'pnp')
  mkdirSync(join(folder, 'nothing'), { recursive: true })
  writeFileSync(join(folder, 'nothing/package.json'), '{ "name": "nothing", "version": "1.0.0" }')
  const others = platforms.map((platform) => [packageName(platform), `file:${join(packages, 'npm', platform.name)}`])
  const resolutions = {
    // Unlike npm, Yarn wants to see optional packages too before it leaves them out.
    'msgpackr-extract': `file:${join(folder, 'nothing')}`,
    ...Object.fromEntries(others),
    ...Object.fromEntries(Object.entries(tarballs).map(([name, file]) => [name, `file:${file}`])),
  }
  const manifest = { name: 'consumer', private: true, dependencies: { 'balsa-raft': '*' }, resolutions }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'yarn.lock'), '')
  writeFileSync(join(folder, 'service.mjs'), serviceConsumer)
  const settings = {
    ...{ nodeLinker: 'pnp', enableTelemetry: false, enableNetwork: false, enableGlobalCache: false },
    ...{ enableScripts: false, enableImmutableInstalls: false, globalFolder: join(folder, '.global') },
    // It cannot leave out a package that is a folder.
    supportedArchitectures: { os: ['linux', 'darwin', 'win32'], cpu: ['x64', 'arm64'], libc: ['glibc', 'musl'] },
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
  writeFileSync(join(folder, '.yarnrc.yml'), lines.join(''))
  run(process.execPath, [yarn, 'install'], folder)
  await serve(process.execPath, [yarn, 'node', 'service.mjs'], folder)
  return `${run(process.execPath, [yarn, '--version'], folder)}: service`
}

/** Its program is no part of its package: it is fetched from elsewhere, where that can be reached. */
async function checkElectron(full) {
  const folder = join(INSTALLED, 'node_modules/electron')
  const { version } = JSON.parse(textOf(join(folder, 'package.json')))
  if (!existsSync(join(folder, 'path.txt'))) {
    try {
      run(process.execPath, ['install.js'], folder)
    } catch (error) {
      const reason = error.message.split('\n').find((line) => /Error:/.test(line)) ?? error.message
      throw new Skipped(`${version} could not fetch its program, which no package has: ${reason}`)
    }
  }
  const program = join(folder, 'dist', textOf(join(folder, 'path.txt')))
  await serve(program, ['service.mjs'], full)
  return `${version}: service, as Node`
}
