/**
 * Where people run a library: bundled into one file, as CommonJS or not; inside the realm of a test runner; on a
 * runtime whose sockets are not Node's inside; in workers that share what they listen on.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { buildSync } from 'esbuild'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { platformName } from '#balsa/native/load.js'
import { takeOver } from '#balsa/transport/tcp/take-over.js'
import { freeAddresses } from '../../support/free-addresses.js'

const test = suite('surroundings')

const ADDON = join(process.cwd(), 'dist/native', `balsa-native.${platformName()}.node`)

/** One server by itself on each store, from its first start to its answer; arguments: addresses. */
const PROGRAM = `
import { defineStateMachine, fileStore, msgpackCodec, nativeStore, Raft } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'

async function main() {
  for (const [at, storage] of [fileStore(), nativeStore()].entries()) {
    const address = process.argv[2 + at]
    const raft = await Raft.open({
      id: 's1',
      dir: 'data/' + at,
      bootstrap: [{ id: 's1', address }],
      storage,
      transport: tcp({ listen: address }),
      logger: false,
      codec: msgpackCodec(),
      stateMachine: defineStateMachine({ apply: (batch) => batch.map(({ command }) => command) }),
    })
    await raft.ready()
    console.log(await raft.apply('said'))
    await raft.close()
  }
}
main()
`

test('a bundle runs, as CommonJS and as a module', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-bundle-'))
  try {
    for (const format of ['cjs', 'esm'] as const) {
      const outfile = join(dir, `bundle.${format === 'cjs' ? 'cjs' : 'mjs'}`)
      // A package in CommonJS asks for a `require`, which a bundle that is a module does not have by itself.
      const banner =
        "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)"
      buildSync({
        stdin: { contents: PROGRAM, resolveDir: process.cwd() },
        ...{ bundle: true, platform: 'node', format, outfile, logLevel: 'error' },
        banner: format === 'esm' ? { js: banner } : {},
      })
      assert.is(ran(outfile, dir, [], await freeAddresses(2)), 'said\nsaid\n', format)
      rmSync(join(dir, 'data'), { recursive: true })
    }
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('a bundle finds the addon as a file beside it, and says without it what to do when a server is opened', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-bundle-'))
  const run = async (): Promise<string> => {
    const env = { ...process.env, BALSA_NATIVE_PATH: '' }
    const args = ['bundle.cjs', ...(await freeAddresses(2))]
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: dir, env, encoding: 'utf8', timeout: 30_000 })
    rmSync(join(dir, 'data'), { recursive: true })
    return stdout + stderr
  }
  try {
    buildSync({
      stdin: { contents: PROGRAM, resolveDir: process.cwd() },
      ...{ bundle: true, platform: 'node', format: 'cjs', outfile: join(dir, 'bundle.cjs'), logLevel: 'error' },
    })
    const said = await run()
    assert.match(said, /^said\n[\s\S]*ERR_RAFT_NATIVE_UNAVAILABLE/)
    const remedies = ['a bundle carries no .node file', 'esbuild --external:balsa-raft', 'webpack externals']
    for (const part of [...remedies, `copy ${basename(ADDON)} out of`]) assert.ok(said.includes(part), part)
    copyFileSync(ADDON, join(dir, basename(ADDON)))
    assert.is(await run(), 'said\nsaid\n')
  } finally {
    rmSync(dir, { recursive: true })
  }
})

/**
 * Loads the library into a context of its own, as jest does: its classes, `Error` among them, are not those of Node's
 * modules. What jest gives a context is given here too.
 */
const OTHER_REALM = `
import { createContext, SourceTextModule, SyntheticModule } from 'node:vm'
import { readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { fileURLToPath } from 'node:url'

const globals = ['process', 'Buffer', 'console', 'performance', 'URL', 'TextEncoder', 'TextDecoder', 'AbortController']
const timers = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'queueMicrotask']
const context = createContext(Object.fromEntries([...globals, ...timers].map((name) => [name, globalThis[name]])))
const modules = new Map()

async function moduleAt(url) {
  if (!modules.has(url)) modules.set(url, url.startsWith('file:') && url.includes('/dist/') ? inside(url) : outside(url))
  return modules.get(url)
}

function inside(url) {
  const initializeImportMeta = (meta) => Object.assign(meta, { url })
  return new SourceTextModule(readFileSync(fileURLToPath(url), 'utf8'), { context, identifier: url, initializeImportMeta })
}

async function outside(url) {
  const loaded = await import(url)
  return new SyntheticModule(Object.keys(loaded), function () {
    for (const name of Object.keys(loaded)) this.setExport(name, loaded[name])
  }, { context, identifier: url })
}

const link = (specifier, from) => {
  if (isBuiltin(specifier)) return moduleAt(specifier)
  return moduleAt(specifier.startsWith('.') ? new URL(specifier, from.identifier).href : import.meta.resolve(specifier))
}

const program = new SourceTextModule(readFileSync(process.env.PROGRAM, 'utf8'), { context, identifier: import.meta.url })
await program.link(link)
await program.evaluate()
`

test('it runs in the realm of a test runner, where the errors of node:fs are instances of another class', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-realm-'))
  // Inside the package, so that `balsa-raft` means this one.
  const script = join(process.cwd(), 'build', `other-realm-${process.pid}.mjs`)
  const program = join(dir, 'program.mjs')
  try {
    writeFileSync(script, OTHER_REALM)
    writeFileSync(program, PROGRAM)
    const flags = ['--experimental-vm-modules', '--no-warnings']
    assert.is(ran(script, dir, flags, await freeAddresses(2), program), 'said\nsaid\n')
  } finally {
    rmSync(script, { force: true })
    rmSync(dir, { recursive: true })
  }
})

/**
 * Workers of `node:cluster`, one after the other, each with a folder and an address; says what became of each. They
 * find no program flock, which would keep them out of the folder by itself.
 */
const CLUSTER = `
import cluster from 'node:cluster'
import { fileStore, msgpackCodec, Raft } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'

const servers = [process.argv[2], process.argv[3]].map((address, at) => ({ id: 's' + (at + 1), address }))
if (cluster.isPrimary) {
  cluster.setupPrimary({ args: process.argv.slice(2) })
  for (const [id, dir, address] of [['s1', 'a', 0], ['s1', 'a', 1], ['s2', 'b', 0]]) {
    const worker = cluster.fork({ PATH: '', ID: id, DIR: dir, ADDRESS: servers[address].address })
    console.log(await new Promise((resolve) => worker.once('message', resolve)))
  }
  process.exit()
}
const { ID: id, DIR: dir, ADDRESS: listen } = process.env
Raft.open({
  ...{ id, dir, bootstrap: servers, storage: fileStore(), transport: tcp({ listen }), logger: false, codec: msgpackCodec() },
  stateMachine: { apply: (batch) => batch },
}).then(
  () => process.send('open'),
  (error) => process.send(error.code),
)
`

test('in workers of node:cluster an address and a folder belong to one, as in any other processes', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'balsa-cluster-'))
  const script = join(process.cwd(), 'build', `cluster-${process.pid}.mjs`)
  try {
    writeFileSync(script, CLUSTER)
    const said = ran(script, dir, [], await freeAddresses(2))
    assert.is(said, 'open\nERR_RAFT_DIR_LOCKED\nERR_RAFT_LISTEN\n')
  } finally {
    rmSync(script, { force: true })
    rmSync(dir, { recursive: true })
  }
})

test('the socket of another runtime, which has something else in the field of its handle, stays what it is', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const socket = await accepted
  const inside = socket as Socket & { _handle: unknown }
  const handle = inside._handle
  try {
    inside._handle = {}
    assert.is(takeOver(socket, { buffer: () => new Uint8Array(16), callback: () => true }), null)
    assert.not(socket.destroyed)
  } finally {
    inside._handle = handle
    socket.destroy()
    client.destroy()
    server.close()
  }
})

function ran(
  script: string,
  cwd: string,
  flags: readonly string[],
  addresses: readonly string[],
  program?: string,
): string {
  const env = { ...process.env, BALSA_NATIVE_PATH: ADDON, ...(program === undefined ? {} : { PROGRAM: program }) }
  return execFileSync(process.execPath, [...flags, script, ...addresses], {
    cwd,
    env,
    encoding: 'utf8',
    timeout: 30_000,
  })
}

test.run()
