/**
 * What the pages name is in the code: scripts, flags, environment variables, error codes, metrics, log events, calls,
 * options, what is typed after RAFT, and exit codes.
 *
 * A page may name what is not ours (a flag of node, a field of Redis); each such name stands here, so that one that is
 * misspelt is not taken for one of them.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { exitCodes, neverRestarted } from 'balsa-kv/cli/exit-codes.js'
import { raftSubcommands } from 'balsa-kv/commands/raft-commands.js'
import { Raft } from 'balsa-raft'
import { RaftClient } from 'balsa-raft/client'
import { METRICS, METRIC_NAMES } from '#balsa/observe/metric.js'
import { codeOf, pages, read, trackedFiles } from './support/doc-pages.js'
import type { Page } from './support/doc-pages.js'

const test = suite('names in the pages')

/** What happened long ago is told in the names of then, what is to come in others, and a peer has names of its own. */
const OTHER_TIMES = /^(?:CHANGELOG\.md|docs\/adr\/|docs\/roadmap\.md|bench\/peers\/)/
const all = pages().filter(({ path }) => !OTHER_TIMES.test(path))
const sources = trackedFiles('*.ts', '*.mjs', '*.rs', '*.go', 'package.json', '*.yml', '.ci/run')
const isOwnTest = (path: string): boolean => path.startsWith('test/docs-')
const sourceText = sources
  .filter((path) => !isOwnTest(path))
  .map(read)
  .join('\n')
const words = new Set(sourceText.match(/[A-Za-z_][A-Za-z0-9_]*/g))

/** Each name that `pattern` finds in what `of` makes of a page, and `isKnown` does not know, with its page. */
function unknown(pattern: RegExp, isKnown: (name: string) => boolean, of = textOf): readonly string[] {
  const found = all.flatMap((page) =>
    of(page).flatMap((text) => [...text.matchAll(pattern)].map(([, name = '']) => ({ page, name }))),
  )
  assert.ok(found.length > 0, `nothing in the pages is ${pattern}`)
  return [...new Set(found.filter(({ name }) => !isKnown(name)).map(({ page, name }) => `${page.path}: ${name}`))]
}

const textOf = ({ text }: Page): readonly string[] => [text]
const codeIn = ({ text }: Page): readonly string[] => codeOf(text)

test('every npm script', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  assert.equal(
    unknown(/\bnpm run ([a-z][a-z:-]*[a-z])/g, (name) => Object.hasOwn(scripts, name)),
    [],
  )
})

/** By what stands before `--`: where its flags are read. */
const COMMANDS: readonly (readonly [command: RegExp, sources: RegExp])[] = [
  [/npm start/, /^apps\/kv\/src\/launcher\/launch-options/],
  [/npm run bench/, /^bench\/settings/],
  [/npm run sim:planted/, /^scripts\/planted\.mjs/],
  [/npm run (?:sim|rigs|attack|coverage|pack:check)/, /^scripts\//],
  [/npm test/, /^scripts\/test\.mjs/],
  [/balsa-kv|apps\/kv\/dist\/main\.js/, /^apps\/kv\/src\/cli\//],
]

function flagsIn(which: RegExp): ReadonlySet<string> {
  const texts = sources.filter((path) => which.test(path)).map(read)
  const specs = texts.flatMap((text) => [...text.matchAll(/'?([a-z][a-z-]*)'?: \{\s+(?:takesValue|type): /g)])
  return new Set(specs.map(([, name = '']) => name))
}

const FOREIGN_FLAGS = new Set([
  ...['import', 'input-type', 'experimental-vm-modules', 'heap-growing-percent', 'max-old-space-size', 'trace-gc'],
  ...['ignore-scripts', 'no-save', 'tag-style', 'cwd', 'output-dir', 'cross-compile'],
  ...['use-napi-cross', 'skip-optional-publish', 'no-gh-release', 'appendonly', 'appendfsync', 'inplace'],
  ...['data-urlencode', 'features', 'locked', 'workspace', 'no-addons', 'permission', 'target', 'compile'],
  ...['allow-addons', 'allow-all', 'allow-ffi', 'tls', 'cacert'],
])

test('every flag, of the command before it where one stands there', () => {
  const ours = flagsIn(/^(?:scripts|bench|apps\/kv\/src)\//)
  assert.ok(ours.size > 40, `${ours.size} flags`)
  const isKnown = (name: string): boolean => ours.has(name) || FOREIGN_FLAGS.has(name)
  assert.equal(unknown(/(?<![\w-])--([a-z][a-z-]*[a-z])/g, isKnown), [])
  for (const [command, from] of COMMANDS) {
    const flags = flagsIn(from)
    assert.ok(flags.size > 0, String(command))
    const lines = (page: Page): readonly string[] => commandLines(page).filter((line) => command.test(line))
    const isOfIt = (name: string): boolean => flags.has(name) || FOREIGN_FLAGS.has(name)
    if (all.some((page) => lines(page).some((line) => line.includes(' --')))) {
      assert.equal(unknown(/ --([a-z][a-z-]*[a-z])/g, isOfIt, lines), [], String(command))
    }
  }
})

/** Lines of code, those that end with a backslash as one with the next. */
function commandLines({ text }: Page): readonly string[] {
  return codeOf(text.replace(/\\\n\s*/g, ' ')).map((line) => line.replace(/ #.*$/, ''))
}

test('every environment variable', () => {
  assert.equal(
    unknown(/\b(BALSA_[A-Z_]+[A-Z])/g, (name) => words.has(name)),
    [],
  )
})

test('every error code', () => {
  const [, union = ''] = /export type RaftErrorCode =\n((?: {2}\| '\w+'\n)+)/.exec(read('ts/errors.ts')) ?? []
  assert.equal(
    unknown(/\b(ERR_RAFT_[A-Z_]*[A-Z])/g, (name) => union.includes(`'${name}'`)),
    [],
  )
})

/** A histogram is three in the text of Prometheus, and in every query. */
test('every metric, in tables and in queries', () => {
  const kinds = new Map<string, string>(METRIC_NAMES.map((name) => [name, METRICS[name].type]))
  const isKnown = (name: string): boolean =>
    kinds.has(name) || kinds.get(name.replace(/_(?:bucket|sum|count)$/, '')) === 'histogram'
  // `balsa_version` is a field of INFO; `balsa_log` and `balsa_native` are crates.
  assert.equal(unknown(/\b(balsa_(?!version\b|log\b|native\b|rigs\b)[a-z0-9_]*[a-z0-9])/g, isKnown), [])
})

test('every label of a query is one of its metric, with a value that it has', () => {
  const rows = read('docs/watching.md').split('\n')
  const queries = read('docs/operations.md').matchAll(/\b(balsa_\w+)\{(\w+)="(\w+)"\}/g)
  const wrong = [...queries].filter(([, metric, label, value]) => {
    const row = rows.find((line) => line.startsWith(`| \`${metric}\` |`)) ?? ''
    return !row.includes(`\`${label}\``) || !new RegExp(`\\b${value}\\b`).test(row)
  })
  assert.equal(wrong, [])
})

test('every event of the logs, of the library and of apps/kv', () => {
  const logged = new Set(sourceText.match(/'[a-z]+\.[a-z]+(?:-[a-z]+)*'/g))
  const prefixes = new Set([...logged].map((event) => event.slice(1).split('.')[0]))
  const members = new Set(Object.getOwnPropertyNames(Raft.prototype).map((name) => `raft.${name}`))
  // A field of a summary of worlds, and a call of Node.js.
  const others = new Set(['clients.anywhere', 'process.exit'])
  const isFile = (name: string): boolean => /\.(?:ts|js|mjs)$/.test(name)
  const isKnown = (name: string): boolean =>
    !prefixes.has(name.split('.', 1)[0]) ||
    logged.has(`'${name}'`) ||
    members.has(name) ||
    others.has(name) ||
    isFile(name)
  assert.equal(unknown(/^([a-z]+\.[a-z]+(?:-[a-z]+)*)$/g, isKnown, codeIn), [])
})

test('every call of a server or client, and of the class', () => {
  const membersOf = (value: object): readonly string[] => Object.getOwnPropertyNames(value)
  const has = (...of: readonly object[]) => {
    const names = new Set(of.flatMap(membersOf))
    return (name: string): boolean => names.has(name)
  }
  assert.equal(unknown(/\b(?:raft|leader)\.(\w+)\(/g, has(Raft.prototype), codeIn), [])
  assert.equal(unknown(/\bclient\.(\w+)\(/g, has(RaftClient.prototype), codeIn), [])
  assert.equal(unknown(/\bRaft\.(\w+)\b/g, has(Raft, Raft.prototype), codeIn), [])
  assert.equal(unknown(/\bRaftClient\.(\w+)\b/g, has(RaftClient, RaftClient.prototype), codeIn), [])
})

/** Of Node.js and of orchestrators. */
const FOREIGN_NAMES = new Set(['createReadStream', 'createWriteStream', 'maxUnavailable'])

test('every option and every other name that is written as one', () => {
  const declared = all.flatMap(({ text }) =>
    [...text.matchAll(/\b(?:const|let|function) (\w+)/g)].map(([, own]) => own),
  )
  const own = new Set(declared)
  const isKnown = (name: string): boolean => words.has(name) || own.has(name) || FOREIGN_NAMES.has(name)
  const isOne = /(?:^|[^\w.$/-])([a-z]+(?:[A-Z][a-z0-9]*)+)\b(?![/-])/g
  assert.equal(unknown(isOne, isKnown, codeIn), [])
})

test('everything that is typed after RAFT', () => {
  const isKnown = (name: string): boolean => raftSubcommands.has(name.toLowerCase())
  assert.equal(unknown(/\bRAFT ([A-Z]+(?:-[A-Z]+)*)\b/g, isKnown, codeIn), [])
})

test('the exit codes of kv, and those after which a unit of systemd starts nothing again', () => {
  const text = read('docs/operations.md')
  const table = text.slice(text.indexOf('### Exit codes of kv'))
  const told = [...table.matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code))
  assert.equal(told, Object.values(exitCodes))
  const [, prevented = ''] = /^RestartPreventExitStatus=(.*)$/m.exec(text) ?? []
  assert.equal(
    prevented.split(' ').map(Number),
    [...neverRestarted].toSorted((a, b) => a - b),
  )
})

test.run()
