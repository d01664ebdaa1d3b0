/**
 * What the native store refuses, through Node: typed errors that name the thing and the remedy, and files left
 * untouched.
 */

import { spawnSync } from 'node:child_process'
import { access, copyFile, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure, RaftError } from '#balsa/errors.js'
import type { RaftErrorCode } from '#balsa/errors.js'
import { BlockWriter, sealBlock } from '#balsa/format/block.js'
import { loadNative, nativeError, NATIVE_EXPORTS, platformName } from '#balsa/native/load.js'
import { fileStore, nativeStore } from '#balsa/storage/index.js'
import type { LogStore } from '#balsa/storage/index.js'
import { logIndex, termOf } from '#balsa/types.js'

import { append, blockOf } from '#balsa/testing/conformance/blocks.js'
import { refusal } from '../support/failure.js'
import { until } from '../support/until.js'
import { laterConfiguration } from './later-configuration.js'
import { inDirectory, MODES, withStore } from './lmdb-harness.js'
import type { NativeMode } from './lmdb-harness.js'

const test = suite('native store: what it refuses')

const dist = fileURLToPath(new URL('../../../dist', import.meta.url))

for (const mode of MODES) {
  const { name, factory, withStore } = mode
  test(`a damaged entry is named by the read that meets it, and the file is left as it is (${name})`, async () => {
    await inDirectory(async (dir) => {
      await fill(mode, dir, 3)
      const file = join(dir, 'data.mdb')
      const bytes = await readFile(file)
      const at = bytes.indexOf(Buffer.alloc(3000, 2))
      assert.ok(at > 0)
      bytes[at + 500] = 0xff
      await writeFile(file, bytes)
      await withStore(dir, async (store) => {
        const error = await refusal(store.read(logIndex(1), logIndex(4), 1 << 20), 'ERR_RAFT_STORE_CORRUPT')
        assert.match(error.message, 'data.mdb')
        assert.match(error.message, 'index 2')
        assert.is((await store.read(logIndex(3), logIndex(4), 1 << 20)).length, 1)
        assert.is(store.poll().fault, null)
      })
      assert.is((await readFile(file))[at + 500], 0xff)
    })
  })

  test(`D4 damage that open meets refuses it, and data.mdb stays byte for byte (${name})`, async () => {
    await inDirectory(async (dir) => {
      await fill(mode, dir, 3)
      const file = join(dir, 'data.mdb')
      const bytes = await readFile(file)
      // Also on pages of before: which of them is the newest depends on how many transactions it took.
      const entry = Buffer.alloc(3000, 3)
      for (let at = bytes.indexOf(entry); at >= 0; at = bytes.indexOf(entry)) bytes[at + 1] = 0xff
      await writeFile(file, bytes)
      await refusal(
        withStore(dir, async () => {}),
        'ERR_RAFT_STORE_CORRUPT',
      )
      assert.ok((await readFile(file)).equals(bytes))
    })
  })

  test(`a configuration of a later version is no damage: the refusal names the version and says to upgrade (${name})`, async () => {
    await inDirectory(async (dir) => {
      await withStore(dir, async (store) => {
        const ticket = store.submit([append(laterConfiguration(1, 1))])
        await until('it is durable', () => store.poll().durable >= ticket)
        const error = await refusal(store.read(logIndex(1), logIndex(2), 1 << 20), 'ERR_RAFT_STORE_FORMAT')
        assert.match(error.message, 'at index 1: configuration of a later version: its format version is 9')
      })
      const error = await refusal(
        withStore(dir, async () => {}),
        'ERR_RAFT_STORE_FORMAT',
      )
      assert.match(error.message, /its format version is 9, this server reads version 1; upgrade this server/)
    })
  })

  test(`several stores in one process live side by side (${name})`, async () => {
    await inDirectory(async (dir) => {
      const dirs = ['a', 'b', 'c'].map((name) => join(dir, name))
      await Promise.all(dirs.map((each, n) => fill(mode, each, n + 1)))
      const lasts = await Promise.all(dirs.map((each) => withStore(each, async (_, state) => state.lastIndex)))
      assert.equal(lasts, [1, 2, 3])
    })
  })

  test(`close during open waits for it, and a store that was never opened closes at once (${name})`, async () => {
    await inDirectory(async (dir) => {
      await factory().create(dir).close()
      const store = factory().create(dir)
      const opening = store.open(() => {})
      await store.close()
      await opening
      assert.throws(() => store.submit([append(blockOf(1, 1, [1]))]), isCode('ERR_RAFT_CLOSED'))
      await withStore(dir, async (_, state) => assert.is(state.bootCounter, 2))
    })
  })

  test(`a read of entries that a truncation has removed gives nothing, and one entry larger than the slice comes whole (${name})`, async () => {
    await inDirectory(async (dir) => {
      await withStore(dir, async (store) => {
        await put(store, 1, 700_000)
        assert.equal(await store.read(logIndex(2), logIndex(5), 100), [])
        const [block] = await store.read(logIndex(1), logIndex(9), 100)
        assert.is(block?.last, 1)
      })
    })
  })

  test(`a newer format is refused, and nothing in it changes (${name})`, async () => {
    await inDirectory(async (dir) => {
      await fill(mode, dir, 1)
      await writeFile(join(dir, 'FORMAT'), `balsa-store 7 ${name}\n`)
      const before = await readFile(join(dir, 'data.mdb'))
      const error = await refusal(
        withStore(dir, async () => {}),
        'ERR_RAFT_STORE_FORMAT',
      )
      assert.match(error.message, 'version 7')
      assert.ok((await readFile(join(dir, 'data.mdb'))).equals(before))
    })
  })
}

test('the addon exports exactly what the loader asks for', () => {
  const exported = Object.keys(loadNative()).toSorted()
  assert.equal(exported, NATIVE_EXPORTS.toSorted())
})

test('a foreign directory is refused, and nothing in it changes', async () => {
  await inDirectory(async (dir) => {
    await writeFile(join(dir, 'notes.txt'), 'not yours')
    const error = await refusal(
      withStore(dir, async () => {}),
      'ERR_RAFT_DIR_UNUSABLE',
    )
    assert.match(error.message, dir)
    assert.match(error.message, 'empty directory')
    assert.equal(await readdir(dir), ['notes.txt'])
  })
})

test('a relative directory is the one it was when the store was made, wherever the process goes', async () => {
  const home = process.cwd()
  for (const { name, create } of [nativeStore(), fileStore()]) {
    await inDirectory(async (dir) => {
      await mkdir(join(dir, 'elsewhere'))
      try {
        process.chdir(dir)
        const store = create('store')
        const opening = store.open(() => {})
        process.chdir('elsewhere')
        await opening
        await store.close()
      } finally {
        process.chdir(home)
      }
      assert.equal(await readdir(join(dir, 'elsewhere')), [], name)
      await access(join(dir, 'store', 'FORMAT'))
    })
  }
})

test('broken calls are assertion failures, never errors about the world', async () => {
  const native = loadNative()
  assert.throws(() => native.submit(4_000_000, new Uint8Array(8), 8), /INVALID: handle/)
  assert.ok(nativeError(new Error('INVALID: something')) instanceof AssertionFailure)
  assert.ok(nativeError(new Error('no code at all')) instanceof AssertionFailure)
  assert.not.ok(native.verify(new Uint8Array(0)))
  await inDirectory(async (dir) => {
    await withStore(dir, async (store) => {
      assert.throws(() => store.seal(new Uint8Array(64), 0), isDefect)
      assert.throws(() => store.submit([]), isDefect)
    })
  })
})

test('without the addon the error names the package, the platform as seen, each cause and every remedy', async () => {
  await inDirectory(async (dir) => {
    await libraryWithoutAddon(dir)
    const { code, message, causes } = failureIn(dir)
    const name = `@balsa-raft/native-${platformName()}`
    assert.is(code, 'ERR_RAFT_NATIVE_UNAVAILABLE')
    assert.match(message, `it needs the package ${name}`)
    assert.match(message, systemSeen())
    assert.match(message, `${name}: Cannot find module '${name}'`)
    const local = join(dir, 'native', `balsa-native.${platformName()}.node`)
    assert.match(message, `${local}: Cannot find module '${local}'`)
    assert.is(causes, 2)
    assert.match(message, 'npm install --include=optional')
    assert.match(message, 'BALSA_NATIVE_PATH')
    assert.match(message, 'npm run build')
    assert.match(message, 'for a fresh directory: storage: fileStore()')
  })
})

test('a package that is there and does not load is named with its own cause, and so is one of another version', async () => {
  await inDirectory(async (dir) => {
    await libraryWithoutAddon(dir)
    const name = `@balsa-raft/native-${platformName()}`
    const installed = join(dir, 'node_modules', name)
    await mkdir(installed, { recursive: true })
    await writeFile(join(installed, 'index.js'), "throw new Error('GLIBC_2.99 not found\\nmore')")
    assert.match(failureIn(dir).message, `Tried: ${name}: GLIBC_2.99 not found; `)
    await writeFile(join(installed, 'index.js'), 'exports.create = () => null')
    assert.match(failureIn(dir).message, `Tried: ${name}: it is of another version`)
  })
})

test('on a platform that has no package the error says so, and offers no package', async () => {
  await inDirectory(async (dir) => {
    await libraryWithoutAddon(dir)
    const { code, message } = failureIn(dir, "Object.defineProperty(process, 'arch', { value: 'riscv64' })")
    assert.is(code, 'ERR_RAFT_NATIVE_UNAVAILABLE')
    assert.match(message, 'cpu riscv64')
    assert.match(message, 'there is no package for it')
    assert.not.match(message, '@balsa-raft/')
    assert.match(message, 'BALSA_NATIVE_PATH')
    assert.match(message, 'storage: fileStore()')
  })
})

test('where addons are switched off the error says how they are switched on', async () => {
  await inDirectory(async (dir) => {
    await libraryWithoutAddon(dir)
    const built = `balsa-native.${platformName()}.node`
    await symlink(join(dist, 'native', built), join(dir, 'native', built))
    const { code, message } = failureIn(dir, '', ['--no-addons'])
    assert.is(code, 'ERR_RAFT_NATIVE_UNAVAILABLE')
    assert.match(message, 'run Node with --allow-addons (under --permission), and without --no-addons')
    assert.not.match(message, 'bundled')
  })
})

test('to tell the libc no report is made that resolves the names of peers', () => {
  const watched = `const { report } = process
    const { getReport } = report
    report.getReport = () => (report.excludeNetwork ? getReport.call(report) : process.exit(1))`
  const script = `${watched};import('${join(dist, 'native/load.js')}').then((m) => console.log(m.platformName()))`
  const { status, stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' })
  assert.is(status, 0)
  assert.is(stdout.trim(), platformName())
})

test('without cargo the build of the addon ends with one sentence that says what to install', async () => {
  await inDirectory(async (dir) => {
    await mkdir(join(dir, 'scripts/pack'), { recursive: true })
    const scripts = fileURLToPath(new URL('../../../scripts', import.meta.url))
    for (const name of ['build-native.mjs', 'pack/addon.mjs']) {
      await copyFile(join(scripts, name), join(dir, 'scripts', name))
    }
    await withDetectLibc(dir)
    for (const name of ['src', 'crates', 'Cargo.toml', 'Cargo.lock', 'build.rs']) await writeFile(join(dir, name), '')
    const script = join(dir, 'scripts/build-native.mjs')
    const built = spawnSync(process.execPath, [script], { encoding: 'utf8', env: { ...process.env, PATH: dir } })
    assert.is(built.status, 1)
    assert.match(built.stderr, /^build-native: cargo is not on PATH.* Install Rust [^\n]*\n$/)
  })
})

test('the package of the platform is preferred to the file that was built here', async () => {
  await inDirectory(async (dir) => {
    const name = `@balsa-raft/native-${platformName()}`
    await mkdir(join(dir, 'node_modules', name), { recursive: true })
    await libraryWithoutAddon(dir)
    const built = `balsa-native.${platformName()}.node`
    await symlink(join(dist, 'native', built), join(dir, 'native', built))
    const functions = NATIVE_EXPORTS.map((each) => `exports.${each} = () => 'from the package'`).join('\n')
    await writeFile(join(dir, 'node_modules', name, 'index.js'), functions)
    const script = `import('${join(dir, 'native/load.js')}').then((m) => console.log(m.loadNative().create()))`
    const said = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', cwd: dir }).stdout
    assert.is(said.trim(), 'from the package')
  })
})

test('BALSA_NATIVE_PATH is loaded instead of everything else, and nothing else is tried when it does not load', async () => {
  await inDirectory(async (dir) => {
    const functions = NATIVE_EXPORTS.map((each) => `exports.${each} = () => 'from the variable'`).join('\n')
    await writeFile(join(dir, 'other.cjs'), functions)
    await writeFile(join(dir, 'old.cjs'), 'exports.create = () => null')
    // The built library: the addon lies beside it, and would load.
    const script = `import('${join(dist, 'native/load.js')}').then((m) => console.log(m.loadNative().create())).catch((e) => console.log(e.code, e.message))`
    const load = (path: string): string =>
      spawnSync(process.execPath, ['-e', script], {
        encoding: 'utf8',
        cwd: dir,
        env: { ...process.env, BALSA_NATIVE_PATH: path },
      }).stdout
    assert.is(load(join(dir, 'other.cjs')).trim(), 'from the variable')
    assert.is(load('other.cjs').trim(), 'from the variable', 'relative to the working directory')
    for (const name of ['absent.node', 'old.cjs']) {
      const said = load(name)
      assert.match(said, 'ERR_RAFT_NATIVE_UNAVAILABLE')
      assert.match(said, `Tried: BALSA_NATIVE_PATH (${name}): `)
      assert.match(said, systemSeen())
      assert.match(said, 'unset it')
      assert.match(said, 'storage: fileStore()')
      assert.not.match(said, 'npm install')
    }
  })
})

/** The built library as far as the loader needs it, without its .node file. */
async function libraryWithoutAddon(dir: string): Promise<void> {
  await mkdir(join(dir, 'native'))
  for (const name of ['errors.js', 'foreign-values.js', 'native/load.js', 'native/unavailable.js'])
    await copyFile(join(dist, name), join(dir, name))
  await writeFile(join(dir, 'package.json'), '{ "type": "module" }')
  await withDetectLibc(dir)
}

/** The one package that the loader and the build import. */
async function withDetectLibc(dir: string): Promise<void> {
  await mkdir(join(dir, 'node_modules'), { recursive: true })
  await symlink(join(dist, '../node_modules/detect-libc'), join(dir, 'node_modules/detect-libc'))
}

/** What the loader of the library in `dir` says when it fails, in a process of its own, after `before`. */
function failureIn(
  dir: string,
  before = '',
  flags: readonly string[] = [],
): { readonly code: string; readonly message: string; readonly causes: number } {
  const report =
    'console.log(JSON.stringify({ code: e.code, message: e.message, causes: e.cause.errors?.length ?? 1 }))'
  const script = `${before};import('${join(dir, 'native/load.js')}').then((m) => m.loadNative()).catch((e) => ${report})`
  const env = { ...process.env, BALSA_NATIVE_PATH: '' }
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, '-e', script], { encoding: 'utf8', cwd: dir, env })
  if (stdout === '') throw new Error(`nothing failed: ${stderr}`)
  return JSON.parse(stdout) as { code: string; message: string; causes: number }
}

function systemSeen(): string {
  const libc = platformName().endsWith('-musl') ? 'musl' : 'glibc'
  const seen = `os ${process.platform}, cpu ${process.arch}`
  return process.platform === 'linux' ? `${seen}, libc ${libc}` : seen
}

/** Entries 1 .. count, each of 3000 bytes that are its index: enough for pages of their own, which are written once. */
async function fill(mode: NativeMode, dir: string, count: number): Promise<void> {
  await mode.withStore(dir, async (store) => {
    for (let index = 1; index <= count; index += 1) await put(store, index, 3000)
  })
}

async function put(store: LogStore, index: number, length: number): Promise<void> {
  const writer = new BlockWriter()
  writer.begin(logIndex(index), termOf(1))
  writer.add('command', 1, new Uint8Array(length).fill(index))
  const ticket = store.submit([append(writer.finish(sealBlock))])
  // A turn at a time: these tests have no wake of their own.
  while (store.poll().durable < ticket) await new Promise((resolve) => setImmediate(resolve))
}

function isCode(code: RaftErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof RaftError && error.code === code
}

function isDefect(error: unknown): boolean {
  return error instanceof AssertionFailure
}

test.run()
