/**
 * The planted bugs: what is known of each patch in `test/planted`, and how it gets into a copy of the sources. Nothing
 * here touches the sources themselves.
 */

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { transform } from 'esbuild'
import { root } from '../ensure-built.mjs'

const folder = join(root, 'test/planted')

const WORLDS = new Set(['raft', 'kv'])

/** What may notice a bug in the worlds, in the words of docs/simulator.md. */
export const EXPECTED = {
  0: 'an assertion of the library',
  1: 'one leader per term',
  2: 'nothing goes back',
  3: 'one vote per term',
  4: 'log matching',
  5: 'committed entries never change',
  6: 'a leader has what is committed',
  7: 'commit, recounted on the disks',
  8: 'state machine safety',
  9: 'order of the pointers',
  10: 'nothing leaves before it is durable',
  12: 'no needless truncation',
  13: 'linearizable',
  14: 'one outcome, and a true one',
  15: 'commands of sessions are applied once',
  16: 'zero at rest',
  17: 'silence after a failure',
  18: 'what is sent is what was written',
  20: 'bounded work',
  21: 'a mended quorum serves',
  22: 'a leader that cannot work yields',
  23: 'inputs before deadlines',
  24: 'entry time never falls',
  25: 'a call ends when it must',
  26: 'a flipped bit is no message',
  27: 'a healthy leader stays',
  28: 'what an entry costs',
  29: 'narrow links',
  30: 'the newest connection is heard',
  31: 'nothing without room for it',
  32: 'a recovered cluster is another one',
  33: 'a repair is what was sealed',
  34: 'a replay ends once',
  35: 'a lease is of the newest leader',
  judge: 'what the clients of kv are told',
}

/** An id of the list of scenarios, or a paragraph of the paper; then what is broken. */
const NAME = /^(?<id>[A-Z]\d*(?:\.\d+)?|\d(?:\.\d+)*)-[a-z0-9-]+$/
/** The bug goes where the product is; what looks for it stays as it is. */
const PLACE =
  /^(?:ts\/(?:client|core|disk|format|machine|observe|server|snapshot|storage|transport)|apps\/kv\/src)\/(?!invariants\.ts$)(?:[\w-]+\/)*[\w-]+\.ts$/

/**
 * Every patch, by name, with its head: what it breaks (`scenario`), and what is meant to notice: what the worlds of raft
 * or of kv (`worlds`) ask for (`expected`: invariants by their numbers, or `judge`), or one test (`suite`: `file` and
 * `title`); the other is null. `begin` is the seed that found a rare one last; 0: none. Throws when one of them does not
 * say so.
 */
export function readPatches() {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.patch'))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .map((file) => describe(file.slice(0, -'.patch'.length), join(folder, file)))
}

function describe(name, path) {
  const fail = (what) => {
    throw new Error(`test/planted/${name}.patch: ${what}`)
  }
  const text = readFileSync(path, 'utf8')
  const id = NAME.exec(name)?.groups.id ?? fail('its name must be an id and what is broken, such as E1-vote-sent-early')
  const [head] = text.split(/^diff --git /m, 1)
  const scenario = /^Scenario: (.+)$/m.exec(head)?.[1] ?? fail('its head has no line "Scenario: ..."')
  if (!scenario.split(/[,;:( ]+/).includes(id)) fail(`its head is about ${scenario}, its name about ${id}`)
  const expected = /^Expected: (\w+(?:, \w+)*)$/m.exec(head)?.[1].split(', ') ?? null
  const worlds = /^Worlds: (.*)$/m.exec(head)?.[1] ?? 'raft'
  const begin = Number(/^Begin: (.*)$/m.exec(head)?.[1] ?? 0)
  if (!Number.isSafeInteger(begin) || begin < 0) fail('its head needs a seed in the line "Begin: 119", or no such line')
  const suite = /^Suite: (?<file>test\/[\w/-]+\.test\.ts): (?<title>.+)$/m.exec(head)?.groups
  if ((expected === null) === (suite === undefined)) {
    fail('its head needs one line "Expected: 7, 10", or "Suite: test/a/b.test.ts: title of the test"')
  }
  for (const each of expected ?? []) if (!(each in EXPECTED)) fail(`there is no invariant ${each}`)
  if (!WORLDS.has(worlds)) fail(`there are no worlds of ${worlds}`)
  if (suite !== undefined && !existsSync(join(root, suite.file))) fail(`there is no ${suite.file}`)
  const files = [...new Set([...text.matchAll(/^(?:---|\+\+\+) (?:a|b)\/(\S+)$/gm)].map(([, file]) => file))]
  if (files.length === 0) fail('it changes nothing')
  const misplaced = files.find((file) => !PLACE.test(file))
  if (misplaced !== undefined) fail(`it changes ${misplaced}, which is no place for a bug`)
  return { name, path, scenario, files, expected, worlds, begin, suite: suite ?? null }
}

/** A file or a folder, at another place. */
export function duplicate(from, to) {
  cpSync(from, to, { recursive: true, verbatimSymlinks: true })
}

/** Puts the sources where a bug may be planted in them, ready to be translated. */
export function copySources(target) {
  for (const name of ['ts', 'apps/kv/src', 'package.json']) {
    duplicate(join(root, name), join(target, name))
  }
  symlinkSync(join(root, 'node_modules'), join(target, 'node_modules'))
}

/**
 * Returns what is wrong with the patch; null when it went in. Nothing is searched for: the lines around it must be
 * there. With `--check` it does not go in.
 */
export function plant(patch, target, ...options) {
  const { status, stderr, error } = spawnSync('git', ['apply', '--whitespace=nowarn', ...options, patch.path], {
    cwd: target,
    encoding: 'utf8',
    // A copy is no work tree, wherever it lies.
    env: { ...process.env, GIT_CEILING_DIRECTORIES: join(target, '..'), GIT_DIR: join(target, '.none') },
  })
  if (error !== undefined) throw new Error(`git could not be started: ${error.message}`)
  return status === 0 ? null : `it does not apply any more: ${stderr.trim().split('\n')[0]}`
}

/**
 * Puts what a patch has changed in a copy where it runs from; what is wrong, or null. Types are left out unread: the
 * compiler would go through a whole project for one file.
 */
export async function translate(copy, { files }) {
  try {
    for (const file of files) {
      const { code } = await transform(readFileSync(join(copy, file), 'utf8'), {
        loader: 'ts',
        format: 'esm',
        target: 'es2023',
        sourcefile: file,
        logLevel: 'silent',
        tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
      })
      writeFileSync(join(copy, builtOf(file)), code)
    }
    return null
  } catch (error) {
    return `it does not compile: ${error.message.trim().split('\n')[0]}`
  }
}

/** Where what runs of a source lies: `ts/a.ts` in `dist/a.js`, `apps/kv/src/a.ts` in `apps/kv/dist/a.js`. */
const builtOf = (file) =>
  (file.startsWith('ts/') ? file.replace('ts/', 'dist/') : file.replace('/src/', '/dist/')).replace(/\.ts$/, '.js')
