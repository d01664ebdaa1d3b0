/**
 * The style as a test that walks the tree. Every rule is first shown to reject a bad sample, since a rule that rejects
 * nothing looks exactly like a tidy tree; then all of them are run over everything that git tracks or would track.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { codeOnly, importsOf } from './support/source-text.js'
import {
  appImportRule,
  checkerImportRule,
  clockRule,
  corePurityRule,
  engineRule,
  focusRule,
  glossaryRule,
  handwritingRule,
  realmRule,
  homeRule,
  importCircles,
  importRule,
  kvGivenRule,
  placeRule,
  reachRule,
  reminderRule,
  rules,
  stageRule,
  testRunRule,
  transportRule,
} from './support/tidy-rules.js'
import type { Rule, SourceFile } from './support/tidy-rules.js'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')

/** Files that hold the bad samples, as text. */
const samples = new Set(['test/tidy.test.ts', 'test/support/tidy-rules.ts'])

const rejects = (rule: Rule, path: string, text: string): void =>
  assert.is(rule({ path, text }).length, 1, `${path} must be rejected once: ${text}`)

const accepts = (rule: Rule, path: string, text: string): void => assert.equal(rule({ path, text }), [], text)

const reading = suite('reading source')

reading('comments, strings, templates and regular expressions are not code', () => {
  const code = codeOnly("a('Date') // Date\n/* Date\n */ b(`Date ${Date.now(`${c}`)} Date`) / d / /[/'Date]/.e")
  assert.is(code.match(/Date/g)?.length, 1)
  assert.is(code.split('\n').length, 3)
  assert.match(code, /\.e$/)
})

reading('an escaped quote does not end a string', () => {
  assert.not.match(codeOnly("x = 'it\\'s Date'; y = \"\\\\\" + '\\\\'"), /Date/)
})

reading('every form of import is seen, and none in a comment', () => {
  const text = [
    "import { a } from './a.js'",
    "import type {\n  B,\n} from './b.js'",
    "export * from './c.js'",
    "export { d } from './d.js'",
    "import './e.js'",
    "const f = await import('./f.js')",
    "// import { g } from './g.js'",
    "const h = 'h'",
  ].join('\n')
  assert.equal(importsOf(text), ['./a.js', './b.js', './c.js', './d.js', './e.js', './f.js'])
})

reading.run()

const proofs = suite('the rules')

proofs('imports between rooms go down only', () => {
  rejects(importRule, 'ts/core/leader/leader.ts', "import { x } from '../../server/x.js'")
  rejects(importRule, 'ts/core/leader/leader.ts', "import { x } from 'node:fs'")
  rejects(importRule, 'ts/core/leader/leader.ts', "import { x } from '../../format/block.js'")
  rejects(importRule, 'ts/types.ts', "import { x } from './errors.js'")
  rejects(importRule, 'ts/storage/file/file-log-store.ts', "import { x } from '../../native/binding.js'")
  rejects(importRule, 'ts/storage/file/file-log-store.ts', "import { x } from '../../core/messages.js'")
  rejects(importRule, 'ts/transport/tcp/index.ts', "import { x } from '../../core/raft-core.js'")
  rejects(importRule, 'ts/transport/tcp/index.ts', "import type { x } from '../../raft.js'")
  rejects(importRule, 'ts/machine/applier.ts', "export { x } from '../storage/log-store.js'")
  rejects(importRule, 'ts/server/turn/event-loop.ts', "import { x } from '../../raft.js'")
  rejects(importRule, 'ts/server/turn/event-loop.ts', "import { x } from '../../index.js'")
  rejects(importRule, 'ts/server/turn/event-loop.ts', "import { x } from '../../native/binding.js'")
  rejects(importRule, 'ts/format/block.ts', "import { x } from '../core/messages.js'")
  rejects(importRule, 'ts/raft.ts', "const x = await import('./core/raft-core.js')")
  rejects(importRule, 'ts/raft.ts', "import { x } from '../test/support/skip.js'")
  rejects(importRule, 'ts/cellar/x.ts', '')
  accepts(importRule, 'ts/transport/tcp/index.ts', "import type { Message } from '../../core/messages.js'")
  accepts(importRule, 'ts/storage/native/native-log-store.ts', "import { open } from '../../native/binding.js'")
  accepts(importRule, 'ts/server/turn/event-loop.ts', "import { x } from '../../core/raft-core.js'")
  rejects(importRule, 'ts/index.ts', "export { x } from './testing/index.js'")
  rejects(importRule, 'ts/server/turn/event-loop.ts', "import { x } from '../../testing/index.js'")
  rejects(importRule, 'ts/testing/index.ts', "import { suite } from 'uvu'")
  rejects(importRule, 'ts/testing/index.ts', "import { x } from '../index.js'")
  accepts(importRule, 'ts/testing/index.ts', "import { ok } from 'node:assert'\nimport { x } from '../server/x.js'")
})

proofs('no file imports itself by way of others', () => {
  const file = (path: string, text: string): SourceFile => ({ path, text })
  const b = file('ts/b.ts', "import type { A } from './core/a.js'")
  assert.equal(importCircles([file('ts/core/a.ts', "import { x } from '../b.js'"), b]), [
    'a circle of imports: ts/b -> ts/core/a -> ts/b',
  ])
  assert.equal(importCircles([file('ts/core/a.ts', "import { c } from './c.js'"), file('ts/core/c.ts', ''), b]), [])
})

proofs('no part of the server is reached through another', () => {
  rejects(reachRule, 'ts/raft.ts', 'return this.#server.loop.close()')
  rejects(reachRule, 'ts/raft.ts', 'const { core, reads } = this.#server')
  rejects(reachRule, 'ts/server/server.ts', 'if (this.#loop?.mailbox.isClosed) return')
  rejects(reachRule, 'ts/server/turn/ready-runner.ts', 'const { store } = this.#parts')
  accepts(reachRule, 'ts/raft.ts', 'return this.#server.close()')
  accepts(reachRule, 'ts/server/server.ts', 'this.#loop = parts.loop\nthis.#core.step(mail)\nconst { store } = host')
})

proofs('a transport is written with what is behind its door', () => {
  rejects(transportRule, 'ts/transport/tcp/connection.ts', "import { x } from '../wire/frame.js'")
  rejects(transportRule, 'ts/transport/memory/index.ts', "import { x } from '../../types.js'")
  rejects(transportRule, 'ts/transport/tcp/index.ts', "import type { x } from '../memory/index.js'")
  accepts(transportRule, 'ts/transport/tcp/index.ts', "import { x } from '../index.js'\nimport { y } from './y.js'")
  accepts(transportRule, 'ts/transport/tcp/index.ts', "import { assert } from '../../errors.js'\nimport 'node:net'")
  accepts(transportRule, 'ts/transport/wire/frame.ts', "import { x } from '../../format/crc32c.js'")
})

proofs('apps use the library by its name', () => {
  rejects(appImportRule, 'apps/kv/src/main.ts', "import { Raft } from '../../../ts/index.js'")
  rejects(appImportRule, 'apps/kv/src/main.ts', "import { Raft } from '#balsa/raft.js'")
  rejects(appImportRule, 'packages/grpc/src/index.ts', "import { x } from '../../../ts/transport/index.js'")
  rejects(appImportRule, 'examples/queue/service.ts', "import { freePort } from '../../support/free-addresses.js'")
  accepts(appImportRule, 'examples/check/cluster.ts', "import { freePort } from '../../support/free-addresses.js'")
  accepts(appImportRule, 'apps/kv/src/main.ts', "import { Raft } from 'balsa-raft'\nimport { x } from './x.js'")
})

proofs('the checker of histories and the referee share nothing with the product', () => {
  rejects(checkerImportRule, 'test/linearizability/check.ts', "import { x } from '#balsa/types.js'")
  rejects(checkerImportRule, 'test/linearizability/check.ts', "import { x } from 'balsa-kv/x.js'")
  rejects(checkerImportRule, 'test/referee/commits.ts', "import type { x } from '#balsa/core/messages.js'")
  rejects(checkerImportRule, 'test/referee/commits.ts', "import { x } from '../../ts/core/raft-log.js'")
  rejects(checkerImportRule, 'test/referee/commits.ts', "import { x } from '../support/random-run.js'")
  rejects(checkerImportRule, 'test/referee/commits.ts', "import { x } from './recorders/convert.js'")
  rejects(checkerImportRule, 'test/referee/core-runs.test.ts', "import { x } from '#balsa/core/index.js'")
  accepts(checkerImportRule, 'test/referee/commits.ts', "import { x } from './model.js'")
  accepts(checkerImportRule, 'test/referee/reference-raft.ts', "import { x } from '../support/seed.js'")
  accepts(checkerImportRule, 'test/referee/core-runs.test.ts', "import { x } from './recorders/stage.js'")
  accepts(checkerImportRule, 'test/referee/recorders/convert.ts', "import type { x } from '#balsa/core/index.js'")
})

proofs('the core has no clock, no chance, no promise and no process', () => {
  for (const code of [
    'const now = new Date()',
    'const x = Math.random()',
    'const p: Promise<void> = later()',
    'setTimeout(f, 1)',
    'process.nextTick(f)',
    'console.log(1)',
    'await later()',
  ]) {
    rejects(corePurityRule, 'ts/core/leader/leader.ts', code)
  }
  accepts(corePurityRule, 'ts/core/leader/leader.ts', "// A Date, a Promise.\nconst text = 'process'\nMath.min(1, 2)")
})

proofs('the stage is browser-safe', () => {
  rejects(stageRule, 'ts/testing/stage/stage.ts', "import { nextTick } from 'node:process'")
  rejects(stageRule, 'ts/testing/stage/stage.ts', "import { pack } from 'msgpackr'")
  rejects(stageRule, 'ts/testing/stage/stage.ts', "import { World } from '../simulator/world.js'")
  rejects(stageRule, 'ts/testing/invariants/truth.ts', "import type { x } from '../../storage/log-store.js'")
  rejects(stageRule, 'ts/testing/observer.ts', "import type { x } from '../machine/state-machine.js'")
  rejects(stageRule, 'ts/testing/stage/stage-disk.ts', 'const bytes = Buffer.alloc(8)')
  rejects(stageRule, 'ts/testing/stage/stage.ts', 'const draw = () => Math.random()')
  rejects(stageRule, 'ts/testing/stage/stage.ts', 'setTimeout(turn, 1)')
  accepts(
    stageRule,
    'ts/testing/stage/stage.ts',
    "import { x } from '../../core/index.js'\nimport { y } from '../observer.js'",
  )
  accepts(stageRule, 'ts/testing/stage/stage.ts', "import { x } from '../invariants/truth.js'\n// A Buffer")
  accepts(stageRule, 'ts/testing/simulator/world.ts', "import { nextTick } from 'node:process'")
})

proofs('timers and dates are in one file', () => {
  rejects(clockRule, 'ts/transport/tcp/link.ts', 'setTimeout(f, 1)')
  rejects(clockRule, 'ts/server/turn/event-loop.ts', 'const now = performance.now()')
  rejects(clockRule, 'packages/grpc/src/transport/line.ts', 'setTimeout(f, 1)')
  accepts(clockRule, 'ts/clock.ts', 'const now = performance.now()')
  accepts(clockRule, 'ts/server/turn/event-loop.ts', 'setImmediate(turn)')
  rejects(clockRule, 'ts/storage/file/file-log-store.ts', 'setTimeout(f, 1)')
  accepts(clockRule, 'ts/storage/file/disk.ts', 'setTimeout(f, 1)')
  rejects(clockRule, 'ts/testing/index.ts', 'const now = Date.now()')
  accepts(clockRule, 'ts/testing/determinism/ambient.ts', 'const now = Date.now()')
})

proofs('the key-value server is given its time and its sockets', () => {
  rejects(kvGivenRule, 'apps/kv/src/server/expiry-clock.ts', 'setTimeout(f, 1)')
  rejects(kvGivenRule, 'apps/kv/src/server/turns.ts', 'process.nextTick(f)')
  rejects(kvGivenRule, 'apps/kv/src/data-set/data-set.ts', 'const now = Date.now()')
  rejects(kvGivenRule, 'apps/kv/src/server/client/client.ts', "import type { Socket } from 'node:net'")
  accepts(kvGivenRule, 'apps/kv/src/server/clock.ts', 'setImmediate(f)')
  accepts(
    kvGivenRule,
    'apps/kv/src/server/client/client-socket.ts',
    "import type { Socket } from 'node:net'\ns.setTimeout(1)",
  )
  accepts(kvGivenRule, 'apps/kv/src/launcher/launch.ts', 'setTimeout(f, Date.now())')
})

proofs('identifiers keep to the glossary', () => {
  rejects(glossaryRule, 'ts/core/leader/progress.ts', 'const isLearner = true')
  rejects(glossaryRule, 'ts/core/leader/progress.ts', 'const nodeId = 1')
  accepts(glossaryRule, 'ts/core/leader/progress.ts', "// Redis says master.\nconst word = 'slave'")
})

proofs('a suite that is never run is found', () => {
  rejects(
    testRunRule,
    'test/a.test.ts',
    "import { test } from 'uvu'\ntest('x', () => {})\nconst other = x()\nother.run()",
  )
  rejects(testRunRule, 'test/a.test.ts', "const a = suite('a')\nconst b = suite<Context>('b')\na.run()")
  rejects(testRunRule, 'test/a.test.ts', "const a = suite('a')\na.run()\na('late', () => {})")
  rejects(testRunRule, 'test/a.ts', "import { test } from 'uvu'\ntest('x', () => {})\ntest.run()")
  rejects(testRunRule, 'ts/a.test.ts', "import { test } from 'uvu'\ntest('x', () => {})\ntest.run()")
  rejects(testRunRule, 'test/a.test.ts', "import { registerCases } from './conformance/store.js'\nregisterCases(store)")
  rejects(testRunRule, 'test/conformance/a.ts', "import { suite } from 'uvu'\nmake(suite).run()")
  accepts(testRunRule, 'test/a.test.ts', "import { test } from 'uvu'\ntest('x', () => {})\n\ntest.run()\n")
})

proofs('no test is focused, and none is skipped without a reason', () => {
  rejects(focusRule, 'test/a.test.ts', "test.only('x', () => {})")
  rejects(focusRule, 'test/a.test.ts', "test.skip('x', () => {})")
  rejects(focusRule, 'test/a.test.ts', 'const register = isPossible ? test : test.skip')
})

proofs('a reminder names its issue', () => {
  rejects(reminderRule, 'ts/a.ts', '// TODO: later')
  accepts(reminderRule, 'ts/a.ts', '// TODO(#12): later')
})

proofs('nothing names this machine or a registry', () => {
  rejects(placeRule, 'docs/a.md', ['see ', 'work', 'main'].join('/'))
  rejects(placeRule, 'package-lock.json', ['"resolved": "https://registry', 'npmjs', 'org/x"'].join('.'))
  accepts(placeRule, 'docs/a.md', ['network', 'work', 'x and https://example.org', 'work', 'x'].join('/'))
})

proofs('there is one handwriting', () => {
  rejects(handwritingRule, 'ts/a.ts', 'class A {\n  private readonly x = 1\n}')
  rejects(handwritingRule, 'test/a.ts', 'class A {\n  public x = 1\n}')
  rejects(handwritingRule, 'apps/kv/src/a.ts', 'export const bytesMax = 64 * 1024')
  rejects(handwritingRule, 'ts/a.ts', `  /** ${'x'.repeat(120)} */`)
  accepts(
    handwritingRule,
    'ts/a.ts',
    'class A {\n  private constructor() {}\n  #x = 1\n}\nconst BYTES_MAX = 1\nconst x = f()',
  )
  accepts(handwritingRule, 'ts/a.ts', `const text = '${'x'.repeat(120)}'\n// ${'x'.repeat(110)}`)
})

proofs('a library knows values of other realms', () => {
  rejects(realmRule, 'ts/storage/a.ts', 'if (cause instanceof Error) return cause.message')
  rejects(realmRule, 'ts/format/a.ts', 'if (!(bytes instanceof Uint8Array)) fail()')
  accepts(realmRule, 'ts/storage/a.ts', 'if (cause instanceof RaftError) return cause')
  accepts(realmRule, 'ts/testing/a.ts', 'if (cause instanceof Error) return cause.message')
})

proofs('the engine does not know Node', () => {
  rejects(engineRule, 'crates/balsa-log/Cargo.toml', 'napi = "3"')
  rejects(engineRule, 'crates/balsa-log/src/lib.rs', 'use napi::Env;')
  accepts(engineRule, 'crates/balsa-log/src/lib.rs', '// napi is not known here')
})

proofs('only the folder of LMDB knows LMDB', () => {
  rejects(homeRule, 'crates/balsa-log/src/writer.rs', 'use heed::RwTxn;')
  rejects(homeRule, 'crates/balsa-log/src/store.rs', 'fn error(error: heed::Error) {}')
  rejects(homeRule, 'crates/balsa-log/tests/open.rs', 'let version = lmdb_sys::mdb_version();')
  rejects(homeRule, 'crates/balsa-log/src/plan.rs', 'use crate::lmdb::Home;')
  rejects(homeRule, 'crates/balsa-log/src/lmdb/home.rs', 'use crate::queue::Batch;')
  accepts(homeRule, 'crates/balsa-log/src/lmdb/tree.rs', 'use heed::RwTxn;\nuse crate::plan::Plan;')
  accepts(homeRule, 'crates/balsa-log/src/writer.rs', '// Not heed.\nuse crate::lmdb::Home;')
})

proofs('the linter rejects what the style bans', () => {
  const bad: Readonly<Record<string, string>> = {
    'no-default-export': 'export default 1',
    'no-explicit-any': 'export const x = (y: any): unknown => y',
    'no-non-null-assertion': 'export const x = (y: string | null): string => y!',
    'no-namespace': 'export namespace N { export const x = 1 }',
    'parameter-properties': 'export class A { constructor(readonly x: number) {} }',
    'no-floating-promises': 'export const f = (p: Promise<void>): void => { p }\n',
    'switch-exhaustiveness-check':
      "export const f = (x: 'a' | 'b'): number => { switch (x) { case 'a': return 1 }\n return 2 }",
    'consistent-type-imports': "import { Server } from 'node:net'\nexport const f = (x: Server): Server => x",
    'no-console': "console.log('x')",
    'max-lines-per-function': `export function f(): number {\n${'  g()\n'.repeat(70)}  return 1\n}`,
  }
  const folder = mkdtempSync(join(tmpdir(), 'balsa-tidy-'))
  try {
    for (const [name, text] of Object.entries(bad)) writeFileSync(join(folder, `${name}.ts`), `${text}\n`)
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { strict: true }, include: ['.'] }))
    const found = lint(folder)
    for (const rule of Object.keys(bad)) {
      assert.ok(
        found.some((line) => line.includes(`${rule}.ts`) && line.includes(`(${rule})`)),
        `${rule} was not reported:\n${found.join('\n')}`,
      )
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

proofs.run()

const tree = suite('the tree')
const files = trackedFiles()

tree('keeps all rules', () => {
  assert.ok(files.length > 20, `git lists ${files.length} files`)
  const complaints = files
    .filter((file) => !samples.has(file.path))
    .flatMap((file) => rules.flatMap((rule) => rule(file)))
  assert.equal(complaints, [])
})

tree('has no circle of imports', () => {
  assert.equal(importCircles(files), [])
})

tree('has every test file built, and so run', () => {
  const tests = files.filter((file) => /^test\/.*\.test\.ts$/.test(file.path))
  const missing = tests.filter((file) => !existsSync(join(root, 'build', file.path.replace(/\.ts$/, '.js'))))
  assert.equal(missing, [])
})

tree.run()

/** One line per finding, `path:line: message (rule)`. */
function lint(folder: string): readonly string[] {
  const args = ['-c', join(root, '.oxlintrc.json'), '--type-aware', '--format', 'unix', folder]
  const result = spawnSync(process.execPath, [join(root, 'node_modules/oxlint/bin/oxlint'), ...args], {
    encoding: 'utf8',
  })
  return result.stdout.split('\n')
}

function trackedFiles(): readonly SourceFile[] {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const result = spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  assert.is(result.status, 0, `git ls-files: ${result.stderr}`)
  return result.stdout
    .split('\0')
    .filter(
      (path) =>
        /\.(?:ts|mjs|js|json|md|rs|toml|lock|yml)$|^\.ci\/|^\.[\w]+$/.test(path) && existsSync(join(root, path)),
    )
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}
